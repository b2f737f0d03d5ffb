//! Rules that are bound to a time, with the real agent: what they allowed ends by itself, whether or not an agent runs;
//! `why` and `rules` say so; a clock that is wrong opens nothing.

mod gateway;

use std::time::Duration;

use bulkhead_agent::store::{Record, Store};
use bulkhead_tests::lab::{
    Agent, Lab, Poller,
    modbus::{Plc, Write, write_once},
    topology::MODBUS,
    wait::wait_for,
};
use gateway::{SILENCE, SOON, bulkhead, require_lab};
use jiff::{SignedDuration, Timestamp};

/// How long the vendor's access lasts: the lab is ready, and a connection is made, well before it is over.
const ACCESS: SignedDuration = SignedDuration::from_secs(12);

/// The HMI may poll the PLC always, the vendor's host (the attacker of the lab) until a moment.
fn policy(lab: &Lab, expires: Timestamp) -> String {
    let (plc, hmi, vendor) = (lab.plc(), lab.host("hmi"), lab.host("attacker"));
    format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n\n\
         [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n\n\
         [[device.plc.allow]]\nfrom = \"vendor\"\nservice = \"modbus\"\nexpires = {expires:.0}\n\n\
         [network.hmi]\ncidr = \"{}/32\"\n\n[network.vendor]\ncidr = \"{}/32\"\n",
        plc.mac, plc.ip, hmi.ip, vendor.ip
    )
}

fn reaches(lab: &Lab, from: &str, within: Duration) -> bool {
    write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try") == Write::Written
}

/// Has the revision in force be made at another time.
fn made_at(lab: &Lab, at: Timestamp) {
    let store = Store::open(&lab.gateway.room.outside("state")).expect("no agent runs");
    let pointer = store.pointer().expect("it is whole").expect("it is there");
    let record = store.record(pointer.current).expect("it is whole").expect("it is kept");
    let layers = store.texts(&record).expect("they are kept");
    store.keep(&Record { at: at.to_string(), ..record }, &layers).expect("there is room");
}

fn passed(expires: Timestamp) -> bool {
    Timestamp::now() > expires
}

#[test]
fn vendor_access_ends_by_itself_even_without_an_agent() {
    let Some(lab) = require_lab("vendor_access_ends_by_itself_even_without_an_agent") else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let expires = Timestamp::now() + ACCESS;
    let mut agent = Agent::new(&lab, &policy(&lab, expires)).expect("an agent");
    agent.start().expect("it starts");
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    assert!(reaches(&lab, "attacker", SOON), "the vendor may, until then");
    assert!(!passed(expires), "the lab took too long to be of use");
    agent.kill9().expect("it is killed");
    // Nobody is there to close it. The last second may be cut off by how it is written.
    wait_for("the end of the vendor's access", Duration::from_secs(60), || Ok(passed(expires).then_some(())))
        .expect("time goes by");
    assert!(!reaches(&lab, "attacker", SILENCE), "the kernel closes it by itself");
    agent.start().expect("it starts again");
    assert!(!reaches(&lab, "attacker", SILENCE), "and it stays closed");
    let (code, said) = bulkhead(&lab, &["why", "vendor", "plc", "modbus"]);
    assert_eq!(code, 1, "{said}");
    for words in [
        "outside-schedule",
        "lab.toml:12 allows vendor -> plc modbus",
        "it never holds again",
        "kernel   its tables say the same",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    let (_, rules) = bulkhead(&lab, &["rules"]);
    assert!(rules.contains("(closed now)") && rules.contains("always"), "{rules}");
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "what is not bound to a time goes on: {polls:?}");
    agent.stop().expect("it stops");
}

#[test]
fn a_clock_before_the_policys_own_time_opens_nothing() {
    let Some(lab) = require_lab("a_clock_before_the_policys_own_time_opens_nothing") else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let expires = Timestamp::now() + SignedDuration::from_hours(24);
    let mut agent = Agent::new(&lab, &policy(&lab, expires)).expect("an agent");
    agent.start().expect("it starts");
    assert!(reaches(&lab, "attacker", SOON), "the vendor may, until then");
    agent.stop().expect("it stops");
    // The revision in force says when it was made; put that two days ahead, as a clock that lost two days sees it.
    made_at(&lab, Timestamp::now() + SignedDuration::from_hours(48));
    agent.start().expect("it starts");
    assert!(!reaches(&lab, "attacker", SILENCE), "a wrong clock opens nothing");
    assert!(reaches(&lab, "hmi", SOON), "and closes nothing that is not bound to a time");
    let (_, said) = bulkhead(&lab, &["status"]);
    assert!(said.contains("stay closed until the clock is right"), "{said}");
    // It is right, and was wrong when the policy was made: whoever applies it again says so.
    let (code, said) = bulkhead(&lab, &["apply"]);
    assert!(code == 0 && said.contains("number 2"), "{said}");
    wait_for("the vendor's rule to hold", SOON, || Ok(reaches(&lab, "attacker", SILENCE).then_some(())))
        .expect("it opens");
    let (_, said) = bulkhead(&lab, &["status"]);
    assert!(!said.contains("the clock shows"), "{said}");
    agent.stop().expect("it stops");
}
