//! Announces and scrapes in packets (BEP 15, 41).

use std::net::UdpSocket;

use super::*;

const MAGIC: [u8; 8] = 0x417_2710_1980u64.to_be_bytes();

struct Asker {
    socket: UdpSocket,
    connection: [u8; 8],
}

impl Asker {
    /// An asker at this address that has its connection id.
    fn new(tracker: &Tracker, from: &str) -> Asker {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.connect(tracker.on).unwrap();
        let mut asker = Asker { socket, connection: MAGIC };
        let answer = asker.asks(0, b"");
        assert_eq!(answer.len(), 8);
        asker.connection = answer.try_into().unwrap();
        asker
    }

    /// What stands behind the head of the answer, which must be of the same action.
    fn asks(&self, action: u32, rest: &[u8]) -> Vec<u8> {
        let (kind, body) = self.asks_anything(action, rest);
        assert_eq!(kind, action, "{}", String::from_utf8_lossy(&body));
        body
    }

    fn asks_anything(&self, action: u32, rest: &[u8]) -> (u32, Vec<u8>) {
        let head = [&self.connection[..], &action.to_be_bytes(), b"tran"].concat();
        self.socket.send(&[&head, rest].concat()).unwrap();
        let mut answer = [0; 2048];
        let n = self.socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[4..8], b"tran");
        (u32::from_be_bytes(answer[..4].try_into().unwrap()), answer[8..n].to_vec())
    }

    /// No answer comes to this: what is asked next is answered next.
    fn is_ignored(&self, packet: &[u8]) {
        self.socket.send(packet).unwrap();
        assert_eq!(self.asks(2, &[b'Z'; 20]), [0; 12]);
    }
}

/// Seeds, completed downloads and leechers of the torrent that the tests have.
pub fn scrape(tracker: &Tracker, from: &str) -> Vec<u32> {
    numbers(&Asker::new(tracker, from).asks(2, &[b'A'; 20]))
}

fn announce(peer: u8, left: u64, event: u32, port: u16) -> Vec<u8> {
    let mut rest = [[b'A'; 20], [peer; 20]].concat();
    for number in [0, left, 0] {
        rest.extend_from_slice(&number.to_be_bytes());
    }
    for number in [event, 0, u32::from(peer), u32::MAX] {
        rest.extend_from_slice(&number.to_be_bytes());
    }
    rest.extend_from_slice(&port.to_be_bytes());
    rest
}

fn numbers(answer: &[u8]) -> Vec<u32> {
    answer[..12].chunks(4).map(|n| u32::from_be_bytes(n.try_into().unwrap())).collect()
}

#[test]
fn peers_of_both_doors_are_told_of_each_other() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--udp", "1"]);
    tracker.announce('a', "port=258");
    let asker = Asker::new(&tracker, "127.0.0.2");
    let answer = asker.asks(1, &announce(b'b', 0, 2, 772));
    assert_eq!(numbers(&answer), [1800, 1, 1]);
    assert_eq!(answer[12..], [127, 0, 0, 1, 1, 2], "a seed is told of leechers");
    let peers = tracker.announce('a', "port=258").peers();
    assert_eq!(peers, serde_json::json!(["127.0.0.1:258", "127.0.0.2:772"]));
    let scraped = asker.asks(2, &[[b'A'; 20], [b'Z'; 20]].concat());
    assert_eq!(numbers(&scraped), [1, 0, 1]);
    assert_eq!(numbers(&scraped[12..]), [0, 0, 0]);
    asker.asks(1, &announce(b'b', 0, 3, 772));
    assert_eq!(numbers(&asker.asks(2, &[b'A'; 20])), [0, 0, 1], "it has stopped");
    let done = tracker.stop();
    assert!(done.err.contains(" for UDP\n"), "{}", done.err);
}

#[test]
fn no_answer_is_longer_than_its_question_until_the_address_is_proved() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--udp", "1"]);
    tracker.announce('a', "port=258");
    let asker = Asker::new(&tracker, "127.0.0.2");
    let other = Asker::new(&tracker, "127.0.0.3");
    let foreign = Asker { socket: other.socket.try_clone().unwrap(), ..asker };
    for (action, rest) in [(1, announce(b'b', 1, 2, 772)), (2, vec![b'A'; 20])] {
        let (kind, body) = foreign.asks_anything(action, &rest);
        assert_eq!(kind, 3);
        assert!(body.len() + 8 <= 16 + rest.len());
    }
    assert_eq!(numbers(&other.asks(2, &[b'A'; 20])), [0, 0, 1], "nothing was noted");
    for packet in [&b""[..], &[7; 15], &[7; 16], &[0; 16]] {
        other.is_ignored(packet);
    }
    // What looks like an answer, as of another tracker in whose name somebody has asked.
    for action in 0..4u32 {
        let answer = [&action.to_be_bytes()[..], b"tran", &b"connection id unknown"[..]].concat();
        other.is_ignored(&[&answer[..], &[b'x'; 90]].concat());
    }
    assert_eq!(other.asks_anything(1, b"short").0, 3, "the address is proved, the packet is bad");
}

#[test]
fn of_a_crowd_that_asks_at_once_everybody_gets_his_own_answer() {
    let dir = Dir::new();
    let tracker = tracker(&dir, &["--udp", "1"]);
    let askers: Vec<Asker> = (0..50).map(|_| Asker::new(&tracker, "127.0.0.2")).collect();
    tracker.process.signal(Signal::STOP);
    for (peer, asker) in (1u8..).zip(&askers) {
        let ask = |transaction: [u8; 4]| {
            let head = [&asker.connection[..], &1u32.to_be_bytes(), &transaction].concat();
            asker.socket.send(&[head, announce(peer, 1, 2, u16::from(peer))].concat()).unwrap();
        };
        ask([peer, 0, 0, 1]);
        ask([peer, 0, 0, 2]);
    }
    tracker.process.signal(Signal::CONT);
    for (peer, asker) in (1u8..).zip(&askers) {
        for n in [1, 2] {
            let mut answer = [0; 2048];
            let length = asker.socket.recv(&mut answer).unwrap();
            assert_eq!(answer[..8], [0, 0, 0, 1, peer, 0, 0, n]);
            // Those who had asked before, and itself.
            assert!(length > 20 && (length - 20) % 6 == 0, "{length}");
        }
    }
    assert_eq!(scrape(&tracker, "127.0.0.2"), [0, 0, 50]);
}

#[test]
fn the_rules_are_those_of_the_other_door() {
    let dir = Dir::new();
    dir.write("banned", "127.0.0.9\n");
    let (list, hash) = ("41".repeat(20), "A".repeat(20));
    dir.write("allowed", format!("{list}\n"));
    let args = ["--udp", "1", "--banned_ips", "banned", "--allowed_list", "allowed"];
    let more = ["--announce_rate", "2", "--scrape_allowed", "none"];
    let tracker = tracker(&dir, &[&args[..], &more].concat());
    let asker = Asker::new(&tracker, "127.0.0.2");
    asker.asks(1, &announce(b'b', 1, 2, 772));
    let mut unknown = announce(b'b', 1, 2, 772);
    unknown[..20].fill(b'Q');
    let said = |answer: (u32, Vec<u8>)| (answer.0, String::from_utf8(answer.1).unwrap());
    let (kind, text) = said(asker.asks_anything(1, &unknown));
    assert!(kind == 3 && text.contains("not authorized"), "{text}");
    let (kind, text) = said(asker.asks_anything(1, &announce(b'b', 1, 2, 772)));
    assert!(kind == 3 && text.contains("too many"), "{text}");
    let (kind, text) = said(asker.asks_anything(2, hash.as_bytes()));
    assert!(kind == 3 && text.contains("scrape function is not available"), "{text}");
    let banned = UdpSocket::bind("127.0.0.9:0").unwrap();
    banned.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    banned.send_to(&[&MAGIC[..], &[0; 8]].concat(), tracker.on).unwrap();
    assert!(banned.recv(&mut [0; 100]).is_err(), "who is banned hears nothing");
}

#[test]
fn each_family_is_told_of_its_own() {
    let dir = Dir::new();
    if UdpSocket::bind("[::1]:0").is_err() {
        return; // No IPv6 on this machine.
    }
    let mut tracker = tracker(&dir, &["--udp", "1", "--bind", "127.0.0.1, ::1"]);
    let four = Asker::new(&tracker, "127.0.0.1");
    four.asks(1, &announce(b'a', 1, 2, 258));
    tracker.on = SocketAddr::new("::1".parse().unwrap(), tracker.on.port());
    let six = Asker::new(&tracker, "::1");
    let answer = six.asks(1, &announce(b'b', 1, 2, 259));
    assert_eq!((numbers(&answer), answer.len()), (vec![1800, 2, 0], 12 + 18));
    assert_eq!(answer[27..], [1, 1, 3]);
    assert_eq!(four.asks(1, &announce(b'a', 1, 0, 258))[12..], [127, 0, 0, 1, 1, 2]);
}
