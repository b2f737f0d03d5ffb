//! A policy set: the files of a folder with their manifest and signature, read once, judged, and only then a policy.
//!
//! In: a path, or the files that came through the socket, and whom to trust. Out: the texts to compile, each of them
//! the bytes that were hashed, and who signed them.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    ReadError,
    open::{Access, Opened},
    text,
};
use crate::{
    policy::{MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, SourceFile},
    signing::{
        Accepted, Digest, Key, KeySource, MANIFEST, MAX_KEY_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES,
        Requirement, SIGNATURE, Set, Signed, Standing, Trust, is_policy_name, judge,
    },
};

/// Files to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    /// The texts, in the order of their names.
    pub files: Vec<SourceFile>,
    /// Hash of names and contents.
    pub digest: Digest,
    /// Who signed them, and as which number; `None` when nobody had to.
    pub signed: Option<Signed>,
    /// What a person should know, each with its hint.
    pub notes: Vec<String>,
}

impl PolicySet {
    /// What a later set is measured by once this one enforces.
    pub fn accepted(&self) -> Option<Accepted> {
        self.signed.as_ref().map(|signed| Accepted { number: signed.number, digest: self.digest })
    }
}

/// A set as it was read: not judged yet.
#[derive(Clone, Debug)]
pub struct ReadSet {
    path: PathBuf,
    is_folder: bool,
    /// In the order of their names.
    files: Vec<NamedFile>,
    manifest: Option<SourceFile>,
    signature: Option<SourceFile>,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct NamedFile {
    name: String,
    digest: Digest,
    source: SourceFile,
}

impl NamedFile {
    fn new(source: SourceFile) -> Self {
        let name = source.path.rsplit('/').next().unwrap_or_default().to_owned();
        Self { name, digest: Digest::of(source.text.as_bytes()), source }
    }
}

/// Reads the set at `path` and judges it.
///
/// # Errors
/// [`ReadError`] for the first thing that cannot be read or believed.
pub fn read_set(path: &Path, trust: &Trust, access: Access) -> Result<PolicySet, ReadError> {
    read(path, access)?.judged(trust)
}

/// Judges the files that somebody sent: `MANIFEST` and `MANIFEST.minisig` travel among them.
///
/// # Errors
/// [`ReadError::Refused`], and [`ReadError::NoPolicy`] when there is nothing but those two.
pub fn pushed_set(files: Vec<SourceFile>, trust: &Trust) -> Result<PolicySet, ReadError> {
    let path = files.first().map(|file| Path::new(&file.path).parent().unwrap_or(Path::new("")).to_owned());
    let path = path.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| "pushed policy".into());
    let mut set = ReadSet {
        path,
        is_folder: true,
        files: Vec::new(),
        manifest: None,
        signature: None,
        notes: Vec::new(),
    };
    for file in files.into_iter().map(NamedFile::new) {
        // A second manifest stays among the policy files, where no manifest lists it.
        match file.name.as_str() {
            MANIFEST if set.manifest.is_none() => set.manifest = Some(file.source),
            SIGNATURE if set.signature.is_none() => set.signature = Some(file.source),
            _ => set.files.push(file),
        }
    }
    if set.files.is_empty() {
        return Err(ReadError::NoPolicy { path: set.path });
    }
    set.files.sort_by(|a, b| a.name.cmp(&b.name));
    set.judged(trust)
}

/// Reads the set at `path`: one file, or the policy files of a folder with their manifest and signature.
///
/// # Errors
/// [`ReadError`] for the first thing that cannot be read.
pub fn read(path: &Path, access: Access) -> Result<ReadSet, ReadError> {
    let opened = Opened::at(path)?;
    let mut set = ReadSet {
        path: path.to_owned(),
        is_folder: opened.is_folder(),
        files: Vec::new(),
        manifest: None,
        signature: None,
        notes: Vec::new(),
    };
    if !set.is_folder {
        opened.require_file(path)?;
        opened.guard(path, access, &mut set.notes)?;
        set.files.push(NamedFile::new(text(path, opened.bytes(path, MAX_FILE_BYTES)?)?));
        return Ok(set);
    }
    opened.guard(path, access, &mut set.notes)?;
    let (folder, mut entries) = opened.entries(path)?;
    entries.sort();
    let mut left = MAX_TOTAL_BYTES;
    for entry in entries {
        let place = path.join(OsStr::from_bytes(entry.as_bytes()));
        // The bytes of `.toml` are the same in a name that is no text.
        let name = entry.to_string_lossy();
        let limit = match &*name {
            MANIFEST => MAX_MANIFEST_BYTES,
            SIGNATURE => MAX_SIGNATURE_BYTES,
            name if is_policy_name(name) => MAX_FILE_BYTES,
            _ => continue,
        };
        if set.files.len() == MAX_FILES && is_policy_name(&name) {
            return Err(ReadError::TooLarge { path: path.to_owned(), limit: MAX_FILES, unit: "files" });
        }
        let opened = Opened::inside(&folder, &entry, &place)?;
        opened.require_file(&place)?;
        opened.guard(&place, access, &mut set.notes)?;
        let source = text(&place, opened.bytes(&place, limit)?)?;
        match &*name {
            MANIFEST => set.manifest = Some(source),
            SIGNATURE => set.signature = Some(source),
            _ => {
                left = left.checked_sub(source.text.len()).ok_or_else(|| ReadError::TooLarge {
                    path: path.to_owned(),
                    limit: MAX_TOTAL_BYTES,
                    unit: "bytes together",
                })?;
                set.files.push(NamedFile::new(source));
            }
        }
    }
    if set.files.is_empty() {
        return Err(ReadError::NoPolicy { path: path.to_owned() });
    }
    Ok(set)
}

impl ReadSet {
    /// How the set stands with those who may sign.
    ///
    /// # Errors
    /// [`ReadError::Refused`].
    pub fn standing(&self, trust: &Trust) -> Result<Standing, ReadError> {
        let files: Vec<(&str, Digest)> = self.digests().collect();
        let set = Set {
            files: &files,
            manifest: self.manifest.as_ref().map(bytes_of),
            signature: self.signature.as_ref().map(bytes_of),
        };
        judge(&set, trust)
            .map_err(|refusal| ReadError::Refused { path: self.path.clone(), refusal: Box::new(refusal) })
    }

    /// The set, if it may be used.
    ///
    /// # Errors
    /// [`ReadError::Refused`].
    pub fn judged(self, trust: &Trust) -> Result<PolicySet, ReadError> {
        let standing = self.standing(trust)?;
        let digest = Digest::of_set(self.digests());
        let mut notes = self.notes;
        notes.extend(standing.note().map(str::to_owned));
        let signed = match standing {
            Standing::Signed(signed) => Some(signed),
            Standing::Plain | Standing::Unchecked | Standing::Unsigned => None,
        };
        let files = self.files.into_iter().map(|file| file.source).collect();
        Ok(PolicySet { files, digest, signed, notes })
    }

    /// Name and hash of each policy file, in the order of the names.
    pub fn digests(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.files.iter().map(|file| (file.name.as_str(), file.digest))
    }

    /// Whether it can have a manifest at all.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// What a person should know of owners and modes.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The policy files alone.
    pub fn into_files(self) -> Vec<SourceFile> {
        self.files.into_iter().map(|file| file.source).collect()
    }

    /// The policy files with manifest and signature: whoever receives them judges.
    pub fn into_all_files(self) -> Vec<SourceFile> {
        let Self { path: _, is_folder: _, files, manifest, signature, notes: _ } = self;
        let files = files.into_iter().map(|file| file.source);
        files.chain(manifest).chain(signature).collect()
    }
}

fn bytes_of(file: &SourceFile) -> &[u8] {
    file.text.as_bytes()
}

/// Whom to trust by the configuration; nothing is known yet of what was accepted before.
///
/// # Errors
/// [`ReadError`] for a key file that cannot be read or believed: without a key no set is good.
pub fn read_trust(requirement: &Requirement) -> Result<Trust, ReadError> {
    let Requirement { keys, required } = requirement;
    let mut trust = Trust { required: *required, ..Trust::default() };
    for source in keys {
        trust.keys.push(match source {
            KeySource::Inline(key) => key.clone(),
            KeySource::File(path) => key_in(path)?,
        });
    }
    Ok(trust)
}

fn key_in(path: &Path) -> Result<Key, ReadError> {
    let opened = Opened::at(path)?;
    opened.require_file(path)?;
    // Whoever can write a key can sign.
    opened.guard(path, Access::Enforced, &mut Vec::new())?;
    let SourceFile { path: _, text } = text(path, opened.bytes(path, MAX_KEY_BYTES)?)?;
    Key::parse(&text).map_err(|why| ReadError::Key { path: path.to_owned(), why })
}
