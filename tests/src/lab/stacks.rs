//! Other people's protocol stacks in the lab: nothing proves that legitimate traffic survives like the programs a plant
//! runs.
//!
//! In: a lab. Out: servers that listen, and what became of each operation of a client. The drivers are in
//! `tests/stacks`, one for each protocol; `cargo xtask stacks` installs what they need below the target directory.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    topology::{Host, Lab, PLC},
    wait::wait_for,
};

/// What the tests start, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox"),
    ("dnsmasq", "dnsmasq-base"),
    ("hping3", "hping3"),
    ("mosquitto", "mosquitto"),
    ("nmap", "nmap"),
    ("python3", "python3"),
    ("snmpd", "snmpd"),
    ("snmpget", "snmp"),
    ("udhcpc", "udhcpc"),
];
/// A server that imports half of Python on a busy machine needs seconds.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// A driver whose every operation waits in vain is done long before.
const DRIVEN_WITHIN: Duration = Duration::from_secs(60);

/// Where a checkout keeps what the stacks need.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Of the checkout at `root`.
    pub fn of(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    fn here() -> Self {
        Self::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
    }

    /// The drivers and configurations.
    pub fn drivers(&self) -> PathBuf {
        self.root.join("tests/stacks")
    }

    /// The Python packages and their versions.
    pub fn requirements(&self) -> PathBuf {
        self.drivers().join("requirements.txt")
    }

    /// The Python environment.
    pub fn venv(&self) -> PathBuf {
        self.root.join("target/stacks/venv")
    }

    /// Its interpreter.
    pub fn python(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// The requirements that the environment was made for; absent while it is being made.
    pub fn stamp(&self) -> PathBuf {
        self.venv().join("made-for.txt")
    }

    /// What servers write.
    fn state(&self) -> PathBuf {
        self.root.join("target/stacks/state")
    }
}

/// The Debian packages that this machine lacks.
pub fn missing_packages() -> BTreeSet<&'static str> {
    let mut missing = lacking(|_| true);
    let has_venv =
        Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    if !missing.contains("python3") && !has_venv.is_ok_and(|status| status.success()) {
        missing.insert("python3-venv");
    }
    missing
}

fn lacking(wanted: impl Fn(&str) -> bool) -> BTreeSet<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing = PROGRAMS.iter().filter(|(program, _)| wanted(program) && !found(program));
    missing.map(|(_, package)| *package).collect()
}

/// Whether a test that starts only these programs can run here.
pub fn requires(programs: &[&str]) -> Result<(), String> {
    super::requirements()?;
    let missing: Vec<&str> = lacking(|program| programs.contains(&program)).into_iter().collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("packages are missing: {}", missing.join(" "))) }
}

/// Whether the drivers can run here, beyond what the lab itself needs.
pub fn requirements() -> Result<(), String> {
    super::requirements()?;
    let missing = missing_packages();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.into_iter().collect();
        return Err(format!("packages are missing: {} (see `cargo xtask stacks`)", packages.join(" ")));
    }
    let folder = Folder::here();
    let wanted = fs::read_to_string(folder.requirements()).map_err(|error| error.to_string())?;
    if !fs::read_to_string(folder.stamp()).is_ok_and(|made_for| made_for == wanted) {
        return Err(
            "the Python packages are missing or not those wanted: run `cargo xtask stacks`".to_owned()
        );
    }
    Ok(())
}

/// What a server opens when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// A listening TCP port.
    Tcp(u16),
    /// A bound UDP port.
    Udp(u16),
}

impl Listens {
    /// The port.
    pub fn port(self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Udp(port) => port,
        }
    }
}

type Program = fn(&Folder, &Lab) -> Command;

/// A protocol: who serves, who asks, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// The driver is `drive_<name>.py`.
    pub name: &'static str,
    /// What a policy calls it.
    pub service: &'static str,
    /// The host that answers.
    pub server: &'static str,
    /// The host that asks.
    pub client: &'static str,
    /// Where the server answers.
    pub listens: Listens,
    /// The server's own program, or `None` when the driver serves too.
    program: Option<Program>,
}

/// The protocols with a server that answers to an address: some the PLC offers, some it uses.
pub const STACKS: [Stack; 7] = [
    offered("modbus", Listens::Tcp(502), None),
    offered("s7", Listens::Tcp(102), None),
    offered("iec104", Listens::Tcp(2404), None),
    offered("snmp", Listens::Udp(161), Some(snmpd)),
    used("mqtt", Listens::Tcp(1883), Some(mosquitto)),
    used("dns", Listens::Udp(53), Some(dnsmasq)),
    used("ntp", Listens::Udp(123), None),
];

/// The protocols that never leave their network, so that they need a bridge: discovery by broadcast and multicast, and
/// addresses.
pub const LINK_STACKS: [Stack; 3] = [
    offered("bacnet", Listens::Udp(47808), None),
    offered("mdns", Listens::Udp(5353), None),
    used("dhcp", Listens::Udp(67), Some(dhcp)),
];

const fn offered(name: &'static str, listens: Listens, program: Option<Program>) -> Stack {
    Stack { name, service: name, server: PLC, client: "hmi", listens, program }
}

const fn used(name: &'static str, listens: Listens, program: Option<Program>) -> Stack {
    Stack { name, service: name, server: "historian", client: PLC, listens, program }
}

fn snmpd(folder: &Folder, lab: &Lab) -> Command {
    let mut command = Command::new("snmpd");
    command.args(["-f", "-Lo", "-C", "-c"]).arg(folder.drivers().join("snmpd.conf"));
    command.arg(format!("udp:{}:161", lab.host(PLC).ip));
    command
}

fn mosquitto(folder: &Folder, _lab: &Lab) -> Command {
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(folder.drivers().join("mosquitto.conf"));
    command
}

fn dnsmasq(folder: &Folder, _lab: &Lab) -> Command {
    let mut command = Command::new("dnsmasq");
    command
        .args(["--keep-in-foreground", "--log-facility=-", "-C"])
        .arg(folder.drivers().join("dnsmasq.conf"));
    command
}

/// The PLC has a reservation: a device of a policy keeps its address.
fn dhcp(folder: &Folder, lab: &Lab) -> Command {
    let Host { mac, ip, .. } = lab.plc();
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--log-facility=-", "-C"]).arg(folder.drivers().join("dhcp.conf"));
    command.arg(format!("--dhcp-host={mac},{ip}"));
    command
}

/// A server that runs until this is dropped.
pub struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a driver said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The operations that passed, in order.
    pub passed: Vec<String>,
    /// Those that failed, each with its reason.
    pub failed: Vec<String>,
    /// Everything it printed, for whoever looks into a failure.
    pub said: String,
}

impl Stack {
    /// Starts the server; it listens when this returns.
    pub fn serve(&self, lab: &Lab) -> Result<Server> {
        let (folder, host) = (Folder::here(), lab.host(self.server));
        let command = match self.program {
            Some(program) => prepared(&folder, program(&folder, lab))?,
            None => driver(&folder, self.name, "serve", &host.ip.to_string())?,
        };
        self.start(&folder, host, command).with_context(|| format!("the server of `{}`", self.name))
    }

    fn start(&self, folder: &Folder, host: &Host, mut command: Command) -> Result<Server> {
        let log = folder.state().join(format!("{}.log", self.name));
        let file = File::create(&log).context("failed to make a log")?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut server = Server { child: host.namespace.spawn_child(command)? };
        wait_for("the port to be open", LISTENS_WITHIN, || {
            if let Some(status) = server.child.try_wait()? {
                bail!("it ended: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            Ok(is_open(host, self.listens)?.then_some(()))
        })?;
        Ok(server)
    }

    /// Runs the client to its end, whatever that is.
    pub fn drive(&self, lab: &Lab) -> Result<Outcome> {
        let server = lab.host(self.server).ip.to_string();
        let command = driver(&Folder::here(), self.name, "drive", &server)?;
        let (status, said) = run(lab.host(self.client), command, DRIVEN_WITHIN)
            .with_context(|| format!("the driver of `{}`", self.name))?;
        let lines =
            |word: &str| said.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect();
        let outcome = Outcome { passed: lines("PASS "), failed: lines("FAIL "), said: said.clone() };
        match (status.code(), outcome.failed.is_empty(), outcome.passed.is_empty()) {
            (Some(0), true, false) | (Some(1), false, _) => Ok(outcome),
            (_, _, _) => bail!("the driver of `{}` broke: {status}\n{said}", self.name),
        }
    }
}

/// Runs a program on a host until it ends, and returns what it printed on both ways out. It is killed `within`.
pub fn run(host: &Host, mut command: Command, within: Duration) -> Result<(ExitStatus, String)> {
    let (mut reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let name = command.get_program().to_string_lossy().into_owned();
    let child = host.namespace.spawn_child(command).with_context(|| format!("failed to start `{name}`"))?;
    // A full pipe would stop the program.
    let reading = thread::spawn(move || {
        let mut said = Vec::new();
        reader.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned())
    });
    let mut child = Server { child };
    let status = wait_for(&format!("`{name}` to end"), within, || Ok(child.child.try_wait()?));
    drop(child);
    let said = reading.join().expect("reading does not panic").context("failed to read its output")?;
    Ok((status.with_context(|| said.clone())?, said))
}

fn driver(folder: &Folder, name: &str, role: &str, address: &str) -> Result<Command> {
    let mut command = Command::new(folder.python());
    command.arg(folder.drivers().join(format!("drive_{name}.py"))).args([role, address]);
    prepared(folder, command)
}

/// Nothing is written into the checkout or the machine's own directories.
fn prepared(folder: &Folder, mut command: Command) -> Result<Command> {
    fs::create_dir_all(folder.state()).context("failed to make a directory for the servers")?;
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("SNMP_PERSISTENT_DIR", folder.state().join("snmp"));
    Ok(command)
}

fn is_open(host: &Host, listens: Listens) -> Result<bool> {
    let (table, wanted, port) = match listens {
        // 0A is TCP_LISTEN.
        Listens::Tcp(port) => ("tcp", Some("0A"), port),
        Listens::Udp(port) => ("udp", None, port),
    };
    let text = host.namespace.run(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")))?;
    let suffix = format!(":{port:04X}");
    // A header, then `number: local remote state ...` with address and port in hexadecimal.
    Ok(text.lines().skip(1).any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next(), columns.nth(1));
        local.is_some_and(|local| local.ends_with(&suffix)) && (wanted.is_none() || state == wanted)
    }))
}
