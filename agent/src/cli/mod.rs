//! The commands: what a person types, what is printed, with which exit code.
//!
//! Data goes to standard output, everything else to standard error. This and `main` are the only places
//! that print.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::{
    config::{Config, parse_config},
    control::{
        Body, Request,
        client::{self, ClientError},
    },
    dataplane::Pins,
    diagnostic::render_text,
    files::{ReadError, read_file},
};

#[macro_use]
mod print;

mod apply;
mod audit_log;
mod captured;
mod check;
mod compare;
mod detach;
mod devices;
mod doctor;
mod drift;
mod explain;
mod flows;
mod history;
mod inventory;
mod learn;
mod manifest;
mod mode;
mod mud;
mod own;
mod plan;
mod progress;
mod propose;
mod revisions;
mod rollout;
mod rules;
mod run;
mod schema;
mod session;
mod shadow;
mod simulate;
mod standing;
mod status;
mod table;
mod top;
mod violations;
mod why;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// The command found something: an invalid policy, a denied conversation, a problem.
    Found = 1,
    /// It could not run, or was called wrongly.
    CouldNotRun = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The configuration, unless another one is named.
const DEFAULT_CONFIG: &str = "/etc/bulkhead/bulkhead.toml";

/// Per-device allow-list enforcement for gateways.
#[derive(Debug, Parser)]
#[command(
    name = "bulkhead",
    version,
    about = "Per-device allow-list enforcement for gateways, in XDP",
    after_help = "Exit codes: 0 fine; 1 the command found something (invalid policy, denied, a problem); 2 it could not run.\n\
                  Data goes to standard output, messages to standard error."
)]
pub struct Cli {
    /// How the agent runs: interfaces, paths, limits
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The agent's control socket, instead of the configured one
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: enforce the policy on the configured interfaces until stopped
    Run,
    /// Check policy files: every problem at once, with its place and how to mend it
    Check(check::Args),
    /// List the policy files of a folder, so that the list can be signed
    Manifest(manifest::Args),
    /// What a code of a finding means, why it matters and how to mend it
    Explain(explain::Args),
    /// The languages of the policy and of the configuration, for editors and for people
    Schema(schema::Args),
    /// What would change if the policy files were applied, and which conversations would stop
    Plan(plan::Args),
    /// What a policy would do with what really happened: recorded traffic meets its tables
    Simulate(simulate::Args),
    /// Enforce the policy files from the next packet on
    Apply(apply::Args),
    /// Keep a change that was applied with `--confirm-within`
    Confirm(apply::ConfirmArgs),
    /// Bring an older revision of the policy back
    Rollback(apply::RollbackArgs),
    /// The revisions of the policy that can be brought back: who made them, when, why, what they changed
    Revisions(Output),
    /// Who is watched after a change, who went back because traffic suffered
    Rollout(rollout::Args),
    /// What a proposed policy would do otherwise with what happens now: it is judged beside the one in force, and touches no packet
    Shadow(shadow::Args),
    /// Does the kernel hold what the agent put there, or has somebody changed its tables
    Drift(Output),
    /// How is it going: one page
    Status(Output),
    /// Every device with its mode and what was allowed and denied
    Devices(devices::Args),
    /// Who is there, and what devices say of themselves: names, models, firmware, with evidence; policy entries for unknown ones
    Inventory(inventory::Args),
    /// The conversations under way: who with whom, over what, by which rule
    Flows(flows::Args),
    /// What was seen on the wire, for months: since when, of how many kinds, with which gaps; `history flows` lists them
    History(history::Args),
    /// What was denied, and why
    Violations(violations::Args),
    /// Every rule with its hits, the last of them, and its place in the files
    Rules(rules::Args),
    /// Watch the gateway: devices, rates, conversations and violations, as they change
    Top(top::Args),
    /// May FROM start a conversation with TO over SERVICE: which rule says so, or what is missing; or what a violation was
    Why(why::Args),
    /// What the history knows of each device: since when, how completely, what is habit, what was left out and why
    Learn(learn::Args),
    /// Rules out of what was seen, with reasons and prices, for review: nothing is written unless told to
    Propose(propose::Args),
    /// A device in three views: what its manufacturer declares, what was seen, what the policy says
    Compare(compare::Args),
    /// Change a device's mode beside its policy; kept until `release`
    Mode(mode::ModeArgs),
    /// Cut a device off from everything but the remediation peers
    Quarantine(mode::QuarantineArgs),
    /// Return a device to the mode its policy gives it
    Release(mode::ReleaseArgs),
    /// Who changed policy, modes and enforcement, when and why; whether that record is whole
    AuditLog(audit_log::Args),
    /// Policies from what others say: manufacturers' usage descriptions
    #[command(subcommand)]
    Import(mud::Import),
    /// A policy in the language of others
    #[command(subcommand)]
    Export(mud::Export),
    /// Look at this gateway: what is wrong, and the command that mends it
    Doctor(Output),
    /// End enforcement: the only way it ends
    Detach(detach::Args),
}

/// How data is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Runs the command and says how it ended; errors are printed.
    pub fn execute(self) -> Exit {
        let result = match &self.command {
            Command::Run => run::run(&self),
            Command::Check(args) => check::run(&self, args),
            Command::Manifest(args) => manifest::run(&self, args),
            Command::Explain(args) => explain::run(args),
            Command::Schema(args) => schema::run(args),
            Command::Plan(args) => plan::run(&self, args),
            Command::Simulate(args) => simulate::run(&self, args),
            Command::Apply(args) => apply::run(&self, args),
            Command::Confirm(args) => apply::confirm(&self, args),
            Command::Rollback(args) => apply::rollback(&self, args),
            Command::Revisions(output) => revisions::run(&self, *output),
            Command::Rollout(args) => rollout::run(&self, args),
            Command::Shadow(args) => shadow::run(&self, args),
            Command::Drift(output) => drift::run(&self, *output),
            Command::Status(output) => status::run(&self, *output),
            Command::Devices(args) => devices::run(&self, args),
            Command::Inventory(args) => inventory::run(&self, args),
            Command::Flows(args) => flows::run(&self, args),
            Command::History(args) => history::run(&self, args),
            Command::Top(args) => top::run(&self, args),
            Command::Violations(args) => violations::run(&self, args),
            Command::Rules(args) => rules::run(&self, args),
            Command::Why(args) => why::run(&self, args),
            Command::Learn(args) => learn::run(&self, args),
            Command::Propose(args) => propose::run(&self, args),
            Command::Compare(args) => compare::run(&self, args),
            Command::Mode(args) => mode::change(&self, args),
            Command::Quarantine(args) => mode::quarantine(&self, args),
            Command::Release(args) => mode::release(&self, args),
            Command::AuditLog(args) => audit_log::run(&self, args),
            Command::Import(what) => mud::import(what),
            Command::Export(what) => mud::export(&self, what),
            Command::Doctor(output) => doctor::run(&self, *output),
            Command::Detach(args) => detach::run(&self, args),
        };
        match result {
            Ok(exit) => exit,
            Err(error) => {
                let text = told(&error);
                // Rendered findings say `error[CODE]` themselves.
                let prefix = if text.starts_with("error[") { "" } else { "error: " };
                say!("{prefix}{}", text.trim_end());
                if error.downcast_ref::<ReadError>().is_some_and(ReadError::found) {
                    return Exit::Found;
                }
                match error.downcast_ref::<ClientError>() {
                    Some(ClientError::Refused(failure)) if failure.found => Exit::Found,
                    Some(_) | None => Exit::CouldNotRun,
                }
            }
        }
    }

    /// The configuration, its problems printed.
    fn config(&self) -> anyhow::Result<Config> {
        let file = read_file(&self.config)?;
        let (config, diagnostics, sources) = parse_config(&file.path, &file.text);
        if !diagnostics.is_empty() {
            print::rendered(&render_text(&diagnostics, &sources, std::io::stderr().is_terminal()));
        }
        config.with_context(|| format!("the configuration `{}` cannot be used", self.config.display()))
    }

    /// Where the agent listens.
    fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(path) => Ok(path.clone()),
            None if !self.config.exists() => Ok(Path::new("/run/bulkhead/api.sock").to_owned()),
            None => Ok(self.config()?.socket),
        }
    }

    /// Asks the agent.
    fn ask(&self, request: &Request) -> anyhow::Result<Body> {
        let asked = client::ask_and_wait(&self.socket()?, request, |left| {
            say!("the agent has not answered yet: waiting for up to {} s more", left.as_secs());
        });
        self.note_enforcement(asked.as_ref().err());
        Ok(asked?)
    }

    /// Says what goes on without an agent: it being gone does not end enforcement.
    fn note_enforcement(&self, error: Option<&ClientError>) {
        if !matches!(error, Some(ClientError::Connect { .. })) || !self.config.exists() {
            return;
        }
        // A broken configuration was told of already.
        let Ok(config) = self.config() else { return };
        let links = Pins::below(&config.pins).links().unwrap_or_default();
        if !links.is_empty() {
            say!(
                "the agent is not running; its last policy goes on being enforced on {}\nhint: `bulkhead run` starts it",
                links.join(", ")
            );
        }
    }
}

/// An error with its causes on one line, each said once, and what helps on the lines behind.
fn told(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let (said, hint) = match text.split_once("\nhint:") {
            Some((said, hint)) => (said.to_owned(), Some(format!("\nhint:{hint}"))),
            None => (text, None),
        };
        if !causes.last().is_some_and(|last| last.ends_with(&said)) {
            causes.push(said);
        }
        hints.extend(hint.filter(|hint| !hints.contains(hint)));
    }
    causes.join(": ") + &hints.concat()
}

/// An answer to another question: the two sides are of different versions.
fn unexpected(body: &Body) -> anyhow::Error {
    anyhow::anyhow!("the agent answered something else: {body:?}")
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    out!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::told;

    #[test]
    fn a_cause_is_said_once_and_a_hint_comes_last() {
        let disk = || anyhow::anyhow!("no such file").context("failed to read `a`\nhint: put it there");
        assert_eq!(told(&disk()), "failed to read `a`: no such file\nhint: put it there");
        let twice = anyhow::anyhow!("in use").context("the folder is in use");
        assert_eq!(told(&twice), "the folder is in use");
        let outer = Err::<(), _>(disk()).context("failed to start").expect_err("it is one");
        assert_eq!(told(&outer), "failed to start: failed to read `a`: no such file\nhint: put it there");
    }
}
