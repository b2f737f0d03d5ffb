//! What a connection calls read has been read: against the kernel's own TCP, with readers that stop.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    os::fd::BorrowedFd,
    sync::mpsc::{Receiver as Inbox, channel},
    thread,
    time::Duration,
};

use bulkhead_agent::{
    dataplane::tcp_peer,
    sink::syslog::{Connection, Framing, Patience, Peer, Receiver, SendError, Transport},
};

/// With its frame, as many bytes as a record has.
const MESSAGE: usize = 700;
const BATCH: usize = 64;

fn meter(socket: BorrowedFd<'_>) -> Option<Peer> {
    tcp_peer(socket).map(|peer| Peer {
        acknowledged: peer.acknowledged,
        window: peer.window,
        scale: peer.scale,
    })
}

/// A reader that stops after so many bytes, and then holds the connection until it is told to go.
fn reader(bytes: usize) -> (Receiver, thread::JoinHandle<usize>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has one").port();
    let (go, told) = channel();
    let thread = thread::spawn(move || read(&listener, bytes, &told));
    let receiver = Receiver { host: "127.0.0.1".into(), port, transport: Transport::Tcp(Framing::Newline) };
    (receiver, thread, go)
}

fn read(listener: &TcpListener, bytes: usize, told: &Inbox<()>) -> usize {
    let (mut stream, _): (TcpStream, _) = listener.accept().expect("somebody connects");
    let mut buffer = vec![0; 64 << 10];
    let mut read = 0;
    while read < bytes {
        let room = buffer.len().min(bytes - read);
        match stream.read(&mut buffer[..room]).expect("it is there") {
            0 => return read,
            more => read += more,
        }
    }
    told.recv().expect("the test tells");
    read
}

fn batch() -> Vec<String> {
    vec!["x".repeat(MESSAGE - 1); BATCH]
}

#[test]
fn reader_that_stops_has_not_read_what_its_kernel_has_acknowledged() {
    for bytes in [0, 1, 100_000, 1 << 20, 40 << 20, 160 << 20] {
        let (receiver, thread, go) = reader(bytes);
        let patience = Patience { connect: Duration::from_secs(20), write: Duration::from_millis(500) };
        let mut connection = Connection::open(&receiver, patience, meter).expect("it listens");
        let error = loop {
            if let Err(error) = connection.send(&batch()) {
                break error;
            }
        };
        assert!(matches!(error, SendError::Slow { .. } | SendError::Write { .. }), "{error}");
        let confirmed = usize::try_from(connection.known_confirmed()).expect("it is small") * MESSAGE;
        assert!(confirmed <= bytes, "{confirmed} bytes are called read, and {bytes} were");
        if bytes > 80 << 20 {
            assert!(confirmed > 0, "of so many bytes some are surely read");
        }
        go.send(()).expect("the reader waits");
        assert_eq!(thread.join().expect("the reader ends"), bytes);
    }
}

#[test]
fn reader_that_goes_on_confirms_most() {
    let (receiver, thread, go) = reader(usize::MAX);
    let mut connection = Connection::open(&receiver, Patience::default(), meter).expect("it listens");
    let batches = 5000;
    for _ in 0..batches {
        connection.send(&batch()).expect("it is read");
    }
    let sent = (batches * BATCH) as u64;
    let confirmed = connection.confirmed().expect("it is there");
    assert!(confirmed > sent / 4 && confirmed < sent, "{confirmed} of {sent}");
    assert_eq!(connection.finish(Duration::from_secs(20)), sent);
    drop(go);
    assert_eq!(thread.join().expect("the reader ends"), batches * BATCH * MESSAGE);
}

#[test]
fn reader_that_ends_by_itself_leaves_little_in_doubt() {
    let sent = (20 * BATCH) as u64;
    let (receiver, thread, go) = reader(20 * BATCH * MESSAGE);
    let mut connection = Connection::open(&receiver, Patience::default(), meter).expect("it listens");
    for _ in 0..20 {
        connection.send(&batch()).expect("it is read");
    }
    go.send(()).expect("the reader waits");
    thread.join().expect("the reader ends");
    let error = loop {
        match connection.confirmed() {
            Ok(_) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
    let doubt = (sent - connection.known_confirmed()) * MESSAGE as u64;
    assert!((256 << 10..320 << 10).contains(&doubt), "{doubt} bytes");
}

#[test]
fn reader_that_ends_with_something_unread_has_confirmed_nothing_by_it() {
    let (receiver, thread, go) = reader(10 * BATCH * MESSAGE);
    let mut connection = Connection::open(&receiver, Patience::default(), meter).expect("it listens");
    for _ in 0..20 {
        connection.send(&batch()).expect("its kernel takes it");
    }
    go.send(()).expect("the reader waits");
    thread.join().expect("the reader ends");
    while connection.confirmed().is_ok() {
        thread::yield_now();
    }
    assert_eq!(connection.known_confirmed(), 0);
}
