//! A thousand policy changes under traffic: each packet is decided by one revision, whole.
//!
//! Two policies allow the same conversations with every name and number in them exchanged: who is `one`, which network
//! is `n-one`, which ports are `s-one`. A packet that met the tables of both would be dropped although it is allowed, or
//! pass although it is forbidden; that this is so for every mixture is the first test.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use bulkhead_agent::{
    compile::{Host as Tabled, Limits, Placed, Tables, compile},
    policy::{SourceFile, resolve_texts},
};
use bulkhead_common::{
    decide::{Action, decide},
    parse::parse,
};
use bulkhead_tests::{
    lab::{
        Agent, Barrage, EchoStream, Lab, Mac, Poller, Topology,
        attack::{Origin, sniff_plc},
        lab_for,
        modbus::Plc,
        topology::{FORGED_TTL, Host, MODBUS, PLC},
        wire::{self, Path},
    },
    skip::Tier,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
/// The allowed datagrams; the forbidden ones go to the port after it, as the forbidden connections to 503.
const ECHO: u16 = 5000;

/// The last byte of the plant hosts' addresses, as the lab has them.
const HMI: u8 = 20;
const HISTORIAN: u8 = 30;
const ENGINEERING: u8 = 40;
const ATTACKER: u8 = 66;

/// The policy in which the HMI, the historian and the allowed ports are called `names[0]`, and others `names[1]`.
fn policy(names: [&str; 2], net: u8) -> String {
    let [good, bad] = names;
    let device = |name: &str, net: u8, host: u8| {
        format!(
            "[device.{name}]\nmac = \"02:00:0a:14:{net:02x}:{host:02x}\"\nip = \"10.20.{net}.{host}\"\nmode = \"enforce\"\n\n"
        )
    };
    let network = |name: &str, host: u8| format!("[network.n-{name}]\ncidr = \"10.20.{net}.{host}/32\"\n\n");
    let service =
        |name: &str, tcp: u16, udp: u16| format!("[service.s-{name}]\ntcp = \"{tcp}\"\nudp = \"{udp}\"\n\n");
    // The other service must be somebody's, or it would have no class.
    format!(
        "version = 1\n\n{}{}{}[[device.{PLC}.allow]]\nfrom = [\"{good}\", \"n-{good}\"]\nservice = [\"s-{good}\"]\n\n\
         [[device.{PLC}.allow]]\nfrom = [\"n-nobody\"]\nservice = [\"s-{bad}\"]\n\n{}{}{}{}{}",
        device(good, net, HMI),
        device(bad, net, ATTACKER),
        device(PLC, 1, 11),
        network(good, HISTORIAN),
        network(bad, ENGINEERING),
        "[network.n-nobody]\ncidr = \"198.51.100.0/24\"\n\n",
        service(good, MODBUS, ECHO),
        service(bad, MODBUS + 1, ECHO + 1),
    )
}

fn policies(topology: Topology) -> [String; 2] {
    [policy(["one", "two"], plant(topology)), policy(["two", "one"], plant(topology))]
}

/// The third byte of the plant hosts' addresses.
fn plant(topology: Topology) -> u8 {
    match topology {
        Topology::Routed => 2,
        Topology::Bridged | Topology::Inline => 1,
    }
}

/// One packet from a plant host's hardware address.
struct Probe {
    mac: u8,
    ip: u8,
    port: u16,
    tcp: bool,
}

const fn probe(mac: u8, ip: u8, port: u16, tcp: bool) -> Probe {
    Probe { mac, ip, port, tcp }
}

const ALLOWED: [Probe; 4] = [
    probe(HMI, HMI, MODBUS, true),
    probe(HMI, HMI, ECHO, false),
    probe(HISTORIAN, HISTORIAN, MODBUS, true),
    probe(HISTORIAN, HISTORIAN, ECHO, false),
];

const FORBIDDEN: [Probe; 9] = [
    probe(ATTACKER, ATTACKER, MODBUS, true),
    probe(ATTACKER, ATTACKER, ECHO, false),
    probe(ATTACKER, HMI, MODBUS, true),
    probe(HMI, HMI, MODBUS + 1, true),
    probe(HMI, HMI, ECHO + 1, false),
    probe(HISTORIAN, HISTORIAN, MODBUS + 1, true),
    probe(HISTORIAN, HISTORIAN, ECHO + 1, false),
    probe(ENGINEERING, ENGINEERING, MODBUS, true),
    probe(ENGINEERING, ENGINEERING, ECHO, false),
];

impl Probe {
    fn frame(&self, topology: Topology, next_hop: Mac) -> Vec<u8> {
        let Self { mac, ip, port, tcp } = *self;
        let net = plant(topology);
        let path = Path {
            src_mac: Mac([2, 0, 10, 20, net, mac]),
            dst_mac: next_hop,
            src: SocketAddrV4::new(Ipv4Addr::new(10, 20, net, ip), 21_000),
            dst: SocketAddrV4::new(Ipv4Addr::new(10, 20, 1, 11), port),
            ttl: FORGED_TTL,
        };
        if tcp { wire::tcp_syn(path, 7000) } else { wire::udp(path, b"flip") }
    }

    /// The host that has the hardware address.
    fn sender<'a>(&self, lab: &'a Lab) -> &'a Host {
        let mac = Mac([2, 0, 10, 20, plant(lab.topology), self.mac]);
        lab.hosts().find(|host| host.mac == mac).expect("the probes are from hosts of the lab")
    }
}

fn compiled(text: &str) -> Tables {
    let files = [SourceFile { path: "flip.toml".to_owned(), text: text.to_owned() }];
    let outcome = resolve_texts(&files);
    let policy = outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    compile(&policy, &Limits { devices: 100, rules: 100, rows: 10_000 }).expect("it is small")
}

/// The probes that `tables` decide wrongly.
fn wrong(tables: &Tables) -> usize {
    let host = Tabled::new(tables, Placed::default());
    let passes = |probe: &Probe| {
        let frame = probe.frame(Topology::Routed, Mac([2, 0xa, 10, 20, 2, 1]));
        decide(&parse(&frame[..]), &host).action == Action::Pass
    };
    ALLOWED.iter().filter(|probe| !passes(probe)).count()
        + FORBIDDEN.iter().filter(|probe| passes(probe)).count()
}

#[test]
fn any_mixture_of_the_two_revisions_decides_some_packet_wrongly() {
    let [a, b] = policies(Topology::Routed).map(|text| compiled(&text));
    assert_ne!(a.revision, b.revision);
    for mixture in 0..32_u8 {
        let from = |table: u8| if mixture >> table & 1 == 0 { &a } else { &b };
        // Device numbers stay with their names, so both revisions number them alike, as the kernel's ids do.
        let tables = Tables {
            macs: from(0).macs.clone(),
            addresses: from(1).addresses.clone(),
            networks: from(2).networks.clone(),
            services: from(3).services.clone(),
            rows: from(4).rows.clone(),
            ..a.clone()
        };
        let whole = mixture == 0 || mixture == 31;
        assert_eq!(wrong(&tables) == 0, whole, "mixture {mixture:05b}: {} wrong", wrong(&tables));
    }
}

fn push(agent: &Agent<'_>, text: &str) -> String {
    let request = json!({ "verb": "apply", "files": [{ "path": "pushed.toml", "text": text }] });
    let answer = agent.ask(&request).expect("an answer");
    let applied = &answer["ok"]["applied"];
    assert_eq!(applied["changed"], true, "{answer}");
    applied["revision"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn flips_under_traffic(test: &str, topology: Topology, times: u32) {
    let Some(lab) = lab_for(Tier::Netns, test, topology, 1500) else { return };
    let texts = policies(topology);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &texts[1]).expect("an agent");
    agent.start().expect("it starts");
    let sniffer = sniff_plc(&lab).expect("a sniffer");
    let every = Duration::from_millis(2);
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), every).expect("a first poll");
    let historian = Poller::start(lab.host("historian"), lab.modbus(), every).expect("a first poll");
    let echo =
        EchoStream::start(lab.host("hmi"), lab.plc(), ECHO, Duration::from_micros(200)).expect("an echo");
    let frames =
        FORBIDDEN.iter().map(|probe| (probe.sender(&lab), probe.frame(topology, lab.next_hop()))).collect();
    let barrage = Barrage::start(frames, Duration::from_millis(2)).expect("a barrage");

    let mut flips: BTreeMap<String, u32> = BTreeMap::new();
    let started = Instant::now();
    for flip in 0..times {
        *flips.entry(push(&agent, &texts[usize::from(flip % 2 == 1)])).or_default() += 1;
    }
    let took = started.elapsed();
    // What was sent during the last flip is decided now.
    barrage.wait_for_rounds(2, SOON).expect("it goes on");
    hmi.wait_for_more(20, SOON).expect("polls go on");
    let (sent, echoes) = (barrage.stop().expect("sent"), echo.stop());
    let (hmi, historian) = (hmi.stop(), historian.stop());
    println!(
        "{times} flips in {} ms; {sent} forbidden frames; {} and {} polls, {} echoes",
        took.as_millis(),
        hmi.ok,
        historian.ok,
        echoes.answered
    );

    assert_eq!(flips.values().copied().collect::<Vec<_>>(), [times / 2, times / 2]);
    for polls in [&hmi, &historian] {
        assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    }
    assert_eq!(echoes.lost, 0, "{echoes:?}");
    let counts = sniffer.stop().expect("counts");
    assert_eq!(counts.get(&Origin::Forged), None, "forbidden frames reached the PLC: {counts:?}");

    let count = |record: &Value| record["count"].as_u64().expect("a count");
    let violations = bulkhead_tests::lab::wait::wait_for("every forbidden frame in the log", SOON, || {
        let violations = agent.violations()?;
        Ok((violations.iter().map(count).sum::<u64>() >= sent).then_some(violations))
    });
    let violations = violations.expect("they are told of");
    assert_eq!(
        violations.iter().map(count).sum::<u64>(),
        sent,
        "each forbidden frame once, and nothing else"
    );
    let revisions: BTreeSet<&str> =
        violations.iter().map(|record| record["revision"].as_str().unwrap_or("none")).collect();
    assert_eq!(revisions, flips.keys().map(String::as_str).collect());
    assert!(violations.iter().all(|record| record["action"] == "dropped"));
    let status = agent.ask(&json!({ "verb": "status" })).expect("an answer");
    let status = &status["ok"]["status"];
    assert_eq!((&status["warnings"], &status["violations"]["lost"]), (&json!([]), &json!(0)), "{status}");
    let enough = u64::from(times);
    assert!(hmi.ok > enough && historian.ok > enough && echoes.answered > enough && sent > enough);
}

#[test]
fn a_thousand_flips_lose_no_allowed_packet_and_pass_no_forbidden_one() {
    let test = "a_thousand_flips_lose_no_allowed_packet_and_pass_no_forbidden_one";
    flips_under_traffic(test, Topology::Routed, 1000);
}

#[test]
fn flips_on_a_bridge_lose_no_allowed_packet_and_pass_no_forbidden_one() {
    let test = "flips_on_a_bridge_lose_no_allowed_packet_and_pass_no_forbidden_one";
    flips_under_traffic(test, Topology::Bridged, 100);
}
