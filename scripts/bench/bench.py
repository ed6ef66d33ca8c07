"""What the measuring scripts of this folder share: content, programs to compare, the other end of
a transfer, and what the kernel knows of a process. No script of its own.

Every program gets its defaults, apart from what would leave loopback or needs another peer to
speak more than the plain protocol: DHT, local discovery, peer exchange, port mapping, uTP and
encryption are off. Ports are chosen by the system. All that a run makes lies in one folder, and
is removed with it; a killed script's programs die with it.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RELEASE = ROOT / "target/release"
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")
# Seconds between two looks at a program that is being measured.
POLL = 0.01
# Pieces are of 2 ** PIECE bytes.
PIECE = 18
# One transfer, or one program's start, takes no longer than this many seconds.
LIMIT = 60
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Keeps libtorrent on loopback.
LIBTORRENT = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
}


class Failed(Exception):
    """The run cannot go on; its text is for the user."""


# What the kernel knows.


def cpu(pid):
    """User and system seconds of a process with all its threads, also when it has just ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak(pid):
    """The most memory in RAM so far, in MiB; None when the process has ended."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) / 1024 if found else None


def descriptors(pid):
    """How many it has open; 0 when it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def has_ended(process):
    """Whether it has; what the kernel knows of it stays."""
    if process.returncode is not None:
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def listens(port):
    """Whether somebody listens on a TCP port of this machine; asks the kernel, not the port."""
    wanted = f":{port:04X}"
    tables = [pathlib.Path(p).read_text() for p in ("/proc/net/tcp", "/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return any(r[1].endswith(wanted) and r[3] == "0A" for r in rows)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ticks(what, limit=LIMIT, pause=POLL):
    """The time, again and again while something may last."""
    end = time.monotonic() + limit
    while (now := time.monotonic()) < end:
        yield now
        time.sleep(pause)
    raise Failed(f"{what} is not done after {limit} s")


def wait_for(happened, what, limit=LIMIT):
    for _ in ticks(what, limit):
        if happened():
            return


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Bench:
    """The files and processes of a run; nothing of them is left when it ends."""

    def __init__(self, options):
        self.options = options
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="bittornado-bench-", dir=options.dir))
        self.ours = pathlib.Path(options.program or RELEASE / "bittornado").resolve()
        self.peer = helper()
        self.logs = {}
        self.processes = []
        # What other programs did not manage once, they may take very long for each time.
        self.failed = set()

    def folder(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.base))

    def start(self, command, name, **pipes):
        log = self.base / f"{name}-{len(self.processes)}.log"
        state = {f"XDG_{n}_HOME": str(self.base / n.lower()) for n in ("CONFIG", "STATE", "CACHE")}
        home = {"HOME": str(self.base), "TERM": "dumb"} | state
        pipes.setdefault("stdin", subprocess.DEVNULL)
        with open(log, "wb") as out:
            pipes.setdefault("stdout", out)
            process = subprocess.Popen(
                [str(word) for word in command], stderr=out, cwd=self.base,
                env=os.environ | home, preexec_fn=die_with_parent, **pipes,
            )
        self.logs[process.pid] = log
        self.processes.append(process)
        return process

    def log(self, process):
        return self.logs[process.pid].read_bytes()

    def tail(self, process):
        return self.log(process)[-500:].decode(errors="replace").strip()

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self):
        # Whoever asks twice would have the second time cut this short.
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def attempt(self, table, what, who, measure):
        """Adds a row; another program that fails is told of and left out."""
        if (what, who) in self.failed:
            return
        before = len(self.processes)
        try:
            table.add(what, who, *measure())
        except (Failed, OSError) as error:
            if who in OURS:
                raise
            self.failed.add((what, who))
            print(f"{what}, {who}: {error}; not tried again", file=sys.stderr)
            for process in self.processes[before:]:
                self.stop(process)

    def output_of(self, command):
        ran = subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, cwd=self.base,
        )
        if ran.returncode != 0:
            raise Failed(f"{command[0]}: {ran.stdout.strip()}")
        return ran.stdout


def helper(name="peer"):
    """The program that is the other end, built when it is not there or older than its source."""
    source, built = HERE / f"{name}.rs", ROOT / "target/bench" / name
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        command = ["rustc", "--edition", "2024", "-O", "-o", built, source]
        if subprocess.run(command).returncode != 0:
            raise Failed(f"cannot build {name}.rs")
    return built


class Content:
    """What is transferred, and its .torrent."""

    def __init__(self, bench, size, count=0, announce=None, name="data"):
        """One file of `size` bytes, or `count` files of that size; the name makes the hash."""
        self.bench = bench
        self.path = bench.folder() / name
        self.torrent = self.path.with_suffix(".torrent")
        self.count = count
        self.total = size * max(count, 1)
        self.piece = 1 << PIECE
        bench.output_of([bench.peer, "data", self.path, count, size])
        announce = announce or f"http://127.0.0.1:{free_port()}/announce"
        bench.output_of([
            bench.ours, "btmakemetafile", announce, self.path, "--target", self.torrent,
            "--piece_size_pow2", PIECE,
        ])
        shown = bench.output_of([bench.ours, "btshowmetainfo", self.torrent])
        self.hash = re.search(r"info hash\.*:\s*([0-9a-f]{40})", shown)[1]

    def files(self):
        if self.path.is_file():
            return [self.path]
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def page_in(self):
        for path in self.files():
            with open(path, "rb", buffering=0) as data:
                while data.read(MIB):
                    pass

    def link_to(self, folder):
        """Has the same content in `folder` without a copy."""
        if self.path.is_file():
            os.link(self.path, folder / self.path.name)
        else:
            shutil.copytree(self.path, folder / self.path.name, copy_function=os.link)

    def compare(self, folder, who):
        command = ["diff", "-rq", self.path, folder / self.path.name]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            raise Failed(f"what {who} has is not what was sent")


class Peer:
    """The other end of a transfer: see peer.rs."""

    def __init__(self, bench, kind, content, port, connections=1, busy=1):
        words = [kind, port, content.hash, content.total, content.piece, connections, busy]
        self.bench = bench
        self.process = bench.start(
            [bench.peer, *words], f"peer-{kind}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = b""

    def _hear(self, word):
        self.said += self.process.stdout.read() or b""
        found = re.search(rb"^" + word + rb"(.*)\n", self.said, re.M)
        if found is None and has_ended(self.process):
            raise Failed(f"the other end has ended: {self.bench.tail(self.process)}")
        return found

    def has_begun(self):
        return self._hear(b"start") is not None

    def seconds(self):
        """From its first byte to its last; None before that."""
        found = self._hear(b"end ")
        return float(found[1].split()[0]) if found else None

    def stop(self):
        self.process.stdin.close()
        self.bench.stop(self.process)


# The programs. Each has a command for both directions, knows its port, and says when it is done.


class Program:
    """One program, downloading into a folder that is empty, or seeding from one that is not."""

    # The most bytes a second it may send; None for no limit.
    limit = None

    def __init__(self, bench, content, folder, seed=False):
        self.bench, self.content, self.folder, self.seed = bench, content, folder, seed
        self.port = free_port()
        self.own = bench.folder()
        self.done = self.own / "done"
        self.process = None

    def start(self):
        self.process = self.bench.start(self.command(), self.name)

    def is_complete(self):
        return self.done.exists()

    def must_live(self):
        if has_ended(self.process):
            raise Failed(f"{self.name} has ended: {self.bench.tail(self.process)}")

    def wait_until_it_listens(self):
        ready = lambda: has_ended(self.process) or listens(self.port)
        wait_for(ready, f"{self.name} to listen")

    def stop(self):
        self.bench.stop(self.process)

    def hook(self):
        """A command that tells us when a program runs it."""
        path = self.own / "hook"
        path.write_text(f"#!/bin/sh\n: >'{self.done}'\n")
        path.chmod(0o755)
        return path


class Btdownload(Program):
    name = "btdownload"
    needs = []

    def command(self):
        words = [
            self.bench.ours, "btdownload", self.content.torrent,
            "--saveas", self.folder / self.content.path.name, "--bind", "127.0.0.1",
            "--minport", self.port, "--maxport", self.port,
        ]
        if self.limit:
            # Its unit is a thousand bytes.
            words += ["--max_upload_rate", self.limit // 1000, "--ip", "127.0.0.1"]
        return words + self.bench.options.__dict__.get("ours", [])

    def is_complete(self):
        return b"download complete" in self.bench.log(self.process)


class Aria2(Program):
    name = "aria2c"
    needs = [("aria2c", "aria2")]

    def command(self):
        # Its default allocation writes the whole file twice; the others do not, so it need not.
        words = [
            "aria2c", f"--listen-port={self.port}", f"--dir={self.folder}", "--no-conf",
            "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
            "--enable-peer-exchange=false", "--file-allocation=none",
        ]
        if self.limit:
            words += [f"--max-upload-limit={self.limit}", "--bt-external-ip=127.0.0.1"]
            words += [f"--on-bt-download-complete={self.hook()}", "--seed-ratio=0.0"]
        elif self.seed:
            words += ["--seed-ratio=0.0"]
        else:
            words += ["--seed-time=0"]
        if self.seed:
            words += ["--check-integrity=true"]
        return words + [self.content.torrent]

    def is_complete(self):
        return self.done.exists() or (not self.limit and has_ended(self.process))


class Libtorrent(Program):
    name = "libtorrent"
    needs = []

    def command(self):
        words = [self.content.torrent, self.folder, self.port, self.limit or 0]
        return [sys.executable, __file__, "--libtorrent", *words]

    def is_complete(self):
        return b"complete" in self.bench.log(self.process)


def run_libtorrent(torrent, folder, port, limit):
    """libtorrent with its defaults, from Python, which only waits."""
    import libtorrent

    # Its end writes what waits to be written, where a signal's would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    own = {"listen_interfaces": f"127.0.0.1:{port}", "upload_rate_limit": int(limit)}
    session = libtorrent.session(LIBTORRENT | own)
    if int(limit):
        # By default its limits are not for peers of the local network.
        everybody = libtorrent.ip_filter()
        everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << session.global_peer_class_id)
        session.set_peer_class_filter(everybody)
    handle = session.add_torrent(
        {"ti": libtorrent.torrent_info(torrent), "save_path": folder}
    )
    while not handle.status().is_seeding:
        time.sleep(POLL)
    print("complete", flush=True)
    signal.pause()


class Qbittorrent(Program):
    name = "qbittorrent"
    needs = [("qbittorrent-nox", "qbittorrent-nox")]

    def command(self):
        config = self.own / "qBittorrent/config/qBittorrent.conf"
        config.parent.mkdir(parents=True)
        config.write_text("\n".join([
            "[LegalNotice]", "Accepted=true",
            "[AutoRun]", "enabled=true", f"program={self.hook()}",
            "[BitTorrent]", "Session\\DHTEnabled=false", "Session\\LSDEnabled=false",
            "Session\\PeXEnabled=false", "Session\\Encryption=2", "Session\\BTProtocol=TCP",
            f"Session\\Port={self.port}", "Session\\InterfaceAddress=127.0.0.1",
            "[Network]", "PortForwardingEnabled=false",
            "[Preferences]", "WebUI\\Address=127.0.0.1", "",
        ]))
        return [
            "qbittorrent-nox", f"--profile={self.own}", f"--webui-port={free_port()}",
            f"--save-path={self.folder}", "--skip-dialog=true", self.content.torrent,
        ]


class Transmission(Program):
    name = "transmission"
    needs = [("transmission-daemon", "transmission-daemon")]

    def command(self):
        self.rpc = free_port()
        settings = {
            "bind-address-ipv4": "127.0.0.1", "bind-address-ipv6": "::1",
            "peer-port": self.port, "peer-port-random-on-start": False,
            "dht-enabled": False, "lpd-enabled": False, "pex-enabled": False,
            "utp-enabled": False, "port-forwarding-enabled": False, "encryption": 0,
            "rpc-bind-address": "127.0.0.1", "rpc-port": self.rpc,
            "script-torrent-done-enabled": True,
            "script-torrent-done-filename": str(self.hook()),
        }
        (self.own / "settings.json").write_text(json.dumps(settings))
        return ["transmission-daemon", "--foreground", "-g", self.own, "-w", self.folder]

    def start(self):
        super().start()
        wait_for(lambda: listens(self.rpc), "transmission to listen")
        self.call(session="")

    def call(self, session):
        arguments = {"filename": str(self.content.torrent), "download-dir": str(self.folder)}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rpc}/transmission/rpc",
            json.dumps({"method": "torrent-add", "arguments": arguments}).encode(),
            {"X-Transmission-Session-Id": session},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            answer = json.load(opener.open(request, timeout=LIMIT))
        except urllib.error.HTTPError as error:
            if error.code != 409 or session:
                raise Failed(f"transmission does not take the torrent: {error}") from None
            return self.call(error.headers["X-Transmission-Session-Id"])
        if answer["result"] != "success":
            raise Failed(f"transmission does not take the torrent: {answer['result']}")


class Rtorrent(Program):
    name = "rtorrent"
    needs = [("rtorrent", "rtorrent")]
    # Which of its events runs the hook.
    event = "finished"

    def command(self):
        lines = [
            "system.daemon.set = true",
            f'directory.default.set = "{self.folder}"',
            "network.bind_address.set = 127.0.0.1",
            f"network.port_range.set = {self.port}-{self.port}",
            "network.port_random.set = no",
            "dht.mode.set = disable",
            "protocol.pex.set = no",
            "trackers.use_udp.set = no",
            "protocol.encryption.set = none",
            f"method.set_key = event.download.{self.event}, bench, "
            f'"execute.nothrow={self.hook()}"',
            f'schedule2 = load, 0, 0, "load.start={self.content.torrent}"',
        ]
        if self.limit:
            lines[0:0] = [f"throttle.global_up.max_rate.set = {self.limit}"]
        config = self.own / "rtorrent.rc"
        config.write_text("\n".join(lines) + "\n")
        return ["rtorrent", "-n", "-o", f"import={config}"]


class Ctorrent(Program):
    name = "ctorrent"
    needs = [("ctorrent", "ctorrent")]

    def command(self):
        words = ["ctorrent", "-p", self.port, "-i", "127.0.0.1", "-e", 24]
        words += ["-s", self.folder / self.content.path.name]
        if self.limit:
            words += ["-U", self.limit // 1024]
        return words + [self.content.torrent]

    def is_complete(self):
        return b"Download complete" in self.bench.log(self.process)


PROGRAMS = {
    p.name: p for p in (
        Btdownload, Aria2, Libtorrent, Qbittorrent, Transmission, Rtorrent, Ctorrent
    )
}


# What a run is about; its failure is the run's.
OURS = ("btdownload", "btcheck", "restart", "bare", "bttrack")


# The table.


class Table:
    """Rows by what and who, several rounds of figures each, and the marks they are held against."""

    def __init__(self, title, columns):
        self.title, self.columns = title, columns
        self.rows = {}

    def add(self, what, who, *figures):
        self.rows.setdefault((what, who), []).append(figures)

    def median(self, what, who, column):
        at = self.columns.index(column)
        found = [row[at] for row in self.rows.get((what, who), []) if row[at] is not None]
        return statistics.median(found) if found else None

    def best(self, what, column, better):
        """The best figure of all others, and whose it is."""
        others = [who for w, who in self.rows if w == what and who not in OURS]
        found = [(self.median(what, who, column), who) for who in others]
        return better(((f, who) for f, who in found if f is not None), default=(None, None))

    def print(self):
        line = "{:<18}{:<14}" + "{:>13}" * len(self.columns)
        print(f"\n{self.title}")
        print(line.format("", "", *self.columns))
        for what, who in self.rows:
            figures = [shown(self.median(what, who, column)) for column in self.columns]
            print(line.format(what, who, *figures), flush=True)


def shown(figure):
    if figure is None:
        return "-"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"


def mark(text, figure, bound, most=True):
    """Prints whether a figure keeps within a bound, `most` or least."""
    if figure is None or bound is None:
        return
    kept = figure <= bound if most else figure >= bound
    word, sign = ("ok", "<=" if most else ">=") if kept else ("SHORT", ">" if most else "<")
    print(f"  {word:<6}{text}: {shown(figure)} {sign} {shown(bound)}", flush=True)


# The command line.


def main(name, doc, run, programs, extra=lambda parser: None):
    """Runs a measuring script: `run(bench, names)`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/tmp"))
    parser.add_argument("--only", default=",".join(programs))
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--program")
    extra(parser)
    parser.format_help = parser.format_usage = lambda: doc
    options = parser.parse_args()
    names = options.only.split(",")
    # So that the files and processes are cleared away then, too.
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(1))
    bench = None
    try:
        unknown = [n for n in names if n not in programs]
        if unknown:
            raise Failed(f"--only: there is no {', '.join(unknown)}")
        names = those_here(names)
        if not (options.no_build or options.program):
            build()
        bench = Bench(options)
        run(bench, names)
    except (Failed, OSError) as error:
        sys.exit(f"{name}: {error}")
    finally:
        if bench:
            bench.close()


def those_here(names):
    """The names without those of programs that are not installed, which are told of."""
    here = []
    for name in names:
        needs = PROGRAMS[name].needs if name in PROGRAMS else []
        missing = [package for command, package in needs if not shutil.which(command)]
        if name == "libtorrent" and importlib.util.find_spec("libtorrent") is None:
            missing.append("python3-libtorrent")
        if missing:
            print(f"{name} is left out: it needs the Debian package {' '.join(missing)}",
                  file=sys.stderr)
        else:
            here.append(name)
    return here


def build():
    command = ["cargo", "build", "--locked", "--release", "--bins", "--example", "bare"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Failed("cannot build")


if __name__ == "__main__" and sys.argv[1:2] == ["--libtorrent"]:
    run_libtorrent(*sys.argv[2:])
