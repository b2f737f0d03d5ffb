//! The lab proves itself before it is used as evidence: without an agent everything arrives, and is counted exactly.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Lines},
    net::SocketAddrV4,
    path::Path as FilePath,
    process::{ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Lab, Poller, Seen, Sniffer, Topology,
        attack::{Answer, Attacker, Judge, Origin, sniff_plc},
        lab_for,
        modbus::{Plc, Write as Written, write_once},
        requirements,
        sniffer::Counts,
        topology::{MODBUS, PLANT_HOSTS},
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::{Tier, skip},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SOON: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(5);

/// A lab, or a reason written down why this machine cannot have one.
fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    lab_for(Tier::Netns, test, topology, 1500)
}

fn count(counts: &Counts<Origin>, origin: Origin) -> u64 {
    counts.get(&origin).copied().unwrap_or(0)
}

fn everybody_talks_and_no_poll_is_lost(lab: &Lab) {
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = lab.host("hmi");
    let poller = Poller::start(hmi, lab.modbus(), EVERY).expect("a first poll");
    for (number, (name, _)) in (1_u16..).zip(PLANT_HOSTS) {
        let host = lab.host(name);
        let written = write_once(host, lab.modbus(), 50, number, SOON).expect("a try");
        assert_eq!(written, Written::Written, "{name}");
        assert_eq!((plc.register(50), plc.asked_by(host.ip).writes), (Some(number), 1), "{name}");
    }
    poller.wait_for_more(200, SOON).expect("polls go on");
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects, polls.last_error), (0, 0, None));
    let asked = plc.asked_by(hmi.ip);
    assert_eq!(asked.connections, 2, "the session of the poller and the one write");
    assert!(asked.reads >= polls.ok, "{asked:?}, {} polls", polls.ok);
    assert_eq!(lab.plc().retransmitted().expect("counters"), 0);
}

#[test]
fn routed_lab_polls_without_a_loss() {
    let Some(lab) = require_lab("routed_lab_polls_without_a_loss", Topology::Routed) else { return };
    everybody_talks_and_no_poll_is_lost(&lab);
}

#[test]
fn bridged_lab_polls_without_a_loss() {
    let Some(lab) = require_lab("bridged_lab_polls_without_a_loss", Topology::Bridged) else { return };
    everybody_talks_and_no_poll_is_lost(&lab);
}

/// Everything that a forwarding gateway passes arrives at the PLC and is recognised, and not one frame more.
fn every_forged_frame_is_counted_at_the_plc(lab: &Lab) {
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let sniffer = sniff_plc(lab).expect("a sniffer");
    let attacker = Attacker::new(lab).expect("an attacker");

    let ports: Vec<u16> = (490..520).collect();
    let scan = attacker.scan(&ports, SOON).expect("a scan");
    let open: Vec<u16> =
        scan.answers.iter().filter(|(_, answer)| **answer == Answer::Open).map(|(port, _)| *port).collect();
    assert_eq!((scan.sent, scan.answers.len(), open), (30, 30, vec![MODBUS]));

    let sent = scan.sent
        + attacker.spoofed_syns("hmi", 10).expect("sent")
        + attacker.spoofed_writes("hmi", 10, 50, 666).expect("sent")
        + attacker.udp_flood(2_000, 100).expect("sent");
    assert_eq!(sent, 2_050);
    let counts =
        sniffer.wait_until("all forged frames", SOON, |counts| count(counts, Origin::Forged) >= sent);
    assert_eq!(count(&counts.expect("they arrive"), Origin::Forged), sent);

    let scan = attacker.connect_scan(&[MODBUS, 503], SOON).expect("a scan");
    let answers: Vec<_> = scan.answers.into_iter().collect();
    assert_eq!(answers, [(MODBUS, Answer::Open), (503, Answer::Closed)]);
    // A SYN and an ACK for the open port, a SYN for the closed one.
    let counts = sniffer.wait_until("two connects", SOON, |counts| count(counts, Origin::AttackerStack) >= 3);
    counts.expect("they arrive");
    assert_eq!(sniffer.count(&Origin::ForgedArp), 0);

    let malformed = attacker.malformed().expect("sent");
    let arp = attacker.arp_spoof().expect("sent");
    let (malformed, arp) = match lab.topology {
        // A router answers ARP itself and drops what contradicts itself; what is only cut short at layer 4 it forwards.
        Topology::Routed => (1, 0),
        Topology::Bridged | Topology::Inline => (malformed, arp),
    };
    // A last frame of a kind that always passes: when it is there, all before it are.
    let sent = sent + malformed + attacker.udp_flood(1, 1).expect("sent");
    let counts = sniffer.wait_until("the last frame", SOON, |counts| count(counts, Origin::Forged) >= sent);
    let counts = counts.expect("it arrives");
    assert_eq!((count(&counts, Origin::Forged), count(&counts, Origin::ForgedArp)), (sent, arp));
    assert_eq!(lab.dropped_by_links().expect("counters"), BTreeMap::new());
}

#[test]
fn routed_lab_counts_every_forged_frame() {
    let Some(lab) = require_lab("routed_lab_counts_every_forged_frame", Topology::Routed) else { return };
    every_forged_frame_is_counted_at_the_plc(&lab);
}

#[test]
fn bridged_lab_counts_every_forged_frame() {
    let Some(lab) = require_lab("bridged_lab_counts_every_forged_frame", Topology::Bridged) else { return };
    every_forged_frame_is_counted_at_the_plc(&lab);
}

#[test]
fn frames_before_the_gateway_are_judged_by_their_own_ttl() {
    let Some(lab) = require_lab("frames_before_the_gateway_are_judged_by_their_own_ttl", Topology::Routed)
    else {
        return;
    };
    let judge = Judge::at_plant(&lab);
    let gateway = &lab.gateway.namespace;
    let sniffer = Sniffer::start(gateway, "plant0", move |seen: &Seen| {
        let addressed_by_attacker = seen.src_mac() == Some(bulkhead_tests::lab::Mac([2, 0, 10, 20, 2, 66]));
        (!seen.outgoing && addressed_by_attacker).then(|| judge.origin(seen))
    })
    .expect("a sniffer");
    let attacker = Attacker::new(&lab).expect("an attacker");
    let (malformed, arp) = (attacker.malformed().expect("sent"), attacker.arp_spoof().expect("sent"));
    let counts = sniffer.wait_until("all frames", SOON, |counts| {
        count(counts, Origin::Forged) >= malformed && count(counts, Origin::ForgedArp) >= arp
    });
    let counts = counts.expect("they arrive");
    assert_eq!((count(&counts, Origin::Forged), count(&counts, Origin::ForgedArp)), (malformed, arp));
}

#[test]
fn a_sniffer_that_lost_frames_admits_it() {
    let Some(lab) = require_lab("a_sniffer_that_lost_frames_admits_it", Topology::Bridged) else { return };
    let (go_on, wait) = mpsc::channel::<()>();
    let plc = lab.plc();
    let sniffer = Sniffer::start(&plc.namespace, plc.interface, move |_| {
        // Only the end of the channel lets the first frame through; after that it answers at once.
        wait.recv().map_or(Some("late"), |()| None)
    })
    .expect("a sniffer");
    let hmi = lab.host("hmi");
    let sender = RawSender::new(&hmi.namespace, hmi.interface).expect("a sender");
    let path = Path {
        src_mac: hmi.mac,
        dst_mac: lab.next_hop(),
        src: SocketAddrV4::new(hmi.ip, 9),
        dst: SocketAddrV4::new(plc.ip, 9),
        ttl: 64,
    };
    // More than 128 MiB as the kernel accounts for them (at least their own size each): twice what the sniffer asked for.
    let frame = wire::udp(path, &[0; 1400]);
    for _ in 0..100_000 {
        sender.send(&frame).expect("sent");
    }
    drop(go_on);
    let error = sniffer.stop().expect_err("the counts are too low").to_string();
    assert!(error.starts_with("the sniffer lost "), "{error}");
}

/// A lab in a process of its own, and the child that runs inside it.
struct Holder {
    process: std::process::Child,
    output: Lines<BufReader<ChildStdout>>,
    inside: u32,
}

fn hold_a_lab() -> Holder {
    let mut process = Command::new(env!("CARGO_BIN_EXE_bulkhead-lab"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the holder starts");
    let mut output = BufReader::new(process.stdout.take().expect("piped")).lines();
    let lines: Vec<String> =
        output.by_ref().map(|line| line.expect("text")).take_while(|line| line != "ready").collect();
    let inside =
        lines.iter().find_map(|line| line.strip_prefix("child ")).expect("the holder names its child");
    let inside = inside.parse().expect("a process id");
    assert!(FilePath::new(&format!("/proc/{inside}")).exists());
    Holder { process, output, inside }
}

fn wait_until_gone(pid: u32) {
    let path = format!("/proc/{pid}");
    wait_for("the child to go", SOON, || Ok((!FilePath::new(&path).exists()).then_some(())))
        .expect("it goes");
}

#[test]
fn nothing_is_left_behind_by_a_lab_that_is_killed() {
    if let Err(reason) = requirements() {
        return skip(Tier::Netns, "nothing_is_left_behind_by_a_lab_that_is_killed", &reason);
    }
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("mounts");
    let before = mounts();
    let mut holder = hold_a_lab();
    assert_eq!(mounts(), before, "its mounts are its own");
    holder.process.kill().expect("it runs");
    holder.process.wait().expect("it ends");
    wait_until_gone(holder.inside);
    assert_eq!(mounts(), before);
}

#[test]
fn an_interrupted_lab_is_taken_down_in_order() {
    if let Err(reason) = requirements() {
        return skip(Tier::Netns, "an_interrupted_lab_is_taken_down_in_order", &reason);
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut holder = hold_a_lab();
        let pid = i32::try_from(holder.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
        let last = holder.output.next().expect("a last line").expect("text");
        assert_eq!((last.as_str(), holder.process.wait().expect("it ends").code()), ("down", Some(0)));
        assert!(!FilePath::new(&format!("/proc/{}", holder.inside)).exists());
    }
}

#[test]
fn nothing_is_left_behind_by_a_lab_that_is_dropped() {
    let Some(lab) = require_lab("nothing_is_left_behind_by_a_lab_that_is_dropped", Topology::Routed) else {
        return;
    };
    let namespaces: Vec<_> = lab
        .hosts()
        .map(|host| host.namespace.tid())
        .chain([lab.gateway.namespace.tid(), lab.switch().tid()])
        .map(|tid| fs::read_link(format!("/proc/self/task/{tid}/ns/net")).expect("an attendant lives"))
        .collect();
    let mut idle = Command::new("cat");
    idle.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = lab.gateway.namespace.spawn_child(idle).expect("a child");
    lab.gateway.room.write("note", "text").expect("a writable room");
    assert!(!FilePath::new("/run/bulkhead/note").exists(), "the room is private");
    drop(lab);
    // Nobody has closed its stdin or killed it by hand.
    let status = child.wait().expect("it ends");
    assert!(!status.success(), "killed with the gateway's attendant");
    let open = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let left: Vec<_> = open
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|target| namespaces.contains(target))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
