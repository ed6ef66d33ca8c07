//! Our clients among themselves, and with a foreign seed.

use crate::libtorrent::LIBTORRENT;
use crate::swarm::{ORIGIN, SOON, Shape, Swarm, end};
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
