//! The page: what is shared, how to get it, and how it goes.
//!
//! One piece of HTML that needs nothing else; a small script in it asks for the figures every two
//! seconds, and without it they are those of the moment. All that comes from names of files is
//! escaped.

use std::fmt::{self, Write};

use super::share::{Share, State, Version, data_path, torrent_path};
use crate::app::tracker::page::{Size, escaped};
use crate::proto::announce::answer::Counts;
use crate::proto::qr::Code;

/// Files of a folder that are listed.
const MAX_FILES: usize = 500;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2128;--soft:#5d6670;--line:#dfe3e8;--back:#f5f6f8;\
--paper:#fff;--link:#0b57a4;--on:#fff;--code:#f0f2f5}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e6ea;--soft:#9aa3ad;--line:#2d333b;\
--back:#14171b;--paper:#1b1f24;--link:#7db8f5;--on:#10202f;--code:#12161a}}\
*{box-sizing:border-box}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);\
max-width:64rem;margin:0 auto;padding:2rem 1rem;display:grid;gap:1.25rem;\
grid-template-columns:minmax(0,1fr) 13rem;align-items:start}\
header,footer{grid-column:1/-1}header p,footer{color:var(--soft);margin:0}footer{font-size:.85em}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}\
h2{font-size:1.15rem;line-height:1.35;margin:0;overflow-wrap:anywhere}\
main{display:grid;gap:1.25rem;min-width:0}\
article,aside{background:var(--paper);border:1px solid var(--line);border-radius:10px;\
padding:1.1rem 1.25rem}aside{text-align:center;font-size:.85em;color:var(--soft)}\
aside svg{width:100%;max-width:11rem;border-radius:6px;display:block;margin:0 auto .5rem}\
aside a{overflow-wrap:anywhere}a{color:var(--link)}\
.m{color:var(--soft);margin:.15rem 0 .9rem;font-variant-numeric:tabular-nums}\
.m:last-child{margin:0}\
.g{display:flex;flex-wrap:wrap;gap:.5rem;margin:0 0 1rem}\
.g a{border:1px solid var(--line);border-radius:7px;padding:.4rem .85rem;text-decoration:none;\
font-weight:600;font-size:.95em}.g a:first-child{background:var(--link);color:var(--on);\
border-color:var(--link)}.g a:hover{border-color:var(--link)}\
dl{margin:0;display:grid;gap:.35rem .75rem;grid-template-columns:auto minmax(0,1fr)}\
dt{color:var(--soft);font-size:.85em;padding-top:.2rem}dd{margin:0;min-width:0}\
code{font:.85em/1.5 ui-monospace,monospace;background:var(--code);border-radius:5px;\
padding:.15rem .45rem;display:block;overflow-x:auto;white-space:pre;user-select:all}\
details{margin:0 0 1rem}summary{cursor:pointer;color:var(--soft)}\
ul{list-style:none;margin:.5rem 0 0;padding:0;max-height:22rem;overflow:auto}\
li{display:flex;gap:1rem;justify-content:space-between;padding:.15rem 0;\
border-top:1px solid var(--line)}li a{overflow-wrap:anywhere}li span{white-space:nowrap;\
color:var(--soft);font-variant-numeric:tabular-nums}\
@media(max-width:44rem){body{grid-template-columns:minmax(0,1fr);padding:1.25rem .75rem}\
article{padding:1rem}dl{grid-template-columns:minmax(0,1fr);gap:.1rem}dd{margin-bottom:.4rem}}";

/// Puts new figures in their places; a page whose torrents are others now is loaded anew.
const SCRIPT: &str = "\
setInterval(async()=>{if(document.hidden)return;try{\
const f=await(await fetch('/figures.json')).json();\
if(f.generation!=document.body.dataset.g)return location.reload();\
const s=(e,t)=>{if(e&&e.textContent!=t)e.textContent=t};\
s(document.getElementById('all'),f.text);\
for(const t of f.torrents)s(document.getElementById('t'+t.number),t.text)}catch{}},2000)";

/// How it goes with all that is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    /// Bytes a second that are sent, to peers and by HTTP.
    pub rate: f64,
    /// Bytes that were.
    pub sent: u64,
    /// HTTP connections.
    pub connections: usize,
}

/// What the page is made of.
pub(super) struct View<'v> {
    pub title: &'v str,
    /// The page's address.
    pub url: &'v str,
    pub qr: Option<&'v Code>,
    /// Changes when the page does, but for its figures.
    pub generation: u64,
    pub shares: &'v [Share],
    /// The seeds and peers of each, where it is shared.
    pub counts: Vec<Counts>,
    pub totals: Totals,
    /// Allows its own script, and no other.
    pub nonce: &'v str,
}

impl View<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let mut out = String::with_capacity(8192);
        self.write(&mut out).expect("a String takes every write");
        out
    }

    /// The figures of the page's script.
    pub fn json(&self) -> String {
        let Totals { rate, sent, connections } = self.totals;
        let mut out = format!(
            "{{\"generation\":{},\"text\":\"{}\",\"upload_rate\":{rate:.0},\"uploaded\":{sent},\
             \"connections\":{connections},\"torrents\":[",
            self.generation,
            self.sums()
        );
        for (number, (share, counts)) in self.shares.iter().zip(&self.counts).enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let hash = share.newest().map(|version| format!("\"{}\"", version.hash));
            let Counts { complete, incomplete, downloaded } = counts;
            write!(
                out,
                "{comma}{{\"number\":{number},\"info_hash\":{},\"seeds\":{complete},\
                 \"peers\":{incomplete},\"completed\":{downloaded},\"text\":\"{}\"}}",
                hash.as_deref().unwrap_or("null"),
                said(share, counts)
            )
            .expect("a String takes every write");
        }
        out + "]}\n"
    }

    fn sums(&self) -> String {
        let Totals { rate, sent, .. } = self.totals;
        format!("sending {}/s \u{b7} {} sent so far", Size(rate as u64), Size(sent))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (title, nonce) = (escaped(self.title), self.nonce);
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
             <style>{STYLE}</style>\n</head>\n<body data-g=\"{}\">\n<header><h1>{title}</h1>\n\
             <p id=\"all\">{}</p></header>\n<main>\n",
            self.generation,
            self.sums()
        )?;
        for (number, (share, counts)) in self.shares.iter().zip(&self.counts).enumerate() {
            self.article(out, number, share, counts)?;
        }
        let url = escaped(self.url);
        out.push_str("</main>\n<aside>");
        if let Some(qr) = self.qr {
            out.push_str(&qr.svg("QR code of this page's address"));
        }
        write!(
            out,
            "<a href=\"{url}\">{url}</a></aside>\n\
             <footer>BitTornado {} \u{b7} the data can be had from peers, and from this address \
             by any web client</footer>\n<script nonce=\"{nonce}\">{SCRIPT}</script>\n\
             </body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        )
    }

    fn article(
        &self,
        out: &mut String,
        number: usize,
        share: &Share,
        counts: &Counts,
    ) -> fmt::Result {
        // A name that runs from right to left must not turn around what stands beside it.
        writeln!(out, "<article><h2><bdi>{}</bdi></h2>", escaped(&share.name))?;
        let said = said(share, counts);
        let Some(version) = share.newest() else {
            return writeln!(out, "<p class=\"m\" id=\"t{number}\">{said}</p></article>");
        };
        let size = Size(version.total);
        let files = match version.files.len() {
            _ if version.is_file() => String::new(),
            1 => " \u{b7} 1 file".into(),
            n => format!(" \u{b7} {n} files"),
        };
        writeln!(
            out,
            "<p class=\"m\">{size}{files} \u{b7} <span id=\"t{number}\">{said}</span></p>"
        )?;
        let torrent = torrent_path(self.shares, version);
        out.push_str("<p class=\"g\">");
        if version.is_file() {
            let path = data_path(self.shares, version, &version.name);
            write!(out, "<a href=\"/{path}\" download>Download</a>")?;
        }
        let magnet = escaped(&version.magnet);
        writeln!(
            out,
            "<a href=\"/{torrent}\" type=\"application/x-bittorrent\">.torrent</a>\
             <a href=\"{magnet}\">Magnet link</a></p>"
        )?;
        self.list(out, version)?;
        self.commands(out, version, &torrent)?;
        writeln!(out, "<dt>info hash</dt><dd><code>{}</code></dd></dl></article>", version.hash)
    }

    /// What to type to get it.
    fn commands(&self, out: &mut String, version: &Version, torrent: &str) -> fmt::Result {
        let url = self.url.trim_end_matches('/');
        let lone = self.shares.iter().filter(|share| share.newest().is_some()).count() == 1;
        let page = if lone { "" } else { torrent };
        let command = escaped(&format!("btdownload {url}/{page}"));
        writeln!(out, "<dl><dt>with peers</dt><dd><code>{command}</code></dd>")?;
        if version.is_file() {
            let path = data_path(self.shares, version, &version.name);
            // Under another name than that in the address: one that had to be escaped there.
            let curl = match path.strip_suffix(&version.name) {
                Some(above) if above.ends_with('/') => format!("curl -O {url}/{path}"),
                _ => format!("curl -o {} {url}/{path}", quoted(&version.name)),
            };
            writeln!(out, "<dt>without</dt><dd><code>{}</code></dd>", escaped(&curl))?;
        }
        Ok(())
    }

    /// The files of a folder, each to be had by itself.
    fn list(&self, out: &mut String, version: &Version) -> fmt::Result {
        if version.is_file() {
            return Ok(());
        }
        out.push_str("<details><summary>Files</summary><ul>\n");
        for (name, length) in version.files.iter().take(MAX_FILES) {
            let shown = name.strip_prefix(&version.name).unwrap_or(name).trim_start_matches('/');
            writeln!(
                out,
                "<li><a href=\"/{}\"><bdi>{}</bdi></a><span>{}</span></li>",
                data_path(self.shares, version, name),
                escaped(shown),
                Size(*length)
            )?;
        }
        if let hidden @ 1.. = version.files.len().saturating_sub(MAX_FILES) {
            writeln!(out, "<li>and {hidden} more</li>")?;
        }
        out.push_str("</ul></details>\n");
        Ok(())
    }
}

/// How it goes with a share, in words that need no escaping.
fn said(share: &Share, counts: &Counts) -> String {
    match share.state {
        State::Reading(done) => format!("being read, {:.0}%", (done * 100.0).floor()),
        State::Gone => "not there any more".into(),
        State::Failed => "cannot be read".into(),
        State::Shared => {
            let Counts { complete, incomplete, downloaded } = counts;
            let s = if *complete == 1 { "" } else { "s" };
            format!(
                "{complete} seed{s} \u{b7} {incomplete} downloading \u{b7} {downloaded} completed"
            )
        }
    }
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn view(shares: &[Share]) -> View<'_> {
        let counts = vec![Counts { complete: 1, incomplete: 2, downloaded: 3 }; shares.len()];
        View {
            title: "<'T'>",
            url: "http://h/",
            qr: None,
            generation: 7,
            shares,
            counts,
            totals: Totals { rate: 2048.0, sent: 5, connections: 1 },
            nonce: "n",
        }
    }

    #[test]
    fn what_cannot_be_had_yet_is_named_and_escaped() {
        let mut share = Share::new(PathBuf::from("/x/<b>\u{202e}\"&"));
        for (state, said) in [
            (State::Reading(0.519), "being read, 51%"),
            (State::Gone, "not there any more"),
            (State::Failed, "cannot be read"),
        ] {
            share.state = state;
            let html = view(std::slice::from_ref(&share)).html();
            assert!(html.contains("<bdi>&lt;b&gt;\u{fffd}&quot;&amp;</bdi>"), "{html}");
            assert!(html.contains("<title>&lt;&#39;T&#39;&gt;</title>"), "{html}");
            assert!(html.contains(said) && !html.contains("href=\"/data/"), "{html}");
        }
    }

    #[test]
    fn the_figures_are_json() {
        let shares = [Share::new("/x/a".into()), Share::new("/x/b".into())];
        let value: serde_json::Value = serde_json::from_str(&view(&shares).json()).unwrap();
        assert_eq!((&value["generation"], &value["upload_rate"]), (&7.into(), &2048.into()));
        assert_eq!(value["text"], "sending 2.0 KiB/s \u{b7} 5 B sent so far");
        assert_eq!(value["torrents"][1]["peers"], 2);
        assert!(value["torrents"][0]["info_hash"].is_null());
    }

    #[test]
    fn a_word_for_a_shell_is_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
