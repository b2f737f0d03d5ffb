//! A real exporter, softflowd, tells of what does not pass the gateway: it sends NetFlow 5, NetFlow 9 and IPFIX to it: the history has what
//! went over the wire, once.

mod plant;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    ops::ControlFlow,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bulkhead_agent::{
    history::Reader,
    traffic::{End, Kind, Seen, Service},
};
use bulkhead_tests::{
    capture::{Recorded, pcap},
    lab::{
        Agent, Lab, Poller, Sniffer, Topology,
        modbus::Plc,
        topology::{Host, MODBUS},
        wait::{self, wait_for},
    },
    skip::{Tier, skip},
};
use plant::{SOON, configure, require_lab, status};
use serde_json::Value;
use tempfile::TempDir;

const PORT: u16 = 2055;
/// Whoever watches, polls and is polled; all of them are on the uplink side, so that the gateway sees nothing of it.
const WATCHER: &str = "historian";

/// softflowd at a host tells the gateway of what was recorded there. (On an interface, libpcap hands it packets in portions of 256 KiB: fewer
/// it never sees.)
fn tell(host: &Host, recorded: &[Recorded], to: Ipv4Addr, version: &str) {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("seen.pcap"), pcap(recorded, usize::from(u16::MAX))).expect("written");
    let mut command = Command::new("softflowd");
    command.args(["-d", "-n", &format!("{to}:{PORT}"), "-v", version, "-c", "none"]);
    command.arg("-r").arg(path("seen.pcap")).arg("-p").arg(path("pid"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = host.namespace.spawn_child(command).expect("softflowd starts");
    let ended =
        wait_for("softflowd", SOON, || Ok(child.try_wait()?)).expect("it comes to the end of the recording");
    assert!(ended.success(), "{ended}");
}

fn has_softflowd(test: &str) -> bool {
    let found = Command::new("softflowd").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        skip(Tier::Netns, test, "there is no `softflowd`: `apt-get install softflowd`");
    }
    found.is_ok()
}

/// The gateway's address that hosts on the uplink side reach.
fn gateway(lab: &Lab) -> Ipv4Addr {
    lab.gateway.plant_ip
}

fn kept(lab: &Lab) -> BTreeMap<Kind, Seen> {
    let folder = TempDir::new().expect("a folder");
    for name in ["history.db", "history.db-wal"] {
        let there = lab.gateway.room.outside("state").join(name);
        if there.exists() {
            fs::copy(there, folder.path().join(name)).expect("copied");
        }
    }
    let reader = Reader::open(&folder.path().join("history.db")).expect("a history");
    let mut kinds: BTreeMap<Kind, Seen> = BTreeMap::new();
    let read = reader.rows(.., |row| {
        kinds.entry(row.kind).and_modify(|seen| seen.add(&row.seen)).or_insert(row.seen);
        ControlFlow::Continue(())
    });
    read.expect("rows");
    kinds
}

/// Polls a server from a host over one connection; packets of both, counted and recorded at the server.
fn poll(from: &Host, to: &Host) -> ([u64; 2], Vec<Recorded>) {
    let ends = [from.ip, to.ip];
    let recorded: Arc<Mutex<Vec<Recorded>>> = Arc::default();
    let its = Arc::clone(&recorded);
    let sniffer = Sniffer::start(&to.namespace, to.interface, move |seen| {
        let transport = seen.transport()?;
        let pair = [*transport.src.ip(), *transport.dst.ip()];
        let side = if pair == ends { 0 } else { usize::from((pair == [ends[1], ends[0]]).then_some(1_u8)?) };
        let frame = Recorded { time: seen.time, interface: 0, bytes: seen.bytes.clone() };
        its.lock().expect("nobody panics").push(frame);
        Some(side)
    });
    let sniffer = sniffer.expect("a sniffer");
    let poller =
        Poller::start(from, SocketAddrV4::new(to.ip, MODBUS), Duration::from_millis(20)).expect("polls");
    poller.wait_for_more(20, SOON).expect("polls");
    let polled = poller.stop();
    assert_eq!((polled.failed, polled.reconnects), (0, 0), "{polled:?}");
    // Both ends close: what follows is the silence of a connection that is over.
    wait_for("silence", SOON, || {
        let before = sniffer.counts()?;
        wait::pass(plant::SILENCE)?;
        Ok((sniffer.counts()? == before).then_some(()))
    })
    .expect("it ends");
    let counts = sniffer.stop().expect("none was missed");
    let recorded = std::mem::take(&mut *recorded.lock().expect("nobody panics"));
    ([counts[&0], counts[&1]], recorded)
}

fn kind(from: &Host, to: &Host) -> Kind {
    let at = |host: &Host| End::at(IpAddr::V4(host.ip));
    Kind { from: at(from), to: at(to), service: Service { protocol: 6, number: MODBUS } }
}

/// Rows beside one kind; what exporters send to the gateway it sees by itself.
fn others(kept: &BTreeMap<Kind, Seen>, of: &Kind) -> usize {
    kept.keys().filter(|kind| *kind != of && kind.service.number != PORT).count()
}

/// Whether anybody listens on the port of exporters.
fn listens(lab: &Lab) -> bool {
    let port = format!(":{PORT:04X} ");
    let sockets = lab.gateway.namespace.run(|| fs::read_to_string("/proc/thread-self/net/udp"));
    sockets.expect("it can be read").contains(&port)
}

fn collector(agent: &Agent<'_>) -> Value {
    status(agent)["history"]["collector"].clone()
}

#[test]
fn what_an_exporter_tells_is_what_went_over_the_wire() {
    let test = "what_an_exporter_tells_is_what_went_over_the_wire";
    if !has_softflowd(test) {
        return;
    }
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (watcher, hmi) = (lab.host(WATCHER), lab.host("hmi"));
    let _server = Plc::start(watcher, MODBUS).expect("a server");
    let mut agent = Agent::new(&lab, "version = 1\n").expect("an agent");
    let tables = format!(
        "\n[history]\nflush = \"1s\"\n[history.collector]\nlisten = \"{}:{PORT}\"\nfrom = [\"{}\"]\n",
        gateway(&lab),
        watcher.ip
    );
    configure(&lab, &agent, "", "", &tables);
    let mut expected = Seen::at(0);
    for version in ["5", "9", "10"] {
        agent.start().expect("it starts");
        wait_for("the collector", SOON, || Ok(listens(&lab).then_some(()))).expect("it listens");
        let (packets, recorded) = poll(hmi, watcher);
        tell(watcher, &recorded, gateway(&lab), version);
        let told = wait_for("both directions", SOON, || {
            let told = collector(&agent);
            Ok((told["records"].as_u64() >= Some(2)).then_some(told))
        })
        .expect("they are told");
        for lost in ["refused", "dropped", "damaged", "damaged_sets", "without_template", "missing", "full"] {
            assert_eq!(told[lost], 0, "version {version}: {lost} of {told}");
        }
        agent.stop().expect("it stops");
        expected.add(&Seen { flows: 1, opened: 1, answered: 1, packets, ..Seen::at(0) });
        let kept = kept(&lab);
        let seen =
            kept.get(&kind(hmi, watcher)).unwrap_or_else(|| panic!("{version}: {kept:#?}\n{}", agent.log()));
        let counts = |seen: &Seen| (seen.flows, seen.answered, seen.packets, seen.denied);
        assert_eq!(counts(seen), counts(&expected), "version {version}: {seen:?}");
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 120..=now).contains(&seen.last) && seen.first <= seen.last, "{seen:?} at {now}");
        assert_eq!(others(&kept, &kind(hmi, watcher)), 0, "nothing else was told: {kept:#?}");
    }
}

#[test]
fn what_passes_the_gateway_is_counted_once_and_strangers_are_not_heard() {
    let test = "what_passes_the_gateway_is_counted_once_and_strangers_are_not_heard";
    if !has_softflowd(test) {
        return;
    }
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (watcher, stranger, plc) = (lab.host("hmi"), lab.host(WATCHER), lab.plc());
    let _plc = Plc::start(plc, MODBUS).expect("a PLC");
    let policy = format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"monitor\"\n",
        plc.mac, plc.ip
    );
    let mut agent = Agent::new(&lab, &policy).expect("an agent");
    let tables = format!(
        "\n[history]\nflush = \"1s\"\n[history.collector]\nlisten = \"{}:{PORT}\"\nfrom = [\"{}\"]\n",
        gateway(&lab),
        watcher.ip
    );
    configure(&lab, &agent, "", "", &tables);
    agent.start().expect("it starts");
    wait_for("the collector", SOON, || Ok(listens(&lab).then_some(()))).expect("it listens");
    let (packets, recorded) = poll(watcher, plc);
    tell(watcher, &recorded, gateway(&lab), "9");
    // What the stranger tells of is its own.
    let _server = Plc::start(stranger, MODBUS).expect("a server");
    tell(stranger, &poll(lab.attacker(), stranger).1, gateway(&lab), "9");
    wait_for("both", SOON, || {
        let told = collector(&agent);
        Ok((told["records"].as_u64() >= Some(2) && told["refused"].as_u64() >= Some(1)).then_some(()))
    })
    .expect("they are told");
    wait_for("the row", Duration::from_secs(40), || {
        Ok((collector(&agent)["seen_here"].as_u64() >= Some(1)).then_some(()))
    })
    .expect("it is known already");
    let last = collector(&agent)["refused_last"].clone();
    assert_eq!(last, stranger.ip.to_string());
    agent.stop().expect("it stops");
    let kept = kept(&lab);
    let seen = &kept[&kind(watcher, plc)];
    assert_eq!((seen.flows, seen.packets), (1, packets), "{seen:?}");
    assert_eq!(others(&kept, &kind(watcher, plc)), 0, "nobody believes a stranger: {kept:#?}");
}
