//! Files that have not changed are not read again: of a thousand files of a gateway, a change touches one.
//!
//! In: the same set of files as before, most of them with the same text. Out: what [`super::resolve_texts`] says of them.

use std::sync::Arc;

use super::{Outcome, SourceFile, cascade, limits, parse, raw::RawFile, resolve};
use crate::diagnostic::{Collector, FileId, Sources};

/// What the files of a policy said when they were last read. Nothing of a file in which there was something to report is
/// kept, so that it is reported each time.
#[derive(Debug, Default)]
pub struct Memo {
    /// By the number of the file. A value knows its file by that number, so it holds only where the file has it still.
    files: Vec<Option<Known>>,
}

/// A file without a finding.
#[derive(Debug)]
struct Known {
    path: Arc<str>,
    text: Arc<str>,
    contents: RawFile,
}

impl Memo {
    /// Reads all files of a gateway as one policy, as [`super::resolve_texts`] does.
    pub fn resolve_texts(&mut self, files: &[SourceFile]) -> Outcome {
        let (sources, refused) = limits::admit(files);
        if !refused.is_empty() {
            return Outcome { policy: None, diagnostics: refused, sources };
        }
        let mut out = Collector::new(&sources);
        let mut cascade = cascade::Cascade::default();
        let mut known = std::mem::take(&mut self.files);
        let mut raw = Vec::with_capacity(sources.len());
        let mut spotless = Vec::with_capacity(sources.len());
        for file in sources.ids() {
            if let Some(contents) = recall(&mut known, file, &sources) {
                raw.push(contents);
                spotless.push(true);
                continue;
            }
            let before = out.len();
            let full = out.is_full();
            let (contents, clean) = parse::parse(file, &mut out);
            if !clean {
                cascade.note(file, &sources, out.since(before));
            }
            raw.push(contents);
            spotless.push(!full && !out.is_full() && out.len() == before);
        }
        drop(known);
        let policy = resolve::resolve(&raw, &mut out);
        out.retain(|found| cascade.keeps(found));
        cascade::drop_consequences(&mut out);
        let policy = (!out.has_errors()).then_some(policy);
        let diagnostics = out.finish();
        let read = sources.ids().zip(raw).zip(spotless);
        let keep = |((file, contents), spotless): ((FileId, RawFile), bool)| {
            let (path, text) = (sources.path(file).clone(), sources.text(file).clone());
            spotless.then_some(Known { path, text, contents })
        };
        self.files = read.map(keep).collect();
        Outcome { policy, diagnostics, sources }
    }
}

/// What the file said when it was read with the same text under the same number.
fn recall(known: &mut [Option<Known>], file: FileId, sources: &Sources) -> Option<RawFile> {
    let slot = known.get_mut(file.0 as usize)?;
    let same = |known: &mut Known| known.path == *sources.path(file) && known.text == *sources.text(file);
    slot.take_if(same).map(|known| known.contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnostic::Diagnostic, policy::resolve_texts};

    const NETWORK: &str = "version = 1\n[network.office]\ncidr = \"10.9.0.0/24\"\n";
    const PLC: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[[device.plc.allow]]\nfrom = \"office\"\nservice = \"modbus\"\n";

    fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
        texts.iter().map(file).collect()
    }

    /// Says the same as a reader without a memory does.
    fn read(memo: &mut Memo, texts: &[(&str, &str)]) -> Vec<Diagnostic> {
        let files = files(texts);
        let (again, first) = (memo.resolve_texts(&files), resolve_texts(&files));
        assert_eq!(again.diagnostics, first.diagnostics);
        assert_eq!(again.policy, first.policy);
        again.diagnostics
    }

    fn remembered(memo: &Memo) -> Vec<bool> {
        memo.files.iter().map(Option::is_some).collect()
    }

    #[test]
    fn changed_file_is_read_and_the_others_are_not() {
        let mut memo = Memo::default();
        assert!(read(&mut memo, &[("a", NETWORK), ("b", PLC)]).is_empty());
        assert_eq!(remembered(&memo), [true, true]);
        let changed = PLC.replace("modbus", "s7");
        assert!(read(&mut memo, &[("a", NETWORK), ("b", &changed)]).is_empty());
        let sources = Sources::new([("a", NETWORK), ("b", PLC)]);
        let mut known = std::mem::take(&mut memo.files);
        let recalled = sources.ids().map(|file| recall(&mut known, file, &sources).is_some());
        assert_eq!(recalled.collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn file_that_comes_or_goes_moves_the_others_and_their_places() {
        let mut memo = Memo::default();
        read(&mut memo, &[("b", PLC), ("c", NETWORK)]);
        read(&mut memo, &[("a", "version = 1\n"), ("b", PLC), ("c", NETWORK)]);
        read(&mut memo, &[("b", PLC), ("c", NETWORK)]);
        // What nobody declares any more is missed where it is named.
        let found = read(&mut memo, &[("b", PLC)]);
        assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["BH0301"]);
        assert_eq!(remembered(&memo), [true]);
    }

    #[test]
    fn file_with_a_finding_is_read_and_reported_each_time() {
        let mut memo = Memo::default();
        let texts = [("a", NETWORK), ("b", &*PLC.replace("service", "services"))];
        let found = [(); 3].map(|()| read(&mut memo, &texts).len());
        assert!(found[0] > 0);
        assert_eq!(found, [found[0]; 3]);
        assert_eq!(remembered(&memo), [true, false]);
    }

    #[test]
    fn refused_set_leaves_what_was_read_before() {
        let mut memo = Memo::default();
        read(&mut memo, &[("a", NETWORK), ("b", PLC)]);
        assert!(!memo.resolve_texts(&files(&[("a", NETWORK), ("a", NETWORK)])).diagnostics.is_empty());
        assert_eq!(remembered(&memo), [true, true]);
    }
}
