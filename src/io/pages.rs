//! Pages for people, made by tiny_http behind the gate.
//!
//! tiny_http must not meet strangers: it trusts lengths, has no time-outs, and spends a thread on
//! each connection. So it listens on a Unix socket in a private folder, hears only requests that
//! this file writes, a few at a time, and what it answers is checked here. It is started by the
//! first page that somebody asks for. If it cannot run, or falls silent, the asker is told 503,
//! it is stopped, and the next page starts it anew; nobody else notices.
//!
//! A page is made by a function that the caller sends along, on a thread of the server: it owns
//! all it needs, so nothing is shared with the caller's thread.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tiny_http::{Header, Response, Server};

use crate::io::gate::Answer;
use crate::io::reactor::{Event, Interest, Reactor, Token};
use crate::io::sys;

/// Pages in the making at once; as many threads make them.
const AT_ONCE: usize = 2;

/// Pages that may wait for that.
const WAITING: usize = 32;

/// The longest answer in bytes, head included. A page that is longer is not shown. Long are only
/// .torrent files, which the operator chose; few of them have a megabyte.
const MAX_PAGE: usize = 16 << 20;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest name of the folder above the private one, in bytes: the name of a Unix socket has
/// 107 at most.
const MAX_BASE: usize = 60;

/// How the private folder's name begins; the process number follows.
const FOLDER: &str = "bittornado-pages-";

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub body: Vec<u8>,
}

/// Makes a page.
pub type Render = Box<dyn FnOnce() -> Page + Send>;

struct Order {
    render: Render,
    gzip: bool,
}

/// The orders that were sent, by the number that their request has as its path.
type Orders = Arc<Mutex<HashMap<u64, Order>>>;

fn locked(orders: &Orders) -> MutexGuard<'_, HashMap<u64, Order>> {
    // Nothing that can panic is done under this lock.
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Talk<K> {
    asker: K,
    socket: Arc<OwnedFd>,
    number: u64,
    answer: Vec<u8>,
    deadline: Instant,
}

/// The server behind the gate. `K` is what an asker is known by.
pub struct Pages<K> {
    base: PathBuf,
    running: Option<Running>,
    talks: HashMap<Token, Talk<K>>,
    waiting: VecDeque<(K, Order)>,
    answers: VecDeque<(K, Answer)>,
    next_number: u64,
    trouble: Option<io::Error>,
}

impl<K> Pages<K> {
    /// Nothing runs yet. The private folder will be in `base`, which others may write to, or in
    /// `/tmp` if that has too long a name for a socket; folders there whose process was killed are
    /// removed.
    pub fn new(base: PathBuf) -> Pages<K> {
        let base = if base.as_os_str().len() > MAX_BASE { PathBuf::from("/tmp") } else { base };
        remove_left_behind(&base);
        Pages {
            base,
            running: None,
            talks: HashMap::new(),
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            next_number: 0,
            trouble: None,
        }
    }

    /// Orders a page, compressed if `gzip` and that is shorter. Every order gets an answer, sooner
    /// or later ([`Pages::next_answer`]).
    pub fn ask(&mut self, reactor: &mut Reactor, asker: K, gzip: bool, render: Render) {
        if self.waiting.len() >= WAITING {
            self.answers.push_back((asker, unavailable()));
            return;
        }
        self.waiting.push_back((asker, Order { render, gzip }));
        self.go_on(reactor);
    }

    /// Sends waiting orders to the server, as many as it may have.
    fn go_on(&mut self, reactor: &mut Reactor) {
        while self.talks.len() < AT_ONCE {
            let Some((asker, order)) = self.waiting.pop_front() else { return };
            let number = self.next_number;
            self.next_number += 1;
            match self.send(number, order) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let token = reactor.add(Arc::clone(&socket), Interest::READ);
                    // A clock of its own is not worth an argument in all these calls.
                    let deadline = Instant::now() + PATIENCE;
                    let answer = Vec::new();
                    self.talks.insert(token, Talk { asker, socket, number, answer, deadline });
                }
                Err(e) => {
                    self.trouble = Some(e);
                    self.running = None;
                    self.answers.push_back((asker, unavailable()));
                }
            }
        }
    }

    fn send(&mut self, number: u64, order: Order) -> io::Result<OwnedFd> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.base)?),
        };
        let socket = sys::connect_unix(&running.socket())?;
        locked(&running.orders).insert(number, order);
        let request = format!("GET /{number} HTTP/1.0\r\n\r\n");
        // A socket that nothing was sent on yet takes these few bytes.
        match sys::send(&socket, request.as_bytes(), false)? {
            n if n == request.len() => Ok(socket),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Takes an event; `false` if it is not of a page.
    pub fn on_event(&mut self, reactor: &mut Reactor, event: &Event) -> bool {
        let Some(talk) = self.talks.get_mut(&event.token) else { return false };
        let mut buffer = [0; 16 * 1024];
        match sys::recv(&talk.socket, &mut buffer) {
            Ok(n) if n > 0 && talk.answer.len() + n <= MAX_PAGE => {
                talk.answer.extend_from_slice(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            end => {
                let whole = matches!(end, Ok(0));
                self.end(reactor, event.token, whole);
                self.go_on(reactor);
            }
        }
        true
    }

    fn end(&mut self, reactor: &mut Reactor, token: Token, whole: bool) {
        reactor.remove(token);
        let Some(talk) = self.talks.remove(&token) else { return };
        if let Some(running) = &self.running {
            locked(&running.orders).remove(&talk.number);
        }
        let answer = if whole { checked(&talk.answer) } else { None };
        self.answers.push_back((talk.asker, answer.unwrap_or_else(unavailable)));
    }

    /// An answer, and whose it is. Each is yielded once.
    pub fn next_answer(&mut self) -> Option<(K, Answer)> {
        self.answers.pop_front()
    }

    /// When [`Pages::on_time`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.talks.values().map(|talk| talk.deadline).min()
    }

    /// Gives up pages that take too long, and the server with them: it has fallen silent.
    pub fn on_time(&mut self, reactor: &mut Reactor, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        for token in self.talks.keys().copied().collect::<Vec<_>>() {
            self.end(reactor, token, false);
        }
        self.trouble = Some(io::ErrorKind::TimedOut.into());
        self.running = None;
        self.go_on(reactor);
    }

    /// Why a page could not be made since the last such question.
    pub fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }
}

fn unavailable() -> Answer {
    Answer::new(503, "Service Unavailable", "text/plain").body("This page cannot be shown now.\n")
}

/// The server's answer as the gate may send it: of its headers only those that are known here.
fn checked(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |wanted: &str| {
        let named =
            |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(wanted));
        head.split("\r\n").skip(1).find(named).and_then(|line| Some(line.split_once(':')?.1.trim()))
    };
    if header("Content-Length")?.parse() != Ok(body.len()) {
        return None;
    }
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => return None,
    };
    let mut answer = Answer::new(status, reason, "text/plain").body(body);
    answer.headers[0].1 = header("Content-Type")?.to_owned().into();
    answer.gzipped = header("Content-Encoding").is_some_and(|coding| coding == "gzip");
    Some(answer)
}

/// The server and its private folder.
struct Running {
    folder: PathBuf,
    server: Arc<Server>,
    orders: Orders,
}

impl Running {
    fn start(base: &Path) -> io::Result<Running> {
        let folder = private_folder(base)?;
        let server = Server::http_unix(&folder.join("socket")).map_err(|e| {
            let _ = fs::remove_dir_all(&folder);
            io::Error::other(e.to_string())
        })?;
        // From here on, dropping it cleans up.
        let running = Running { folder, server: Arc::new(server), orders: Orders::default() };
        for _ in 0..AT_ONCE {
            let (server, orders) = (Arc::clone(&running.server), Arc::clone(&running.orders));
            thread::Builder::new().name("pages".into()).spawn(move || serve(&server, &orders))?;
        }
        Ok(running)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Each call ends one wait, and so one thread; the last of them drops the server.
        (0..AT_ONCE).for_each(|_| self.server.unblock());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn serve(server: &Server, orders: &Orders) {
    while let Ok(request) = server.recv() {
        let number = request.url().trim_start_matches('/').parse().ok();
        let Some(order) = number.and_then(|n: u64| locked(orders).remove(&n)) else { continue };
        let page = catch_unwind(AssertUnwindSafe(order.render)).unwrap_or_else(|_| Page {
            status: 500,
            content_type: "text/html; charset=utf-8",
            body: b"Server Error".to_vec(),
        });
        // Whoever asked may have been given up: then nobody reads, and nobody is to be told.
        let _ = request.respond(response(page, order.gzip));
    }
}

fn response(page: Page, gzip: bool) -> Response<io::Cursor<Vec<u8>>> {
    let header = |name: &str, value: &str| Header::from_bytes(name, value).expect("no odd bytes");
    let (body, gzipped) = if gzip { compressed(page.body) } else { (page.body, false) };
    let mut response = Response::from_data(body)
        .with_status_code(page.status)
        .with_header(header("Content-Type", page.content_type));
    if gzipped {
        response.add_header(header("Content-Encoding", "gzip"));
    }
    response
}

/// The body, compressed if that is shorter and the feature there.
fn compressed(body: Vec<u8>) -> (Vec<u8>, bool) {
    #[cfg(feature = "gzip")]
    {
        let small = crate::io::gzip::packed(&body);
        if small.len() < body.len() {
            return (small, true);
        }
    }
    (body, false)
}

/// A new folder that only we may look into. Others may have taken names that we want: they get
/// them, and we the next. No name comes twice: a stopped server that is dropped late removes its
/// socket by name, and must not hit its successor's.
fn private_folder(base: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("{FOLDER}{}-{n}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes our own folders whose process is there no more.
fn remove_left_behind(base: &Path) {
    let Ok(us) = fs::metadata("/proc/self").map(|m| m.uid()) else { return };
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split('-').next());
        let Some(process) = process.and_then(|p| p.parse::<u32>().ok()) else { continue };
        // The folder's own owner: a link would lead elsewhere.
        let ours = fs::symlink_metadata(entry.path()).is_ok_and(|m| m.is_dir() && m.uid() == us);
        if ours && !Path::new(&format!("/proc/{process}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lab {
        reactor: Reactor,
        pages: Pages<u32>,
        base: PathBuf,
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            self.pages.running = None;
            let _ = fs::remove_dir_all(&self.base);
        }
    }

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("pages-test-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir(&base).unwrap();
        base
    }

    fn lab(name: &str) -> Lab {
        let base = base(name);
        Lab { reactor: Reactor::new().unwrap(), pages: Pages::new(base.clone()), base }
    }

    fn text(body: &'static str) -> Render {
        Box::new(move || Page { status: 200, content_type: "text/html", body: body.into() })
    }

    impl Lab {
        fn answer(&mut self) -> (u32, Answer) {
            let mut events = Vec::new();
            // By time, for how many turns a page takes depends on how busy the machine is.
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if let Some(answer) = self.pages.next_answer() {
                    return answer;
                }
                self.reactor.turn(Some(Duration::from_millis(10)), &mut events).unwrap();
                events.iter().for_each(|e| assert!(self.pages.on_event(&mut self.reactor, e)));
            }
            panic!("no answer");
        }
    }

    #[test]
    fn every_order_is_answered_with_its_own_page() {
        let mut lab = lab("orders");
        assert!(fs::read_dir(&lab.base).unwrap().next().is_none(), "nothing before the first page");
        for n in 0..10u32 {
            let body = n.to_string().repeat(50_000).into_bytes();
            let render = move || Page { status: 200, content_type: "text/html", body };
            lab.pages.ask(&mut lab.reactor, n, false, Box::new(render));
        }
        let mut seen: Vec<u32> = (0..10)
            .map(|_| {
                let (n, answer) = lab.answer();
                assert_eq!(answer.status, 200);
                assert_eq!(answer.headers, [("Content-Type", "text/html".into())]);
                assert_eq!(*answer.body, n.to_string().repeat(50_000).into_bytes());
                n
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        let folder = lab.pages.running.as_ref().unwrap().folder.clone();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        lab.pages.running = None;
        assert!(!folder.exists(), "it cleans up behind it");
    }

    #[test]
    fn a_maker_that_panics_is_an_error_of_that_page_only() {
        let mut lab = lab("panic");
        for n in 0..4 {
            lab.pages.ask(&mut lab.reactor, n, false, Box::new(|| panic!("on purpose")));
            assert_eq!(lab.answer().1.status, 500);
        }
        lab.pages.ask(&mut lab.reactor, 9, false, text("fine"));
        assert_eq!(lab.answer().1.status, 200);
    }

    #[test]
    fn a_page_too_long_or_too_late_is_unavailable_and_the_next_is_not() {
        let mut lab = lab("late");
        let long = || Page { status: 200, content_type: "text/html", body: vec![b'x'; MAX_PAGE] };
        lab.pages.ask(&mut lab.reactor, 1, false, Box::new(long));
        assert_eq!(lab.answer().1.status, 503);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let slow = move || {
            let _ = wait.recv();
            Page { status: 200, content_type: "text/html", body: Vec::new() }
        };
        lab.pages.ask(&mut lab.reactor, 2, false, Box::new(slow));
        let late = lab.pages.next_deadline().unwrap();
        lab.pages.on_time(&mut lab.reactor, late);
        assert_eq!(lab.answer().1.status, 503);
        lab.pages.ask(&mut lab.reactor, 3, false, text("fine"));
        assert_eq!(lab.answer().1.status, 200);
        drop(go);
    }

    #[test]
    fn where_it_cannot_run_everybody_is_told() {
        let mut pages = Pages::new("/nonexistent/folder".into());
        let mut reactor = Reactor::new().unwrap();
        for n in 0..3 {
            pages.ask(&mut reactor, n, false, text("fine"));
            assert_eq!(pages.next_answer().unwrap().1.status, 503);
        }
        assert_eq!(pages.trouble().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(pages.trouble().is_none());
        assert_eq!(Pages::<u32>::new("/x".repeat(40).into()).base, Path::new("/tmp"));
    }

    #[test]
    fn folders_of_the_dead_are_removed_and_those_of_the_living_not() {
        let base = base("clean");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        for process in [dead, std::process::id()] {
            fs::create_dir(base.join(format!("{FOLDER}{process}-0"))).unwrap();
        }
        fs::create_dir(base.join(format!("{FOLDER}x"))).unwrap();
        let _pages = Pages::<u32>::new(base.clone());
        assert!(!base.join(format!("{FOLDER}{dead}-0")).exists());
        assert_eq!(fs::read_dir(&base).unwrap().count(), 2);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_the_server_says_is_checked() {
        let good =
            b"HTTP/1.0 200 OK\r\nServer: x\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\nhi";
        let answer = checked(good).unwrap();
        assert_eq!(answer.headers, [("Content-Type", "a/b".into())]);
        assert_eq!(*answer.body, b"hi");
        for bad in [
            &good[..good.len() - 1],
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 302 Found\r\nContent-Type: a\r\nContent-Length: 0\r\n\r\n",
            b"garbage",
        ] {
            assert!(checked(bad).is_none());
        }
    }
}
