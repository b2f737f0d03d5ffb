//! `bulkhead rollout check`, `advance`, `back`, `accept`: the gates of a device, and the steps through them.

use serde::Serialize;

use super::proof::{Proof, is_accepted};
use crate::{
    cli::{Cli, Exit, Output, apply::print_noted, print_json, table, unexpected},
    control::{Applied, Body, Failure, Request, StageStatus, client::ClientError},
    diagnostic::{closest, escape, quote},
    learn::propose::minute,
    replay::Hurt,
    rollout::{Asked, Criterion, Gate, Stage, Standing},
};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Which device
    device: String,
    #[command(flatten)]
    output: Output,
}

/// One device, or all of a class.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Which device
    device: Option<String>,
    /// All devices of this class that may
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct AdvanceArgs {
    #[command(flatten)]
    whom: Whom,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on whatever is lacking: for one device, with a reason, and recorded as forced
    #[arg(long, requires = "reason", conflicts_with = "class")]
    force: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct BackArgs {
    #[command(flatten)]
    whom: Whom,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct AcceptArgs {
    /// Which device
    device: String,
    /// Which break: the name that `bulkhead rollout check` shows
    #[arg(value_name = "BREAK")]
    id: String,
    /// Why it may stop, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Accept it no longer
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    output: Output,
}

/// A device before its next gate, as JSON has it.
#[derive(Serialize)]
struct Checked<'p> {
    #[serde(flatten)]
    status: &'p StageStatus,
    /// The next stage; none where there is none.
    next: Option<Stage>,
    /// Whether it may go there.
    ready: bool,
    /// Everything that the gate asks for.
    gate: &'p [Criterion],
    /// What would be denied.
    breaks: Vec<&'p Hurt>,
    /// What could not be judged.
    unknown: Vec<&'p Hurt>,
}

/// What became of a device.
#[derive(Serialize)]
struct Stepped {
    device: String,
    from: Standing,
    to: Option<Stage>,
    /// Whether it went, or would go.
    advanced: bool,
    /// What it lacks.
    lacking: Vec<Criterion>,
    /// What the agent said.
    notes: Vec<String>,
}

pub(super) fn check(cli: &Cli, args: &CheckArgs) -> anyhow::Result<Exit> {
    let proof = Proof::of(cli, true)?;
    let status = known(&proof, &args.device)?;
    let (gate, criteria) = match proof.criteria(status) {
        Some((gate, criteria)) => (Some(gate), criteria),
        None => (None, Vec::new()),
    };
    let ready = gate.is_some_and(|gate| gate.pass(&criteria).is_ok());
    let concerns = proof.concerns(status);
    let checked = Checked {
        status,
        next: gate.map(Gate::to),
        ready,
        gate: &criteria,
        breaks: concerns.breaks,
        unknown: concerns.unknown,
    };
    if args.output.json {
        print_json(&checked)?;
    } else {
        print(&checked);
    }
    // Whoever has no gate before him lacks nothing.
    Ok(if ready || gate.is_none() { Exit::Fine } else { Exit::Found })
}

fn print(checked: &Checked<'_>) {
    let Checked { status, next, ready, gate, breaks, unknown } = checked;
    let forced = if status.forced { ", forced" } else { "" };
    let next = match (next, ready) {
        (None, _) => "no further stage".to_owned(),
        (Some(next), true) => format!("may go to {next}: `bulkhead rollout advance {}`", status.device),
        (Some(next), false) => format!("not yet for {next}"),
    };
    out!("{}: {}{forced}; {next}", status.device, status.stage.name());
    if status.stage.stage().is_none() {
        off_its_way(status).lines().skip(1).for_each(|line| out!("  {line}"));
    }
    for Criterion { asked, met, told, help } in *gate {
        out!("  {:<8} {:<9} {}", if *met { "met" } else { "NOT MET" }, asked.name(), escape(told));
        if let Some(help) = help {
            out!("           hint: {}", escape(help));
        }
    }
    if breaks.len() + unknown.len() > 0 {
        let mut rows = table::table(&[
            "BREAK",
            "FROM",
            "TO",
            "SERVICE",
            "TIMES",
            "LAST",
            "WHY",
            "CRITICALITY",
            "ACCEPTED",
        ]);
        for hurt in breaks.iter().chain(unknown) {
            let one = &hurt.what;
            let end =
                |name: &Option<String>, address: &str| name.clone().unwrap_or_else(|| address.to_owned());
            rows.add_row([
                hurt.id.clone(),
                end(&one.from, &one.from_address),
                end(&one.to, &one.to_address),
                format!("{} ({})", one.service, one.selector),
                one.flows.to_string(),
                minute(hurt.seen),
                if one.answered > 0 { one.reason.clone() } else { format!("{}, unanswered", one.reason) },
                one.criticality.clone().unwrap_or_default(),
                if is_accepted(status, &hurt.id) { "yes".to_owned() } else { "no".to_owned() },
            ]);
        }
        out!("");
        table::print(&rows);
    }
    for one in &status.accepted {
        out!(
            "accepted {} ({}) by {} at {}: {}",
            one.id,
            escape(&one.what),
            one.by,
            one.at,
            escape(&one.reason)
        );
    }
}

pub(super) fn advance(cli: &Cli, args: &AdvanceArgs) -> anyhow::Result<Exit> {
    let proof = Proof::of(cli, true)?;
    let mut all = Vec::new();
    let mut free = if args.dry_run { free_places(cli, &proof, &args.whom)? } else { usize::MAX };
    for status in chosen(&proof, &args.whom)? {
        let mut stepped = Stepped {
            device: status.device.clone(),
            from: status.stage,
            to: None,
            advanced: false,
            lacking: Vec::new(),
            notes: Vec::new(),
        };
        let Some(stage) = status.stage.stage() else {
            stepped.notes.push(off_its_way(status));
            all.push(stepped);
            continue;
        };
        let Some((gate, criteria)) = proof.criteria(status) else {
            stepped.notes.push("there is no further stage".to_owned());
            all.push(stepped);
            continue;
        };
        stepped.to = Some(gate.to());
        stepped.lacking = gate.pass(&criteria).err().unwrap_or_default();
        let is_sure = stepped.lacking.is_empty() || args.force;
        if args.dry_run {
            stepped.advanced = is_sure;
            if is_sure && gate.to() == Stage::Canary && !args.force {
                if free == 0 {
                    let told = "those before it take all places of its class";
                    stepped.lacking.push(Criterion::lacking(Asked::Canaries, told, None));
                    stepped.advanced = false;
                }
                free = free.saturating_sub(1);
            }
        } else if is_sure || args.whom.device.is_some() {
            // Of one device the refusal is recorded as well; of a class only those that may are asked for.
            let request = Request::Advance {
                device: status.device.clone(),
                stage,
                policy: proof.in_force.policy.clone(),
                accepted: status.accepted.iter().map(|one| one.id.clone()).collect(),
                criteria,
                force: args.force,
                reason: args.reason.clone(),
            };
            match sent(cli, &request) {
                Ok(applied) => (stepped.advanced, stepped.notes) = (true, applied.notes),
                Err(Said::Refused(why)) => {
                    // Another of the class took its place since the first look.
                    if stepped.lacking.is_empty() {
                        stepped.lacking = lacking_by_now(cli, &status.device)?;
                    }
                    stepped.notes.push(why);
                }
                Err(Said::Failed(error)) => return Err(error),
            }
        }
        all.push(stepped);
    }
    let is_held = |one: &Stepped| !one.advanced && one.to.is_some();
    let is_fine = all.iter().any(|one| one.advanced) && !all.iter().any(is_held);
    let exit = if is_fine { Exit::Fine } else { Exit::Found };
    if args.output.json {
        print_json(&all)?;
        return Ok(exit);
    }
    for one in &all {
        told(one, args.dry_run);
    }
    Ok(exit)
}

/// How many more of a class may be canaries; of one device the agent says it.
fn free_places(cli: &Cli, proof: &Proof, whom: &Whom) -> anyhow::Result<usize> {
    let Some(class) = &whom.class else { return Ok(usize::MAX) };
    let stages = proof.in_force.stages.iter().filter(|one| one.class.as_ref() == Some(class));
    let canaries = stages.filter(|one| one.stage.stage() == Some(Stage::Canary)).count();
    let most = usize::try_from(cli.config()?.rollout.canaries).unwrap_or(usize::MAX);
    Ok(most.saturating_sub(canaries))
}

/// Why a device has no stage, and what to do about it.
fn off_its_way(status: &StageStatus) -> String {
    let StageStatus { device, stage, .. } = status;
    let hint = match stage {
        Standing::Enforced => {
            format!("\nhint: `bulkhead mode {device} monitor --reason TEXT` begins at observe")
        }
        Standing::Quarantine => format!("\nhint: `bulkhead release {device}`"),
        Standing::Stage(_) => String::new(),
    };
    format!("`{device}` is not on its way: {}{hint}", stage.name())
}

/// What the agent itself knows that a device lacks at this moment.
fn lacking_by_now(cli: &Cli, device: &str) -> anyhow::Result<Vec<Criterion>> {
    let body = cli.ask(&Request::InForce { write: false })?;
    let Body::InForce(in_force) = body else { return Err(unexpected(&body)) };
    let found = in_force.stages.into_iter().find(|one| one.device == device);
    let criteria = found.map(|one| one.criteria).unwrap_or_default();
    Ok(criteria.into_iter().filter(|one| !one.met).collect())
}

fn told(one: &Stepped, dry_run: bool) {
    let Stepped { device, from, to, advanced, lacking, notes } = one;
    let to = to.map_or("-", Stage::name);
    match (advanced, dry_run) {
        (true, true) => out!("{device}: {} -> {to} (not done)", from.name()),
        (true, false) => {
            let mut notes = notes.iter();
            out!("{}", escape(notes.next().map_or("", String::as_str)));
            notes.for_each(|note| say!("{note}"));
        }
        (false, _) => {
            out!("{device}: stays at {}", from.name());
            for Criterion { asked, told, help, .. } in lacking {
                say!("  NOT MET {}: {}", asked.name(), escape(told));
                if let Some(help) = help {
                    say!("  hint: {}", escape(help));
                }
            }
            // The agent's words say the same, where these are what is lacking.
            if lacking.is_empty() {
                notes.iter().flat_map(|note| note.lines()).for_each(|line| say!("  {line}"));
            }
        }
    }
}

pub(super) fn back(cli: &Cli, args: &BackArgs) -> anyhow::Result<Exit> {
    let BackArgs { whom, reason, output } = args;
    let ask =
        |device: &str| cli.ask(&Request::StepBack { device: device.to_owned(), reason: reason.clone() });
    if let Some(device) = &whom.device {
        return print_noted(ask(device)?, *output);
    }
    let body = cli.ask(&Request::InForce { write: false })?;
    let Body::InForce(in_force) = body else { return Err(unexpected(&body)) };
    let members = of_class(&in_force.stages, whom.class.as_deref().unwrap_or_default())?;
    let on_the_way =
        members.iter().filter(|one| one.stage.stage().is_some_and(|stage| stage != Stage::Observe));
    let mut all = Applied::default();
    for one in on_the_way {
        let body = ask(&one.device)?;
        let Body::Applied(applied) = body else { return Err(unexpected(&body)) };
        all = Applied { notes: [all.notes, applied.notes.clone()].concat(), ..applied };
    }
    if all.notes.is_empty() {
        say!("no device of this class is beyond the first stage");
        return Ok(Exit::Found);
    }
    print_noted(Body::Applied(all), *output)
}

pub(super) fn accept(cli: &Cli, args: &AcceptArgs) -> anyhow::Result<Exit> {
    let AcceptArgs { device, id, reason, withdraw, output } = args;
    let what = if *withdraw { None } else { Some(described(&Proof::of(cli, true)?, device, id)?) };
    let request = Request::Accept { device: device.clone(), id: id.clone(), what, reason: reason.clone() };
    print_noted(cli.ask(&request)?, *output)
}

/// A break in words.
fn described(proof: &Proof, device: &str, id: &str) -> anyhow::Result<String> {
    let concerns = proof.concerns(known(proof, device)?);
    let all = || concerns.breaks.iter().chain(&concerns.unknown);
    let Some(hurt) = all().find(|hurt| hurt.id == id) else {
        let hint = format!("`bulkhead rollout check {device}` lists the breaks of `{device}`");
        return Err(wrong(format!("`{device}` has no break {}\nhint: {hint}", quote(id))));
    };
    let one = &hurt.what;
    let end = |name: &Option<String>, address: &str| match name {
        Some(name) => format!("{name} ({address})"),
        None => address.to_owned(),
    };
    let (from, to) = (end(&one.from, &one.from_address), end(&one.to, &one.to_address));
    Ok(format!("{from} -> {to} {} ({}), {}", one.service, one.selector, one.reason))
}

/// How the agent did not do it.
enum Said {
    Refused(String),
    Failed(anyhow::Error),
}

fn sent(cli: &Cli, request: &Request) -> Result<Applied, Said> {
    match cli.ask(request) {
        Ok(Body::Applied(applied)) => Ok(applied),
        Ok(other) => Err(Said::Failed(unexpected(&other))),
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(ClientError::Refused(failure)) if failure.found => {
                Err(Said::Refused(failure.message.clone()))
            }
            Some(_) | None => Err(Said::Failed(error)),
        },
    }
}

fn chosen<'p>(proof: &'p Proof, whom: &Whom) -> anyhow::Result<Vec<&'p StageStatus>> {
    match (&whom.device, &whom.class) {
        (Some(device), _) => Ok(vec![known(proof, device)?]),
        (None, class) => of_class(&proof.in_force.stages, class.as_deref().unwrap_or_default()),
    }
}

fn of_class<'p>(all: &'p [StageStatus], class: &str) -> anyhow::Result<Vec<&'p StageStatus>> {
    let members: Vec<&StageStatus> = all.iter().filter(|one| one.class.as_deref() == Some(class)).collect();
    if members.is_empty() {
        let hint = closest(class, all.iter().filter_map(|one| one.class.as_deref()));
        let hint = hint.map(|meant| format!("\nhint: did you mean `{meant}`?")).unwrap_or_default();
        return Err(wrong(format!("no device has the class {}{hint}", quote(class))));
    }
    Ok(members)
}

fn known<'p>(proof: &'p Proof, device: &str) -> anyhow::Result<&'p StageStatus> {
    if let Some(found) = proof.stage(device) {
        return Ok(found);
    }
    let names = proof.in_force.stages.iter().map(|one| one.device.as_str());
    let hint = closest(device, names).map(|meant| format!("\nhint: did you mean `{meant}`?"));
    let hint = hint.unwrap_or_default();
    Err(wrong(format!("the policy in force has no device {}{hint}", quote(device))))
}

/// What was asked for is at fault: exit code 1, as if the agent had said so.
fn wrong(message: String) -> anyhow::Error {
    ClientError::Refused(Failure { message, found: true }).into()
}
