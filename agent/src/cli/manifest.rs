//! `bulkhead manifest`: the list of policy files that a person signs.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{Cli, Exit};
use crate::{
    files::{Access, read},
    signing::{MANIFEST, Manifest, SIGNATURE},
};
use anyhow::Context;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of the policy files; default: the configured one
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The number of this set: larger than that of every set before it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// Print the manifest instead of writing `FOLDER/MANIFEST`
    #[arg(long)]
    stdout: bool,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => cli.config()?.policy,
    };
    let set = read(&folder, Access::Noted)?;
    anyhow::ensure!(
        set.is_folder(),
        "`{}` is a single file, and only a folder can be signed\nhint: put the file in a folder of its own",
        folder.display()
    );
    let manifest = Manifest::new(args.number, set.digests())
        .with_context(|| format!("failed to list the files of `{}`", folder.display()))?;
    if args.stdout {
        out!("{}", manifest.to_string().trim_end());
        return Ok(Exit::Fine);
    }
    let path = folder.join(MANIFEST);
    replace(&folder, &manifest.to_string())
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    let count = manifest.files().count();
    say!(
        "`{}` lists {count} file{} as number {}\nhint: `minisign -S -m '{}'` signs it as `{SIGNATURE}`",
        path.display(),
        if count == 1 { "" } else { "s" },
        manifest.number,
        path.display()
    );
    Ok(Exit::Fine)
}

/// Readers see the list before or this one, never a part. A link in its place is replaced and not followed.
fn replace(folder: &Path, text: &str) -> io::Result<()> {
    let new = folder.join(".MANIFEST.new");
    match fs::remove_file(&new) {
        Ok(()) => {}
        // Left by nobody.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(MANIFEST))?;
    OpenOptions::new().read(true).open(folder)?.sync_all()
}
