//! `bulkhead why`: which rule, or what is missing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bulkhead_common::layout::SegmentRow;

use super::{Cli, Exit, Output, check::files_of, print, print_json, unexpected};
use crate::{
    compile::{Host, Limits, Placed, RuleRef, Tables, compile},
    control::{Body, Explained, Request},
    diagnostic::render_text,
    policy::resolve_texts,
    report::why::{Answer, Heard, Part, Question},
};

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "bulkhead why [OPTIONS] <FROM> <TO> <SERVICE>\n       bulkhead why [OPTIONS] <VIOLATION-ID>"
)]
pub(super) struct Args {
    /// Who starts: a device, a network, `gateway`, `any` or an address. Alone: the id of a violation, with which each line of
    /// `bulkhead violations` ends
    #[arg(value_name = "FROM|VIOLATION-ID")]
    from: String,
    /// Who answers: likewise, or `multicast:NAME` or `broadcast`
    #[arg(requires = "service")]
    to: Option<String>,
    /// Over what: a service, or `tcp/502`, `udp/161`, `icmp/8`, `icmpv6/128`, `ip/47`, `ethertype/0x8892`
    service: Option<String>,
    /// Ask these policy files instead of the running agent
    #[arg(long, value_name = "PATH", requires = "service")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let Args { from, to, service, .. } = args;
    let (Some(to), Some(service)) = (to, service) else { return violation(cli, from, args.output) };
    let words = [from, to, service].map(String::as_str);
    let answer = match &args.policy {
        Some(path) => match offline(cli, words, path)? {
            Some(answer) => answer,
            None => return Ok(Exit::Found),
        },
        None => {
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

/// What a violation was, and what would have allowed it.
fn violation(cli: &Cli, id: &str, output: Output) -> anyhow::Result<Exit> {
    let id = id.trim();
    let is_id = id.rsplit_once('-').is_some_and(|(boot, seq)| {
        boot.len() == 16 && boot.bytes().all(|b| b.is_ascii_hexdigit()) && seq.parse::<u64>().is_ok()
    });
    if !is_id {
        bail!(
            "the following required arguments were not provided: <TO> <SERVICE>\n\
             hint: `{id}` alone is no id of a violation either: that is what each line of `bulkhead violations` ends with"
        );
    }
    let body = cli.ask(&Request::Explain { id: id.to_owned() })?;
    let Body::Explained(explained) = body else { return Err(unexpected(&body)) };
    if output.json {
        print_json(&explained)?;
    } else {
        lines(&explained).iter().for_each(|line| out!("{line}"));
    }
    Ok(Exit::Fine)
}

/// An explained record, line by line.
pub(super) fn lines(explained: &Explained) -> Vec<String> {
    let Explained { id, record, told, today, nearest, snippet, warnings } = explained;
    let mut lines = vec![format!("{} {id}", record["kind"].as_str().unwrap_or("violation"))];
    lines.extend(told.iter().map(|told| format!("what     {told}")));
    if let Some(Answer { from, to, service, verdict, reason, explanation, notes, .. }) = today {
        let verdict = if verdict == "allow" { "allowed" } else { "denied" };
        lines.push(format!("today    {from} -> {to} {service} is {verdict}: {reason}: {explanation}"));
        lines.extend(notes.iter().map(|note| format!("note     {note}")));
        if nearest.is_empty() {
            lines.push("rules    none between the two".to_owned());
        }
    }
    for RuleRef { text, holder, place, comment } in nearest {
        let comment = comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        lines.push(format!("nearest  {place}: {text} ({holder}){comment}"));
    }
    lines.extend(warnings.iter().map(|warning| format!("!        {warning}")));
    if let Some(snippet) = snippet {
        lines.extend([String::new(), "This would allow it:".to_owned(), String::new()]);
        lines.extend(snippet.lines().map(str::to_owned));
    }
    lines
}

/// The answer of files; `None` when they are wrong, which was printed. Of the configuration, if there is one, come
/// the segments and the management pin; without one there is a segment with devices on it.
fn offline(cli: &Cli, [from, to, service]: [&str; 3], path: &Path) -> anyhow::Result<Option<Answer>> {
    let outcome = resolve_texts(&files_of(path)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(None);
    };
    let everything = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &everything).context("failed to compile the policy")?;
    let question = Question::new(&policy, from, to, service, &BTreeSet::new())?;
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
