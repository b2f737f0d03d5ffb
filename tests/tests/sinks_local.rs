//! A running gateway with several sinks: each has every record in its own format, and one that fails says so and holds up
//! nobody.

use std::{fs, net::UdpSocket, path::PathBuf, time::Duration};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology, lab_for,
        topology::{Host, MODBUS},
        wait::wait_for,
    },
    skip::Tier,
};
use serde_json::Value;

mod formats {
    pub(super) mod readers;
}
use formats::readers::{cef, leef};

const WITHIN: Duration = Duration::from_secs(20);

/// Whether the HMI may talk with the PLC is nobody's rule.
fn policy(lab: &Lab) -> String {
    let device = |host: &Host| {
        let Host { name, mac, ip, .. } = host;
        format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n")
    };
    format!("version = 1\n\n{}{}", device(lab.host("hmi")), device(lab.plc()))
}

/// The sinks of an agent, by name.
fn sink(agent: &Agent<'_>, name: &str) -> Value {
    let status = agent.cli(&["status", "--json"]).expect("it answers");
    let status: Value = serde_json::from_slice(&status.stdout).expect("it is JSON");
    let sinks = status["sinks"].as_array().expect("a list").clone();
    sinks
        .into_iter()
        .find(|sink| sink["name"] == name)
        .unwrap_or_else(|| panic!("no sink {name}: {status:#}"))
}

#[test]
fn every_sink_has_every_record() {
    let test = "every_sink_has_every_record";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Routed, 1500) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    let more = "[sink.cef]\nto = \"file:/run/bulkhead/v.cef\"\nformat = \"cef\"\n\
                [sink.ecs]\nto = \"file:/run/bulkhead/v.ecs\"\nformat = \"ecs\"\n\
                [sink.leef]\nto = \"file:/run/bulkhead/v.leef\"\nformat = \"leef\"\n\
                [sink.full]\nto = \"file:/dev/full\"\nformat = \"ocsf\"\n";
    agent.write_config(more).expect("a config");
    agent.start().expect("it starts");
    let to = (lab.plc().ip, MODBUS);
    let sent = lab
        .host("hmi")
        .namespace
        .run(|| UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", to)));
    sent.expect("the way there is known");
    agent.wait_violation("the datagram", WITHIN, |record| record["reason"] == "no-rule").expect("it is told");
    // `log` is the last of the sinks: what it has, all have.
    let native = agent.violations().expect("a log");
    let file = |name: &str| -> PathBuf { agent.violations_file().with_file_name(name) };
    let read = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(file(name)).expect("it was written");
        text.lines().take(native.len()).map(str::to_owned).collect()
    };
    let ids: Vec<String> = native
        .iter()
        .map(|one| format!("{}-{}", one["boot"].as_str().expect("a text"), one["seq"]))
        .collect();
    let field = |event: formats::readers::Event, name: &str| event.fields[name].clone();
    let cef: Vec<String> =
        read("v.cef").iter().map(|line| field(cef(line).expect("CEF"), "externalId")).collect();
    assert_eq!(cef, ids);
    let leef: Vec<String> =
        read("v.leef").iter().map(|line| field(leef(line).expect("LEEF"), "seq")).collect();
    assert_eq!(leef, native.iter().map(|one| one["seq"].to_string()).collect::<Vec<_>>());
    let ecs = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["event"]["id"].clone();
    assert_eq!(read("v.ecs").iter().map(ecs).collect::<Vec<_>>(), ids);

    assert!(sink(&agent, "cef")["written"].as_u64().is_some_and(|written| written >= native.len() as u64));
    let full = sink(&agent, "full");
    assert_eq!((&full["written"], &full["failing"]), (&Value::from(0), &Value::from(true)));
    assert!(full["refused"].as_u64().is_some_and(|refused| refused >= native.len() as u64), "{full}");
    let said = agent.cli(&["status"]).expect("it answers");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("sink `full` refuses records, which are lost: failed to write to `/dev/full`"),
        "{said}"
    );

    let is_full =
        |line: &&str| line.starts_with("sink ") && line.contains("full: file:/dev/full, ocsf; FAILING: ");
    assert!(said.lines().find(is_full).is_some_and(|line| line.contains("; 0 records written, ")), "{said}");

    // As after somebody else rotated a file.
    fs::rename(file("v.cef"), file("v.cef.old")).expect("it is there");
    agent.hup().expect("it runs");
    wait_for("the file to be made anew", WITHIN, || Ok(file("v.cef").exists().then_some(()))).expect("it is");
}

#[test]
fn a_file_that_refused_records_is_told_what_it_missed_by_the_next_agent_too() {
    let test = "a_file_that_refused_records_is_told_what_it_missed_by_the_next_agent_too";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Routed, 1500) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config("[sink.late]\nto = \"file:/run/bulkhead/late/v.jsonl\"\n").expect("a config");
    // Where its folder would be is a file: nothing can be written.
    let late = agent.violations_file().with_file_name("late");
    fs::write(&late, "in the way").expect("it can be written");
    agent.start().expect("it starts");
    let to = (lab.plc().ip, MODBUS);
    let send = || {
        let socket = lab.host("hmi").namespace.run(|| UdpSocket::bind("0.0.0.0:0"));
        socket.and_then(|socket| socket.send_to(b"x", to)).expect("the way there is known");
    };
    send();
    agent.wait_violation("the datagram", WITHIN, |record| record["reason"] == "no-rule").expect("it is told");
    let missed =
        wait_for("the refusal", WITHIN, || Ok(sink(&agent, "late")["refused"].as_u64().filter(|n| *n > 0)));
    assert!(missed.is_ok(), "{:#}", sink(&agent, "late"));
    agent.stop().expect("it stops");
    let first_run = agent.records().expect("a log");

    fs::remove_file(&late).expect("it is there");
    agent.start().expect("it starts");
    send();
    let records = wait_for("both to have everything", WITHIN, || {
        let text = fs::read_to_string(late.join("v.jsonl")).unwrap_or_default();
        let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let records = complete.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let told: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
        let status: Value = serde_json::from_slice(&agent.cli(&["status", "--json"])?.stdout)?;
        let counted = status["violations"]["violations"].as_u64().unwrap_or(0);
        Ok((records.len() > 1 && told == counted).then_some(records))
    });
    let records = records.unwrap_or_else(|error| {
        panic!("{error}: {:?}, {:#}", fs::read_to_string(late.join("v.jsonl")), sink(&agent, "late"))
    });
    let id = |record: &Value| format!("{}-{}", record["boot"].as_str().unwrap_or_default(), record["seq"]);
    let (Some(first), Some(last)) = (first_run.first(), first_run.last()) else {
        panic!("the first run told something")
    };
    assert_eq!((&records[0]["kind"], &records[0]["cause"]), (&"gap".into(), &"disk".into()));
    assert_eq!((&records[0]["first"], &records[0]["last"]), (&id(first).into(), &id(last).into()));
    let packets: u64 = first_run.iter().filter_map(|record| record["count"].as_u64()).sum();
    assert_eq!(records[0]["count"], packets);
    assert!(agent.log().contains("made folder `/run/bulkhead/late`, which was missing"), "{}", agent.log());
    agent.stop().expect("it stops");
}
