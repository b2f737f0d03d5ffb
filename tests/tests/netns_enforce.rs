//! What an operator does to a running gateway, and what packets meet afterwards: modes, quarantine, the management pin,
//! unmanaged traffic, right and wrong policies.

use std::{
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    process::Output,
    time::Duration,
};

use bulkhead_agent::record::schema;
use bulkhead_tests::{
    lab::{
        Agent, Lab, Seen, Sniffer, Topology,
        attack::{Attacker, Judge, Origin, sniff_plc},
        lab_for,
        modbus::{Plc, Write, write_once},
        topology::{Host, MODBUS},
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::Tier,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
/// Silence for so long is an answer: the way through the lab takes microseconds.
const SILENCE: Duration = Duration::from_millis(300);

fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    lab_for(Tier::Netns, test, topology, 1500)
}

fn device(host: &Host, mode: &str) -> String {
    let Host { name, mac, ip, .. } = host;
    format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"{mode}\"\n\n")
}

/// The HMI may talk with the PLC; a quarantined device with engineering.
fn policy(lab: &Lab, plc_mode: &str) -> String {
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"modbus\"]\n\n\
         [network.engineering]\ncidr = \"{}/32\"\n\n[quarantine]\npeers = [\"engineering\"]\n",
        device(lab.plc(), plc_mode),
        device(lab.host("hmi"), "monitor"),
        lab.host("engineering").ip,
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must end with this code; what it printed on both ways out.
fn run(agent: &Agent<'_>, args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = agent.cli(args).expect("it runs");
    let said = text(&stdout) + &text(&stderr);
    assert_eq!(status.code(), Some(code), "`bulkhead {}`:\n{said}", args.join(" "));
    said
}

fn status(agent: &Agent<'_>) -> Value {
    agent.ask(&json!({ "verb": "status" })).expect("an answer")["ok"]["status"].clone()
}

fn plc_counts(agent: &Agent<'_>) -> Value {
    agent.cli_json(&["devices", "plc", "--json"]).expect("devices")[0]["counts"].clone()
}

fn write(lab: &Lab, from: &str, within: Duration) -> Write {
    write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try")
}

/// Waits until the log tells of `count` packets that `wanted` accepts; the last record of them.
fn told(agent: &Agent<'_>, count: u64, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = wait_for("the violations", SOON, || {
        let records: Vec<Value> = agent.violations()?.into_iter().filter(&wanted).collect();
        let sum: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
        Ok((sum >= count).then_some((sum, records)))
    });
    let (sum, mut records) = found.unwrap_or_else(|error| panic!("{error}: {:?}", agent.violations()));
    assert_eq!(sum, count, "{records:?}");
    records.pop().expect("a count needs a record")
}

/// What was written, and what whoever follows is told: the same records, and as the schema says.
fn assert_fit_the_schema(agent: &Agent<'_>) {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    let shown = text(&agent.cli(&["violations", "--json", "--last", "1024"]).expect("it runs").stdout);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!shown.is_empty());
    let records = agent.violations().expect("a log");
    for record in &shown {
        assert!(records.contains(record), "the log has {record}");
        let wrong: Vec<String> = validator.iter_errors(record).map(|error| error.to_string()).collect();
        assert_eq!(wrong, [""; 0], "{record}");
    }
}

fn modes_decide_what_becomes_of_a_denied_packet(lab: &Lab) {
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(lab, &policy(lab, "monitor")).expect("an agent");
    agent.start().expect("it starts");
    let sniffer = sniff_plc(lab).expect("a sniffer");
    let attacker = Attacker::new(lab).expect("an attacker");
    // Somebody listens where the datagrams go: an ICMP error in return would be a violation of its own.
    let sink = SocketAddrV4::new(lab.plc().ip, 9999);
    let _sink = lab.plc().namespace.run(|| UdpSocket::bind(sink)).expect("a free port");

    // Monitor: everything arrives, and is reported as what enforcing would drop.
    let sent = attacker.udp_flood(5, 1).expect("sent");
    sniffer
        .wait_until("what monitor passes", SOON, |c| c.get(&Origin::Forged) == Some(&sent))
        .expect("it passes");
    let record = told(&agent, 5, |record| record["action"] == "passed");
    let Host { mac, ip, .. } = lab.attacker();
    let plc = lab.plc();
    for (key, wanted) in [
        ("v", json!(1)),
        ("device", json!("plc")),
        ("mode", json!("monitor")),
        ("verdict", json!("deny")),
        ("reason", json!("unknown-peer")),
        ("rule", Value::Null),
        ("protocol", json!("udp")),
        ("icmp", Value::Null),
        ("vlan", Value::Null),
        ("inner_vlan", Value::Null),
        ("interface", json!("plant0")),
        ("revision", status(&agent)["revision"].clone()),
        ("gateway", status(&agent)["gateway"].clone()),
    ] {
        assert_eq!(record[key], wanted, "`{key}` of {record}");
    }
    let end = json!({ "name": null, "mac": mac.to_string(), "ip": ip.to_string() });
    for key in ["name", "mac", "ip"] {
        assert_eq!(record["source"][key], end[key], "{record}");
    }
    assert_eq!(
        record["destination"],
        json!({ "name": "plc", "mac": lab.next_hop().to_string(), "ip": plc.ip.to_string(), "port": 9999 })
    );
    for time in ["time", "first"] {
        let time = record[time].as_str().expect("a time");
        assert!(time.len() == 27 && time.ends_with('Z') && &time[10..11] == "T", "RFC 3339: {time}");
    }
    assert!(record["seq"].as_u64() >= Some(1) && record["bytes"].as_u64() >= record["count"].as_u64());
    assert!(record["explanation"].as_str().is_some_and(|text| !text.is_empty()));
    // The first of them came with its frame: from the attacker, over IPv4, to port 9999.
    let records = agent.violations().expect("a log");
    let frame = records.iter().find_map(|record| record["packet"].as_str()).expect("a sample packet");
    let begins = [lab.next_hop(), *mac].map(|mac| mac.to_string().replace(':', "")).concat() + "0800";
    assert!(frame.starts_with(&begins), "{frame}");
    assert_eq!(&frame[72..76], format!("{:04x}", 9999), "{frame}");
    assert_fit_the_schema(&agent);

    // Enforce, by hand, for one device: nothing arrives, and is reported as dropped.
    let said = run(&agent, &["mode", "plc", "enforce", "--why", "test"], 0);
    assert!(said.contains("plc: monitor -> enforce (revision "), "{said}");
    attacker.udp_flood(7, 1).expect("sent");
    let record = told(&agent, 7, |record| record["action"] == "dropped");
    assert_eq!((&record["mode"], &record["device"]), (&json!("enforce"), &json!("plc")));
    assert_eq!(sniffer.count(&Origin::Forged), sent, "not one more");
    // The HMI is in monitor mode still: what only concerns it passes.
    let modes = status(&agent)["modes"].clone();
    assert_eq!(modes, json!({ "monitor": 1, "enforce": 1, "quarantine": 0 }));
    assert_eq!(write(lab, "hmi", SOON), Write::Written, "a rule allows it in any mode");
    let devices = run(&agent, &["devices"], 0);
    assert!(devices.contains("enforce (by hand)"), "{devices}");

    for interface in status(&agent)["interfaces"].as_array().expect("interfaces") {
        let of = |key: &str| interface[key].as_u64().expect("a count");
        assert_eq!(of("seen"), of("passed") + of("dropped"), "{interface}");
        let uplink = interface["name"] == "plant0";
        assert_eq!((of("would_drop"), of("dropped")), if uplink { (5, 7) } else { (0, 0) }, "{interface}");
    }
    let counts = status(&agent)["violations"].clone();
    assert_eq!(counts["violations"], 12, "{counts}");
}

#[test]
fn monitor_passes_and_reports_and_enforce_drops_and_reports_when_routed() {
    let test = "monitor_passes_and_reports_and_enforce_drops_and_reports_when_routed";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    modes_decide_what_becomes_of_a_denied_packet(&lab);
}

#[test]
fn monitor_passes_and_reports_and_enforce_drops_and_reports_when_bridged() {
    let test = "monitor_passes_and_reports_and_enforce_drops_and_reports_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    modes_decide_what_becomes_of_a_denied_packet(&lab);
}

fn quarantine_cuts_off(lab: &Lab) {
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(lab, &policy(lab, "monitor")).expect("an agent");
    agent.start().expect("it starts");
    assert_eq!(write(lab, "hmi", SOON), Write::Written);
    assert_eq!(write(lab, "engineering", SOON), Write::Written, "monitor mode");

    run(&agent, &["quarantine", "plc", "--why", "infected"], 0);
    assert_eq!(write(lab, "hmi", SILENCE), Write::Unanswered, "its rule does not help it");
    assert_eq!(write(lab, "historian", SILENCE), Write::Unanswered);
    assert_eq!(write(lab, "engineering", SOON), Write::Written, "the remediation peer");
    let counts = plc_counts(&agent);
    assert!(counts["quarantined"].as_u64() > Some(0) && counts["remediation"].as_u64() > Some(0), "{counts}");
    // What a device cannot live without goes on.
    let hmi = lab.host("hmi");
    let before = counts["arp"].as_u64().unwrap_or(0);
    let plc = lab.plc();
    let sender = RawSender::new(&plc.namespace, plc.interface).expect("a sender");
    sender.send(&wire::arp_announcement(plc.mac, plc.ip)).expect("sent");
    wait_for("the announcement to pass", SOON, || {
        Ok((plc_counts(&agent)["arp"].as_u64() > Some(before)).then_some(()))
    })
    .expect("ARP is infrastructure");
    let devices = agent.cli_json(&["devices", "plc", "--json"]).expect("devices");
    let changed = devices[0]["changed"].as_str().expect("it was changed by hand").to_owned();
    assert!(changed.contains("infected") && changed.contains("uid 0"), "{changed}");

    // A quarantine outlives the agent, and a policy that knows nothing of it.
    agent.kill9().expect("it runs");
    agent.start().expect("it starts");
    run(&agent, &["apply"], 0);
    assert_eq!(status(&agent)["modes"]["quarantine"], 1);
    assert_eq!(write(lab, "hmi", SILENCE), Write::Unanswered);

    run(&agent, &["release", "plc"], 0);
    assert_eq!(write_once(hmi, lab.modbus(), 50, 8, SOON).expect("a try"), Write::Written);
    let said = run(&agent, &["release", "plc"], 1);
    assert!(said.contains("nothing to release"), "{said}");
    // A quarantine gives back the mode that was set by hand before it.
    run(&agent, &["mode", "plc", "monitor"], 0);
    let said = run(&agent, &["quarantine", "plc"], 0);
    assert!(said.contains("plc: monitor -> quarantine (revision "), "{said}");
    assert_eq!(status(&agent)["quarantined"], json!(["plc"]));
    let said = run(&agent, &["release", "plc"], 0);
    assert!(said.contains("plc: quarantine -> monitor (revision "), "{said}");
    assert_eq!(status(&agent)["by_hand"], json!({ "plc": "monitor" }));
    let said = run(&agent, &["quarantine", "plc", "--why", "a\nb"], 1);
    assert!(said.contains("control character"), "{said}");
    run(&agent, &["release", "plc"], 0);
    assert_eq!(status(&agent)["by_hand"], json!({}));
    let said = run(&agent, &["quarantine", "plx"], 1);
    assert!(said.contains("unknown device `plx`") && said.contains("did you mean `plc`?"), "{said}");
}

#[test]
fn quarantine_leaves_remediation_and_infrastructure_until_release_when_routed() {
    let test = "quarantine_leaves_remediation_and_infrastructure_until_release_when_routed";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    quarantine_cuts_off(&lab);
}

#[test]
fn quarantine_leaves_remediation_and_infrastructure_until_release_when_bridged() {
    let test = "quarantine_leaves_remediation_and_infrastructure_until_release_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    quarantine_cuts_off(&lab);
}

/// The lab's configuration with another `unmanaged` for the uplink.
fn uplink_with(lab: &Lab, key: &str) {
    let room = &lab.gateway.room;
    let config = room.read("bulkhead.toml").expect("written by the lab");
    let uplink = "role = \"uplink\"\n";
    assert_eq!(config.matches(uplink).count(), 1);
    room.write("bulkhead.toml", &config.replace(uplink, &format!("{uplink}{key}\n"))).expect("writable");
}

#[test]
fn management_of_the_gateway_stays_reachable_whatever_the_policy_says() {
    let test = "management_of_the_gateway_stays_reachable_whatever_the_policy_says";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    // The strictest of all: nothing is allowed, and what is not managed is dropped.
    let mut agent = Agent::new(&lab, "version = 1\n").expect("an agent");
    uplink_with(&lab, "unmanaged = \"drop\"");
    agent.start().expect("it starts");
    assert!(
        status(&agent)["management"].as_str().is_some_and(|pin| pin.contains("tcp/22")),
        "{}",
        status(&agent)
    );
    let gateway = lab.gateway.plant_ip;
    let listen = |port: u16| {
        let bound = lab.gateway.namespace.run(|| TcpListener::bind(SocketAddrV4::new(gateway, port)));
        bound.expect("a free port")
    };
    let _listeners = [listen(22), listen(23)];
    let connect = |port: u16, within: Duration| {
        let address = SocketAddr::V4(SocketAddrV4::new(gateway, port));
        lab.host("engineering").namespace.run(|| TcpStream::connect_timeout(&address, within)).is_ok()
    };
    assert!(connect(22, SOON), "the pin");
    assert!(!connect(23, SILENCE), "only the pin");
}

#[test]
fn unmanaged_traffic_is_dropped_reported_or_passed_as_configured() {
    let test = "unmanaged_traffic_is_dropped_reported_or_passed_as_configured";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let attacker = lab.attacker();
    let judge = Judge::at_plant(&lab);
    // Behind XDP: what the program drops is not seen.
    let sniffer = Sniffer::start(&lab.gateway.namespace, "plant0", move |seen: &Seen| {
        (!seen.outgoing && judge.origin(seen) == Origin::Forged).then_some(())
    })
    .expect("a sniffer");
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    let path = Path {
        src_mac: attacker.mac,
        dst_mac: lab.gateway.plant_mac,
        src: SocketAddrV4::new(attacker.ip, 21_000),
        dst: SocketAddrV4::new(lab.gateway.plant_ip, 9),
        ttl: bulkhead_tests::lab::topology::FORGED_TTL,
    };
    let (mut arrived, mut reported) = (0, 0);
    for (word, passes, reports) in [("drop", false, true), ("monitor", true, true), ("pass", true, false)] {
        let mut agent = Agent::new(&lab, "version = 1\n").expect("an agent");
        uplink_with(&lab, &format!("unmanaged = \"{word}\""));
        agent.start().expect("it starts");
        let before = status(&agent)["interfaces"].clone();
        let of = |interfaces: &Value, key: &str| {
            let list = interfaces.as_array().expect("interfaces");
            list.iter().find(|i| i["name"] == "plant0").expect("the uplink")[key].clone()
        };
        assert_eq!(of(&before, "unmanaged"), word);
        for _ in 0..4 {
            sender.send(&wire::udp(path, b"hello")).expect("sent");
        }
        wait_for("four more packets", SOON, || {
            let now = status(&agent)["interfaces"].clone();
            Ok((of(&now, "seen").as_u64() >= of(&before, "seen").as_u64().map(|n| n + 4)).then_some(()))
        })
        .expect("they are counted");
        if passes {
            arrived += 4;
            sniffer.wait_until("what passes", SOON, |c| c.get(&()) >= Some(&arrived)).expect("it passes");
        }
        if reports {
            reported += 4;
            let record = told(&agent, 4, |record| {
                record["reason"] == "unmanaged"
                    && record["action"] == if passes { "passed" } else { "dropped" }
            });
            assert_eq!(record["device"], Value::Null);
        }
        agent.stop().expect("it stops");
        let all: u64 = agent.violations().expect("a log").iter().filter_map(|r| r["count"].as_u64()).sum();
        assert_eq!((sniffer.count(&()), all), (arrived, reported), "unmanaged = {word}");
    }
}

#[test]
fn wrong_policy_leaves_the_old_one_enforcing_and_says_so() {
    let test = "wrong_policy_leaves_the_old_one_enforcing_and_says_so";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "enforce")).expect("an agent");
    agent.start().expect("it starts");
    let enforces = |agent: &Agent<'_>, revision: &Value| {
        assert_eq!(status(agent)["revision"], *revision);
        assert_eq!(write(&lab, "hmi", SOON), Write::Written);
        assert_eq!(write(&lab, "attacker", SILENCE), Write::Unanswered);
    };
    let revision = status(&agent)["revision"].clone();
    enforces(&agent, &revision);

    // By SIGHUP: nobody waits for an answer, so status must say it.
    let broken = policy(&lab, "enforce").replace("from = [\"hmi\"]", "from = [\"hmj\"]");
    let line = broken.lines().position(|line| line.contains("hmj")).expect("just written") + 1;
    agent.write_policy(&broken).expect("written");
    agent.hup().expect("sent");
    let warning =
        wait_for("the warning", SOON, || Ok(status(&agent)["warnings"][0].as_str().map(str::to_owned)));
    let warning = warning.expect("status says it");
    assert!(
        warning.contains("cannot be used") && warning.contains(revision.as_str().expect("text")),
        "{warning}"
    );
    assert!(run(&agent, &["status"], 1).contains("cannot be used"));
    let place = format!("lab.toml:{line}:");
    assert!(agent.log().contains(&place), "{}", agent.log());
    enforces(&agent, &revision);

    // By `apply`: the answer has the place, and the help.
    for args in [&["apply"][..], &["apply", "/run/bulkhead/policy.d"][..]] {
        let said = run(&agent, args, 1);
        assert!(said.contains(&place) && said.contains("did you mean `hmi`?"), "{said}");
        enforces(&agent, &revision);
    }
    let said = run(&agent, &["apply", "/run/bulkhead/missing.toml"], 2);
    assert!(said.contains("missing.toml"), "{said}");

    // A right one from elsewhere; the files stay as wrong as they are.
    let pushed = policy(&lab, "enforce")
        .replace("version = 1\n", "version = 1\n\n[network.more]\ncidr = \"198.51.100.0/24\"\n");
    lab.gateway.room.write("pushed.toml", &pushed).expect("written");
    let said = run(&agent, &["apply", "/run/bulkhead/pushed.toml"], 0);
    assert!(said.contains("in force"), "{said}");
    assert_eq!(status(&agent)["policy"], "pushed");

    // Mended: one more apply, and the warning is gone.
    agent.write_policy(&policy(&lab, "enforce")).expect("written");
    run(&agent, &["apply"], 0);
    assert_eq!(status(&agent)["warnings"], json!([]));
    enforces(&agent, &revision);
    assert_eq!(plc.asked_by(lab.attacker().ip).connections, 0);
}

#[test]
fn agent_that_starts_with_wrong_files_enforces_the_last_good_policy() {
    let test = "agent_that_starts_with_wrong_files_enforces_the_last_good_policy";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, "version = 1\n[device.plc\n").expect("an agent");
    agent.spawn().expect("it starts");
    let ended = agent.wait_until_ended().expect("it has nothing to enforce");
    assert_eq!(ended.code(), Some(2), "{}", agent.log());
    assert!(agent.log().contains("lab.toml:2:"), "{}", agent.log());

    agent.write_policy(&policy(&lab, "enforce")).expect("written");
    agent.start().expect("it starts");
    let revision = status(&agent)["revision"].clone();
    agent.stop().expect("it stops");
    agent.write_policy("version = 2\n").expect("written");
    agent.start().expect("it starts all the same");
    let now = status(&agent);
    assert_eq!((&now["policy"], &now["revision"]), (&json!("files"), &revision));
    assert!(now["warnings"][0].as_str().is_some_and(|w| w.contains("cannot be used")), "{now}");
    assert_eq!(write(&lab, "hmi", SOON), Write::Written);
    assert_eq!(write(&lab, "attacker", SILENCE), Write::Unanswered);
}

#[test]
fn policy_that_does_not_fit_the_limits_is_refused_whole() {
    let test = "policy_that_does_not_fit_the_limits_is_refused_whole";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab, "enforce")).expect("an agent");
    agent.write_config("\n[limits]\ndevices = 2\n").expect("written");
    agent.start().expect("two devices fit in two");
    let before = status(&agent);
    let more = policy(&lab, "enforce") + &device(lab.host("historian"), "enforce");
    agent.write_policy(&more).expect("written");
    let said = run(&agent, &["apply"], 1);
    assert!(
        said.contains("3 devices") && said.contains("`limits.devices` is 2") && said.contains("hint:"),
        "{said}"
    );
    let said = run(&agent, &["check"], 1);
    assert!(said.contains("limits.devices"), "{said}");
    let after = status(&agent);
    for key in ["revision", "generation", "modes"] {
        assert_eq!(before[key], after[key]);
    }
}

#[test]
fn counters_survive_the_agent() {
    let test = "counters_survive_the_agent";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "enforce")).expect("an agent");
    agent.start().expect("it starts");
    let attacker = Attacker::new(&lab).expect("an attacker");
    assert_eq!(write(&lab, "hmi", SOON), Write::Written);
    attacker.udp_flood(10, 1).expect("sent");
    told(&agent, 10, |_| true);
    let of_plant = |status: &Value| status["interfaces"].clone();
    let counted =
        (plc_counts(&agent), of_plant(&status(&agent)), status(&agent)["violations"]["violations"].clone());
    let rules = agent.cli_json(&["rules", "--json"]).expect("rules");
    assert!(rules[0]["packets"].as_u64() > Some(0), "{rules}");

    agent.kill9().expect("it runs");
    // Nobody listens, the kernel counts.
    attacker.udp_flood(5, 1).expect("sent");
    agent.start().expect("it starts");
    let now = wait_for("the packets in between", SOON, || {
        let now = status(&agent);
        Ok((now["violations"]["violations"] == 15).then_some(now))
    });
    let now = now.unwrap_or_else(|error| panic!("{error}: {}", status(&agent)));
    assert_eq!(counted.2, 10);
    let dropped = |interfaces: &Value| {
        interfaces.as_array().map(|list| list.iter().filter_map(|i| i["dropped"].as_u64()).sum::<u64>())
    };
    assert_eq!((dropped(&counted.1), dropped(&of_plant(&now))), (Some(10), Some(15)));
    assert_eq!(
        plc_counts(&agent)["unknown-peer"].as_u64(),
        counted.0["unknown-peer"].as_u64().map(|n| n + 5)
    );
    assert_eq!(agent.cli_json(&["rules", "--json"]).expect("rules")[0]["packets"], rules[0]["packets"]);
    // And they are told of by the next one.
    told(&agent, 15, |_| true);
}
