//! One request after another until there is an answer that is no redirect, through ureq.
//!
//! ureq follows no redirect itself: each hop is judged here. What a user or a torrent names may
//! be any host, also one on this machine; but no server must be able to send us on deeper into the
//! network we stand in, to this machine, or to its link.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "tls")]
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::io::origin::Origin;
use crate::proto::address::is_local_url;

use super::connector::FromOrigin;
use super::{Bounds, Fault, FetchError, MAX_REDIRECTS, MAX_TIMEOUT, Reply, USER_AGENT, url};

/// The size of the buffers of a connection: enough for a request or a TLS record's worth.
const BUFFER: usize = 16 * 1024;

/// The longest head of an answer; less than a buffer, or the library takes it for a lost connection.
const MAX_HEAD: usize = 8 * 1024;

/// Sends requests; shared by the threads.
#[derive(Debug)]
pub(super) struct Client {
    manner: Manner,
    /// Nothing but local addresses is asked, and no name looked up.
    bounds: Bounds,
    plain: Agent,
    /// Made at the first https request, since the certificates take time and memory. A failure is
    /// not kept: they may be installed while we run.
    #[cfg(feature = "tls")]
    secure: Mutex<Option<Agent>>,
}

/// How a client treats its connections.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Each is for one request.
    Once,
    /// They are kept for further requests, and an answer may take as long as it goes on within
    /// this time.
    Kept(Duration),
}

/// What is the same for all hops of a request.
struct Ask {
    /// Offset and length of a part; else all of what is there.
    part: Option<(u64, u64)>,
    deadline: Instant,
}

/// What one request may be answered by.
enum Answer {
    Redirect(String),
    Reply(Response<Body>),
}

/// How many connections are kept: that to a server, and to where it sends us on.
const MAX_KEPT: usize = 2;

/// How a URL is to be fetched.
enum Scheme {
    Http,
    Https,
}

impl Client {
    pub(super) fn new(bounds: Bounds) -> Client {
        Client::with_manner(Manner::Once, bounds)
    }

    /// One for long answers, whose connections are kept: none may go silent for longer than
    /// `patience`.
    pub(super) fn keeping(patience: Duration, bounds: Bounds) -> Client {
        Client::with_manner(Manner::Kept(patience), bounds)
    }

    fn with_manner(manner: Manner, bounds: Bounds) -> Client {
        Client {
            manner,
            plain: agent(config(manner).build(), &bounds.origin),
            bounds,
            #[cfg(feature = "tls")]
            secure: Mutex::new(None),
        }
    }

    /// Breaks every connection; whoever waits for one is told so. There will be no further ones.
    pub(super) fn shut_down(&self) {
        self.plain.clone().shutdown();
        #[cfg(feature = "tls")]
        if let Some(agent) = &*self.secure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            agent.clone().shutdown();
        }
    }

    /// See [`get`](super::get).
    pub(super) fn get(
        &self,
        start: &str,
        limit: usize,
        timeout: Duration,
    ) -> Result<Reply, FetchError> {
        self.get_part(start, None, limit, timeout)
    }

    /// See [`get_part`](super::get_part); without a part all of it.
    pub(super) fn get_part(
        &self,
        start: &str,
        part: Option<(u64, u64)>,
        limit: usize,
        timeout: Duration,
    ) -> Result<Reply, FetchError> {
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        let opened = self.open(start, part, deadline)?;
        Client::whole(opened, part, limit)
    }

    /// See [`get_linked`](super::get_linked).
    pub(super) fn get_linked(
        &self,
        start: &str,
        limit: usize,
        timeout: Duration,
        link: impl FnOnce(&Reply) -> Option<String>,
    ) -> Result<Reply, FetchError> {
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        let reply = Client::whole(self.open(start, None, deadline)?, None, limit)?;
        match link(&reply) {
            // Judged as if the server had sent us there.
            Some(link) => {
                let target = url::join(&reply.url, &link);
                Client::whole(self.follow(&target, &Ask { part: None, deadline })?, None, limit)
            }
            None => Ok(reply),
        }
    }

    /// Reads an answer to its end.
    fn whole(
        (response, url): (Response<Body>, String),
        part: Option<(u64, u64)>,
        limit: usize,
    ) -> Result<Reply, FetchError> {
        let status = response.status().as_u16();
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let body = match part {
            Some((offset, length)) if status == 200 => cut(response.into_body(), offset, length),
            _ if is_gzip(&response) => unpacked(response.into_body(), limit),
            _ => response.into_body().into_with_config().limit(most).read_to_vec(),
        };
        match body {
            Ok(body) => Ok(Reply { status, body, url }),
            Err(e) => Err(FetchError { url, fault: fault(e, limit) }),
        }
    }

    /// Asks for `start`, or for a part of it (offset, length), and wherever redirects lead; the
    /// body is the caller's to read. Tells where the answer came from, too.
    pub(super) fn open(
        &self,
        start: &str,
        part: Option<(u64, u64)>,
        deadline: Instant,
    ) -> Result<(Response<Body>, String), FetchError> {
        judge::start();
        self.follow(start, &Ask { part, deadline })
    }

    /// Asks for `start`, which somebody may have sent us to, and wherever redirects lead.
    fn follow(&self, start: &str, ask: &Ask) -> Result<(Response<Body>, String), FetchError> {
        let mut url = start.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            match self.hop(&url, ask) {
                Ok(Answer::Reply(response)) => return Ok((response, url)),
                Ok(Answer::Redirect(location)) => url = url::join(&url, &location),
                Err(fault) => return Err(FetchError { url, fault }),
            }
        }
        Err(FetchError { url: start.to_owned(), fault: Fault::TooManyRedirects })
    }

    /// One request, no redirects.
    fn hop(&self, url: &str, ask: &Ask) -> Result<Answer, Fault> {
        let left = ask.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::TimedOut);
        }
        // A name is not even looked up.
        if self.bounds.local_only && !is_local_url(url) {
            return Err(Fault::Outside);
        }
        judge::next_hop();
        let agent = match scheme(url)? {
            Scheme::Http => self.plain.clone(),
            Scheme::Https => self.secure()?,
        };
        let mut request = agent.get(url).config().timeout_global(Some(left)).build();
        if let Some((offset, length)) = ask.part {
            let last = offset + length - 1;
            request = request.header("Range", format!("bytes={offset}-{last}"));
        }
        request = match self.manner {
            Manner::Once => request.header("Connection", "close"),
            Manner::Kept(_) => request.header("Accept-Encoding", "identity"),
        };
        let response = request.call().map_err(|e| fault(e, 0))?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, location) {
            return Ok(Answer::Redirect(location.to_owned()));
        }
        Ok(Answer::Reply(response))
    }

    #[cfg(feature = "tls")]
    fn secure(&self) -> Result<Agent, Fault> {
        let mut secure = self.secure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(agent) = &*secure {
            return Ok(agent.clone());
        }
        let roots = super::roots::load().map_err(Fault::NoCertificates)?;
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
        Ok(secure
            .insert(agent(config(self.manner).tls_config(tls).build(), &self.bounds.origin))
            .clone())
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self) -> Result<Agent, Fault> {
        Err(Fault::NoTls)
    }
}

/// Takes a part out of a whole that a server gave in its place, which knows of no parts. Nothing
/// behind it is read.
fn cut(whole: Body, offset: u64, length: u64) -> Result<Vec<u8>, ureq::Error> {
    let end = offset.saturating_add(length);
    let mut reader = whole.into_with_config().limit(end).reader();
    io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
    let mut part = Vec::new();
    reader.take(length).read_to_end(&mut part)?;
    Ok(part)
}

/// Whether an answer is compressed. It was not asked for: it would cost a tracker more than it
/// saves, since addresses do not get shorter; but some do it for everybody.
fn is_gzip(response: &Response<Body>) -> bool {
    let how = response.headers().get("content-encoding").and_then(|value| value.to_str().ok());
    cfg!(feature = "gzip") && how.is_some_and(|how| how.trim().eq_ignore_ascii_case("gzip"))
}

/// The bytes of a compressed answer.
#[cfg(feature = "gzip")]
fn unpacked(body: Body, limit: usize) -> Result<Vec<u8>, ureq::Error> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    // Only what is next to nothing is longer when it is compressed.
    let packed = body.into_with_config().limit(most.saturating_add(1024)).reader();
    match crate::io::gzip::unpacked(packed, limit)? {
        Some(bytes) => Ok(bytes),
        None => Err(ureq::Error::BodyExceedsLimit(most)),
    }
}

#[cfg(not(feature = "gzip"))]
fn unpacked(_: Body, _: usize) -> Result<Vec<u8>, ureq::Error> {
    unreachable!("nothing is taken for compressed")
}

/// What http and https have in common: the environment's proxies are not asked (the original knew
/// none, and they would hide whom we talk to).
fn config(manner: Manner) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let (kept, patience) = match manner {
        Manner::Once => (0, None),
        Manner::Kept(patience) => (MAX_KEPT, Some(patience)),
    };
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(USER_AGENT)
        .max_response_header_size(MAX_HEAD)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_idle_connections(kept)
        .max_idle_connections_per_host(kept.min(1))
        .timeout_per_read(patience)
}

fn agent(config: Config, origin: &Origin) -> Agent {
    let judge = Judge(DefaultResolver::default());
    if origin.is_free() {
        return Agent::with_parts(config, DefaultConnector::new(), judge);
    }
    let connector = ().chain(FromOrigin(origin.clone()));
    #[cfg(feature = "tls")]
    let connector = connector.chain(ureq::unversioned::transport::RustlsConnector::default());
    Agent::with_parts(config, connector, judge)
}

fn scheme(url: &str) -> Result<Scheme, Fault> {
    let uri: Uri = url.parse().map_err(|_| Fault::BadUrl)?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(Fault::BadUrl);
    }
    match uri.scheme_str() {
        Some("http") => Ok(Scheme::Http),
        Some("https") => Ok(Scheme::Https),
        _ => Err(Fault::BadUrl),
    }
}

/// What an error means; `limit` is that of the body.
pub(super) fn fault(error: ureq::Error, limit: usize) -> Fault {
    if judge::has_refused() {
        return Fault::PrivateRedirect;
    }
    match error {
        ureq::Error::Timeout(_) => Fault::TimedOut,
        ureq::Error::BodyExceedsLimit(_) => Fault::TooLong(limit),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Fault::BadUrl,
        ureq::Error::HostNotFound => Fault::Unreachable("no such host".into()),
        ureq::Error::Io(e) => match e.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => Fault::TimedOut,
            _ => Fault::Unreachable(crate::io::reason(&e)),
        },
        other => Fault::BadAnswer(other.to_string()),
    }
}

/// Looks names up, and leaves out the addresses that a redirect must not lead to.
#[derive(Debug)]
struct Judge(DefaultResolver);

impl Resolver for Judge {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = match literal(uri) {
            // The library would start a thread to look it up.
            Some(address) => {
                let mut one = self.empty();
                one.push(address);
                one
            }
            None => self.0.resolve(uri, config, timeout)?,
        };
        let mut allowed = self.empty();
        for address in found.iter().filter(|a| judge::allows(a.ip())) {
            allowed.push(*address);
        }
        if allowed.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(allowed) }
    }
}

/// The address that the URL names, where it names no host.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(SocketAddr::new(host.parse().ok()?, uri.port_u16().unwrap_or(default)))
}

/// The rule for the addresses of redirects, and its memory.
///
/// The library asks its resolver on the thread that makes the request, and has no room for a word
/// from one to the other: so the memory belongs to the thread.
mod judge {
    use super::{Cell, IpAddr, Reach};

    #[derive(Clone, Copy, Default)]
    struct Memory {
        /// Where the hop before this one may have led; none for the first.
        before: u8,
        /// Where this hop may lead.
        here: u8,
        /// An address of this hop was refused.
        refused: bool,
    }

    thread_local! {
        static MEMORY: Cell<Memory> = const {
            Cell::new(Memory { before: 0, here: 0, refused: false })
        };
    }

    /// Begins a request: its own address may be any.
    pub(super) fn start() {
        MEMORY.set(Memory::default());
    }

    /// Begins the next hop.
    pub(super) fn next_hop() {
        MEMORY.set(Memory { before: MEMORY.get().here, ..Memory::default() });
    }

    /// Whether this hop may go there: never deeper inside than where it is sent from.
    pub(super) fn allows(ip: IpAddr) -> bool {
        let mut memory = MEMORY.get();
        let reach = Reach::of(ip);
        let allowed = memory.before & !reach.may_come_from() == 0;
        if allowed {
            memory.here |= reach as u8;
        }
        memory.refused |= !allowed;
        MEMORY.set(memory);
        allowed
    }

    /// Whether this hop was stopped.
    pub(super) fn has_refused() -> bool {
        let memory = MEMORY.get();
        memory.refused && memory.here == 0
    }
}

/// From where an address can be reached: a bit each, for sets of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// From this host alone.
    Host = 1,
    /// From its link alone (RFC 3927), where clouds keep secrets.
    Link = 2,
    /// From networks that the outside does not reach: private (RFC 1918, RFC 4193), shared by a
    /// provider's customers (RFC 6598).
    Inside = 4,
    /// From everywhere.
    World = 8,
}

impl Reach {
    fn of(ip: IpAddr) -> Reach {
        match ip.to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => Reach::Host,
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                match a {
                    0 => Reach::Host,
                    _ if v4.is_link_local() => Reach::Link,
                    _ if v4.is_private() || (a == 100 && b & 0xc0 == 64) => Reach::Inside,
                    _ => Reach::World,
                }
            }
            // What a gateway between the families (RFC 6052) makes an address of IPv4 of.
            IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
                let [.., a, b, c, d] = v6.octets();
                Reach::of(IpAddr::from([a, b, c, d]))
            }
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Reach::Link,
            IpAddr::V6(v6) if v6.is_unique_local() => Reach::Inside,
            IpAddr::V6(_) => Reach::World,
        }
    }

    /// From where a redirect may lead here, as a set.
    fn may_come_from(self) -> u8 {
        match self {
            Reach::Host => Reach::Host as u8,
            Reach::Link => Reach::Link as u8,
            Reach::Inside => Reach::Host as u8 | Reach::Inside as u8,
            Reach::World => u8::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_from_where_addresses_can_be_reached() {
        let of = |text: &str| Reach::of(text.parse().unwrap());
        for text in
            ["127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "::1", "::", "::ffff:127.0.0.1"]
        {
            assert_eq!(of(text), Reach::Host, "{text}");
        }
        for text in ["169.254.169.254", "fe80::1", "::ffff:169.254.0.1"] {
            assert_eq!(of(text), Reach::Link, "{text}");
        }
        for text in
            ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "64:ff9b::10.0.0.1"]
        {
            assert_eq!(of(text), Reach::Inside, "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(of(text), Reach::World, "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_no_deeper_inside() {
        let (world, inside, link, host) = ("1.1.1.1", "10.0.0.1", "169.254.169.254", "127.0.0.1");
        let goes = |from: &str, to: &str| {
            judge::start();
            judge::next_hop();
            assert!(judge::allows(from.parse().unwrap()), "the first hop leads anywhere");
            judge::next_hop();
            let allowed = judge::allows(to.parse().unwrap());
            assert_eq!(judge::has_refused(), !allowed);
            allowed
        };
        for (from, may_reach) in [
            (world, vec![world]),
            (inside, vec![world, inside]),
            (link, vec![world, link]),
            (host, vec![world, inside, host]),
        ] {
            for to in [world, inside, link, host] {
                assert_eq!(goes(from, to), may_reach.contains(&to), "from {from} to {to}");
            }
        }
        assert!(!goes(world, inside));
        assert!(judge::allows(world.parse().unwrap()), "another address of the same host");
        assert!(!judge::has_refused());
    }

    #[test]
    fn a_name_that_may_lead_outside_counts_as_outside() {
        judge::start();
        judge::next_hop();
        assert!(["127.0.0.1", "1.1.1.1"].iter().all(|ip| judge::allows(ip.parse().unwrap())));
        judge::next_hop();
        assert!(!judge::allows("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn addresses_in_urls_need_no_look_up() {
        let of = |text: &str| literal(&text.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(of("http://127.0.0.1/a").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(of("https://[::1]/a").as_deref(), Some("[::1]:443"));
        assert_eq!(of("http://[::1]:6969/a").as_deref(), Some("[::1]:6969"));
        assert_eq!(of("http://localhost:6969/a"), None);
    }

    #[test]
    fn only_http_and_https_are_urls_here() {
        for url in ["ftp://h/", "file:///etc/passwd", "http://", "/a", "h", "", "http://h/a b"] {
            assert!(matches!(scheme(url), Err(Fault::BadUrl)), "{url}");
        }
        assert!(matches!(scheme("HTTP://h"), Ok(Scheme::Http)));
        assert!(matches!(scheme("https://h:1/a?b"), Ok(Scheme::Https)));
    }
}
