//! A spool and its thread, against a receiver that does what they do on bad days.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::Path,
};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::*;
use crate::{
    record::Format,
    sink::syslog::{FACILITY, Framing, Tls},
    spool::{Spool, Stamp},
};

const SOON: Duration = Duration::from_secs(60);

/// A spool with its thread, and where the thread connects to.
struct Bench {
    folder: tempfile::TempDir,
    spool: Spool,
    listener: TcpListener,
    begin: Option<(Reader, Route)>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (spool, reader) = Spool::open(folder.path(), 1 << 20, "boot 1").expect("it opens");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has one").port();
        let transport = Transport::Tcp(Framing::Newline);
        let route = Route {
            name: "siem".into(),
            gateway: "gw-7".into(),
            receiver: Receiver { host: "127.0.0.1".into(), port, transport },
            encoder: Encoder { format: Format::Native, facility: FACILITY, limit: 8192 },
        };
        Self { folder, spool, listener, begin: Some((reader, route)) }
    }

    fn begin(&mut self, quiet: Duration) -> Forwarder {
        let (reader, route) = self.begin.take().expect("it has not begun");
        Forwarder::begin_with(reader, route, quiet).expect("a thread")
    }

    /// What is no record is told too.
    fn add(&mut self, seq: u64) {
        self.spool.append([(Stamp { boot: 7, seq }, 1, "a record")]);
    }

    fn accept(&self) -> BufReader<TcpStream> {
        BufReader::new(self.listener.accept().expect("it connects").0)
    }
}

fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn line(from: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    from.read_line(&mut text).expect("it comes");
    text
}

fn segment(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "seg")).expect("a segment")
}

#[test]
fn receiver_that_hangs_up_on_every_connection_is_not_there() {
    let mut bench = Bench::new();
    bench.add(1);
    let forwarder = bench.begin(SOON);
    for attempt in 0..3 {
        let (peer, _) = bench.listener.accept().expect("it connects");
        peer.peek(&mut [0]).expect("it sends");
        until("a connection", || forwarder.fare().is_connected());
        assert_eq!(forwarder.fare().is_failing(Instant::now()), attempt > 0, "connection {attempt}");
        // With something unread, which resets it.
        drop(peer);
        until("the end of the connection", || forwarder.fare().failures > attempt);
    }
}

#[test]
fn spool_that_cannot_be_read_is_a_fault_until_it_can() {
    let mut bench = Bench::new();
    bench.add(1);
    let path = segment(bench.folder.path());
    let bytes = fs::read(&path).expect("readable");
    // What is cut off is a hole; a folder cannot be read.
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    let forwarder = bench.begin(SOON);
    until("the fault", || forwarder.fare().is_failing(Instant::now()));
    let fault = forwarder.fare().fault().expect("a fault");
    assert!(fault.starts_with("failed to read the spool: "), "{fault}");
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, bytes).expect("written");
    until("the record", || forwarder.fare().sent == 1);
    assert_eq!((forwarder.fare().fault(), forwarder.fare().is_failing(Instant::now())), (None, false));
}

#[test]
fn quiet_gateway_leaves_nothing_unconfirmed_and_that_is_no_failure() {
    let mut bench = Bench::new();
    let forwarder = bench.begin(Duration::from_millis(10));
    for seq in 1..=2 {
        bench.add(seq);
        let mut peer = bench.accept();
        assert!(line(&mut peer).contains(&format!("\"seq\":{seq},")));
        let mut rest = String::new();
        peer.read_to_string(&mut rest).expect("the connection ends in order");
        assert_eq!(rest, "");
        drop(peer);
        until("the confirmation", || bench.spool.waiting().bytes == 0);
    }
    let fare = forwarder.fare();
    assert_eq!((fare.sent, fare.failures, fare.is_failing(Instant::now())), (2, 0, false));
}

#[test]
fn receiver_that_does_not_end_a_quiet_connection_is_asked_once() {
    let mut bench = Bench::new();
    let forwarder = bench.begin(Duration::from_millis(10));
    bench.add(1);
    let first = bench.accept();
    let mut second = bench.accept();
    assert!(line(&mut second).contains("\"seq\":1,"), "it is sent again");
    for seq in 2..4 {
        until("more", || forwarder.fare().sent == seq);
        bench.add(seq);
        assert!(line(&mut second).contains(&format!("\"seq\":{seq},")), "over the same connection");
    }
    assert_eq!(forwarder.fare().failures, 0);
    drop(first);
}

#[test]
fn receiver_that_does_not_answer_does_not_keep_records_from_the_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["siem.example".to_owned()]).expect("a certificate");
    let ca = dir.path().join("ca.pem");
    let text = BASE64_STANDARD.encode(made.cert.der());
    fs::write(&ca, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
        .expect("it can be written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has one").port();
    let tls = Tls { ca: Some(ca), identity: None, server_name: Some("siem.example".into()) };
    let receiver = Receiver { host: "127.0.0.1".into(), port, transport: Transport::Tls(tls) };
    let encoder = Encoder { format: Format::Native, facility: 16, limit: 4096 };
    let route = Route { name: "siem".into(), gateway: "gw".into(), receiver, encoder };
    let (mut spool, reader) = Spool::open(&dir.path().join("spool"), 1 << 20, "boot").expect("it opens");
    let forwarder = Forwarder::begin(reader, route).expect("it begins");
    let mut add = |seq| spool.append([(Stamp { boot: 7, seq }, 1, "a record")]);
    add(1);
    let (held, _) = listener.accept().expect("it connects");
    // From now on it waits for the other half of the handshake.
    add(2);
    let until = Instant::now() + SOON;
    while spool.synced() != Some(Stamp { boot: 7, seq: 2 }) {
        assert!(Instant::now() < until, "records are not brought to the disk");
        thread::park_timeout(Duration::from_millis(10));
    }
    assert_eq!(forwarder.fare().failures, 0, "it was waiting all the time");
    drop((spool, held));
    forwarder.wait(SOON);
}
