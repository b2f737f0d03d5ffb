//! A running agent tests itself and says so: signs of life account for the agent's own packets, and a data path that somebody
//! broke is told of, by name, until it is whole again.

mod gateway;

use aya::maps::{Array, Map, MapData};
use bulkhead_agent::dataplane::Pins;
use bulkhead_tests::lab::{Agent, Lab, Topology, attack::Attacker, wait::wait_for};
use gateway::{SOON, bulkhead, policy, require_topology};
use serde_json::Value;

/// Packets of one probe.
const PROBE: u64 = 2;

fn started<'a>(lab: &'a Lab, heartbeat: &str) -> Agent<'a> {
    let mut agent = Agent::new(lab, &policy(lab)).expect("an agent");
    // Nobody else looks for what is wrong, or puts it right.
    agent.write_probing_config(heartbeat, "\n[drift]\nevery = \"0s\"\n").expect("written");
    agent.start().expect("it starts");
    agent
}

fn status(lab: &Lab) -> (i32, Value) {
    let (code, said) = bulkhead(lab, &["status", "--json"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

fn heartbeats(agent: &Agent<'_>) -> anyhow::Result<Vec<Value>> {
    Ok(agent.records()?.into_iter().filter(|record| record["kind"] == "heartbeat").collect())
}

#[test]
fn every_sign_of_life_accounts_for_the_packets_of_its_probe() {
    let test = "every_sign_of_life_accounts_for_the_packets_of_its_probe";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = started(&lab, "1s");
    let attacker = Attacker::new(&lab).expect("an attacker");
    let sent = attacker.udp_flood(500, 50).expect("sent");
    let beats = wait_for("three signs of life", SOON, || {
        let beats = heartbeats(&agent)?;
        Ok((beats.len() >= 3).then_some(beats))
    });
    for beat in beats.unwrap_or_else(|error| panic!("{error}\n{}", agent.log())) {
        assert_eq!(beat["count"], PROBE, "{beat}");
        assert_eq!(beat["warnings"], Value::Array(Vec::new()), "{beat}");
        assert_eq!(beat["modes"]["enforce"], 1, "{beat}");
    }
    let (code, found) = status(&lab);
    assert_eq!((code, &found["probe"]["faults"]), (0, &Value::Array(Vec::new())), "{found:#}");
    assert!(found["probe"]["checked"].is_string(), "{found:#}");
    let (_, page) = bulkhead(&lab, &["status"]);
    assert!(page.contains("\nprobe       packets met what their mode says, at "), "{page}");

    // The log has what the kernel has counted, by whichever kind of record.
    let records = agent.settled(SOON).expect("all is told");
    let of = |kind: &str| -> u64 {
        let those = records.iter().filter(|record| record["kind"] == kind);
        those.filter_map(|record| record["count"].as_u64()).sum()
    };
    assert_eq!(of("gap"), 0, "{records:#?}");
    assert!(of("violation") >= sent, "{} of {sent}", of("violation"));
    let beats = records.iter().filter(|record| record["kind"] == "heartbeat").count();
    assert_eq!(of("heartbeat"), PROBE * beats as u64);
    agent.stop().expect("it stops");
}

/// Makes packets look for the policy where there is none, and returns where they looked.
fn lose_the_policy(lab: &Lab) -> u64 {
    let mut word = active(lab);
    let before = word.get(&0, 0).expect("it is readable");
    word.set(0, 0, 0).expect("it is written");
    before
}

fn active(lab: &Lab) -> Array<MapData, u64> {
    let pins = Pins::below(&lab.gateway.room.pin_outside("bulkhead"));
    let data = MapData::from_pin(pins.map("ACTIVE")).expect("it is pinned");
    Map::from_map_data(data).expect("aya knows its kind").try_into().expect("an array")
}

#[test]
fn data_path_that_somebody_broke_is_told_of_until_it_is_whole_again() {
    let test = "data_path_that_somebody_broke_is_told_of_until_it_is_whole_again";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = started(&lab, "1s");
    wait_for("a first probe", SOON, || Ok((!heartbeats(&agent)?.is_empty()).then_some(()))).expect("it is");
    let before = lose_the_policy(&lab);
    let shouts = wait_for("the status to shout", SOON, || {
        let (code, found) = status(&lab);
        Ok((code == 1).then_some(found))
    });
    let found = shouts.unwrap_or_else(|error| panic!("{error}: {:#}\n{}", status(&lab).1, agent.log()));
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("packets do not meet what their mode says")
            && warnings.contains("a packet that is only watched did not pass: Drop"),
        "{found:#}"
    );
    let (_, page) = bulkhead(&lab, &["status"]);
    assert!(page.contains("\nprobe       FAILED at ") && page.contains("\n! packets do not meet"), "{page}");
    wait_for("a sign of life with the warning", SOON, || {
        let warned = heartbeats(&agent)?.into_iter().filter_map(|beat| beat["warnings"].as_array().cloned());
        Ok(warned.flatten().any(|warning| warning.to_string().contains("do not meet")).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", heartbeats(&agent)));

    active(&lab).set(0, before, 0).expect("it is written");
    wait_for("the status to be calm again", SOON, || {
        let (code, found) = status(&lab);
        Ok((code == 0 && found["probe"]["faults"] == Value::Array(Vec::new())).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}\n{}", status(&lab).1, agent.log()));
    agent.settled(SOON).expect("all is told, the probes that failed included");
    agent.stop().expect("it stops");
}

#[test]
fn drift_that_is_put_right_ends_the_warning_of_the_probe() {
    let test = "drift_that_is_put_right_ends_the_warning_of_the_probe";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent
        .write_probing_config("1s", "\n[drift]\nevery = \"0s\"\nrepair = true\n")
        .and_then(|()| agent.start())
        .expect("it starts");
    wait_for("a first probe", SOON, || Ok((!heartbeats(&agent)?.is_empty()).then_some(()))).expect("it is");
    lose_the_policy(&lab);
    wait_for("the probe to fail", SOON, || Ok((status(&lab).0 == 1).then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {:#}", status(&lab).1));
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert!(code == 1 && said.contains("ACTIVE"), "{said}");
    wait_for("the status to be calm again", SOON, || Ok((status(&lab).0 == 0).then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {:#}\n{}", status(&lab).1, agent.log()));
    agent.stop().expect("it stops");
}
