//! A second, independent judge: the same policy as an nftables ruleset decides the same packets.
//!
//! Random policies over a small plant, sequences of real packets, two gateways: what comes out is compared packet by
//! packet. Where the two differ by design the difference has a name and a case of its own below, and is not thrown.

mod judge;

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use judge::{
    Court, Midstream,
    chance::Thrower,
    court, differences,
    exceptions::{self, EXCEPTIONS, Exception, Hosts},
    frames::Way,
    passed, policies,
    random::Random,
    scripts::{ACK, SYN, Scribe, Script, Talk, Who},
};

/// Chance begins here unless `BULKHEAD_JUDGE_SEED` says otherwise.
const SEED: u64 = 0x6a75_6467_6500_0001;
/// Seconds of the run unless `BULKHEAD_JUDGE_SECONDS` says otherwise.
const SECONDS: u64 = 20;
/// Scripts thrown at each policy.
const SCRIPTS: usize = 200;
/// Policies between two new pairs of gateways: each has addresses of its own, so that it finds no flow of another's.
const POLICIES: u8 = 100;

fn number(name: &str, otherwise: u64) -> u64 {
    let Ok(text) = env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("`{name}` is `{text}`, which is no number"))
}

#[test]
fn bulkhead_and_nftables_let_the_same_packets_through() {
    let test = "bulkhead_and_nftables_let_the_same_packets_through";
    let Some(mut judges) = court(test) else { return };
    let seed = number("BULKHEAD_JUDGE_SEED", SEED);
    let seconds = number("BULKHEAD_JUDGE_SECONDS", SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut policies = 0_u64;
    let mut fates = Fates::new();
    while Instant::now() < end {
        let round = u8::try_from(policies % u64::from(POLICIES)).expect("below a byte");
        if policies > 0 && round == 0 {
            drop(judges);
            judges = Court::convene();
        }
        // Each policy has a seed of its own, so that a difference can be played again by itself.
        trial(&mut judges, seed.wrapping_add(policies), round, &mut fates);
        policies += 1;
    }
    for (name, [passed, dropped]) in &fates {
        println!("{name}: {passed} packets passed, {dropped} did not");
    }
    let packets: u64 = fates.values().flatten().sum();
    println!(
        "{policies} policies, {packets} packets; BULKHEAD_JUDGE_SEED={seed} BULKHEAD_JUDGE_SECONDS={seconds}"
    );
    // A kind of packet that always meets one fate shows nothing. Replaying one policy is no such claim.
    let one_fate = fates.iter().filter(|(_, fates)| fates.contains(&0)).map(|(name, _)| name);
    let one_fate: Vec<&String> = if policies < 50 { Vec::new() } else { one_fate.collect() };
    assert!(one_fate.is_empty(), "these packets all passed, or all did not: {one_fate:?}");
}

/// Packets of each kind that both let through, and that neither did.
type Fates = BTreeMap<String, [u64; 2]>;

/// One policy and its scripts.
fn trial(judges: &mut Court, seed: u64, plant: u8, fates: &mut Fates) {
    let mut random = Random::new(seed);
    let text = policies::policy(&mut random, plant);
    let midstream = if random.percent(75) { Midstream::Strict } else { Midstream::TakenUp };
    let policy = judges.enact(&text, midstream);
    let scripts = Thrower::new(&policy, &mut random, midstream, plant).scripts(SCRIPTS);
    let came = judges.play(&scripts, plant);
    let told = differences(&scripts, &came);
    assert!(
        told.is_empty(),
        "the judges differ ({midstream:?}); again: BULKHEAD_JUDGE_SEED={seed} BULKHEAD_JUDGE_SECONDS=1\n{told}\n{text}"
    );
    for script in &scripts {
        for step in &script.steps {
            let [through, not] = fates.entry(kind(&script.name, &step.text)).or_default();
            *if step.marks.is_subset(&came[0]) { through } else { not } += 1;
        }
    }
}

/// `udp (Fragments)`, `icmp error`: what a packet is, whatever script it is from.
fn kind(script: &str, step: &str) -> String {
    let protocol = script.split(':').next().unwrap_or(script);
    match (step.contains("icmp error"), step.split_once('(')) {
        (true, _) => format!("icmp error about {protocol}"),
        (false, Some((_, extra))) => format!("{protocol} ({extra}"),
        (false, None) => protocol.to_owned(),
    }
}

#[test]
fn each_difference_by_design_is_the_one_described() {
    let Some(mut judges) = court("each_difference_by_design_is_the_one_described") else { return };
    for (Exception { name, reason, midstream, steps }, plant) in EXCEPTIONS.iter().zip(1_u8..) {
        let policy = judges.enact(&exceptions::policy(plant), *midstream);
        let (steps, expected): (Vec<_>, Vec<_>) =
            steps(&mut Scribe::new(&policy), Hosts::of(plant)).into_iter().unzip();
        let scripts = [Script::new(*name, steps)];
        let came = judges.play(&scripts, plant);
        let told = differences(&scripts, &came);
        for (step, expected) in scripts[0].steps.iter().zip(&expected) {
            let found = came.each_ref().map(|came| passed(&step.marks, came) == "passes");
            assert_eq!(found, *expected, "{} ({reason})\n{told}", step.text);
        }
        println!("{told}  because {reason}");
    }
}

#[test]
fn a_flow_that_the_next_policy_forbids_ends_in_bulkhead_and_goes_on_in_nftables() {
    let test = "a_flow_that_the_next_policy_forbids_ends_in_bulkhead_and_goes_on_in_nftables";
    let Some(mut judges) = court(test) else { return };
    let policy = judges.enact(&exceptions::policy(1), Midstream::Strict);
    let mut scribe = Scribe::new(&policy);
    let talks = ["10.2.1.7", "10.2.1.200"].map(|host| {
        let way =
            Way { from: host.parse().expect("an address"), to: "10.1.1.11".parse().expect("an address") };
        Talk { way, ports: [scribe.port(), 502] }
    });
    let said =
        [(Who::Client, SYN, 0), (Who::Server, SYN | ACK, 0), (Who::Client, ACK, 0), (Who::Client, ACK, 9)];
    let mut last = Vec::new();
    let opened = talks.map(|talk| {
        let mut steps = scribe.tcp(talk, &said);
        last.extend(steps.pop());
        Script::new("a connection", steps)
    });
    let came = judges.play(&opened, 1);
    let steps = opened.iter().flat_map(|script| &script.steps);
    assert!(steps.flat_map(|step| &step.marks).all(|mark| came.iter().all(|came| came.contains(mark))));

    judges.enact(&exceptions::without_office(1), Midstream::Strict);
    let scripts = [Script::new("later", last)];
    let came = judges.play(&scripts, 1);
    let found = |step: usize| came.each_ref().map(|came| passed(&scripts[0].steps[step].marks, came));
    assert_eq!(found(0), ["drops", "passes"], "the office may no longer; conntrack asks nobody again");
    assert_eq!(found(1), ["passes", "passes"], "the lab still may, and its connection goes on");
}
