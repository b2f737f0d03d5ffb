//! As many new flows that are allowed as the machine can begin, of more than the table has room for, while conversations of some devices
//! go on.
//!
//! In: a lab and its agent, not started. Out: what that cost, how the conversations fared, and what the agent counts of all of it.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Agent, Host, Lab,
    modbus::Plc,
    poller::{Poller, Polls},
    source::Source,
    spent::{self, Memory},
    topology::{MODBUS, PLANT_HOSTS, PLC},
    wait::wait_for,
};

/// The gateway's interface towards those who begin flows.
const INTERFACE: &str = "crowd0";
/// The half of their addresses that stays, and their port.
const CROWD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(172, 20, 0, 0), 21_000);
/// How often each conversation is heard.
const POLL_EVERY: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Frames that reached the gateway, each to begin a flow. A link that is full drops others.
    pub reached: u64,
    /// How long they took.
    pub took: Duration,
    /// The agent's time on a processor meanwhile.
    pub processor: Duration,
    /// Its memory before.
    pub before: Memory,
    /// And after.
    pub after: Memory,
    /// The conversations that went on.
    pub polls: Vec<Polls>,
    /// Segments that their ends have sent again, of any connection.
    pub retransmitted: u64,
    /// What the agent's status says when everything is counted.
    pub status: Value,
}

impl Churn {
    /// What the agent counts of the interface where flows began.
    pub fn interface(&self, key: &str) -> u64 {
        let all = self.status["interfaces"].as_array();
        let one = all.and_then(|all| all.iter().find(|one| one["name"] == INTERFACE));
        one.and_then(|one| one[key].as_u64()).unwrap_or_default()
    }

    /// A number of its status.
    pub fn number(&self, key: &str) -> u64 {
        self.status[key].as_u64().unwrap_or_default()
    }

    /// Flows that were made: those that are remembered, and those that made room.
    pub fn made(&self) -> u64 {
        self.number("flows") + self.number("flows_evicted")
    }

    /// How far what the agent counts is from what came: nothing else is on that interface.
    pub fn uncounted(&self) -> u64 {
        self.reached.abs_diff(self.interface("seen")) + self.reached.abs_diff(self.interface("passed"))
    }

    /// What the conversations have lost: polls without an answer, sessions, segments.
    pub fn lost(&self) -> u64 {
        self.polls.iter().map(|polls| polls.failed + polls.reconnects).sum::<u64>() + self.retransmitted
    }
}

fn readers(lab: &Lab) -> impl Iterator<Item = &Host> {
    let readers = PLANT_HOSTS.into_iter().map(|(name, _)| lab.host(name));
    readers.filter(|host| host.name != lab.attacker().name)
}

/// The policy: the PLC and those that poll it, all enforcing; and a network whose hosts may reach any port of the PLC.
pub fn policy(lab: &Lab) -> String {
    let devices: String = readers(lab).chain([lab.plc()]).map(Host::enforced).collect();
    let names: Vec<String> = readers(lab).map(|host| format!("\"{}\"", host.name)).collect();
    format!(
        "version = 1\n\n{devices}[[device.{PLC}.allow]]\nfrom = [{}]\nservice = \"modbus\"\n\n\
         [[device.{PLC}.allow]]\nfrom = \"crowd\"\nservice = \"datagrams\"\n\n\
         [network.crowd]\ncidr = \"{}/16\"\n\n[service.datagrams]\nudp = \"1-65535\"\n",
        names.join(", "),
        CROWD.ip()
    )
}

/// Starts the agent with that policy and some limits (`[limits]`, or nothing), and begins so many flows at least. `between` is called while
/// the conversations go on, before and after.
pub fn run(
    lab: &Lab,
    agent: &mut Agent<'_>,
    limits: &str,
    least: u64,
    mut between: impl FnMut(&Agent<'_>) -> Result<()>,
) -> Result<Churn> {
    let source = Source::new(&lab.gateway, INTERFACE)?;
    // No device but one is spoken to, and it may be spoken to as often as anybody can.
    agent.write_config(&format!("\n[interface.{INTERFACE}]\n\n[flows]\nnew_per_second = 0\n{limits}"))?;
    agent.start()?;
    let _plc = Plc::start(lab.plc(), MODBUS)?;
    let pollers: Vec<Poller> =
        readers(lab).map(|host| Poller::start(host, lab.modbus(), POLL_EVERY)).collect::<Result<_>>()?;
    between(agent)?;
    let resent = || readers(lab).chain([lab.plc()]).map(Host::retransmitted).sum::<Result<u64>>();
    let pid = agent.pid().context("the agent ended")?;
    let (before, begun, resent_before) = (spent::memory(pid)?, spent::processor(pid)?, resent()?);

    let counted = source.counted()?;
    let flood = source.flood(CROWD, SocketAddrV4::new(lab.plc().ip, 0), least)?;
    wait_for("flows to begin", SOON, || Ok((flood.sent() >= least).then_some(())))?;
    let (sent, took) = flood.end()?;
    let processor = spent::processor(pid)?.saturating_sub(begun);
    let reached = wait_for("the gateway to take what was sent", SOON, || {
        let now = source.counted()?;
        Ok((now.done_since(counted) >= sent).then_some(now.sent - counted.sent))
    })?;
    // Once more each, when all is over: whatever broke a session shows.
    for poller in &pollers {
        poller.wait_for_more(20, SOON)?;
    }
    between(agent)?;
    let retransmitted = resent()?.saturating_sub(resent_before);
    let polls: Vec<Polls> = pollers.into_iter().map(Poller::stop).collect();
    let mut status = Value::Null;
    let all = wait_for("everything to be counted", SOON, || {
        status = agent.ask(&json!({ "verb": "status" }))?["ok"]["status"].take();
        let interface =
            status["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == INTERFACE));
        Ok(interface.is_some_and(|one| one["seen"].as_u64() >= Some(reached)).then_some(()))
    });
    all.with_context(|| format!("of {reached} frames the agent counts {status}"))?;
    let after = spent::memory(pid)?;
    ensure!(agent.stop()?.success(), "the agent ended with an error");
    Ok(Churn { reached, took, processor, before, after, polls, retransmitted, status })
}
