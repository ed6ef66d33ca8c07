//! The kernel's table of IPv4 routes, `/proc/net/route`.

use std::net::Ipv4Addr;

/// The route is in use, and leads through a gateway.
const UP_AND_GATEWAY: u32 = 0x0003;

/// The gateway to everywhere with the least metric, if there is one; with an interface, of those
/// there.
pub fn default_gateway(table: &str, device: Option<&str>) -> Option<Ipv4Addr> {
    let on = |line: &&str| {
        device.is_none_or(|device| line.split_ascii_whitespace().next() == Some(device))
    };
    let routes = table.lines().skip(1).filter(on).filter_map(default_route);
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// Metric and gateway of a line of the table, if it is the route to everywhere.
fn default_route(line: &str) -> Option<(u32, Ipv4Addr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let mut hex = || u32::from_str_radix(fields.next()?, 16).ok();
    let (destination, gateway, flags) = (hex()?, hex()?, hex()?);
    let metric = fields.nth(2)?.parse().ok()?;
    let mask = u32::from_str_radix(fields.next()?, 16).ok()?;
    let leads = destination == 0 && mask == 0 && flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
    // The kernel prints the four bytes as one number of this machine.
    (leads && gateway != 0).then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n";

    /// As a machine of this byte order prints it.
    fn hex(ip: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(ip))
    }

    #[test]
    fn the_default_route_of_least_metric_names_the_gateway() {
        let (far, near, net) = (hex([192, 168, 1, 254]), hex([10, 0, 0, 1]), hex([10, 0, 0, 0]));
        let mask = hex([255, 255, 255, 0]);
        let table = format!(
            "{HEAD}wlan0\t00000000\t{far}\t0003\t0\t0\t600\t00000000\t0\n\
             eth0\t00000000\t{near}\t0003\t0\t0\t100\t00000000\t0\n\
             eth0\t{net}\t00000000\t0001\t0\t0\t0\t{mask}\t0\n"
        );
        assert_eq!(default_gateway(&table, None), Some(Ipv4Addr::new(10, 0, 0, 1)));
        let far = Some(Ipv4Addr::new(192, 168, 1, 254));
        assert_eq!(default_gateway(&table, Some("wlan0")), far);
        assert_eq!(default_gateway(&table, Some("lo")), None);
    }

    #[test]
    fn no_line_that_leads_elsewhere_or_makes_no_sense_names_one() {
        let gateway = hex([10, 0, 0, 1]);
        for line in [
            "",
            "eth0",
            "eth0 00000000 zz 0003 0 0 0 00000000",
            &format!("eth0 00000000 {gateway} 0003 0 0 0"),
            &format!("down 00000000 {gateway} 0002 0 0 0 00000000"),
            "ppp0 00000000 00000000 0003 0 0 0 00000000",
            &format!("half 00000000 {gateway} 0003 0 0 0 {}", hex([128, 0, 0, 0])),
        ] {
            assert_eq!(default_gateway(&format!("{HEAD}{line}\n"), None), None, "{line}");
        }
    }
}
