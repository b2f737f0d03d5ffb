//! The policies of the story, and what is left to read after it.
//!
//! In: the lab's addresses, or a stage. Out: policy text; copies of log, config and policy outside of the lab's mounts.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use bulkhead_tests::lab::Lab;

use super::{report::Saved, stage::Stage};
use crate::repo;

/// Where the copies go, below the checkout.
const FOLDER: &str = "target/demo";
/// Files of the lab's room, with their names as copies.
const OTHERS: [(&str, &str); 3] =
    [("agent.log", "agent.log"), ("bulkhead.toml", "bulkhead.toml"), ("policy.d/lab.toml", "policy.toml")];

/// The policy of the story: who may read the PLC. Both devices are in `mode`.
pub(super) fn policy(lab: &Lab, mode: &str) -> String {
    let (plc, hmi, historian) = (lab.plc(), lab.host("hmi"), lab.host("historian"));
    format!(
        r#"version = 1

[device.plc]
mac  = "{}"
ip   = "{}"
mode = "{mode}"

[[device.plc.allow]]
from    = ["hmi", "historian"]
service = ["modbus"]
comment = "line display and archive"

[device.hmi]
mac  = "{}"
ip   = "{}"
mode = "{mode}"

[network.historian]
cidr = ["{}/32"]
"#,
        plc.mac, plc.ip, hmi.mac, hmi.ip, historian.ip
    )
}

/// A rule more, which takes nothing from anybody.
pub(super) fn with_time(policy: &str) -> String {
    format!(
        r#"{policy}
[[device.plc.allow]]
to      = ["time"]
service = ["ntp"]

[network.time]
cidr = ["10.9.0.5/32"]
"#
    )
}

/// A policy with a typo.
pub(super) fn broken(policy: &str) -> String {
    policy.replace(r#"from    = ["hmi", "historian"]"#, r#"from    = ["hmi", "historain"]"#)
}

/// Copies what the agent wrote and read; the lab's mounts vanish with it.
pub(super) fn save(stage: &Stage<'_>) -> Result<Saved> {
    let folder = repo::root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let room = &stage.lab.gateway.room;
    let keep = |from: &Path, name: &str| {
        let to = folder.join(name);
        // Nothing was written yet when the story broke off early.
        let text = if from.exists() { fs::read(from) } else { Ok(Vec::new()) };
        text.and_then(|text| fs::write(&to, text))
            .with_context(|| format!("failed to save `{}`", to.display()))?;
        anyhow::Ok(to)
    };
    let violations = keep(&stage.agent.violations_file(), "violations.jsonl")?;
    let others = OTHERS.iter().map(|(from, name)| keep(&room.outside(from), name));
    Ok(Saved { violations, others: others.collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typo_is_in_the_rule_that_the_story_shows() {
        let policy = "from    = [\"hmi\", \"historian\"]\nservice = [\"modbus\"]\n";
        assert_eq!(broken(policy), "from    = [\"hmi\", \"historain\"]\nservice = [\"modbus\"]\n");
    }
}
