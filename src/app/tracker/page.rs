//! The info page: what the tracker knows, for people.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use crate::app::clock::Civil;
use crate::io::pages::Page;
use crate::logic::registry::Registry;
use crate::proto::announce::answer::Counts;
use crate::proto::announce::ask::percent_encode;
use crate::proto::ids::InfoHash;

/// Rows on the page; the sum counts all torrents.
const ROWS: usize = 1000;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#ccc;--soft:#666;--back:#f4f4f4}\
@media(prefers-color-scheme:dark){:root{--line:#444;--soft:#aaa;--back:#222}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem}\
h1{font-size:1.4rem}a{color:inherit}\
p,dl{color:var(--soft)}dl{display:grid;grid-template-columns:auto 1fr;gap:0 1rem}dd{margin:0}\
table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right}\
.l{text-align:left;overflow-wrap:anywhere}\
thead th,tfoot td{background:var(--back)}\
code{font-size:.85em}\
.t{overflow-x:auto}\
@media(max-width:40rem){.w{display:none}body{font-size:14px;padding:.5rem}\
th,td{padding:.3rem .25rem}th{overflow-wrap:anywhere}}";

/// By what the rows are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Name, or info hash where no names are shown.
    #[default]
    Name,
    /// Info hash.
    Hash,
    /// Size, the largest first.
    Size,
    /// Seeds, most first.
    Complete,
    /// Leechers, most first.
    Downloading,
    /// Completed downloads, most first.
    Downloaded,
    /// Bytes of completed downloads, most first.
    Transferred,
}

impl Sort {
    const ALL: [(&str, Sort); 7] = [
        ("name", Sort::Name),
        ("hash", Sort::Hash),
        ("size", Sort::Size),
        ("complete", Sort::Complete),
        ("downloading", Sort::Downloading),
        ("downloaded", Sort::Downloaded),
        ("transferred", Sort::Transferred),
    ];

    /// From a query such as `sort=size`; what it does not know is the usual order.
    pub fn from_query(query: &[u8]) -> Sort {
        let wanted = query.split(|b| *b == b'&').find_map(|part| part.strip_prefix(b"sort="));
        let known = Sort::ALL.iter().find(|(name, _)| Some(name.as_bytes()) == wanted);
        known.map_or(Sort::Name, |(_, sort)| *sort)
    }
}

/// A torrent on the page.
#[derive(Debug, Clone)]
struct Row {
    hash: InfoHash,
    counts: Counts,
    name: Option<Arc<str>>,
    size: u64,
}

impl Row {
    fn transferred(&self) -> u64 {
        self.size.saturating_mul(self.counts.downloaded.into())
    }
}

/// What the page shows, taken at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    time: SystemTime,
    rows: Vec<Row>,
    /// Whether names and sizes are shown.
    named: bool,
    /// What names lead to: the .torrent files.
    linked: bool,
    favicon: bool,
}

impl Snapshot {
    /// What is known now; `linked` says whether .torrent files can be had.
    pub fn of(registry: &Registry, linked: bool, favicon: bool) -> Snapshot {
        let allowed = registry.access.torrents.as_deref();
        let row = |(hash, scraped): (InfoHash, crate::proto::announce::answer::Scraped)| {
            let size = allowed.and_then(|a| a.get(&hash)).map_or(0, |t| t.length);
            Row { hash, counts: scraped.counts, name: scraped.name, size }
        };
        let rows: Vec<Row> = registry.torrents().map(row).collect();
        let named = rows.iter().any(|row| row.name.is_some());
        Snapshot { time: SystemTime::now(), rows, named, linked, favicon }
    }

    /// The page, with its rows in this order.
    pub fn page(&self, sort: Sort) -> Page {
        let mut html = String::new();
        self.write(&mut html, sort).expect("a String takes every write");
        Page { status: 200, content_type: "text/html; charset=utf-8", body: html.into() }
    }

    fn write(&self, out: &mut String, sort: Sort) -> fmt::Result {
        let icon = if self.favicon { "<link rel=\"icon\" href=\"/favicon.ico\">\n" } else { "" };
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>BitTorrent download info</title>\n{icon}<style>{STYLE}</style>\n</head>\n\
             <body>\n<h1>BitTorrent download info</h1>\n\
             <dl><dt>tracker version</dt><dd>{} (BitTornado)</dd>\n\
             <dt>server time</dt><dd>{} UTC</dd></dl>\n",
            env!("CARGO_PKG_VERSION"),
            Civil::from(self.time).minute(),
        )?;
        if self.rows.is_empty() {
            out.push_str("<p>not tracking any files yet...</p>\n");
        } else {
            self.table(out, sort)?;
        }
        out.push_str("</body>\n</html>\n");
        Ok(())
    }

    fn sorted(&self, sort: Sort) -> Vec<&Row> {
        use std::cmp::Reverse;
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        let number = |row: &&Row| match sort {
            Sort::Size => row.size,
            Sort::Complete => row.counts.complete.into(),
            Sort::Downloading => row.counts.incomplete.into(),
            Sort::Downloaded => row.counts.downloaded.into(),
            Sort::Transferred => row.transferred(),
            Sort::Name | Sort::Hash => 0,
        };
        if sort == Sort::Name && self.named {
            rows.sort_by(|a, b| (&a.name, a.hash).cmp(&(&b.name, b.hash)));
        } else {
            rows.sort_by_key(|row| (Reverse(number(row)), row.hash));
        }
        rows
    }

    fn table(&self, out: &mut String, sort: Sort) -> fmt::Result {
        out.push_str("<div class=\"t\">\n<table>\n<thead><tr>");
        for (title, this) in Sort::ALL {
            if !self.named && matches!(this, Sort::Name | Sort::Size | Sort::Transferred) {
                continue;
            }
            let (title, class) = match this {
                Sort::Name => ("torrent name", " class=\"l\""),
                Sort::Hash if self.named => ("info hash", " class=\"l w\""),
                Sort::Hash => ("info hash", " class=\"l\""),
                Sort::Transferred => (title, " class=\"w\""),
                _ => (title, ""),
            };
            let key = Sort::ALL.iter().find(|(_, s)| *s == this).map_or("", |(key, _)| key);
            if this == sort || (this == Sort::Hash && sort == Sort::Name && !self.named) {
                write!(out, "<th{class}>{title}</th>")?;
            } else {
                write!(out, "<th{class}><a href=\"/?sort={key}\">{title}</a></th>")?;
            }
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        let rows = self.sorted(sort);
        rows.iter().take(ROWS).try_for_each(|row| self.row(out, row))?;
        self.sums(out)
    }

    fn row(&self, out: &mut String, row: &Row) -> fmt::Result {
        let Counts { complete, downloaded, incomplete } = row.counts;
        let hash = row.hash;
        out.push_str("<tr>");
        if self.named {
            let name = escaped(row.name.as_deref().unwrap_or("?"));
            if self.linked {
                let mut link = String::from("/file?info_hash=");
                percent_encode(&mut link, &hash.0);
                write!(out, "<td class=\"l\"><a href=\"{link}\">{name}</a></td>")?;
            } else {
                write!(out, "<td class=\"l\">{name}</td>")?;
            }
            write!(out, "<td class=\"l w\"><code>{hash}</code></td><td>{}</td>", Size(row.size))?;
        } else {
            write!(out, "<td class=\"l\"><code>{hash}</code></td>")?;
        }
        write!(out, "<td>{complete}</td><td>{incomplete}</td><td>{downloaded}</td>")?;
        if self.named {
            write!(out, "<td class=\"w\">{}</td>", Size(row.transferred()))?;
        }
        out.push_str("</tr>\n");
        Ok(())
    }

    fn sums(&self, out: &mut String) -> fmt::Result {
        let sum = |of: &dyn Fn(&Row) -> u64| -> u64 {
            self.rows.iter().fold(0, |sum, row| sum.saturating_add(of(row)))
        };
        let complete = sum(&|r| r.counts.complete.into());
        let incomplete = sum(&|r| r.counts.incomplete.into());
        let downloaded = sum(&|r| r.counts.downloaded.into());
        let torrents = self.rows.len();
        let files = if torrents == 1 { "file" } else { "files" };
        if let hidden @ 1.. = torrents.saturating_sub(ROWS) {
            writeln!(out, "<tr><td class=\"l\" colspan=\"4\">and {hidden} more</td></tr>")?;
        }
        write!(out, "</tbody>\n<tfoot><tr><td class=\"l\">{torrents} {files}</td>")?;
        if self.named {
            write!(out, "<td class=\"w\"></td><td>{}</td>", Size(sum(&|r| r.size)))?;
        }
        write!(out, "<td>{complete}</td><td>{incomplete}</td><td>{downloaded}</td>")?;
        if self.named {
            write!(out, "<td class=\"w\">{}</td>", Size(sum(&Row::transferred)))?;
        }
        out.push_str(
            "</tr></tfoot>\n</table>\n</div>\n\
             <p>complete: peers that have all of it (seeds) · downloading: peers that have not \
             · downloaded: downloads completed so far",
        );
        if self.named {
            out.push_str(" · transferred: size × downloaded");
        }
        out.push_str("</p>\n");
        Ok(())
    }
}

/// A number of bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while size >= 1024.0 {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}

/// Text that is safe in HTML, also within quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Terminals that show the page's source must not be steered by it.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8, name: Option<&str>) -> Row {
        let counts = Counts { complete: n.into(), downloaded: 3, incomplete: 2 };
        Row { hash: InfoHash([n; 20]), counts, name: name.map(Arc::from), size: 2048 }
    }

    fn snapshot(rows: Vec<Row>) -> Snapshot {
        let named = rows.iter().any(|row| row.name.is_some());
        Snapshot { time: SystemTime::UNIX_EPOCH, rows, named, linked: true, favicon: true }
    }

    fn html(rows: Vec<Row>, sort: Sort) -> String {
        String::from_utf8(snapshot(rows).page(sort).body).unwrap()
    }

    #[test]
    fn an_empty_tracker_says_so() {
        let html = html(vec![], Sort::Name);
        assert!(html.contains("not tracking any files yet...") && !html.contains("<table>"));
        assert!(html.contains("1970-01-01 00:00 UTC"));
        assert!(html.contains("href=\"/favicon.ico\""));
    }

    #[test]
    fn the_sum_row_counts_what_the_page_does_not_show_too() {
        let html = html((0..1100).map(|n| row((n % 200) as u8, None)).collect(), Sort::Name);
        assert_eq!(html.matches("<code>").count(), 1000);
        assert!(html.contains("and 100 more"));
        assert!(html.contains("1100 files</td><td>104450</td><td>2200</td><td>3300</td>"));
        assert!(!html.contains("torrent name"));
    }

    #[test]
    fn names_are_text_and_lead_to_the_files() {
        let html = html(vec![row(1, Some("<b>\"&\x1b'")), row(2, Some("a"))], Sort::Name);
        assert!(html.contains(">&lt;b&gt;&quot;&amp;\u{fffd}&#39;</a>"), "{html}");
        assert!(html.contains("<a href=\"/file?info_hash=%02%02"), "{html}");
        assert!(html.contains("<td>2.0 KiB</td><td>2</td><td>2</td><td>3</td>"), "{html}");
        assert!(html.contains("<td class=\"w\">6.0 KiB</td>"), "{html}");
        assert!(!html.contains("<b>"));
    }

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let rows = || vec![row(2, Some("b")), row(1, Some("a")), row(3, Some("c"))];
        let order = |query: &str| {
            let html = html(rows(), Sort::from_query(query.as_bytes()));
            let place = |name: &str| html.find(&format!(">{name}</a></td>")).unwrap();
            let mut names = ["a", "b", "c"];
            names.sort_by_key(|n| place(n));
            names.concat()
        };
        assert_eq!(order(""), "abc");
        assert_eq!(order("x&sort=complete"), "cba");
        assert_eq!(order("sort=nonsense"), "abc");
        assert_eq!(order("sort=hash"), "abc");
    }

    #[test]
    fn sizes_are_short() {
        let text = |n| Size(n).to_string();
        assert_eq!(
            (text(0), text(1023), text(1536)),
            ("0 B".into(), "1023 B".into(), "1.5 KiB".into())
        );
        assert_eq!(text(u64::MAX), "16.0 EiB");
    }
}
