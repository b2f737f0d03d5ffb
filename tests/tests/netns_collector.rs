//! A real exporter, softflowd, watches what does not pass the gateway, and sends NetFlow 5, NetFlow 9 and IPFIX to it: the history has what
//! went over the wire, once.

mod plant;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    ops::ControlFlow,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bulkhead_agent::{
    history::Reader,
    traffic::{End, Kind, Seen, Service},
};
use bulkhead_tests::{
    lab::{
        Agent, Lab, Poller, Sniffer, Topology,
        modbus::Plc,
        topology::{Host, MODBUS},
        wait::wait_for,
    },
    skip::{Tier, skip},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plant::{SOON, configure, require_lab, status};
use serde_json::Value;
use tempfile::TempDir;

const PORT: u16 = 2055;
/// Whoever watches, polls and is polled; all of them are on the uplink side, so that the gateway sees nothing of it.
const WATCHER: &str = "historian";

/// softflowd on the interface of a host, sending to the gateway.
struct Exporter(Child);

impl Exporter {
    fn start(host: &Host, folder: &TempDir, to: Ipv4Addr, version: &str) -> Self {
        let mut command = Command::new("softflowd");
        let path = |name: &str| folder.path().join(name);
        command.args(["-d", "-i", host.interface, "-n", &format!("{to}:{PORT}"), "-v", version]);
        command.arg("-p").arg(path("pid")).arg("-c").arg(path("ctl"));
        // Modbus and nothing else: its own datagrams are no traffic of the plant.
        command.args(["tcp", "port", "502"]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = host.namespace.spawn_child(command).expect("softflowd starts");
        // It listens on its control socket as soon as it captures.
        wait_for("softflowd", SOON, || Ok(path("ctl").exists().then_some(()))).expect("it captures");
        Self(child)
    }

    /// It ends, and tells of every flow before.
    fn finish(mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

/// Polls a server from a host over one connection, and counts its packets and bytes of IP at the server.
fn poll(from: &Host, to: &Host) -> ([u64; 2], u64) {
    let ends = [from.ip, to.ip];
    let sniffer = Sniffer::start(&to.namespace, to.interface, move |seen| {
        let transport = seen.transport()?;
        let pair = [*transport.src.ip(), *transport.dst.ip()];
        if pair == ends { Some(0) } else { (pair == [ends[1], ends[0]]).then_some(1) }
    });
    let sniffer = sniffer.expect("a sniffer");
    let poller =
        Poller::start(from, SocketAddrV4::new(to.ip, MODBUS), Duration::from_millis(20)).expect("polls");
    poller.wait_for_more(20, SOON).expect("polls");
    let polled = poller.stop();
    assert_eq!((polled.failed, polled.reconnects), (0, 0), "{polled:?}");
    wait_for("silence", SOON, || {
        let before = sniffer.counts()?;
        std::thread::sleep(plant::SILENCE);
        Ok((sniffer.counts()? == before).then_some(()))
    })
    .expect("it ends");
    let counts = sniffer.stop().expect("none was missed");
    ([counts[&0], counts[&1]], polled.ok)
}

fn kind(from: &Host, to: &Host) -> Kind {
    let at = |host: &Host| End::at(IpAddr::V4(host.ip));
    Kind { from: at(from), to: at(to), service: Service { protocol: 6, number: MODBUS } }
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
        let folder = TempDir::new().expect("a folder");
        let listens = || Ok(collector(&agent)["problem"].is_null().then_some(()));
        wait_for("the collector", SOON, listens).expect("it listens");
        let exporter = Exporter::start(watcher, &folder, gateway(&lab), version);
        let (packets, _) = poll(hmi, watcher);
        exporter.finish();
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
        assert_eq!(kept.len(), 1, "nothing else was told: {kept:#?}");
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
    let listens = || Ok(collector(&agent)["problem"].is_null().then_some(()));
    wait_for("the collector", SOON, listens).expect("it listens");
    let folders = [(); 2].map(|()| TempDir::new().expect("a folder"));
    let exporters = [
        Exporter::start(watcher, &folders[0], gateway(&lab), "9"),
        Exporter::start(stranger, &folders[1], gateway(&lab), "9"),
    ];
    let (packets, _) = poll(watcher, plc);
    // What the stranger tells of is its own.
    let _server = Plc::start(stranger, MODBUS).expect("a server");
    let _ = poll(lab.host("attacker"), stranger);
    exporters.into_iter().for_each(Exporter::finish);
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
    assert_eq!(kept.len(), 1, "nobody believes a stranger: {kept:#?}");
}
