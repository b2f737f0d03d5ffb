//! Gathers findings while a text is read, up to a bound.
//!
//! In: diagnostics in any order. Out: the sorted list, and one last entry for those beyond the bound.

use super::{At, Diagnostic, Location, Severity, Sources, closest, sort};

/// More findings than a person reads; those beyond are counted, not kept.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// Names compared for did-you-mean in one run: bounds the time a hostile file can take.
const MAX_COMPARISONS: usize = 1_000_000;

/// The findings of one run over one set of texts.
#[derive(Clone, Debug)]
pub struct Collector<'s> {
    sources: &'s Sources,
    list: Vec<Diagnostic>,
    refused: usize,
    first_refused: Option<Diagnostic>,
    comparisons: usize,
    errors: bool,
}

impl<'s> Collector<'s> {
    /// Nothing found yet.
    pub fn new(sources: &'s Sources) -> Self {
        Self { sources, list: Vec::new(), refused: 0, first_refused: None, comparisons: 0, errors: false }
    }

    /// The texts the findings point into.
    pub fn sources(&self) -> &'s Sources {
        self.sources
    }

    /// Where a byte range is, for people.
    pub fn locate(&self, at: At) -> Location {
        self.sources.locate(at)
    }

    /// Keeps a finding, or counts it when there are enough.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors |= diagnostic.severity == Severity::Error;
        if self.list.len() < MAX_DIAGNOSTICS {
            self.list.push(diagnostic);
        } else {
            self.refused += 1;
            let kept = self.first_refused.get_or_insert_with(|| diagnostic.clone());
            kept.severity = kept.severity.min(diagnostic.severity);
        }
    }

    /// How many findings are kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The findings kept after the first `count`.
    pub fn since(&self, count: usize) -> &[Diagnostic] {
        self.list.get(count..).unwrap_or_default()
    }

    /// Whether further findings are only counted, so that [`Collector::skip_error`] will do.
    pub fn is_full(&self) -> bool {
        self.refused > 0
    }

    /// Counts an error whose details nobody will read.
    pub fn skip_error(&mut self) {
        self.errors = true;
        self.refused += 1;
    }

    /// Whether any finding so far is an error.
    pub fn has_errors(&self) -> bool {
        self.errors
    }

    /// The name a user probably meant; nothing once the budget of comparisons is spent.
    pub fn suggest<'n>(&mut self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let left = MAX_COMPARISONS.saturating_sub(self.comparisons);
        let mut used = 0;
        let found = closest(wrong, names.into_iter().take(left).inspect(|_| used += 1));
        self.comparisons += used;
        found
    }

    /// Drops findings that only follow from others.
    pub fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.list.retain(keep);
    }

    /// All findings in the order of a reader.
    pub fn finish(self) -> Vec<Diagnostic> {
        let Self { sources: _, mut list, refused, first_refused, comparisons: _, errors: _ } = self;
        sort(&mut list);
        if let Some(first) = first_refused {
            let place = first.labels.into_iter().next();
            list.push(Diagnostic {
                code: "BH0008",
                severity: first.severity,
                message: format!("{refused} more problems are not shown"),
                labels: place.into_iter().collect(),
                help: Some(format!("mend the first {MAX_DIAGNOSTICS} and check again")),
            });
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::FileId;

    #[test]
    fn findings_beyond_the_bound_are_counted() {
        let sources = Sources::new([("a", "text")]);
        let mut collector = Collector::new(&sources);
        let place = collector.locate(At { file: FileId(0), start: 0, end: 1 });
        for _ in 0..MAX_DIAGNOSTICS + 7 {
            collector.push(Diagnostic::error("BH0101", "x").at(place.clone(), "").help("y"));
        }
        let list = collector.finish();
        assert_eq!(list.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(list[MAX_DIAGNOSTICS].message, "7 more problems are not shown");
    }
}
