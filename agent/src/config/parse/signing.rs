//! `[signing]`: who may sign policy sets, and whether somebody must.

use std::path::PathBuf;

use toml::de::DeTable;

use super::super::language::SIGNING;
use crate::{
    diagnostic::{Diagnostic, quote},
    policy::reader::{Leaf, Reader},
    signing::{Key, KeyError, KeySource, MAX_KEYS, Requirement},
};

/// What `[signing]` has wrong.
const CODE: &str = "BH0614";

/// Reads the section. Whoever names a key wants signatures, so then they are required unless he says otherwise.
pub(super) fn signing(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Requirement {
    reader.keys(table, &SIGNING, "`[signing]`");
    let listed = reader.strings(table, "keys");
    let named = listed.as_ref().map(|list| list.value.as_slice()).unwrap_or_default();
    if let Some(leaf) = named.get(MAX_KEYS) {
        let message = format!("{} keys are too many", named.len());
        reader.refuse::<()>(CODE, leaf, message, &format!("at most {MAX_KEYS} can be trusted"));
    }
    let mut keys: Vec<KeySource> = Vec::new();
    for leaf in named.iter().take(MAX_KEYS) {
        let Some(source) = source(reader, leaf) else { continue };
        if keys.contains(&source) {
            let message = format!("the key {} is named twice", quote(&leaf.value));
            reader.refuse::<()>(CODE, leaf, message, "name each key once");
        }
        keys.push(source);
    }
    let required = reader.boolean(table, "required");
    if let Some(Leaf { value: _, at }) = required.filter(|leaf| leaf.value && named.is_empty()) {
        let help = "add `keys = [\"RW...\"]` with the public key that `minisign -G` printed, or the path of its `.pub` file";
        let found = Diagnostic::error(CODE, "a signature is required, and nobody may sign");
        let location = reader.out.locate(at);
        reader.out.push(found.at(location, "").help(help));
    }
    Requirement { required: required.map_or(!named.is_empty(), |leaf| leaf.value), keys }
}

fn source(reader: &mut Reader<'_, '_>, leaf: &Leaf<String>) -> Option<KeySource> {
    if leaf.value.starts_with('/') {
        return super::absolute(reader, leaf).map(|path: PathBuf| KeySource::File(path));
    }
    let (message, help) = match Key::parse(&leaf.value) {
        Ok(key) => return Some(KeySource::Inline(key)),
        Err(KeyError::Secret) => (
            "this is a secret key".to_owned(),
            "keep it where sets are signed, and make a new one if others could read this file",
        ),
        Err(KeyError::Form) => (
            format!("{} is no public key of `minisign`", quote(&leaf.value)),
            "write the 56 letters and digits behind `-P` in what `minisign -G` prints, or the absolute path of its `.pub` file",
        ),
    };
    reader.refuse(CODE, leaf, message, help)
}
