//! `bulkhead schema`: what a policy, a configuration or a record may say, as a JSON Schema or as a reference.

use anyhow::bail;
use clap::ValueEnum;

use super::{Exit, print_json};
use crate::{
    config::language as config,
    language::{Table, reference, schema},
    policy::language as policy,
    record,
};

const HELP: &str = "\
For an editor that knows TOML (taplo, Even Better TOML for VS Code), save the schema beside the policy\n\
and name it on the first line of each file:\n\
\n\
  bulkhead schema policy > policy.schema.json\n\
  #:schema ./policy.schema.json";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Of what
    #[arg(value_enum)]
    language: Language,
    /// Print the reference for people, in Markdown, instead of the JSON Schema (of records it is docs/violations.md)
    #[arg(long)]
    markdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Policy files
    Policy,
    /// The agent's configuration
    Config,
    /// What the agent tells: violations, gaps, heartbeats and alarms
    Records,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Args { language, markdown } = args;
    let (root, title): (&'static Table, &'static str) = match language {
        Language::Policy => (&policy::ROOT, policy::TITLE),
        Language::Config => (&config::ROOT, config::TITLE),
        Language::Records if *markdown => {
            bail!("records have no reference in Markdown\nhint: read docs/violations.md")
        }
        Language::Records => {
            print_json(&record::schema())?;
            return Ok(Exit::Fine);
        }
    };
    if *markdown {
        out!("{}", reference(root, title).trim_end());
    } else {
        print_json(&schema(root, title))?;
    }
    Ok(Exit::Fine)
}
