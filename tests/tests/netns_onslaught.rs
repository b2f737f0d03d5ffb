//! As many denied packets as the machine can send, of more kinds than there is room for: whoever else is denied one packet
//! meanwhile is told of by itself, nothing grows beyond its bound, and every packet is accounted for.

mod gateway;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use bulkhead_tests::{
    lab::{
        Agent, Lab, Mac, Topology,
        attack::kinds,
        lab_for,
        topology::FORGED_TTL,
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::Tier,
};
use gateway::configure;
use jiff::Timestamp;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// Kinds of violations: sources times ports.
const SOURCES: u8 = 200;
const PORTS: u16 = 100;
/// At least so many frames are sent.
const FRAMES: u64 = 2_000_000;
/// Devices that are denied one packet each, while the flood goes on.
const OTHERS: u8 = 20;
/// What docs/violations.md promises, KiB.
const MEMORY: u64 = 160 << 10;

fn other(index: u8) -> (Mac, Ipv4Addr) {
    (Mac([2, 0, 10, 20, 1, 100 + index]), Ipv4Addr::new(10, 20, 1, 100 + index))
}

fn policy(lab: &Lab) -> String {
    let device = |name: &str, mac: Mac, ip: Ipv4Addr| {
        format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n")
    };
    let others = (0..OTHERS).map(|index| {
        let (mac, ip) = other(index);
        device(&format!("other-{index}"), mac, ip)
    });
    format!("version = 1\n\n{}{}", device("plc", lab.plc().mac, lab.plc().ip), others.collect::<String>())
}

/// One packet that nobody allows, of a source that does nothing else: the flood's sources are scans. The switch sends it to
/// everybody, because nobody has the address.
fn to_other(lab: &Lab, index: u8) -> Vec<u8> {
    let attacker = lab.attacker();
    let (dst_mac, ip) = other(index);
    let (src, dst) = (SocketAddrV4::new(attacker.ip, 21_000), SocketAddrV4::new(ip, 502));
    let src_mac = Mac([2, 0, 10, 20, 0xee, index]);
    wire::udp(Path { src_mac, dst_mac, src, dst, ttl: FORGED_TTL }, b"once")
}

/// The first number of a line of `/proc/PID/status`, KiB.
fn memory(pid: u32, line: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = text.lines().find_map(|one| one.strip_prefix(line)).context("no such line")?;
    Ok(found.trim_start_matches(':').split_whitespace().next().context("no number")?.parse()?)
}

/// Processor time that a process has used, in ticks of 10 ms (`USER_HZ`).
fn ticks(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may have spaces: state is the third field, utime the 14th.
    let behind = text.rsplit_once(')').context("no name")?.1;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn violations(agent: &Agent<'_>) -> anyhow::Result<Value> {
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
    fn of(path: PathBuf) -> Self {
        let log = BufReader::new(File::open(&path).expect("it is there"));
        Self { path, log, rest: String::new() }
    }

    /// The next record that has a text in it; `None` when all was read.
    fn find(&mut self, text: &str) -> anyhow::Result<Option<Value>> {
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

/// Sends its frames in turn from a thread of its own until it is told to end, and at least [`FRAMES`].
struct Flood {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: thread::JoinHandle<anyhow::Result<Duration>>,
}

impl Flood {
    fn begin(lab: &Lab) -> Self {
        let frames = kinds(lab, SOURCES, PORTS);
        let attacker = lab.attacker();
        let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
        let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (Arc::clone(&end), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let began = Instant::now();
            while counted.load(Ordering::Relaxed) < FRAMES || !ended.load(Ordering::Relaxed) {
                for frame in &frames {
                    sender.send(frame)?;
                }
                counted.fetch_add(frames.len() as u64, Ordering::Relaxed);
            }
            Ok(began.elapsed())
        });
        Self { end, sent, thread }
    }

    fn wait_for_more(&self) {
        let goal = self.sent.load(Ordering::Relaxed) + FRAMES / 2 / u64::from(OTHERS);
        wait_for(
            "the flood to go on",
            SOON,
            || Ok((self.sent.load(Ordering::Relaxed) >= goal).then_some(())),
        )
        .expect("it does");
    }

    fn end(self) -> (u64, Duration) {
        self.end.store(true, Ordering::Relaxed);
        let took = self.thread.join().expect("it does not panic").expect("all were sent");
        (self.sent.load(Ordering::Relaxed), took)
    }
}

#[test]
fn one_packet_of_another_device_is_told_in_the_middle_of_a_flood() {
    let test = "one_packet_of_another_device_is_told_in_the_middle_of_a_flood";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Bridged, 1500) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    configure(&lab.gateway, "bulkhead.toml", &[("summary = \"1s\"", "summary = \"10s\"")]);
    agent.start().expect("it starts");
    let mut tail = Tail::of(agent.violations_file());
    let pid = agent.pid().expect("it runs");
    let before = (memory(pid, "VmRSS").expect("it is told"), ticks(pid).expect("they are told"));

    let flood = Flood::begin(&lab);
    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    let mut delays = Vec::new();
    for index in 0..OTHERS {
        flood.wait_for_more();
        let (sent, clock) = (Timestamp::now(), Instant::now());
        sender.send(&to_other(&lab, index)).expect("sent");
        let name = format!("other-{index}");
        let record = wait_for(&name, SOON, || tail.find(&format!("\"device\":\"{name}\"")));
        let record =
            record.unwrap_or_else(|error| panic!("{error}: {:#}", violations(&agent).expect("told")));
        let seen = clock.elapsed();
        assert_eq!(
            (&record["others"], &record["count"], &record["scan"]),
            (&false.into(), &1.into(), &Value::Null)
        );
        assert_eq!(record["destination"]["ip"], other(index).1.to_string(), "{record}");
        let time: Timestamp = record["time"].as_str().expect("a time").parse().expect("RFC 3339");
        delays.push((time.duration_since(sent).as_millis(), seen.as_millis()));
    }
    let used = ticks(pid).expect("they are told") - before.1;
    let (sent, took) = flood.end();
    // A tick is 10 ms: ticks a second are percent.
    let ms = took.as_millis();
    println!(
        "{sent} frames in {ms} ms, {} a second; processor {} % of one core",
        u128::from(sent) * 1000 / ms,
        u128::from(used) * 1000 / ms
    );
    println!("packet's time and record in the log, each behind the sending, ms: {delays:?}");

    let counts = wait_for("every packet to be taken over and told of", SOON, || {
        let counts = violations(&agent)?;
        let of = |key: &str| counts[key].as_u64().unwrap_or(0);
        // A link that is full drops what the gateway never sees.
        let dropped: u64 = lab.dropped_by_links()?.values().sum();
        let all = of("violations") + dropped >= sent && of("taken") == of("delivered") + of("aggregated");
        Ok((all && of("pending") == 0).then_some(counts))
    });
    let counts = counts.unwrap_or_else(|error| panic!("{error}: {:?}", violations(&agent)));
    println!("{counts}");
    let of = |key: &str| counts[key].as_u64().expect("a count");
    assert_eq!((of("told"), of("lost"), of("refused")), (of("violations"), 0, 0), "{counts}");
    let peak = memory(pid, "VmHWM").expect("it is told");
    println!("memory: {} KiB before, {peak} KiB at its peak", before.0);
    assert!(peak < MEMORY, "{peak} KiB");
    agent.stop().expect("it stops");
}
