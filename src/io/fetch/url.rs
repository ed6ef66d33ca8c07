//! The little arithmetic of URLs that redirects need.

/// Where a `Location` leads that was sent from `base`, an absolute URL (RFC 3986, section 5.2,
/// without the folding of dots, which servers do themselves). The result may be no valid URL: who
/// uses it finds out.
pub(super) fn join(base: &str, location: &str) -> String {
    let base = base.split('#').next().unwrap_or(base);
    if has_scheme(location) {
        return location.to_owned();
    }
    let authority = base.find("://").map_or(0, |at| at + 3);
    let path = base[authority..].find(['/', '?']).map_or(base.len(), |at| authority + at);
    let query = base[path..].find('?').map_or(base.len(), |at| path + at);
    if location.starts_with("//") {
        return format!("{}:{location}", base.split(':').next().unwrap_or_default());
    }
    if location.is_empty() {
        return base.to_owned();
    }
    if location.starts_with('/') {
        return format!("{}{location}", &base[..path]);
    }
    if location.starts_with('?') {
        return format!("{}{location}", &base[..query]);
    }
    match base[path..query].rfind('/') {
        Some(slash) => format!("{}{location}", &base[..=path + slash]),
        None => format!("{}/{location}", &base[..path]),
    }
}

/// Whether it begins with a letter and scheme characters up to a `:`.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_location_of_any_form_leads_somewhere() {
        for (base, location, to) in [
            ("http://h:1/a/b?q", "https://x/y", "https://x/y"),
            ("http://h:1/a/b?q", "//x/y", "http://x/y"),
            ("http://h:1/a/b?q", "/y", "http://h:1/y"),
            ("http://h:1/a/b?q=/", "y", "http://h:1/a/y"),
            ("http://h:1/a/b?q", "?r", "http://h:1/a/b?r"),
            ("http://h:1/a/b?q#f", "", "http://h:1/a/b?q"),
            ("http://h:1", "y", "http://h:1/y"),
            ("http://h:1?q", "/y", "http://h:1/y"),
            ("http://h:1?q=/", "y:1/z", "y:1/z"),
            ("http://h/a", "a/b:c", "http://h/a/b:c"),
            ("http://h/a", "file:///etc/passwd", "file:///etc/passwd"),
            ("", "é", "/é"),
        ] {
            assert_eq!(join(base, location), to, "{location} from {base}");
        }
    }
}
