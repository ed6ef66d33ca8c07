//! Which networks begin at this machine, as the kernel tells it: `/proc/net/route` for IPv4,
//! `/proc/net/if_inet6` for IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// No more networks than this are taken from a table.
const MAX_NETWORKS: usize = 64;

/// The route is in use,
const UP: u32 = 0x0001;

/// and leads through a gateway.
const GATEWAY: u32 = 0x0002;

/// A network whose hosts can be reached without a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The name of the interface that leads there.
    pub interface: String,
    /// An address in it.
    pub address: IpAddr,
    /// Bits at the beginning of an address that all of it have in common, 1 to 128.
    pub prefix: u32,
}

impl Network {
    /// Whether an address is one of this network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

/// Those of IPv4. Lines that make no sense are passed over.
pub fn of_routes(table: &str) -> Vec<Network> {
    table.lines().skip(1).filter_map(route).take(MAX_NETWORKS).collect()
}

fn route(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let hex = |n: usize| u32::from_str_radix(fields.get(n)?, 16).ok();
    let (net, flags, mask) = (hex(1)?, hex(3)?, hex(7)?);
    // The kernel prints the four bytes as one number of this machine.
    let bits = |number: u32| u32::from_be_bytes(number.to_ne_bytes());
    let prefix = bits(mask).leading_ones();
    let interface = fields[0].to_string();
    let address = Ipv4Addr::from_bits(bits(net)).into();
    let leads = flags & (UP | GATEWAY) == UP && prefix > 0;
    leads.then_some(Network { interface, address, prefix })
}

/// Those of IPv6: the addresses are ours. Lines that make no sense are passed over.
pub fn of_addresses(table: &str) -> Vec<Network> {
    table.lines().filter_map(own_address).take(MAX_NETWORKS).collect()
}

fn own_address(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let address = u128::from_str_radix(fields.first()?, 16).ok()?;
    let prefix = u32::from_str_radix(fields.get(2)?, 16).ok()?;
    let interface = fields.get(5)?.to_string();
    let address = Ipv6Addr::from_bits(address).into();
    (1..=128).contains(&prefix).then_some(Network { interface, address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(ip: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(ip))
    }

    #[test]
    fn routes_without_a_gateway_are_networks() {
        let line = |name: &str, net, gateway, flags: &str, mask| {
            let [net, gateway, mask] = [net, gateway, mask].map(hex);
            format!("{name}\t{net}\t{gateway}\t{flags}\t0\t0\t100\t{mask}\t0\t0\t0\n")
        };
        let (none, far) = ([0; 4], [192, 168, 7, 1]);
        let table = ["Iface\tDestination\n".to_string()]
            .into_iter()
            .chain([
                line("eth0", none, far, "0003", none),
                line("eth0", [192, 168, 6, 0], none, "0001", [255, 255, 254, 0]),
                line("eth1", [10, 0, 0, 0], far, "0003", [255, 0, 0, 0]),
                line("ppp0", none, none, "0001", none),
                line("down", [10, 1, 0, 0], none, "0000", [255, 255, 0, 0]),
                "odd\tzz\n".into(),
            ])
            .collect::<String>();
        let found = of_routes(&table);
        let address = Ipv4Addr::new(192, 168, 6, 0).into();
        assert_eq!(found, [Network { interface: "eth0".into(), address, prefix: 23 }]);
        for (ip, is_in) in [
            ("192.168.7.255", true),
            ("::ffff:192.168.6.1", true),
            ("192.168.8.0", false),
            ("::1", false),
        ] {
            assert_eq!(found[0].contains(ip.parse().unwrap()), is_in, "{ip}");
        }
    }

    #[test]
    fn own_addresses_tell_the_networks_of_ipv6() {
        let table = "20010db8000000010000000000000009 02 40 00 80     eth0\n\
                     fe80000000000000000000000000000x 02 40 20 80     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\nx\n";
        let found = of_addresses(table);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].interface.as_str(), found[0].prefix), ("eth0", 64));
        for (ip, is_in) in [("2001:db8:0:1::1", true), ("2001:db8:0:2::1", false)] {
            assert_eq!(found[0].contains(ip.parse().unwrap()), is_in, "{ip}");
        }
        assert!(found[1].contains("::1".parse().unwrap()));
        assert!(!found[1].contains("::2".parse().unwrap()));
    }
}
