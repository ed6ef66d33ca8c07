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
use crate::proto::order;

/// Rows on the page; the sum counts all torrents.
const ROWS: usize = 1000;

/// On narrow screens a row is a name with its figures below, each with its word behind it.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2128;--soft:#5d6670;--line:#e1e4e8;--back:#f5f6f8;\
--paper:#fff;--link:#0b57a4}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e6ea;--soft:#9aa3ad;--line:#2d333b;\
--back:#14171b;--paper:#1b1f24;--link:#7db8f5}}\
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--back);\
max-width:72rem;margin:0 auto;padding:1.5rem 1rem}\
h1{font-size:1.5rem;margin:0 0 .5rem}a{color:var(--link);text-decoration:none}\
a:hover{text-decoration:underline}p,dl{color:var(--soft);font-size:.9em}\
dl{display:flex;flex-wrap:wrap;gap:0 .5rem;margin:0 0 1rem}dd{margin:0 1rem 0 0;color:var(--ink)}\
table{width:100%;border-collapse:separate;border-spacing:0;background:var(--paper);\
border:1px solid var(--line);border-radius:8px;overflow:hidden}\
th,td{padding:.5rem .75rem;text-align:right;white-space:nowrap;\
border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}\
th{font-size:.85em;font-weight:600;color:var(--soft)}th b{color:var(--ink)}\
.l{width:100%;text-align:left;white-space:normal;overflow-wrap:anywhere}\
code{color:var(--soft);font-size:.8em}.n code{display:block}\
tbody tr:hover{background:var(--back)}tfoot td{font-weight:600;border:0}\
@media(max-width:44rem){body{padding:1rem .5rem}table,thead,tbody,tfoot{display:block}\
tr{display:flex;flex-wrap:wrap;gap:0 .9rem;padding:.5rem .75rem;\
border-bottom:1px solid var(--line)}tfoot tr{border:0}th,td{padding:0;border:0}\
th.l{width:auto}td{color:var(--soft);font-size:.85em}td.l{color:var(--ink);font-size:1em}\
.n td:nth-child(3)::after,.h td:nth-child(2)::after{content:' complete'}\
.n td:nth-child(4)::after,.h td:nth-child(3)::after{content:' downloading'}\
.n td:nth-child(5)::after,.h td:nth-child(4)::after{content:' downloaded'}\
.n td:nth-child(6)::after{content:' transferred'}}";

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
            order::by(&mut rows, |a, b| (&a.name, a.hash).cmp(&(&b.name, b.hash)));
        } else {
            order::by_key(&mut rows, |row| (Reverse(number(row)), row.hash));
        }
        rows
    }

    fn table(&self, out: &mut String, sort: Sort) -> fmt::Result {
        // What the rows are really in order of.
        let sort = match sort {
            Sort::Name if !self.named => Sort::Hash,
            sort => sort,
        };
        let class = if self.named { "n" } else { "h" };
        write!(out, "<table class=\"{class}\">\n<thead><tr>")?;
        self.heading(out, sort)?;
        out.push_str("</tr></thead>\n<tbody>\n");
        let rows = self.sorted(sort);
        rows.iter().take(ROWS).try_for_each(|row| self.row(out, row))?;
        self.sums(out)
    }

    fn heading(&self, out: &mut String, sort: Sort) -> fmt::Result {
        for (key, this) in Sort::ALL {
            if !self.named && matches!(this, Sort::Name | Sort::Size | Sort::Transferred) {
                continue;
            }
            let title = match this {
                Sort::Name => "torrent name",
                Sort::Hash => "info hash",
                _ => key,
            };
            // Names and hashes have one column.
            out.push_str(match this {
                Sort::Hash if self.named => " \u{b7} ",
                Sort::Name | Sort::Hash => "<th class=\"l\">",
                _ => "</th><th>",
            });
            match this == sort {
                true => write!(out, "<b>{title}</b>")?,
                false => write!(out, "<a href=\"/?sort={key}\">{title}</a>")?,
            }
        }
        out.push_str("</th>");
        Ok(())
    }

    fn row(&self, out: &mut String, row: &Row) -> fmt::Result {
        let Counts { complete, downloaded, incomplete } = row.counts;
        let hash = row.hash;
        out.push_str("<tr><td class=\"l\">");
        if self.named {
            // A name that runs from right to left must not turn around what stands beside it.
            let name = format!("<bdi>{}</bdi>", escaped(row.name.as_deref().unwrap_or("?")));
            if self.linked {
                let mut link = String::from("/file?info_hash=");
                percent_encode(&mut link, &hash.0);
                write!(out, "<a href=\"{link}\">{name}</a>")?;
            } else {
                out.push_str(&name);
            }
        }
        write!(out, "<code>{hash}</code></td>")?;
        if self.named {
            write!(out, "<td>{}</td>", Size(row.size))?;
        }
        write!(out, "<td>{complete}</td><td>{incomplete}</td><td>{downloaded}</td>")?;
        if self.named {
            write!(out, "<td>{}</td>", Size(row.transferred()))?;
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
            write!(out, "<td>{}</td>", Size(sum(&|r| r.size)))?;
        }
        write!(out, "<td>{complete}</td><td>{incomplete}</td><td>{downloaded}</td>")?;
        if self.named {
            write!(out, "<td>{}</td>", Size(sum(&Row::transferred)))?;
        }
        out.push_str(
            "</tr></tfoot>\n</table>\n\
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
pub struct Size(pub u64);

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
            // Terminals that show the page's source must not be steered by it, nor the order in which
            // a name is read.
            c if c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                safe.push('\u{fffd}');
            }
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
        let html = html(vec![row(1, Some("<b>\"&\x1b\u{202e}'")), row(2, Some("a"))], Sort::Name);
        assert!(
            html.contains("><bdi>&lt;b&gt;&quot;&amp;\u{fffd}\u{fffd}&#39;</bdi></a><code>"),
            "{html}"
        );
        assert!(html.contains("<a href=\"/file?info_hash=%02%02"), "{html}");
        assert!(html.contains("<td>2.0 KiB</td><td>2</td><td>2</td><td>3</td>"), "{html}");
        assert!(html.contains("<td>6.0 KiB</td></tr>"), "{html}");
        assert!(!html.contains("<b>\""));
    }

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let rows = || vec![row(2, Some("b")), row(1, Some("a")), row(3, Some("c"))];
        let order = |query: &str| {
            let html = html(rows(), Sort::from_query(query.as_bytes()));
            let place = |name: &str| html.find(&format!("<bdi>{name}</bdi></a>")).unwrap();
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
