//! Findings that only follow from a slip in the notation.
//!
//! In: the places of syntax errors. Out: which other findings to keep. After `[device.plc` without its bracket
//! the keys below it and the name `plc` are lost; to report them as missing would bury the one true finding.

use std::{collections::BTreeSet, sync::Arc};

use crate::diagnostic::{Collector, Diagnostic, FileId, Severity, Sources};

/// How findings name the top of a policy file.
pub(crate) const POLICY_ROOT: &str = "a policy file";
/// How findings name the top of the agent's configuration.
pub(crate) const CONFIG_ROOT: &str = "the configuration";

/// Findings that something is not there.
const ABSENCES: &[&str] =
    &["BH0006", "BH0108", "BH0109", "BH0110", "BH0401", "BH0403", "BH0404", "BH0409", "BH0410", "BH0601"];
/// Findings about the notation itself.
const SYNTAX: &[&str] = &["BH0001", "BH0002"];
/// Findings that a name is declared nowhere.
const UNKNOWN: &[&str] = &["BH0301", "BH0302", "BH0303", "BH0304", "BH0320", "BH0324", "BH0328", "BH0330"];

/// Findings that nothing uses a thing.
const UNUSED: &[&str] = &["BH0501", "BH0502", "BH0503", "BH0504", "BH0505"];
/// Errors that may have cost a use: in keys and entries, and in names.
const LOSSES: &[&str] = &["BH01", "BH03"];

/// Findings that an end of a rule has no address of the kind its service needs.
const NO_ADDRESS: &[&str] = &["BH0315", "BH0318", "BH0319"];
/// Errors that may have cost an address: in keys and in values, and the same said of the device itself.
const ADDRESS_LOSSES: &[&str] = &["BH00", "BH01", "BH02", "BH0401"];

/// How findings end that a device is declared twice, and that it has no address.
const TWICE: (&str, &str) = ("BH0305", " is declared twice");
const WITHOUT_ADDRESS: (&str, &str) = ("BH0401", " has neither `mac` nor `ip`");

/// Drops findings that a thing is unused, or has no address, when an error may be why.
pub(super) fn drop_consequences(out: &mut Collector<'_>) {
    let costs_address = |found: &Diagnostic| {
        found.severity == Severity::Error
            && ADDRESS_LOSSES.iter().any(|prefix| found.code.starts_with(prefix))
    };
    if out.since(0).iter().any(costs_address) {
        out.retain(|found| !NO_ADDRESS.contains(&found.code));
    }
    if out.since(0).iter().any(|found| LOSSES.iter().any(|prefix| found.code.starts_with(prefix))) {
        out.retain(|found| !UNUSED.contains(&found.code));
    }
    // The second declaration is mostly more rules for the same device, whose addresses are in the first.
    let device = |found: &Diagnostic, (code, end): (&str, &str)| {
        let what = found.message.strip_suffix(end).filter(|_| found.code == code);
        what.map(str::to_owned)
    };
    let twice: BTreeSet<String> = out.since(0).iter().filter_map(|found| device(found, TWICE)).collect();
    if !twice.is_empty() {
        out.retain(|found| device(found, WITHOUT_ADDRESS).is_none_or(|what| !twice.contains(&what)));
    }
}

/// What the notation mistakes of all files may have swallowed.
#[derive(Debug, Default)]
pub(crate) struct Cascade {
    files: BTreeSet<Arc<str>>,
    lines: BTreeSet<(Arc<str>, usize)>,
    words: BTreeSet<String>,
}

impl Cascade {
    /// Remembers the lines on which `found` says that the notation of `file` is wrong.
    pub(crate) fn note(&mut self, file: FileId, sources: &Sources, found: &[Diagnostic]) {
        let path = sources.path(file);
        self.files.insert(path.clone());
        for location in found.iter().filter(|d| SYNTAX.contains(&d.code)).filter_map(Diagnostic::location) {
            let line = location.line as usize;
            if !self.lines.insert((path.clone(), line)) {
                continue;
            }
            let text = &sources.text(file)[sources.line(file, line - 1)];
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
            // `[device.plc` is one word for this split and `plc` is the name that was lost.
            let names = words.flat_map(|word| [word, word.split_once('.').map_or(word, |(_, name)| name)]);
            self.words.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }

    /// Whether the finding stands by itself.
    pub(crate) fn keeps(&self, found: &Diagnostic) -> bool {
        let Some(location) = found.location() else { return true };
        if self.files.is_empty() || SYNTAX.contains(&found.code) {
            return true;
        }
        let in_broken_file = self.files.contains(&location.path);
        let at_top = found.message.ends_with(POLICY_ROOT) || found.message.ends_with(CONFIG_ROOT);
        let root_key = found.code == "BH0101" && at_top;
        let lost_name = UNKNOWN.contains(&found.code)
            && found
                .message
                .split('`')
                .skip(1)
                .step_by(2)
                .any(|name| self.words.contains(name.split_once(':').map_or(name, |(_, name)| name)));
        // What recovery puts in place of a value that was not there has no extent.
        let placeholder = in_broken_file && location.span.is_empty();
        found.severity == Severity::Error
            && !lost_name
            && !placeholder
            && !self.lines.contains(&(location.path.clone(), location.line as usize))
            && !(in_broken_file && (root_key || ABSENCES.contains(&found.code)))
    }
}
