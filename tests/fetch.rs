//! `io::fetch` against a small server of our own on loopback.
#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "fetch/stream.rs"]
mod stream;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bittornado::io::fetch::{self, Bounds, Done, Fault, Fetch, FetchError, Job, MAX_QUEUED};
use bittornado::io::mailbox::mailbox;
use bittornado::io::origin::Origin;
use bittornado::io::reactor::Reactor;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A server that answers every connection by what `answer` writes for its request; it lives as
/// long as the test's process.
fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, mut stream) = (answer.clone(), stream.unwrap());
            thread::spawn(move || answer(&head(&mut stream), &mut stream));
        }
    });
    format!("http://{at}")
}

/// The head of a request.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that sends these bytes whatever it is asked.
fn serve_bytes(bytes: &[u8]) -> String {
    let bytes = bytes.to_vec();
    serve(move |_, stream| drop(stream.write_all(&bytes)))
}

fn fault(result: Result<fetch::Reply, FetchError>) -> Fault {
    result.expect_err("there is no good answer").fault
}

#[test]
fn fetches_a_body_and_says_who_asks() {
    let (tell, told) = mpsc::channel();
    let url = serve(move |head, stream| {
        tell.send(head.to_owned()).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let url = format!("{url}/announce?info_hash=%00%FF&x=1");
    let reply = fetch::get(&url, 5, LONG).unwrap();
    assert_eq!((reply.status, &reply.body[..], reply.url), (200, &b"hello"[..], url));
    let head = told.recv_timeout(LONG).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /announce?info_hash=%00%ff&x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nuser-agent: bittornado/0.5.0\r\n"), "{head}");
    assert!(!head.contains("accept-encoding"), "{head}");
}

#[test]
fn takes_bodies_of_every_framing() {
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 Not Authorized\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        let reply = fetch::get(&serve_bytes(answer.as_bytes()), 100, LONG).unwrap();
        assert_eq!(reply.body, b"hello", "{answer}");
    }
}

#[test]
fn keeps_the_body_of_a_refusal() {
    let url = serve_bytes(b"HTTP/1.0 404 Not Found\r\n\r\nd14:failure reason2:noe");
    let reply = fetch::get(&url, 100, LONG).unwrap();
    assert_eq!((reply.status, &reply.body[..]), (404, &b"d14:failure reason2:noe"[..]));
}

#[test]
fn follows_redirects_of_every_kind_and_tells_where_they_led() {
    for status in [301, 302, 303, 307, 308] {
        let url = serve(move |head, stream| {
            let answer = match head.starts_with("GET /there?x=1 ") {
                true => "HTTP/1.0 200 OK\r\n\r\nhere".to_owned(),
                false => format!("HTTP/1.0 {status} Go\r\nLocation: there?x=1\r\n\r\n"),
            };
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let reply = fetch::get(&format!("{url}/start"), 100, LONG).unwrap();
        assert_eq!((&reply.body[..], reply.url), (&b"here"[..], format!("{url}/there?x=1")));
    }
}

#[test]
fn a_link_is_followed_as_a_redirect_would_be() {
    let url = serve(|request, stream| {
        let body = if request.contains("/dir/page") { "page" } else { "torrent" };
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    });
    let page = format!("{url}/dir/page");
    let linked = |link: &str| {
        fetch::get_linked(&page, 100, LONG, &Bounds::default(), |reply| {
            assert_eq!(reply.body, b"page");
            Some(link.to_owned()).filter(|link| !link.is_empty())
        })
    };
    let reply = linked("x.torrent").unwrap();
    assert_eq!((&reply.body[..], reply.url), (&b"torrent"[..], format!("{url}/dir/x.torrent")));
    assert_eq!(linked("").unwrap().body, b"page");
    // From here nobody is sent to the link of this machine, where clouds keep secrets.
    assert_eq!(fault(linked("http://169.254.7.7/x.torrent")), Fault::PrivateRedirect);
}

#[test]
fn who_stays_at_home_asks_no_address_outside_and_looks_no_name_up() {
    let home = Bounds { local_only: true, ..Bounds::default() };
    let get = |url: &str| fetch::get_within(url, 100, LONG, &home);
    let home = serve_bytes(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nhome");
    assert_eq!(get(&home).unwrap().body, b"home");
    for to in ["http://203.0.113.1/", "http://no.such.name.invalid/", "http://localhost:1/"] {
        assert_eq!(fault(get(to)), Fault::Outside);
        let away = format!("HTTP/1.0 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(fault(get(&serve_bytes(away.as_bytes()))), Fault::Outside);
    }
}

#[test]
fn requests_come_from_the_address_and_the_interface_that_were_named() {
    let url = serve(|_, stream| {
        let from = stream.peer_addr().unwrap().ip();
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{from}").unwrap();
    });
    let get = |bind: &str, device| {
        let origin = Origin::new(&[bind.parse().unwrap()], device);
        fetch::get_within(&url, 100, LONG, &Bounds { origin, ..Bounds::default() })
    };
    assert_eq!(get("127.0.0.77", None).unwrap().body, b"127.0.0.77");
    assert_eq!(get("127.0.0.77", Some("lo")).unwrap().body, b"127.0.0.77");
    assert!(matches!(fault(get("0.0.0.0", Some("none0"))), Fault::Unreachable(_)));
    assert!(matches!(fault(get("::1", None)), Fault::Unreachable(_)));
}

#[test]
fn gives_up_on_a_circle_of_redirects() {
    let url = serve_bytes(b"HTTP/1.1 302 Go\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(fault(fetch::get(&url, 100, LONG)), Fault::TooManyRedirects);
}

#[test]
fn a_redirect_leads_to_http_only() {
    let url = serve_bytes(b"HTTP/1.1 302 Go\r\nLocation: file:///etc/passwd\r\n\r\n");
    let error = fetch::get(&url, 100, LONG).unwrap_err();
    let line = "cannot fetch 'file:///etc/passwd': it is no http or https URL";
    assert_eq!(error.to_string(), line);
}

#[test]
fn refuses_what_is_longer_than_it_may_be_announced_or_not() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n0123456789a"[..],
        b"HTTP/1.0 200 OK\r\n\r\n0123456789a",
    ] {
        let error = fetch::get(&serve_bytes(answer), 10, LONG).unwrap_err();
        assert_eq!(error.fault, Fault::TooLong(10));
        assert!(error.to_string().ends_with("the answer is longer than 10 bytes"), "{error}");
    }
    let just = b"HTTP/1.0 200 OK\r\n\r\n0123456789";
    assert_eq!(fetch::get(&serve_bytes(just), 10, LONG).unwrap().body.len(), 10);
}

#[cfg(feature = "gzip")]
#[test]
fn what_was_compressed_is_understood_and_no_longer_than_it_may_be() {
    const LIMIT: usize = 100_000;
    let compressed = |bytes: Vec<u8>| {
        let head = b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec();
        let mut encoder = flate2::write::GzEncoder::new(head, flate2::Compression::best());
        encoder.write_all(&bytes).unwrap();
        serve_bytes(&encoder.finish().unwrap())
    };
    let good = fetch::get(&compressed(vec![b'x'; LIMIT]), LIMIT, LONG).unwrap();
    assert!(good.body.len() == LIMIT && good.body.iter().all(|byte| *byte == b'x'));
    let bomb = compressed(vec![0; 1000 * LIMIT]);
    assert!(matches!(fault(fetch::get(&bomb, LIMIT, LONG)), Fault::TooLong(LIMIT)));
    let junk = serve_bytes(b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip at all");
    let fault = fault(fetch::get(&junk, LIMIT, LONG));
    assert!(matches!(fault, Fault::BadAnswer(_) | Fault::Unreachable(_)), "{fault:?}");
}

#[test]
fn a_server_that_is_silent_slow_or_stops_halfway_costs_no_more_than_the_time_limit() {
    let silent = serve(|_, stream| drop(stream.read(&mut [0])));
    let slow = serve(|_, stream| {
        // One byte at a time, for ever: each comes in time, the whole does not.
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        while stream.write_all(b"x").is_ok() {}
    });
    let halfway = serve(|_, stream| {
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nx").unwrap();
        drop(stream.read(&mut [0]));
    });
    for url in [silent, slow, halfway] {
        let start = Instant::now();
        assert_eq!(fault(fetch::get(&url, 1 << 28, SHORT)), Fault::TimedOut, "{url}");
        assert!(start.elapsed() >= SHORT && start.elapsed() < LONG);
    }
}

#[test]
fn what_is_no_http_is_a_bad_answer() {
    for answer in [
        &b"\x00\x01\x02garbage\r\n\r\n"[..],
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        let fault = fault(fetch::get(&serve_bytes(answer), 100, SHORT));
        assert!(matches!(fault, Fault::BadAnswer(_)), "{fault:?} for {}", answer.escape_ascii());
    }
    // Cut off: the connection broke.
    for answer in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"] {
        let fault = fault(fetch::get(&serve_bytes(answer), 100, LONG));
        assert!(matches!(fault, Fault::Unreachable(_)), "{fault:?} for {}", answer.escape_ascii());
    }
}

#[test]
fn a_head_without_end_is_not_kept() {
    let url = serve(|_, stream| {
        let started = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").is_ok();
        while started && stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let fault = fault(fetch::get(&url, 100, LONG));
    assert!(matches!(fault, Fault::BadAnswer(_)), "{fault:?}");
}

#[test]
fn says_who_could_not_be_reached_and_why_without_the_query() {
    // A port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch::get(&format!("http://{closed}/a?passkey=secret"), 9, LONG).unwrap_err();
    let line = format!("cannot reach 'http://{closed}/a': Connection refused");
    assert_eq!(error.to_string(), line);
    let error = fetch::get("udp://127.0.0.1:1/a", 9, LONG).unwrap_err();
    assert_eq!(error.to_string(), "cannot fetch 'udp://127.0.0.1:1/a': it is no http or https URL");
}

#[cfg(not(feature = "tls"))]
#[test]
fn says_that_https_is_not_built_in() {
    let error = fetch::get("https://127.0.0.1:1/a", 9, LONG).unwrap_err();
    assert_eq!(error.to_string(), "cannot fetch 'https://127.0.0.1:1/a': https is not built in");
}

/// Runs the reactor until the next message, for a bounded time.
fn next(reactor: &mut Reactor, inbox: &bittornado::io::mailbox::Mailbox<Done>) -> Done {
    let end = Instant::now() + LONG;
    loop {
        if let Some(done) = inbox.try_recv() {
            return done;
        }
        let left = end.checked_duration_since(Instant::now()).expect("a message in time");
        reactor.turn(Some(left), &mut Vec::new()).unwrap();
    }
}

#[test]
fn jobs_come_back_through_the_mailbox_while_others_hang() {
    let hung = serve(|_, stream| drop(stream.read(&mut [0])));
    let good = serve_bytes(b"HTTP/1.0 200 OK\r\n\r\nhello");
    let mut reactor = Reactor::new().unwrap();
    let (post, inbox) = mailbox::<Done>(4, reactor.waker());
    let fetch = Fetch::new(2, post);
    let job = |id, url: &str| Job { id, url: url.into(), limit: 100, timeout: LONG };
    fetch.try_send(job(1, &hung)).unwrap();
    for id in 2..6 {
        fetch.try_send(job(id, &good)).unwrap();
        let done = next(&mut reactor, &inbox);
        assert_eq!((done.id, done.result.unwrap().body), (id, b"hello".to_vec()));
    }
}

#[test]
fn dropping_it_waits_for_no_request_and_its_queue_is_bounded() {
    let (arrive, arrived) = mpsc::channel();
    let hung = serve(move |_, stream| {
        arrive.send(()).unwrap();
        drop(stream.read(&mut [0]));
    });
    let reactor = Reactor::new().unwrap();
    let (post, _inbox) = mailbox::<Done>(1, reactor.waker());
    let fetch = Fetch::new(1, post);
    let job = |id| Job { id, url: hung.clone(), limit: 100, timeout: LONG };
    fetch.try_send(job(0)).unwrap();
    arrived.recv_timeout(LONG).unwrap();
    let accepted = (1..).take_while(|id| fetch.try_send(job(*id)).is_ok()).count();
    assert_eq!(accepted, MAX_QUEUED);
    let start = Instant::now();
    drop(fetch);
    assert!(start.elapsed() < LONG);
}

#[test]
fn an_address_of_the_other_family_is_dialed_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let at: SocketAddr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        head(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nsix").unwrap();
    });
    assert_eq!(fetch::get(&format!("http://{at}/"), 9, LONG).unwrap().body, b"six");
}

/// TLS with a certificate that only `SSL_CERT_FILE` makes good. The variable must be there before
/// the process is, so the asking is done by a child: this test again, with the port in `ASK`.
#[cfg(feature = "tls")]
#[test]
#[ignore = "needs openssl"]
fn https_trusts_what_the_systems_bundle_trusts_and_nothing_else() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    if let Ok(at) = std::env::var("ASK") {
        // On a worker, whose stack is small.
        let mut reactor = Reactor::new().unwrap();
        let (post, inbox) = mailbox::<Done>(1, reactor.waker());
        let fetch = Fetch::new(1, post);
        let url = format!("https://{at}/");
        fetch.try_send(Job { id: 1, url, limit: 1 << 16, timeout: LONG }).unwrap();
        match next(&mut reactor, &inbox).result {
            Ok(reply) => println!("\nstatus {}", reply.status),
            Err(error) => println!("\n{error}"),
        }
        return;
    }
    let dir = std::env::temp_dir().join(format!("bittornado-fetch-{}", std::process::id()));
    // One that was killed, and had this number, may have left it.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x \
                -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
                -keyout key.pem -out cert.pem";
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&dir).stderr(Stdio::null());
        command
    };
    for name in ["", "other-"] {
        let make = make.replace("-out cert", &format!("-out {name}cert"));
        let make = make.replace("-keyout key", &format!("-keyout {name}key"));
        // With the same subject it would pass for the issuer, with a signature that is bad.
        let make = make.replace("/CN=x", &format!("/CN={name}x"));
        assert!(openssl(&make).status().unwrap().success());
    }
    let mut server = openssl("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -www")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut words = lines.filter_map(|l| Some(l.ok()?.strip_prefix("ACCEPT ")?.to_owned()));
    let at = words.next().unwrap();
    let ask = |bundle: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "https_trusts_what_the_systems_bundle_trusts_and_nothing_else";
        child.args(["--ignored", "--exact", "--nocapture", name]);
        child.env("ASK", &at).env("SSL_CERT_FILE", dir.join(bundle));
        String::from_utf8_lossy(&child.output().unwrap().stdout).into_owned()
    };
    let said = ["cert.pem", "", "key.pem", "none.pem", "other-cert.pem"].map(ask);
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(said[0].contains("\nstatus 200\n"), "{}", said[0]);
    assert!(said[1].contains(": Is a directory\n"), "{}", said[1]);
    assert!(said[2].contains("': no certificates in '"), "{}", said[2]);
    assert!(said[3].contains("none.pem': No such file or directory\n"), "{}", said[3]);
    assert!(said[4].contains("invalid peer certificate"), "{}", said[4]);
}
