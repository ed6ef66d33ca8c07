use super::*;
use crate::app::client::{Figures, Status};

fn figures(phase: Phase, left: u64, rate: f64) -> Report {
    let status = Status {
        wanted: 1000,
        left,
        pieces: 1,
        downloaded: 1_048_576,
        uploaded: 2_097_152,
        discarded: 0,
        download_rate: rate,
        upload_rate: rate / 2.0,
        seeds: 1,
        web_seeds: 0,
        web_rate: 0.0,
        peers: 2,
        swarm: None,
        distributed_copies: 0.5,
        peers_progress: 0.5,
        peers_rate: 0.0,
    };
    Report::Figures(Figures { phase, total: 1000, left, status: Some(status) })
}

/// A list of so many torrents, the fourth and each third after it seeding.
fn list(count: u32) -> List {
    let mut list = List { folder: "torrents".into(), port: 6881, ..List::default() };
    for n in 0..count {
        let id = TorrentId::of(n.into());
        let view = View { name: format!("Größe {n}"), is_one_of_many: true, ..View::default() };
        let title = format!("torrents/Größe 文件 {n}.torrent");
        list.items.insert(id, Item { view, title, path: format!("torrents/{n}").into() });
        let report = match n % 3 {
            0 => figures(Phase::Seeding, 0, 0.0),
            _ => figures(Phase::Downloading, 500, f64::from(n) * 1024.0),
        };
        list.take(Event::Report(id, report), "2026-01-02 03:04");
    }
    list
}

fn drawn(list: &List, columns: u16, rows: u16) -> Vec<String> {
    list.draw(Size { columns, rows }).rows()
}

fn typed(list: &mut List, keys: &str) -> Option<Order> {
    let size = Size { columns: 80, rows: 24 };
    let key = |c| match c {
        '\n' => Key::Enter,
        '<' => Key::Escape,
        'v' => Key::Down,
        '^' => Key::Up,
        c => Key::Char(c),
    };
    keys.chars().filter_map(|c| list.on_key(key(c), size)).last()
}

#[test]
fn what_is_no_trouble_is_not_told_as_such_at_the_end() {
    let mut list = list(1);
    let at = "2026-01-02 03:04";
    list.take(Event::Notice(Some(TorrentId::of(0)), "no".into()), at);
    list.take(Event::Remark(Some(TorrentId::of(0)), "all is well".into()), at);
    list.take(Event::Remark(None, "the router took a port".into()), at);
    let trouble: Vec<&str> = list.trouble().map(|notice| notice.text.as_str()).collect();
    assert_eq!(trouble.len(), 1, "{trouble:?}");
}

#[test]
fn few_torrents_have_the_original_s_three_rows_each() {
    let mut list = list(2);
    let id = TorrentId::of(1);
    let timeout = "Problem connecting to tracker - timeout exceeded".to_owned();
    list.take(Event::Notice(Some(id), timeout), "2026-01-02 03:04");
    let rows = drawn(&list, 80, 24);
    for (row, expected) in rows.iter().skip(1).zip([
        "│  # Filename                                   Size    Done    Download      Upload │",
        "│  1 torrents/Größe 文件 0.torrent            0.98 KiB  100.0%         ---         --- │",
        "│    (100.0%) seeding - 2.0 MB up 1.0 MB dn - 2 peers 1 seeds",
        "│                                                                              │",
        "│  2 torrents/Größe 文件 1.torrent",
        "│    (50.0%) ETA in 0:00:01 - 2.0 MB up 1.0 MB dn",
        "│    Problem connecting to tracker - timeout exceeded",
    ]) {
        let (row, expected) = (row.replace(' ', ""), expected.replace(' ', ""));
        let expected = expected.trim_end_matches(['│', '…']);
        assert!(row.starts_with(expected), "{row:?} is not {expected:?}");
    }
    let all = rows.join("\n");
    assert!(all.contains("Totals: 2 torrents, 1 seeding, 1.0 KB/s down, 0.5 KB/s up"), "{all}");
    assert!(all.contains("2026-01-02 03:04 - \"torrents/Größe 文件 1.torrent\": Problem"), "{all}");
    assert!(rows[23].starts_with("└─ q quit ─ ? help ─ Enter details"), "{all}");
}

#[test]
fn a_long_list_scrolls_and_is_sorted_and_filtered() {
    let mut list = list(500);
    list.on_key(Key::End, Size { columns: 80, rows: 24 });
    let all = drawn(&list, 80, 24).join("\n");
    assert!(all.contains("500 torrents/Größe 文件 499.torrent") && !all.contains(" 1 torrents"));
    typed(&mut list, "oo");
    assert_eq!(list.by, By::Done);
    typed(&mut list, "ooo");
    assert_eq!(list.shown()[0], TorrentId::of(499), "the fastest first");
    typed(&mut list, "O/文件 49\n");
    let found = list.shown();
    assert_eq!(found.len(), 11, "{found:?}");
    assert_eq!(found[10], TorrentId::of(499));
    let all = drawn(&list, 80, 24).join("\n");
    assert!(all.contains("/文件 49 ") && all.contains("by upload, reversed"), "{all}");
    typed(&mut list, "/none");
    assert!(drawn(&list, 80, 24).join("").contains("no torrent has '文件 49none' in its name"));
    typed(&mut list, "<");
    assert_eq!(list.shown().len(), 500);
}

#[test]
fn keys_are_about_the_chosen_torrent_and_its_own_screen_is_that_of_one() {
    let mut list = list(3);
    assert_eq!(typed(&mut list, "vvvv^p"), Some(Order::Pause(true)));
    assert_eq!(list.chosen(), Some(TorrentId::of(1)));
    assert_eq!(typed(&mut list, "rn"), None);
    assert_eq!(typed(&mut list, "ry"), Some(Order::Recheck));
    assert_eq!(typed(&mut list, "s"), Some(Order::Scan));
    assert_eq!(typed(&mut list, "\n2"), None);
    assert_eq!(list.looks(false), [Look::Peers, Look::WebSeeds]);
    let all = drawn(&list, 80, 24).join("\n");
    assert!(all.contains("file:     Größe 1") && all.contains("Esc back"), "{all}");
    assert!(!all.contains("ul limit"), "{all}");
    assert_eq!(typed(&mut list, "q"), None, "back to the list");
    assert_eq!(typed(&mut list, "?q"), None, "any key leaves the help");
    assert_eq!(typed(&mut list, "q"), Some(Order::Quit));
    // One that goes takes its screen along, and its neighbour is chosen.
    typed(&mut list, "\n");
    list.remove(TorrentId::of(1));
    assert_eq!((list.open, list.chosen()), (None, Some(TorrentId::of(2))));
}

#[test]
fn no_size_is_too_small_and_no_list_too_empty() {
    for count in [0, 1, 40] {
        let list = list(count);
        for columns in (1..140).step_by(5) {
            for rows in [1, 2, 3, 6, 11, 12, 13, 20, 60] {
                let shown = drawn(&list, columns, rows);
                assert!(
                    shown.iter().all(|row| crate::io::screen::frame::width(row) <= columns.into())
                );
            }
        }
    }
    assert!(drawn(&list(0), 80, 24).join("").contains("no torrents"));
    let small = drawn(&list(2), 20, 6);
    assert!(small[0].starts_with("  1 torre") && small[0].ends_with("100.0%"), "{small:?}");
    assert_eq!(small[4], "2: ↓ 1.0K ↑ 0.5K", "{small:?}");
    let huge = drawn(&list(40), 300, 100);
    assert!(huge.join("\n").contains("(100.0%) seeding - 2.0 MB up"));
    let mut list = list(1);
    list.help = true;
    assert!(drawn(&list, 80, 24).join("").contains("look through the folder at once"));
}
