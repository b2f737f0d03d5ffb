//! What must hold between two policies that differ in one thing, on the same frames: host only, thousands of random
//! policies' worth of decisions, none of it read from the code that decides.

mod packet;

use bulkhead_agent::compile::{Host, Tables};
use bulkhead_common::{
    decide::{Action, Decision, Verdict, decide},
    parse::parse,
    reason::Grant,
};
use packet::{
    Setup,
    invent::{self, ANY, Shape},
    mutate,
    random::{self, Random},
    setup::ENDLESS,
    tables,
};

const POLICIES: u64 = 30;
const FRAMES: usize = 3000;

/// Two policies from one seed, each with the frames that both meet, decision beside decision.
fn beside(shapes: [Shape; 2], setup: impl Fn(&mut Random) -> Setup, check: impl Fn(&[u8], [&Decision; 2])) {
    let corpus = random::corpus();
    for seed in 0..POLICIES {
        let compiled: [Tables; 2] =
            shapes.map(|shape| tables(&[("policy.toml", &invent::policy(&mut Random::new(seed), shape))]));
        let mut random = Random::new(seed + 1000);
        let setup = setup(&mut random);
        let hosts = [0, 1].map(|n: usize| {
            let mut host = Host::new(&compiled[n], setup.placed(&ENDLESS));
            host.reschedule(compiled[n].deadlines(packet::calendar(), 0));
            host
        });
        for _ in 0..FRAMES {
            let frame = mutate::frame(&mut random, &corpus);
            let packet = parse(frame.as_slice());
            let [a, b] = [0, 1].map(|n: usize| decide(&packet, &hosts[n]));
            check(&frame, [&a, &b]);
        }
    }
}

/// Budgets of the two, and addresses taken at a device's word, would drift apart with what only one of them allows.
fn without_drift(random: &mut Random) -> Setup {
    Setup { cap: 0, adopt: false, ..random::setup(random) }
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn quarantine_passes_nothing_that_enforce_would_not_but_remediation() {
    let shapes = ["quarantine", "enforce"].map(|mode| Shape { mode: Some(mode), ..ANY });
    beside(shapes, without_drift, |frame, [held, enforced]| {
        // Which fragments were seen differs between the two.
        if parse(frame).fragment.is_some() {
            return;
        }
        let Verdict::Allow(grant) = held.verdict else {
            assert!(held.action == Action::Drop || enforced.action == Action::Pass, "{}", hex(frame));
            return;
        };
        let excused = grant == Grant::Remediation || enforced.action == Action::Pass;
        assert!(excused, "{grant:?} under quarantine, {enforced:?} under enforce: {}", hex(frame));
    });
}

#[test]
fn without_rules_nothing_passes_by_a_rule() {
    let shapes = [Shape { rules: false, ..ANY }, ANY];
    beside(shapes, random::setup, |frame, [bare, _]| {
        let Verdict::Allow(grant) = bare.verdict else { return };
        let by_rule = matches!(
            grant,
            Grant::Rule | Grant::Flow | Grant::Adopted | Grant::Related | Grant::GatewayReply
        );
        assert!(!by_rule && bare.rule == 0, "{bare:?}: {}", hex(frame));
    });
}

#[test]
fn names_of_devices_decide_nothing() {
    // The new names sort behind everything else.
    let shapes = [ANY, Shape { prefix: "zz-", ..ANY }];
    beside(shapes, random::setup, |frame, [a, b]| {
        assert_eq!((a.verdict, a.action), (b.verdict, b.action), "{}", hex(frame));
    });
}

#[test]
fn rules_take_no_permission_away() {
    let shapes = [Shape { rules: false, ..ANY }, ANY];
    beside(shapes, without_drift, |frame, [bare, ruled]| {
        if parse(frame).fragment.is_some() {
            return;
        }
        if matches!(bare.verdict, Verdict::Allow(_)) {
            assert!(matches!(ruled.verdict, Verdict::Allow(_)), "{bare:?} {ruled:?}: {}", hex(frame));
        }
    });
}
