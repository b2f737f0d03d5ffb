//! Which texts are checked: the given files, or one file in its place among the others of its folder.

use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::Args;
use crate::{
    cli::standing::Sets,
    diagnostic::quote,
    files::{ReadError, read_file, read_policy, text},
    policy::{MAX_FILE_BYTES, SourceFile, declared},
};

pub(super) const HELP: &str = "\
With --context the file takes the place of the file of DIR that is called NAME.toml (--as).\n\
Without --as it takes the place of the file of its own name, else of the one file that declares\n\
something it declares too (a device, a class, a network, ...), else it is one more file. When\n\
several files declare what it declares, --as must say which one it is.\n\
\n\
Ansible: validate: bulkhead check --context /etc/bulkhead/policy.d --as 10-cell.toml %s\n\
\n\
Exit codes: 0 no error; 1 an error was found (or a warning, with --deny-warnings); 2 the files\n\
could not be read.";

/// The texts of a check.
pub(super) struct Gathered {
    pub(super) list: Vec<SourceFile>,
    /// What the reader should know about how they were put together.
    pub(super) notes: Vec<String>,
    /// What to say when a name is missing, for a file that was checked alone.
    pub(super) alone: Option<String>,
}

/// The files of a policy, to be sent to the agent.
pub(in crate::cli) fn files_of(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if path.is_dir() { Ok(read_policy(path)?) } else { Ok(vec![read_file(path)?]) }
}

pub(super) fn gather(args: &Args, configured: &Path, sets: &mut Sets) -> anyhow::Result<Gathered> {
    if let Some(name) = &args.name {
        let plain = Path::new(name).file_name().is_some_and(|file| file.to_str() == Some(name));
        ensure!(
            plain && name.ends_with(".toml") && !name.starts_with('.'),
            "{} is not the name of a policy file\nhint: write it without a folder, as in `--as 10-cell.toml`",
            quote(name)
        );
    }
    if let Some(folder) = &args.context {
        let file = single(&args.paths, "--context")?;
        return among(file, folder, args.name.as_deref());
    }
    if let Some(name) = &args.name {
        let file = read(single(&args.paths, "--as")?)?;
        return Ok(Gathered {
            list: vec![SourceFile { path: name.clone(), ..file }],
            notes: Vec::new(),
            alone: None,
        });
    }
    let default = [configured.to_owned()];
    let paths = if args.paths.is_empty() { &default[..] } else { &args.paths };
    let mut list = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            list.push(standard_input()?);
        } else {
            list.extend(sets.read(path)?);
        }
    }
    let alone = match paths {
        [path] if !path.is_dir() => Some(format!(
            "note: names that other files declare are unknown here: `bulkhead check --context DIR {}` checks the file among them",
            path.display()
        )),
        _ => None,
    };
    Ok(Gathered { list, notes: Vec::new(), alone })
}

/// The one file that an option is about.
fn single<'a>(paths: &'a [PathBuf], option: &str) -> anyhow::Result<&'a Path> {
    let [path] = paths else {
        bail!(
            "{option} needs one PATH, and there are {}\nhint: name the file that is to be checked",
            paths.len()
        );
    };
    ensure!(!path.is_dir(), "{option} needs a file, and `{}` is a folder", path.display());
    Ok(path)
}

fn read(path: &Path) -> anyhow::Result<SourceFile> {
    if path == Path::new("-") { standard_input() } else { Ok(read_file(path)?) }
}

/// A file in its place among the files of `folder`.
fn among(path: &Path, folder: &Path, name: Option<&str>) -> anyhow::Result<Gathered> {
    ensure!(
        folder.is_dir(),
        "`{}` is not a folder\nhint: name the folder of the policy's files",
        folder.display()
    );
    if path == Path::new("-") && name.is_none() {
        bail!(
            "standard input has no name among the files of `{}`\nhint: give it one: `--as 10-cell.toml`",
            folder.display()
        );
    }
    let file = read(path)?;
    let mut list = match read_policy(folder) {
        Ok(list) => list,
        Err(ReadError::NoPolicy { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let given = path.file_name().and_then(|name| name.to_str());
    let place = |name: &str| folder.join(name).display().to_string();
    let (shown, why) = match name.or(given.filter(|given| list.iter().any(|file| file.path == place(given))))
    {
        Some(name) => (place(name), String::new()),
        None => match overlap(&file, &list)? {
            Some((other, what)) => (other, format!(", which declares {what} too")),
            None => (file.path.clone(), ", one more file".to_owned()),
        },
    };
    let note = if shown == file.path {
        format!("checked among the files of `{}`{why}", folder.display())
    } else {
        format!("checked `{}` as `{shown}`{why}", file.path)
    };
    list.retain(|other| other.path != shown);
    list.push(SourceFile { path: shown, text: file.text });
    Ok(Gathered { list, notes: vec![note], alone: None })
}

/// The one file that declares something `file` declares too, with an example of it.
fn overlap(file: &SourceFile, list: &[SourceFile]) -> anyhow::Result<Option<(String, String)>> {
    let own: BTreeSet<(String, String)> = declared(&file.text);
    let shared = list.iter().filter_map(|other| {
        let theirs = declared(&other.text);
        let (kind, name) = own.intersection(&theirs).next()?;
        Some((other.path.clone(), format!("{kind} {}", quote(name))))
    });
    let mut shared: Vec<(String, String)> = shared.collect();
    if let [(first, what), (second, other), ..] = &shared[..] {
        bail!(
            "`{}` declares {what} as `{first}` does, and {other} as `{second}` does: which of them it replaces is not clear\n\
             hint: say it: `--as NAME.toml`",
            file.path
        );
    }
    Ok(shared.pop())
}

fn standard_input() -> anyhow::Result<SourceFile> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .context("failed to read standard input")?;
    Ok(text(Path::new("<stdin>"), bytes)?)
}
