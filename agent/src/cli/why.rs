//! `bulkhead why`: which rule, or what is missing.

use std::path::PathBuf;

use anyhow::Context;

use super::{Cli, Exit, Output, check::files_of, print_json, unexpected};
use crate::{
    compile::{Host, Limits, Placed, compile},
    control::{Body, Request},
    diagnostic::render_text,
    policy::resolve_texts,
    report::why::{Answer, Question},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who starts: a device, a network, `gateway` or an IPv4 address
    from: String,
    /// Who answers: likewise
    to: String,
    /// Over what: a service, or `tcp/502`, `udp/161`, `icmp/8`
    service: String,
    /// Ask these policy files instead of the running agent
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let answer = match &args.policy {
        Some(path) => match offline(args, path)? {
            Some(answer) => answer,
            None => return Ok(Exit::Found),
        },
        None => {
            let Args { from, to, service, .. } = args;
            let request = Request::Why { from: from.clone(), to: to.clone(), service: service.clone() };
            let body = cli.ask(&request)?;
            let Body::Why(answer) = body else { return Err(unexpected(&body)) };
            answer
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

/// The answer of files; `None` when they are wrong, which was printed.
fn offline(args: &Args, path: &std::path::Path) -> anyhow::Result<Option<Answer>> {
    let outcome = resolve_texts(&files_of(path)?);
    let Some(policy) = outcome.policy else {
        eprint!("{}", render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(None);
    };
    let everything = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &everything).context("failed to compile the policy")?;
    let question = Question::new(&policy, &args.from, &args.to, &args.service, None)?;
    let placed = Placed { gateway: question.gateway().into_iter().collect(), ..Placed::default() };
    let decision = question.ask(&Host::new(&tables, placed));
    Ok(Some(question.answer(&tables, &decision, Some(decision.rule))))
}

fn print(answer: &Answer) {
    let verdict = if answer.verdict == "allow" { "ALLOWED" } else { "DENIED" };
    println!("{verdict}  {} -> {} {}", answer.from, answer.to, answer.service);
    println!("reason   {}: {}", answer.reason, answer.explanation);
    println!("packet   {}", answer.packet);
    if let Some(rule) = &answer.rule {
        let class = rule.class.as_ref().map(|c| format!(" (from class {c})")).unwrap_or_default();
        println!("rule     {}: {}{class}", rule.place, rule.text);
        if let Some(comment) = &rule.comment {
            println!("comment  {comment}");
        }
    }
    if answer.verdict == "deny" {
        let fate = if answer.action == "drop" { "is dropped" } else { "passes and is reported" };
        println!("mode     {}: such a packet {fate}", answer.mode);
    }
    if let Some(missing) = &answer.missing {
        println!("\nThis would allow it:\n\n{missing}");
    }
    match answer.kernel_agrees {
        Some(true) => println!("kernel   its tables say the same"),
        Some(false) => println!("kernel   ITS TABLES SAY OTHERWISE: restart the agent and report this"),
        None => {}
    }
}
