//! All torrents of a folder at once.

use super::{SOON, STOP, Stage, client, content, files, fs, until};
use crate::util::{Background, Cmd};
use rustix::process::Signal;

fn launch(stage: &Stage, folder: &str) -> Cmd {
    let many = stage.dir.cmd("btlaunchmany").args([folder, "--local_only", "1"]);
    let many = many.args(["--bind", "127.0.0.1", "--minport", "10000", "--maxport", "60000"]);
    let many = many.args(["--random_port", "1", "--display_interval", "0.1"]);
    many.args(["--parse_dir_interval", "1"])
}

fn seeding(name: &str) -> String {
    format!("\"{name}.torrent\": \"seeding\" (100.0%)")
}

fn wait_for_line(many: &Background, part: &str) {
    until(SOON, part, || many.out().contains(part).then_some(()));
}

/// A folder of two torrents and a tree, whose data is beside them, and one without data.
fn stage() -> Stage {
    let stage = Stage::new();
    for name in ["one", "two"] {
        stage.dir.write(name, content(name, 300_000));
        stage.make(name);
    }
    stage.dir.write("tree/a", content("a", 100_000));
    stage.dir.write("tree/b/c", content("c", 50_000));
    stage.make("tree");
    for folder in ["have", "want"] {
        fs::create_dir(stage.dir.join(folder)).unwrap();
        for name in ["one", "two", "tree"] {
            let torrent = format!("{name}.torrent");
            fs::copy(stage.dir.join(&torrent), stage.dir.join(folder).join(&torrent)).unwrap();
        }
    }
    for name in ["one", "two", "tree"] {
        fs::rename(stage.dir.join(name), stage.dir.join("have").join(name)).unwrap();
    }
    stage
}

#[test]
fn a_folder_of_torrents_is_downloaded_from_another_one() {
    let stage = stage();
    let have = launch(&stage, "have").start();
    for name in ["one", "two", "tree"] {
        wait_for_line(&have, &seeding(&format!("have/{name}")));
    }
    let mut want = launch(&stage, "want").args(["--max_connections", "5"]).start();
    for name in ["one", "two", "tree"] {
        wait_for_line(&want, &format!("### \"want/{name}.torrent\": complete"));
    }
    let parts = |root| -> Vec<_> {
        files(&stage.dir.join(root))
            .into_iter()
            .filter(|(path, _)| path.extension().is_none())
            .collect()
    };
    assert!(parts("have") == parts("want"), "what came is what was sent");
    assert_eq!(want.out().matches("listening on port").count(), 1);
    // One goes, and its data stays.
    fs::remove_file(stage.dir.join("want/one.torrent")).unwrap();
    want.wait_for("### dropped \"want/one.torrent\"", SOON);
    assert_eq!(stage.dir.read("want/one"), content("one", 300_000));
    let done = want.stop(STOP).expect(0);
    assert!(done.out.contains("### shutting down\n"), "{}", done.out);
    assert_eq!(done.out.matches("### dropped ").count(), 3, "{}", done.out);
    assert_eq!(done.err, "");
    let done = have.stop(STOP).expect(0);
    assert_eq!(done.err, "");
    // What it saved vouches for the data: nothing is checked anew.
    let again = launch(&stage, "have").start();
    for name in ["one", "two", "tree"] {
        wait_for_line(&again, &seeding(&format!("have/{name}")));
    }
    again.stop(STOP).expect(0);
}

#[test]
fn bad_files_of_a_folder_cost_a_line_each_and_good_ones_are_taken_when_they_come() {
    let stage = stage();
    let folder = stage.dir.join("have");
    let whole = stage.dir.read("have/one.torrent");
    fs::write(folder.join("bad.torrent"), "no torrent").unwrap();
    fs::write(folder.join("half.torrent"), &whole[..200]).unwrap();
    // Another torrent under the same name in it, and the same torrent under another name.
    fs::create_dir(stage.dir.join("other")).unwrap();
    stage.dir.write("other/two", content("other", 1000));
    stage.make("other/two");
    fs::copy(stage.dir.join("other/two.torrent"), folder.join("x.torrent")).unwrap();
    fs::copy(folder.join("tree.torrent"), folder.join("y.torrent")).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for name in ["bad.torrent", "half.torrent"] {
        let file = fs::File::options().write(true).open(folder.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let mut many = launch(&stage, "have").args(["--saveas_style", "2", "--json", "1"]).start();
    wait_for_line(&many, "\"phase\":\"seeding\"");
    let said = |what: &str| until(SOON, what, || many.out().contains(what).then_some(()));
    said("'have/bad.torrent' is not a valid metafile: ");
    said("'have/half.torrent' is not a valid metafile: ");
    said("'have/y.torrent' is a duplicate torrent for 'have/tree.torrent'");
    said(
        "'have/x.torrent' is left out: its data would go to 'have/two', as that of 'have/two.torrent'",
    );
    // What stood in the way goes, and a file becomes whole.
    fs::remove_file(folder.join("tree.torrent")).unwrap();
    fs::remove_file(folder.join("one.torrent")).unwrap();
    fs::write(folder.join("half.torrent"), &whole).unwrap();
    said("\"event\":\"dropped\"");
    until(SOON, "two more torrents", || {
        let out = many.out();
        let added = |name: &str| {
            out.lines().any(|l| l.starts_with("{\"event\":\"added\"") && l.contains(name))
        };
        (added("have/y.torrent") && added("have/half.torrent")).then_some(())
    });
    many.signal(Signal::HUP);
    many.signal(Signal::USR1);
    assert!(many.runs());
    let done = many.stop(STOP).expect(0);
    assert_eq!(done.out.matches("\"event\":\"notice\"").count(), 4, "{}", done.out);
    assert!(done.out.contains("\"event\":\"ended\"") && done.err.is_empty(), "{}", done.out);
    assert!(!done.out.contains("\"event\":\"died\""), "{}", done.out);
    let mut alone = client(&stage.dir).args(["have/half.torrent", "--saveas", "have/one"]).start();
    alone.wait_for(super::COMPLETE, SOON);
    launch(&stage, "have/one").run().expect(1);
    launch(&stage, "have").arg("more").run().expect(2);
}
