//! `bulkhead schema`: what a policy or a configuration may say, as a JSON Schema or as a reference.

use clap::ValueEnum;

use super::{Exit, print_json};
use crate::{
    config::language as config,
    language::{Table, reference, schema},
    policy::language as policy,
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
    /// Which language
    #[arg(value_enum)]
    language: Language,
    /// Print the reference for people, in Markdown, instead of the JSON Schema
    #[arg(long)]
    markdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Policy files
    Policy,
    /// The agent's configuration
    Config,
}

impl Language {
    fn root(self) -> &'static Table {
        match self {
            Self::Policy => &policy::ROOT,
            Self::Config => &config::ROOT,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Policy => policy::TITLE,
            Self::Config => config::TITLE,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Args { language, markdown } = args;
    if *markdown {
        out!("{}", reference(language.root(), language.title()).trim_end());
    } else {
        print_json(&schema(language.root(), language.title()))?;
    }
    Ok(Exit::Fine)
}
