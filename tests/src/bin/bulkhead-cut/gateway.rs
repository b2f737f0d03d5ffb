//! The machine's interfaces, its agent, and what can be asked of both.
//!
//! In: nothing but the disk at `/state`. Out: an agent that runs, and its state in the words that the judge outside
//! compares: the number of the revision, the mark that its policy carries in three files, the mode, what waits, the records.

use std::{cell::Cell, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::{
    frame::frame,
    lab::{
        Agent, Gateway, Mac, Namespace, agent_binary,
        link::{self, End},
        topology::{DEVICE_SIDE, UPLINK},
        wait::wait_for,
        wire::RawSender,
    },
};
use serde_json::{Value, json};

use crate::{records, say};

/// Where the disk is.
const STATE: &str = "/state";
/// An agent on an emulated processor that shares its core.
const UP_WITHIN: Duration = Duration::from_secs(300);
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// The device of all policies.
pub(crate) const DEVICE: &str = "plc";
/// The port of the policy with mark 0.
const PORTS: u32 = 20_000;
/// Small enough that revisions are removed and the trail is rotated while the power fails.
const BOUNDS: &str = "[audit]\nfile_bytes = 65536\nfiles = 4\n\n[limits]\nrevisions = 8\n";

/// What the agent runs on.
pub(crate) struct Machine {
    gateway: Gateway,
    pub(crate) outside: Namespace,
}

/// An agent that runs.
pub(crate) struct Running<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) agent: Agent<'a>,
    /// Kinds of packets that were denied so far.
    pub(crate) denied: Cell<u32>,
}

impl Machine {
    pub(crate) fn new() -> Result<Self> {
        let (namespace, room) = Namespace::with_room("gateway")?;
        let (cell_mac, plant_mac) = (Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 1, 2]));
        let (cell_ip, plant_ip) = ([10, 20, 1, 1].into(), [10, 20, 2, 1].into());
        let gateway = Gateway { namespace, room, cell_mac, plant_mac, cell_ip, plant_ip };
        let outside = Namespace::new("outside")?;
        for (inside, mac, peer, last) in
            [(DEVICE_SIDE, cell_mac, "peer0", 1), (UPLINK, plant_mac, "peer1", 2)]
        {
            let inside = End { namespace: &gateway.namespace, interface: inside, mac, mtu: 1500 };
            let mac = Mac([2, 0, 0, 0, 2, last]);
            link::veth(&inside, &End { namespace: &outside, interface: peer, mac, mtu: 1500 })?;
        }
        Ok(Self { gateway, outside })
    }

    /// Looks at what is on the disk, starts the agent and says what it enforces.
    pub(crate) fn start(&self) -> Result<Running<'_>> {
        let room = &self.gateway.room;
        let mut agent = Agent::on(&self.gateway, agent_binary()?);
        let mut receiver = records::receiver();
        agent.write_config(&[BOUNDS, &records::sink(&receiver)].concat())?;
        let config = room.read("bulkhead.toml")?;
        let of_room = room.inside("state").display().to_string();
        ensure!(config.contains(&of_room), "the lab's configuration names no state folder");
        room.write("bulkhead.toml", &config.replace(&of_room, STATE))?;
        self.write_policy("policy.d", 0, "enforce")?;
        let chain = agent.cli(&["audit-log", "--verify", "--json"])?;
        let code = chain.status.code();
        let chain: Value = serde_json::from_slice(&chain.stdout)
            .with_context(|| String::from_utf8_lossy(&chain.stderr).into_owned())?;
        receiver.start(&self.gateway.namespace)?;
        say("starting", &Value::Null);
        agent.start_within(UP_WITHIN)?;
        let running = Running { machine: self, agent, denied: Cell::new(0) };
        let mut found = running.state()?;
        let status = running.ask("status")?;
        let mark = found["marks"][0].as_u64().context("no rule has a mark")?;
        let mark = u32::try_from(mark)?;
        found["chain"] = chain;
        found["chain_code"] = code.into();
        found["warnings"] = status["warnings"].clone();
        found["broken"] = running.ask("revisions")?["broken"].clone();
        found["wanted"] = running.revision_of(mark, found["mode"].as_str().unwrap_or_default())?.into();
        found["packets"] = running.try_packets(mark)?;
        found["received"] = records::receive(&running.agent, receiver)?;
        found["trail"] = running.agent.cli_json(&["audit-log", "--json", "--last", "6"])?;
        say("found", &found);
        Ok(running)
    }

    /// A policy of three files that all carry the mark; the kernel's part of it is the port.
    pub(crate) fn write_policy(&self, folder: &str, mark: u32, mode: &str) -> Result<()> {
        let port = PORTS + mark;
        let files = [
            (
                "plc.toml",
                format!(
                    "[device.{DEVICE}]\nmac = \"00:1d:9c:c7:b0:70\"\nip = \"10.20.1.11\"\nmode = \"{mode}\"\n\n\
                     [[device.{DEVICE}.allow]]\nfrom = \"hmi\"\nservice = \"marked\"\ncomment = \"mark {mark}\"\n"
                ),
            ),
            (
                "hmi.toml",
                format!(
                    "[device.hmi]\nmac = \"00:0e:8c:11:20:01\"\nip = \"10.20.1.20\"\nmode = \"enforce\"\n\n\
                     [[device.hmi.allow]]\nto = \"any\"\nservice = \"beside\"\ncomment = \"mark {mark}\"\n"
                ),
            ),
            (
                "services.toml",
                format!("[service.marked]\ntcp = [\"{port}\"]\n\n[service.beside]\nudp = [\"{port}\"]\n"),
            ),
        ];
        for (name, text) in files {
            self.gateway.room.write(&format!("{folder}/{name}"), &format!("version = 1\n\n{text}"))?;
        }
        Ok(())
    }

    pub(crate) fn inside(&self, name: &str) -> String {
        self.gateway.room.inside(name).display().to_string()
    }
}

impl Running<'_> {
    /// What is in force.
    pub(crate) fn state(&self) -> Result<Value> {
        let status = self.ask("status")?;
        let rules = self.ask("rules")?;
        let marks = rules.as_array().context("no list of rules")?.iter();
        let marks: Vec<u32> = marks.filter_map(|rule| mark_of(rule["comment"].as_str()?)).collect();
        let mode = status["by_hand"][DEVICE].as_str().unwrap_or("enforce");
        Ok(json!({
            "number": status["number"],
            "revision": status["revision"],
            "marks": marks,
            "mode": mode,
            "pending": status["pending"],
            "entries": last_entry()?,
            "synced": records::synced(&status),
        }))
    }

    pub(crate) fn ask(&self, verb: &str) -> Result<Value> {
        let answer = self.agent.ask(&json!({ "verb": verb }))?;
        let body = answer["ok"].as_object().and_then(|body| body.values().next());
        body.cloned().with_context(|| format!("the agent answered `{verb}` with {answer}"))
    }

    pub(crate) fn write_policy(&self, folder: &str, mark: u32) -> Result<String> {
        self.machine.write_policy(folder, mark, "enforce")?;
        Ok(self.machine.inside(folder))
    }

    /// The revision that a mark and a mode must have, by a command that knows nothing of this agent.
    fn revision_of(&self, mark: u32, mode: &str) -> Result<String> {
        self.machine.write_policy("wanted", mark, mode)?;
        let checked = self.agent.cli_json(&["check", "--json", &self.machine.inside("wanted")])?;
        let revision = checked["summary"]["revision"].as_str();
        revision.map(str::to_owned).with_context(|| format!("`check` says {checked}"))
    }

    /// Sends what the mark permits (a new conversation, and one that goes on from before the boot) and what it does not;
    /// says how many packets of the device were allowed and denied.
    fn try_packets(&self, mark: u32) -> Result<Value> {
        let port = PORTS + mark;
        let sender = RawSender::new(&self.machine.outside, "peer1")?;
        let lines = [
            format!("hmi>plc tcp 49152>{port} S"),
            format!("hmi>plc tcp 49153>{port} A"),
            format!("hmi>plc tcp 49154>{} S", port + 1),
        ];
        for line in &lines {
            sender.send(&frame(line).map_err(anyhow::Error::msg)?)?;
        }
        wait_for("the packets to be decided", SOON, || {
            let devices = self.ask("devices")?;
            let device =
                devices.as_array().and_then(|all| all.iter().find(|device| device["name"] == DEVICE));
            let device = device.with_context(|| format!("no `{DEVICE}` among {devices}"))?;
            let [allowed, denied] = ["allowed", "denied"].map(|key| device[key].as_u64().unwrap_or_default());
            let all = allowed + denied >= lines.len() as u64;
            Ok(all.then(|| json!({ "allowed": allowed, "denied": denied })))
        })
    }

    /// An orderly end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.agent.stop()?;
        ensure!(status.success(), "the agent ended with {status}");
        say("ended", &Value::Null);
        Ok(())
    }
}

/// The number in `mark 17`, and in the path of its files.
pub(crate) fn mark_of(text: &str) -> Option<u32> {
    text.rsplit([' ', '-']).next()?.parse().ok()
}

/// The number of the last whole entry of the audit trail.
fn last_entry() -> Result<u64> {
    for name in ["audit.log", "audit.log.1"] {
        let path = Path::new(STATE).join(name);
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        let Some((whole, _)) = text.rsplit_once('\n') else { continue };
        let line = whole.rsplit('\n').next().unwrap_or_default();
        let entry: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is no entry"))?;
        return entry["seq"].as_u64().context("an entry without a number");
    }
    Ok(0)
}
