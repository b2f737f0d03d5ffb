//! As many new flows as the machine can begin, of more than the table has room for: conversations go on, no packet is denied or uncounted,
//! the table stays within its bound, and `doctor` says which one it should have.
//!
//! How fast that is, and what it costs, is for `cargo xtask bench flood`.

use anyhow::{Context, Result};
use bulkhead_tests::{
    lab::{
        Agent, Topology,
        churn::{self, Churn},
        lab_for,
    },
    skip::Tier,
};
use serde_json::Value;

/// At least so many frames are sent.
const FRAMES: u64 = 500_000;
/// Flows that there is room for.
const ROOM: u64 = 4096;

/// What `doctor` finds about a subject.
fn doctor(agent: &Agent<'_>, subject: &str) -> Result<Option<Value>> {
    let found = agent.cli(&["doctor", "--json"])?;
    let found: Vec<Value> = serde_json::from_slice(&found.stdout).context("`doctor --json` is no JSON")?;
    Ok(found.into_iter().find(|one| one["subject"] == subject))
}

#[test]
fn conversations_go_on_while_flows_begin_without_end() {
    let test = "conversations_go_on_while_flows_begin_without_end";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Bridged, 1500) else { return };
    let mut agent = Agent::new(&lab, &churn::policy(&lab)).expect("an agent");
    let mut said = Vec::new();
    let limits = format!("\n[limits]\nflows = {ROOM}\n");
    let found = churn::run(&lab, &mut agent, &limits, FRAMES, |agent| {
        said.push([doctor(agent, "limits")?, doctor(agent, "limits.flows")?]);
        Ok(())
    });
    let found = found.unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
    println!("{found:#?}");

    let Churn { reached, polls, .. } = &found;
    assert!(
        polls.iter().all(|polls| (polls.failed, polls.reconnects) == (0, 0) && polls.ok > 20),
        "{polls:#?}"
    );
    assert!(*reached > FRAMES / 4, "the flows did come: {reached}");
    assert_eq!((found.uncounted(), found.interface("dropped"), found.number("flows_refused")), (0, 0, 0));
    assert_eq!(found.status["violations"]["violations"], 0, "{:#}", found.status);
    assert!(found.number("flows") <= ROOM && found.number("flows_limit") == ROOM, "{:#}", found.status);
    // Some of the ports and addresses at random come twice.
    assert!(found.made() > reached / 100 * 95, "{} of {reached}", found.made());

    let [before, after] = &said[..] else { panic!("{said:#?}") };
    let [Some(limits), None] = before else { panic!("{before:#?}") };
    let seen = limits["seen"].as_str().unwrap_or_default();
    assert!(
        seen.contains("MiB of kernel memory") && seen.contains(&format!("live conversations of {ROOM}")),
        "{limits}"
    );
    let [_, Some(flows)] = after else { panic!("{after:#?}") };
    let fix = flows["fix"].as_str().unwrap_or_default();
    assert!(
        flows["state"] == "warning" && fix.contains(&format!("`limits.flows = {}`", 4 * ROOM)),
        "{flows}"
    );
}
