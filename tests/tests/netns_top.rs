//! `bulkhead top` on a terminal: what it shows and changes, and that it ends whatever becomes of the terminal.

mod plant;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology, agent_binary,
    modbus::{Plc, write_once},
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{FlowArg, LocalFlags, tcflow, tcgetattr},
    },
    unistd::Pid,
};
use plant::{SILENCE, SOON, device, require_lab};

const EVERY: Duration = Duration::from_millis(20);
const ROWS: u16 = 30;
const COLUMNS: u16 = 120;

/// An agent by which the HMI polls the PLC.
fn started(lab: &Lab) -> Agent<'_> {
    let policy = format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n",
        device(lab, PLC, "criticality = \"safety\""),
        device(lab, "hmi", ""),
    );
    let mut agent = Agent::new(lab, &policy).expect("an agent");
    agent.start().expect("it starts");
    agent
}

/// `bulkhead top` on a terminal of its own.
struct Top {
    child: Child,
    /// What is pressed; none once the terminal is closed.
    keys: Option<File>,
    slave: OwnedFd,
    shown: Arc<Mutex<String>>,
    /// Whether nobody reads any more what it shows.
    blind: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Top {
    fn start(lab: &Lab) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
        // Copies that no child inherits.
        let [master, slave] = [master, slave].map(|end| end.try_clone().expect("a descriptor"));
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = Command::new(agent_binary().expect("a binary"));
        command.arg("--config").arg(lab.gateway.room.inside("bulkhead.toml"));
        command.args(["top", "--interval", "500ms"]).env("TERM", "xterm-256color");
        command.stdin(end()).stdout(end()).stderr(end());
        let child = lab.gateway.namespace.spawn_child(command).expect("it starts");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, all) = (File::from(master.try_clone().expect("a descriptor")), Arc::clone(&shown));
        let blind = Arc::new(AtomicBool::new(false));
        let is_blind = Arc::clone(&blind);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error once both sides are closed.
            while !is_blind.load(Ordering::Relaxed)
                && let Ok(read @ 1..) = screen.read(&mut bytes)
            {
                all.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { child, keys: Some(File::from(master)), slave, shown, blind, reader: Some(reader) }
    }

    /// Waits until something is to be seen.
    fn shows(&self, text: &str) {
        let screen = || screen(&self.shown.lock().expect("no panic"));
        let found =
            wait_for(&format!("`{text}` on the screen"), SOON, || Ok(screen().contains(text).then_some(())));
        found.unwrap_or_else(|error| panic!("{error}:\n{}", screen()));
    }

    /// Waits until it has printed something, wherever.
    fn prints(&self, text: &str) {
        let has = || self.shown.lock().expect("no panic").contains(text);
        wait_for(&format!("`{text}`"), SOON, || Ok(has().then_some(()))).expect("it is printed");
    }

    /// Waits until it has left the alternate screen (xterm, DEC private mode 1049).
    fn leaves(&self) {
        self.prints("\u{1b}[?1049l");
    }

    fn press(&mut self, keys: &str) {
        let terminal = self.keys.as_mut().expect("it is open");
        terminal.write_all(keys.as_bytes()).expect("it is read");
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("sent");
    }

    /// Closes its terminal.
    fn closes(&mut self) {
        self.blind.store(true, Ordering::Relaxed);
        // The help is something to read, so that the reader hears of it.
        self.press("?");
        self.reader.take().expect("it reads").join().expect("no panic");
        self.keys = None;
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("a terminal").local_flags.contains(LocalFlags::ICANON)
    }

    /// The exit code, once it has ended.
    fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let ended = wait_for("the end of it", SOON, || Ok(child.try_wait()?));
        ended.expect("it ends").code()
    }
}

/// What a terminal shows that was sent this: of the control sequences only `row;columnH` moves anything.
fn screen(sent: &str) -> String {
    let mut cells = vec![vec![' '; usize::from(COLUMNS)]; usize::from(ROWS)];
    let (mut row, mut column) = (0, 0);
    let mut rest = sent.chars();
    while let Some(next) = rest.next() {
        if next != '\u{1b}' {
            if let Some(cell) = cells.get_mut(row).and_then(|line| line.get_mut(column)) {
                *cell = next;
            }
            column += 1;
            continue;
        }
        let mut sequence = String::new();
        while !sequence.ends_with(|last: char| last.is_ascii_alphabetic()) {
            let Some(one) = rest.next() else { break };
            sequence.push(one);
        }
        let place = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('H')?.split_once(';'));
        if let Some((Ok(line), Ok(at))) = place.map(|(line, at)| (line.parse::<usize>(), at.parse::<usize>()))
        {
            (row, column) = (line.saturating_sub(1), at.saturating_sub(1));
        }
    }
    cells.into_iter().map(|line| line.into_iter().collect::<String>() + "\n").collect()
}

impl Drop for Top {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn top_shows_explains_and_changes_and_leaves_the_terminal_as_it_was() {
    let test = "top_shows_explains_and_changes_and_leaves_the_terminal_as_it_was";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let agent = started(&lab);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let poller = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("a poller");
    write_once(lab.host("historian"), lab.modbus(), 50, 7, SILENCE).expect("a try");
    agent.wait_violation("the write", SOON, |record| record["reason"] == "unknown-peer").expect("it is told");

    let mut top = Top::start(&lab);
    for text in ["ENFORCING", "hmi", "plc", "modbus", "unknown-peer", "packets/s: "] {
        top.shows(text);
    }
    assert!(top.is_raw());
    top.press("w");
    top.shows("This would allow it:");
    top.press("x");
    // The HMI is the first; it is asked before anything is changed.
    top.press("Q");
    top.shows("quarantine it");
    assert_eq!(plant::status(&agent)["quarantined"].as_array().map(Vec::len), Some(0));
    top.press("y");
    wait_for("the quarantine", SOON, || {
        Ok((plant::status(&agent)["quarantined"] == serde_json::json!(["hmi"])).then_some(()))
    })
    .expect("it is cut off");
    let devices = agent.cli_json(&["devices", "--json"]).expect("devices");
    assert!(
        devices[0]["changed"].as_str().is_some_and(|by| by.contains("from `bulkhead top`")),
        "{devices:#}"
    );
    top.press("q");
    assert_eq!(top.ended(), Some(0));
    assert!(!top.is_raw(), "the terminal is as it was");
    top.leaves();

    // Who says yes and is gone at once has still changed it, and is told so.
    let mut top = Top::start(&lab);
    top.shows("(by hand)");
    top.press("ryq");
    assert_eq!(top.ended(), Some(0));
    assert_eq!(plant::status(&agent)["quarantined"], serde_json::json!([]));
    top.leaves();
    top.prints("hmi: quarantine -> enforce");

    let mut top = Top::start(&lab);
    top.shows("ENFORCING");
    top.signal(Signal::SIGTERM);
    assert_eq!(top.ended(), Some(0));
    assert!(!top.is_raw());
    top.leaves();
    drop(poller);
}

#[test]
fn top_ends_whatever_becomes_of_its_terminal() {
    let test = "top_ends_whatever_becomes_of_its_terminal";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let agent = started(&lab);
    let begin = || {
        let top = Top::start(&lab);
        top.shows("ENFORCING");
        top
    };

    // Nobody sends it a signal: the terminal is not the one that controls it.
    let mut closed = begin();
    closed.closes();
    assert_eq!(closed.ended(), Some(0));

    // One that closes in the midst of a key.
    let mut half = begin();
    half.press("\u{1b}[");
    half.closes();
    assert_eq!(half.ended(), Some(0));

    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut half = begin();
        half.press("\u{1b}[");
        half.signal(signal);
        assert_eq!(half.ended(), Some(0), "{signal}");
        assert!(!half.is_raw());
    }

    // While it waits for an agent that does not answer.
    let mut waits = begin();
    agent.signal(Signal::SIGSTOP).expect("it stops");
    waits.press("Qyq");
    waits.prints("waiting for the agent's answer");
    waits.signal(Signal::SIGTERM);
    let code = waits.ended();
    agent.signal(Signal::SIGCONT).expect("it goes on");
    assert_eq!(code, Some(2));
    assert!(!waits.is_raw());

    // The terminal takes nothing more, so that it cannot even say good-bye.
    let mut unread = begin();
    tcflow(&unread.slave, FlowArg::TCOOFF).expect("it stops");
    unread.signal(Signal::SIGTERM);
    assert_eq!(unread.ended(), Some(2));
    assert!(!unread.is_raw());
}
