//! The loops that a client cannot be better than, to hold its figures against: receiving with
//! hashing and writing, and sending a file, each over one loopback connection; and encryption.
//!
//! usage: bare recv FILE MIB       receive MIB MiB, hash them (SHA-1), write them to FILE
//!        bare sendfile FILE       send FILE
//!        bare rc4 MIB             encrypt MIB MiB, and nothing else
//!
//! The other end of the connection is a process of its own, so that it does not count. Each
//! prints one line: size, wall MiB/s, user+sys CPU seconds per GiB of this process alone.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Instant;

use bittornado::proto::hash::Sha1;
use bittornado::proto::mse::Rc4;

/// What one read takes at most: a block of the peer protocol, as a client without cleverness does.
const BLOCK: usize = 16 * 1024;

const USAGE: &str = "usage: bare recv FILE MIB | bare sendfile FILE | bare rc4 MIB";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["recv", file, mib] => receive(file, mib.parse::<u64>()? << 20),
        ["sendfile", file] => send(file),
        ["rc4", mib] => encrypt(mib.parse::<u64>()? << 20),
        ["feed", address, bytes] => Ok(feed(address, bytes.parse()?)?),
        ["drain", address] => Ok(drain(address)?),
        _ => Err(USAGE.into()),
    }
}

/// RC4 alone, over one block again and again.
fn encrypt(bytes: u64) -> Result<(), Box<dyn Error>> {
    let (mut cipher, mut block) = (Rc4::new([7; 20]), vec![0; BLOCK]);
    let start = Meter::start()?;
    for _ in 0..bytes / BLOCK as u64 {
        cipher.apply(&mut block);
    }
    start.print(&format!("rc4 ({:02x})", block[0]), bytes)
}

fn receive(file: &str, bytes: u64) -> Result<(), Box<dyn Error>> {
    let mut out = File::create(file).map_err(|e| format!("cannot write '{file}': {e}"))?;
    let (mut stream, mut child) = connect(&["feed"], &[&bytes.to_string()])?;
    let start = Meter::start()?;
    let (mut hash, mut block, mut got) = (Sha1::new(), vec![0; BLOCK], 0);
    while got < bytes {
        let n = stream.read(&mut block)?;
        if n == 0 {
            return Err("the other end closed too early".into());
        }
        hash.update(&block[..n]);
        out.write_all(&block[..n])?;
        got += n as u64;
    }
    std::hint::black_box(hash.finish());
    start.print("recv + SHA-1 + write", bytes)?;
    child.wait()?;
    Ok(())
}

fn send(file: &str) -> Result<(), Box<dyn Error>> {
    let input = File::open(file).map_err(|e| format!("cannot read '{file}': {e}"))?;
    let bytes = input.metadata()?.len();
    let (stream, mut child) = connect(&["drain"], &[])?;
    let start = Meter::start()?;
    let mut offset = 0;
    while offset < bytes {
        let most = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(1 << 30);
        if rustix::fs::sendfile(&stream, &input, Some(&mut offset), most)? == 0 {
            return Err("the file became shorter".into());
        }
    }
    start.print("sendfile", bytes)?;
    drop(stream);
    child.wait()?;
    Ok(())
}

/// Starts the other end, and gives the connection that it made to us.
fn connect(before: &[&str], after: &[&str]) -> io::Result<(TcpStream, Child)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut other = Command::new(std::env::current_exe()?);
    let child = other.args(before).arg(address).args(after).spawn()?;
    Ok((listener.accept()?.0, child))
}

fn feed(address: &str, mut bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let data = vec![0x5a; 256 * 1024];
    while bytes > 0 {
        let n = data.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        stream.write_all(&data[..n])?;
        bytes -= n as u64;
    }
    Ok(())
}

fn drain(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut data = vec![0; 256 * 1024];
    while stream.read(&mut data)? > 0 {}
    Ok(())
}

struct Meter {
    wall: Instant,
    cpu: f64,
}

impl Meter {
    fn start() -> Result<Meter, Box<dyn Error>> {
        Ok(Meter { cpu: cpu_seconds()?, wall: Instant::now() })
    }

    fn print(&self, what: &str, bytes: u64) -> Result<(), Box<dyn Error>> {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), cpu_seconds()? - self.cpu);
        let mib = bytes as f64 / f64::from(1 << 20);
        println!(
            "bare {what}: {mib:.0} MiB, {:.0} MiB/s, {:.2} CPU s/GiB",
            mib / wall,
            cpu / mib * 1024.0
        );
        Ok(())
    }
}

/// User and system time of this process so far. The kernel counts them in hundredths of a second,
/// so the figure of one GiB is good to about one percent.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let times = after_name.split_ascii_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}
