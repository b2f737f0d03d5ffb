//! The texts diagnostics point into.
//!
//! In: (path, text) pairs. Out: line and column of any byte, in constant time even in a file of one long line.

use std::{ops::Range, sync::Arc};

use super::Location;

/// A character count is remembered every so many bytes, which bounds the work for one column.
const STRIDE: usize = 1024;

/// Index of a file within its [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A byte range of one file: what a parsed value remembers instead of a whole [`Location`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// All texts of one check, sorted by path.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<File>,
}

#[derive(Clone, Debug)]
struct File {
    path: Arc<str>,
    text: Arc<str>,
    /// Byte at which each line starts.
    lines: Arc<[usize]>,
    /// Characters before byte `i * STRIDE`.
    characters: Arc<[usize]>,
}

impl Sources {
    /// Sorts the texts by path. Of two texts with one path the first is kept.
    pub fn new<P: Into<Arc<str>>, T: Into<Arc<str>>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        Self::sorted(files.into_iter().map(|(path, text)| File::new(path.into(), text.into())).collect())
    }

    fn sorted(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|later, first| later.path == first.path);
        Self { files }
    }

    /// The same as [`Sources::new`], with what is known already of files that have not changed.
    pub fn again<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>, known: &Self) -> Self {
        let one = |(path, text): (&'t str, &'t str)| {
            let same = known.find(path).map(|file| &known.files[file.0 as usize]);
            same.filter(|same| *same.text == *text)
                .cloned()
                .unwrap_or_else(|| File::new(path.into(), text.into()))
        };
        Self::sorted(files.into_iter().map(one).collect())
    }

    /// Whether both have the same text under this number and path.
    pub fn is_same(&self, other: &Self, file: FileId) -> bool {
        let [a, b] = [self, other].map(|sources| sources.files.get(file.0 as usize));
        a.zip(b).is_some_and(|(a, b)| a.path == b.path && (Arc::ptr_eq(&a.text, &b.text) || a.text == b.text))
    }

    /// Every file, in order of path.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..u32::try_from(self.files.len()).unwrap_or(u32::MAX)).map(FileId)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The name of a file, as it was given.
    pub fn path(&self, file: FileId) -> &Arc<str> {
        &self.files[file.0 as usize].path
    }

    /// The text of a file.
    pub fn text(&self, file: FileId) -> &Arc<str> {
        &self.files[file.0 as usize].text
    }

    /// The file called `path`.
    pub fn find(&self, path: &str) -> Option<FileId> {
        let at = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok()?;
        u32::try_from(at).ok().map(FileId)
    }

    /// Line (from 0) that holds `byte`.
    pub fn line_of(&self, file: FileId, byte: usize) -> usize {
        self.files[file.0 as usize].line_of(byte)
    }

    /// The bytes of a line (from 0), without its end.
    pub fn line(&self, file: FileId, line: usize) -> Range<usize> {
        self.files[file.0 as usize].line(line)
    }

    /// Line and column of a byte range.
    pub fn locate(&self, at: At) -> Location {
        let file = &self.files[at.file.0 as usize];
        let start = file.boundary(at.start as usize);
        let end = file.boundary((at.end as usize).max(start));
        let (line, column) = file.position(start);
        Location { path: file.path.clone(), line, column, span: start..end }
    }

    /// Line and column (from 1) one past the last character of a place; its start, if the file is not known.
    pub fn end(&self, location: &Location) -> (u32, u32) {
        match self.find(&location.path) {
            Some(file) => {
                let file = &self.files[file.0 as usize];
                file.position(file.boundary(location.span.end))
            }
            None => (location.line, location.column),
        }
    }
}

impl File {
    fn new(path: Arc<str>, text: Arc<str>) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut characters = vec![0];
        for block in text.as_bytes().chunks(STRIDE) {
            let before = characters.last().copied().unwrap_or(0);
            characters.push(before + block.iter().filter(|byte| starts_character(**byte)).count());
        }
        Self { path, text, lines, characters: characters.into() }
    }

    /// The nearest character boundary at or before `byte`.
    fn boundary(&self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        (0..=byte).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// Line and column of a character boundary, from 1.
    fn position(&self, byte: usize) -> (u32, u32) {
        let line = self.line_of(byte);
        let column = self.characters_between(self.lines[line], byte);
        let one_based = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
        (one_based(line), one_based(column))
    }

    fn line_of(&self, byte: usize) -> usize {
        self.lines.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    fn line(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        start..end
    }

    fn characters_between(&self, start: usize, end: usize) -> usize {
        if end - start <= STRIDE {
            let between = &self.text.as_bytes()[start..end];
            return between.iter().filter(|byte| starts_character(**byte)).count();
        }
        self.characters_before(end) - self.characters_before(start)
    }

    fn characters_before(&self, byte: usize) -> usize {
        let block = byte / STRIDE;
        let rest = &self.text.as_bytes()[block * STRIDE..byte];
        self.characters[block] + rest.iter().filter(|byte| starts_character(**byte)).count()
    }
}

/// Continuation bytes of UTF-8 are `10xxxxxx` (RFC 3629 3).
fn starts_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, byte: u32) -> (u32, u32) {
        let sources = Sources::new([("a", text)]);
        let location = sources.locate(At { file: FileId(0), start: byte, end: byte });
        (location.line, location.column)
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(place("a\n\u{fc}\u{fc}x", 6), (2, 3));
        assert_eq!(place("a\n", 2), (2, 1));
        assert_eq!(place("", 7), (1, 1));
    }

    #[test]
    fn columns_are_right_beyond_the_first_block() {
        let text = format!("x\n{}", "\u{fc}".repeat(3000));
        assert_eq!(place(&text, 2 + 2 * 2500), (2, 2501));
        assert_eq!(place(&text, 2 + 2 * 3000), (2, 3001));
    }

    #[test]
    fn files_are_sorted_and_one_path_is_kept_once() {
        let sources = Sources::new([("b", "1"), ("a", "2"), ("b", "3")]);
        let all: Vec<_> = sources.ids().map(|id| (&**sources.path(id), &**sources.text(id))).collect();
        assert_eq!(all, [("a", "2"), ("b", "1")]);
    }
}
