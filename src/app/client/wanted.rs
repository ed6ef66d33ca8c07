//! Which files of a torrent are wanted, as users say it and as the logic takes it.

use crate::logic::priority::Priority;
use crate::proto::metainfo::Info;

/// The priority of every file, from `given`: one for each file of the torrent, or for each that is
/// no padding (BEP 47), as the tools list them; or none, and then all are normal. Padding is
/// wanted as much as the file before it, whose last piece it fills. `None` if there are too few or
/// too many.
pub fn priorities(info: &Info, given: &[Priority]) -> Option<Vec<Priority>> {
    let pads = info.files.iter().filter(|file| file.pad).count();
    let without_pads = given.len() == info.files.len() - pads;
    if given.is_empty() {
        return Some(vec![Priority::Normal; info.files.len()]);
    }
    if !without_pads && given.len() != info.files.len() {
        return None;
    }
    let mut given = given.iter().copied();
    let mut last = Priority::Normal;
    let mut all = Vec::with_capacity(info.files.len());
    for file in &info.files {
        let own = if file.pad && without_pads { None } else { given.next() };
        last = own.filter(|_| !file.pad).unwrap_or(last);
        all.push(last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::metainfo::{File, Layout, Version};
    use Priority::{High, Low, Normal, Off};

    /// Files as drawn: `f` a file, `p` padding.
    fn info(files: &str) -> Info {
        let file = |c| File { path: vec![String::from("x")], length: 1, pad: c == 'p' };
        Info {
            name: "name".into(),
            piece_length: 1,
            pieces: vec![[0; 20]; files.len()].into(),
            files: files.chars().map(file).collect(),
            layout: Layout::Multi,
            version: Version::One,
            roots: Vec::new(),
            private: false,
        }
    }

    #[test]
    fn padding_is_wanted_as_the_file_before_it() {
        let info = info("fpfpf");
        let all = [Low, Low, Off, Off, High];
        assert_eq!(priorities(&info, &[Low, Off, High]).unwrap(), all);
        assert_eq!(priorities(&info, &[Low, High, Off, Low, High]).unwrap(), all);
    }

    #[test]
    fn a_list_of_the_wrong_length_is_none() {
        assert_eq!(priorities(&info("ff"), &[]).unwrap(), [Normal, Normal]);
        assert_eq!(priorities(&info("ff"), &[Off, Low]).unwrap(), [Off, Low]);
        for (files, given) in [("ff", 1), ("ff", 3), ("fpf", 1), ("fpf", 4)] {
            assert_eq!(priorities(&info(files), &vec![Off; given]), None, "{files} {given}");
        }
    }
}
