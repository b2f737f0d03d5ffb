//! What is wrong with a user's text, where, and how to mend it.

use std::{ops::Range, sync::Arc};

/// A place in a file the user wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file as it was named to us.
    pub path: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// Byte range within the file's text.
    pub span: Range<usize>,
}
