//! Addresses by DHCP as a plant has them: dnsmasq serves, udhcpc asks, renews and takes the address into use.
//!
//! In: hosts of a lab. Out: a server that has one address to give, and a client that says what it got.

use std::{
    io::{BufRead, BufReader, PipeReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Namespace, link::Mac, modbus::lock, topology::Host, wait::wait_for};

/// The programs of this module, for [`super::stacks::requires`].
pub const PROGRAMS: [&str; 3] = ["busybox", "dnsmasq", "udhcpc"];
/// Four messages; udhcpc asks again every second.
const LEASED_WITHIN: Duration = Duration::from_secs(15);

/// A program that talks, until it is dropped.
pub(super) struct Talker {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Talker {
    pub(super) fn start(namespace: &Namespace, mut command: Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = namespace.spawn_child(command).with_context(|| format!("failed to start `{name}`"))?;
        let said = Arc::new(Mutex::new(String::new()));
        thread::spawn({
            let said = Arc::clone(&said);
            move || listen(reader, &said)
        });
        Ok(Self { child, said })
    }

    fn said(&self) -> String {
        lock(&self.said).clone()
    }

    pub(super) fn wait_for(&mut self, what: &str, enough: impl Fn(&str) -> bool) -> Result<()> {
        let waited = wait_for(what, LEASED_WITHIN, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            Ok(enough(&self.said()).then_some(()))
        });
        waited.map_err(|error| anyhow!("{error:#}; it said:\n{}", self.said()))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn listen(reader: PipeReader, said: &Mutex<String>) {
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        let mut said = lock(said);
        said.push_str(&line);
        said.push('\n');
    }
}

/// A DHCP server with one reservation.
pub struct DhcpServer(#[expect(dead_code, reason = "serves as long as it is held")] Talker);

impl DhcpServer {
    /// Serves on `host` when this returns: `address` for `client`, for so many seconds (120 at least, says dnsmasq).
    pub fn start(host: &Host, client: Mac, address: Ipv4Addr, seconds: u32) -> Result<Self> {
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "-C", "/dev/null"]);
        // As root: a process that changes its user no longer dies with the test that started it.
        command.args(["--user=root", "--pid-file=", "--port=0", "--bind-interfaces", "--leasefile-ro"]);
        command.args(["--dhcp-authoritative", "--no-ping"]).arg(format!("--interface={}", host.interface));
        let [a, b, c, _] = address.octets();
        command.arg(format!("--dhcp-range={a}.{b}.{c}.0,static,255.255.255.0,{seconds}s"));
        command.arg(format!("--dhcp-host={client},{address},{seconds}s"));
        let mut server = Talker::start(&host.namespace, command)?;
        server.wait_for("the DHCP server", |said| said.contains("sockets bound exclusively"))?;
        Ok(Self(server))
    }
}

/// A DHCP client that keeps its lease.
pub struct DhcpClient {
    talker: Talker,
    leases: usize,
}

impl DhcpClient {
    /// Asks for an address at the host's interface, over and over; `words` are more of udhcpc's options.
    pub fn start(host: &Host, words: &[&str]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/udhcpc.sh");
        let mut command = Command::new("udhcpc");
        command.args(["-f", "-i", host.interface, "-t", "3", "-T", "1", "-A", "1", "-s"]).arg(script);
        command.args(words);
        Ok(Self { talker: Talker::start(&host.namespace, command)?, leases: 0 })
    }

    /// Waits for a lease besides those that were waited for; its address is in use when this returns.
    pub fn wait_for_lease(&mut self, address: Ipv4Addr) -> Result<()> {
        let words = format!("using {address}\n");
        let goal = self.leases + 1;
        self.talker.wait_for("a lease", |said| said.matches(&words).count() >= goal)?;
        self.leases = goal;
        Ok(())
    }

    /// Asks the server for more time (RFC 2131 4.4.5, RENEWING), as it would when half of it is over.
    pub fn renew(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.talker.child.id())?);
        kill(pid, Signal::SIGUSR1).context("failed to ask the DHCP client to renew")
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        self.talker.said()
    }
}
