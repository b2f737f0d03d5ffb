//! How much policy there may be: a pushed file must not be able to exhaust the gateway.
//!
//! In: the files as given. Out: the sources to read, or why they are not read at all.

use super::SourceFile;
use crate::diagnostic::{At, Diagnostic, FileId, Sources, sort};

/// Files of one policy.
pub const MAX_FILES: usize = 1024;
/// Bytes of one file.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Bytes of all files.
pub const MAX_TOTAL_BYTES: usize = 64 << 20;
/// Devices of one policy: the data path numbers them with 16 bits, 0 being nobody.
pub const MAX_DEVICES: usize = 65_535;
/// Rules: `allow` entries and conduits.
pub const MAX_RULES: usize = 262_144;
/// Peers and services over all rules; eight bytes of comment count as one.
pub const MAX_RULE_PARTS: usize = 4 << 20;

/// The texts to read, and reasons not to read any of them. What is `known` of a text is not found out again.
pub(super) fn admit(files: &[SourceFile], known: &Sources) -> (Sources, Vec<Diagnostic>) {
    let total = files.iter().map(|file| file.text.len()).sum::<usize>();
    let mut refused: Vec<(&str, Diagnostic)> = Vec::new();
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    if let Some(path) = paths.get(MAX_FILES) {
        let found = Diagnostic::error("BH0004", format!("{} policy files are too many", paths.len()));
        refused.push((path, found.help(format!("a policy has at most {MAX_FILES} files: join some"))));
    }
    if let (Some(path), true) = (paths.first(), total > MAX_TOTAL_BYTES) {
        let found = Diagnostic::error("BH0004", format!("the policy files have {total} bytes together"));
        refused.push((path, found.help(format!("at most {MAX_TOTAL_BYTES} bytes are read"))));
    }
    if let Some(pair) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
        let found = Diagnostic::error("BH0005", "the same file was given twice");
        refused.push((pair[0], found.help("name each file once")));
    }
    for file in files.iter().filter(|file| file.text.len() > MAX_FILE_BYTES) {
        let found = Diagnostic::error("BH0003", format!("the file has {} bytes", file.text.len()));
        refused.push((
            &file.path,
            found.help(format!("a policy file has at most {MAX_FILE_BYTES} bytes: split it")),
        ));
    }
    if refused.is_empty() {
        let texts = files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
        let sources = Sources::again(texts, known);
        return (sources, Vec::new());
    }
    refused.truncate(crate::diagnostic::MAX_DIAGNOSTICS);
    // The texts are not kept: nothing in them is shown.
    let sources = Sources::new(refused.iter().map(|(path, _)| (*path, "")));
    let mut diagnostics: Vec<Diagnostic> = refused
        .into_iter()
        .map(|(path, found)| {
            let file = sources.find(path).unwrap_or(FileId(0));
            found.at(sources.locate(At { file, start: 0, end: 0 }), "")
        })
        .collect();
    sort(&mut diagnostics);
    (sources, diagnostics)
}
