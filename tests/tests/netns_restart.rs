//! An agent that is restarted and killed leaves no trace in the traffic: fragments and sessions in flight lose nothing,
//! an idle flow ends when it would have ended, and what was taken on trust at the first start is not so again.

mod plant;

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use bulkhead_tests::lab::{
    Agent, EchoStream, Lab, Poller, Topology,
    modbus::Plc,
    topology::{MODBUS, PLC},
    wait::wait_for,
    wire::{self, Path},
};
use plant::{SILENCE, SOON, Said, configure, deliver, require_lab, settled};
use serde_json::Value;

const ECHO: u16 = 5000;
const RESTARTS: u32 = 10;
const KILLS: u32 = 5;
/// Six fragments each way.
const DATAGRAM: usize = 8000;
/// Longer than a restart takes, even on a busy machine.
const IDLE: Duration = Duration::from_secs(12);

/// The HMI may poll the PLC and talk to its echo port.
fn policy(lab: &Lab) -> String {
    let device = |name| {
        let host = lab.host(name);
        format!("[device.{name}]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n\n", host.mac, host.ip)
    };
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = \"hmi\"\nservice = [\"modbus\", \"echo\"]\n\n\
         [service.echo]\nudp = \"{ECHO}\"\n",
        device(PLC),
        device("hmi")
    )
}

fn agent<'a>(lab: &'a Lab, flows: &str) -> Agent<'a> {
    let agent = Agent::new(lab, &policy(lab)).expect("an agent");
    configure(lab, &agent, "", "", &format!("\n[flows]\n{flows}\n"));
    agent
}

fn restart(agent: &mut Agent<'_>) {
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
}

fn fragments_and_sessions_survive(lab: &Lab) {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let server = Plc::start(plc, MODBUS).expect("a PLC");
    let poller = Poller::start(hmi, lab.modbus(), Duration::from_millis(2)).expect("a first poll");
    let mut agent = agent(lab, "adopt_for = \"10m\"");
    agent.start().expect("it starts");
    let big = EchoStream::sized(hmi, plc, ECHO, Duration::from_millis(2), DATAGRAM).expect("an echo");
    for round in 0..RESTARTS + KILLS {
        // Every third agent is killed: ten restarts and five kills.
        if round % 3 == 2 {
            agent.kill9().expect("killed");
        } else {
            agent.stop().expect("it stops");
        }
        go_on(&poller, &big);
        agent.start().expect("it starts");
        go_on(&poller, &big);
    }
    let (polls, echoes) = (poller.stop(), big.stop());
    println!("{} polls, longest gap {} ms; {echoes:?}", polls.ok, polls.longest_gap.as_millis());
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(echoes.lost, 0, "{echoes:?}");
    assert_eq!(server.asked_by(hmi.ip).connections, 1, "one session through it all");
    assert_eq!(settled(&agent), [] as [Value; 0], "nothing was denied");
}

/// Both go on with whoever enforces now.
fn go_on(poller: &Poller, echo: &EchoStream) {
    poller.wait_for_more(10, SOON).expect("polls go on");
    let goal = echo.echoes().answered + 10;
    wait_for("echoes", SOON, || Ok((echo.echoes().answered >= goal).then_some(()))).expect("they go on");
}

#[test]
fn fragments_and_sessions_in_flight_survive_restarts_when_routed() {
    let test = "fragments_and_sessions_in_flight_survive_restarts_when_routed";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    fragments_and_sessions_survive(&lab);
}

#[test]
fn fragments_and_sessions_in_flight_survive_restarts_when_bridged() {
    let test = "fragments_and_sessions_in_flight_survive_restarts_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    fragments_and_sessions_survive(&lab);
}

/// Whether a segment in the middle of a session that nobody has seen begin passes, from the PLC, which may begin none;
/// each time of another session.
fn is_adopted(lab: &Lab, port: u16) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let path = |from: u16, to: u16| Path {
        src_mac: plc.mac,
        dst_mac: hmi.mac,
        src: SocketAddrV4::new(plc.ip, from),
        dst: SocketAddrV4::new(hmi.ip, to),
        ttl: 64,
    };
    let segment = wire::tcp_data(path(MODBUS, port), 1000, 2000, b"answer");
    let honest = wire::arp_announcement(plc.mac, plc.ip);
    let said = |name, frame| Said { name, from: PLC, to: "hmi", frame };
    let arrived = deliver(
        lab,
        &[said("segment", segment), said("honest", honest)],
        // Behind what always passes it would have been seen.
        &BTreeSet::from(["honest"]),
    );
    assert!(arrived.contains("honest"));
    arrived.contains("segment")
}

#[test]
fn adoption_does_not_begin_again_with_a_restart() {
    let test = "adoption_does_not_begin_again_with_a_restart";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let mut agent = agent(&lab, "adopt_for = \"8s\"");
    agent.start().expect("it starts");
    let mut ports = 40_000..;
    let mut next = || is_adopted(&lab, ports.next().expect("there are enough"));
    assert!(next(), "the agent has just begun");
    wait_for("the end of adoption", Duration::from_secs(30), || Ok((!next()).then_some(())))
        .expect("it ends");
    restart(&mut agent);
    assert!(!next(), "after a restart");
    agent.kill9().expect("killed");
    assert!(!next(), "while nobody is there");
    agent.start().expect("it starts");
    assert!(!next(), "after a kill");
    let records = settled(&agent);
    let told: BTreeSet<&str> = records.iter().filter_map(|record| record["reason"].as_str()).collect();
    assert!(told.contains("no-flow"), "{records:#?}");
}

/// A question that waits for its answer.
struct Asked {
    client: UdpSocket,
    from: std::net::SocketAddr,
    at: Instant,
}

fn ask(lab: &Lab, server: &UdpSocket) -> Asked {
    let hmi = lab.host("hmi");
    let client = hmi.namespace.run(|| UdpSocket::bind((hmi.ip, 0))).expect("a client");
    client.set_read_timeout(Some(SOON)).expect("a time");
    let at = Instant::now();
    client.send_to(b"question", (lab.plc().ip, ECHO)).expect("sent");
    let (_, from) = server.recv_from(&mut [0; 8]).expect("the question passes");
    Asked { client, from, at }
}

impl Asked {
    fn is_answered(&self, server: &UdpSocket, within: Duration) -> bool {
        server.send_to(b"answer", self.from).expect("sent");
        self.client.set_read_timeout(Some(within)).expect("a time");
        match self.client.recv(&mut [0; 8]) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn idle_flow_ends_on_time_whoever_restarts_meanwhile() {
    let test = "idle_flow_ends_on_time_whoever_restarts_meanwhile";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let plc = lab.plc();
    let mut agent = agent(&lab, &format!("adopt_for = \"0s\"\nudp_idle = \"{}s\"", IDLE.as_secs()));
    agent.start().expect("it starts");
    let server = plc.namespace.run(|| UdpSocket::bind((plc.ip, ECHO))).expect("a server");
    server.set_read_timeout(Some(SOON)).expect("a time");
    let (early, late) = (ask(&lab, &server), ask(&lab, &server));
    restart(&mut agent);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let took = early.at.elapsed();
    assert!(took < IDLE, "the machine is too slow for this test: two restarts took {took:?}");
    assert!(early.is_answered(&server, SOON), "it is not idle yet");
    assert_eq!(settled(&agent), [] as [Value; 0], "nothing was denied");
    // Only time ends it.
    thread::sleep((IDLE + Duration::from_millis(500)).saturating_sub(late.at.elapsed()));
    assert!(!late.is_answered(&server, SILENCE), "idle for longer than configured");
    let denied = agent.wait_violation("the late answer", SOON, |record| record["reason"] == "no-flow");
    assert_eq!(denied.expect("it is told")["source"]["name"], PLC);
}
