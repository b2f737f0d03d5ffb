//! What `simulate` says of a capture is what the gateway does with its packets: captures of one protocol each are sent through an enforcing
//! inline pair, frame by frame from the sides where their senders are, and as they were sent they meet the same policy. Of each
//! frame both say the same.
//!
//! In: captures that are made here, and those of a folder of one's own (`BULKHEAD_CAPTURES`, pcap or pcapng): there who sends the
//! first frame is outside, everybody else inside, and the policy allows the first conversation between two hosts alone.

mod plant;

use std::{
    collections::BTreeMap,
    env, fs,
    net::IpAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use bulkhead_agent::capture::Reader;
use bulkhead_tests::{
    capture::{Recorded, pcapng},
    frame::frame,
    lab::{
        Agent, Lab, Sniffer, Topology,
        frames::frame as plain,
        link::Mac,
        topology::{DEVICE_SIDE, UPLINK},
        wire::RawSender,
    },
};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use plant::{SOON, configure, require_lab, simulated::simulated};

/// Where a frame is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Inside,
    Outside,
}

/// A capture of one protocol.
struct Capture {
    name: String,
    policy: String,
    frames: Vec<(Side, Vec<u8>)>,
}

/// Everybody of these captures.
const PLANT: &str = r#"version = 1
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
mode = "enforce"
[device.hmi]
mac = "00:0e:8c:11:20:01"
ip = "10.20.1.20"
[network.plant]
cidr = "10.20.0.0/16"
"#;

/// What each capture is of: a rule, and lines of [`bulkhead_tests::frame`] in their order, `<` before those that are sent inside. The last lines
/// of each are what no rule allows.
const CAPTURES: [(&str, &str, &[&str]); 10] = [
    (
        "modbus",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"",
        &[
            "hmi>plc tcp 50001>502 S",
            "<plc>hmi tcp 502>50001 SA",
            "hmi>plc tcp 50001>502 A",
            "hmi>plc tcp 50001>502 PA len=12",
            "<plc>hmi tcp 502>50001 PA len=11",
            "hmi>plc tcp 50001>502 FA",
            "<plc>hmi tcp 502>50001 FA",
            "hmi>plc tcp 50001>502 A",
            "attacker>plc tcp 50001>502 S",
            "hmi>plc tcp 50002>502 PA len=12",
            "<plc>hmi tcp 502>50003 SA",
            "<plc>hmi tcp 50004>502 S",
        ],
    ),
    (
        "s7",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"s7\"",
        &[
            "hmi>plc tcp 50011>102 S",
            "<plc>hmi tcp 102>50011 SA",
            "hmi>plc tcp 50011>102 PA len=22",
            "<plc>hmi tcp 102>50011 R",
            "hmi>plc tcp 50012>102 S",
            "<plc>hmi tcp 102>50012 RA",
            "hmi>plc tcp 50013>102 SF",
            "hmi>plc tcp 50014>502 S",
            "hmi>plc tcp 50015>102 S smac=attacker",
        ],
    ),
    (
        "mqtt",
        "[[device.plc.allow]]\nto = \"plant\"\nservice = \"mqtt\"",
        &[
            "<plc>camera tcp 50021>1883 S",
            "camera>plc tcp 1883>50021 SA",
            "<plc>camera tcp 50021>1883 PA len=19",
            "camera>plc tcp 1883>50021 PA len=4",
            "camera>plc tcp 50022>1883 S",
            "<plc>guest tcp 50023>1883 S",
        ],
    ),
    (
        "dns",
        "[[device.plc.allow]]\nto = \"plant\"\nservice = \"dns\"",
        &[
            "<plc>camera udp 50031>53 len=32",
            "camera>plc udp 53>50031 len=48",
            "<plc>camera udp 50031>53 len=33",
            "camera>plc udp 53>50032 len=48",
            "oven>plc udp 53>50031 len=48",
            "<plc>guest udp 50033>53 len=32",
        ],
    ),
    (
        "snmp",
        "[[device.plc.allow]]\nfrom = \"plant\"\nservice = \"snmp\"",
        &[
            "hmi>plc udp 50041>161 len=40",
            "<plc>hmi udp 161>50041 len=44",
            "camera>plc udp 50042>161 len=40",
            "<plc>camera udp 161>50042 len=90",
            "<plc>hmi udp 161>50043 len=44",
            "guest>plc udp 50044>161 len=40",
            "<plc>hmi udp 50045>162 len=40",
        ],
    ),
    (
        "bacnet",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"bacnet\"\n[[device.plc.allow]]\nto = \"broadcast\"\nservice = \"bacnet\"",
        &[
            "hmi>plc udp 47808>47808 len=17",
            "<plc>hmi udp 47808>47808 len=21",
            "<plc>subnet udp 47808>47808 len=12",
            "hmi>subnet udp 47808>47808 len=12",
            "attacker>plc udp 47808>47808 len=17",
        ],
    ),
    (
        "ping",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"ping\"",
        &[
            "hmi>plc icmp 8 7",
            "<plc>hmi icmp 0 7",
            "<plc>hmi icmp 0 8",
            "<plc>hmi icmp 8 9",
            "hmi>plc icmp 13 7",
            "attacker>plc icmp 8 7",
            "<plc>hmi icmp 3/3 about hmi>plc udp 50051>161",
        ],
    ),
    (
        "arp",
        "",
        &[
            "hmi>all arp ask plc",
            "<plc>hmi arp is hmi",
            "<plc>all arp ask hmi",
            "attacker>all arp ask plc spa=10.20.1.20",
            "<attacker>all arp ask hmi spa=10.20.1.11",
        ],
    ),
    (
        "ethernet",
        "[[device.plc.allow]]\nto = \"hmi\"\nservice = \"profinet-rt\"",
        &[
            "<plc>hmi ether 8892",
            "hmi>plc ether 8892",
            "<plc>hmi ether 88a4",
            "<plc>bridges llc 42",
            "<plc>goose ether 88b8",
            "attacker>plc ether 8892",
        ],
    ),
    (
        "fragments",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"snmp\"",
        &[
            "hmi>plc udp 50061>161 len=40 frag=0+/7",
            "hmi>plc udp 50061>161 frag=6/7",
            "hmi>plc udp 50061>161 frag=6/8",
            "hmi>plc udp 50062>162 len=40 frag=0+/9",
            "hmi>plc udp 50062>162 frag=6/9",
        ],
    ),
];

fn made() -> impl Iterator<Item = Capture> {
    CAPTURES.into_iter().map(|(name, rule, lines)| Capture {
        name: name.to_owned(),
        policy: format!("{PLANT}{rule}\n"),
        frames: lines
            .iter()
            .map(|line| match line.strip_prefix('<') {
                Some(line) => (Side::Inside, frame(line).expect("a line of this file")),
                None => (Side::Outside, frame(line).expect("a line of this file")),
            })
            .collect(),
    })
}

/// The captures of a folder.
fn found(folder: &Path) -> impl Iterator<Item = Capture> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("BULKHEAD_CAPTURES is a folder")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    files.into_iter().map(|file| {
        let mut reader = Reader::new(fs::File::open(&file).expect("it can be read")).expect("a capture");
        let mut all: Vec<Vec<u8>> = Vec::new();
        while let Some(frame) = reader.next_frame().expect("it is whole") {
            all.push(frame.bytes.to_vec());
        }
        let outside = all[0][6..12].to_vec();
        let side = |bytes: &[u8]| if bytes[6..12] == outside { Side::Outside } else { Side::Inside };
        let policy = all.iter().find_map(|bytes| first_allowed(bytes)).unwrap_or(PLANT.to_owned());
        let frames = all.into_iter().map(|bytes| (side(&bytes), bytes)).collect();
        Capture { name: file.display().to_string(), policy, frames }
    })
}

/// A policy that allows what a frame begins.
fn first_allowed(bytes: &[u8]) -> Option<String> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let (protocol, port) = match packet.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => ("tcp", tcp.destination_port()),
        TransportSlice::Udp(udp) => ("udp", udp.destination_port()),
        TransportSlice::Tcp(_)
        | TransportSlice::Icmpv4(_)
        | TransportSlice::Icmpv6(_)
        | TransportSlice::Igmp(_) => return None,
    };
    let NetSlice::Ipv4(ip) = packet.net? else { return None };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    let is_host = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::from([255; 4]);
    (is_host(from.into()) && is_host(to.into())).then(|| {
        format!(
            "version = 1\n[device.asked]\nip = \"{to}\"\nmode = \"enforce\"\n[device.asking]\nip = \"{from}\"\n\
             [service.first]\n{protocol} = [\"{port}\"]\n[[device.asked.allow]]\nfrom = \"asking\"\nservice = \"first\"\n"
        )
    })
}

/// Sends one frame after the other, each followed by one that infrastructure lets pass: when that has come out, so has the
/// frame, or never will. Returns when each was sent, ns since 1970, and whether it came out.
fn send(lab: &Lab, frames: &[(Side, Vec<u8>)]) -> Vec<(u64, bool)> {
    let ends = |side| match side {
        Side::Inside => (lab.host("plc"), lab.host("hmi")),
        Side::Outside => (lab.host("hmi"), lab.host("plc")),
    };
    let listen = |side| {
        let (_, at) = ends(side);
        let heard = |seen: &bulkhead_tests::lab::wire::Seen| (!seen.outgoing).then(|| seen.bytes.clone());
        let sniffer = Sniffer::start(&at.namespace, at.interface, heard).expect("a sniffer");
        let (from, _) = ends(side);
        (sniffer, RawSender::new(&from.namespace, from.interface).expect("a packet socket"))
    };
    let (inside, outside) = (listen(Side::Inside), listen(Side::Outside));
    let mut told = Vec::new();
    for (number, (side, bytes)) in frames.iter().enumerate() {
        let (sniffer, sender) = if *side == Side::Inside { &inside } else { &outside };
        // Each frame is told from those with the same bytes before it by how many there were.
        let before = sniffer.count(bytes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        sender.send(bytes).expect("sent");
        let (from, _) = ends(*side);
        let lldp = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        let marker = plain(from.mac, lldp, 0x88cc, &u32::try_from(number).expect("few").to_be_bytes());
        sender.send(&marker).expect("sent");
        sniffer
            .wait_until("LLDP", SOON, |seen| seen.contains_key(&marker))
            .unwrap_or_else(|error| panic!("behind frame {number} ({side:?}): {error:#}"));
        told.push((u64::try_from(now.as_nanos()).expect("before 2554"), sniffer.count(bytes) > before));
    }
    for (sniffer, _) in [inside, outside] {
        sniffer.stop().expect("no frame was missed");
    }
    told
}

/// Sends a capture through an agent of its own; frames that passed, and that were dropped.
fn same_on_the_wire(lab: &Lab, capture: &Capture) -> [usize; 2] {
    let Capture { name, policy, frames } = capture;
    let mut agent = Agent::new(lab, policy).expect("an agent");
    let flows = "\n[flows]\nadopt_for = \"0s\"\nnew_per_second = 100000\n";
    configure(lab, &agent, "", "", flows);
    agent.start().expect("it starts");
    let told = send(lab, frames);
    agent.stop().expect("it stops");
    let ended = agent.cli(&["detach", "--yes"]).expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));

    let recorded: Vec<Recorded> = told
        .iter()
        .zip(frames)
        .map(|((time, _), (side, bytes))| Recorded {
            time: *time,
            interface: usize::from(*side == Side::Outside),
            bytes: bytes.clone(),
        })
        .collect();
    let config = lab.gateway.room.read("bulkhead.toml").expect("written by the lab");
    let said = simulated(&pcapng(&recorded, &[DEVICE_SIDE, UPLINK]), policy, &config);
    assert_eq!(said.len(), frames.len());
    let mut counts = [0, 0];
    let mut differences = BTreeMap::new();
    for (number, ((_, came_out), (bytes, passes))) in told.iter().zip(&said).enumerate() {
        counts[usize::from(!came_out)] += 1;
        if came_out != passes {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            differences.insert(number, format!("came out: {came_out}, simulated: {passes}: {hex}"));
        }
    }
    assert_eq!(differences, BTreeMap::new(), "{name}, of {} frames", frames.len());
    counts
}

#[test]
fn captures_on_the_wire_meet_what_was_simulated() {
    let Some(lab) = require_lab("captures_on_the_wire_meet_what_was_simulated", Topology::Inline) else {
        return;
    };
    for capture in made() {
        let [passed, dropped] = same_on_the_wire(&lab, &capture);
        assert!(passed > 0 && dropped > 0, "{}: {passed} passed, {dropped} were dropped", capture.name);
    }
    if let Some(folder) = env::var_os("BULKHEAD_CAPTURES") {
        for capture in found(Path::new(&folder)) {
            let [passed, dropped] = same_on_the_wire(&lab, &capture);
            eprintln!("{}: {passed} frames passed and {dropped} were dropped, as simulated", capture.name);
        }
    }
}
