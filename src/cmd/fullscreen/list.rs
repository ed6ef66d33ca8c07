//! Many torrents in a list, and which of them is looked at: what keys and events change of it. The
//! picture is drawn in `list/picture`.

mod picture;

use super::view::{Notice, Order, Tab, View};
use super::{Face, words};
use crate::app::client::{Look, Phase, Report, TorrentId};
use crate::app::many::{Event, Torrent};
use crate::io::screen::Size;
use crate::io::screen::frame::Frame;
use crate::io::screen::keys::Key;
use crate::proto::order;
use crate::proto::sorted;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// So many messages are remembered; the oldest go.
const MAX_NOTICES: usize = 1000;

/// So many totals are remembered, one a second.
const MAX_RATES: usize = 1000;

/// Longest word to filter by.
const MAX_FILTER: usize = 60;

/// What the list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum By {
    /// As they came.
    #[default]
    Added,
    Name,
    Done,
    Size,
    Download,
    Upload,
}

impl By {
    const ALL: [By; 6] = [By::Added, By::Name, By::Done, By::Size, By::Download, By::Upload];

    fn title(self) -> &'static str {
        match self {
            By::Added => "added",
            By::Name => "name",
            By::Done => "done",
            By::Size => "size",
            By::Download => "download",
            By::Upload => "upload",
        }
    }

    fn next(self) -> By {
        let at = By::ALL.iter().position(|by| *by == self).unwrap_or(0);
        By::ALL[(at + 1) % By::ALL.len()]
    }
}

/// One torrent of the list.
pub(super) struct Item {
    pub(super) view: View,
    /// As it is shown.
    pub(super) title: String,
    /// Its .torrent file.
    pub(super) path: PathBuf,
}

/// The list.
#[derive(Default)]
pub struct List {
    pub(super) items: sorted::Map<TorrentId, Item>,
    pub(super) notices: VecDeque<Notice>,
    /// Bytes a second that came and went, of all, the newest last.
    pub(super) rates: VecDeque<(f64, f64)>,
    /// Which one keys are about.
    at: Option<TorrentId>,
    /// Which one's own screen is shown.
    pub(super) open: Option<TorrentId>,
    pub(super) by: By,
    pub(super) reversed: bool,
    /// Only those are shown whose title has this in it, small letters or not.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    /// Whether to check the chosen one again.
    pub(super) asks_recheck: bool,
    pub(super) help: bool,
    /// The folder, as the user named it.
    folder: PathBuf,
    /// The port we listen on.
    pub port: u16,
    /// Torrents are named by the paths of their files.
    by_path: bool,
    /// It begins to end.
    pub(super) stopping: bool,
    /// What a torrent's own screen begins with.
    tab: Tab,
}

impl List {
    /// An empty list for a folder; its torrents' own screens begin with this.
    pub fn new(folder: &Path, by_path: bool, tab: Tab) -> List {
        List { folder: folder.to_path_buf(), by_path, tab, ..List::default() }
    }

    /// Takes what happens, at this moment.
    pub fn take(&mut self, event: Event, moment: &str) {
        match event {
            Event::Added(id, torrent) => self.add(id, &torrent, moment),
            Event::Dropped(id, torrent) => {
                self.remove(id);
                self.tell(&format!("dropped \"{}\"", torrent.path.display()), moment, false);
            }
            Event::Died(id, torrent, why) => {
                self.remove(id);
                let text = format!("DIED: \"{}\": {why}", torrent.path.display());
                self.tell(&text, moment, true);
            }
            Event::Notice(id, text) => self.note(id, &text, moment, true),
            Event::Remark(id, text) => self.note(id, &text, moment, false),
            Event::Report(id, report) => self.report(id, &report, moment),
            Event::Stopping => {
                self.stopping = true;
                self.tell("shutting down", moment, false);
            }
            Event::Show | Event::Ended(_) => {}
        }
    }

    fn add(&mut self, id: TorrentId, torrent: &Torrent, moment: &str) {
        let path = torrent.path.display().to_string();
        let target = std::path::absolute(&torrent.target).unwrap_or(torrent.target.clone());
        let view = View {
            name: torrent.name.clone(),
            target: target.display().to_string(),
            port: self.port,
            tab: self.tab,
            is_one_of_many: true,
            ..View::default()
        };
        self.tell(&format!("added \"{path}\""), moment, false);
        // The folder stands above the list.
        let below = torrent.path.strip_prefix(&self.folder).unwrap_or(&torrent.path);
        let title = match self.by_path {
            true => below.display().to_string(),
            false => torrent.name.clone(),
        };
        self.items.insert(id, Item { view, title, path: torrent.path.clone() });
    }

    fn remove(&mut self, id: TorrentId) {
        if self.at == Some(id) {
            let shown = self.shown();
            let place = shown.iter().position(|other| *other == id).unwrap_or(0);
            let next = shown.get(place + 1).or(shown.get(place.wrapping_sub(1)));
            self.at = next.copied();
        }
        self.open = self.open.filter(|open| *open != id);
        self.items.remove(&id);
    }

    fn note(&mut self, id: Option<TorrentId>, text: &str, moment: &str, is_trouble: bool) {
        match id.and_then(|id| self.items.get_mut(&id)) {
            Some(item) => {
                item.view.tell(text, moment, is_trouble);
                let text = format!("\"{}\": {text}", item.title);
                self.tell(&text, moment, is_trouble);
            }
            None => self.tell(text, moment, is_trouble),
        }
    }

    fn report(&mut self, id: TorrentId, report: &Report, moment: &str) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.view.take(report, moment);
        if let Some(figures) = &item.view.figures {
            item.view.size = figures.total;
        }
        let what = match report {
            Report::Complete => "complete".to_owned(),
            Report::Done => "complete but for files that are not wanted".to_owned(),
            Report::Enough(goal) => format!("{goal}: stopping"),
            _ => return,
        };
        let text = format!("\"{}\": {what}", item.title);
        self.tell(&text, moment, false);
    }

    fn tell(&mut self, text: &str, moment: &str, is_trouble: bool) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        let (time, text) = (moment.to_owned(), text.to_owned());
        self.notices.push_back(Notice { time, text, is_trouble });
    }

    /// The trouble that was told.
    pub fn trouble(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| notice.is_trouble)
    }

    /// The one that keys are about.
    pub fn chosen(&self) -> Option<TorrentId> {
        self.open.or_else(|| self.place().map(|(_, id)| id))
    }

    /// Which is opened, and its file, if the names of its files are not known yet.
    pub fn nameless(&self) -> Option<(TorrentId, PathBuf)> {
        let id = self.open?;
        let item = self.items.get(&id).filter(|item| item.view.names.is_empty())?;
        Some((id, item.path.clone()))
    }

    /// The names of its files are these.
    pub fn name(&mut self, id: TorrentId, names: Vec<super::File>) {
        if let Some(item) = self.items.get_mut(&id) {
            item.view.names = names;
        }
    }

    /// Those that are shown, in their order.
    pub(super) fn shown(&self) -> Vec<TorrentId> {
        let word = self.filter.to_lowercase();
        let fits = |item: &Item| word.is_empty() || item.title.to_lowercase().contains(&word);
        let mut shown: Vec<(TorrentId, &Item)> = self
            .items
            .iter()
            .filter(|(_, item)| fits(item))
            .map(|(id, item)| (*id, item))
            .collect();
        let status = |item: &Item| item.view.figures.as_ref().and_then(|f| f.status.clone());
        let down = |item: &Item| status(item).map_or(0.0, |s| s.download_rate);
        let up = |item: &Item| status(item).map_or(0.0, |s| s.upload_rate);
        let done = |item: &Item| item.view.figures.as_ref().map_or(0.0, words::done);
        match self.by {
            By::Added => {}
            By::Name => order::by_cached_key(&mut shown, |(_, item)| item.title.to_lowercase()),
            By::Done => order::by(&mut shown, |(_, a), (_, b)| done(a).total_cmp(&done(b))),
            By::Size => order::by_key(&mut shown, |(_, item)| std::cmp::Reverse(item.view.size)),
            By::Download => order::by(&mut shown, |(_, a), (_, b)| down(b).total_cmp(&down(a))),
            By::Upload => order::by(&mut shown, |(_, a), (_, b)| up(b).total_cmp(&up(a))),
        }
        if self.reversed {
            shown.reverse();
        }
        shown.into_iter().map(|(id, _)| id).collect()
    }

    /// Where the chosen one stands, and which it is; the first if none was chosen.
    pub(super) fn place(&self) -> Option<(usize, TorrentId)> {
        let shown = self.shown();
        let at = self.at.and_then(|at| shown.iter().position(|id| *id == at)).unwrap_or(0);
        shown.get(at).map(|id| (at, *id))
    }

    fn press(&mut self, key: Key, page: usize) -> Option<Order> {
        match key {
            Key::Ctrl('l') => return Some(Order::Redraw),
            Key::Ctrl('z') => return Some(Order::Suspend),
            Key::Ctrl('c') => return Some(Order::Quit),
            _ if self.help => {
                self.help = false;
                return None;
            }
            _ if self.typing => {
                self.type_filter(key);
                return None;
            }
            _ if std::mem::take(&mut self.asks_recheck) => {
                return (key == Key::Char('y')).then_some(Order::Recheck);
            }
            Key::Char('q' | 'Q') => return Some(Order::Quit),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('o') => self.by = self.by.next(),
            Key::Char('O') => self.reversed = !self.reversed,
            Key::Char('/') => self.typing = true,
            Key::Char('s') => return Some(Order::Scan),
            Key::Escape => self.filter.clear(),
            Key::Enter | Key::Right => {
                self.at = self.chosen();
                self.open = self.at;
            }
            Key::Char('p') => {
                let item = self.items.get(&self.chosen()?)?;
                return Some(Order::Pause(!item.view.is_paused()));
            }
            Key::Char('r') => self.asks_recheck = self.chosen().is_some(),
            _ => self.go(key, page.max(1)),
        }
        None
    }

    fn go(&mut self, key: Key, page: usize) {
        let shown = self.shown();
        let Some((at, _)) = self.place() else { return };
        let to = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => at + page,
            Key::Home => 0,
            Key::End => usize::MAX,
            _ => return,
        };
        self.at = Some(shown[to.min(shown.len() - 1)]);
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Enter | Key::Up | Key::Down => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            Key::Backspace => _ = self.filter.pop(),
            Key::Char(c) if self.filter.len() < MAX_FILTER => self.filter.push(c),
            _ => {}
        }
    }

    /// How many there are, how many of them seed, and the rates of all.
    pub(super) fn totals(&self) -> (usize, usize, f64, f64) {
        let figures = || self.items.values().filter_map(|item| item.view.figures.as_ref());
        let seeding = figures().filter(|figures| figures.phase == Phase::Seeding).count();
        let status = || figures().filter_map(|figures| figures.status.as_ref());
        // The sum of nothing is -0.0.
        let down = status().fold(0.0, |sum, status| sum + status.download_rate);
        let up = status().fold(0.0, |sum, status| sum + status.upload_rate);
        (self.items.len(), seeding, down, up)
    }
}

impl Face for List {
    fn draw(&self, size: Size) -> Frame {
        match self.open.and_then(|id| self.items.get(&id)) {
            Some(item) => item.view.draw(size),
            None => picture::draw(self, size),
        }
    }

    fn on_key(&mut self, key: Key, size: Size) -> Option<Order> {
        let Some(item) = self.open.and_then(|id| self.items.get_mut(&id)) else {
            let page = picture::page(self, size);
            return self.press(key, page);
        };
        let waits = item.view.prompt.is_some() || item.view.help;
        match key {
            Key::Escape | Key::Backspace | Key::Char('q' | 'Q') if !waits => {
                self.open = None;
                None
            }
            key => item.view.on_key(key, size),
        }
    }

    fn tick(&mut self) {
        let (_, _, down, up) = self.totals();
        if self.rates.len() >= MAX_RATES {
            self.rates.pop_front();
        }
        self.rates.push_back((down, up));
        if let Some(item) = self.open.and_then(|id| self.items.get_mut(&id)) {
            item.view.note_rates();
        }
    }

    fn looks(&self, all: bool) -> Vec<Look> {
        let item = self.open.and_then(|id| self.items.get(&id));
        item.map(|item| item.view.looks(all)).unwrap_or_default()
    }

    fn looked_at(&self) -> (Option<TorrentId>, Tab) {
        let item = self.open.and_then(|id| self.items.get(&id));
        (self.open, item.map_or(Tab::default(), |item| item.view.tab))
    }
}

#[cfg(test)]
mod tests;
