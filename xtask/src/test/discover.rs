//! Which integration tests the workspace has, asked of cargo, and the tier each belongs to.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bulkhead_tests::cargo::cargo;
use serde_json::Value;

/// The names of all integration tests of the workspace at `root`, as in `cargo test --test NAME`.
pub(super) fn targets(root: &Path) -> Result<Vec<String>> {
    let output = cargo()
        .current_dir(root)
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("failed to run `cargo metadata`")?;
    ensure!(
        output.status.success(),
        "`cargo metadata` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` printed no JSON")?;
    Ok(from_metadata(&metadata))
}

fn from_metadata(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for package in packages {
        let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
        for target in targets {
            let is_test =
                target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
            if let (true, Some(name)) = (is_test, target["name"].as_str()) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// Targets grouped by tier: those that run anywhere by name, then packet, netns, stacks and vm.
pub(super) fn by_tier(targets: Vec<String>) -> Vec<(String, Vec<String>)> {
    let mut targets: Vec<(u8, String, String)> = targets
        .into_iter()
        .map(|target| {
            let (rank, tier) = tier(&target);
            (rank, tier.to_owned(), target)
        })
        .collect();
    targets.sort();
    let mut tiers: Vec<(String, Vec<String>)> = Vec::new();
    for (_, tier, target) in targets {
        match tiers.last_mut() {
            Some((name, members)) if *name == tier => members.push(target),
            Some(_) | None => tiers.push((tier, vec![target])),
        }
    }
    tiers
}

fn tier(target: &str) -> (u8, &str) {
    if target.starts_with("packet") {
        (1, "packet")
    } else if target.starts_with("netns") {
        (2, "netns")
    } else if target.starts_with("stacks") {
        (3, "stacks")
    } else if target.starts_with("vm_") {
        (4, "vm")
    } else if target.starts_with("sinks_") {
        (0, "sinks")
    } else {
        (0, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_integration_tests_are_found() {
        let metadata = serde_json::json!({ "packages": [{
            "name": "bulkhead-tests",
            "targets": [
                { "name": "bulkhead_tests", "kind": ["lib"] },
                { "name": "policy", "kind": ["test"] },
            ],
        }]});
        assert_eq!(from_metadata(&metadata), ["policy"]);
    }

    #[test]
    fn packet_netns_stacks_and_vm_tests_form_the_last_tiers() {
        let targets = [
            "stacks_scan",
            "netns_bridged",
            "policy",
            "packet_differential",
            "cli",
            "netns_routed",
            "packet",
            "vm_links",
            "sinks_local",
            "stacks_plant",
            "sinks_agent",
        ];
        let tiers = by_tier(targets.map(str::to_owned).into());
        let names: Vec<(&str, Vec<&str>)> = tiers
            .iter()
            .map(|(tier, members)| (tier.as_str(), members.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            names,
            [
                ("cli", vec!["cli"]),
                ("policy", vec!["policy"]),
                ("sinks", vec!["sinks_agent", "sinks_local"]),
                ("packet", vec!["packet", "packet_differential"]),
                ("netns", vec!["netns_bridged", "netns_routed"]),
                ("stacks", vec!["stacks_plant", "stacks_scan"]),
                ("vm", vec!["vm_links"]),
            ]
        );
    }
}
