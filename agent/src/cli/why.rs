//! `bulkhead why`: which rule, or what is missing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use bulkhead_common::layout::SegmentRow;

use super::{Cli, Exit, Output, check::files_of, print, print_json, unexpected};
use crate::{
    compile::{Host, Limits, Placed, Tables, compile},
    control::{Body, Request},
    diagnostic::render_text,
    policy::resolve_texts,
    report::why::{Answer, Heard, Part, Question},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who starts: a device, a network, `gateway`, `any` or an address
    from: String,
    /// Who answers: likewise, or `multicast:NAME` or `broadcast`
    to: String,
    /// Over what: a service, or `tcp/502`, `udp/161`, `icmp/8`, `icmpv6/128`, `ip/47`, `ethertype/0x8892`
    service: String,
    /// Ask these policy files instead of the running agent
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let answer = match &args.policy {
        Some(path) => match offline(cli, args, path)? {
            Some(answer) => answer,
            None => return Ok(Exit::Found),
        },
        None => {
            let Args { from, to, service, .. } = args;
            let request = Request::Why { from: from.clone(), to: to.clone(), service: service.clone() };
            let body = cli.ask(&request)?;
            let Body::Why(answer) = body else { return Err(unexpected(&body)) };
            *answer
        }
    };
    if args.output.json {
        print_json(&answer)?;
    } else {
        print(&answer);
    }
    Ok(if answer.verdict == "allow" && answer.kernel_agrees != Some(false) {
        Exit::Fine
    } else {
        Exit::Found
    })
}

/// The answer of files; `None` when they are wrong, which was printed. Of the configuration, if there is one, come
/// the segments and the management pin; without one there is a segment with devices on it.
fn offline(cli: &Cli, args: &Args, path: &Path) -> anyhow::Result<Option<Answer>> {
    let outcome = resolve_texts(&files_of(path)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(None);
    };
    let everything = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &everything).context("failed to compile the policy")?;
    let question = Question::new(&policy, &args.from, &args.to, &args.service, &BTreeSet::new())?;
    let gateway = question.gateway().into_iter().collect();
    let placed = Placed { gateway, named: question.supposed(&tables), ..Placed::default() };
    let heard = if cli.config.exists() {
        let config = cli.config()?;
        let placed = config.management.pin(Placed {
            segments: config.segment_ids(),
            trusted: config.trusted_hosts(),
            ..placed
        });
        let hear = |(names, segment): (String, SegmentRow)| {
            let placed = Placed { segment, ..placed.clone() };
            hear(&question, &tables, Some(names), &placed)
        };
        config.alike().into_iter().map(hear).collect()
    } else {
        vec![hear(&question, &tables, None, &placed)]
    };
    Ok(Some(question.answer(&tables, &heard)))
}

fn hear(question: &Question, tables: &Tables, on: Option<String>, placed: &Placed) -> Heard {
    let host = Host::new(tables, placed.clone());
    let parts = question.parts(tables, &placed.management_services);
    Heard { on, decisions: parts.into_iter().map(|part| (part, question.ask(part, &host))).collect() }
}

fn print(answer: &Answer) {
    let verdict = match answer.verdict.as_str() {
        "allow" => "ALLOWED",
        "partly" => "PARTLY",
        _ => "DENIED",
    };
    out!("{verdict}  {} -> {} {}", answer.from, answer.to, answer.service);
    for note in &answer.notes {
        out!("note     {note}");
    }
    if let [_, _, ..] = answer.parts.as_slice() {
        for part in &answer.parts {
            out!("part     {}", sentence(part));
        }
        if answer.more_parts > 0 {
            out!("         and {} more", answer.more_parts);
        }
    }
    let which = if answer.verdict == "partly" { "of what is denied first, " } else { "" };
    out!("reason   {which}{}: {}", answer.reason, answer.explanation);
    out!("packet   {}", answer.packet);
    if let Some(rule) = &answer.rule {
        out!("rule     {}: {} ({})", rule.place, rule.text, rule.holder);
        if let Some(comment) = &rule.comment {
            out!("comment  {comment}");
        }
    }
    if answer.verdict != "allow" {
        let fate = if answer.action == "drop" { "is dropped" } else { "passes and is reported" };
        out!("mode     {}: such a packet {fate}", answer.mode);
    }
    if let Some(help) = &answer.help {
        out!("help     {help}");
    }
    if let Some(missing) = &answer.missing {
        out!("\nThis would allow it:\n\n{missing}");
    }
    match answer.kernel_agrees {
        Some(true) => out!("kernel   its tables say the same"),
        Some(false) => out!("kernel   ITS TABLES SAY OTHERWISE: restart the agent and report this"),
        None => {}
    }
}

/// Like `on plant0 (uplink): tcp/22 allowed: management`.
fn sentence(part: &Part) -> String {
    let on = part.interface.as_ref().map(|names| format!("on {names}: ")).unwrap_or_default();
    let verdict = if part.verdict == "allow" { "allowed" } else { "denied" };
    let rule = part.rule.as_ref().map(|rule| format!(" ({})", rule.place)).unwrap_or_default();
    format!("{on}{} {verdict}: {}{rule}", part.selector, part.reason)
}
