//! qBittorrent without a screen, on loopback, without what would look for peers elsewhere.

use crate::swarm::{
    Client, Shape, Swarm, downloads_from_us, downloads_from_us_by_magnet, seeds_to_us,
    seeds_to_us_by_magnet,
};
use crate::util::{Background, free_port};
use std::fs;

const QBITTORRENT: Client = Client { start, dials: true, makes_empty_files: true };

fn start(swarm: &Swarm, folder: &str) -> Background {
    let (port, control) = (free_port(), free_port());
    let profile = format!("qbittorrent-{port}");
    let settings = format!(
        "[LegalNotice]\n\
         Accepted=true\n\
         [BitTorrent]\n\
         Session\\Port={port}\n\
         Session\\Interface=lo\n\
         Session\\InterfaceName=lo\n\
         Session\\InterfaceAddress=127.0.0.1\n\
         Session\\DHTEnabled=false\n\
         Session\\LSDEnabled=false\n\
         Session\\PeXEnabled=false\n\
         Session\\BTProtocol=TCP\n\
         Session\\MultiConnectionsPerIp=true\n\
         Session\\AddTorrentPaused=false\n\
         Session\\TorrentContentLayout=Original\n\
         [Network]\n\
         PortForwardingEnabled=false\n\
         [Preferences]\n\
         Connection\\ResolvePeerCountries=false\n\
         WebUI\\Enabled=true\n\
         WebUI\\Address=127.0.0.1\n\
         WebUI\\Port={control}\n\
         WebUI\\UseUPnP=false\n"
    );
    swarm.dir.write(format!("{profile}/qBittorrent/config/qBittorrent.conf"), settings);
    let data = swarm.dir.join(folder);
    fs::create_dir_all(&data).unwrap();
    let qbittorrent = swarm.dir.program("qbittorrent-nox");
    let qbittorrent = qbittorrent.arg(format!("--profile={}", swarm.dir.join(profile).display()));
    let qbittorrent = qbittorrent.arg(format!("--save-path={}", data.display()));
    qbittorrent.args(["--add-paused=false", "--skip-dialog=true", &swarm.source(folder)]).start()
}

#[test]
#[ignore = "needs qbittorrent"]
fn downloads_a_file_from_us() {
    downloads_from_us(Shape::File, &QBITTORRENT);
}

#[test]
#[ignore = "needs qbittorrent"]
fn downloads_a_tree_from_us() {
    downloads_from_us(Shape::Tree, &QBITTORRENT);
}

#[test]
#[ignore = "needs qbittorrent"]
fn seeds_a_file_to_us() {
    seeds_to_us(Shape::File, &QBITTORRENT);
}

#[test]
#[ignore = "needs qbittorrent"]
fn seeds_a_tree_to_us() {
    seeds_to_us(Shape::Tree, &QBITTORRENT);
}

#[test]
#[ignore = "needs qbittorrent"]
fn downloads_from_us_with_a_magnet_link() {
    downloads_from_us_by_magnet(&QBITTORRENT);
}

#[test]
#[ignore = "needs qbittorrent"]
fn seeds_to_us_who_have_a_magnet_link() {
    seeds_to_us_by_magnet(&QBITTORRENT);
}
