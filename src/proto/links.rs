//! Finds the torrents that a page of the web links to.
//!
//! No reader of HTML: it looks for tags that can hold a link, and takes their attributes as
//! browsers do. What is odd is passed over.

/// Links that are looked at; a page with more is no page about a torrent.
const MAX_LINKS: usize = 10_000;

/// Torrents that are told.
const MAX_TORRENTS: usize = 100;

/// The kind of content that a .torrent is.
const KIND: &[u8] = b"application/x-bittorrent";

/// Whether these bytes look like a page rather than anything else.
pub fn is_page(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    bytes.starts_with(b"<")
}

/// Where the links to .torrent files lead, each once and as they are written: those that say what
/// kind of content is there, or, where none does, those that end in `.torrent`.
pub fn torrents(page: &[u8]) -> Vec<String> {
    let (mut said, mut named) = (Vec::new(), Vec::new());
    let mut rest = page;
    for _ in 0..MAX_LINKS {
        let Some((tag, after)) = next_tag(rest) else { break };
        rest = after;
        let Some(target) = attribute(tag, b"href").map(text) else { continue };
        let kind = attribute(tag, b"type").unwrap_or_default().trim_ascii();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let list = match kind.eq_ignore_ascii_case(KIND) {
            true => &mut said,
            false if path.to_ascii_lowercase().ends_with(".torrent") => &mut named,
            false => continue,
        };
        if list.len() < MAX_TORRENTS && !list.contains(&target) {
            list.push(target);
        }
    }
    if said.is_empty() { named } else { said }
}

/// The attributes of the next tag `a` or `link`, and what is behind it.
fn next_tag(mut page: &[u8]) -> Option<(&[u8], &[u8])> {
    loop {
        let at = page.iter().position(|b| *b == b'<')?;
        page = &page[at + 1..];
        if let Some(comment) = page.strip_prefix(b"!--") {
            let end = comment.windows(3).position(|w| w == b"-->")?;
            page = &comment[end + 3..];
            continue;
        }
        let end = page.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(page.len());
        let (name, attributes) = page.split_at(end);
        if name.eq_ignore_ascii_case(b"a") || name.eq_ignore_ascii_case(b"link") {
            let end = tag_end(attributes);
            return Some((&attributes[..end], &attributes[end..]));
        }
    }
}

/// Where a tag ends: at a `>` that is in no quotes.
fn tag_end(bytes: &[u8]) -> usize {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    bytes.len()
}

/// The value of an attribute, without its quotes.
fn attribute<'t>(mut tag: &'t [u8], wanted: &[u8]) -> Option<&'t [u8]> {
    loop {
        let begin = tag.iter().position(|b| !b.is_ascii_whitespace() && *b != b'/')?;
        tag = &tag[begin..];
        let ends = |b: &u8| b.is_ascii_whitespace() || *b == b'=';
        // A `=` at the very beginning belongs to the name, as browsers have it.
        let end = tag.iter().skip(1).position(ends).map_or(tag.len(), |at| at + 1);
        let (name, after) = tag.split_at(end);
        tag = after;
        let mut value: &[u8] = &[];
        if let Some(after) = after.trim_ascii_start().strip_prefix(b"=") {
            (value, tag) = unquoted(after.trim_ascii_start());
        }
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

/// A value, and what is behind it.
fn unquoted(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.split_first() {
        Some((quote @ (b'"' | b'\''), inside)) => {
            let end = inside.iter().position(|b| b == quote).unwrap_or(inside.len());
            (&inside[..end], &inside[(end + 1).min(inside.len())..])
        }
        _ => {
            let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
            bytes.split_at(end)
        }
    }
}

/// The text that a value stands for.
fn text(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value.trim_ascii());
    let mut text = String::with_capacity(value.len());
    let mut rest = &*value;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let meant = rest.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let (c, after) = meant.unwrap_or(('&', &rest[1..]));
        text.push(c);
        rest = after;
    }
    text + rest
}

/// What `&name` stands for, of what links are written with.
fn character(name: &str) -> Option<char> {
    match name.get(1..)? {
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "lt" => Some('<'),
        "gt" => Some('>'),
        number => {
            let digits = number.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    #[test]
    fn a_link_that_says_what_it_leads_to_is_found() {
        let page = "<!doctype html><p><A class=x HREF='/a%20b.torrent?k=1&amp;l=&#x32;' \
            type=\"application/x-bittorrent\" download>x</A> <a href=other.torrent>y</a>";
        assert!(is_page(page.as_bytes()));
        assert_eq!(torrents(page.as_bytes()), ["/a%20b.torrent?k=1&l=2"]);
    }

    #[test]
    fn without_such_links_the_ending_tells_and_each_is_told_once() {
        let page = "<!-- <a href=hidden.torrent> --><link rel=x href=one.TORRENT#top />\
            <a title='a>b' href = \"two.torrent?x\" ><a href=one.TORRENT#top><a href='x.html'>\
            <abbr href=no.torrent><a name=z><a href='odd.torrent";
        assert_eq!(torrents(page.as_bytes()), ["one.TORRENT#top", "two.torrent?x", "odd.torrent"]);
        assert_eq!(torrents(b"d8:announce3:url4:info"), [""; 0]);
        assert!(!is_page(b"d8:announce3:url4:info"));
    }

    #[test]
    fn damaged_pages_never_panic() {
        let page = b"<a href=\"a&#65;.torrent\" type='application/x-bittorrent'><a =x href>&<";
        survived(20_000, |random| random.damage(page, 4), |page, _| !torrents(page).is_empty());
        // Neither do they take long.
        assert_eq!(torrents(&b"<a href=x.torrent ".repeat(50_000)).len(), 1);
        assert_eq!(torrents(&b"<a href=\"x.torrent\">".repeat(50_000)).len(), 1);
    }
}
