//! What is done on the gateway: one change after the other, each told before it is tried and once it is acknowledged.
//!
//! In: chance. Out: `kept` with records that are on the disk, `try` with the state that the change leads to, `ack` with the one it led to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::{dice::Dice, lab::wait::wait_for};
use serde_json::{Value, json};

use crate::{
    gateway::{DEVICE, Running, mark_of},
    say,
};

/// Longer than any time that an unconfirmed change is given here.
const RETURNS_WITHIN: Duration = Duration::from_secs(900);

impl Running<'_> {
    /// Changes the policy until the power fails.
    pub(crate) fn change_for_ever(&mut self, first: u32, dice: &mut Dice) -> Result<()> {
        let mut mark = first;
        loop {
            let now = self.state()?;
            if !now["pending"].is_null() {
                if dice.below(2) == 0 {
                    self.confirm(&now)?
                } else {
                    self.roll_back(&now, dice)?
                }
                continue;
            }
            mark += 1;
            match dice.below(8) {
                0..4 => self.apply(&now, mark, None)?,
                4 => self.apply(&now, mark, Some("1h"))?,
                5 | 6 => self.roll_back(&now, dice)?,
                _ => self.switch_mode(&now)?,
            }
        }
    }

    /// One change that nobody will confirm.
    pub(crate) fn arm(&mut self, mark: u32, time: &str) -> Result<()> {
        let now = self.state()?;
        self.apply(&now, mark, Some(time))
    }

    /// Waits until the change that nobody confirmed is undone.
    pub(crate) fn wait_for_return(&mut self) -> Result<()> {
        let state = wait_for("the return", RETURNS_WITHIN, || {
            let state = self.state()?;
            Ok(state["pending"].is_null().then_some(state))
        })?;
        say("returned", &state);
        Ok(())
    }

    fn apply(&mut self, now: &Value, mark: u32, within: Option<&str>) -> Result<()> {
        let path = self.write_policy(&format!("policy-{mark}"), mark)?;
        let mut args = vec!["apply", &path, "--reason", "the power may fail"];
        args.extend(within.into_iter().flat_map(|time| ["--confirm-within", time]));
        // The number is the store's choice.
        let after = json!({ "number": null, "mark": mark, "mode": now["mode"], "pending": within.is_some() });
        self.change(&args, &after)
    }

    fn confirm(&mut self, now: &Value) -> Result<()> {
        let after = json!({ "number": now["number"], "mark": now["marks"][0], "mode": now["mode"], "pending": false });
        self.change(&["confirm"], &after)
    }

    /// Back to where an unconfirmed change came from; otherwise to any other revision that is kept.
    fn roll_back(&mut self, now: &Value, dice: &mut Dice) -> Result<()> {
        let list = self.ask("revisions")?;
        let list = list["revisions"].as_array().context("no list of revisions")?;
        let back_to = &now["pending"]["back_to"];
        let others: Vec<&Value> = list
            .iter()
            .filter(|one| {
                if back_to.is_null() { one["number"] != now["number"] } else { one["number"] == *back_to }
            })
            .collect();
        let Some(target) = others.get(dice.below(u32::try_from(others.len())?) as usize) else {
            ensure!(back_to.is_null(), "revision {back_to}, which comes back, is not kept");
            return Ok(());
        };
        // The configured files are in no folder with a number.
        let mark = target["from"].as_str().and_then(mark_of).unwrap_or(0);
        let number = target["number"].to_string();
        let after =
            json!({ "number": target["number"], "mark": mark, "mode": now["mode"], "pending": false });
        self.change(&["rollback", &number], &after)
    }

    fn switch_mode(&mut self, now: &Value) -> Result<()> {
        let mode = if now["mode"] == "enforce" { "monitor" } else { "enforce" };
        let after =
            json!({ "number": now["number"], "mark": now["marks"][0], "mode": mode, "pending": false });
        self.change(&["mode", DEVICE, mode], &after)
    }

    fn change(&self, args: &[&str], after: &Value) -> Result<()> {
        self.keep_records()?;
        say("try", &json!({ "what": args.join(" "), "after": after }));
        let output = self.agent.cli(args)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`bulkhead {}` ended with {}: {said}", args.join(" "), output.status);
        }
        say("ack", &self.state()?);
        Ok(())
    }
}
