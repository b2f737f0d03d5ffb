//! What an operator sees of a running gateway: the conversations under way, when a rule was last of use, what a violation was and
//! what would have allowed it.

mod plant;

use std::{net::Ipv4Addr, process::Output, time::Duration};

use aya::maps::{HashMap, Map, MapData};
use bulkhead_agent::dataplane::monotonic_ns;
use bulkhead_common::{
    address::Address,
    layout::{Flow, FlowKey},
    wire::protocol,
};
use bulkhead_tests::lab::{
    Agent, EchoStream, Lab, Poller, Topology,
    attack::Attacker,
    modbus::{Plc, Write as Written, write_once},
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use plant::{SILENCE, SOON, device, require_lab};
use serde_json::Value;

const ECHO: u16 = 5000;
const EVERY: Duration = Duration::from_millis(20);

/// The HMI polls the PLC and has another session with it; one rule is of no use.
fn policy(lab: &Lab) -> String {
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = \"hmi\"\nservice = [\"modbus\", \"line\"]\n\n\
         [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"ssh\"\ncomment = \"maintenance\"\n\n[service.line]\nudp = \"{ECHO}\"\n",
        device(lab, PLC, "criticality = \"safety\""),
        device(lab, "hmi", ""),
    )
}

fn started<'a>(lab: &'a Lab, policy: &str) -> Agent<'a> {
    let mut agent = Agent::new(lab, policy).expect("an agent");
    agent.start().expect("it starts");
    agent
}

/// What a command prints on both outputs, with its exit code.
fn said(agent: &Agent<'_>, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = agent.cli(args).expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it ended"), text(stdout), text(stderr))
}

/// As many conversations as a busy gateway remembers.
const MANY: u32 = 100_000;

#[test]
fn many_conversations_are_counted_and_the_last_of_them_told() {
    let test = "many_conversations_are_counted_and_the_last_of_them_told";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let agent = started(&lab, &policy(&lab));
    let pin = lab.gateway.room.pin_outside("bulkhead/v5/FLOWS");
    let map = Map::from_map_data(MapData::from_pin(pin).expect("it is pinned")).expect("a kind of map");
    let mut flows: HashMap<MapData, FlowKey, Flow> = HashMap::try_from(map).expect("the flows");
    let high = Address::from(Ipv4Addr::from(u32::MAX - 9));
    let now = monotonic_ns();
    for number in 0..MANY {
        let low = Address::from(Ipv4Addr::from(0x0a00_0000 + number));
        let key = FlowKey {
            low,
            high,
            low_port: 40_000,
            high_port: 502,
            protocol: protocol::TCP,
            ..FlowKey::default()
        };
        // The last one is the newest.
        let seen = now - u64::from(MANY - number) * 1000;
        flows.insert(key, Flow { seen, ..Flow::default() }, 0).expect("there is room");
    }
    let list = agent.cli_json(&["flows", "--json"]).expect("a list");
    let told = list["flows"].as_array().expect("a list");
    assert_eq!((told.len(), &list["more"], &list["cut"]), (100, &(MANY - 100).into(), &false.into()));
    assert_eq!((&list["live"], &list["expired"]), (&MANY.into(), &0.into()));
    let newest = Ipv4Addr::from(0x0a00_0000 + MANY - 1).to_string();
    let is_newest = |flow: &&Value| flow["from"]["ip"] == newest.as_str();
    let flow = told.iter().find(is_newest).unwrap_or_else(|| panic!("{newest}: {told:#?}"));
    assert_eq!(
        (&flow["device"], &flow["rule"], &flow["service"]),
        (&Value::Null, &Value::Null, &"modbus".into())
    );
    let one = agent.cli_json(&["flows", &newest, "--json"]).expect("a list");
    assert_eq!(
        (&one["live"], &one["more"], one["flows"].as_array().map(Vec::len)),
        (&1.into(), &0.into(), Some(1))
    );
    // However many are asked for, an answer has its bound.
    let most = agent.cli_json(&["flows", "-n", "1000000", "--json"]).expect("a list");
    assert_eq!(most["more"], MANY - 10_000);
}

/// What is told of the rule about a service.
fn rule(agent: &Agent<'_>, service: &str) -> Value {
    let rules = agent.cli_json(&["rules", "--json"]).expect("rules");
    let of = |rule: &&Value| rule["rule"].as_str().is_some_and(|text| text.contains(service));
    rules.as_array().and_then(|rules| rules.iter().find(of)).unwrap_or_else(|| panic!("{rules}")).clone()
}

#[test]
fn flows_names_ends_service_and_rule_of_what_is_under_way() {
    let test = "flows_names_ends_service_and_rule_of_what_is_under_way";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let (hmi, plc) = (lab.host("hmi"), lab.plc());
    let agent = started(&lab, &policy(&lab));
    let _plc = Plc::start(plc, MODBUS).expect("a PLC");
    let poller = Poller::start(hmi, lab.modbus(), EVERY).expect("a poller");
    let echo = EchoStream::start(hmi, plc, ECHO, EVERY).expect("a session");
    poller.wait_for_more(3, SOON).expect("it polls");

    let list = agent.cli_json(&["flows", "--json"]).expect("a list");
    let of = |list: &Value, service: &str| {
        let flows = list["flows"].as_array().expect("a list").clone();
        flows
            .into_iter()
            .find(|flow| flow["service"] == service)
            .unwrap_or_else(|| panic!("{service}: {list:#}"))
    };
    let polled = of(&list, "modbus");
    for (pointer, wanted) in [
        ("/device", Value::from(PLC)),
        ("/from/name", "hmi".into()),
        ("/from/ip", hmi.ip.to_string().into()),
        ("/to/name", PLC.into()),
        ("/to/port", MODBUS.into()),
        ("/selector", format!("tcp/{MODBUS}").into()),
        ("/state", "open".into()),
        ("/live", true.into()),
        ("/rule", "hmi -> plc line, modbus".into()),
        ("/holder", "device plc".into()),
    ] {
        assert_eq!(polled.pointer(pointer), Some(&wanted), "{pointer}: {polled:#}");
    }
    assert!(polled["place"].as_str().is_some_and(|place| place.contains("lab.toml:")), "{polled:#}");
    // The policy's own name for it, and no state where the protocol has none.
    let other = of(&list, "line");
    assert_eq!((&other["selector"], &other["state"]), (&format!("udp/{ECHO}").into(), &Value::Null));

    let (code, out, err) = said(&agent, &["flows", "hmi"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("DEVICE") && out.contains(&format!("{PLC} ({})", plc.ip)), "{out}");
    assert!(
        out.contains("modbus") && out.contains("line") && err.contains("live conversation"),
        "{out}{err}"
    );
    let at = hmi.ip.to_string();
    assert_eq!(agent.cli_json(&["flows", &at, "--json"]).expect("a list")["live"], list["live"]);
    let (code, out, _) = said(&agent, &["flows", "192.0.2.1"]);
    assert_eq!((code, out.as_str()), (0, ""), "nobody talks to it");
    let one = agent.cli_json(&["flows", "--last", "1", "--json"]).expect("a list");
    assert_eq!(one["flows"].as_array().map(Vec::len), Some(1), "{one:#}");
    assert_eq!(one["more"].as_u64(), list["flows"].as_array().map(|all| all.len() as u64 - 1), "{one:#}");
    let (code, _, err) = said(&agent, &["flows", "hmy"]);
    assert!(code == 1 && err.contains("did you mean `hmi`?"), "{err}");

    // What both ends have closed says so as long as it is remembered.
    drop((poller, echo));
    wait_for("the end of the session", SOON, || {
        let list = agent.cli_json(&["flows", "hmi", "--json"])?;
        let states = list["flows"].as_array().cloned().unwrap_or_default().into_iter();
        Ok(states
            .map(|flow| flow["state"].clone())
            .any(|state| state == "closed" || state == "reset")
            .then_some(()))
    })
    .expect("it is told");
}

#[test]
fn last_hits_survive_agents_and_counters() {
    let test = "last_hits_survive_agents_and_counters";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let hmi = lab.host("hmi");
    let mut agent = started(&lab, &policy(&lab));
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let poll = || {
        let written = write_once(hmi, lab.modbus(), 50, 7, SOON).expect("a try");
        assert_eq!(written, Written::Written);
    };
    assert_eq!(rule(&agent, "modbus")["last_hit"], Value::Null);
    poll();
    let first = rule(&agent, "modbus");
    let packets = |rule: &Value| rule["packets"].as_u64().expect("a count");
    assert!(packets(&first) > 0 && first["last_hit"].is_string(), "{first}");
    let (code, out, _) = said(&agent, &["rules", "--unused"]);
    assert!(code == 0 && out.contains("hmi -> plc ssh") && !out.contains("modbus"), "{out}");
    assert!(out.contains("LAST HIT") && out.contains("never in "), "{out}");
    // Nothing is known for as long yet.
    let (code, out, err) = said(&agent, &["rules", "--unused", "--for", "30d"]);
    assert!(
        (code, out.as_str()) == (0, "")
            && err == "no such rule\n1 rule more was never used, and is known for less than that\n",
        "{out}{err}"
    );

    // The next agent knows what the last one wrote as it ended, the same counters and not a packet more.
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    let after = rule(&agent, "modbus");
    assert_eq!((packets(&after), &after["last_hit"]), (packets(&first), &first["last_hit"]));
    assert_eq!(after["since"], first["since"]);

    // One that is killed had not written yet: what the kernel has counted meanwhile is not lost.
    poll();
    let second = rule(&agent, "modbus");
    assert!(packets(&second) > packets(&first), "{second}");
    agent.kill9().expect("it ends");
    agent.start().expect("it starts");
    assert_eq!(packets(&rule(&agent, "modbus")), packets(&second));

    // Counters that are made anew, as after a boot, begin at nothing, and the totals go on.
    agent.stop().expect("it stops");
    assert!(agent.cli(&["detach", "--yes"]).expect("it runs").status.success());
    agent.start().expect("it starts");
    let before = rule(&agent, "modbus");
    assert_eq!((packets(&before), before["last_hit"].is_string()), (packets(&second), true));
    poll();
    assert!(packets(&rule(&agent, "modbus")) > packets(&second));
    assert_eq!(rule(&agent, "ssh")["last_hit"], Value::Null);
}

/// The id of a record.
fn id(record: &Value) -> String {
    format!("{}-{}", record["boot"].as_str().expect("a run"), record["seq"])
}

#[test]
fn why_of_a_violation_says_what_would_have_allowed_it_and_that_does() {
    let test = "why_of_a_violation_says_what_would_have_allowed_it_and_that_does";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let mut text = policy(&lab);
    let agent = started(&lab, &text);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let write = |from: &str, within| write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try");
    assert_ne!(write("historian", SILENCE), Written::Written);
    let denied = agent.wait_violation("the write", SOON, |record| {
        record["destination"]["port"] == MODBUS
            && record["source"]["ip"] == lab.host("historian").ip.to_string()
    });
    let denied = id(&denied.expect("it is told"));
    // The text of `violations` names it as well.
    let (_, out, _) = said(&agent, &["violations"]);
    assert!(out.lines().any(|line| line.ends_with(&format!("  id {denied}"))), "{out}");

    let (code, out, err) = said(&agent, &["why", &denied]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&format!("violation {denied}\nwhat     ")), "{out}");
    assert!(out.contains("unknown-peer: ") && out.contains("find out who it is"), "{out}");
    assert!(out.contains("people may be hurt by what plc does"), "{out}");
    let told = agent.cli_json(&["why", &denied, "--json"]).expect("an answer");
    let snippet = told["snippet"].as_str().unwrap_or_else(|| panic!("{told:#}"));
    assert!(snippet.starts_with("[[device.plc.allow]]\n") && snippet.contains("\"modbus\""), "{snippet}");
    assert!(out.contains(snippet.trim_end()), "{out}");
    assert_eq!((&told["id"], &told["record"]["reason"]), (&denied.clone().into(), &"unknown-peer".into()));
    assert_eq!(told["today"]["kernel_agrees"], true, "{told:#}");

    // Appended to the policy it is valid, and the traffic passes.
    text = format!("{text}\n{snippet}");
    agent.write_policy(&text).expect("written");
    assert_eq!(said(&agent, &["check"]).0, 0);
    assert_eq!(said(&agent, &["apply"]).0, 0);
    assert_eq!(write("historian", SOON), Written::Written);
    let (code, out, _) = said(&agent, &["why", &denied]);
    assert!(
        code == 0 && out.contains("the policy of today allows it: ") && !out.contains("This would"),
        "{out}"
    );

    // Another service between the same two: the rule that there is comes close.
    let echo = EchoStream::start(lab.host("hmi"), lab.plc(), 9999, EVERY);
    assert!(echo.is_err(), "nothing comes back");
    let other = agent.wait_violation("the datagram", SOON, |record| record["destination"]["port"] == 9999);
    let other = agent.cli_json(&["why", &id(&other.expect("it is told")), "--json"]).expect("an answer");
    let nearest: Vec<&str> = other["nearest"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|rule| rule["text"].as_str())
        .collect();
    assert_eq!(nearest, ["hmi -> plc line, modbus", "hmi -> plc ssh"], "{other:#}");
    assert!(other["snippet"].as_str().is_some_and(|text| text.contains("[service.udp-9999]")), "{other:#}");

    // Nobody is told how to let somebody in who uses another's address.
    Attacker::new(&lab).expect("an attacker").spoofed_syns("hmi", 1).expect("sent");
    let forged =
        agent.wait_violation("the forgery", SOON, |record| record["reason"] == "source-mac-mismatch");
    let forged = agent.cli_json(&["why", &id(&forged.expect("it is told")), "--json"]).expect("an answer");
    assert_eq!((&forged["snippet"], &forged["today"]), (&Value::Null, &Value::Null), "{forged:#}");
    let warning = forged["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("do not allow it before you know who it is"), "{forged:#}");

    // One that nobody remembers.
    let (code, out, err) = said(&agent, &["why", "0123456789abcdef-1"]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(
        err.contains("record `0123456789abcdef-1` is not of this run") && err.contains("hint: "),
        "{err}"
    );
    let boot = denied.split_once('-').expect("an id").0;
    let (code, _, err) = said(&agent, &["why", &format!("{boot}-999999")]);
    assert!(code == 1 && err.contains("there never was a record ") && !err.contains("sink"), "{err}");
    let (code, out, err) = said(&agent, &["why", &format!(" {} ", denied.to_uppercase())]);
    assert!(code == 0 && out.starts_with(&format!("violation {denied}\n")), "{out}{err}");
}

#[test]
fn why_of_an_answer_that_is_watched_names_who_asked() {
    const UNNAMED: u16 = 7000;
    let test = "why_of_an_answer_that_is_watched_names_who_asked";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let text = policy(&lab).replace("mode = \"enforce\"", "mode = \"monitor\"");
    let mut agent = Agent::new(&lab, &text).expect("an agent");
    agent.write_probing_config("1s", "").expect("written");
    agent.start().expect("it starts");
    let _echo = EchoStream::start(lab.host("hmi"), lab.plc(), UNNAMED, EVERY).expect("it passes");
    let is_answer = |record: &Value| record["answer"] == true && record["source"]["port"] == UNNAMED;
    let answer = agent.wait_violation("the answer", SOON, is_answer).expect("it is told");
    let told = agent.cli_json(&["why", &id(&answer), "--json"]).expect("an answer");
    let asked = ["from", "to", "service"].map(|key| told["today"][key].as_str().unwrap_or_default());
    assert_eq!(asked, ["hmi", PLC, "udp/7000"], "{told:#}");
    let snippet = told["snippet"].as_str().unwrap_or_default();
    assert!(snippet.starts_with("[[device.plc.allow]]\nfrom = [\"hmi\"]"), "{snippet}");

    // What is no denial has an id as well.
    let is_heartbeat = |record: &Value| record["kind"] == "heartbeat";
    let heartbeat = || Ok(agent.records()?.into_iter().find(is_heartbeat));
    let heartbeat = id(&wait_for("a heartbeat", SOON, heartbeat).expect("it is told"));
    let (code, out, err) = said(&agent, &["why", &heartbeat]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with(&format!("heartbeat {heartbeat}\nwhat     no denial, but a sign of life")),
        "{out}"
    );
}
