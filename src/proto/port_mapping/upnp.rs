//! What is said to a UPnP router: the search (SSDP), its description, and the calls (SOAP) that open
//! and shut ports (services WANIPConnection and WANPPPConnection). HTTP here is as much as that takes.
//!
//! What a router answers never panics, takes one pass, and only addresses of its own are taken out.

use super::{Mapping, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where a search goes to: every router of the link.
pub const SEARCH: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// No answer over HTTP is longer, in bytes; the longest descriptions have some tens of thousands.
pub const MAX_ANSWER: usize = 256 * 1024;

/// So many services of one router are tried.
const MAX_SERVICES: usize = 4;

/// The longest path of an address, in bytes.
const MAX_PATH: usize = 1024;

/// What can open ports; the type before its version.
const SERVICES: [&str; 2] = [
    "urn:schemas-upnp-org:service:WANIPConnection:",
    "urn:schemas-upnp-org:service:WANPPPConnection:",
];

/// Router's fault: it knows leases without end alone.
const ONLY_PERMANENT: &str = "725";

/// Router's fault: the port leads elsewhere.
const CONFLICT: &str = "718";

/// Part of a router that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whom to connect to.
    pub host: SocketAddrV4,
    /// From the slash on.
    pub path: String,
}

/// A service that opens ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where it is called.
    pub control: Url,
    /// Its type, with the version.
    kind: String,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// So it is.
    Done,
    /// Only a mapping without end will do.
    OnlyPermanent,
    /// Another port will do.
    Conflict,
    /// No.
    Refused,
}

impl Url {
    /// `http://ADDRESS[:PORT]/PATH` at this very address.
    pub fn at(gateway: Ipv4Addr, url: &str) -> Option<Url> {
        let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
        let rest = &url[scheme.len()..];
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = match host.split_once(':') {
            Some((ip, port)) => SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?),
            None => SocketAddrV4::new(host.parse().ok()?, 80),
        };
        let url = Url { host, path: if path.is_empty() { "/" } else { path }.into() };
        (*host.ip() == gateway && host.port() > 0 && url.is_plain()).then_some(url)
    }

    /// What `reference` means in a text from here.
    fn join(&self, reference: &str) -> Option<Url> {
        if reference.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            return Url::at(*self.host.ip(), reference);
        }
        let folder = self.path.rfind('/').map_or("/", |slash| &self.path[..=slash]);
        let path = match reference.starts_with('/') {
            true => reference.into(),
            false => format!("{folder}{reference}"),
        };
        Some(Url { host: self.host, path }).filter(Url::is_plain)
    }

    /// Whether it can be put into a request as it is.
    fn is_plain(&self) -> bool {
        self.path.len() <= MAX_PATH && self.path.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Asks for what is there.
    pub fn get(&self) -> Vec<u8> {
        let Url { host, path } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
    }
}

/// Asks all routers to say where they are described.
pub fn search() -> Vec<u8> {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {SEARCH}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
         ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
    )
    .into_bytes()
}

/// Where the router at this address is described, if this is its answer to a search.
pub fn described_at(gateway: Ipv4Addr, packet: &[u8]) -> Option<Url> {
    let (200, head, _) = message(packet)? else { return None };
    header(head, "ST").filter(|kind| kind.contains(":InternetGatewayDevice:"))?;
    Url::at(gateway, header(head, "LOCATION")?)
}

/// The services that open ports, as the answer to [`Url::get`] tells, the best first.
pub fn services(from: &Url, answer: &[u8]) -> Vec<Service> {
    let Some((200, xml)) = body(answer) else { return Vec::new() };
    let xml = String::from_utf8_lossy(&xml);
    let (mut base, mut found) = (from.clone(), Vec::new());
    let (mut kind, mut control) = (None, None);
    for (name, text) in tags(&xml) {
        match name {
            "URLBase" => base = from.join(&unescaped(text)).unwrap_or(base),
            "service" => (kind, control) = (None, None),
            "serviceType" => kind = Some(text),
            "controlURL" => control = Some(text),
            "/service" => {
                let (Some(kind), Some(control)) = (kind.take(), control.take()) else { continue };
                let is_wanted = SERVICES.iter().any(|wanted| is_version_of(kind, wanted));
                let control = base.join(&unescaped(control)).filter(|_| is_wanted);
                found.extend(control.map(|control| Service { control, kind: kind.into() }));
            }
            _ => {}
        }
        if found.len() == MAX_SERVICES {
            break;
        }
    }
    found
}

fn is_version_of(kind: &str, wanted: &str) -> bool {
    let version = kind.strip_prefix(wanted);
    version.is_some_and(|version| matches!(version.as_bytes(), [b'0'..=b'9']))
}

impl Service {
    /// Has a port of the router lead to ours at `own`.
    pub fn add(&self, mapping: &Mapping, own: Ipv4Addr) -> Vec<u8> {
        let Mapping { internal, external, lifetime, protocol } = mapping;
        let protocol = word(*protocol);
        self.call(
            "AddPortMapping",
            &format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort>\
                 <NewProtocol>{protocol}</NewProtocol><NewInternalPort>{internal}</NewInternalPort>\
                 <NewInternalClient>{own}</NewInternalClient><NewEnabled>1</NewEnabled>\
                 <NewPortMappingDescription>BitTornado {protocol} {internal}\
                 </NewPortMappingDescription><NewLeaseDuration>{lifetime}</NewLeaseDuration>"
            ),
        )
    }

    /// Ends that.
    pub fn delete(&self, protocol: Protocol, external: u16) -> Vec<u8> {
        let protocol = word(protocol);
        self.call(
            "DeletePortMapping",
            &format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort>\
                 <NewProtocol>{protocol}</NewProtocol>"
            ),
        )
    }

    fn call(&self, action: &str, arguments: &str) -> Vec<u8> {
        let Service { control: Url { host, path }, kind } = self;
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope \
             xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{kind}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             SOAPAction: \"{kind}#{action}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// What the answer to a call of [`Service::add`] or [`Service::delete`] says.
pub fn called(answer: &[u8]) -> Called {
    match body(answer) {
        Some((200, _)) => Called::Done,
        Some((_, xml)) => {
            let xml = String::from_utf8_lossy(&xml);
            match tags(&xml).find(|(name, _)| *name == "errorCode").map(|(_, code)| code) {
                Some(ONLY_PERMANENT) => Called::OnlyPermanent,
                Some(CONFLICT) => Called::Conflict,
                _ => Called::Refused,
            }
        }
        None => Called::Refused,
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// Each tag's name, without prefix and attributes but with the slash of a closing one, and the text
/// that follows it.
fn tags(xml: &str) -> impl Iterator<Item = (&str, &str)> {
    xml.split('<').skip(1).filter_map(|tag| {
        let (tag, text) = tag.split_once('>')?;
        let name = tag.split_ascii_whitespace().next()?;
        let is_closing = name.starts_with('/');
        let name = match name.split_once(':') {
            // What follows a closing tag matters to nobody, its prefix neither.
            Some((_, local)) if !is_closing => local,
            _ => name,
        };
        Some((name, text.trim()))
    })
}

/// A text of XML without the five escapes that every reader knows.
fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_string(), |text, (escape, plain)| text.replace(escape, plain))
}

/// Status, head and what follows of a message.
fn message(bytes: &[u8]) -> Option<(u16, &str, &[u8])> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some((status, head, &bytes[end + 4..]))
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, is)| is.trim())
}

/// Status and body of a whole answer.
fn body(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (status, head, rest) = message(answer)?;
    let coding = header(head, "Transfer-Encoding");
    if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Some((status, joined(rest)));
    }
    let length = header(head, "Content-Length").and_then(|length| length.parse().ok());
    Some((status, rest[..rest.len().min(length.unwrap_or(rest.len()))].to_vec()))
}

/// The chunks of a body, up to the first that is cut off.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.iter().take(64).position(|byte| *byte == b'\n') {
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        let Some(chunk) = rest[end + 1..].get(..size) else { break };
        whole.extend(chunk);
        rest = &rest[end + 1 + size..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::damage::survived;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    const DESCRIPTION: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<?xml version=\"1.0\"?>\
        <root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><serviceList>\
        <service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>\
        <controlURL>/ctl/L3F</controlURL></service></serviceList><deviceList><device><serviceList>\
        <service>\n <controlURL>ip?a=1&amp;b=2</controlURL>\n <serviceType>\
        urn:schemas-upnp-org:service:WANIPConnection:2</serviceType></service><service><serviceType>\
        urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType>\
        <controlURL>http://10.0.0.1:81/ppp</controlURL></service><service><serviceType>\
        urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>http://10.0.0.9:81/elsewhere</controlURL></service>\
        </serviceList></device></deviceList></device></root>";

    fn at(url: &str) -> Option<Url> {
        Url::at(GATEWAY, url)
    }

    #[test]
    fn only_what_is_at_the_gateways_own_address_is_called() {
        let url = at("http://10.0.0.1:5000/root.xml").unwrap();
        assert_eq!((url.host.to_string(), &url.path[..]), ("10.0.0.1:5000".into(), "/root.xml"));
        assert_eq!(at("HTTP://10.0.0.1").unwrap().path, "/");
        for other in [
            "http://10.0.0.2/root.xml",
            "http://10.0.0.1.example/",
            "http://10.0.0.1@10.0.0.2/",
            "http://router/root.xml",
            "http://10.0.0.1:0/",
            "http://10.0.0.1:99999/",
            "https://10.0.0.1/",
            "http://10.0.0.1/a b",
            "http://10.0.0.1/a\r\nX: y",
            "",
        ] {
            assert_eq!(at(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_answer_to_a_search_tells_where_the_description_is() {
        let answer = |kind: &str, location: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nst: {kind}\r\nLocation:{location}\r\n\r\n");
            described_at(GATEWAY, answer.as_bytes())
        };
        let kind = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
        assert_eq!(answer(kind, "http://10.0.0.1/x"), at("http://10.0.0.1/x"));
        assert_eq!(answer(kind, "http://10.0.0.2/x"), None);
        assert_eq!(answer("urn:schemas-upnp-org:device:MediaServer:1", "http://10.0.0.1/x"), None);
        assert_eq!(described_at(GATEWAY, &search()), None);
    }

    #[test]
    fn services_that_open_ports_are_found_in_a_description() {
        let from = at("http://10.0.0.1:5000/igd/root.xml").unwrap();
        let found = services(&from, DESCRIPTION.as_bytes());
        let controls: Vec<_> = found.iter().map(|service| service.control.clone()).collect();
        let expected = ["http://10.0.0.1:5000/igd/ip?a=1&b=2", "http://10.0.0.1:81/ppp"];
        assert_eq!(controls, expected.map(|url| at(url).unwrap()));
        let call = found[0].delete(Protocol::Udp, 6881);
        let call = String::from_utf8(call).unwrap();
        let action =
            "SOAPAction: \"urn:schemas-upnp-org:service:WANIPConnection:2#DeletePortMapping\"";
        assert!(call.starts_with("POST /igd/ip?a=1&b=2 HTTP/1.1\r\nHost: 10.0.0.1:5000\r\n"));
        assert!(call.contains(action) && call.contains("<NewProtocol>UDP</NewProtocol>"), "{call}");
    }

    #[test]
    fn faults_are_told_apart_in_whole_and_chunked_answers() {
        let fault = |code: &str| {
            let xml = format!("<s:Fault><u:errorCode>{code}</u:errorCode></s:Fault>");
            let (a, b) = xml.split_at(9);
            let whole = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{xml}", xml.len());
            let head = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunked = format!("{head}9\r\n{a}\r\n{:x};x=y\r\n{b}\r\n0\r\n\r\n", b.len());
            [called(whole.as_bytes()), called(chunked.as_bytes())]
        };
        assert_eq!(fault("725"), [Called::OnlyPermanent; 2]);
        assert_eq!(fault("718"), [Called::Conflict; 2]);
        assert_eq!(fault("606"), [Called::Refused; 2]);
        assert_eq!(called(b"HTTP/1.1 200 OK\r\n\r\n"), Called::Done);
        assert_eq!(called(b"HTTP/1.1 200"), Called::Refused);
        assert_eq!(called(b""), Called::Refused);
    }

    #[test]
    fn damaged_answers_are_survived() {
        let from = at("http://10.0.0.1/x").unwrap();
        let judge = |bytes: &[u8], _: &mut _| {
            let _ = (described_at(GATEWAY, bytes), called(bytes));
            !services(&from, bytes).is_empty()
        };
        let took = survived(2_000, |r| r.damage(DESCRIPTION.as_bytes(), 3), judge);
        assert!(took > 100, "{took}");
    }
}
