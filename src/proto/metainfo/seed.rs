//! Where a web seed in GetRight's style (BEP 19) has the files of a torrent.

use crate::proto::announce::ask::percent_encode;

use super::{Info, Layout};

/// The URL of file number `file` at the web seed `base`: that itself for a lone file, unless it
/// ends in a slash; else the torrent's name and the path in it below it.
pub fn seed_url(base: &str, info: &Info, file: usize) -> String {
    let mut url = base.to_string();
    if info.layout == Layout::Single && !base.ends_with('/') {
        return url;
    }
    if !url.ends_with('/') {
        url.push('/');
    }
    percent_encode(&mut url, info.name.as_bytes());
    for name in &info.files[file].path {
        url.push('/');
        percent_encode(&mut url, name.as_bytes());
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::metainfo::Metainfo;

    #[test]
    fn names_are_put_behind_the_base_and_escaped() {
        let info = |content: &str| {
            let pieces = "6:pieces20:01234567890123456789";
            let text = format!("d4:infod{content}4:name3:a b12:piece lengthi16384e{pieces}ee");
            Metainfo::decode(text.as_bytes()).unwrap().info
        };
        let file = info("6:lengthi1e");
        assert_eq!(seed_url("http://h/x?y", &file, 0), "http://h/x?y");
        assert_eq!(seed_url("http://h/d/", &file, 0), "http://h/d/a%20b");
        let folder = info("5:filesld6:lengthi0e4:pathl1:zeed6:lengthi1e4:pathl1:d3:\u{e9}#eee");
        for base in ["http://h/d/", "http://h/d"] {
            assert_eq!(seed_url(base, &folder, 1), "http://h/d/a%20b/d/%C3%A9%23");
        }
    }
}
