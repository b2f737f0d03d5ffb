//! Files that have not changed are not read again: of a thousand files of a gateway, a change touches one.
//!
//! In: the same set of files as before, most of them with the same text. Out: what [`super::resolve_texts`] says of them.

use super::{Outcome, SourceFile, cascade, limits, parse, raw::RawFile, resolve};
use crate::diagnostic::{Collector, FileId, Sources};

/// What the files of a policy said when they were last read. Nothing of a file in which there was something to report is
/// kept, so that it is reported each time.
#[derive(Debug, Default)]
pub struct Memo {
    /// The texts that were read.
    sources: Sources,
    /// What they say, by the number of the file. A value knows its file by that number, so it holds only where the file
    /// has it still.
    files: Vec<Option<RawFile>>,
    /// What their entries became, unless something was wrong.
    known: Option<resolve::Known>,
    /// Whether there is no next time.
    once: bool,
}

impl Memo {
    /// Remembers nothing.
    pub(super) fn once() -> Self {
        Self { once: true, ..Self::default() }
    }

    /// Reads all files of a gateway as one policy, as [`super::resolve_texts`] does.
    pub fn resolve_texts(&mut self, files: &[SourceFile]) -> Outcome {
        let (sources, refused) = limits::admit(files, &self.sources);
        if !refused.is_empty() {
            return Outcome { policy: None, diagnostics: refused, sources };
        }
        let mut out = Collector::new(&sources);
        let mut cascade = cascade::Cascade::default();
        let Self { sources: old, files: mut contents, known, once } = std::mem::take(self);
        let mut raw = Vec::with_capacity(sources.len());
        let mut unchanged = Vec::with_capacity(sources.len());
        let mut spotless = Vec::with_capacity(sources.len());
        for file in sources.ids() {
            let recalled = recall(&mut contents, file, &sources, &old);
            unchanged.push(recalled.is_some());
            if let Some(contents) = recalled {
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
        let found = out.clone();
        let has_last = known.is_some();
        let last = known.map(|known| (known, &unchanged[..]));
        let (mut policy, mut learned) = resolve::resolve(&raw, last, !once, &mut out);
        if out.has_errors() && has_last {
            // What is told of an error depends on everything.
            out = found;
            (policy, learned) = resolve::resolve(&raw, None, !once, &mut out);
        }
        out.retain(|found| cascade.keeps(found));
        cascade::drop_consequences(&mut out);
        let policy = (!out.has_errors()).then_some(policy);
        let diagnostics = out.finish();
        if once {
            return Outcome { policy, diagnostics, sources };
        }
        let files = raw.into_iter().zip(spotless).map(|(contents, spotless)| spotless.then_some(contents));
        *self = Self { sources: sources.clone(), files: files.collect(), known: learned, once };
        Outcome { policy, diagnostics, sources }
    }
}

/// What the file said when it was read with the same text under the same number.
fn recall(
    contents: &mut [Option<RawFile>],
    file: FileId,
    sources: &Sources,
    old: &Sources,
) -> Option<RawFile> {
    if sources.is_same(old, file) { contents.get_mut(file.0 as usize)?.take() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let Memo { sources: old, files: mut contents, .. } = memo;
        let recalled = sources.ids().map(|file| recall(&mut contents, file, &sources, &old).is_some());
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

    /// What a file may say; each changes something that entries of other files depend on.
    const VARIANTS: [&[&str]; 4] = [
        &[
            "[network.office]\ncidr = \"10.9.0.0/24\"\n[class.drive]\n[[class.drive.allow]]\nto = \"office\"\nservice = \"ntp\"\n",
            "[class.drive]\n[[class.drive.allow]]\nto = \"any\"\nservice = \"ntp\"\n",
            "[network.office]\ndns = [\"a.example\"]\n[class.drive]\nmode = \"enforce\"\n",
            "[group.office]\nmembers = [\"plc\"]\n[network.office]\ncidr = \"10.8.0.0/24\"\n",
        ],
        &[
            "[device.plc]\nip = \"10.20.1.11\"\n[[device.plc.allow]]\nfrom = \"office\"\nservice = \"modbus\"\n",
            "[device.plc]\nip = \"10.20.1.11\"\nclass = \"drive\"\n[[device.plc.allow]]\nfrom = [\"hmi\", \"office\"]\nservice = [\"s7\", \"poll\"]\ncomment = \"it asks\"\n",
            "[device.plc]\nmac = \"00:1d:9c:c7:b0:70\"\nzone = \"cell\"\n",
            "[device.plc]\nip = \"10.20.1.11\"\nzone = \"cell\"\nclass = \"drive\"\n[device.zip]\nip = \"10.20.1.12\"\nclass = \"drive\"\n",
        ],
        &[
            "[device.hmi]\nip = \"10.20.1.20\"\n[[device.hmi.allow]]\nto = \"plc\"\nservice = \"https\"\n",
            "[device.hmi]\nip = \"10.20.1.20\"\nzone = \"cell\"\nclass = \"drive\"\n[[device.hmi.allow]]\nto = \"zone:cell\"\nservice = \"ssh\"\n[[device.hmi.allow]]\nfrom = \"group:office\"\nservice = \"ssh\"\n",
            "[device.hmi]\nip = \"10.20.1.20\"\n",
            "[device.hmi]\nip = \"10.20.1.20\"\n[[device.hmi.allow]]\nto = \"class:drive\"\nservice = \"poll\"\n",
        ],
        &[
            "[service.poll]\ntcp = \"502\"\n",
            "[service.poll]\nethertype = \"0x88f7\"\n[quarantine]\npeers = [\"office\"]\n",
            "[service.other]\ntcp = \"1\"\n",
            "[[conduit]]\nfrom = \"zone:cell\"\nto = \"office\"\nservice = \"ssh\"\n[service.poll]\nudp = \"7\"\n",
        ],
    ];

    proptest! {
        #[test]
        fn whatever_changes_it_says_the_same_as_a_reader_without_a_memory(
            steps in proptest::collection::vec([0..5_usize, 0..5, 0..5, 0..5], 1..12),
            one_at_a_time in any::<bool>(),
        ) {
            let mut memo = Memo::default();
            let mut now = [0; 4];
            for (number, step) in steps.iter().enumerate() {
                if one_at_a_time {
                    now[number % 4] = step[number % 4];
                } else {
                    now = *step;
                }
                // The fifth variant of a file is none.
                let texts = ["a", "b", "c", "d"].iter().zip(VARIANTS).zip(now);
                let texts = texts.filter_map(|((path, texts), now)| Some((*path, format!("version = 1\n{}", texts.get(now)?))));
                let texts: Vec<(&str, String)> = texts.collect();
                let texts: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (*path, text.as_str())).collect();
                read(&mut memo, &texts);
            }
        }
    }

    #[test]
    fn entries_of_unchanged_files_are_not_read_again() {
        let mut memo = Memo::default();
        read(&mut memo, &[("a", NETWORK), ("b", PLC)]);
        assert!(memo.known.is_some());
        // Rules that nobody wrote are those that are remembered.
        let changed = NETWORK.replace("10.9", "10.8");
        let known = memo.known.take();
        memo.known = known.map(resolve::Known::without_rules);
        let again = memo.resolve_texts(&files(&[("a", &changed), ("b", PLC)]));
        assert_eq!(again.policy.map(|policy| policy.rules.len()), Some(0));
    }
}
