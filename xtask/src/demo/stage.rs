//! Everything that lives as long as the lab: PLC, pollers, attacker, sniffers and the agent.
//!
//! In: a lab that is up. Out: traffic that counts itself, and the evidence of one attack after the other.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology, agent_binary,
    link::permanent_neighbour,
    modbus::Plc,
    poller::Polls,
    topology::{MODBUS, UPLINK},
    wait::wait_for,
};
use serde_json::Value;

use super::{
    attack::{Addresses, Frames, Step, Tricks, Watch},
    evidence::{Attack, Recorded, since},
    files,
};

const HMI_EVERY: Duration = Duration::from_millis(20);
const HISTORIAN_EVERY: Duration = Duration::from_millis(100);
/// Summaries come each second in the lab; a busy machine may take its time.
const LOG_WITHIN: Duration = Duration::from_secs(15);

/// The actors.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) agent: Agent<'a>,
    pub(super) watch: Watch,
    pub(super) hmi: Poller,
    pub(super) historian: Poller,
    pub(super) plc: Plc,
}

/// Where the counts stood.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    sent: Frames,
    reached: Frames,
    records: usize,
    hmi: Polls,
}

/// What happened since a [`Mark`].
#[derive(Clone, Debug)]
pub(super) struct Since {
    pub(super) sent: Frames,
    pub(super) reached: Frames,
    pub(super) recorded: Recorded,
    pub(super) polls_ok: u64,
    pub(super) polls_lost: u64,
}

impl<'a> Stage<'a> {
    /// Starts everything but the agent: the sessions are older than it.
    pub(super) fn set(lab: &'a Lab) -> Result<Self> {
        if lab.topology == Topology::Bridged {
            // The attacker sits on one switch with these two: their tables are out of any gateway's reach.
            for name in ["hmi", "historian"] {
                let host = lab.host(name);
                permanent_neighbour(&host.namespace, host.interface, lab.plc().ip, lab.plc().mac)?;
            }
        }
        let plc = Plc::start(lab.plc(), MODBUS)?;
        let hmi = Poller::start(lab.host("hmi"), lab.modbus(), HMI_EVERY)?;
        let historian = Poller::start(lab.host("historian"), lab.modbus(), HISTORIAN_EVERY)?;
        let watch = Watch::start(lab)?;
        let agent = Agent::new(lab, &files::policy(lab, "monitor"))?;
        Ok(Self { lab, agent, watch, hmi, historian, plc })
    }

    /// Remembers where the counts stand.
    pub(super) fn mark(&self) -> Result<Mark> {
        Ok(Mark {
            sent: self.watch.sent()?,
            reached: self.watch.reached()?,
            records: self.agent.violations()?.len(),
            hmi: self.hmi.polls(),
        })
    }

    /// Waits until the log tells as much of each step as was sent since the mark, or for as long as that may take, and
    /// says how it is then. `action` is what the records must name.
    pub(super) fn settle(&self, mark: &Mark, action: &'static str) -> Result<Since> {
        let attack = Attack { mac: self.lab.attacker().mac, addresses: Addresses::of(self.lab), action };
        let compare = || -> Result<(Frames, Recorded)> {
            let records = self.agent.violations()?;
            let recorded = attack.recorded(records.get(mark.records..).unwrap_or_default());
            Ok((since(&mark.sent, &self.watch.sent()?), recorded))
        };
        let mut length = None;
        let agreed = wait_for("the violation log", LOG_WITHIN, || {
            let now = fs::metadata(self.agent.violations_file()).map(|file| file.len()).ok();
            if now == length {
                return Ok(None);
            }
            length = now;
            let (sent, recorded) = compare()?;
            Ok((sent == recorded.right).then_some(()))
        });
        // A log that never agrees is a claim that failed, told with its numbers; ctrl-c ends the next wait as well.
        drop(agreed);
        let (sent, recorded) = compare()?;
        let polls = self.hmi.wait_for_more(10, LOG_WITHIN)?;
        Ok(Since {
            sent,
            reached: since(&mark.reached, &self.watch.reached()?),
            recorded,
            polls_ok: polls.ok - mark.hmi.ok,
            polls_lost: polls.failed - mark.hmi.failed,
        })
    }

    /// What the agent prints for these arguments, indented, and its exit code.
    pub(super) fn cli(&self, args: &[&str]) -> Result<(String, Option<i32>)> {
        let output = self.agent.cli(args)?;
        let text = [output.stdout, output.stderr].concat();
        let lines: Vec<String> =
            String::from_utf8_lossy(&text).trim_end().lines().map(|line| format!("   {line}")).collect();
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        Ok((lines.join("\n"), output.status.code()))
    }

    /// How to look around while everything is up.
    pub(super) fn way_in(&self) -> Result<String> {
        let gateway = &self.lab.gateway.namespace;
        let mut text =
            format!("\nThe lab stays up until ctrl-c. As root:\n\n  gateway     {}\n", gateway.nsenter());
        for host in self.lab.hosts() {
            text += &format!("  {:<11} {}\n", host.name, host.namespace.nsenter());
        }
        let config = self.lab.gateway.room.inside("bulkhead.toml");
        text += &format!(
            "\n  {} {} --config {} status\n",
            gateway.nsenter(),
            agent_binary()?.display(),
            config.display()
        );
        Ok(text + &format!("\nThe attacker comes in at the gateway's `{UPLINK}`.\n"))
    }

    /// What the agent says of itself. Exit code 1 means warnings, as while a policy file is wrong.
    pub(super) fn status(&self) -> Result<Value> {
        let output = self.agent.cli(&["status", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`bulkhead status`: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The revision in force.
    pub(super) fn revision(&self) -> Result<String> {
        self.status()?["revision"].as_str().map(str::to_owned).context("the status has no revision")
    }
}

impl Since {
    /// The steps that were taken.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(|step| self.sent.contains_key(step) || self.reached.contains_key(step))
    }
}

/// What a phase expects of the attacker's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All arrive, and are recorded as would-drop.
    Passed,
    /// None arrives.
    Dropped,
}

impl Fate {
    /// The word of the records.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Dropped => "dropped",
        }
    }

    /// What the attacker may play.
    pub(super) fn tricks(self) -> Tricks {
        match self {
            Self::Passed => Tricks::WithoutArp,
            Self::Dropped => Tricks::All,
        }
    }
}
