//! Full screens in tmux: seen and steered while transmission seeds, and given back whatever ends
//! the program.

use crate::swarm::{ORIGIN, SOON, Shape, Swarm, TORRENT};
use crate::transmission;
use crate::util::{Dir, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;

/// A terminal of tmux, gone when dropped.
struct Terminal<'d> {
    dir: &'d Dir,
}

impl<'d> Terminal<'d> {
    /// One of this size, in which a shell runs `command` in a folder, says how it left, and stays.
    fn new(dir: &'d Dir, folder: &str, command: &str) -> Terminal<'d> {
        fs::create_dir_all(dir.join(folder)).unwrap();
        let modes = "stty -g >modes";
        let script =
            format!("cd {folder}; {modes}.1; {command}; echo left $?; {modes}.2; exec cat");
        let terminal = Terminal { dir };
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &script]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let tmux = self.dir.program("tmux").args(["-S", "tmux", "-f", "/dev/null"]);
        tmux.args(args).run().expect(0).out
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of this is seen.
    fn sees(&self, all: &[&str]) {
        let mut screen = String::new();
        let what = format!("{all:?} on the screen");
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(SOON, &what, || {
                screen = self.screen();
                all.iter().all(|text| screen.contains(text)).then_some(())
            });
        }));
        assert!(found.is_ok(), "no {what}:\n{screen}");
    }

    /// Whether the terminal is as it was: not the other screen, the cursor seen, the same modes.
    fn is_as_before(&self, folder: &str) {
        let modes = |n| self.dir.read(Path::new(folder).join(format!("modes.{n}")));
        until(SOON, "the modes at the end", || (!modes(2).is_empty()).then_some(()));
        assert_eq!(modes(1), modes(2));
        let state = self.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}"]);
        assert_eq!(state.trim(), "0 1 1");
    }

    /// The process that the shell waits for.
    fn child(&self) -> Pid {
        let shell = self.tmux(&["display", "-p", "#{pane_pid}"]).trim().to_owned();
        until(SOON, "a program in the terminal", || {
            let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
            Pid::from_raw(children.ok()?.split_whitespace().next()?.parse().ok()?)
        })
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let tmux = self.dir.program("tmux").args(["-S", "tmux", "kill-server"]);
        tmux.run();
    }
}

/// Our client on a screen of its own, as the shell is told.
fn curses(swarm: &Swarm, options: &str) -> String {
    called(swarm, "btdownloadcurses", options, &swarm.dir.join(TORRENT))
}

fn called(swarm: &Swarm, name: &str, options: &str, what: &Path) -> String {
    // Which makes the name a command.
    let name = swarm.dir.cmd(name).name().to_str().unwrap().to_owned();
    let ports = "--minport 10000 --maxport 60000 --random_port 1";
    let here = format!("--local_only 1 --bind 127.0.0.1 {ports}");
    format!("'{name}' {here} {options} '{}'", what.display())
}

#[test]
#[ignore = "needs tmux"]
fn a_download_from_transmission_is_seen_and_steered_at_three_sizes() {
    let swarm = Swarm::new(Shape::File);
    let _seed = transmission::start(&swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let terminal = Terminal::new(&swarm.dir, "copy", &curses(&swarm, "--max_download_rate 20"));
    terminal.sees(&["file:     one file.bin", "finishing in", "seeds:    1 seen now"]);
    terminal.press(&["2"]);
    terminal.sees(&["Completed", "127.0.0.1", "100.0%", "pieces completed"]);
    terminal.press(&["3"]);
    terminal.sees(&["normal", "one file.bin"]);
    terminal.resize(20, 6);
    terminal.sees(&["one file.bin\n", "seeds 1, peers 0\n", " q quit  ? help"]);
    assert!(terminal.screen().lines().all(|line| line.chars().count() <= 20));
    terminal.press(&["2"]);
    terminal.resize(300, 100);
    terminal.sees(&["download  at most", "Transmission", "─ pieces ─", "elsewhere"]);
    terminal.resize(80, 24);
    terminal.press(&["p"]);
    terminal.sees(&["status:   paused"]);
    terminal.press(&["p"]);
    terminal.sees(&["finishing in", "limit 20 kB/s"]);
    terminal.press(&["d", "0", "Enter"]);
    terminal.sees(&["download succeeded! (100.0%)"]);
    swarm.wait_for_copy("copy");
    terminal.press(&["1", "r", "y"]);
    terminal.sees(&["all data was checked again: it is as it was known"]);
    terminal.press(&["?"]);
    terminal.sees(&["pause, and go on", "any key goes back"]);
    terminal.press(&["x", "q"]);
    terminal.sees(&["left 0"]);
    terminal.is_as_before("copy");
}

#[test]
#[ignore = "needs tmux"]
fn the_terminal_is_given_back_when_a_signal_ends_the_program_and_it_ends_with_the_terminal() {
    let swarm = Swarm::new(Shape::File);
    let terminal = Terminal::new(&swarm.dir, "copy", &curses(&swarm, ""));
    terminal.sees(&["status:   connecting to peers (0.0%)"]);
    kill_process(terminal.child(), Signal::TERM).unwrap();
    terminal.sees(&["stopped before the download was complete", "left 1"]);
    terminal.is_as_before("copy");
    drop(terminal);

    let terminal = Terminal::new(&swarm.dir, "other", &curses(&swarm, ""));
    terminal.sees(&["status:   connecting to peers (0.0%)"]);
    let child = terminal.child();
    drop(terminal);
    let place = format!("/proc/{}", child.as_raw_nonzero());
    until(SOON, "the end of the program", || (!Path::new(&place).exists()).then_some(()));
}

#[test]
#[ignore = "needs tmux"]
fn the_torrents_of_a_folder_are_in_a_list_and_each_has_its_own_screen() {
    let swarm = Swarm::new(Shape::File);
    let _seed = transmission::start(&swarm, ORIGIN);
    swarm.wait_for(1, 0);
    let folder = swarm.dir.join("torrents");
    swarm.dir.write("torrents/one file.torrent", swarm.dir.read(TORRENT));
    swarm.dir.write("torrents/broken.torrent", "not bencoded");
    let options = "--saveas_style 2 --parse_dir_interval 3 --max_download_rate 20";
    let command = called(&swarm, "btlaunchmanycurses", options, &folder);
    let terminal = Terminal::new(&swarm.dir, "here", &command);
    terminal.sees(&["  1 one file.torrent", "ETA in", "Totals: 1 torrents", " - added"]);
    terminal.resize(20, 6);
    terminal.sees(&["1: ↓", " q quit  ? help"]);
    terminal.resize(120, 40);
    terminal.sees(&["Status", "Peers", "is not a valid metafile"]);
    terminal.press(&["Enter", "2"]);
    terminal.sees(&["file:     one file.bin", "Completed", "127.0.0.1"]);
    terminal.press(&["3"]);
    terminal.sees(&["normal", "one file.bin"]);
    terminal.press(&["q"]);
    terminal.sees(&["Totals: 1 torrents"]);
    terminal.press(&["p"]);
    terminal.sees(&["paused"]);
    fs::remove_file(folder.join("one file.torrent")).unwrap();
    terminal.press(&["s"]);
    terminal.sees(&["no torrents", "dropped \""]);
    terminal.press(&["q"]);
    terminal.sees(&["These errors occurred during execution:", "left 0"]);
    terminal.is_as_before("here");
}
