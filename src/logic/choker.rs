//! Who may download from us.
//!
//! The torrent's brain asks [`Choker::choose`] every 5 s, and whenever a peer comes, goes or
//! changes its interest. What the choker remembers is only whose turn it is.

use crate::proto::order;
use crate::proto::sorted;
use std::time::{Duration, Instant};

use super::PeerKey;
use super::rng::Rng;

/// While we download, a peer must give this many bytes a second to be preferred for it.
pub const LEAST_PREFERRED_RATE: f64 = 1000.0;

/// How many more chances than any other place in the queue for the optimistic slot the first one
/// gets, when a new peer is put somewhere: who is new has nothing to give yet.
const EXTRA_CHANCES_OF_FIRST: u32 = 2;

/// At a piece length of so many bytes the rotation of a seed begins to slow down.
const SLOWING_PIECE_LENGTH: u64 = 200_000;

/// Who gives back less than one byte of so many that it takes is in debt.
const LEAST_RETURN: u64 = 8;

/// Who comes is tried for so long, and who stands first when the turn went round has the slot for
/// as long at least.
pub const TRIAL: Duration = Duration::from_secs(5);

/// Whether it is known how fast a peer takes what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It was never unchoked while it was interested.
    Due,
    /// For less than [`TRIAL`] it has been.
    On,
    /// What can be known of it is.
    Over,
}

/// A peer as the choker sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerView {
    /// Which one.
    pub key: PeerKey,
    /// It wants something of us.
    pub interested: bool,
    /// It may download from us at present.
    pub unchoked: bool,
    /// It has promised us blocks and given none for long.
    pub snubbed: bool,
    /// What it gives us, in bytes a second.
    pub download_rate: f64,
    /// What we give it, in bytes a second.
    pub upload_rate: f64,
    /// Bytes that it gave us since it came.
    pub given: u64,
    /// Bytes that it took from us since it came.
    pub taken: u64,
    /// What it has got from anybody since it came, in bytes a second.
    pub gain_rate: u64,
    /// How far it has been tried.
    pub trial: Trial,
}

impl PeerView {
    /// Whether it has taken more than `credit` bytes beyond what it earned by giving.
    fn is_in_debt(&self, credit: u64) -> bool {
        self.taken > credit.saturating_add(self.given.saturating_mul(LEAST_RETURN))
    }
}

/// How many may download at a time, and how often the turn goes round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// How many interested peers are unchoked at most (`max_uploads`). One of them is always the
    /// optimistic slot, even if this is 0 or 1; the others go to preferred peers.
    pub max_uploads: usize,
    /// When fewer peers are preferred, further ones in turn fill up to this many unchoked
    /// interested peers (`min_uploads`); never above `max_uploads`.
    pub min_uploads: usize,
    /// How long the optimistic slot stays where it is (`round_robin_period`; as a seed see
    /// [`seeding_period`]).
    pub round_robin_period: Duration,
    /// So many bytes anybody may take before it counts that it gives nothing: a piece, for until
    /// it has one, a newcomer has nothing to give.
    pub credit: u64,
}

/// A change: what is to be told to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Which peer.
    pub key: PeerKey,
    /// Whether it may download from now on.
    pub unchoke: bool,
}

/// The period of the optimistic slot for a seed: longer with longer pieces (bytes), so that a
/// peer's turn suffices for one, as BitTornado does.
pub fn seeding_period(period: Duration, piece_length: u32) -> Duration {
    let millis = period.as_millis().saturating_mul(piece_length.into());
    let slowed = millis / u128::from(SLOWING_PIECE_LENGTH);
    period.max(Duration::from_millis(u64::try_from(slowed).unwrap_or(u64::MAX)))
}

/// Remembers in which order peers get the optimistic slot.
#[derive(Debug, Default)]
pub struct Choker {
    /// All peers, next one first.
    turns: Vec<PeerKey>,
    rotated: Option<Instant>,
}

impl Choker {
    /// A choker that knows nobody.
    pub fn new() -> Choker {
        Choker::default()
    }

    /// Chooses anew, given all peers there are. Returns only what changes, those to choke first.
    ///
    /// Preferred for all slots but one are the interested peers with the highest rate: while we
    /// download those that give us most (not snubbing us, and at least
    /// [`LEAST_PREFERRED_RATE`]), as a seed those that take most. Of the others one interested
    /// peer at least is unchoked, and more until `min_uploads` are: while we download those first
    /// that get least from all together and are not in debt with us, then those whose turn it is;
    /// as a seed those whose turn it is, and in between each that was not tried yet, who came last
    /// before others. Else a crowd that takes little would have all slots, and keep who takes much
    /// waiting for its turn behind all of them. Of those that take alike (nothing yet, mostly) who
    /// has a slot keeps it, and a free one goes to who came last: else a crowd that never reads
    /// what it asked for would have every slot once before the first who does. Who is not
    /// interested and stands before the last of them is unchoked too, so that it can start at once
    /// when it is. Every `round_robin_period` the turn goes to the first interested peer that is
    /// choked.
    pub fn choose(
        &mut self,
        peers: &[PeerView],
        slots: &Slots,
        seeding: bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<Verdict> {
        let views: sorted::Map<PeerKey, &PeerView> = peers.iter().map(|p| (p.key, p)).collect();
        self.turns.retain(|key| views.contains_key(key));
        self.admit(peers, rng);
        self.rotate(&views, slots.round_robin_period, now);
        let turns: Vec<&PeerView> = self.turns.iter().map(|key| views[key]).collect();
        let in_turn = self.rotated.is_some_and(|at| now.saturating_duration_since(at) < TRIAL);
        let unchoked = unchoked(&turns, slots, seeding, in_turn);
        let mut verdicts: Vec<Verdict> = turns
            .iter()
            .map(|peer| (peer, unchoked.contains(&peer.key)))
            .filter(|(peer, unchoke)| peer.unchoked != *unchoke)
            .map(|(peer, unchoke)| Verdict { key: peer.key, unchoke })
            .collect();
        order::by_key(&mut verdicts, |verdict| verdict.unchoke);
        verdicts
    }

    /// Whose turn it is: who stands first when the optimistic slot is given.
    pub fn first(&self) -> Option<PeerKey> {
        self.turns.first().copied()
    }

    /// Puts peers that are new at a random place, more often than not at others at the first.
    fn admit(&mut self, peers: &[PeerView], rng: &mut Rng) {
        let known: sorted::Set<PeerKey> = self.turns.iter().copied().collect();
        for peer in peers.iter().filter(|peer| !known.contains(&peer.key)) {
            let places = self.turns.len() as u32 + 1;
            let place = rng.below(places + EXTRA_CHANCES_OF_FIRST);
            self.turns.insert(place.saturating_sub(EXTRA_CHANCES_OF_FIRST) as usize, peer.key);
        }
    }

    fn rotate(&mut self, views: &sorted::Map<PeerKey, &PeerView>, period: Duration, now: Instant) {
        let last = *self.rotated.get_or_insert(now);
        if now.saturating_duration_since(last) < period {
            return;
        }
        self.rotated = Some(now);
        let waits = |key: &PeerKey| views[key].interested && !views[key].unchoked;
        if let Some(first) = self.turns.iter().position(waits) {
            self.turns.rotate_left(first);
        }
    }
}

/// Who is to be unchoked, of the peers in the order of their turns; `in_turn` if the first of them
/// shall have its turn whoever is to be tried.
fn unchoked(
    turns: &[&PeerView],
    slots: &Slots,
    seeding: bool,
    in_turn: bool,
) -> sorted::Set<PeerKey> {
    let mut unchoked = preferred(turns, slots.max_uploads.saturating_sub(1), seeding);
    let fill = slots.min_uploads.min(slots.max_uploads);
    let others = fill.saturating_sub(unchoked.len()).max(1);
    let mut waiting: Vec<(usize, &PeerView)> = turns
        .iter()
        .enumerate()
        .filter(|(_, peer)| peer.interested && !unchoked.contains(&peer.key))
        .map(|(turn, peer)| (turn, *peer))
        .collect();
    let first = waiting.first().map(|(turn, _)| *turn).filter(|_| in_turn);
    order::by_key(&mut waiting, |(turn, peer)| match (seeding, peer.trial) {
        (true, _) if first == Some(*turn) => 0,
        (true, Trial::On) => 1,
        (true, Trial::Due) => u64::MAX - 1 - peer.key.0,
        (true, Trial::Over) => u64::MAX,
        // Who falls behind has least to give, and would never be preferred.
        (false, _) if !peer.is_in_debt(slots.credit) => peer.gain_rate,
        (false, _) => u64::MAX,
    });
    // With nobody left to wait for there is room for all who might.
    let all = turns.len().checked_sub(1).filter(|_| waiting.len() < others);
    waiting.truncate(others);
    let last = all.max(waiting.iter().map(|(turn, _)| *turn).max());
    unchoked.extend(waiting.iter().map(|(_, peer)| peer.key));
    let ahead = turns.iter().take(last.map_or(0, |last| last + 1));
    unchoked.extend(ahead.filter(|peer| !peer.interested).map(|peer| peer.key));
    unchoked
}

/// The `most` interested peers with the highest rates.
fn preferred(turns: &[&PeerView], most: usize, seeding: bool) -> sorted::Set<PeerKey> {
    let rate = |peer: &PeerView| if seeding { peer.upload_rate } else { peer.download_rate };
    let mut wanted: Vec<&PeerView> = turns
        .iter()
        .copied()
        .filter(|peer| peer.interested)
        .filter(|peer| seeding || peer.download_rate >= LEAST_PREFERRED_RATE && !peer.snubbed)
        .collect();
    let alike = |peer: &PeerView| (peer.unchoked, peer.key);
    order::by(&mut wanted, |a, b| {
        rate(b).total_cmp(&rate(a)).then_with(|| alike(b).cmp(&alike(a)))
    });
    wanted.into_iter().take(most).map(|peer| peer.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of peers, one a row: letter, interested, unchoked, snubbed (`i`, `u`, `s`; `-` for
    /// not), perhaps `?` for a trial that is due or `!` for one under way, rate to us and rate from
    /// us in bytes a second; then, if it matters, the rate at which it gets pieces, bytes given and
    /// bytes taken.
    fn table(rows: &[&str]) -> Vec<PeerView> {
        let peer = |row: &&str| {
            let words: Vec<&str> = row.split_whitespace().collect();
            let number = |at: usize| words.get(at).map_or(0, |word| word.parse().unwrap());
            PeerView {
                key: PeerKey(u64::from(words[0].as_bytes()[0])),
                interested: words[1].contains('i'),
                unchoked: words[1].contains('u'),
                snubbed: words[1].contains('s'),
                download_rate: words[2].parse().unwrap(),
                upload_rate: words[3].parse().unwrap(),
                gain_rate: number(4),
                given: number(5),
                taken: number(6),
                trial: match words[1].as_bytes().get(3) {
                    Some(b'?') => Trial::Due,
                    Some(b'!') => Trial::On,
                    _ => Trial::Over,
                },
            }
        };
        rows.iter().map(peer).collect()
    }

    /// A choker whose turns stand as drawn.
    fn in_turn(turns: &str) -> Choker {
        Choker { turns: turns.bytes().map(|b| PeerKey(b.into())).collect(), rotated: None }
    }

    fn turns(choker: &Choker) -> String {
        choker.turns.iter().map(|key| key.0 as u8 as char).collect()
    }

    fn slots(max_uploads: usize, min_uploads: usize) -> Slots {
        let round_robin_period = Duration::from_secs(30);
        Slots { max_uploads, min_uploads, round_robin_period, credit: 1000 }
    }

    /// The changes as text: `-a +b`.
    fn verdicts(choker: &mut Choker, rows: &[&str], slots: Slots, seeding: bool) -> String {
        let now = Instant::now();
        text(&choker.choose(&table(rows), &slots, seeding, now, &mut Rng::new(1)))
    }

    fn text(verdicts: &[Verdict]) -> String {
        let sign = |unchoke| if unchoke { '+' } else { '-' };
        let words =
            verdicts.iter().map(|v| format!("{}{}", sign(v.unchoke), v.key.0 as u8 as char));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn those_who_give_most_are_preferred_and_one_slot_goes_in_turn() {
        let rows = [
            "a i-- 5000 0", //
            "b iu- 2000 0",
            "c iu- 1500 9000",
            "d i-- 3000 0",
            "e iu- 0    9000",
            "f i-- 0    0",
        ];
        let mut choker = in_turn("fedcba");
        assert_eq!(verdicts(&mut choker, &rows, slots(3, 2), false), "-e -c -b +f +d +a");
        let mut choker = in_turn("abcdef");
        assert_eq!(verdicts(&mut choker, &rows, slots(3, 2), false), "-c -e +a +d");
    }

    #[test]
    fn a_seed_prefers_those_who_take_most() {
        let rows = [
            "a iu- 9000 10", //
            "b i-- 0    500",
            "c iu- 9000 20",
            "d i-s 0    700",
            "e i-- 9000 30",
        ];
        let mut choker = in_turn("abcde");
        assert_eq!(verdicts(&mut choker, &rows, slots(3, 3), true), "-c +b +d");
    }

    #[test]
    fn of_those_who_took_nothing_yet_who_has_a_slot_keeps_it_and_the_newest_is_next() {
        let rows = ["a i-- 0 0", "b iu- 0 0", "c i-- 0 0", "d i-- 0 0", "e i-- 0 1"];
        assert_eq!(verdicts(&mut in_turn("abcde"), &rows, slots(4, 1), true), "+a +d +e");
        assert_eq!(verdicts(&mut in_turn("abcde"), &rows, slots(3, 1), true), "+a +e");
    }

    #[test]
    fn snubbing_slow_and_uninterested_peers_are_not_preferred() {
        let rows = [
            "a i-- 1000 0", //
            "b i-s 9000 0",
            "c i-- 999  0",
            "d --- 9000 0",
            "e i-- 0    0",
        ];
        let mut choker = in_turn("ecbda");
        assert_eq!(verdicts(&mut choker, &rows, slots(9, 1), false), "+e +a");
    }

    #[test]
    fn free_slots_are_filled_up_to_the_least_number() {
        let rows = ["a i-- 9000 0", "b i-- 0 0", "c i-- 0 0", "d i-- 0 0", "e i-- 0 0"];
        for (max, min, expected) in [
            (7, 0, "+a +b"),
            (7, 2, "+a +b"),
            (7, 4, "+a +b +c +d"),
            (7, 9, "+a +b +c +d +e"),
            (3, 9, "+a +b +c"),
            (2, 4, "+a +b"),
        ] {
            let mut choker = in_turn("abcde");
            let got = verdicts(&mut choker, &rows, slots(max, min), false);
            assert_eq!(got, expected, "{max} {min}");
        }
    }

    #[test]
    fn with_one_slot_or_none_it_is_the_optimistic_one() {
        let rows = ["a i-- 9000 0", "b i-- 0 0"];
        for max in [0, 1] {
            let mut choker = in_turn("ba");
            assert_eq!(verdicts(&mut choker, &rows, slots(max, 4), false), "+b");
        }
    }

    #[test]
    fn the_uninterested_in_front_are_unchoked_and_the_rest_choked() {
        let rows = ["a --- 0 0", "b i-- 0 0", "c -u- 0 0", "d iu- 0 0"];
        let mut choker = in_turn("abcd");
        assert_eq!(verdicts(&mut choker, &rows, slots(2, 1), false), "-c -d +a +b");
    }

    #[test]
    fn while_we_download_the_slot_in_turn_goes_to_who_gets_least_and_is_not_in_debt() {
        let mut rows = [
            "a i-- 0 0 9 0   0",
            "b i-- 0 0 5 100 1800", // has earned what it took
            "c i-- 0 0 7 0   1000", // and this one took what anybody may
            "d i-- 0 0 3 100 1801",
            "e i-- 0 0 0 0   1001",
        ];
        let got = |rows: &[&str], min, seeding| {
            verdicts(&mut in_turn("abcde"), rows, slots(9, min), seeding)
        };
        assert_eq!(got(&rows, 1, false), "+b");
        assert_eq!(got(&rows, 2, false), "+b +c");
        assert_eq!(got(&rows, 4, false), "+a +b +c +d", "debtors come last, in their turn");
        rows[1] = "b --- 0 0 5 0 0";
        assert_eq!(got(&rows, 1, false), "+b +c", "who is not interested keeps its place");
        rows[2] = "c i-- 0 0 9 0 0";
        assert_eq!(got(&rows, 1, false), "+a", "of two that are alike the first");
        let rows = ["a i-- 0 0 9 0 9999", "b i-- 0 0 5 0 0"];
        assert_eq!(got(&rows, 1, true), "+a +b", "all slots but one are for those who take most");
        let got = verdicts(&mut in_turn("ab"), &rows, slots(1, 1), true);
        assert_eq!(got, "+a", "a seed goes by turns alone");
    }

    #[test]
    fn a_seed_tries_who_came_last_at_once_but_one_at_a_time_and_turns_go_on() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let crowd = ["a iu- 0 9", "b iu- 0 8", "c i-- 0 0", "d i--? 0 0", "e i--? 0 0"];
        let under_way = ["a iu- 0 9", "b iu- 0 8", "c iu-! 0 0", "d i-- 0 0", "e i--? 0 0"];
        for (rows, seconds, expected) in [
            (crowd, 1, "+c"),
            (crowd, 6, "+e"),
            (under_way, 6, ""),
            (crowd, 31, "+c"),
            (crowd, 36, "+e"),
        ] {
            let mut choker = in_turn("cdeab");
            choker.rotated = Some(at(seconds / 30 * 30));
            let peers = table(&rows);
            let told = choker.choose(&peers, &slots(3, 1), true, at(seconds), &mut Rng::new(1));
            assert_eq!(text(&told), expected, "{rows:?} after {seconds} s");
        }
        let rows = ["d i--? 0 0 9", "c i-- 0 0 3"];
        let got = verdicts(&mut in_turn("dc"), &rows, slots(2, 1), false);
        assert_eq!(got, "+c", "who downloads itself goes by other rules");
    }

    #[test]
    fn with_room_for_more_all_who_might_want_something_are_unchoked() {
        let rows = ["a --- 0 0", "b i-- 0 0", "c --- 0 0"];
        assert_eq!(verdicts(&mut in_turn("abc"), &rows, slots(7, 4), false), "+a +b +c");
        assert_eq!(verdicts(&mut in_turn("abc"), &rows, slots(7, 1), false), "+a +b");
    }

    #[test]
    fn the_turn_goes_round_every_period() {
        let start = Instant::now();
        let mut choker = in_turn("abcd");
        let mut rows = table(&["a i-- 0 0", "b --- 0 0", "c i-- 0 0", "d i-- 0 0"]);
        let mut at = |s| {
            let now = start + Duration::from_secs(s);
            let verdicts = choker.choose(&rows, &slots(4, 1), false, now, &mut Rng::new(1));
            for verdict in &verdicts {
                let peer = rows.iter_mut().find(|peer| peer.key == verdict.key).unwrap();
                peer.unchoked = verdict.unchoke;
            }
            text(&verdicts)
        };
        assert_eq!(at(0), "+a");
        assert_eq!(at(29), "");
        assert_eq!(at(30), "-a +c");
        assert_eq!(at(59), "");
        assert_eq!(at(65), "-c +d");
        assert_eq!(at(90), "");
        assert_eq!(at(95), "-d +a");
    }

    #[test]
    fn new_peers_come_first_more_often_and_lost_ones_leave() {
        let (now, mut rng) = (Instant::now(), Rng::new(2));
        let peers = table(&["a --- 0 0", "c --- 0 0", "d --- 0 0", "x --- 0 0"]);
        let mut places = [0; 4];
        for _ in 0..6_000 {
            let mut choker = in_turn("abcd");
            choker.choose(&peers, &slots(7, 4), false, now, &mut rng);
            let turns = turns(&choker);
            assert_eq!(turns.replace('x', ""), "acd");
            places[turns.find('x').unwrap()] += 1;
        }
        let near = |n: i32, expected: i32| (n - expected).abs() < 200;
        assert!(near(places[0], 3_000), "{places:?}");
        assert!(places[1..].iter().all(|n| near(*n, 1_000)), "{places:?}");
    }

    #[test]
    fn a_seed_with_long_pieces_rotates_more_slowly() {
        let period = Duration::from_secs(30);
        assert_eq!(seeding_period(period, 16_384), period);
        assert_eq!(seeding_period(period, 2_000_000), period * 10);
    }
}
