//! `bulkhead compare`: a device as its manufacturer declares it, as it was seen, and as the policy has it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Serialize;

use super::{
    Cli, Exit, Output,
    learn::{Asked, Ground, Learned},
    mud::{Answer, answers, described, said},
    print, print_json, progress, table,
};
use crate::{
    compile::RuleRef,
    diagnostic::render_text,
    learn::{
        Judge,
        compare::{Comparison, Line, alone, compare},
        propose::{Scope, minute},
    },
    model::{ClassId, Mac, Policy},
    mud,
    policy::{SourceFile, resolve_texts},
};

#[derive(Debug, clap::Args)]
#[command(
    mut_arg("subject", |arg| arg.value_name("DEVICE").help("The device that the description is about").required(true)),
    after_help = "Meanings: `agreed` both allow it; `missing` the manufacturer says that the device needs it, and the policy denies it; `beyond` the policy \
                  allows it, and the manufacturer does not know of it; `unknown` nobody says that it should be. `by name` is allowed with addresses \
                  behind a name, which was not seen.\n\
                  Exit codes: 0 the three agree in all that teaches something; 1 they differ, or the policy is invalid; 2 it could not run.\n\
                  docs/mud.md has an example."
)]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// The manufacturer's usage description (RFC 8520): a JSON file
    #[arg(long, value_name = "FILE")]
    mud: PathBuf,
    /// Who somebody is whom the description names in the abstract, as with `import mud`; may be repeated
    #[arg(long = "as", value_name = "WHO=PEER", value_parser = super::mud::answer)]
    answers: Vec<Answer>,
    #[command(flatten)]
    output: Output,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Told<'t> {
    /// The address of the description.
    declared_by: &'t str,
    #[serde(flatten)]
    comparison: &'t Comparison,
    /// What of the description a policy cannot say.
    notes: &'t [mud::Note],
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let profile = described(&args.mud)?;
    let Some(ground) = Ground::read(cli, &args.asked)? else { return Ok(Exit::Found) };
    let Scope::Device(device) = ground.scope() else {
        bail!(
            "a description is about one device\nhint: name it, as in `bulkhead compare press-plc --mud plc.json`"
        );
    };
    let (class, member) = nobodys(ground.policy());
    let imported = mud::write(&profile, Some(&class), &answers(&args.answers));
    // Rules of a class without a member are none.
    let text = format!(
        "{}\n[device.{class}]\nmac = \"{member}\"\nip = \"dhcp\"\nclass = \"{class}\"\n",
        imported.text
    );
    let mut files = ground.files.clone();
    files.push(SourceFile { path: args.mud.display().to_string(), text });
    let outcome = resolve_texts(&files);
    let Some(both) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(Exit::Found);
    };
    let id = both.classes.iter().position(|one| one.name == class).and_then(|at| u32::try_from(at).ok());
    let name = &ground.policy().devices[device.0 as usize].name;
    let (its, _) = both.device(name).context("the policy has it")?;
    let declared = alone(both, its, ClassId(id.context("the class is declared in its own text")?));
    let judge = |policy| {
        Judge::new(policy, ground.surroundings.clone(), ground.now).context("failed to compile the policy")
    };
    let (of_declared, of_written) = (judge(&declared)?, judge(ground.policy())?);
    let mut comparison = progress::shown("reading the history", || {
        ground.learn(|Learned { material, .. }| {
            compare(material, device, (&declared, &of_declared), (ground.policy(), &of_written))
        })
    })?;
    // What was made up for the question is nobody's business: the description has entries, and no lines of ours.
    for rule in &mut comparison.declared_unseen {
        rule.text = rule.text.replace(&format!("class:{class}"), name).replace(&format!("{class}-"), "");
        rule.holder = format!("device {name}");
        rule.place = args.mud.display().to_string();
    }
    if args.output.json {
        print_json(&Told { declared_by: &profile.url, comparison: &comparison, notes: &imported.notes })?;
    } else {
        print(&profile.url, &comparison);
        said(&imported.notes);
    }
    Ok(if comparison.differs() { Exit::Found } else { Exit::Fine })
}

/// A name and a hardware address that nobody has; what the description defines is named after it.
fn nobodys(policy: &Policy) -> (String, Mac) {
    let Policy { devices, classes, .. } = policy;
    let is_taken = |name: &str| {
        classes.iter().any(|class| class.name == name) || devices.iter().any(|device| device.name == name)
    };
    let name = (0_u32..).map(|n| format!("declared-{n}")).find(|name| !is_taken(name));
    // Locally administered: no maker gives them out.
    let macs = (0_u32..).map(|n| {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([0x02, 0, a, b, c, d])
    });
    let mac = macs.into_iter().find(|mac| !devices.iter().any(|device| device.macs.contains(mac)));
    (name.unwrap_or_default(), mac.unwrap_or(Mac([0x02, 0, 0, 0, 0, 0])))
}

fn print(url: &str, told: &Comparison) {
    out!("{} as declared by {}, as seen, and as written in the policy\n", told.device, url.escape_debug());
    let mut rows = table::table(&[
        "MEANING", "FROM", "TO", "SERVICE", "DECLARED", "WRITTEN", "TIMES", "DAYS", "LAST", "LEFT OUT",
    ]);
    for line in &told.seen {
        let Line { from, to, service, flows, days, last, left, declared, written, meaning } = line;
        rows.add_row([
            meaning.name().to_owned(),
            from.clone(),
            to.clone(),
            service.clone(),
            declared.name().to_owned(),
            written.name().to_owned(),
            flows.to_string(),
            days.to_string(),
            minute(*last),
            left.unwrap_or("-").to_owned(),
        ]);
    }
    table::print(&rows);
    if told.more_seen > 0 {
        out!("and {} more", told.more_seen);
    }
    unseen("declared", &told.declared_unseen, |rule| rule.comment.as_deref().unwrap_or(&rule.place));
    unseen("written", &told.written_unseen, |rule| &rule.place);
}

fn unseen(word: &str, rules: &[RuleRef], whence: impl Fn(&RuleRef) -> &str) {
    if !rules.is_empty() {
        out!("\n{word}, and never seen:");
    }
    for rule in rules {
        out!("  {} ({})", rule.text.escape_debug(), whence(rule).escape_debug());
    }
}
