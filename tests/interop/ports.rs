//! A home network of its own with miniupnpd as its router: our port is open as long as we run.

use crate::exchange::port_of;
use crate::util::{Background, Dir, content, until};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Set where the network is there already: the process whose network is the router's.
const ROUTER: &str = "BITTORNADO_TEST_ROUTER";

/// The router's network lasts as long as the test. The home's side is 10.77.0.0/24, with the router
/// at 1 and us at 2. Its other side leads nowhere, at an address that looks public.
const SETUP: &str = r#"
ip link set lo up
setpriv --pdeathsig KILL unshare --net sleep 3600 &
export BITTORNADO_TEST_ROUTER=$!
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link add home type veth peer name lan netns $! && ip address add 10.77.0.2/24 dev home &&
ip link set home up && nsenter --target $! --net sh -c '
    ip link set lo up && ip address add 10.77.0.1/24 dev lan && ip link set lan up &&
    ip link add wan type veth peer name outside && ip address add 11.22.33.44/24 dev wan &&
    ip link set outside up && ip link set wan up && ip route add default via 11.22.33.1 &&
    nft "add table inet filter; add chain inet filter miniupnpd;
        add chain inet filter prerouting_miniupnpd { type nat hook prerouting priority -100; };
        add chain inet filter postrouting_miniupnpd { type nat hook postrouting priority 100; }"
' && ip route add default via 10.77.0.1 && exec "$0" --exact "$1" --ignored --nocapture
"#;

/// Whether this process is at home there. If not, runs the test of this name there.
fn at_home(test: &str) -> bool {
    if std::env::var_os(ROUTER).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net", "sh", "-c", SETUP])
        .arg(std::env::current_exe().unwrap())
        .arg(test);
    assert!(command.status().unwrap().success(), "see above");
    false
}

/// The router's daemon, with more lines of its settings.
fn router(dir: &Dir, settings: &str) -> Background {
    let leases = dir.join("leases");
    let settings = format!(
        "ext_ifname=wan\nlistening_ip=lan\nport=0\nsecure_mode=yes\nlease_file={}\n\
         uuid=00000000-0000-0000-0000-000000000001\nallow 1024-65535 10.77.0.0/24 1024-65535\n\
         deny 0-65535 0.0.0.0/0 0-65535\n{settings}\n",
        leases.display()
    );
    let settings = dir.write("router", settings);
    let pid = std::env::var(ROUTER).unwrap();
    let enter = dir.program("nsenter").args(["--target", &pid, "--net", "miniupnpd", "-d"]);
    let mut daemon = enter.arg("-P").arg(dir.join("pid")).arg("-f").arg(settings).start();
    until(SOON, "the router to listen", || {
        assert!(daemon.runs(), "{}", daemon.err());
        dir.join("pid").exists().then_some(())
    });
    daemon
}

/// Runs a client until the router has opened both ports to it, and has it end: then they are shut.
/// Then the same with this value of the option.
fn open_and_shut(settings: &str, option: &str, way: &str) {
    let dir = Dir::new();
    let _router = router(&dir, settings);
    dir.write("x", content("ports", 100_000));
    let make = ["http://10.77.0.1:1/announce", "x", "--target", "x.torrent"];
    dir.cmd("btmakemetafile").args(make).run().expect(0);
    let leases = || std::fs::read_to_string(dir.join("leases")).unwrap_or_default();
    for option in ["1", option] {
        let client = dir.cmd("btdownload").args(["x.torrent", "--saveas", "x"]);
        let mut client = client.args(["--upnp_nat_access", option]).start();
        let port = port_of(&mut client);
        until(SOON, "both ports to be open", || {
            let open =
                |protocol| leases().contains(&format!("{protocol}:{port}:10.77.0.2:{port}:"));
            (open("TCP") && open("UDP")).then_some(())
        });
        assert!(leases().lines().all(|line| line.contains(way)), "{}", leases());
        // The router may be quicker than the check of what is there: who is stopped before has failed.
        client.wait_for("download complete", SOON);
        client.stop(SOON).expect(0);
        until(SOON, "both ports to be shut", || leases().is_empty().then_some(()));
    }
}

#[test]
#[ignore = "needs miniupnpd"]
fn our_ports_are_open_while_a_magnet_link_waits() {
    if !at_home("ports::our_ports_are_open_while_a_magnet_link_waits") {
        return;
    }
    let dir = Dir::new();
    let _router = router(&dir, "enable_natpmp=yes\nenable_upnp=no");
    let leases = || std::fs::read_to_string(dir.join("leases")).unwrap_or_default();
    let open = |port: u16| {
        ["TCP", "UDP"]
            .iter()
            .all(|protocol| leases().contains(&format!("{protocol}:{port}:10.77.0.2:{port}:")))
    };
    let link = format!("magnet:?xt=urn:btih:{}", "0123456789".repeat(4));
    let args = [&link[..], "--lsd", "0", "--dht", "0", "--minport", "6885"];
    let client = dir.cmd("btdownload").args(args).start();
    until(SOON, "both ports to be open", || open(6885).then_some(()));
    client.stop(SOON).expect(1);
    until(SOON, "both ports to be shut", || leases().is_empty().then_some(()));
}

#[test]
#[ignore = "needs miniupnpd"]
fn a_router_that_knows_pcp_opens_our_ports_as_long_as_we_run() {
    if at_home("ports::a_router_that_knows_pcp_opens_our_ports_as_long_as_we_run") {
        open_and_shut("enable_natpmp=yes\nenable_upnp=no", "1", "PCP MAP");
    }
}

#[test]
#[ignore = "needs miniupnpd"]
fn a_router_that_knows_upnp_alone_opens_our_ports_as_long_as_we_run() {
    if at_home("ports::a_router_that_knows_upnp_alone_opens_our_ports_as_long_as_we_run") {
        open_and_shut("enable_natpmp=no\nenable_upnp=yes", "2", "BitTornado");
    }
}
