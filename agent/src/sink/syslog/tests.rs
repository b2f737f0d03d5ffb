//! Messages as they are on the wire, and what is known of them when a receiver reads, stalls, or hangs up.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use super::{super::format::tests::examples, *};
use crate::record::{Format, Record};

mod troubles;

const PATIENCE: Patience = Patience { connect: Duration::from_secs(20), write: Duration::from_secs(20) };

fn messages(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("<134>1 - gw bulkhead - violation - message {number}")).collect()
}

fn receiver(port: u16, transport: Transport) -> Receiver {
    Receiver { host: "127.0.0.1".into(), port, transport }
}

/// A kernel that says nothing of its peers.
fn silent(_: std::os::fd::BorrowedFd<'_>) -> Option<Peer> {
    None
}

/// A peer that has acknowledged everything and has no buffer to speak of.
fn quick(_: std::os::fd::BorrowedFd<'_>) -> Option<Peer> {
    Some(Peer { acknowledged: u64::MAX, window: Some(0), scale: 0 })
}

/// A peer that has acknowledged everything and may have all of it in its buffer.
fn roomy(_: std::os::fd::BorrowedFd<'_>) -> Option<Peer> {
    Some(Peer { acknowledged: u64::MAX, window: Some(0), scale: 7 })
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has one").port();
    (listener, port)
}

fn everything(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("the stream ends in order");
    text
}

#[test]
fn message_has_header_and_structured_data_before_its_text() {
    let encoder = Encoder { format: Format::Native, facility: FACILITY, limit: MAX_DATAGRAM };
    let [violation, gap, heartbeat, _, _] = examples();
    let text = encoder.message(&violation).expect("it fits");
    let head = "<132>1 2026-03-02T10:00:07.250001Z gw-7 bulkhead - violation [bulkhead@32473 gateway=\"gw-7\" \
                boot=\"5f0c2b9a41d84c6e\" seq=\"42\" count=\"3\"] {\"kind\":\"violation\",";
    assert!(text.starts_with(head), "{text}");
    let text = encoder.message(&gap).expect("it fits");
    assert!(text.starts_with("<132>1 2026-03-02T10:00:10.000000Z gw-7 bulkhead - gap ["), "{text}");
    let other = Encoder { facility: 3, format: Format::Cef, ..encoder };
    let text = other.message(&heartbeat).expect("it fits");
    assert!(text.starts_with("<30>1 ") && text.contains("\"] CEF:0|Bulkhead|"), "{text}");
}

#[test]
fn name_of_a_gateway_breaks_no_header() {
    let [violation, ..] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    one.gateway = "g w\"]\\\n\u{2028}ü".into();
    let encoder = Encoder { format: Format::Leef, facility: FACILITY, limit: MAX_DATAGRAM };
    let text = encoder.message(&Record::Violation(one)).expect("it fits");
    assert!(text.contains(" gw bulkhead "), "{text}");
    assert!(text.contains("gateway=\"g w\\\"\\]\\\\\u{fffd}\u{fffd}ü\" boot="), "{text}");
}

#[test]
fn name_of_a_gateway_is_whole_where_there_is_room() {
    let [violation, ..] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    one.gateway = "g".repeat(64);
    let record = Record::Violation(one);
    let encoder = Encoder { format: Format::Native, facility: FACILITY, limit: MAX_DATAGRAM };
    let text = encoder.message(&record).expect("it fits");
    assert!(text.contains(&format!("gateway=\"{}\" boot=", "g".repeat(64))), "{text}");
    let shortest = (300..MAX_DATAGRAM).find_map(|limit| Encoder { limit, ..encoder }.message(&record));
    let text = shortest.expect("it fits");
    assert!(text.contains(&format!("gateway=\"{}\" boot=", "g".repeat(32))), "{text}");
}

#[test]
fn message_that_does_not_fit_loses_its_frame_and_then_is_none() {
    let [violation, ..] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    one.packet = Some("0a".repeat(500));
    one.explanation = "r".repeat(400);
    let record = Record::Violation(one);
    let encoder = Encoder { format: Format::Native, facility: FACILITY, limit: MAX_DATAGRAM };
    let text = encoder.message(&record).expect("it fits without its frame");
    assert!(text.len() <= MAX_DATAGRAM && text.contains("\"packet\":null"), "{text}");
    assert_eq!(Encoder { limit: 300, ..encoder }.message(&record), None);
    assert_eq!(Encoder { limit: 10, ..encoder }.message(&record), None);
}

#[test]
fn longest_record_there_can_be_fits_into_a_datagram_in_every_format() {
    let [violation, _, heartbeat, _, _] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    let Record::Heartbeat(mut pulse) = heartbeat else { panic!("the last is a heartbeat") };
    // Every format and the header have to escape it.
    let long = || "\\".repeat(1000);
    // Our own words have a length: an agent run, a revision, the longest reason, an EtherType.
    let word = |length| "w".repeat(length);
    let ip = || Some("2001:db80:1111:2222:3333:4444:5555:6666".parse().expect("an address"));
    one.gateway = long();
    one.interface = long();
    one.explanation = long();
    one.boot = word(16);
    one.reason = word(24);
    one.protocol = word(6);
    one.device = Some(long());
    one.revision = Some(word(12));
    one.criticality = Some(word(6));
    for end in [&mut one.source, &mut one.destination] {
        end.name = Some(long());
        end.ip = ip();
        end.port = Some(u16::MAX);
    }
    one.icmp = Some(crate::record::Icmp { r#type: 255, code: 255 });
    (one.vlan, one.inner_vlan) = (Some(4095), Some(4095));
    one.scan =
        Some(crate::record::Scan { hosts: u64::MAX, ports: u64::MAX, devices: u64::MAX, at_least: true });
    (one.seq, one.count, one.bytes) = (u64::MAX, u64::MAX, u64::MAX);
    pulse.gateway = long();
    pulse.boot = word(16);
    pulse.revision = Some(word(12));
    pulse.warnings = vec![long(); 20];
    (pulse.seq, pulse.count, pulse.violations) = (u64::MAX, u64::MAX, u64::MAX);
    for record in [Record::Violation(one), Record::Heartbeat(pulse)] {
        for (name, format) in Format::ALL {
            let encoder = Encoder { format, facility: 23, limit: MAX_DATAGRAM };
            let longer = Encoder { limit: 8192, ..encoder };
            assert!(
                encoder.message(&record).is_some(),
                "{name}: {:?}",
                longer.message(&record).map(|text| text.len())
            );
        }
    }
}

#[test]
fn datagram_has_one_message() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let port = socket.local_addr().expect("it has one").port();
    let mut connection =
        Connection::open(&receiver(port, Transport::Udp), PATIENCE, silent).expect("UDP connects to anybody");
    let sent = messages(3);
    connection.send(&sent).expect("it is sent");
    for message in &sent {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("it has come");
        assert_eq!(&buffer[..length], message.as_bytes());
    }
    assert_eq!(connection.confirmed().expect("there is nothing to break"), 3);
}

#[test]
fn streams_say_where_a_message_ends() {
    let sent = messages(2);
    let expected = [
        (Framing::OctetCounting, "47 <134>1 - gw bulkhead - violation - message 0"),
        (Framing::Newline, "<134>1 - gw bulkhead - violation - message 0\n"),
    ];
    for (framing, begin) in expected {
        let (listener, port) = listen();
        let reader = thread::spawn(move || everything(listener.accept().expect("somebody connects").0));
        let mut connection =
            Connection::open(&receiver(port, Transport::Tcp(framing)), PATIENCE, quick).expect("it listens");
        connection.send(&sent).expect("it is sent");
        assert_eq!(connection.confirmed().expect("it is there"), 0, "nobody knows yet");
        assert_eq!(connection.finish(PATIENCE.write), 2, "a reader that ends in order has read everything");
        let text = reader.join().expect("the reader ends");
        let begin = begin.replacen("47", &sent[0].len().to_string(), 1);
        assert!(text.starts_with(&begin), "{text}");
    }
}

#[test]
fn end_of_which_the_kernel_tells_nothing_confirms_nothing() {
    let (listener, port) = listen();
    let reader = thread::spawn(move || everything(listener.accept().expect("somebody connects").0));
    let mut connection =
        Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), PATIENCE, silent)
            .expect("it listens");
    connection.send(&messages(2)).expect("it is sent");
    assert_eq!(connection.finish(PATIENCE.write), 0);
    reader.join().expect("the reader ends");
}

#[test]
fn reader_that_hangs_up_before_the_end_has_confirmed_nothing() {
    let (listener, port) = listen();
    let mut connection = Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), PATIENCE, quick)
        .expect("it listens");
    let (peer, _) = listener.accept().expect("somebody connects");
    connection.send(&messages(100)).expect("the kernel takes it");
    let mut byte = [0];
    (&peer).read_exact(&mut byte).expect("it has come");
    drop(peer);
    assert_eq!(connection.finish(PATIENCE.write), 0);
}

#[test]
fn reader_that_ends_by_itself_has_read_all_but_what_it_may_have_held() {
    let (listener, port) = listen();
    let target = receiver(port, Transport::Tcp(Framing::Newline));
    let mut connection = Connection::open(&target, PATIENCE, roomy).expect("it listens");
    let sent = messages(20_000);
    let bytes: usize = sent.iter().map(|message| message.len() + 1).sum();
    let reader = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody connects");
        peer.read_exact(&mut vec![0; bytes]).expect("it comes");
    });
    connection.send(&sent).expect("it is read");
    reader.join().expect("the reader ends");
    let error = loop {
        match connection.confirmed() {
            Ok(confirmed) => assert_eq!(confirmed, 0, "it may lie in a kernel"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::Closed { .. }), "{error}");
    let confirmed = connection.known_confirmed();
    assert!((10_000..20_000).contains(&confirmed), "{confirmed}");
}

#[test]
fn what_many_bytes_follow_is_confirmed() {
    let (listener, port) = listen();
    let reader = thread::spawn(move || everything(listener.accept().expect("somebody connects").0).len());
    let mut connection = Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), PATIENCE, quick)
        .expect("it listens");
    connection.send(&messages(20_000)).expect("it is read");
    let confirmed = connection.confirmed().expect("it is there");
    assert!((10_000..20_000).contains(&confirmed), "{confirmed}");
    assert_eq!(connection.known_confirmed(), confirmed);
    drop(connection);
    assert!(reader.join().expect("the reader ends") > 800_000);
}

#[test]
fn peer_that_is_gone_is_noticed_by_whoever_asks() {
    let (listener, port) = listen();
    let mut connection =
        Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), PATIENCE, silent)
            .expect("it listens");
    let (peer, _) = listener.accept().expect("somebody connects");
    assert_eq!(connection.confirmed().expect("it is there"), 0);
    drop(peer);
    let error = loop {
        match connection.confirmed() {
            Ok(_) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), format!("`127.0.0.1:{port}` has closed the connection"));
}

#[test]
fn reader_that_stalls_is_an_error_and_not_a_wait_without_end() {
    let (listener, port) = listen();
    let patience = Patience { write: Duration::from_millis(200), ..PATIENCE };
    let mut connection =
        Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), patience, silent)
            .expect("it listens");
    let peer = listener.accept().expect("somebody connects");
    let batch = vec!["x".repeat(4000); 1000];
    let error = loop {
        if let Err(error) = connection.send(&batch) {
            break error;
        }
    };
    assert!(matches!(error, SendError::Slow { .. } | SendError::Write { .. }), "{error}");
    assert_eq!(connection.known_confirmed(), 0);
    drop(peer);
}

#[test]
fn reader_that_takes_a_little_at_a_time_is_an_error_too() {
    let (listener, port) = listen();
    let patience = Patience { write: Duration::from_millis(200), ..PATIENCE };
    let mut connection =
        Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), patience, silent)
            .expect("it listens");
    let (mut peer, _) = listener.accept().expect("somebody connects");
    let reader = thread::spawn(move || {
        let mut some = vec![0; 256 << 10];
        while peer.read(&mut some).is_ok_and(|read| read > 0) {
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    // More than both kernels hold, and more than is read in that time.
    let error = connection.send(&["x".repeat(64 << 20)]).expect_err("it is too slow");
    assert!(matches!(error, SendError::Slow { .. }), "{error}");
    drop(connection);
    reader.join().expect("the reader ends");
}

#[test]
fn peer_that_drips_its_handshake_is_given_up() {
    let plant = plant(false);
    let (listener, port) = listen();
    let drip = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody connects");
        // A handshake record of 200 bytes (RFC 8446 5.1), which is none.
        let record = [&[22, 3, 3, 0, 200][..], &[0; 200]].concat();
        for byte in record {
            if peer.write_all(&[byte]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    let patience = Patience { connect: Duration::from_millis(200), ..PATIENCE };
    let target = receiver(port, Transport::Tls(tls(&plant, "siem.example", false)));
    let error = Connection::open(&target, patience, silent).err().expect("there is no handshake").to_string();
    assert!(error.starts_with("no TLS answer from `127.0.0.1:"), "{error}");
    drip.join().expect("it ends");
}

#[test]
fn nobody_there_is_an_error_with_the_address() {
    let (listener, port) = listen();
    drop(listener);
    let found = Connection::open(&receiver(port, Transport::Tcp(Framing::Newline)), PATIENCE, silent);
    let error = found.err().expect("nobody listens").to_string();
    assert!(error.starts_with(&format!("failed to connect to `127.0.0.1:{port}`: ")), "{error}");
}

#[test]
fn waits_grow_to_a_bound_and_start_anew_after_success() {
    let mut back_off = BackOff::default();
    let waits: Vec<u128> = (0..8).map(|_| back_off.failed().as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    back_off.succeeded();
    assert_eq!(back_off.failed().as_millis(), 500);
}

/// A certificate that vouches for itself, with its key, as files.
struct Plant {
    folder: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

fn pem(path: &Path, what: &str, der: &[u8]) {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("it is ASCII")).collect();
    let text = format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"));
    fs::write(path, text).expect("it can be written");
}

/// A receiver called `siem.example`; with `clients`, one that asks who connects.
fn plant(clients: bool) -> Plant {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let made = rcgen::generate_simple_self_signed(["siem.example".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    pem(&folder.path().join("ca.pem"), "CERTIFICATE", &certificate);
    pem(&folder.path().join("key.pem"), "PRIVATE KEY", &key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the defaults fit");
    let builder = if clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is a certificate");
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.expect("there is a root"))
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key).expect("it is a key");
    let server = builder.with_single_cert(vec![certificate], key).expect("they belong together");
    Plant { folder, server: Arc::new(server) }
}

/// What the receiver read, if it came to that.
fn serve(server: Arc<ServerConfig>, listener: TcpListener) -> thread::JoinHandle<std::io::Result<String>> {
    thread::spawn(move || {
        let (socket, _): (TcpStream, _) = listener.accept()?;
        let mut stream = StreamOwned::new(ServerConnection::new(server).expect("a server"), socket);
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(text)
    })
}

fn tls(plant: &Plant, name: &str, identity: bool) -> Tls {
    let path = |file: &str| plant.folder.path().join(file);
    Tls {
        ca: Some(path("ca.pem")),
        identity: identity.then(|| Identity { certificate: path("ca.pem"), key: path("key.pem") }),
        server_name: Some(name.to_owned()),
    }
}

#[test]
fn receiver_that_proves_its_name_gets_the_messages() {
    for clients in [false, true] {
        let plant = plant(clients);
        let (listener, port) = listen();
        let reader = serve(plant.server.clone(), listener);
        let target = receiver(port, Transport::Tls(tls(&plant, "siem.example", clients)));
        let mut connection = Connection::open(&target, PATIENCE, quick).expect("the name is right");
        connection.send(&messages(2)).expect("it is sent");
        connection.confirmed().expect("it is there");
        assert_eq!(connection.finish(PATIENCE.write), 2);
        let text = reader.join().expect("the reader ends").expect("TLS ends in order");
        let first = &messages(1)[0];
        assert!(text.starts_with(&format!("{} {first}", first.len())), "{text}");
    }
}

#[test]
fn receiver_of_another_name_gets_nothing() {
    let plant = plant(false);
    let (listener, port) = listen();
    let reader = serve(plant.server.clone(), listener);
    let target = receiver(port, Transport::Tls(tls(&plant, "other.example", false)));
    let error = Connection::open(&target, PATIENCE, quick).err().expect("the name is wrong").to_string();
    assert!(error.starts_with(&format!("failed to begin TLS with `127.0.0.1:{port}`: ")), "{error}");
    assert!(error.contains("not valid for name"), "{error}");
    reader.join().expect("the reader ends").expect_err("the handshake failed");
}

#[test]
fn receiver_that_wants_a_certificate_gets_nothing_without() {
    let plant = plant(true);
    let (listener, port) = listen();
    let reader = serve(plant.server.clone(), listener);
    let target = receiver(port, Transport::Tls(tls(&plant, "siem.example", false)));
    // With TLS 1.3 the refusal comes after the handshake.
    let confirmed = match Connection::open(&target, PATIENCE, quick) {
        Err(_) => 0,
        Ok(mut connection) => {
            let _ = connection.send(&messages(1));
            connection.finish(PATIENCE.write)
        }
    };
    reader.join().expect("the reader ends").expect_err("nobody proved anything");
    assert_eq!(confirmed, 0);
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let plant = plant(false);
    let missing = Tls { ca: Some("/nowhere/ca.pem".into()), ..Tls::default() };
    let empty = plant.folder.path().join("empty.pem");
    fs::write(&empty, "nothing\n").expect("it can be written");
    let none = Tls { ca: Some(empty.clone()), ..Tls::default() };
    for (tls, path) in [(missing, Path::new("/nowhere/ca.pem")), (none, empty.as_path())] {
        let error = Connection::open(&receiver(1, Transport::Tls(tls)), PATIENCE, silent);
        let error = error.err().expect("there is no certificate").to_string();
        assert!(error.starts_with(&format!("failed to use `{}`: ", path.display())), "{error}");
    }
}
