//! The forms of output that the original does not have.
//!
//! They print line by line: what a small .torrent can ask for is much longer than itself.

use std::borrow::Cow;
use std::ffi::OsStr;

use crate::cmd::env::Env;
use crate::cmd::json::{Array, Nullable, Object, Text};
use crate::io::screen::printable;
use crate::proto::metainfo::{File, Info, Layout, Metainfo};
use crate::proto::order;

/// One JSON object on a line; its keys are promised in the command's usage.
pub fn json(env: &mut Env, argument: &OsStr, metainfo: &Metainfo) {
    let info = &metainfo.info;
    let told = |file: &&File| !file.pad || info.version.has_one();
    let files = info.files.iter().filter(told).map(|file| {
        Object::default()
            .with("path", Text(&path(info, file)))
            .with("length", file.length)
            .with("pad", file.pad)
    });
    let object = Object::default()
        .with("file", Text(&argument.to_string_lossy()))
        .with("info_hash", text(&metainfo.hash_v1().map(|hash| hash.to_string())))
        .with("info_hash_v2", text(&metainfo.info_hash_v2.map(|hash| hash.to_string())))
        .with("name", Text(&info.name))
        .with("multi_file", info.layout == Layout::Multi)
        .with("files", Array(files))
        .with("total", info.total())
        .with("piece_length", info.piece_length)
        .with("pieces", info.piece_count())
        .with("announce", text(&metainfo.announce))
        .with("announce_list", Array(metainfo.announce_list.iter().map(|tier| texts(tier))))
        .with("httpseeds", texts(&metainfo.httpseeds))
        .with("url_list", texts(&metainfo.url_list))
        .with("comment", text(&metainfo.comment))
        .with("created_by", text(&metainfo.created_by))
        .with("creation_date", Nullable(metainfo.creation_date))
        .with("private", info.private)
        .with("trailing", metainfo.trailing);
    env.say(object);
}

fn text(text: &Option<String>) -> Nullable<Text<'_>> {
    Nullable(text.as_deref().map(Text))
}

fn texts(texts: &[String]) -> Array<impl Iterator<Item = Text<'_>> + Clone> {
    Array(texts.iter().map(|text| Text(text)))
}

/// The info hash alone: that of version 1 if there is one.
pub fn hash(env: &mut Env, _: &OsStr, metainfo: &Metainfo) {
    match (metainfo.hash_v1(), metainfo.info_hash_v2) {
        (None, Some(hash)) => env.say(hash),
        _ => env.say(metainfo.info_hash),
    }
}

/// A line a file. A tab in a name is escaped, so the one that is there parts path and bytes.
pub fn files(env: &mut Env, _: &OsStr, metainfo: &Metainfo) {
    let info = &metainfo.info;
    for file in info.files.iter().filter(|file| !file.pad) {
        env.say(format_args!("{}\t{}", printable(&path(info, file)), file.length));
    }
}

/// A file's path below the torrent's folder, or its name if it is the only one. The folder's name
/// is not part of it: a long one would be printed as often as there are files.
fn path<'i>(info: &'i Info, file: &File) -> Cow<'i, str> {
    match info.layout {
        Layout::Single => Cow::Borrowed(&info.name),
        Layout::Multi => Cow::Owned(file.path.join("/")),
    }
}

/// Levels beyond this one are not set in further: a path of a million names would take the square
/// of that to print.
const MAX_INDENT: usize = 64;

/// Folders and files below them, each with its bytes.
pub fn tree(env: &mut Env, _: &OsStr, metainfo: &Metainfo) {
    for node in nodes(&metainfo.info) {
        let indent = 2 * node.depth.min(MAX_INDENT);
        let slash = if node.folder { "/" } else { "" };
        env.say(format_args!("{:indent$}{}{slash} ({})", "", printable(node.name), node.bytes));
    }
}

/// A line of a tree.
struct Node<'i> {
    name: &'i str,
    /// How many folders it is in.
    depth: usize,
    /// Its size, or that of all that is in it.
    bytes: u64,
    folder: bool,
}

/// Folders directly before what is in them, all of it sorted by name. Without recursion, since a
/// stranger says how deep the folders are.
fn nodes(info: &Info) -> Vec<Node<'_>> {
    let mut files: Vec<&File> = info.files.iter().filter(|file| !file.pad).collect();
    order::by(&mut files, |a, b| a.path.cmp(&b.path));
    let bytes = files.iter().map(|file| file.length).sum();
    let mut nodes =
        vec![Node { name: &info.name, depth: 0, bytes, folder: info.layout == Layout::Multi }];
    // The folders, below that of the torrent, that the file before is in.
    let mut open: Vec<usize> = Vec::new();
    for file in files {
        let Some((name, folders)) = file.path.split_last() else { continue };
        let same = open.iter().zip(folders).take_while(|(at, name)| nodes[**at].name == **name);
        let same = same.count();
        close(&mut nodes, &mut open, same);
        for name in &folders[same..] {
            open.push(nodes.len());
            nodes.push(Node { name, depth: open.len(), bytes: 0, folder: true });
        }
        if let Some(folder) = open.last() {
            nodes[*folder].bytes += file.length;
        }
        nodes.push(Node { name, depth: open.len() + 1, bytes: file.length, folder: false });
    }
    close(&mut nodes, &mut open, 0);
    nodes
}

/// Leaves all but the outer `keep` folders. Only then a folder is known to its parent, so that
/// deep paths are counted in linear time.
fn close(nodes: &mut [Node], open: &mut Vec<usize>, keep: usize) {
    while open.len() > keep {
        let done = open.pop().map_or(0, |at| nodes[at].bytes);
        if let Some(parent) = open.last() {
            nodes[*parent].bytes += done;
        }
    }
}
