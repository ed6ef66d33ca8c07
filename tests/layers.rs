//! `scripts/layers` sees every kind of breach, and sees none where there is none.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::path::Path;

use util::{Dir, Done};

fn layers(dir: &Dir, src: &Path) -> Done {
    dir.program(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/layers")).arg(src).run()
}

#[test]
fn our_own_sources_cross_no_border() {
    let dir = Dir::new();
    let done = layers(&dir, &Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect(0);
    assert!(done.out.ends_with("no border crossed\n"), "{}", done.out);
    assert_eq!(done.err, "");
}

/// A file's folder, what is planted, the line of it that is to be named, and why.
const BREACHES: &[(&str, &str, u32, &str)] = &[
    ("proto", "use crate::logic::rng::Rng;", 1, "proto uses a floor above it"),
    ("proto", "fn f() {\n    crate::io::sys::poll();\n}", 2, "proto uses a floor above it"),
    ("proto", "use std::{fmt, net::TcpStream};", 1, "proto uses sockets"),
    ("proto", "use std::{\n    fmt,\n    fs::File,\n};", 1, "proto touches the machine"),
    ("proto", "fn f() {\n    let u = std::net::UdpSocket::bind(a);\n}", 2, "proto uses sockets"),
    ("logic", "use crate::io::sys;", 1, "logic uses io"),
    ("logic", "use crate::{proto::ids, io::{disk, save}};", 1, "logic uses io"),
    ("logic", "pub(crate) use crate::{\n    proto::ids,\n    io,\n};", 1, "logic uses io"),
    ("logic", "use crate::app::client;", 1, "logic uses a floor above it"),
    ("logic", "use super::super::io;", 1, "hides its room"),
    ("logic", "use crate::*;", 1, "hides its room"),
    ("logic", "use crate::{self, proto};", 1, "hides its room"),
    ("logic", "use std::{collections, thread};", 1, "logic touches the machine"),
    ("logic", "use std as s;", 1, "logic touches the machine"),
    ("logic", "use std::os::{unix::net, raw};", 1, "logic touches the machine"),
    ("logic", "fn f() {\n    let t = std::time::Instant::now();\n}", 2, "logic reads the clock"),
    ("logic", "fn f(t: SystemTime) {\n    SystemTime::now();\n}", 2, "logic reads the clock"),
    ("logic", "fn f(t: Instant) {\n    t.elapsed();\n}", 2, "logic reads the clock"),
    ("logic", "use std::time::{Duration, Instant as Clock};", 1, "logic reads the clock"),
    ("logic", "use std::hash::RandomState;", 1, "logic draws randomness"),
    ("logic", "fn f() {\n    println!(\"x\");\n}", 2, "printing outside cmd"),
    ("io", "fn f() {\n    eprint!(\"x\");\n}", 2, "printing outside cmd"),
    ("io", "fn f() {\n    let out = std::io::stdout();\n}", 2, "printing outside cmd"),
    ("io", "use crate::{proto, logic::{self, torrent}};", 1, "io uses logic"),
    ("io", "use crate::cmd::env::Env;", 1, "io uses a floor above it"),
    ("app", "use crate::cmd;", 1, "app uses cmd"),
    ("app", "fn f() {\n    std::process::exit(1);\n}", 2, "process::exit outside cmd"),
    ("cmd", "use crate::{app, logic::rng};", 1, "cmd uses logic"),
    ("cmd", "use crate::io::{screen, fetch};", 1, "cmd uses more of io"),
    ("io", "use rustix::fs;", 1, "package rustix outside io/sys"),
    ("app", "use ::{\n    std::fmt,\n    ureq::Agent,\n};", 1, "package ureq outside io/fetch"),
    ("logic", "fn f() {\n    crossbeam_channel::bounded(1);\n}", 2, "package crossbeam_channel"),
    ("proto", "use sha1 as other;", 1, "package sha1 outside proto/hash"),
    ("app", "fn f() {\n    // todo!()\n    todo!()\n}", 3, "todo!"),
    ("app", "fn f() {\n    unimplemented!();\n}", 2, "unimplemented!"),
    ("app", "fn f() {\n    dbg!(1);\n}", 2, "dbg!"),
    ("app", "fn f() {\n    g()\n        .unwrap();\n}", 3, "unwrap()"),
    ("app", "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::cmd;", 5, "app uses cmd"),
    ("app", "#[cfg(test)]\nmod tests;\nuse crate::cmd;", 3, "app uses cmd"),
    ("app", "struct S {\n    #[cfg(test)]\n    a: u8,\n}\nuse crate::cmd;", 5, "app uses cmd"),
    ("app", "const A: &str = \"\\\" /*\"; use crate::cmd;", 1, "app uses cmd"),
    ("app", "const A: &str = r#\"\" // \"#;\nuse crate::cmd;", 2, "app uses cmd"),
    ("app", "const A: char = '\"';\nuse crate::cmd;\n// \"", 2, "app uses cmd"),
    ("app", "const A: char = '\\'';\nconst B: char = '文';\nuse crate::cmd;", 3, "app uses cmd"),
    ("app", "fn f<'a>(a: &'a str, b: &'a str) {}\nuse crate::cmd;", 2, "app uses cmd"),
    ("app", "/* a /* b */ c */ use crate::cmd;", 1, "app uses cmd"),
];

#[test]
fn a_breach_of_each_kind_is_named_with_its_place() {
    let dir = Dir::new();
    for (i, (room, text, ..)) in BREACHES.iter().enumerate() {
        dir.write(format!("src/{room}/planted{i}.rs"), text);
    }
    let done = layers(&dir, &dir.join("src")).expect(1);
    for (i, (room, text, line, why)) in BREACHES.iter().enumerate() {
        let place = format!("{room}/planted{i}.rs:");
        let said: Vec<&str> = done.out.lines().filter(|l| l.starts_with(&place)).collect();
        assert_eq!(said.len(), 1, "{text}\n{said:?}");
        assert!(said[0].starts_with(&format!("{place}{line}: ")), "{text}\n{said:?}");
        assert!(said[0].contains(why), "{text}\n{said:?}");
    }
    assert_eq!(done.err, format!("layers: {} breaches\n", BREACHES.len()));
}

#[test]
fn what_only_looks_like_a_breach_is_left_alone() {
    let dir = Dir::new();
    for (i, (room, text)) in [
        ("logic", "//! Unlike crate::io, and never `Instant::now()` or println!."),
        ("logic", "fn f() {\n    let s = \"use crate::io; .unwrap()\";\n}"),
        ("logic", "const A: &str = r##\"\n\"# crate::io\n\"##;"),
        ("logic", "const A: &str = \"\n    crate::io \\\n    println!\";"),
        ("logic", "/*\nuse crate::io;\n*/"),
        ("logic", "#[cfg(test)]\nmod tests {\n    use crate::io;\n    fn f() { a.unwrap(); }\n}"),
        ("logic", "#[cfg(test)]\nuse std::{fs, thread};\nfn f() {}"),
        ("logic", "#[cfg(all(test, unix))]\nfn f(a: [u8; 3]) {\n    println!();\n}"),
        ("logic", "use std::{net::{IpAddr, SocketAddr}, time::{Duration, Instant}};"),
        ("logic", "use crate::{proto::ids, logic::rng};\nfn f() { a.unwrap_or(b) }"),
        ("proto", "use crate::proto::hash::sha1;\nfn f() { sha1(b\"\"); }"),
        ("cmd", "fn f() {\n    println!(\"x\");\n    std::process::exit(2);\n}"),
        ("io/sys", "use rustix::fs;"),
        ("logic/ledger/tests", "fn f() { a.unwrap(); }"),
    ]
    .iter()
    .enumerate()
    {
        dir.write(format!("src/{room}/harmless{i}.rs"), text);
    }
    dir.write("src/logic/tests.rs", "use crate::io;");
    let done = layers(&dir, &dir.join("src"));
    assert_eq!(done.out, "layers: 13 files, no border crossed\n");
    done.expect(0);
}

#[test]
fn a_package_without_a_room_is_a_breach() {
    let dir = Dir::new();
    dir.write("src/lib.rs", "");
    dir.write("Cargo.toml", "[dependencies]\nhttparse = \"1\"\nleft-pad = \"1\"\n");
    let done = layers(&dir, &dir.join("src")).expect(1);
    assert_eq!(done.out, "Cargo.toml:3: package left_pad has no module in scripts/layers\n");
}

#[test]
fn nothing_to_check_is_a_failure() {
    let dir = Dir::new();
    let done = layers(&dir, dir.path()).expect(1);
    assert_eq!(done.err, "layers: no source files\n");
    assert_ne!(layers(&dir, &dir.join("missing")).code(), Some(0));
}
