//! What is known of one torrent and of what its user looks at: all that a picture of it is drawn
//! from, and what keys change of it. No terminal and no download is needed for any of it.

use crate::app::client::{
    Figures, FileStatus, JoinReport, Look, PeerStatus, Phase, PieceStatus, Priority, Report,
    WebSeedStatus,
};
use crate::io::screen::keys::Key;
use std::collections::VecDeque;

/// So many messages are remembered; the oldest go.
const MAX_NOTICES: usize = 1000;

/// So many rates are remembered, one a second.
const MAX_RATES: usize = 1000;

/// Longest number that is taken.
const MAX_DIGITS: usize = 8;

/// What the lower part shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    /// What was told.
    #[default]
    Messages,
    /// The connections: the original's spew.
    Peers,
    /// The files.
    Files,
    /// The pieces.
    Pieces,
}

impl Tab {
    /// All of them, in their order.
    pub const ALL: [Tab; 4] = [Tab::Messages, Tab::Peers, Tab::Files, Tab::Pieces];

    /// The one to begin with: the peers, for those who want to see much.
    pub fn first(spew: bool) -> Tab {
        if spew { Tab::Peers } else { Tab::Messages }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Tab::Messages => "messages",
            Tab::Peers => "peers",
            Tab::Files => "files",
            Tab::Pieces => "pieces",
        }
    }

    /// The one so many places further.
    fn step(self, places: usize) -> Tab {
        let at = Tab::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Tab::ALL[(at + places) % Tab::ALL.len()]
    }
}

/// A question that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// An upload limit in kB/s.
    Upload(String),
    /// A download limit in kB/s.
    Download(String),
    /// Whether all data is to be checked again.
    Recheck,
}

/// What the user wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The end.
    Quit,
    /// To have the terminal drawn anew.
    Redraw,
    /// To stop the program for a while.
    Suspend,
    /// To have it rest, or go on.
    Pause(bool),
    /// All data checked again.
    Recheck,
    /// These limits, in bytes a second.
    Limits(Option<u64>, Option<u64>),
    /// The files wanted so much.
    Priorities(Vec<Priority>),
    /// To have the folder looked through at once.
    Scan,
}

/// A message and when it came, `HH:MM:SS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub time: String,
    /// What.
    pub text: String,
    /// It is told again when the screen is gone.
    pub is_trouble: bool,
}

/// A file, as far as the .torrent tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Nothing but padding, which nobody needs to see.
    pub pad: bool,
}

/// One torrent, and what is looked at.
#[derive(Debug, Default)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Where it is saved.
    pub target: String,
    /// The port we listen on.
    pub port: u16,
    /// While the metadata is fetched: from so many peers.
    pub joining: Option<usize>,
    /// The newest figures.
    pub figures: Option<Figures>,
    /// What was told.
    pub notices: VecDeque<Notice>,
    /// The connections.
    pub peers: Vec<PeerStatus>,
    /// The web seeds.
    pub web_seeds: Vec<WebSeedStatus>,
    /// The files' names.
    pub names: Vec<File>,
    /// The files, as many as names, once they are known.
    pub files: Vec<FileStatus>,
    /// The pieces, once they are known.
    pub pieces: Option<PieceStatus>,
    /// Bytes a second that came and went, the newest last.
    pub rates: VecDeque<(f64, f64)>,
    /// The limits of upload and download, bytes a second.
    pub limits: (Option<u64>, Option<u64>),
    /// Everything wanted was there.
    pub complete: bool,
    /// What is shown below.
    pub tab: Tab,
    /// The first row shown of a list: of messages, counted from the newest.
    pub scroll: usize,
    /// The file that keys change.
    pub chosen: usize,
    /// The question that waits.
    pub prompt: Option<Prompt>,
    /// The keys are explained.
    pub help: bool,
    /// Limits are not its own.
    pub is_one_of_many: bool,
}

impl View {
    /// Takes what a download tells, at this time of the day. False if it needs no new picture.
    pub fn take(&mut self, report: &Report, time: &str) -> bool {
        match report {
            Report::Figures(figures) => self.figures = Some(figures.clone()),
            Report::Notice(text) => self.tell(text, time, true),
            Report::Remark(text) => self.tell(text, time, false),
            Report::Complete | Report::Done => self.complete = true,
            Report::Enough(goal) => self.tell(&format!("{goal}: stopping"), time, false),
            Report::Peers(peers) => self.peers.clone_from(peers),
            Report::Files(files) => self.files.clone_from(files),
            Report::Pieces(pieces) => self.pieces = Some(pieces.clone()),
            Report::WebSeeds(seeds) => self.web_seeds.clone_from(seeds),
            Report::Called(_) | Report::Ended(_) => return false,
        }
        true
    }

    /// Takes what is told while the metadata is fetched.
    pub fn take_join(&mut self, report: &JoinReport, time: &str) {
        match report {
            JoinReport::Peers(peers) => self.joining = Some(*peers),
            JoinReport::Notice(text) => self.tell(text, time, true),
            JoinReport::Ended(_) => {}
        }
    }

    /// Notes a message.
    pub fn tell(&mut self, text: &str, time: &str, is_trouble: bool) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(Notice { time: time.into(), text: text.into(), is_trouble });
        if self.tab == Tab::Messages && self.scroll > 0 {
            // Who reads older ones goes on reading them.
            self.scroll += 1;
        }
    }

    /// To be called once a second: notes the rates.
    pub fn note_rates(&mut self) {
        let status = self.figures.as_ref().and_then(|figures| figures.status.as_ref());
        let Some(status) = status else { return };
        if self.rates.len() >= MAX_RATES {
            self.rates.pop_front();
        }
        self.rates.push_back((status.download_rate, status.upload_rate));
    }

    /// What is to be asked for beside the figures; `all` too of what nobody looks at closely.
    pub fn wanted_looks(&self, all: bool) -> Vec<Look> {
        let mut looks = match self.tab {
            Tab::Messages | Tab::Pieces => vec![],
            Tab::Peers => vec![Look::Peers, Look::WebSeeds],
            Tab::Files => vec![Look::Files],
        };
        if all || self.tab == Tab::Pieces {
            looks.push(Look::Pieces);
        }
        looks
    }

    /// Whether it rests.
    pub fn is_paused(&self) -> bool {
        self.figures.as_ref().is_some_and(|figures| figures.phase == Phase::Paused)
    }

    /// The numbers of the files that are shown.
    pub fn shown_files(&self) -> Vec<usize> {
        (0..self.names.len()).filter(|n| !self.names[*n].pad).collect()
    }

    /// A key was pressed, while `page` rows of a list can be seen. What it orders, if that is more
    /// than another look.
    pub fn press(&mut self, key: Key, page: usize) -> Option<Order> {
        if let Some(prompt) = self.prompt.take() {
            return self.answer(prompt, key);
        }
        match key {
            Key::Ctrl('l') => return Some(Order::Redraw),
            Key::Ctrl('z') => return Some(Order::Suspend),
            Key::Ctrl('c') => return Some(Order::Quit),
            _ if self.help => {
                self.help = false;
                return None;
            }
            Key::Char('q' | 'Q') => return Some(Order::Quit),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('p') => return Some(Order::Pause(!self.is_paused())),
            Key::Char('r') => self.prompt = Some(Prompt::Recheck),
            Key::Char('u') if !self.is_one_of_many => {
                self.prompt = Some(Prompt::Upload(String::new()))
            }
            Key::Char('d') if !self.is_one_of_many => {
                self.prompt = Some(Prompt::Download(String::new()))
            }
            Key::Tab | Key::Right => self.go_to(self.tab.step(1)),
            Key::BackTab | Key::Left => self.go_to(self.tab.step(Tab::ALL.len() - 1)),
            Key::Char(digit @ '1'..='4') => self.go_to(Tab::ALL[digit as usize - '1' as usize]),
            Key::Char('+' | '-' | ' ') if self.tab == Tab::Files => return self.reprioritize(key),
            _ => self.scroll(key, page),
        }
        None
    }

    fn go_to(&mut self, tab: Tab) {
        (self.tab, self.scroll) = (tab, 0);
    }

    fn scroll(&mut self, key: Key, page: usize) {
        let page = page.max(1);
        let last = match self.tab {
            Tab::Files => self.shown_files().len().saturating_sub(1),
            Tab::Messages => self.notices.len().saturating_sub(1),
            Tab::Peers => (self.peers.len() + self.web_seeds.len()).saturating_sub(page),
            Tab::Pieces => 0,
        };
        let place = if self.tab == Tab::Files { &mut self.chosen } else { &mut self.scroll };
        let (back, on) = match key {
            Key::Up | Key::Char('k') => (1, 0),
            Key::Down | Key::Char('j') => (0, 1),
            Key::PageUp => (page, 0),
            Key::PageDown => (0, page),
            Key::Home => (usize::MAX, 0),
            Key::End => (0, usize::MAX),
            _ => return,
        };
        // Messages are counted from the newest, which is below.
        let (back, on) = if self.tab == Tab::Messages { (on, back) } else { (back, on) };
        *place = place.saturating_sub(back).saturating_add(on).min(last);
    }

    /// Has the chosen file wanted more or less, or not at all.
    fn reprioritize(&mut self, key: Key) -> Option<Order> {
        use Priority::{High, Low, Normal, Off};
        let file = *self.shown_files().get(self.chosen)?;
        let now = self.files.get(file)?.priority;
        let new = match (key, now) {
            (Key::Char('+'), High | Normal) => High,
            (Key::Char('+'), Low) => Normal,
            (Key::Char('+'), Off) => Low,
            (Key::Char('-'), High) => Normal,
            (Key::Char('-'), Normal) => Low,
            (Key::Char('-'), Low | Off) => Off,
            (_, Off) => Normal,
            _ => Off,
        };
        if new == now {
            return None;
        }
        self.files[file].priority = new;
        // Padding goes with the file before it.
        let mut last = new;
        for (status, name) in self.files.iter_mut().zip(&self.names) {
            if name.pad {
                status.priority = last;
            }
            last = status.priority;
        }
        Some(Order::Priorities(self.files.iter().map(|file| file.priority).collect()))
    }

    fn answer(&mut self, prompt: Prompt, key: Key) -> Option<Order> {
        let mut digits = match &prompt {
            Prompt::Recheck => {
                return (key == Key::Char('y')).then_some(Order::Recheck);
            }
            Prompt::Upload(digits) | Prompt::Download(digits) => digits.clone(),
        };
        match key {
            Key::Enter => {
                let limit = digits.parse::<u64>().ok().filter(|kb| *kb > 0).map(|kb| kb * 1000);
                match prompt {
                    Prompt::Upload(_) => self.limits.0 = limit,
                    _ => self.limits.1 = limit,
                }
                return Some(Order::Limits(self.limits.0, self.limits.1));
            }
            Key::Char(digit) if digit.is_ascii_digit() && digits.len() < MAX_DIGITS => {
                digits.push(digit);
            }
            Key::Backspace => _ = digits.pop(),
            Key::Escape | Key::Ctrl(_) => return None,
            _ => {}
        }
        self.prompt = Some(match prompt {
            Prompt::Upload(_) => Prompt::Upload(digits),
            _ => Prompt::Download(digits),
        });
        None
    }
}
