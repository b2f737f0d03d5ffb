//! `bulkhead propose`: policy text out of what was seen, for a person to review.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use similar::TextDiff;

use super::{
    Cli, Exit,
    learn::{Asked, Ground, Learned},
    print, print_json, progress,
};
use crate::{
    diagnostic::{counted, escape, render_text},
    learn::propose::{
        Bounds, Entry, Holder, Key, Merged, Nameless, Piece, Proof, Proposal, Refused, Rule, Settled, gather,
        nameless, settle,
    },
    model::{Policy, spelled},
    policy::SourceFile,
};

mod written;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --write and --output nothing is written. What is proposed is judged by the function that enforces before it is shown: \
                  all that was learned passes, nothing that was left out does.\n\
                  Exit codes: 0 here is the proposal, or there is nothing to propose; 1 something that was learned is not proposed, since\n\
                  its rule would admit what was left out, or the policy is invalid; 2 it could not run.\n\
                  docs/learn.md says what is never learned, and what a price is."
)]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Name classes, zones, groups, networks, services and ranges of ports where most of them was seen, within the bounds
    #[arg(long)]
    generalise: bool,
    /// With --generalise: how many combinations that nobody saw one rule may admit
    #[arg(long, value_name = "N", default_value_t = Bounds::default().rule)]
    price_per_rule: u64,
    /// The same of all rules together
    #[arg(long, value_name = "N", default_value_t = Bounds::default().all)]
    price_in_all: u64,
    /// Show what would change in the policy files, as a unified diff
    #[arg(long, conflicts_with = "json")]
    diff: bool,
    /// Write it into the policy files
    #[arg(long)]
    write: bool,
    /// Write the policy with it to another place: a file, or a folder if the policy is one; it must not exist yet
    #[arg(long, value_name = "PATH", conflicts_with = "write")]
    output: Option<PathBuf>,
    /// Print JSON: rules with reasons and prices
    #[arg(long)]
    json: bool,
}

/// A proposal with its text and the proof.
struct Made {
    policy: Policy,
    proposal: Proposal,
    pieces: Vec<Piece>,
    merged: Vec<Merged>,
    after: Vec<SourceFile>,
    proof: Proof,
    wrong: Vec<String>,
    /// Rows of what was left out that were too many to be asked about.
    unasked: u64,
    nameless: Option<NamelessTold>,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let Some(ground) = Ground::read(cli, &args.asked)? else { return Ok(Exit::Found) };
    let bounds = Bounds { rule: args.price_per_rule, all: args.price_in_all, ..Bounds::default() };
    let bounds = args.generalise.then_some(bounds);
    let made = progress::shown("reading the history", || {
        ground.learn(|learned| make(&ground, learned, bounds.as_ref()))
    })??;
    if !made.proof.holds() {
        // Nothing is proposed that does not do what it says.
        print::rendered(&render_text(&made.proof.findings, &made.proof.sources, false));
        if !made.proof.findings.is_empty() {
            anyhow::bail!(
                "the policy with the proposal in it is not as it should be, and nothing was written\n\
                 hint: propose for one device or class at a time, or split a file that becomes too large"
            );
        }
        made.wrong.iter().for_each(|line| say!("{line}"));
        anyhow::bail!(
            "the proposal does not do what it says, whichever of its rules are left out, and nothing was written\n\
             hint: propose for one device at a time to see whose it is, and report this with the lines above"
        );
    }
    if args.write {
        written::into(&ground.files, &made.merged)?;
    }
    if let Some(path) = &args.output {
        let folder = args.asked.policy.as_ref().map_or_else(|| true, |path| path.is_dir());
        written::beside(&made.after, path, folder)?;
    }
    if args.json {
        print_json(&told(&made))?;
    } else if args.diff {
        made.merged.iter().for_each(|merged| out!("{}", difference(merged).trim_end()));
    } else if !args.write && args.output.is_none() {
        made.pieces.iter().for_each(show);
    }
    summary(&made);
    Ok(if made.proposal.dropped.is_empty() { Exit::Fine } else { Exit::Found })
}

fn make(ground: &Ground, learned: &Learned<'_>, bounds: Option<&Bounds>) -> anyhow::Result<Made> {
    let Learned { material, scope, .. } = learned;
    let proposal = gather(material, *scope, &ground.surroundings.placed.gateway, bounds);
    let settled = settle(material, proposal, &ground.files, &ground.surroundings, ground.now)?;
    let Settled { proposal, pieces, merged, after, proof } = settled;
    let who = material.who;
    let shown = |why: &'static str| {
        move |talk: &crate::learn::Talk| {
            let [from, to] = [talk.from, talk.to].map(|party| who.name(party));
            format!("{why}: {from} -> {to} {}", spelled(talk.service.selector()))
        }
    };
    let denied = proof.denied.iter().map(shown("learned, and not admitted"));
    let wrong = denied.chain(proof.admitted.iter().map(shown("left out, and admitted"))).collect();
    let (policy, unasked) = (who.policy().clone(), material.found.more_probed);
    let nameless = nameless(material, *scope).map(|Nameless { talks, flows, biggest, ends }| NamelessTold {
        talks,
        flows,
        from: who.name(biggest.from),
        to: who.name(biggest.to),
        service: spelled(biggest.service.selector()),
        ends,
    });
    Ok(Made { policy, proposal, pieces, merged, after, proof, wrong, unasked, nameless })
}

fn show(piece: &Piece) {
    out!("# {}\n", escape(&piece.path));
    out!("{}", piece.text().trim_end());
    out!("");
}

fn difference(merged: &Merged) -> String {
    let Merged { path, before, after } = merged;
    let path = escape(path);
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(3).header(&path, &format!("{path} (proposed)")).to_string()
}

fn summary(made: &Made) {
    let Proposal { entries, decisions, dropped, refused } = &made.proposal;
    let rules = |count: usize| format!("{count} rule{}", if count == 1 { "" } else { "s" });
    say!(
        "{} proposed, of {} talks; price {}: combinations that they admit and nobody saw",
        rules(entries.len()),
        made.proof.learned,
        made.proposal.price()
    );
    if !decisions.is_empty() {
        say!("{} beside them for a person to decide, as comments", rules(decisions.len()));
    }
    if let Some(NamelessTold { talks, flows, from, to, service, ends }) = &made.nameless {
        let [talks, flows] = [(talks, "talk"), (flows, "conversation")]
            .map(|(number, what)| counted(usize::try_from(*number).unwrap_or(usize::MAX), what));
        let ends = ends.join(", ");
        say!(
            "not in it: {talks} ({flows}) with hosts that nobody knows, most of it {from} -> {to} {service} ({ends}); \
             make them a device or a network if they belong to the plant"
        );
    }
    for Refused { holder: whose, what, why } in dropped.iter().take(20) {
        say!("not proposed for {}: {what}: {why}", holder(&made.policy, *whose));
    }
    if dropped.len() > 20 {
        say!("and {} more that were learned and are not proposed", dropped.len() - 20);
    }
    if made.unasked > 0 {
        say!(
            "{} rows of scans, and of talks without room, were too many to be asked about one by one",
            made.unasked
        );
    }
    for one in refused.iter().take(20) {
        say!("not for {}: {}: {}", holder(&made.policy, one.holder), one.what, one.why);
    }
    if refused.len() > 20 {
        say!("and {} more that were not made wider", refused.len() - 20);
    }
}

fn holder(policy: &Policy, holder: Holder) -> String {
    match holder {
        Holder::Device(id) => policy.devices[id.0 as usize].name.clone(),
        Holder::Class(id) => format!("class:{}", policy.classes[id.0 as usize].name),
    }
}

/// What was seen with hosts that nobody knows: how much, and the biggest part of it with addresses.
#[derive(Serialize)]
struct NamelessTold {
    talks: u64,
    flows: u64,
    from: String,
    to: String,
    service: String,
    ends: Vec<String>,
}

/// The answer in JSON.
#[derive(Serialize)]
struct Told<'m> {
    price: u64,
    talks: usize,
    unknown: Option<&'m NamelessTold>,
    rules: Vec<RuleTold<'m>>,
    decisions: Vec<RuleTold<'m>>,
    dropped: Vec<RefusedTold<'m>>,
    not_widened: Vec<RefusedTold<'m>>,
    files: Vec<FileTold<'m>>,
}

#[derive(Serialize)]
struct RuleTold<'m> {
    holder: String,
    file: &'m str,
    direction: &'static str,
    peers: &'m [String],
    services: &'m [String],
    admits: u64,
    price: u64,
    wider: &'m [String],
    doubts: Vec<&'static str>,
    reasons: &'m [String],
    toml: String,
}

#[derive(Serialize)]
struct RefusedTold<'m> {
    holder: String,
    what: &'m str,
    why: &'m str,
}

#[derive(Serialize)]
struct FileTold<'m> {
    path: &'m str,
    declarations: &'m [String],
}

fn told<'m>(made: &'m Made) -> Told<'m> {
    let Proposal { entries, decisions, dropped, refused } = &made.proposal;
    let path = |entry: &Entry| match entry.holder {
        Holder::Device(id) => &made.policy.devices[id.0 as usize].location.path,
        Holder::Class(id) => &made.policy.classes[id.0 as usize].location.path,
    };
    let all = |undecided: bool, from: &'m [Entry]| -> Vec<RuleTold<'m>> {
        // The rules of a file are in the order of its entries.
        let of_piece = |piece: &'m Piece| {
            let rules = piece.rules.iter().filter(move |rule| rule.undecided == undecided);
            (piece.path.as_str(), rules.map(move |rule| (piece.path.as_str(), rule)))
        };
        let mut by_path: BTreeMap<&str, _> = made.pieces.iter().map(of_piece).collect();
        let next = |entry: &'m Entry| {
            let (file, rule) = by_path.get_mut(&**path(entry))?.next()?;
            Some(rule_told(file, entry, rule))
        };
        from.iter().filter_map(next).collect()
    };
    Told {
        price: made.proposal.price(),
        talks: made.proof.learned,
        unknown: made.nameless.as_ref(),
        rules: all(false, entries),
        decisions: all(true, decisions),
        dropped: refused_told(made, dropped),
        not_widened: refused_told(made, refused),
        files: made
            .pieces
            .iter()
            .map(|piece| FileTold { path: &piece.path, declarations: &piece.declared })
            .collect(),
    }
}

fn refused_told<'m>(made: &'m Made, all: &'m [Refused]) -> Vec<RefusedTold<'m>> {
    let one = |one: &'m Refused| RefusedTold {
        holder: holder(&made.policy, one.holder),
        what: &one.what,
        why: &one.why,
    };
    all.iter().map(one).collect()
}

fn rule_told<'m>(file: &'m str, entry: &'m Entry, rule: &'m Rule) -> RuleTold<'m> {
    let [peers, services] = &rule.words;
    RuleTold {
        holder: rule.holder_name(),
        file,
        direction: match entry.key {
            Key::From => "from",
            Key::To => "to",
        },
        peers,
        services,
        admits: entry.admits,
        price: entry.price,
        wider: &entry.widened,
        doubts: entry.doubts.iter().map(|doubt| doubt.name()).collect(),
        reasons: &rule.reasons,
        toml: rule.block(),
    }
}
