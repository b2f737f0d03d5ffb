//! `bulkhead import mud` and `bulkhead export mud`: a manufacturer's usage description (RFC 8520) as a class of the policy, and back.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;

use super::{Cli, Exit, Output, check::files_of, print, print_json};
use crate::{
    diagnostic::render_text,
    files::read_file,
    mud::{self, Abstraction, Answers, Note, Party},
    policy::{resolve_texts, values::is_name},
};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A manufacturer's usage description (RFC 8520), as a class: prints a policy file
    Mud(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// A manufacturer's usage description (RFC 8520) of a class or a device
    Mud(ExportArgs),
}

const HELP: &str = "\
What the manufacturer cannot know you say with --as, once for each WHO:\n\
  my-controller, local-networks, same-manufacturer,\n\
  controller:URI, manufacturer:NAME, model:URL, peer:NAME\n\
PEER is what a rule may name: a device, zone:NAME, class:NAME, group:NAME, a network, gateway, any.\n\
Rules about somebody whom nobody named are written as comments.\n\n\
Exit codes: 0 the class says what the description says; 1 something is left out, wider or open, each told on standard error; 2 it could not run.";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct ImportArgs {
    /// The description: a JSON file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the class; default: made of what the description says the device is
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Who somebody is whom the description names in the abstract; may be repeated
    #[arg(long = "as", value_name = "WHO=PEER", value_parser = answer)]
    answers: Vec<(Abstraction, String)>,
    /// The description was exported from this policy: the peers that it names are those of the policy
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the description says what the policy says; 1 something is left out, each told on standard error; 2 it could not run."
)]
pub(super) struct ExportArgs {
    /// A class or a device
    #[arg(value_name = "NAME")]
    name: String,
    /// Where the description will be: its `mud-url`
    #[arg(long, value_name = "URL")]
    url: String,
    /// The policy: a file or folder; default: the configured folder
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
}

/// Who somebody is: what is written behind `--as`.
pub(super) type Answer = (Abstraction, String);

pub(super) fn answer(text: &str) -> Result<Answer, String> {
    // A URI may hold `=` itself; a name of the policy does not.
    let (who, peer) = text.rsplit_once('=').ok_or("write WHO=PEER, as in `my-controller=zone:control`")?;
    let who = Abstraction::parse(who).ok_or_else(|| {
        format!("`{who}` is nobody: write `my-controller`, `local-networks`, `same-manufacturer`, `controller:URI`, `manufacturer:NAME`, `model:URL` or `peer:NAME`")
    })?;
    if peer.is_empty() {
        return Err("write who it is behind `=`, as in `my-controller=zone:control`".to_owned());
    }
    Ok((who, peer.to_owned()))
}

/// Reads a description.
pub(super) fn described(file: &Path) -> anyhow::Result<mud::Profile> {
    let text = read_file(file)?.text;
    mud::read(&text).with_context(|| format!("`{}` is no usage description", file.display()))
}

/// Everybody who was named, each with all that was said.
pub(super) fn answers(said: &[Answer]) -> Answers {
    let mut all = Answers::new();
    for (who, peer) in said {
        all.entry(who.clone()).or_default().push(peer.clone());
    }
    all
}

pub(super) fn import(Import::Mud(args): &Import) -> anyhow::Result<Exit> {
    let ImportArgs { file, class, answers, own, output } = args;
    let profile = described(file)?;
    if let Some(class) = class.as_ref().filter(|class| !is_name(class)) {
        bail!(
            "`{class}` cannot be the name of a class\nhint: write 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`"
        );
    }
    let mut all = self::answers(answers);
    if *own {
        for (whom, peers) in mud::own(&profile) {
            all.entry(whom).or_insert(peers);
        }
    }
    let imported = mud::write(&profile, class.as_deref(), &all);
    let mud::Imported { class, text, notes, open } = &imported;
    for unused in all.keys().filter(|who| {
        !profile.permissions.keys().any(|(_, party, _)| *party == Party::Abstract((*who).clone()))
    }) {
        say!("note: the description does not speak of `{unused}`");
    }
    if output.json {
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        print_json(&json!({ "class": class, "policy": text, "notes": notes, "open": open }))?;
    } else {
        out!("{}", text.trim_end());
        said(notes);
    }
    Ok(if notes.is_empty() { Exit::Fine } else { Exit::Found })
}

pub(super) fn export(cli: &Cli, Export::Mud(args): &Export) -> anyhow::Result<Exit> {
    let ExportArgs { name, url, policy } = args;
    let path = match policy {
        Some(path) => path.clone(),
        None => cli.config()?.policy,
    };
    let outcome = resolve_texts(&files_of(&path)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(Exit::Found);
    };
    let now = jiff::Timestamp::now().to_string();
    let mud::Exported { document, notes } = mud::export(&policy, name, url, &now)?;
    print_json(&document)?;
    said(&notes);
    Ok(if notes.is_empty() { Exit::Fine } else { Exit::Found })
}

pub(super) fn said(notes: &[Note]) {
    for Note { about, effect, why } in notes {
        say!("{}: {}: {}", effect.name(), about.escape_debug(), why.escape_debug());
    }
}
