//! `cargo xtask mutants`: seeded faults in the decision, one after another, and whether the suite notices each.
//!
//! In: [`table`], faults in `agent-common`. Out: a table of who killed which; exit code 1 when one survives, which is a
//! missing test. The suite is what runs without root: unit tests of the decision, and the packet table on the host.

mod run;
mod table;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{Outcome, repo};
use run::{Copy, Fate};
use table::{MUTANTS, Mutant};

/// Put seeded faults into the decision and check that the tests notice every one
///
/// Works on a copy of the checkout below target/mutants; the build directory there stays for the next run. Exit code 1
/// means that a fault survived; a fault whose text is no longer in the code, or that does not compile, is an error.
#[derive(clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only faults whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Tries every fault, or those that were asked for.
pub(crate) fn run(args: &MutantsArgs) -> Result<Outcome> {
    let root = repo::root();
    let wanted = |mutant: &&Mutant| args.only.as_deref().is_none_or(|only| mutant.name.contains(only));
    let mutants: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    if mutants.is_empty() {
        bail!("no fault's name contains `{}`", args.only.as_deref().unwrap_or_default());
    }
    let stale = run::stale(&root, &mutants)?;
    if !stale.is_empty() {
        bail!("the table of faults is stale\n  {}", stale.join("\n  "));
    }
    let started = Instant::now();
    let copy = Copy::of(&root)?;
    copy.baseline()?;
    let mut survivors = 0;
    for mutant in &mutants {
        let fate = copy.try_out(mutant).with_context(|| format!("the fault `{}`", mutant.name))?;
        let fate = match fate {
            Fate::Killed(by) => format!("killed    {}: {}", mutant.name, by.join(", ")),
            Fate::Survived => {
                survivors += 1;
                format!("SURVIVED  {} ({})", mutant.name, mutant.file)
            }
        };
        println!("{fate}");
    }
    println!("{} faults, {survivors} survived, {} s", mutants.len(), started.elapsed().as_secs());
    Ok(if survivors == 0 { Outcome::Fine } else { Outcome::Found })
}
