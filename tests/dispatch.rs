//! The binary as a user meets it: through symlinks, as `bittornado NAME`, and its own options.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod util;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use util::Dir;

const BINARY: &str = env!("CARGO_BIN_EXE_bittornado");

fn listed(dir: &Dir) -> Vec<String> {
    let done = dir.cmd("bittornado").arg("--list").run().expect(0);
    assert_eq!(done.err, "");
    done.out.lines().map(str::to_owned).collect()
}

#[test]
fn version_and_help_are_on_standard_output() {
    let dir = Dir::new();
    let done = dir.cmd("bittornado").arg("--version").run().expect(0);
    assert_eq!(done.out, "bittornado 0.5.0\n");
    let done = dir.cmd("bittornado").arg("--help").run().expect(0);
    assert!(done.out.starts_with("usage: bittornado COMMAND"), "{}", done.out);
    assert_eq!(done.err, "");
}

#[test]
fn without_arguments_every_command_prints_its_usage_and_exits_2() {
    let dir = Dir::new();
    for name in listed(&dir).iter().map(String::as_str).chain(["bittornado"]) {
        let done = dir.cmd(name).run().expect(2);
        assert!(done.out.starts_with(&format!("usage: {name} ")), "{name}: {}", done.out);
        assert_eq!(done.err, "", "{name}");
    }
}

#[test]
fn every_command_answers_to_its_name_through_each_door() {
    let dir = Dir::new();
    for name in listed(&dir) {
        let help = dir.cmd(&name).arg("--help").run().expect(0);
        assert!(help.out.starts_with(&format!("usage: {name} ")), "{}", help.out);
        for suffix in [".py", ".bittornado"] {
            let done = dir.cmd(&format!("{name}{suffix}")).arg("--help").run().expect(0);
            assert_eq!(done.out, help.out);
        }
        let done = dir.cmd("bittornado").args([&name, "--help"]).run().expect(0);
        assert_eq!(done.out, help.out);
        assert!(help.out.lines().all(|line| line.chars().count() <= 79), "{}", help.out);
    }
}

#[test]
fn an_unknown_option_is_one_line_and_exit_2_in_every_command() {
    let dir = Dir::new();
    for name in listed(&dir) {
        let done = dir.cmd(&name).args(["--no_such_option", "x"]).run().expect(2);
        assert_eq!(done.out, "", "{name}");
        assert!(done.err.starts_with(&format!("{name}: --no_such_option: ")), "{}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    }
}

#[test]
fn an_unknown_command_gets_the_list_and_exit_2() {
    let dir = Dir::new();
    for done in
        [dir.cmd("bittornado").arg("btnothing").run(), dir.cmd("other").arg("btnothing").run()]
    {
        let done = done.expect(2);
        assert!(done.err.contains("there is no command 'btnothing'"), "{}", done.err);
        for name in listed(&dir) {
            assert!(done.err.contains(&name), "{}", done.err);
        }
        assert_eq!((done.out.as_str(), done.err.lines().count()), ("", 1));
    }
}

#[test]
fn install_makes_a_working_symlink_for_every_name() {
    let dir = Dir::new();
    fs::create_dir(dir.join("bin")).unwrap();
    let done = dir.cmd("bittornado").args(["--install", "bin"]).run().expect(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    for name in listed(&dir) {
        let link = dir.join("bin").join(&name);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let done = dir.program(&link).arg("--version").run().expect(0);
        assert!(done.out.contains("0.5.0"), "{}", done.out);
    }
}

#[test]
fn install_next_to_the_binary_makes_links_that_survive_a_move() {
    let dir = Dir::new();
    fs::create_dir(dir.join("bin")).unwrap();
    fs::hard_link(BINARY, dir.join("bin/bittornado")).unwrap();
    dir.program(dir.join("bin/bittornado")).args(["--install", "bin"]).run().expect(0);
    for name in listed(&dir) {
        let link = dir.join("bin").join(&name);
        assert_eq!(fs::read_link(link).unwrap(), Path::new("bittornado"));
    }
}

#[test]
fn install_replaces_nothing_without_f_and_makes_nothing_then() {
    let dir = Dir::new();
    let names = listed(&dir);
    let Some(last) = names.last() else { return };
    dir.write(format!("bin/{last}"), "mine");
    let done = dir.cmd("bittornado").args(["--install", "bin"]).run().expect(1);
    assert!(done.err.contains(&format!("bin/{last}' exists already")), "{}", done.err);
    assert_eq!(fs::read_dir(dir.join("bin")).unwrap().count(), 1);
    assert_eq!(dir.read(format!("bin/{last}")), b"mine");

    dir.cmd("bittornado").args(["--install", "-f", "bin"]).run().expect(0);
    assert_eq!(fs::canonicalize(dir.join("bin").join(last)).unwrap(), canonical_binary());
    assert_eq!(fs::read_dir(dir.join("bin")).unwrap().count(), names.len());
    dir.cmd("bittornado").args(["--install", "bin", "-f"]).run().expect(0);
}

#[test]
fn install_with_f_replaces_a_dangling_link_but_never_a_folder() {
    let dir = Dir::new();
    let names = listed(&dir);
    let [first, .., last] = &names[..] else { return };
    fs::create_dir_all(dir.join("bin").join(first)).unwrap();
    symlink("/nowhere", dir.join("bin").join(last)).unwrap();
    let done = dir.cmd("bittornado").args(["--install", "bin", "-f"]).run().expect(1);
    assert!(done.err.contains(&format!("bin/{first}' is a folder")), "{}", done.err);
    assert_eq!(fs::read_link(dir.join("bin").join(last)).unwrap(), Path::new("/nowhere"));
    fs::remove_dir(dir.join("bin").join(first)).unwrap();
    dir.cmd("bittornado").args(["--install", "bin", "-f"]).run().expect(0);
    assert_eq!(fs::canonicalize(dir.join("bin").join(last)).unwrap(), canonical_binary());
}

#[test]
fn install_never_replaces_the_binary_itself() {
    let dir = Dir::new();
    let names = listed(&dir);
    let Some(name) = names.first() else { return };
    fs::create_dir(dir.join("bin")).unwrap();
    let own = dir.join("bin").join(name);
    fs::hard_link(BINARY, &own).unwrap();
    symlink(&own, dir.join("bittornado")).unwrap();
    let done = dir.program(dir.join("bittornado")).args(["--install", "bin", "-f"]).run().expect(1);
    assert!(done.err.contains("this program's own file"), "{}", done.err);
    assert!(fs::symlink_metadata(&own).unwrap().is_file());
}

#[test]
fn install_into_nothing_is_a_clear_error() {
    let dir = Dir::new();
    dir.write("file", "");
    for (name, text) in [("missing", "No such file or directory"), ("file", "not a folder")] {
        let done = dir.cmd("bittornado").args(["--install", name]).run().expect(1);
        assert!(done.err.contains(text), "{}", done.err);
        assert_eq!(done.err.lines().count(), 1);
    }
    assert_eq!(dir.names(), ["file"]);
    dir.cmd("bittornado").arg("--install").run().expect(2);
}

#[test]
fn a_reader_that_leaves_early_causes_no_noise() {
    let dir = Dir::new();
    let mut child = Command::new(BINARY)
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(File::create(dir.join("err")).unwrap())
        .spawn()
        .unwrap();
    // Closed before the program writes or while it does: both must be quiet.
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(dir.read("err"), b"");
}

#[test]
fn a_full_disk_behind_standard_output_is_exit_1() {
    let dir = Dir::new();
    let status = Command::new(BINARY)
        .arg("--help")
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(File::create(dir.join("err")).unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let err = String::from_utf8(dir.read("err")).unwrap();
    assert_eq!(err, "bittornado: cannot write to standard output: No space left on device\n");
}

fn canonical_binary() -> std::path::PathBuf {
    fs::canonicalize(BINARY).unwrap()
}
