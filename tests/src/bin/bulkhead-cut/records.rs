//! The gateway's records: a receiver has what waited on the disk for it and is gone, and what comes then waits there.
//!
//! In: packets that are denied, each of a kind that was not seen before. Out: which records were received after the boot, and
//! how far the agent says that they are on the disk.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use bulkhead_tests::{
    frame::frame,
    lab::{Agent, siem::Siem, wait::wait_for, wire::RawSender},
};
use serde_json::{Value, json};

use crate::{
    gateway::{Running, SOON},
    say,
};

/// The sink of the agent.
const SINK: &str = "siem";
const PORT: u16 = 5140;
/// As little as there can be: the disk has room for more.
const SPOOL_BYTES: u32 = 1 << 20;
/// Ports to which nothing is allowed, whatever the mark.
const DENIED_PORTS: u32 = 1000;

/// The receiver.
pub(crate) fn receiver() -> Siem {
    Siem::new(PORT)
}

/// The sink, as it is configured.
pub(crate) fn sink(receiver: &Siem) -> String {
    format!("\n[sink.{SINK}]\nto = \"{}\"\nspool_bytes = {SPOOL_BYTES}\n", receiver.url())
}

/// Waits until everything that was in the spool is received: records come in their order, so one of this run is behind it.
/// Says which came, as ranges of numbers of each run; those that a gap stands for are not among them.
pub(crate) fn receive(agent: &Agent<'_>, mut receiver: Siem) -> Result<Value> {
    let told = agent.wait_violation("any of this run", SOON, |_| true)?;
    let run = &told["boot"];
    let records = wait_for("the records that waited", SOON, || {
        let records = receiver.records()?;
        Ok(records.iter().any(|record| record["boot"] == *run).then_some(records))
    })?;
    receiver.stop()?;
    let mut numbers: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for record in records.iter().filter(|record| record["cause"] != "spool") {
        let run = record["boot"].as_str().context("a record without its run")?;
        numbers.entry(run).or_default().insert(record["seq"].as_u64().context("a record without a number")?);
    }
    Ok(numbers.into_iter().map(|(run, numbers)| (run.to_owned(), ranges(&numbers))).collect())
}

/// How far the agent says that records are on the disk.
pub(crate) fn synced(status: &Value) -> Value {
    let sinks = status["sinks"].as_array().into_iter().flatten();
    let siem = sinks.into_iter().find(|sink| sink["name"] == SINK);
    siem.map_or(Value::Null, |sink| sink["spool"]["synced"].clone())
}

impl Running<'_> {
    /// Has packets denied until something of it is on the disk, and one more, of which nobody knows.
    pub(crate) fn keep_records(&self) -> Result<()> {
        let before = synced(&self.ask("status")?);
        self.send_denied()?;
        self.send_denied()?;
        let now = wait_for("records on the disk", SOON, || {
            let now = synced(&self.ask("status")?);
            Ok((now != before).then_some(now))
        })?;
        say("kept", &json!({ "synced": now }));
        self.send_denied()
    }

    fn send_denied(&self) -> Result<()> {
        let port = DENIED_PORTS + self.denied.get();
        self.denied.set(self.denied.get() + 1);
        let line = format!("hmi>plc udp 49155>{port}");
        RawSender::new(&self.machine.outside, "peer1")?.send(&frame(&line).map_err(anyhow::Error::msg)?)
    }
}

fn ranges(numbers: &BTreeSet<u64>) -> Value {
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some([_, last]) if *last + 1 == *number => *last = *number,
            Some(_) | None => ranges.push([*number; 2]),
        }
    }
    json!(ranges)
}
