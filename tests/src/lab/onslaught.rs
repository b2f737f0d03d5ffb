//! As many denied packets as the machine can make, of more kinds than there is room for, and meanwhile one packet to each of
//! some other devices.
//!
//! In: a lab and its agent, not started. Out: what the flood cost, how long the record of each other device took, and the agent's
//! counters once it has told of everything.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Agent, Lab, Mac,
    agent::CONFIG,
    source::Source,
    spent::{self, Memory},
    topology::FORGED_TTL,
    wait::wait_for,
    wire::{self, Path, RawSender},
};

/// Devices that are denied one packet each, while the flood goes on.
pub const OTHERS: u8 = 20;
/// The gateway's interface towards the flood.
const INTERFACE: &str = "flood0";
const SOON: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Clone, Debug)]
pub struct Onslaught {
    /// Frames that were sent. A link that is full drops some.
    pub sent: u64,
    /// How long that took.
    pub took: Duration,
    /// The agent's time on a processor meanwhile.
    pub processor: Duration,
    /// Its memory before.
    pub before: Memory,
    /// And after.
    pub after: Memory,
    /// The first record of each other device: how long it was in the log behind its packet, and the record.
    pub others: Vec<(Duration, Value)>,
    /// The counters of violations in the agent's status, when nothing was pending any more.
    pub counts: Value,
}

/// The policy: the PLC, which the flood is for, and the other devices. Nobody may anything.
pub fn policy(lab: &Lab) -> String {
    let device = |name: &str, mac: Mac, ip: Ipv4Addr| {
        format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n")
    };
    let others = (0..OTHERS).map(|index| {
        let (mac, ip) = other(index);
        device(&format!("other-{index}"), mac, ip)
    });
    format!("version = 1\n\n{}{}", device("plc", lab.plc().mac, lab.plc().ip), others.collect::<String>())
}

/// Starts the agent with that policy and floods it with so many frames at least.
pub fn run(lab: &Lab, agent: &mut Agent<'_>, least: u64) -> Result<Onslaught> {
    let source = Source::new(&lab.gateway, INTERFACE)?;
    agent.write_config(&format!("\n[interface.{INTERFACE}]\n"))?;
    let room = &lab.gateway.room;
    let config = room.read(CONFIG)?;
    room.write(CONFIG, &config.replace("summary = \"1s\"", "summary = \"10s\""))?;
    agent.start()?;
    let mut tail = Tail::of(agent.violations_file())?;
    let pid = agent.pid().context("the agent ended")?;
    let (before, begun) = (spent::memory(pid)?, spent::processor(pid)?);

    let src = SocketAddrV4::new(Ipv4Addr::new(172, 20, 0, 0), 21_000);
    let flood = source.flood(src, SocketAddrV4::new(lab.plc().ip, 0), least)?;
    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface)?;
    let mut others = Vec::new();
    for index in 0..OTHERS {
        let goal = flood.sent() + least / 2 / u64::from(OTHERS);
        wait_for("the flood to go on", SOON, || Ok((flood.sent() >= goal).then_some(())))?;
        let clock = Instant::now();
        sender.send(&to_other(lab, index))?;
        let name = format!("other-{index}");
        let record = wait_for(&name, SOON, || tail.find(&format!("\"device\":\"{name}\"")))?;
        others.push((clock.elapsed(), record));
    }
    let (sent, took) = flood.end()?;
    let processor = spent::processor(pid)?.saturating_sub(begun);

    let counts = wait_for("every packet to be taken over and told of", SOON, || {
        let counts = violations(agent)?;
        let of = |key: &str| counts[key].as_u64().unwrap_or_default();
        let all = of("told") == of("violations") && of("taken") == of("delivered") + of("aggregated");
        Ok((all && of("pending") == 0).then_some(counts))
    });
    let counts = counts.with_context(|| format!("the agent counts {:?}", violations(agent)))?;
    let after = spent::memory(pid)?;
    ensure!(agent.stop()?.success(), "the agent ended with an error");
    Ok(Onslaught { sent, took, processor, before, after, others, counts })
}

/// The address of one of the other devices.
pub fn other(index: u8) -> (Mac, Ipv4Addr) {
    (Mac([2, 0, 10, 20, 1, 100 + index]), Ipv4Addr::new(10, 20, 1, 100 + index))
}

/// One packet that nobody allows, of a source that does nothing else. The switch sends it to everybody, because nobody has
/// the address.
fn to_other(lab: &Lab, index: u8) -> Vec<u8> {
    let (dst_mac, ip) = other(index);
    let (src, dst) = (SocketAddrV4::new(lab.attacker().ip, 21_000), SocketAddrV4::new(ip, 502));
    let src_mac = Mac([2, 0, 10, 20, 0xee, index]);
    wire::udp(Path { src_mac, dst_mac, src, dst, ttl: FORGED_TTL }, b"once")
}

fn violations(agent: &Agent<'_>) -> Result<Value> {
    let answer = agent.ask(&json!({ "verb": "status" }))?;
    Ok(answer["ok"]["status"]["violations"].clone())
}

/// Reads a log as it grows, and goes on with the next one when it was put aside.
struct Tail {
    path: PathBuf,
    log: BufReader<File>,
    rest: String,
}

impl Tail {
    fn of(path: PathBuf) -> Result<Self> {
        let log = BufReader::new(File::open(&path).context("the agent has no log")?);
        Ok(Self { path, log, rest: String::new() })
    }

    /// The next record that has a text in it; `None` when all was read.
    fn find(&mut self, text: &str) -> Result<Option<Value>> {
        loop {
            if self.log.read_line(&mut self.rest)? > 0 {
                if self.rest.ends_with('\n') {
                    let line = mem::take(&mut self.rest);
                    if line.contains(text) {
                        return Ok(Some(serde_json::from_str(&line)?));
                    }
                }
            } else if fs::metadata(&self.path)?.ino() == self.log.get_ref().metadata()?.ino() {
                return Ok(None);
            } else {
                self.log = BufReader::new(File::open(&self.path)?);
            }
        }
    }
}
