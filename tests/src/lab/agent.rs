//! The real `bulkhead` binary as a child in the gateway namespace.
//!
//! In: policy text. Out: what the commands print, the violations it wrote, and its log when something goes wrong.
//! All its files are in the gateway's room: several labs run side by side, and nothing is left on the machine.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    topology::{DEVICE_SIDE, Gateway, Lab, UPLINK},
    wait::wait_for,
};
use crate::cargo::cargo;

/// The name of the configuration in the gateway's room.
pub const CONFIG: &str = "bulkhead.toml";
const POLICY: &str = "policy.d/lab.toml";
const LOG: &str = "agent.log";
const SOCKET: &str = "api.sock";
const VIOLATIONS: &str = "violations.jsonl";

/// An agent that loads BPF and attaches on a busy machine needs seconds, not minutes.
const UP_WITHIN: Duration = Duration::from_secs(60);
const DOWN_WITHIN: Duration = Duration::from_secs(10);

/// The binary under test: `BULKHEAD_BIN`, or else what `cargo build` makes of this checkout, once per process, so that
/// a stale binary is never tested.
pub fn agent_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = env::var_os("BULKHEAD_BIN") {
        return fs::canonicalize(&path).with_context(|| format!("`BULKHEAD_BIN` is {path:?}"));
    }
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn build() -> Result<PathBuf> {
    // `target/debug/xtask` or `target/debug/deps/netns-…`: the profile's directory is the nearest one above that is
    // not `deps`.
    let exe = env::current_exe().context("failed to find the running executable")?;
    let profile = exe
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps"))
        .context("the running executable is in no directory")?;
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "bulkhead-agent", "--bin", "bulkhead"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    if let Some(target) = profile.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .context("failed to run cargo")?;
    ensure!(status.success(), "`cargo build --package bulkhead-agent` failed");
    fs::canonicalize(profile.join("bulkhead"))
        .with_context(|| format!("no `bulkhead` in {}", profile.display()))
}

/// The agent of one lab's gateway, running or not. Dropping it kills the process.
pub struct Agent<'a> {
    gateway: &'a Gateway,
    binary: PathBuf,
    child: Option<Child>,
}

impl<'a> Agent<'a> {
    /// Writes config and policy; starts nothing.
    pub fn new(lab: &'a Lab, policy: &str) -> Result<Self> {
        Self::of(lab, agent_binary()?, policy)
    }

    /// As [`Agent::new`], of a binary that is built already.
    pub fn of(lab: &'a Lab, binary: PathBuf, policy: &str) -> Result<Self> {
        let agent = Self::on(&lab.gateway, binary);
        agent.write_config("")?;
        agent.write_policy(policy)?;
        Ok(agent)
    }

    /// An agent whose files somebody else writes.
    pub fn on(gateway: &'a Gateway, binary: PathBuf) -> Self {
        Self { gateway, binary, child: None }
    }

    /// Writes the config again with more text behind it (tables, not keys of the top level). The agent sends no packets of
    /// its own: tests count theirs. It listens for nobody, unless that text says where.
    pub fn write_config(&self, more: &str) -> Result<()> {
        self.write_probing_config("0s", more)
    }

    /// The same, of an agent that tests itself and says that it is there so often.
    pub fn write_probing_config(&self, heartbeat: &str, more: &str) -> Result<()> {
        let room = &self.gateway.room;
        let path = |name: &str| toml_string(&room.inside(name));
        let quiet = if more.contains("[metrics]") { "" } else { "[metrics]\nlisten = \"off\"\n\n" };
        let text = format!(
            "policy = {}\nstate = {}\npins = {}\nsocket = {}\n\n[interface.{DEVICE_SIDE}]\nrole = \"device-side\"\n\n\
             [interface.{UPLINK}]\nrole = \"uplink\"\n\n[violations]\nsummary = \"1s\"\nheartbeat = \"{heartbeat}\"\n\n{quiet}[sink.log]\nto = \"file:{}\"\n{more}",
            path("policy.d"),
            path("state"),
            toml_string(&room.pin_inside("bulkhead")),
            path(SOCKET),
            room.inside(VIOLATIONS).display(),
        );
        room.write(CONFIG, &text).context("failed to write the config")
    }

    /// Replaces the policy file. The running agent does not look at it before [`Agent::hup`] or `apply`.
    pub fn write_policy(&self, text: &str) -> Result<()> {
        self.gateway.room.write(POLICY, text).context("failed to write the policy")
    }

    /// Starts the agent and waits until its socket answers.
    pub fn start(&mut self) -> Result<()> {
        self.start_within(UP_WITHIN)
    }

    /// As [`Agent::start`], for a policy so large that it takes longer.
    pub fn start_within(&mut self, within: Duration) -> Result<()> {
        self.spawn()?;
        self.wait_until_up(within)
            .with_context(|| format!("the agent did not come up; its log:\n{}", self.log()))
    }

    /// As [`Agent::start`], with another place for what it logs.
    pub fn start_logging_to(&mut self, log: Stdio) -> Result<()> {
        self.spawn_with(Stdio::null(), log)?;
        self.wait_until_up(UP_WITHIN).context("the agent did not come up")
    }

    /// Starts the agent and does not wait for anything: for tests of what happens meanwhile.
    pub fn spawn(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path(LOG))?;
        self.spawn_with(log.try_clone()?.into(), log.into())
    }

    fn spawn_with(&mut self, out: Stdio, log: Stdio) -> Result<()> {
        ensure!(self.child.is_none(), "the agent is already running");
        let mut command = self.command(&["run"]);
        // A group of its own: ctrl-c is for the lab, which ends its children in order.
        command.stdin(Stdio::null()).stdout(out).stderr(log).process_group(0);
        let child = self.gateway.namespace.spawn_child(command);
        self.child = Some(child.with_context(|| format!("failed to start `{}`", self.binary.display()))?);
        Ok(())
    }

    /// Waits until the agent that was spawned ends by itself.
    pub fn wait_until_ended(&mut self) -> Result<ExitStatus> {
        let status = wait_for("the agent to end", UP_WITHIN, || self.ended())?;
        self.child = None;
        Ok(status)
    }

    fn wait_until_up(&mut self, within: Duration) -> Result<()> {
        let socket = self.path(SOCKET);
        wait_for("the agent's socket", within, || {
            if let Some(status) = self.ended()? {
                bail!("the agent ended: {status}");
            }
            // A socket file of an earlier life refuses the connection.
            Ok(UnixStream::connect(&socket).is_ok().then_some(()))
        })
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the agent is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the process is gone when this returns.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let status = wait_for("the agent to end", DOWN_WITHIN, || self.ended());
        let status = status.with_context(|| format!("the agent's log:\n{}", self.log()))?;
        self.child = None;
        Ok(status)
    }

    /// SIGHUP: the agent reads its policy again, some time after this returns.
    pub fn hup(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Asks the running agent over its socket, without a process of its own for it: one line there, one back.
    pub fn ask(&self, request: &Value) -> Result<Value> {
        let mut stream = UnixStream::connect(self.path(SOCKET)).context("the agent's socket")?;
        stream.set_read_timeout(Some(UP_WITHIN))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("the agent's answer: `{answer}`"))
    }

    /// Sends the running agent a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid().context("the agent is not running")?)?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("failed to send {signal} to the agent"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().context("the agent is not running")?.try_wait()?)
    }

    /// Runs `bulkhead --config … <args>` on the gateway and returns what it printed, whatever the exit code.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.gateway.namespace.spawn_child(command);
        child
            .and_then(Child::wait_with_output)
            .with_context(|| format!("failed to run `bulkhead {}`", args.join(" ")))
    }

    /// As [`Agent::cli`], typed by somebody who is connected from `from` to `to` over SSH.
    pub fn cli_over_ssh(&self, from: Ipv4Addr, to: Ipv4Addr, args: &[&str]) -> Result<Output> {
        let mut command = self.command(args);
        command.env("SSH_CONNECTION", format!("{from} 50022 {to} 22"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.gateway.namespace.spawn_child(command).and_then(Child::wait_with_output)?)
    }

    /// As [`Agent::cli`], but a non-zero exit is an error and the output is JSON.
    pub fn cli_json(&self, args: &[&str]) -> Result<Value> {
        let Output { status, stdout, stderr } = self.cli(args)?;
        let what =
            || format!("`bulkhead {}`: {status}\n{}", args.join(" "), String::from_utf8_lossy(&stderr));
        ensure!(status.success(), what());
        serde_json::from_slice(&stdout).with_context(what)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(self.gateway.room.inside(CONFIG)).args(args);
        // Whoever runs the lab may do so over SSH, and none of its commands is typed there.
        command.env("SSH_CONNECTION", "");
        command
    }

    /// The violations written so far, complete lines only.
    pub fn violations(&self) -> Result<Vec<Value>> {
        Ok(self.records()?.into_iter().filter(|record| record["kind"] == "violation").collect())
    }

    /// The records of every kind written so far, complete lines only.
    pub fn records(&self) -> Result<Vec<Value>> {
        let text = self.gateway.room.read(VIOLATIONS)?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not a JSON object: `{line}`")))
            .collect()
    }

    /// Waits for a violation that `wanted` accepts.
    pub fn wait_violation(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("a violation: {what}"), within, || {
            Ok(self.violations()?.into_iter().find(|violation| wanted(violation)))
        })
    }

    /// The records of every kind that may tell of packets, once every packet that the kernel counted as a violation is told of. Those of
    /// the inventory tell of devices, as soon as they are heard.
    pub fn settled(&self, within: Duration) -> Result<Vec<Value>> {
        let records = wait_for("the log to be complete", within, || {
            let status = self.cli_json(&["status", "--json"])?;
            let mut records = self.records()?;
            records.retain(|record| record["kind"] != "inventory");
            let told: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
            Ok((status["violations"]["violations"].as_u64() == Some(told)).then_some(records))
        });
        records
            .with_context(|| format!("{:?}\n{:#?}", self.cli_json(&["status", "--json"]), self.violations()))
    }

    /// Everything the agent has printed, over all its lives.
    pub fn log(&self) -> String {
        self.gateway.room.read(LOG).unwrap_or_else(|error| format!("(unreadable: {error})"))
    }

    /// The violation log as this process sees it: copy it before the lab is dropped.
    pub fn violations_file(&self) -> PathBuf {
        self.path(VIOLATIONS)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.room.outside(name)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if self.child.is_some() {
            // It may have ended by itself; then there is nothing to kill.
            drop(self.kill9());
        }
    }
}

/// A TOML basic string; the room's paths have nothing to escape.
fn toml_string(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
