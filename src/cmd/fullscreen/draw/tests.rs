use super::*;
use crate::app::client::{
    Figures, FileStatus, PeerStatus, Phase, PieceStatus, Priority, Report, Status,
};
use crate::cmd::fullscreen::view::{File, Order};
use crate::io::screen::keys::Key;

fn size(columns: u16, rows: u16) -> Size {
    Size { columns, rows }
}

fn figures(phase: Phase) -> Figures {
    let status = Status {
        wanted: 30_000_000,
        left: 22_920_000,
        pieces: 27,
        downloaded: 7_130_316,
        uploaded: 3_250_585,
        discarded: 0,
        download_rate: 826_675.0,
        upload_rate: 260_915.0,
        seeds: 1,
        web_seeds: 0,
        web_rate: 0.0,
        peers: 1,
        swarm: None,
        distributed_copies: 0.236,
        peers_progress: 0.2313,
        peers_rate: 842_956.0,
    };
    Figures { phase, total: 30_000_000, left: 22_920_000, status: Some(status) }
}

/// A torrent in full swing, with an odd name.
fn view() -> View {
    let peer = PeerStatus {
        address: "20.1.2.3:6881".parse().unwrap(),
        client: "Transmission 4.0".into(),
        incoming: true,
        encrypted: true,
        interested: true,
        choked: false,
        wanting: true,
        choking: true,
        snubbed: false,
        optimistic: true,
        download_rate: 826_675.0,
        upload_rate: 0.0,
        downloaded: 7_130_316,
        uploaded: 0,
        progress: 0.5,
        gain_rate: 1024.0,
        requests: 10,
    };
    let file = |path: &str, pad| File { path: path.into(), pad };
    let status = |had, priority| FileStatus { length: 10_000_000, had, priority };
    let mut view = View {
        name: "Größe 文件\x1b[2J".into(),
        size: 30_000_000,
        target: "/srv/a/long/path/to/what/is/downloaded/here/Größe 文件".into(),
        port: 6881,
        peers: vec![peer; 300],
        names: vec![file("a/one.ogg", false), file(".pad/1", true), file("a/文件.ogg", false)],
        files: vec![
            status(10_000_000, Priority::Normal),
            status(0, Priority::Normal),
            status(123_456, Priority::Off),
        ],
        pieces: Some(PieceStatus {
            had: (0..115).map(|n| n < 27).collect(),
            availability: (0..115).map(|n| u32::from(n < 100)).collect(),
            started: 3,
            blocks: 12,
        }),
        ..View::default()
    };
    view.take(&Report::Figures(figures(Phase::Downloading)), "12:00:00");
    view.take(
        &Report::Notice("Problem connecting to tracker - timeout exceeded".into()),
        "12:34:56",
    );
    view.note_rates();
    view
}

fn drawn(view: &View, columns: u16, rows: u16) -> Vec<String> {
    draw(view, size(columns, rows)).rows()
}

#[test]
fn the_usual_terminal_has_the_original_s_fields_and_the_messages_below() {
    let rows = drawn(&view(), 80, 24);
    let expected = [
        "│ file:     Größe 文件\\x1b[2J                                                  │",
        "│ size:     28.6 MiB                                                           │",
        "│ dest:     /srv/a/long/path/to/what/is/downloaded/here/Größe 文件             │",
        "│ progress: ███████████████▌░░",
        "│ status:   finishing in 0:00:28 (23.6%)                                       │",
        "│ dl speed: 807.3 KB/s                                                       █ │",
        "│ ul speed: 254.8 KB/s                                                       █ │",
        "│ sharing:  0.456  (3.1 MB up / 6.8 MB down)                                   │",
        "│ seeds:    1 seen now, plus 0.236 distributed copies                          │",
        "│ peers:    1 seen now, 23.1% done at 823.2 kB/s                               │",
        "├─ 1 messages (1) ─ 2 peers ─ 3 files (2) ─ 4 pieces ──",
        "│ [12:34:56] Problem connecting to tracker - timeout exceeded                  │",
    ];
    for (row, expected) in rows[1..].iter().zip(expected) {
        assert!(row.starts_with(expected), "{row:?} is not {expected:?}");
    }
    assert!(rows[0].starts_with("┌─ BitTornado ") && rows[0].ends_with(" port 6881 ─┐"));
    assert!(rows[23].starts_with("└─ q quit ─ ? help ─"), "{}", rows[23]);
}

#[test]
fn the_smallest_terminal_has_what_matters_most() {
    assert_eq!(
        drawn(&view(), 20, 6),
        [
            "Größe 文件\\x1b[2J",
            "███░░░░░░░░░░ 23.6%",
            "0:00:28",
            "↓ 807K ↑ 255K",
            "seeds 1, peers 1",
            " q quit  ? help"
        ]
        .map(|row| match row {
            "███░░░░░░░░░░ 23.6%" => "███▎░░░░░░░░░░ 23.6%",
            row => row,
        })
    );
}

#[test]
fn a_huge_terminal_has_graphs_and_a_map_too() {
    let rows = drawn(&view(), 300, 100);
    let all = rows.join("\n");
    assert_eq!(rows.len(), 100);
    for shown in ["download  at most 807.3 KB/s", "upload", "─ pieces ─", "27 of 115", "[12:34:56]"]
    {
        assert!(all.contains(shown), "{shown}\n{all}");
    }
    assert!(rows.iter().all(|row| width(row) == 300), "the border is whole");
}

#[test]
fn the_peers_are_the_original_s_table_as_far_as_there_is_room() {
    let mut view = view();
    view.tab = Tab::Peers;
    let rows = drawn(&view, 90, 24);
    let head = "│   # IP                     Upload      Download      Completed     Speed";
    assert!(rows[12].starts_with(head), "{}", rows[12]);
    let first = "│   1*20.1.2.3        R+        --- IC 807.3 KB/s I       50.0%   1.0 KB/s";
    assert!(rows[13].starts_with(first), "{}", rows[13]);
    let totals = "│ downloading 3 pieces, have 12 fragments, 27 of 115 pieces completed";
    assert!(rows[22].starts_with(totals), "{}", rows[22]);
    view.press(Key::End, page(&view, size(90, 24)));
    assert!(drawn(&view, 90, 24)[21].starts_with("│ 300*"), "{}", rows[21]);
    assert!(drawn(&view, 140, 24)[13].contains("Transmission 4.0"));
}

#[test]
fn no_size_and_no_state_is_too_much() {
    let mut view = view();
    for tab in Tab::ALL {
        view.tab = tab;
        for (columns, rows) in
            (1..140).step_by(3).flat_map(|c| [1, 2, 5, 6, 10, 11, 12, 17, 40, 60].map(|r| (c, r)))
        {
            let shown = drawn(&view, columns, rows);
            assert!(shown.iter().all(|row| width(row) <= columns.into()), "{columns}x{rows}");
        }
    }
    view.help = true;
    assert!(drawn(&view, 80, 24).join("").contains("pause, and go on"));
    assert!(drawn(&view, 20, 6).join("").contains("q, Q"));
    // And nothing is known yet.
    for tab in Tab::ALL {
        let empty = View { tab, joining: Some(3), ..View::default() };
        let shown = drawn(&empty, 80, 24).join("\n");
        assert!(shown.contains("fetching metadata from 3 peers"), "{shown}");
    }
}

#[test]
fn what_it_does_is_told_in_a_word() {
    let mut view = view();
    for (phase, told) in [
        (Phase::Paused, "paused (23.6%)"),
        (Phase::Checking(0.5), "checking existing data (50.0%)"),
        (Phase::Seeding, "download succeeded! (23.6%)"),
        (Phase::Stopping, "shutting down"),
        (Phase::Waiting, "waiting for the disk"),
    ] {
        view.take(&Report::Figures(figures(phase)), "12:00:00");
        assert!(drawn(&view, 80, 24)[5].contains(told), "{phase:?}");
    }
}

#[test]
fn a_long_message_is_broken_between_words() {
    let mut view = view();
    view.tell(&"word ".repeat(30), "12:35:00", true);
    let rows = drawn(&view, 60, 30);
    assert_eq!(rows[14], format!("│ [12:35:00] {:<46}│", "word ".repeat(9)));
    assert_eq!(rows[15], format!("│            {:<46}│", "word ".repeat(9)));
}

#[test]
fn the_time_of_a_message_stands_whole_however_it_is_written() {
    let mut view = view();
    view.tell("a lot happened", "2026-11-23 06:51", true);
    let shown = |columns| drawn(&view, columns, 24).join("\n");
    assert!(shown(80).contains("[2026-11-23 06:51] a lot happened"), "{}", shown(80));
    assert!(shown(54).contains(" a lot happened") && !shown(54).contains("[2026"));
}

#[test]
fn keys_change_what_is_looked_at_or_order_something() {
    let mut view = view();
    assert_eq!(view.press(Key::Char('q'), 9), Some(Order::Quit));
    assert_eq!(view.press(Key::Char('Q'), 9), Some(Order::Quit));
    assert_eq!(view.press(Key::Ctrl('l'), 9), Some(Order::Redraw));
    assert_eq!(view.press(Key::Char('p'), 9), Some(Order::Pause(true)));
    view.take(&Report::Figures(figures(Phase::Paused)), "");
    assert_eq!(view.press(Key::Char('p'), 9), Some(Order::Pause(false)));
    // Not without being asked again.
    assert_eq!(view.press(Key::Char('r'), 9), None);
    assert_eq!(view.press(Key::Char('n'), 9), None);
    assert_eq!(view.press(Key::Char('y'), 9), None);
    assert_eq!(view.press(Key::Char('r'), 9), None);
    assert_eq!(view.press(Key::Char('y'), 9), Some(Order::Recheck));
    let mut typed = |keys: &str| {
        let orders = keys.chars().map(|c| if c == '\n' { Key::Enter } else { Key::Char(c) });
        orders.filter_map(|key| view.press(key, 9)).last()
    };
    assert_eq!(typed("u3x00\n"), Some(Order::Limits(Some(300_000), None)));
    assert_eq!(typed("d45\n"), Some(Order::Limits(Some(300_000), Some(45_000))));
    assert_eq!(typed("u0\n"), Some(Order::Limits(None, Some(45_000))));
    assert_eq!(typed("?q"), None, "any key leaves the help");
    assert_eq!(typed("3j "), Some(Order::Priorities(vec![Priority::Normal; 3])));
    assert_eq!(
        typed("k+"),
        Some(Order::Priorities(vec![Priority::High, Priority::High, Priority::Normal]))
    );
    assert_eq!(typed("+"), None, "there is nothing above it");
}
