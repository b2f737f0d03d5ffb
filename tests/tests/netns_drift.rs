//! Somebody edits the kernel's tables by hand: the agent names what differs, and puts it right where it is told to.

mod gateway;

use std::fs;

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData};
use bulkhead_agent::dataplane::Pins;
use bulkhead_common::{
    flat::{ENTRIES, Page},
    layout::{EndRow, RuleKey, RuleRow, SegmentKey, SegmentRow},
};
use bulkhead_tests::lab::{
    Agent, Lab, Topology, link,
    modbus::Plc,
    topology::{DEVICE_SIDE, MODBUS, UPLINK},
    wait::wait_for,
};
use gateway::{SOON, bulkhead, enforces, policy, program_on, require_topology};

fn pinned(lab: &Lab, name: &str) -> Map {
    let pins = Pins::below(&lab.gateway.room.pin_outside("bulkhead"));
    Map::from_map_data(MapData::from_pin(pins.map(name)).expect("it is pinned")).expect("aya knows its kind")
}

/// The slot that packets look at.
fn active(lab: &Lab) -> u32 {
    let word: Array<_, u64> = pinned(lab, "ACTIVE").try_into().expect("an array");
    u32::try_from(word.get(&0, 0).expect("it is readable") & 1).expect("a bit")
}

/// Lets everybody through as far as the rules go, and makes a device's MAC nobody's.
fn edit(lab: &Lab) {
    let rules: ArrayOfMaps<_, HashMap<MapData, RuleKey, RuleRow>> =
        pinned(lab, "RULES").try_into().expect("tables of rules");
    let mut rules = rules.get(&active(lab), 0).expect("the slot in force");
    let key = rules.keys().next().expect("there is a rule").expect("it is readable");
    rules.remove(&key).expect("it is removed");
    let everybody = RuleKey { initiator: 1, responder: 1, class: 7 };
    rules.insert(everybody, RuleRow { rule: 1, schedule: 0 }, 0).expect("there is room");
    let macs: ArrayOfMaps<_, HashMap<MapData, u64, EndRow>> =
        pinned(lab, "MACS").try_into().expect("tables of devices");
    let mut macs = macs.get(&active(lab), 0).expect("the slot in force");
    let plc = macs.keys().next().expect("there is one").expect("it is readable");
    macs.insert(plc, EndRow::default(), 0).expect("it is changed");
    let flat: ArrayOfMaps<_, Array<MapData, Page>> = pinned(lab, "FLAT").try_into().expect("flat tables");
    let mut flat = flat.get(&active(lab), 0).expect("the slot in force");
    flat.set(8, [7; ENTRIES], 0).expect("it is changed");
    let mut segments: HashMap<_, SegmentKey, SegmentRow> =
        pinned(lab, "SEGMENTS").try_into().expect("segments");
    let key = segments.keys().next().expect("there is one").expect("it is readable");
    let row = segments.get(&key, 0).expect("it is there");
    segments.insert(key, SegmentRow { unmanaged: 1, ..row }, 0).expect("it is changed");
    let mut redirects: Array<_, u32> = pinned(lab, "REDIRECTS").try_into().expect("an array");
    redirects.set(key.ifindex, 1, 0).expect("it is changed");
}

fn started<'a>(lab: &'a Lab, more: &str) -> Agent<'a> {
    let mut agent = Agent::new(lab, &policy(lab)).expect("an agent");
    agent.write_config(more).expect("written");
    agent.start().expect("it starts");
    let (code, said) = bulkhead(lab, &["drift"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("holds what the agent put there"), "{said}");
    agent
}

#[test]
fn what_somebody_changed_by_hand_is_named_and_left_alone() {
    let test = "what_somebody_changed_by_hand_is_named_and_left_alone";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = started(&lab, "");
    edit(&lab);
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert_eq!(code, 1, "{said}");
    for words in [
        "RULES: 1 row missing; 1 row not the agent's, the first RuleKey { initiator: 1",
        "MACS: 1 row changed",
        "FLAT: 1 row changed, the first 8",
        "SEGMENTS: 1 row changed",
        "REDIRECTS: 1 row changed",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    let (code, status) = bulkhead(&lab, &["status"]);
    assert_eq!(code, 1, "{status}");
    assert!(
        status.contains("does not hold what the agent put there") && status.contains("repair = true"),
        "{status}"
    );
    let pins = Pins::below(&lab.gateway.room.pin_outside("bulkhead"));
    fs::remove_file(pins.map("FLOWS")).expect("removed");
    let (code, said) = bulkhead(&lab, &["drift", "--json"]);
    assert!(code == 1 && said.contains("FLOWS: its pin is gone"), "{said}");
    agent.stop().expect("it stops");
}

#[test]
fn what_somebody_changed_by_hand_is_put_right_where_the_configuration_says_so() {
    let test = "what_somebody_changed_by_hand_is_put_right_where_the_configuration_says_so";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = started(&lab, "\n[drift]\nrepair = true\n");
    assert!(enforces(&lab));
    edit(&lab);
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert!(code == 1 && said.contains("written anew once"), "{said}");
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert_eq!(code, 0, "{said}");
    assert!(enforces(&lab));
    let (_, trail) = bulkhead(&lab, &["audit-log", "--verify"]);
    let (_, entries) = bulkhead(&lab, &["audit-log"]);
    assert!(entries.contains("repair") && entries.contains("RULES: 1 row missing"), "{entries}\n{trail}");
    agent.stop().expect("it stops");
}

/// Puts a table of rules of its own, with nothing in it, where packets look.
fn swap(lab: &Lab) {
    let mut rules: ArrayOfMaps<_, HashMap<MapData, RuleKey, RuleRow>> =
        pinned(lab, "RULES").try_into().expect("tables of rules");
    let other = HashMap::create(1024, 0).expect("a table");
    rules.set(active(lab), &other, 0).expect("it is put there");
}

#[test]
fn a_table_that_was_exchanged_whole_is_found() {
    let Some(lab) = require_topology("a_table_that_was_exchanged_whole_is_found", Topology::Routed, 1500)
    else {
        return;
    };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = started(&lab, "\n[drift]\nrepair = true\n");
    swap(&lab);
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert!(code == 1 && said.contains("RULES: another table was put in its place"), "{said}");
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert_eq!(code, 0, "{said}");
    assert!(enforces(&lab));
    agent.stop().expect("it stops");
}

#[test]
fn what_was_changed_by_hand_does_not_come_back_with_a_later_policy() {
    let test = "what_was_changed_by_hand_does_not_come_back_with_a_later_policy";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = started(&lab, "");
    edit(&lab);
    let text = policy(&lab);
    for number in 0..2 {
        agent
            .write_policy(&format!("{text}\n[network.n{number}]\ncidr = \"10.99.{number}.0/24\"\n"))
            .expect("written");
        let (code, said) = bulkhead(&lab, &["apply"]);
        assert_eq!(code, 0, "{said}");
        if number == 0 {
            // The slot in force is another now, and what was edited is found where it waits.
            let (code, said) = bulkhead(&lab, &["drift"]);
            assert!(code == 1 && said.contains("that the next policy would have changed"), "{said}");
        }
    }
    let (code, said) = bulkhead(&lab, &["drift"]);
    assert!(code == 1 && said.contains("SEGMENTS") && !said.contains("RULES"), "{said}");
    agent.stop().expect("it stops");
}

#[test]
fn missing_interface_is_named_and_not_called_repaired() {
    let test = "missing_interface_is_named_and_not_called_repaired";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let mut agent = started(&lab, "\n[drift]\nrepair = true\n");
    link::delete(&lab.gateway.namespace, DEVICE_SIDE).expect("deleted");
    let found = || bulkhead(&lab, &["drift", "--json"]);
    let said = wait_for("the interface to be missed", SOON, || {
        let (code, said) = found();
        Ok((code == 1).then_some(said))
    });
    let said = said.expect("it is");
    assert!(said.contains("nothing is enforced on it") && said.contains("\"repaired\": 0"), "{said}");
    let (_, entries) = bulkhead(&lab, &["audit-log"]);
    assert!(!entries.contains("repair"), "{entries}");
    agent.stop().expect("it stops");
}

#[test]
fn link_whose_pin_was_removed_is_pinned_again() {
    let test = "link_whose_pin_was_removed_is_pinned_again";
    let Some(lab) = require_topology(test, Topology::Routed, 1500) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = started(&lab, "");
    let pins = Pins::below(&lab.gateway.room.pin_outside("bulkhead"));
    let names = [DEVICE_SIDE, UPLINK];
    let remove = || names.into_iter().try_for_each(|name| fs::remove_file(pins.link(name))).expect("removed");
    remove();
    let again = wait_for("the links to be made again", SOON, || {
        let there = names.iter().all(|name| program_on(&lab, name).is_some());
        Ok((there && pins.links().is_ok_and(|links| links.len() == 2)).then_some(()))
    });
    again.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", pins.links(), agent.log()));
    // With the last of its names the link is gone: an agent that stops right then makes it before it goes.
    remove();
    agent.stop().expect("it stops");
    assert!(enforces(&lab), "{}", agent.log());
}
