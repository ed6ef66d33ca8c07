//! Web seeds: what is fetched from servers by HTTP, beside what peers give (BEP 17, BEP 19).
//!
//! A web seed is asked for a *run*: neighbouring blocks that nobody was asked for, from the rarest
//! piece on. In the ledger it stands beside the peers, so that nothing is asked of both; a piece
//! that it alone gave and that is bad is its fault. Peers go first wherever both could: they are
//! asked before it, under a limit they take the tokens first, and the shorter the rest is, the
//! shorter its runs are. In the endgame peers may be asked for what it is slow to bring, and it for
//! what would come much too late.
//!
//! Where the bytes are put is decided block by block ([`Torrent::lend`]), so a limit on the
//! download, and a disk that is behind, reach the server by TCP.

use super::{Action, Notice, Timer, Torrent};
use crate::logic::PeerKey;
use crate::logic::ledger::PieceState;
use crate::logic::webseed::{
    Failure, LONGEST_STAY, MAX_BUSY, MAX_SEEDS, Run, Source, Stage, Style, WebSeed, first_delay,
};
use crate::proto::bitfield::Bitfield;
use crate::proto::geometry::{BlockRef, PieceIndex};
use std::time::{Duration, Instant};

/// An idle web seed is asked for what others were asked for when that will take longer than this.
const MUCH_TOO_LATE: Duration = Duration::from_secs(10);

/// A web seed, for those who look on.
#[derive(Debug, Clone, PartialEq)]
pub struct WebSeedStatus {
    /// Its URL, without the query.
    pub url: String,
    /// What it understands.
    pub style: Style,
    /// Something is being fetched from it.
    pub fetching: bool,
    /// It is of no use any more, and not asked again.
    pub gone: bool,
    /// Payload that comes from it, bytes a second.
    pub download_rate: f64,
    /// Payload that came from it.
    pub downloaded: u64,
    /// What it is believed to have of the whole, 0 to 1.
    pub progress: f64,
}

impl Torrent {
    /// From now on these servers are asked too. Those that are known or cannot be asked are left
    /// out, and so are those beyond [`MAX_SEEDS`].
    pub fn add_web_seeds(&mut self, sources: Vec<Source>, now: Instant) {
        for source in sources {
            if !is_http(&source.url) {
                let text = format!("http seed url not http: {}", source.url);
                self.actions.push_back(Action::Report(Notice::WebSeed(text)));
                continue;
            }
            if self.web.seeds.len() < MAX_SEEDS && self.web.seeds.iter().all(|s| s.source != source)
            {
                let key = PeerKey(self.next_key);
                self.next_key += 1;
                let first = now + first_delay(self.may_have_peers(), &mut self.rng);
                let (pieces, window) = (self.geometry.piece_count(), self.config.rate_window);
                self.web.seeds.push(WebSeed::new(source, key, pieces, (window, first), now));
            }
        }
        // Not everybody's first choice is the first mirror of the list.
        self.rng.shuffle(&mut self.web.seeds);
        self.ask_web_seeds(now);
    }

    fn may_have_peers(&self) -> bool {
        self.announcer.has_any() || !self.peers.is_empty()
    }

    /// The web seeds, in no order.
    pub fn web_seeds(&self, now: Instant) -> Vec<WebSeedStatus> {
        let status = |seed: &WebSeed| WebSeedStatus {
            url: seed.source.name().to_owned(),
            style: seed.source.style,
            fetching: seed.run().is_some(),
            gone: matches!(seed.stage, Stage::Gone),
            download_rate: seed.down.rate(now),
            downloaded: seed.down.total(),
            progress: f64::from(seed.have.count()) / f64::from(seed.have.len().max(1)),
        };
        self.web.seeds.iter().map(status).collect()
    }

    /// Begins runs at those that have none and could have one.
    pub(super) fn ask_web_seeds(&mut self, now: Instant) {
        if self.web.seeds.is_empty() || self.asks_nothing() {
            return;
        }
        let mut busy = self.web.seeds.iter().filter(|s| s.run().is_some()).count();
        for n in 0..self.web.seeds.len() {
            if busy >= MAX_BUSY || !self.web.seeds[n].is_due(now) {
                continue;
            }
            let blocks = self.choose_run(n, busy, now);
            if blocks.is_empty() && self.ledger.all_asked() {
                self.endgame_soon(now);
            }
            busy += usize::from(!blocks.is_empty());
            self.begin_run(n, blocks, now);
        }
        self.watch_web_seeds(now);
    }

    fn begin_run(&mut self, n: usize, mut blocks: Vec<BlockRef>, now: Instant) {
        let seed = &mut self.web.seeds[n];
        let refused = blocks.iter().position(|block| !self.ledger.ask(*block, seed.key));
        blocks.truncate(refused.unwrap_or(blocks.len()));
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return };
        let at = |piece, offset: u32| self.geometry.piece_start(piece) + u64::from(offset);
        let (start, end) = (at(first.piece(), first.begin()), at(last.piece(), last.end()));
        seed.next = last.piece().get() + 1;
        self.web.runs += 1;
        let (number, source, whole) = (self.web.runs, seed.source.clone(), seed.undivided);
        let length = end - start;
        self.actions.push_back(Action::Fetch { run: number, source, start, length, whole });
        seed.stage =
            Stage::Fetching(Run { number, blocks, lent: 0, came: 0, began: now, heard: now });
    }

    /// The blocks to fetch from a seed: some that were asked of nobody, from the rarest piece on.
    fn choose_run(&mut self, n: usize, busy: usize, now: Instant) -> Vec<BlockRef> {
        let seed = &self.web.seeds[n];
        let (key, style, next) = (seed.key, seed.source.style, seed.next);
        let offers = if seed.alone { self.unstarted(&seed.have) } else { seed.have.clone() };
        let mut found = Vec::new();
        if self.ledger.all_asked() {
            return found;
        }
        let undivided = seed.undivided;
        match undivided {
            true => found.extend(self.next_in_sequence(n, &offers, now)),
            false => self.picker.pick(&self.ledger, &offers, key, 1, &mut self.rng, &mut found),
        }
        let Some(mut first) = found.first().copied() else { return found };
        // To go on where it ended is as good as anything, if it is no less rare.
        if let Some(piece) = self.geometry.piece(next).filter(|_| !undivided) {
            if self.goes_with(piece, first.piece(), (&offers, false)) {
                first = self.geometry.block(piece, 0).unwrap_or(first);
            }
        }
        let givers = busy + 1 + self.sessions().filter(|(_, s)| !s.choked).count();
        let share = self.ledger.free_blocks() * u64::from(self.geometry.block_length());
        let share = share / (givers as u64 + u64::from(givers > 1));
        let length = match style {
            Style::Pieces => 0,
            Style::Files => self.web.seeds[n].run_length(now).min(share),
        };
        self.stretch(first, length, (&offers, undivided))
    }

    /// Neighbouring blocks from `first` on that were asked of nobody: to the end of the piece, and
    /// over further pieces that are as rare as long as it is not `length` bytes.
    fn stretch(&self, first: BlockRef, length: u64, offers: Offers) -> Vec<BlockRef> {
        let (mut blocks, mut piece, mut begin, mut bytes) =
            (Vec::new(), first.piece(), first.begin(), 0);
        loop {
            for block in self.ledger.free_blocks_of(piece) {
                if block.begin() != begin {
                    // Before the first one, or behind a gap, from which on none fits.
                    continue;
                }
                begin = block.end();
                bytes += u64::from(block.length());
                blocks.push(block);
            }
            let Some(next) = self.geometry.piece(piece.get() + 1) else { return blocks };
            let is_through = begin == self.geometry.piece_size(piece);
            if !is_through || bytes >= length || !self.goes_with(next, first.piece(), offers) {
                return blocks;
            }
            (piece, begin) = (next, 0);
        }
    }

    /// Whether all of a piece can be fetched with another one, and is no less urgent.
    fn goes_with(&self, piece: PieceIndex, other: PieceIndex, (offers, common): Offers) -> bool {
        offers.get(piece.get())
            && self.ledger.lacks(piece.get())
            && self.ledger.state(piece) == PieceState::Missing
            && self.ledger.exclusive_owner(piece).is_none()
            && self.picker.priority(piece) <= self.picker.priority(other)
            && (common || self.picker.availability(piece) <= self.picker.availability(other))
    }

    /// Those of the pieces that nobody has given anything of.
    fn unstarted(&self, pieces: &Bitfield) -> Bitfield {
        let mut rest = pieces.clone();
        for (piece, _) in self.ledger.received() {
            rest.set(piece.get(), false);
        }
        rest
    }

    /// The next block of a run that there is a place for, if it may come now; it is to be followed
    /// by [`on_web_block`](Self::on_web_block). The places for blocks are given one after the
    /// other, and so they are filled.
    pub fn lend(&mut self, run: u64, now: Instant) -> Option<BlockRef> {
        let n = self.web.of_run(run)?;
        let run = self.web.seeds[n].run()?;
        let block = *run.blocks.get(run.lent)?;
        self.may_ask_for(1, now)?;
        self.limits.download.take(now, block.length().into());
        let run = self.web.seeds[n].run_mut()?;
        if run.outstanding().is_empty() {
            run.heard = now;
        }
        run.lent += 1;
        Some(block)
    }

    /// The next block of a run has come; `data` is as long as it.
    pub fn on_web_block(&mut self, run: u64, data: Vec<u8>, now: Instant) {
        let found = self.web.of_run(run).map(|n| &mut self.web.seeds[n]);
        let Some(seed) = found else { return self.discard(data.len() as u64, data) };
        let (key, length) = (seed.key, data.len() as u64);
        seed.came(now, length);
        let Some(run) = seed.run_mut() else { return };
        let Some(block) = run.outstanding().first().copied() else { return };
        run.came += 1;
        run.heard = now;
        self.down.add(now, length);
        self.charge_acks(length, now);
        self.cancel_elsewhere(key, block, now);
        self.take_block(key, block, data);
    }

    /// A run has ended: all of it came, or why it did not. Words of a run that was abandoned are
    /// ignored.
    pub fn on_web_end(&mut self, run: u64, result: Result<(), Failure>, now: Instant) {
        let Some(n) = self.web.of_run(run) else { return };
        let run = self.web.seeds[n].run().filter(|run| run.came == run.blocks.len());
        let last = run.and_then(|run| run.blocks.last());
        let end = last.map(|b| self.geometry.piece_start(b.piece()) + u64::from(b.end()));
        match (result, end) {
            (Ok(()), Some(end)) => self.web.seeds[n].succeeded(end, now),
            (Ok(()), None) => {
                self.web_seed_failed(n, Failure::Failed("too little came".into()), now);
            }
            (Err(failure), _) => self.web_seed_failed(n, failure, now),
        }
        self.ask_all(now);
    }

    fn web_seed_failed(&mut self, n: usize, failure: Failure, now: Instant) {
        self.release(n, now);
        if failure == Failure::Undivided && !self.web.seeds[n].undivided {
            self.web.seeds[n].undivided = true;
            return;
        }
        let wait = self.web.seeds[n].failed(&failure, &mut self.rng);
        self.web.seeds[n].stage = Stage::Waiting(now + wait);
        let why = match failure {
            Failure::Busy(_) => return self.watch_web_seeds(now),
            Failure::Lacks { file, why } => {
                self.lacks_file(n, file);
                why
            }
            Failure::Undivided => "it gives parts or not, as it likes".into(),
            Failure::Failed(why) => why,
        };
        let seed = &mut self.web.seeds[n];
        let mut text = format!("error accessing http seed: {why}");
        if seed.have.count() == 0 {
            seed.stage = Stage::Gone;
            text += "; it is not asked again";
        }
        if seed.is_news(&text) {
            self.actions.push_back(Action::Report(Notice::WebSeed(text)));
        }
        self.watch_web_seeds(now);
    }

    /// A web seed cannot give a file, and so none of the pieces the file is part of.
    fn lacks_file(&mut self, n: usize, file: usize) {
        for lost in self.geometry.pieces_of_file(file) {
            self.web.seeds[n].have.set(lost, false);
        }
    }

    /// What a seed was asked for and has not come may be asked of others.
    fn release(&mut self, n: usize, now: Instant) {
        let seed = &mut self.web.seeds[n];
        seed.at = None;
        let (key, stage) = (seed.key, std::mem::replace(&mut seed.stage, Stage::Waiting(now)));
        if let Stage::Fetching(run) = stage {
            self.not_coming(run.outstanding(), now);
        }
        self.ledger.unask_all(key);
    }

    /// Nothing more is wanted of a run.
    fn abandon(&mut self, n: usize, now: Instant) {
        if let Some(run) = self.web.seeds[n].run() {
            self.actions.push_back(Action::Abandon(run.number));
            self.release(n, now);
        }
    }

    /// Nothing more is wanted of any run.
    pub(super) fn abandon_all(&mut self, now: Instant) {
        (0..self.web.seeds.len()).for_each(|n| self.abandon(n, now));
    }

    /// A block of what a web seed was asked for came from elsewhere: if it was the last that is
    /// wanted of its run, the run is over.
    pub(super) fn came_elsewhere(&mut self, key: PeerKey, now: Instant) {
        let Some(n) = self.web.of_key(key) else { return };
        if self.ledger.asked_count(key) <= 1 {
            self.abandon(n, now);
        }
    }

    /// Looks for runs that take too long, and for seeds that may be asked again.
    pub(super) fn look_at_web_seeds(&mut self, now: Instant) {
        for n in 0..self.web.seeds.len() {
            let undivided = self.web.seeds[n].undivided;
            let Some(run) = self.web.seeds[n].run() else { continue };
            let is_silent = run.heard + self.config.snub_time <= now;
            // What it throws away first is not heard of here; who fetches knows what is too slow.
            let is_coming = undivided && run.came == 0;
            if self.ledger.asked_count(self.web.seeds[n].key) == 0 && run.came < run.blocks.len() {
                // Others brought it, or it is not wanted any more.
                self.abandon(n, now);
            } else if is_silent && !run.outstanding().is_empty() && !is_coming {
                let seed = &self.web.seeds[n];
                let seconds = self.config.snub_time.as_secs();
                let why = format!("'{}' sends nothing for {seconds} seconds", seed.source.name());
                self.abandon(n, now);
                self.web_seed_failed(n, Failure::Failed(why), now);
            } else if !undivided && (is_silent || run.began + LONGEST_STAY <= now) {
                // The peers took all tokens, or it is slow: what is left is for who is quicker.
                self.abandon(n, now);
                if is_silent {
                    self.web.seeds[n].stage = Stage::Waiting(now + self.config.snub_time);
                }
            }
        }
        self.ask_all(now);
        self.watch_web_seeds(now);
    }

    /// Sets the time for the next look.
    fn watch_web_seeds(&mut self, now: Instant) {
        if self.asks_nothing() {
            return;
        }
        let next = |seed: &WebSeed| match &seed.stage {
            Stage::Fetching(run) if seed.undivided => {
                Some(run.heard + self.config.snub_time).filter(|at| *at > now)
            }
            Stage::Fetching(run) => {
                Some((run.heard + self.config.snub_time).min(run.began + LONGEST_STAY))
            }
            // One that is due has nothing to do before something else happens.
            Stage::Waiting(until) => Some(*until).filter(|until| *until > now),
            Stage::Gone => None,
        };
        if let Some(at) = self.web.seeds.iter().filter_map(next).min() {
            self.timers.set(Timer::WebSeeds, at);
        }
    }

    /// Who gave blocks of a good piece.
    pub(super) fn praise_web_seeds(&mut self, givers: &[PeerKey]) {
        for seed in self.web.seeds.iter_mut().filter(|seed| givers.contains(&seed.key)) {
            seed.praise();
        }
    }

    /// Who gave blocks of a bad piece.
    pub(super) fn blame_web_seeds(&mut self, givers: &[PeerKey], now: Instant) {
        for n in 0..self.web.seeds.len() {
            let seed = &mut self.web.seeds[n];
            // What a banned one had given before is still being hashed.
            if !givers.contains(&seed.key) || matches!(seed.stage, Stage::Gone) {
                continue;
            }
            if givers.len() > 1 {
                seed.alone = true;
                continue;
            }
            let bears = seed.blame() || !self.config.auto_kick;
            let name = seed.source.name();
            let text = match bears {
                true => format!("corrupt data from http seed - redownloading ({name})"),
                false => format!("corrupt data from http seed again: '{name}' is banned"),
            };
            self.actions.push_back(Action::Report(Notice::WebSeed(text)));
            if !bears {
                self.abandon(n, now);
                self.web.seeds[n].stage = Stage::Gone;
            }
        }
    }

    /// What was asked of web seeds and has not come, and how soon it can be expected.
    pub(super) fn late_from_web(&self, now: Instant) -> Vec<(BlockRef, Duration)> {
        let mut late = Vec::new();
        for seed in &self.web.seeds {
            let Some(run) = seed.run() else { continue };
            let silence = now.saturating_duration_since(run.heard);
            let rest = run.blocks[run.came..].iter().enumerate();
            let asked = rest.filter(|(_, b)| self.ledger.asked_of(**b).any(|k| k == seed.key));
            late.extend(asked.map(|(ahead, block)| {
                (*block, seed.expected(ahead, self.geometry.block_length(), now) + silence)
            }));
        }
        late
    }

    /// In the endgame an idle web seed is asked for the rest of a piece from `block` on if that comes
    /// much too late otherwise, only in `comes_in`. Whether it is worth looking again soon.
    pub(super) fn help_from_web(
        &mut self,
        block: BlockRef,
        comes_in: Duration,
        now: Instant,
    ) -> bool {
        let may = |seed: &WebSeed| {
            seed.is_due(now)
                && !seed.undivided
                && seed.have.get(block.piece().get())
                && !seed.alone
                && self.ledger.may_ask(block.piece(), seed.key)
        };
        let busy = self.web.seeds.iter().filter(|s| s.run().is_some()).count();
        let Some(n) = self.web.seeds.iter().position(may) else { return false };
        if comes_in < MUCH_TOO_LATE || busy >= MAX_BUSY {
            return busy < MAX_BUSY;
        }
        let count = self.geometry.block_count(block.piece());
        let from = self.geometry.block_number(block).unwrap_or(count);
        let rest = (from..count).filter_map(|i| self.geometry.block(block.piece(), i));
        let blocks = rest.take_while(|b| self.ledger.asked_of(*b).next().is_some()).collect();
        self.begin_run(n, blocks, now);
        self.watch_web_seeds(now);
        true
    }
}

/// The pieces that a web seed has, and whether they are fetched in their order, however rare.
type Offers<'a> = (&'a Bitfield, bool);

/// The web seeds of a torrent.
#[derive(Debug, Default)]
pub(super) struct WebSeeds {
    pub(super) seeds: Vec<WebSeed>,
    /// So many runs have begun.
    runs: u64,
}

impl WebSeeds {
    fn of_run(&self, number: u64) -> Option<usize> {
        self.seeds.iter().position(|seed| seed.run().is_some_and(|run| run.number == number))
    }

    fn of_key(&self, key: PeerKey) -> Option<usize> {
        self.seeds.iter().position(|seed| seed.key == key)
    }
}

fn is_http(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"].iter().any(|s| s.eq_ignore_ascii_case(scheme))
}
