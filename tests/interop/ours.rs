//! Our clients among themselves, and with a foreign seed.

use crate::libtorrent::LIBTORRENT;
use crate::swarm::{ORIGIN, SOON, Shape, Swarm, end};
use crate::util::{Background, free_port};
use rustix::process::Signal;

/// The ports and the addresses are the defaults here too: nothing is said but the torrent.
#[test]
fn one_of_ours_downloads_from_another_with_nothing_but_defaults() {
    let swarm = Swarm::new(Shape::Wild);
    let mut seed = swarm.btdownload(ORIGIN).start();
    seed.wait_for("seeding", SOON);
    swarm.wait_for(1, 0);
    let mut leech = swarm.btdownload("copy").start();
    leech.wait_for("download complete", SOON);
    swarm.wait_for_copy("copy");
    swarm.wait_for(2, 1);
    let page = String::from_utf8(swarm.get("/")).unwrap();
    assert!(page.contains("<td>2</td><td>0</td><td>1</td>"), "{page}");
    end(leech, Signal::INT);
    end(seed, Signal::TERM);
    swarm.wait_for(0, 1);
}

/// Leeches of ours that share what they have while they fetch the rest.
fn swarm_of(count: usize, start_seed: impl Fn(&Swarm) -> Background) {
    let swarm = Swarm::new(Shape::Tree);
    let seed = start_seed(&swarm);
    swarm.wait_for(1, 0);
    // So slow that none of them can have all from the seed before the last has come.
    let folders: Vec<String> = (0..count).map(|n| format!("leech {n}")).collect();
    let leech = |folder: &String| {
        let port = free_port().to_string();
        let limits = ["--max_download_rate", "700", "--minport", &port, "--maxport", &port];
        swarm.btdownload(folder).args(limits).start()
    };
    let mut leeches: Vec<_> = folders.iter().map(leech).collect();
    for (folder, leech) in folders.iter().zip(&mut leeches) {
        leech.wait_for("download complete", SOON);
        swarm.wait_for_copy(folder);
    }
    swarm.wait_for(1 + count as i64, count as i64);
    leeches.into_iter().for_each(|leech| end(leech, Signal::TERM));
    drop(seed);
}

#[test]
fn one_seed_and_eight_leeches_of_ours() {
    swarm_of(8, |swarm| swarm.ours(ORIGIN));
}

#[test]
#[ignore = "needs libtorrent"]
fn leeches_of_ours_and_of_libtorrent_in_one_swarm() {
    let swarm = Swarm::new(Shape::Tree);
    let seed = swarm.ours(ORIGIN);
    swarm.wait_for(1, 0);
    let _theirs = ["their first", "their second"].map(|copy| (LIBTORRENT.start)(&swarm, copy));
    let mut ours = ["our first", "our second"].map(|folder| (folder, swarm.ours(folder)));
    for (folder, ours) in &mut ours {
        ours.wait_for("download complete", SOON);
        swarm.wait_for_copy(folder);
    }
    for folder in ["their first", "their second"] {
        swarm.wait_for_copy(folder);
    }
    swarm.wait_for(5, 4);
    ours.into_iter().for_each(|(_, ours)| end(ours, Signal::INT));
    end(seed, Signal::TERM);
}

#[test]
#[ignore = "needs libtorrent"]
fn two_of_ours_share_with_a_foreign_seed() {
    let swarm = Swarm::new(Shape::File);
    let _seed = (LIBTORRENT.start)(&swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let mut ours = ["first", "second"].map(|folder| (folder, swarm.ours(folder)));
    for (folder, ours) in &mut ours {
        ours.wait_for("download complete", SOON);
        swarm.wait_for_copy(folder);
    }
    swarm.wait_for(3, 2);
    for (_, ours) in ours {
        end(ours, Signal::INT);
    }
    swarm.wait_for(1, 2);
}

#[test]
fn two_that_have_encrypted_connections_only_find_each_other() {
    let swarm = Swarm::new(Shape::File);
    let ours = |folder: &str, option: &str| {
        let port = free_port().to_string();
        let ports = ["--minport", &port, "--maxport", &port];
        swarm.btdownload(folder).args(ports).arg(option).start()
    };
    let _seed = ours(ORIGIN, "--crypto_stealth");
    swarm.wait_for(1, 0);
    let mut leech = ours("copy", "--crypto_only");
    leech.wait_for("download complete", SOON);
    swarm.wait_for_copy("copy");
}
