//! Every format over every transport, to a real rsyslog: what it writes is what was sent, and nobody else gets anything.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::BorrowedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bulkhead_agent::{
    dataplane::tcp_peer,
    record::{Format, Record},
    sink::syslog::{
        Connection, Encoder, FACILITY, Framing, Identity, Patience, Peer, Receiver, SendError, Tls, Transport,
    },
};
use bulkhead_tests::lab::wait::wait_for;
use tempfile::TempDir;

mod formats {
    pub(super) mod hostile;
}
mod receiver;
use formats::hostile::Random;
use receiver::{NAME, certificates, program};

const WITHIN: Duration = Duration::from_secs(30);

/// A running rsyslog with what it needs.
struct Rsyslog {
    folder: TempDir,
    child: Child,
    udp: u16,
    tcp: u16,
    tls: u16,
    /// TLS for who proves to be somebody.
    closed: u16,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> (u16, [u16; 3]) {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let tcp = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"));
    let port = |listener: &TcpListener| listener.local_addr().expect("it has one").port();
    (udp.local_addr().expect("it has one").port(), [port(&tcp[0]), port(&tcp[1]), port(&tcp[2])])
}

fn rsyslog(test: &str) -> Option<Rsyslog> {
    let program = program(test)?;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    certificates(folder.path());
    let (udp, [tcp, tls, closed]) = free_ports();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let to = |name: &str| {
        format!(
            "ruleset(name=\"{name}\") {{ action(type=\"omfile\" file=\"{}\" template=\"whole\") }}\n",
            at(&format!("{name}.log"))
        )
    };
    let tcp_input = |name: &str, port: u16, more: &str| {
        format!("input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"{name}\"{more})\n")
    };
    let driver = |mode: &str| {
        format!(" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"{mode}\"")
    };
    let config = [
        format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"16k\" parser.escapeControlCharactersOnReceive=\"off\" \
             defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" \
             defaultNetstreamDriverKeyFile=\"{}\")\nmodule(load=\"imudp\")\nmodule(load=\"imtcp\")\n",
            folder.path().display(),
            at("ca.pem"),
            at("server.pem"),
            at("server.key")
        ),
        "template(name=\"whole\" type=\"string\" string=\"%syslogfacility-text% %hostname% %msgid% %rawmsg%\\n\")\n".to_owned(),
        ["udp", "tcp", "tls", "closed"].map(to).concat(),
        format!("input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\" ruleset=\"udp\")\n"),
        tcp_input("tcp", tcp, ""),
        tcp_input("tls", tls, &driver("anon")),
        tcp_input("closed", closed, &driver("x509/certvalid")),
    ];
    fs::write(folder.path().join("rsyslog.conf"), config.concat()).expect("it can be written");
    let log = fs::File::create(folder.path().join("rsyslog.err")).expect("it can be made");
    let child = Command::new(program)
        .args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("rsyslog.pid")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("rsyslogd starts");
    let mut rsyslog = Rsyslog { folder, child, udp, tcp, tls, closed };
    let listens = wait_for("rsyslog to listen", WITHIN, || {
        if let Some(status) = rsyslog.child.try_wait()? {
            anyhow::bail!("it ended: {status}");
        }
        let all =
            [tcp, tls, closed].iter().all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok());
        // A UDP port that nobody has can be had.
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, udp)).is_err();
        Ok((all && taken).then_some(()))
    });
    if let Err(error) = listens {
        panic!(
            "{error:#}\n{}",
            fs::read_to_string(rsyslog.folder.path().join("rsyslog.err")).unwrap_or_default()
        );
    }
    Some(rsyslog)
}

impl Rsyslog {
    fn receiver(&self, port: u16, transport: Transport) -> Receiver {
        Receiver { host: "127.0.0.1".into(), port, transport }
    }

    fn tls(&self, name: &str, identity: bool) -> Transport {
        let at = |file: &str| self.folder.path().join(file);
        Transport::Tls(Tls {
            ca: Some(at("ca.pem")),
            identity: identity.then(|| Identity { certificate: at("client.pem"), key: at("client.key") }),
            server_name: Some(name.to_owned()),
        })
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let mut bytes = fs::read(self.folder.path().join(format!("{name}.log"))).unwrap_or_default();
        // What is being written has no end yet.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        String::from_utf8(bytes).expect("it is UTF-8").lines().map(str::to_owned).collect()
    }

    fn wait_lines(&self, name: &str, wanted: &[String]) {
        let there = wait_for("the messages", WITHIN, || {
            let lines = self.lines(name);
            Ok((lines.len() >= wanted.len()).then_some(lines))
        });
        let mut there = there.unwrap_or_else(|error| panic!("{error:#}: {} lines", self.lines(name).len()));
        let mut wanted = wanted.to_vec();
        // Several threads of it write.
        there.sort();
        wanted.sort();
        for (there, wanted) in there.iter().zip(&wanted) {
            assert_eq!(there, wanted, "{name}");
        }
        assert_eq!(there.len(), wanted.len(), "{name}");
    }
}

/// Records with hostile names in every format, as messages, and what rsyslog is to make of each.
fn messages(limit: usize) -> (Vec<String>, Vec<String>) {
    let mut sent = Vec::new();
    let mut wanted = Vec::new();
    for seed in 0..100 {
        let record = Random::new(seed).record();
        let kind = match &record {
            Record::Violation(_) => "violation",
            Record::Gap(_) => "gap",
            Record::Heartbeat(_) => "heartbeat",
            Record::Alarm(_) => "alarm",
            Record::Inventory(_) => "inventory",
        };
        for (_, format) in Format::ALL {
            let encoder = Encoder { format, facility: FACILITY, limit };
            let message = encoder.message(&record).expect("it fits");
            let host = message.split(' ').nth(2).expect("a host").to_owned();
            // An absent name is an empty one to rsyslog's property.
            wanted.push(format!("local0 {host} {kind} {message}"));
            sent.push(message);
        }
    }
    (sent, wanted)
}

fn meter(socket: BorrowedFd<'_>) -> Option<Peer> {
    tcp_peer(socket).map(|peer| Peer {
        acknowledged: peer.acknowledged,
        window: peer.window,
        scale: peer.scale,
    })
}

fn open(receiver: &Receiver) -> Result<Connection, SendError> {
    Connection::open(receiver, Patience::default(), meter)
}

#[test]
fn rsyslog_gets_every_format_over_udp() {
    let Some(rsyslog) = rsyslog("rsyslog_gets_every_format_over_udp") else { return };
    let receiver = rsyslog.receiver(rsyslog.udp, Transport::Udp);
    let (sent, wanted) = messages(receiver.transport.longest());
    let mut connection = open(&receiver).expect("UDP connects to anybody");
    // Few at a time: a socket's buffer is all that UDP has.
    for (at, some) in sent.chunks(20).enumerate() {
        connection.send(some).expect("they are sent");
        let so_far = at * 20 + some.len();
        wait_for("the datagrams", WITHIN, || Ok((rsyslog.lines("udp").len() >= so_far).then_some(())))
            .expect("each arrives");
    }
    rsyslog.wait_lines("udp", &wanted);
}

#[test]
fn rsyslog_gets_every_format_over_tcp_in_either_framing() {
    let Some(rsyslog) = rsyslog("rsyslog_gets_every_format_over_tcp_in_either_framing") else { return };
    let mut all = Vec::new();
    for framing in [Framing::OctetCounting, Framing::Newline] {
        let receiver = rsyslog.receiver(rsyslog.tcp, Transport::Tcp(framing));
        let (sent, wanted) = messages(receiver.transport.longest());
        let mut connection = open(&receiver).expect("it listens");
        connection.send(&sent).expect("they are sent");
        assert_eq!(connection.finish(WITHIN), sent.len() as u64, "it ends when it has read everything");
        all.extend(wanted);
        rsyslog.wait_lines("tcp", &all);
    }
}

#[test]
fn rsyslog_gets_every_format_over_tls_once_it_has_proved_its_name() {
    let Some(rsyslog) = rsyslog("rsyslog_gets_every_format_over_tls_once_it_has_proved_its_name") else {
        return;
    };
    let wrong = rsyslog.receiver(rsyslog.tls, rsyslog.tls("other.example", false));
    let error = open(&wrong).err().expect("it is not of that name").to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let nobody = Transport::Tls(Tls {
        ca: Some(rsyslog.folder.path().join("client.pem")),
        server_name: Some(NAME.to_owned()),
        ..Tls::default()
    });
    let error =
        open(&rsyslog.receiver(rsyslog.tls, nobody)).err().expect("nobody vouches for it").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");

    let receiver = rsyslog.receiver(rsyslog.tls, rsyslog.tls(NAME, false));
    let (sent, wanted) = messages(receiver.transport.longest());
    let mut connection = open(&receiver).expect("it proves its name");
    connection.send(&sent).expect("they are sent");
    assert_eq!(connection.finish(WITHIN), sent.len() as u64, "it ends when it has read everything");
    rsyslog.wait_lines("tls", &wanted);
}

#[test]
fn rsyslog_that_asks_who_sends_takes_from_nobody_else() {
    let Some(rsyslog) = rsyslog("rsyslog_that_asks_who_sends_takes_from_nobody_else") else { return };
    let anonymous = rsyslog.receiver(rsyslog.closed, rsyslog.tls(NAME, false));
    let (sent, wanted) = messages(anonymous.transport.longest());
    if let Ok(mut connection) = open(&anonymous) {
        // With TLS 1.3 the refusal comes after the client has begun.
        let _ = connection.send(&sent);
        assert_eq!(connection.known_confirmed(), 0);
    }
    let known = rsyslog.receiver(rsyslog.closed, rsyslog.tls(NAME, true));
    let mut connection = open(&known).expect("it knows the gateway");
    connection.send(&sent).expect("they are sent");
    assert_eq!(connection.finish(WITHIN), sent.len() as u64, "it ends when it has read everything");
    rsyslog.wait_lines("closed", &wanted);
}
