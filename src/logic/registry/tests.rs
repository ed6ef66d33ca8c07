use super::*;
use crate::proto::resume::{Saved, read_state};
use access::Allowed;
use std::time::Duration;

/// A tracker with a clock in seconds, and announces in one line.
struct Desk {
    registry: Registry,
    start: Instant,
    now: u64,
    rng: Rng,
}

fn settings() -> Settings {
    Settings {
        interval: 1800,
        response_size: 50,
        expiry: Duration::from_secs(100),
        keep_dead: false,
        compact_required: true,
        scraping: Scraping::Full,
        believe_given_ip: false,
        show_names: true,
        trackers: Trackers::Autodetect,
        tracker_interval: 120,
        aggregator: Aggregator::No,
        dedicated_seed_id: None,
        nat_checks: 0,
        check_local: false,
        max_torrents: 1000,
        max_peers: 10_000,
        jitter: 0,
        min_interval: None,
        external_ip: false,
    }
}

fn desk(settings: Settings) -> Desk {
    let start = Instant::now();
    Desk { registry: Registry::new(settings, start, 9), start, now: 0, rng: Rng::new(1) }
}

/// Reads a state file.
fn read(bytes: &[u8], take: &mut dyn FnMut(Saved)) {
    let mut rest = Some(bytes);
    let mut more = |window: &mut Vec<u8>, _| {
        let now = rest.take();
        window.extend_from_slice(now.unwrap_or_default());
        now.is_some()
    };
    read_state(&mut more, take).unwrap();
}

impl Desk {
    fn restore(&mut self, bytes: &[u8]) {
        read(bytes, &mut |saved| self.registry.restore(saved));
    }

    /// `torrent peer from query`, the rest of the query as it would be sent.
    fn says(&mut self, line: &str) -> Result<Reply, Refused> {
        let [torrent, peer, from, query] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("four words: {line}");
        };
        let query = format!(
            "{query}&info_hash={}&peer_id={}&port=10{}&left=5&compact=1",
            torrent.repeat(20),
            peer.repeat(20),
            peer.as_bytes()[0] - b'a',
        );
        let request = Announce::from_query(query.as_bytes()).unwrap();
        let asker = Asker { ip: from.parse().unwrap(), six: None };
        self.registry.announce(&request, asker, &mut self.rng)
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_secs(self.now)
    }

    fn listed(&mut self, line: &str) -> Vec<String> {
        let peers = self.says(line).unwrap().peers;
        let mut list: Vec<_> = peers.iter().map(|p| format!("{}:{}", p.ip, p.port)).collect();
        list.sort();
        list
    }

    /// Seeds, completed downloads, leechers of a torrent; `None` if it is unknown.
    fn counts(&self, torrent: u8) -> Option<[u32; 3]> {
        let found = self.registry.scrape(Some(&[InfoHash([torrent; 20])])).unwrap();
        found.first().map(|(_, s)| [s.counts.complete, s.counts.downloaded, s.counts.incomplete])
    }

    fn passes(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.at();
        self.registry.expire(now);
        while self.registry.sweeping.is_some() {
            self.registry.expire(now);
        }
    }
}

#[test]
fn a_peer_is_counted_listed_and_forgotten() {
    let mut d = desk(settings());
    assert_eq!(d.listed("A a 9.0.0.1 event=started"), ["9.0.0.1:100"]);
    assert_eq!(d.listed("A b 9.0.0.2 left=0"), ["9.0.0.1:100"]);
    assert_eq!(d.listed("A a 9.0.0.1 left=3"), ["9.0.0.1:100", "9.0.0.2:101"]);
    assert_eq!(d.counts(b'A'), Some([1, 0, 1]));
    assert_eq!(d.listed("A a 9.0.0.1 event=stopped"), [""; 0]);
    assert_eq!(d.counts(b'A'), Some([1, 0, 0]));
    assert_eq!(d.counts(b'B'), None);
}

#[test]
fn a_stranger_who_stops_leaves_no_trace() {
    let mut d = desk(settings());
    d.says("A a 9.0.0.1 event=stopped").unwrap();
    assert!(d.registry.is_empty() && !d.registry.has_changed());
}

#[test]
fn a_refused_announce_leaves_no_trace() {
    let mut d = desk(settings());
    assert_eq!(d.says("A a 9.0.0.1 compact=0"), Err(Refused::OldClient));
    assert_eq!(d.says("A a 9.0.0.1 tracker=1"), Err(Refused::Tracker));
    assert!(d.registry.is_empty());
}

#[test]
fn completed_counts_the_change_to_seed_not_the_event() {
    let mut d = desk(settings());
    let downloaded = |d: &Desk| d.counts(b'A').unwrap()[1];
    d.says("A a 9.0.0.1 left=5").unwrap();
    d.says("A a 9.0.0.1 event=completed").unwrap();
    assert_eq!(downloaded(&d), 0, "it still needs bytes");
    d.says("A a 9.0.0.1 left=0").unwrap();
    assert_eq!(downloaded(&d), 1);
    d.says("A a 9.0.0.1 left=0&event=completed").unwrap();
    assert_eq!(downloaded(&d), 1, "only once");
    d.says("A b 9.0.0.2 left=0").unwrap();
    assert_eq!(downloaded(&d), 1, "a new seed downloaded nothing");
    d.says("A c 9.0.0.3 left=0&event=completed").unwrap();
    assert_eq!(downloaded(&d), 2, "a new one that says so did");
    d.says("A a 9.0.0.1 left=7").unwrap();
    assert_eq!(d.counts(b'A'), Some([2, 2, 1]), "a seed can lose data");
}

#[test]
fn only_the_key_or_the_old_address_may_change_a_peer() {
    let mut d = desk(settings());
    d.says("A a 9.0.0.1 key=secret").unwrap();
    d.says("A a 9.0.0.2 key=wrong&left=0").unwrap();
    d.says("A a 9.0.0.2 event=stopped").unwrap();
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]));
    assert_eq!(d.listed("A a 9.0.0.2 key=secret"), ["9.0.0.2:100"]);
    assert_eq!(d.listed("A a 9.0.0.2 port=77"), ["9.0.0.2:77"], "a new port is taken over");
    d.says("A b 9.0.0.3 left=0").unwrap();
    d.says("A b 9.0.0.4 event=stopped").unwrap();
    assert_eq!(d.counts(b'A'), Some([1, 0, 1]), "two absent keys are not the same key");
}

#[test]
fn a_named_address_is_believed_on_the_local_network_only() {
    let mut d = desk(settings());
    assert_eq!(d.listed("A a 10.0.0.1 ip=9.8.7.6"), ["9.8.7.6:100"]);
    assert_eq!(d.listed("B a 9.0.0.1 ip=9.8.7.6"), ["9.0.0.1:100"]);
    let mut d = desk(Settings { believe_given_ip: true, ..settings() });
    assert_eq!(d.listed("B a 9.0.0.1 ip=9.8.7.6"), ["9.8.7.6:100"]);
    assert_eq!(d.listed("C a ::ffff:9.0.0.1 x"), ["9.0.0.1:100"], "IPv4 inside IPv6 is IPv4");
}

#[test]
fn numwant_is_cut_to_the_response_size() {
    let mut d = desk(Settings { response_size: 6, ..settings() });
    for n in b'a'..=b'm' {
        d.says(&format!("A {} 9.0.0.1 left={}", n as char, n % 3)).unwrap();
    }
    for (query, count) in [("x", 6), ("numwant=3", 3), ("numwant=100", 6), ("numwant=0", 0)] {
        assert_eq!(d.listed(&format!("A a 9.0.0.1 {query}")).len(), count, "{query}");
    }
    assert_eq!(d.listed("A a 9.0.0.1 numwant=-1").len(), 6, "negative: as many as we like");
}

#[test]
fn port_zero_is_counted_and_never_listed() {
    let mut d = desk(settings());
    assert_eq!(d.listed("A a 9.0.0.1 port=0"), [""; 0]);
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]));
}

#[test]
fn the_silent_go_after_one_to_two_periods() {
    let mut d = desk(settings());
    d.passes(40);
    d.says("A a 9.0.0.1 x").unwrap();
    d.passes(61);
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]), "heard of in the period that ended");
    d.says("A b 9.0.0.2 left=0&event=completed").unwrap();
    d.passes(99);
    assert_eq!(d.counts(b'A'), Some([1, 1, 1]), "not yet time");
    d.passes(1);
    assert_eq!(d.counts(b'A'), Some([1, 1, 0]));
    d.passes(100);
    assert_eq!(d.counts(b'A'), None, "a torrent without peers is forgotten");
    d.says("A c 9.0.0.3 x").unwrap();
    assert_eq!(d.counts(b'A'), Some([0, 1, 1]), "its completed downloads are not");
}

#[test]
fn an_expiry_in_parts_meets_everybody_once() {
    let mut d = desk(Settings { max_torrents: 1 << 20, max_peers: 1 << 20, ..settings() });
    let announces = |d: &mut Desk, peers: std::ops::Range<u32>, age: u32| {
        for n in peers {
            let (torrent, peer) = (n % 1000, n * 2 + age);
            let query =
                format!("info_hash={torrent:020}&peer_id={peer:020}&port=1&left=1&compact=1");
            let request = Announce::from_query(query.as_bytes()).unwrap();
            let asker = Asker { ip: "9.0.0.1".parse().unwrap(), six: None };
            d.registry.announce(&request, asker, &mut d.rng).unwrap();
        }
    };
    announces(&mut d, 0..10_000, 0);
    d.passes(100);
    announces(&mut d, 0..10_000, 1);
    assert_eq!(d.registry.totals().peers, 20_000);
    d.now += 100;
    let now = d.at();
    let mut parts = 0;
    d.registry.expire(now);
    while d.registry.sweeping.is_some() {
        assert_eq!(d.registry.next_expiry(), d.start + Duration::from_secs(200));
        // Torrents go meanwhile, and others come.
        d.registry.forget(999 - parts);
        announces(&mut d, 3..4, 1);
        parts += 1;
        d.registry.expire(now);
    }
    assert!((5..30).contains(&parts), "{parts}");
    assert_eq!(d.registry.next_expiry(), d.start + Duration::from_secs(300));
    let left = d.registry.totals().peers;
    // Of those that were forgotten ten had announced, but the places of a few were passed over.
    assert!((10_000 - 10 * parts..=10_000 + 10).contains(&left), "{left} after {parts} parts");
    d.passes(100);
    assert_eq!(d.registry.totals().peers, 1, "who announced meanwhile");
}

#[test]
fn keep_dead_keeps_torrents_without_peers() {
    let mut d = desk(Settings { keep_dead: true, ..settings() });
    d.says("A a 9.0.0.1 x").unwrap();
    (0..5).for_each(|_| d.passes(100));
    assert_eq!(d.counts(b'A'), Some([0, 0, 0]));
}

#[test]
fn a_machine_that_slept_forgets_nobody_at_once() {
    let mut d = desk(settings());
    d.passes(100);
    d.says("A a 9.0.0.1 x").unwrap();
    d.passes(100);
    d.passes(200);
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]), "it could not announce");
    d.passes(199);
    assert_eq!(d.counts(b'A'), None);
}

#[test]
fn scraping_follows_the_policy() {
    let mut d = desk(Settings { scraping: Scraping::Specific, ..settings() });
    d.says("A a 9.0.0.1 x").unwrap();
    assert_eq!(d.registry.scrape(None), Err(Refused::FullScrape));
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]));
    d.registry.settings.scraping = Scraping::None;
    assert_eq!(d.registry.scrape(Some(&[])), Err(Refused::SpecificScrape));
    d.registry.settings.scraping = Scraping::Full;
    assert_eq!(d.registry.scrape(None).unwrap().len(), 1);
}

#[test]
fn what_is_saved_comes_back_and_goes_at_the_first_expiry() {
    let mut d = desk(settings());
    d.says("A a 10.0.0.1 left=0&event=completed&key=k&ip=9.8.7.6").unwrap();
    d.says("B b 2001:db8::1 requirecrypto=1").unwrap();
    assert!(d.registry.has_changed());
    let bytes = d.registry.copy().bytes();
    assert!(!d.registry.has_changed());
    d.says("B b 2001:db8::1 requirecrypto=1").unwrap();
    assert!(!d.registry.has_changed(), "a mere sign of life is not in the file");

    let mut again = desk(settings());
    again.restore(&bytes);
    assert_eq!(again.registry.copy().bytes(), bytes);
    assert_eq!((again.counts(b'A'), again.counts(b'B')), (Some([1, 1, 0]), Some([0, 0, 1])));
    assert_eq!(again.listed("A c 9.0.0.9 x"), ["9.0.0.9:102", "9.8.7.6:100"]);
    again.says("B b 2001:db8::2 x").unwrap();
    again.passes(101);
    assert_eq!(again.counts(b'B'), None);
    assert_eq!(again.counts(b'A'), Some([0, 1, 1]));
}

#[test]
fn many_peers_of_many_torrents_keep_the_sum_true() {
    let mut d = desk(settings());
    for step in 0..5000u64 {
        let pick = |n: u32, d: &mut Desk| char::from(b'a' + d.rng.below(n) as u8);
        let (torrent, peer) = (pick(5, &mut d), pick(20, &mut d));
        let event = if d.rng.below(4) == 0 { "event=stopped" } else { "left=0" };
        let ip = d.rng.below(3);
        d.says(&format!("{torrent} {peer} 9.0.0.{ip} {event}")).unwrap();
        if step % 50 == 0 {
            d.passes(30);
        }
        let sum: usize = d.registry.swarms.iter().map(|(_, swarm)| swarm.len()).sum();
        assert_eq!(sum, d.registry.peers, "step {step}");
    }
}

#[test]
fn of_a_torrent_that_is_given_up_only_its_completed_downloads_are_known() {
    let mut d = desk(settings());
    d.says("A a 9.0.0.1 left=0&event=completed").unwrap();
    d.says("A b 9.0.0.2 x").unwrap();
    d.says("B b 9.0.0.2 x").unwrap();
    d.registry.forget_peers(&InfoHash([b'A'; 20]));
    d.registry.forget_peers(&InfoHash([b'C'; 20]));
    assert_eq!((d.registry.peers, d.registry.seeds), (1, 0));
    d.says("A c 9.0.0.3 left=0").unwrap();
    assert_eq!(d.counts(b'A'), Some([1, 1, 0]));
}

fn allowed(torrents: &[(u8, Torrent)]) -> Option<Arc<Allowed>> {
    let of = |(hash, torrent): &(u8, Torrent)| (InfoHash([*hash; 20]), torrent.clone());
    Some(Arc::new(Allowed::new(torrents.iter().map(of).collect())))
}

#[test]
fn only_allowed_torrents_are_tracked_and_all_of_them_are_told_of() {
    let mut d = desk(settings());
    let named = Torrent { name: Some("a name".into()), ..Torrent::default() };
    d.registry.access.torrents = allowed(&[(b'A', named), (b'B', Torrent::default())]);
    d.says("A a 9.0.0.1 left=0&event=completed").unwrap();
    assert_eq!(d.says("C a 9.0.0.1 x"), Err(Refused::NotAuthorized));
    assert_eq!(d.registry.swarms.len(), 1);
    assert_eq!((d.counts(b'B'), d.counts(b'C')), (Some([0, 0, 0]), None));
    let mut all = d.registry.scrape(None).unwrap();
    all.sort_by_key(|(hash, _)| *hash);
    assert_eq!(all[0].1.name.as_deref(), Some("a name"));
    assert_eq!((all.len(), all[1].1.name.as_deref()), (2, None));
    d.registry.settings.show_names = false;
    assert_eq!(d.registry.scrape(None).unwrap()[0].1.name, None);
    (0..5).for_each(|_| d.passes(100));
    assert_eq!(d.counts(b'A'), Some([0, 1, 0]), "downloads of one without peers are known");
    d.registry.access.torrents = allowed(&[]);
    assert_eq!(d.counts(b'A'), None);
}

#[test]
fn a_torrent_file_may_refuse_or_warn() {
    let mut d = desk(settings());
    let failure = Torrent { failure: Some("go away".into()), ..Torrent::default() };
    let warning = Torrent { warning: Some("soon gone".into()), ..Torrent::default() };
    d.registry.access.torrents = allowed(&[(b'A', failure), (b'B', warning)]);
    assert_eq!(d.says("A a 9.0.0.1 x").unwrap_err().to_string(), "go away");
    assert_eq!(d.says("B a 9.0.0.1 x").unwrap().more.warning.as_deref(), Some("soon gone"));
}

#[test]
fn other_trackers_are_served_where_that_is_allowed_and_leave_no_trace() {
    let mut d = desk(settings());
    let query = "tracker=1&event=stopped&port=0";
    d.registry.tracker_id = PeerId([b'z'; 20]);
    let listed = Torrent { trackers: vec!["http://x/".into()], ..Torrent::default() };
    d.registry.access.torrents = allowed(&[(b'A', listed), (b'B', Torrent::default())]);
    d.says("A a 9.0.0.1 left=0").unwrap();
    d.says("A b 9.0.0.2 left=1").unwrap();
    let reply = d.says(&format!("A t 9.0.0.9 {query}")).unwrap();
    assert_eq!((reply.interval, reply.peers.len(), reply.complete), (120, 2, 1));
    assert_eq!(d.says(&format!("A z 9.0.0.9 {query}")), Err(Refused::Tracker), "ourselves");
    assert_eq!(d.says(&format!("B t 9.0.0.9 {query}")), Err(Refused::NotMultitracker));
    d.registry.settings.trackers = Trackers::All;
    assert_eq!(d.says(&format!("B t 9.0.0.9 {query}")).unwrap().peers, []);
    d.registry.settings.trackers = Trackers::None;
    assert_eq!(d.says(&format!("A t 9.0.0.9 {query}")), Err(Refused::Tracker));
    assert_eq!(d.counts(b'A'), Some([1, 0, 1]));
}

#[test]
fn an_aggregator_wants_its_password() {
    let password = Aggregator::Password(b"sesame"[..].into());
    let mut d = desk(Settings { aggregator: password, ..settings() });
    assert_eq!(d.says("A a 9.0.0.1 x"), Err(Refused::NotAuthorized));
    assert_eq!(d.says("A a 9.0.0.1 password=wrong"), Err(Refused::NotAuthorized));
    d.says("A a 9.0.0.1 password=sesame").unwrap();
    assert_eq!(d.counts(b'A'), Some([0, 0, 1]));
}

#[test]
fn the_dedicated_seed_is_told_of_once_it_was_there() {
    let mut d = desk(Settings { dedicated_seed_id: Some(b"sid"[..].into()), ..settings() });
    let seeded = |d: &mut Desk| d.says("A a 9.0.0.1 check_seeded=1").unwrap().more.seeded;
    for query in ["left=0", "left=0&seed_id=nope", "left=5&seed_id=sid"] {
        d.says(&format!("A b 9.0.0.2 {query}")).unwrap();
        assert!(!seeded(&mut d), "{query}");
    }
    d.says("A b 9.0.0.2 left=0&seed_id=sid").unwrap();
    assert!(seeded(&mut d));
    assert!(!d.says("A a 9.0.0.1 x").unwrap().more.seeded, "only for those who ask");
}

#[test]
fn a_scrape_may_come_along_with_an_announce() {
    let mut d = desk(settings());
    let told = d.says("A a 9.0.0.1 scrape=1&left=0").unwrap().more.scrape.unwrap();
    assert_eq!(told.counts.complete, 1);
}

#[test]
fn new_torrents_push_out_empty_ones() {
    let mut d = desk(Settings { max_torrents: 3, ..settings() });
    for peer in ["a", "b", "c"] {
        d.says(&format!("A {peer} 9.0.0.1 x")).unwrap();
        d.says(&format!("B {peer} 9.0.0.1 left=0")).unwrap();
    }
    for torrent in "CDEFGH".chars() {
        d.says(&format!("{torrent} a 9.0.0.1 left=0&event=completed")).unwrap();
        assert_eq!(d.registry.len(), 3);
    }
    let totals = d.registry.totals();
    assert_eq!((totals.peers, totals.seeds, totals.evicted), (7, 4, 5));
    assert_eq!((d.counts(b'A'), d.counts(b'B')), (Some([0, 0, 3]), Some([3, 0, 0])));
    assert_eq!(d.says("C a 9.0.0.1 scrape=1").unwrap().more.scrape.unwrap().counts.downloaded, 1);
}

#[test]
fn what_was_downloaded_often_is_remembered_through_a_flood_of_invented_torrents() {
    let mut d = desk(settings());
    let hash = |n: u32| {
        let mut hash = InfoHash([0; 20]);
        hash.0[..4].copy_from_slice(&n.to_be_bytes());
        hash
    };
    (0..20).for_each(|n| d.registry.remember(hash(n), 5, 100));
    (20..5000).for_each(|n| d.registry.remember(hash(n), 1, 100));
    let downloaded = |d: &Desk, n| d.registry.scraped(&hash(n)).counts.downloaded;
    assert!((0..20).all(|n| downloaded(&d, n) == 5));
    assert_eq!((d.registry.past.len(), downloaded(&d, 4999)), (100, 1), "the newest is there too");
    d.registry.remember(hash(3), 9, 100);
    assert_eq!(downloaded(&d, 3), 5, "none twice");
}

#[test]
fn a_flood_of_peers_pushes_out_itself() {
    let mut d = desk(Settings { max_peers: 12, ..settings() });
    d.says("A a 9.0.0.1 x").unwrap();
    d.says("B b 9.0.0.2 left=0").unwrap();
    for n in 0..500u32 {
        let id = format!("{n:020}");
        let query =
            format!("info_hash={}&peer_id={id}&port=1&left={}&compact=1", "C".repeat(20), n % 2);
        let request = Announce::from_query(query.as_bytes()).unwrap();
        let asker = Asker { ip: "9.9.9.9".parse().unwrap(), six: None };
        d.registry.announce(&request, asker, &mut d.rng).unwrap();
        assert!(d.registry.totals().peers <= 12);
    }
    assert_eq!((d.counts(b'A'), d.counts(b'B')), (Some([0, 0, 1]), Some([1, 0, 0])));
    let seeds: usize = d.registry.swarms.iter().map(|(_, swarm)| swarm.seeds()).sum();
    assert_eq!(d.registry.totals().seeds, seeds);
}

#[test]
fn with_checks_a_peer_is_listed_once_it_was_reached() {
    let mut d = desk(Settings { nat_checks: 2, ..settings() });
    assert_eq!(d.listed("A a 9.0.0.1 x"), [""; 0]);
    assert_eq!(d.listed("A b 10.0.0.1 x"), ["10.0.0.1:101"], "nobody reaches a local network");
    let check = d.registry.next_check().unwrap();
    assert_eq!((check.at.to_string().as_str(), check.crypto), ("9.0.0.1:100", false));
    assert_eq!(d.registry.next_check(), None);
    assert!(d.registry.on_checked(&check, true));
    assert_eq!(d.listed("A a 9.0.0.1 x").len(), 2);
    assert_eq!(d.registry.next_check(), None, "once is enough");
    assert_eq!(d.listed("A a 9.0.0.1 port=77").len(), 1, "another port is another matter");
    assert!(!d.registry.on_checked(&check, true), "the answer to an old question");
    assert_eq!(d.counts(b'A'), Some([0, 0, 2]), "hidden ones count");
}

#[test]
fn a_peer_that_cannot_be_reached_is_tried_as_often_as_set_and_no_more() {
    let mut d = desk(Settings { nat_checks: 2, ..settings() });
    for _ in 0..2 {
        d.says("A a 9.0.0.1 requirecrypto=1").unwrap();
        let check = d.registry.next_check().unwrap();
        assert!(check.crypto && d.registry.on_checked(&check, false));
    }
    d.says("A a 9.0.0.1 requirecrypto=1").unwrap();
    assert_eq!(d.registry.next_check(), None);
    let bytes = d.registry.copy().bytes();
    let mut again = desk(Settings { nat_checks: 2, ..settings() });
    again.restore(&bytes);
    assert_eq!(again.listed("A b 10.0.0.1 supportcrypto=1").len(), 1, "nor after a restart");
    let mut trusting = desk(settings());
    trusting.restore(&bytes);
    assert_eq!(trusting.listed("A b 10.0.0.1 supportcrypto=1").len(), 2);
}

#[test]
fn peers_that_other_trackers_told_of_have_their_share() {
    let mut d = desk(Settings { response_size: 10, ..settings() });
    let foreign: Vec<_> = (1..=10).map(|n| format!("8.0.0.{n}:1").parse().unwrap()).collect();
    d.registry.set_foreign(InfoHash([b'A'; 20]), foreign);
    assert_eq!(d.listed("A a 9.0.0.1 numwant=3").len(), 3);
    for n in b'b'..=b'j' {
        d.says(&format!("A {} 9.0.0.1 x", n as char)).unwrap();
    }
    let listed = d.listed("A a 9.0.0.1 x");
    let ours = listed.iter().filter(|p| p.starts_with("9.")).count();
    assert_eq!((listed.len(), ours), (10, 5));
    assert_eq!(d.listed("A a 9.0.0.1 event=stopped").len(), 0);
    d.registry.set_foreign(InfoHash([b'A'; 20]), vec![]);
    assert_eq!(d.listed("A b 9.0.0.1 x").len(), 9);
}

#[test]
fn what_is_optional_is_told_if_it_was_opted_for() {
    let settings = Settings { jitter: 10, min_interval: Some(60), external_ip: true, ..settings() };
    let mut d = desk(settings);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let reply = d.says("A a 9.0.0.1 x").unwrap();
        seen.insert(reply.interval);
        assert_eq!(reply.more.min_interval, Some(60));
        assert_eq!(reply.more.external_ip, "9.0.0.1".parse().ok());
    }
    assert_eq!((seen.first(), seen.last(), seen.len()), (Some(&1800), Some(&1810), 11));
}

#[test]
fn a_copy_in_parts_misses_nobody_who_stays() {
    let mut d = desk(Settings { max_torrents: 100_000, max_peers: 1_000_000, ..settings() });
    let hash = |n: u32| format!("{n:020}");
    let announces = |d: &mut Desk, n: u32, event: &str| {
        let query =
            format!("info_hash={}&peer_id={}&port=1&left=1&{event}&compact=1", hash(n), hash(n));
        let request = Announce::from_query(query.as_bytes()).unwrap();
        let asker = Asker { ip: "9.9.9.9".parse().unwrap(), six: None };
        d.registry.announce(&request, asker, &mut d.rng).unwrap();
    };
    (0..20_000).for_each(|n| announces(&mut d, n, "event=started"));
    let mut copying = d.registry.begin_copy();
    let mut parts = 0;
    let copy = loop {
        match d.registry.copy_part(copying) {
            Ok(copy) => break copy,
            Err(unfinished) => copying = unfinished,
        }
        // Meanwhile torrents go, so that others change their places.
        for n in (parts..20_000).step_by(400) {
            if let Some(place) =
                d.registry.swarms.find(&InfoHash::from_bytes(hash(n).as_bytes()).unwrap())
            {
                d.registry.forget(place);
            }
        }
        announces(&mut d, 30_000 + parts, "event=started");
        parts += 1;
    };
    assert!(parts > 3, "{parts}");
    let mut saved = std::collections::HashSet::new();
    read(&copy.bytes(), &mut |part| {
        if let Saved::Swarm(hash) = part {
            saved.insert(hash);
        }
    });
    for n in 0..20_000 {
        let hash = InfoHash::from_bytes(hash(n).as_bytes()).unwrap();
        assert!(saved.contains(&hash) || d.registry.swarms.find(&hash).is_none(), "{n}");
    }
    assert!(d.registry.has_changed(), "those who came meanwhile are for the next time");
}
