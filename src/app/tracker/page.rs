//! The info page: what the tracker knows, for people.

use std::fmt::{self, Write};
use std::time::SystemTime;

use crate::io::pages::Page;
use crate::logic::registry::Registry;
use crate::proto::announce::answer::Counts;
use crate::proto::ids::InfoHash;

use super::clock::Civil;

/// Rows on the page; the sum counts all torrents.
const ROWS: usize = 1000;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#ccc;--soft:#666;--back:#f4f4f4}\
@media(prefers-color-scheme:dark){:root{--line:#444;--soft:#aaa;--back:#222}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
h1{font-size:1.4rem}\
p,dl{color:var(--soft)}dl{display:grid;grid-template-columns:auto 1fr;gap:0 1rem}dd{margin:0}\
table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right}\
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}\
thead th,tfoot td{background:var(--back)}\
code{font-size:.85em}";

/// What the page shows, taken at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    time: SystemTime,
    rows: Vec<(InfoHash, Counts)>,
    torrents: usize,
    /// Complete, downloading, downloaded.
    sums: [u64; 3],
    favicon: bool,
}

impl Snapshot {
    /// What is known now.
    pub fn of(registry: &Registry, favicon: bool) -> Snapshot {
        let mut rows: Vec<_> = registry.torrents().collect();
        let mut sums = [0; 3];
        for (_, c) in &rows {
            let counts = [c.complete, c.incomplete, c.downloaded];
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += u64::from(n));
        }
        let torrents = rows.len();
        if torrents > ROWS {
            rows.select_nth_unstable_by_key(ROWS, |(hash, _)| *hash);
            rows.truncate(ROWS);
        }
        rows.sort_unstable_by_key(|(hash, _)| *hash);
        Snapshot { time: SystemTime::now(), rows, torrents, sums, favicon }
    }

    /// The page.
    pub fn page(&self) -> Page {
        let mut html = String::new();
        self.write(&mut html).expect("a String takes every write");
        Page { status: 200, content_type: "text/html; charset=utf-8", body: html.into() }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
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
        if self.torrents == 0 {
            out.push_str("<p>not tracking any files yet...</p>\n");
        } else {
            self.table(out)?;
        }
        out.push_str("</body>\n</html>\n");
        Ok(())
    }

    fn table(&self, out: &mut String) -> fmt::Result {
        out.push_str(
            "<table>\n<thead><tr><th>info hash</th><th>complete</th><th>downloading</th>\
             <th>downloaded</th></tr></thead>\n<tbody>\n",
        );
        for (hash, c) in &self.rows {
            let (complete, incomplete, downloaded) = (c.complete, c.incomplete, c.downloaded);
            writeln!(
                out,
                "<tr><td><code>{hash}</code></td><td>{complete}</td><td>{incomplete}</td>\
                 <td>{downloaded}</td></tr>"
            )?;
        }
        let [complete, incomplete, downloaded] = self.sums;
        let files = if self.torrents == 1 { "file" } else { "files" };
        let hidden = self.torrents - self.rows.len();
        if hidden > 0 {
            writeln!(out, "<tr><td colspan=\"4\">and {hidden} more</td></tr>")?;
        }
        write!(
            out,
            "</tbody>\n<tfoot><tr><td>{} {files}</td><td>{complete}</td><td>{incomplete}</td>\
             <td>{downloaded}</td></tr></tfoot>\n</table>\n\
             <p>complete: peers that have all of it (seeds) · downloading: peers that have not \
             · downloaded: downloads completed so far</p>\n",
            self.torrents,
        )
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
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(rows: Vec<(InfoHash, Counts)>, torrents: usize) -> String {
        let time = SystemTime::UNIX_EPOCH;
        let page = Snapshot { time, rows, torrents, sums: [7, 8, 9], favicon: true }.page();
        String::from_utf8(page.body).unwrap()
    }

    #[test]
    fn an_empty_tracker_says_so() {
        let html = html(vec![], 0);
        assert!(html.contains("not tracking any files yet...") && !html.contains("<table>"));
        assert!(html.contains("1970-01-01 00:00 UTC"));
        assert!(html.contains("href=\"/favicon.ico\""));
    }

    #[test]
    fn the_sum_row_counts_what_the_page_does_not_show_too() {
        let counts = Counts { complete: 1, downloaded: 3, incomplete: 2 };
        let html = html(vec![(InfoHash([0xab; 20]), counts)], 1500);
        assert!(html.contains(&format!(
            "<code>{}</code></td><td>1</td><td>2</td><td>3</td>",
            "ab".repeat(20)
        )));
        assert!(html.contains("and 1499 more"));
        assert!(html.contains("<td>1500 files</td><td>7</td><td>8</td><td>9</td>"));
    }

    #[test]
    fn nothing_in_escaped_text_is_markup() {
        assert_eq!(escaped("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
    }
}
