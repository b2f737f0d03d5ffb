//! A proposal is written down because somebody said so. In: files as they were read and as they shall be. Out: each whole, as it was or as
//! it shall be, whatever happens meanwhile.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use anyhow::{Context, bail, ensure};

use crate::{diagnostic::escape, learn::propose::Merged, policy::SourceFile};

/// Writes what was merged over the files that were read.
pub(super) fn into(read: &[SourceFile], merged: &[Merged]) -> anyhow::Result<()> {
    let changed = merged.iter().filter(|merged| merged.before != merged.after);
    let changed: Vec<&Merged> = changed.collect();
    for Merged { path, .. } in &changed {
        let now = fs::read_to_string(path).with_context(|| format!("failed to read `{path}` again"))?;
        let then = read.iter().find(|file| file.path == *path).map(|file| &file.text);
        // The text was read without the mark that some editors put in front.
        let same = then.is_some_and(|then| now == *then || now.strip_prefix('\u{feff}') == Some(then));
        ensure!(same, "`{path}` has changed since it was read, and nothing was written\nhint: ask again");
    }
    for Merged { path, after, .. } in changed {
        replace(Path::new(path), after).with_context(|| format!("failed to write `{path}`"))?;
        say!("wrote {}", escape(path));
    }
    Ok(())
}

/// One file in the place of another: by another name first, so that there is always a whole one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { bail!("it is no file") };
    let mut new = OsString::from(".");
    new.push(name);
    new.push(".proposed");
    let new = folder.join(new);
    let write = || -> anyhow::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(old.permissions().mode()))?;
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().inspect_err(|error| {
        // A file of somebody else is left alone.
        let exists = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if exists != Some(std::io::ErrorKind::AlreadyExists) {
            let _ = fs::remove_file(&new);
        }
    })
}

/// Writes the whole policy to a place where nothing is.
pub(super) fn beside(files: &[SourceFile], path: &Path, folder: bool) -> anyhow::Result<()> {
    let shown = path.display();
    let write = |path: &Path, text: &str| -> anyhow::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(file.sync_all()?)
    };
    if !folder {
        let [file] = files else { bail!("the policy has several files, and `{shown}` would be one") };
        write(path, &file.text).with_context(|| format!("failed to write `{shown}`"))?;
        say!("wrote {shown}");
        return Ok(());
    }
    fs::create_dir(path).with_context(|| format!("failed to make the folder `{shown}`"))?;
    for file in files {
        let name =
            Path::new(&file.path).file_name().with_context(|| format!("`{}` has no name", file.path))?;
        let place = path.join(name);
        write(&place, &file.text).with_context(|| format!("failed to write `{}`", place.display()))?;
    }
    say!("wrote {} files to {shown}", files.len());
    Ok(())
}
