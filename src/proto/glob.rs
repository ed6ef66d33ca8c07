//! Patterns for the names of files: `*` and `?`, no more.
//!
//! For those who choose among the files of a folder or a torrent.

/// Whether the path of a file in a torrent, its names joined by `/`, fits a pattern: `*` stands
/// for any characters, `/` too, and `?` for any one. A pattern without `/` is held against the
/// last name alone. Takes time of the order of both lengths multiplied, whatever they hold.
pub fn fits(pattern: &str, path: &str) -> bool {
    match path.rsplit_once('/') {
        Some((_, name)) if !pattern.contains('/') => matches(pattern, name),
        _ => matches(pattern, path),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // The last star, and where in the text it ends: only this one ever has to grow.
    let mut star = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(c), _) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((at, end))) => {
                star = Some((at, end + 1));
                (p, t) = (at + 1, end + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_question_mark_any_character() {
        for (pattern, text) in [
            ("*", ""),
            ("", ""),
            ("a", "a"),
            ("?", "文"),
            ("*.flac", "01.x.flac"),
            ("a*b*c", "aXbXbXc"),
            ("a**", "a"),
            ("*ab", "aab"),
            ("?*?", "ab"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("?", ""), ("*.flac", "a.fla"), ("a*b", "abc"), ("A", "a"), ("?*?", "a")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_without_slash_is_about_the_last_name() {
        assert!(fits("b*", "a/b.txt") && !fits("a*", "a/b.txt"));
        assert!(fits("a/*", "a/b/c") && !fits("b/*", "a/b/c"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_it_should() {
        assert!(!fits(&"*a".repeat(200), &format!("{}b", "a".repeat(2_000))));
    }
}
