//! Names as a plant has them: dnsmasq knows them, hosts ask it.
//!
//! In: hosts of a lab, names with their addresses. Out: a resolver, and what it answers.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{Namespace, dhcp::Talker, topology::Host};

/// The program of this module, for [`super::stacks::requires`].
pub const PROGRAMS: [&str; 1] = ["dnsmasq"];
/// Where resolvers answer (RFC 1035 4.2.1).
pub const PORT: u16 = 53;
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a message's head, and of the type and class behind a name (RFC 1035 4.1.1, 4.1.2).
const HEAD: usize = 12;
const QUESTION_TAIL: [u8; 4] = [0, 1, 0, 1];

/// A resolver that knows some names.
pub struct NameServer(#[expect(dead_code, reason = "answers as long as it is held")] Talker);

impl NameServer {
    /// Answers on `host` when this returns: each name has one address, valid for so many seconds; `aliases` are names of
    /// names.
    pub fn start(
        host: &Host,
        names: &[(&str, Ipv4Addr)],
        aliases: &[(&str, &str)],
        seconds: u32,
    ) -> Result<Self> {
        Self::on((&host.namespace, host.interface), names, aliases, seconds)
    }

    /// The same on an interface of any namespace.
    pub fn on(
        (namespace, interface): (&Namespace, &str),
        names: &[(&str, Ipv4Addr)],
        aliases: &[(&str, &str)],
        seconds: u32,
    ) -> Result<Self> {
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "-C", "/dev/null"]);
        // As root: a process that changes its user no longer dies with the test that started it.
        command.args(["--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.arg(format!("--interface={}", interface));
        for (name, address) in names {
            command.arg(format!("--host-record={name},{address},{seconds}"));
        }
        for (alias, name) in aliases {
            command.arg(format!("--cname={alias},{name},{seconds}"));
        }
        let mut server = Talker::start(namespace, command)?;
        server.wait_for("the resolver", |said| said.contains("started, version"))?;
        Ok(Self(server))
    }
}

/// A question for the IPv4 address of a name (RFC 1035 4.1).
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    // Recursion desired, one question.
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(QUESTION_TAIL);
    message
}

/// An answer to a question: its name is at this address for so many seconds.
pub fn answer(question: &[u8], address: Ipv4Addr, seconds: u32) -> Vec<u8> {
    let mut message = question.to_vec();
    // A response without error, one answer.
    message[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    // The name is that of the question.
    message.extend([0xc0, 12, 0, 1, 0, 1]);
    message.extend(seconds.to_be_bytes());
    message.extend([0, 4]);
    message.extend(address.octets());
    message
}

/// Asks a resolver from a host for the address of a name, and returns the last address of the answer.
pub fn resolve(from: &Host, server: Ipv4Addr, name: &str) -> Result<Ipv4Addr> {
    let socket = from.namespace.run(|| UdpSocket::bind((from.ip, 0)))?;
    socket.connect(SocketAddrV4::new(server, PORT))?;
    socket.set_read_timeout(Some(ANSWERED_WITHIN))?;
    ask(&socket, name)
}

/// The same from a socket that is connected with the resolver.
pub fn ask(socket: &UdpSocket, name: &str) -> Result<Ipv4Addr> {
    let question = question(7, name);
    socket.send(&question)?;
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).with_context(|| format!("no answer for `{name}`"))?;
    let answer = &answer[..len];
    ensure!(len > question.len() && answer[..2] == question[..2], "not an answer to `{name}`");
    if answer[3] & 15 != 0 || answer[7] == 0 || len < HEAD {
        bail!("`{name}` has no address: code {}, {} records", answer[3] & 15, answer[7]);
    }
    let octets: [u8; 4] = answer[len - 4..].try_into()?;
    Ok(octets.into())
}
