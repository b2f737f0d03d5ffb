//! A device whose address comes by DHCP has its rights at the address that the server gave it, and nobody else has them
//! there: at once, through renewals, through the agent's death and a reboot, until the lease is over.

mod plant;

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bulkhead_tests::{
    lab::{
        Agent, Host, Lab, Mac, Topology,
        dhcp::{DhcpClient, DhcpServer, PROGRAMS},
        frames::{self, Dhcp, EVERYBODY},
        link,
        modbus::{Plc, Write, write_once},
        stacks::requires,
        topology::{ATTACKER, MODBUS, PLC},
        wait::wait_for,
        wire::{self, RawSender},
    },
    skip::{Tier, skip},
};
use nix::sys::signal::Signal;
use plant::{SILENCE, SOON, Said, configure, deliver, require_lab, settled};
use serde_json::{Value, json};

const LEASED: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 77);
const NOT_LEASED: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 88);
const STRANGER: Mac = Mac([2, 0xba, 0xd0, 0, 0, 1]);
/// Of the real server, long enough for a test.
const SECONDS: u32 = 600;
/// Nothing is taken at its word for being older than the agent.
const NO_ADOPTION: &str = "\n[flows]\nadopt_for = \"0s\"\n";

/// A bridged lab whose PLC has no address yet.
fn without_address(test: &str) -> Option<Lab> {
    let lab = require_lab(test, Topology::Bridged)?;
    link::no_address(&lab.plc().namespace, lab.plc().interface).expect("taken away");
    Some(lab)
}

fn with_programs(test: &str) -> Option<Lab> {
    if let Err(reason) = requires(&PROGRAMS) {
        skip(Tier::Stacks, test, &reason);
        return None;
    }
    without_address(test)
}

/// The HMI may poll the PLC wherever that is.
fn policy(lab: &Lab, more: &str) -> String {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"dhcp\"\nsegment = \"cell0\"\nmode = \"enforce\"\n\n\
         [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n\n\
         [device.hmi]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n\n\
         {more}",
        plc.mac, hmi.mac, hmi.ip
    )
}

/// The PLC may ask the DHCP server again by its address.
fn renewing(lab: &Lab) -> String {
    let rule = "[[device.plc.allow]]\nto = \"dhcp-server\"\nservice = \"dhcp\"\n";
    policy(lab, &format!("[network.dhcp-server]\ncidr = \"{}/32\"\n\n{rule}", lab.host("historian").ip))
}

/// The uplink trusts the historian as a DHCP server, in both families, and nobody else.
fn agent<'a>(lab: &'a Lab, policy: &str) -> Agent<'a> {
    let agent = Agent::new(lab, policy).expect("an agent");
    let historian = lab.host("historian");
    let servers =
        format!("trusted = false\ndhcp_servers = [\"{}\", \"{}\"]", historian.ip, historian.link_local());
    configure(lab, &agent, "", &servers, NO_ADOPTION);
    agent
}

/// Whether the HMI reaches the PLC at an address.
fn polls(lab: &Lab, address: impl Into<IpAddr>) -> bool {
    let place = SocketAddr::new(address.into(), MODBUS);
    let _plc = Plc::start_at(lab.plc(), place).expect("it listens");
    // A first try may still find an old neighbour.
    write_once(lab.host("hmi"), place, 3, 9, SOON).expect("a try") == Write::Written
}

fn device(agent: &Agent<'_>) -> Value {
    let answer = agent.ask(&json!({ "verb": "devices" })).expect("an answer");
    let devices = answer["ok"]["devices"].as_array().expect("a list").clone();
    devices.into_iter().find(|device| device["name"] == PLC).expect("it is there")
}

/// Blanks folded: a table's columns are as wide as their longest word.
fn fold(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// For how many seconds the PLC still has the address.
fn seconds_left(agent: &Agent<'_>, address: &str) -> Option<u64> {
    let leases = device(agent)["leases"].as_array().expect("a list").clone();
    leases.iter().find(|lease| lease["address"] == address)?["seconds_left"].as_u64()
}

/// Waits until the agent has read the server's answer: before that, the kernel has bound it for an hour.
fn wait_read(agent: &Agent<'_>, address: &str, at_most: u64) -> u64 {
    wait_for(
        "the lease to be read",
        SOON,
        || Ok(seconds_left(agent, address).filter(|left| *left <= at_most)),
    )
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", device(agent), agent.log()))
}

/// What nobody may say while the PLC has the lease, and what the log says of it.
fn abuses(lab: &Lab) -> [(&'static str, Said); 3] {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let up = |name, mac, address| {
        let frame = frames::datagram((mac, address), (hmi.mac, hmi.ip), (502, 4000), b"answer");
        Said { name, from: PLC, to: "hmi", frame }
    };
    let announcement = wire::arp_announcement(lab.attacker().mac, LEASED);
    [
        ("source-mac-mismatch", up("another MAC at the leased address", STRANGER, LEASED)),
        ("source-address-mismatch", up("the PLC at an address it has not", plc.mac, NOT_LEASED)),
        ("address-conflict", Said { name: "announcement", from: ATTACKER, to: PLC, frame: announcement }),
    ]
}

fn assert_nobody_abuses(lab: &Lab, agent: &Agent<'_>) {
    let before = settled(agent).len();
    let (reasons, said): (BTreeSet<&str>, Vec<Said>) = abuses(lab).into_iter().unzip();
    let fence = |name, from, to, host: &Host, address| {
        let frame = frames::arp_question(host.mac, (host.mac, address), Ipv4Addr::new(10, 20, 1, 1));
        Said { name, from, to, frame }
    };
    let honest = [
        fence("the PLC's own", PLC, "hmi", lab.plc(), LEASED),
        fence("the attacker's own", ATTACKER, PLC, lab.attacker(), lab.attacker().ip),
    ];
    let expected: BTreeSet<&str> = honest.iter().map(|said| said.name).collect();
    let all: Vec<Said> = said.into_iter().chain(honest).collect();
    assert_eq!(deliver(lab, &all, &expected), expected);
    let records = settled(agent);
    let told: BTreeSet<&str> = records[before..].iter().filter_map(|r| r["reason"].as_str()).collect();
    assert_eq!(told, reasons, "{records:#?}");
}

#[test]
fn leased_address_is_the_devices_through_renewal_kill_and_reboot() {
    let test = "leased_address_is_the_devices_through_renewal_kill_and_reboot";
    let Some(lab) = with_programs(test) else { return };
    let leased = LEASED.to_string();
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let far = "\n[device.far]\nip = \"10.20.9.9\"\n";
    let mut agent = agent(&lab, &(renewing(&lab) + far));
    agent.start().expect("it starts");
    let mine = device(&agent);
    assert_eq!((&mine["identity"], &mine["segment"]), (&json!("mac"), &json!("cell0")), "{mine}");
    assert_eq!((&mine["dhcp"], &mine["leases"]), (&json!(true), &json!([])), "{mine}");
    let shown = String::from_utf8(agent.cli(&["devices"]).expect("it runs").stdout).expect("text");
    for words in ["dhcp (no lease seen)  cell0", "weak: address only  10.20.9.9  "] {
        let folded = shown.lines().any(|line| fold(line).contains(&fold(words)));
        assert!(folded, "`{words}` is not in:\n{shown}");
    }

    let _server = DhcpServer::start(historian, plc.mac, LEASED, SECONDS).expect("a server");
    let mut client = DhcpClient::start(plc, &[]).expect("a client");
    client.wait_for_lease(LEASED).expect("a lease");
    assert!(polls(&lab, LEASED), "{:#?}\n{}", agent.violations(), client.said());
    let left = wait_read(&agent, &leased, SECONDS.into());
    let shown = String::from_utf8(agent.cli(&["devices"]).expect("it runs").stdout).expect("text");
    assert!(shown.contains("10.20.1.77 (lease, 9m)"), "{shown}");
    assert_eq!(settled(&agent), [] as [Value; 0], "nothing was denied on the way");
    assert_nobody_abuses(&lab, &agent);

    // The time that is over comes back with a renewal, which goes to the server alone.
    wait_for("a second to pass", SOON, || Ok(seconds_left(&agent, &leased).filter(|now| *now + 2 <= left)))
        .expect("time passes");
    client.renew().expect("asked");
    client.wait_for_lease(LEASED).expect("renewed");
    wait_for("the renewal to be read", SOON, || {
        Ok(seconds_left(&agent, &leased).filter(|now| *now + 1 >= u64::from(SECONDS)))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", device(&agent)));
    let before = settled(&agent).len();

    // The agent is killed: the kernel keeps the lease. Another one finds it there.
    agent.kill9().expect("killed");
    assert!(polls(&lab, LEASED));
    agent.start().expect("it starts");
    assert!(seconds_left(&agent, &leased).is_some(), "{}", device(&agent));
    assert!(polls(&lab, LEASED));
    // The machine is switched off and on: nothing is left but the state folder.
    agent.stop().expect("it stops");
    let kept = lab.gateway.room.read("state/leases.json").expect("readable");
    assert!(kept.contains(&leased) && kept.contains(&plc.mac.to_string()), "{kept}");
    assert_eq!(agent.violations().expect("a log").len(), before, "nothing was denied");
    assert!(agent.cli(&["detach", "--yes"]).expect("it runs").status.success());
    fs::remove_file(agent.violations_file()).expect("it is there");
    agent.start().expect("it starts");
    wait_read(&agent, &leased, SECONDS.into());
    assert!(polls(&lab, LEASED));
    assert_eq!(settled(&agent), [] as [Value; 0], "nothing was denied");
    assert_nobody_abuses(&lab, &agent);
}

#[test]
fn lease_binds_while_the_agent_sleeps() {
    let test = "lease_binds_while_the_agent_sleeps";
    let Some(lab) = with_programs(test) else { return };
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let mut agent = agent(&lab, &policy(&lab, ""));
    agent.start().expect("it starts");
    agent.signal(Signal::SIGSTOP).expect("stopped");
    let _server = DhcpServer::start(historian, plc.mac, LEASED, SECONDS).expect("a server");
    let mut client = DhcpClient::start(plc, &[]).expect("a client");
    client.wait_for_lease(LEASED).expect("a lease");
    assert!(polls(&lab, LEASED), "{}", client.said());
    agent.signal(Signal::SIGCONT).expect("it goes on");
    wait_read(&agent, &LEASED.to_string(), SECONDS.into());
    assert_nobody_abuses(&lab, &agent);
}

#[test]
fn device_that_serves_dhcp_may_answer_by_broadcast_if_a_rule_says_so() {
    let test = "device_that_serves_dhcp_may_answer_by_broadcast_if_a_rule_says_so";
    let Some(lab) = with_programs(test) else { return };
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let serves = format!("[device.historian]\nmac = \"{}\"\nip = \"{}\"\n\n", historian.mac, historian.ip);
    let rule = "[[device.historian.allow]]\nfrom = \"any\"\nservice = \"dhcp\"\n";
    let mut agent = Agent::new(&lab, &policy(&lab, &serves)).expect("an agent");
    configure(&lab, &agent, "", "trusted = false", NO_ADOPTION);
    agent.start().expect("it starts");
    let _server = DhcpServer::start(historian, plc.mac, LEASED, SECONDS).expect("a server");
    let mut client = DhcpClient::start(plc, &["-B"]).expect("a client");
    agent.wait_violation("without a rule", SOON, |v| v["reason"] == "rogue-dhcp").expect("it is told");
    assert_eq!(device(&agent)["leases"], json!([]));
    plant::apply(&agent, &policy(&lab, &format!("{serves}{rule}")));
    client.wait_for_lease(LEASED).expect("a lease");
    assert!(polls(&lab, LEASED), "{}", client.said());
    wait_read(&agent, &LEASED.to_string(), SECONDS.into());
}

/// An acknowledgement from a host's own interface and address to the PLC.
fn acknowledge(server: &Host, plc: &Host, address: Ipv4Addr, seconds: u32) {
    let [a, b, c, d] = seconds.to_be_bytes();
    let answer = Dhcp {
        from: (server.mac, server.ip),
        to: (plc.mac, address),
        client: plc.mac,
        address,
        message: Dhcp::ACK,
        options: &[51, 4, a, b, c, d],
    };
    send(server, &answer.answer());
}

fn send(host: &Host, frame: &[u8]) {
    let sender = RawSender::new(&host.namespace, host.interface).expect("a packet socket");
    sender.send(frame).expect("sent");
}

#[test]
fn lease_ends_with_its_time() {
    let test = "lease_ends_with_its_time";
    let Some(lab) = without_address(test) else { return };
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    link::address(&plc.namespace, plc.interface, LEASED, 24).expect("an address");
    let mut agent = agent(&lab, &policy(&lab, ""));
    agent.start().expect("it starts");
    let _server = Plc::start_at(plc, (LEASED, MODBUS)).expect("it listens");
    let write = |within| write_once(hmi, (LEASED, MODBUS), 3, 9, within).expect("a try") == Write::Written;
    assert!(!write(SILENCE), "it has no lease");
    acknowledge(lab.host("historian"), plc, LEASED, 5);
    wait_read(&agent, &LEASED.to_string(), 5);
    assert!(write(SOON));
    wait_for("the lease to end", SOON, || {
        Ok(seconds_left(&agent, &LEASED.to_string()).is_none().then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", device(&agent)));
    let before = settled(&agent).len();
    assert!(!write(SILENCE), "its time is over");
    let records = settled(&agent);
    let told: BTreeSet<&str> = records[before..].iter().filter_map(|r| r["reason"].as_str()).collect();
    // Nothing to the address any more, and the PLC may not even say that it has it.
    let reasons = ["arp-sender-mismatch", "destination-mismatch", "source-address-mismatch"];
    assert!(!told.is_empty() && told.iter().all(|reason| reasons.contains(reason)), "{told:?}");
}

#[test]
fn rogue_server_binds_nothing() {
    let test = "rogue_server_binds_nothing";
    let Some(lab) = without_address(test) else { return };
    let plc = lab.plc();
    // The rule is about whom the PLC may ask, not about who may answer everybody.
    let mut agent = agent(&lab, &renewing(&lab));
    agent.start().expect("it starts");
    // From beyond the uplink by somebody who is not listed, and from the device side in the listed server's name.
    acknowledge(lab.attacker(), plc, NOT_LEASED, 600);
    let historian = lab.host("historian");
    let forged = Dhcp {
        from: (STRANGER, historian.ip),
        to: (EVERYBODY, Ipv4Addr::BROADCAST),
        client: plc.mac,
        address: NOT_LEASED,
        message: Dhcp::ACK,
        options: &[51, 4, 0, 0, 2, 88],
    };
    send(plc, &forged.answer());
    let records = wait_for("both to be told", SOON, || {
        let records = settled(&agent);
        Ok((records.len() == 2).then_some(records))
    });
    let records = records.unwrap_or_else(|error| panic!("{error}: {:#?}", agent.violations()));
    for record in &records {
        assert_eq!((&record["reason"], &record["action"]), (&json!("rogue-dhcp"), &json!("dropped")));
    }
    assert_eq!(device(&agent)["leases"], json!([]));
    let hmi = lab.host("hmi");
    send(plc, &frames::datagram((plc.mac, NOT_LEASED), (hmi.mac, hmi.ip), (502, 4000), b"answer"));
    agent
        .wait_violation("an address that a rogue gave", SOON, |v| v["reason"] == "source-address-mismatch")
        .expect("it is told");
}

#[test]
fn lease_of_dhcpv6_is_the_devices() {
    let test = "lease_of_dhcpv6_is_the_devices";
    let Some(lab) = without_address(test) else { return };
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let leased = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x77);
    let hmi_v6 = lab.host("hmi").ip6();
    let text = policy(&lab, "").replace(
        &format!("ip = \"{}\"", lab.host("hmi").ip),
        &format!("ip = [\"{}\", \"{hmi_v6}\"]", lab.host("hmi").ip),
    );
    let mut agent = agent(&lab, &text);
    agent.start().expect("it starts");
    lab.host("hmi").speak_ipv6().expect("it has addresses");
    link::ipv6_on(&plc.namespace, plc.interface).expect("on");
    // Identity 1; the address, preferred and valid for ten minutes (RFC 8415 21.4, 21.6).
    let mut address = leased.octets().to_vec();
    address.extend([0, 0, 2, 88, 0, 0, 2, 88]);
    let option =
        |code: u8, value: &[u8]| [&[0, code, 0, u8::try_from(value.len()).expect("short")], value].concat();
    let association = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], option(5, &address).as_slice()].concat();
    let reply = [&[7, 0, 0, 1], option(3, &association).as_slice()].concat();
    let ends = ((historian.mac, historian.link_local()), (plc.mac, plc.link_local()));
    send(historian, &frames::datagram_v6(ends.0, ends.1, (547, 546), &reply));
    wait_read(&agent, &leased.to_string(), 600);
    link::address(&plc.namespace, plc.interface, leased, 64).expect("an address");
    wait_for("the PLC to have its address", SOON, || {
        Ok(plc.namespace.run(|| std::net::UdpSocket::bind((leased, 0))).is_ok().then_some(()))
    })
    .expect("nobody else has it");
    assert!(polls(&lab, leased), "{:#?}", agent.violations());
}
