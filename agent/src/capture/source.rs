//! Bytes with the place where they stand.

use std::io::{self, ErrorKind, Read};

use super::CaptureError;

pub(super) struct Source<R> {
    reader: R,
    at: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, at: 0 }
    }

    /// Bytes that were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// As many bytes as there are, and are wanted.
    pub(super) fn up_to(&mut self, into: &mut [u8]) -> Result<usize, CaptureError> {
        let mut len = 0;
        while len < into.len() {
            match self.reader.read(&mut into[len..]) {
                Ok(0) => break,
                Ok(more) => {
                    len += more;
                    self.at += more as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Read { at: self.at, source }),
            }
        }
        Ok(len)
    }

    /// All of the bytes of `what`, which begins at `begin`.
    pub(super) fn all(
        &mut self,
        into: &mut [u8],
        begin: u64,
        what: &'static str,
    ) -> Result<(), CaptureError> {
        if self.up_to(into)? < into.len() { Err(CaptureError::Cut { at: begin, what }) } else { Ok(()) }
    }

    /// Reads `count` bytes and keeps none.
    pub(super) fn skip(&mut self, count: u64, begin: u64, what: &'static str) -> Result<(), CaptureError> {
        let skipped = io::copy(&mut (&mut self.reader).take(count), &mut io::sink());
        let skipped = skipped.map_err(|source| CaptureError::Read { at: self.at, source })?;
        self.at += skipped;
        if skipped < count { Err(CaptureError::Cut { at: begin, what }) } else { Ok(()) }
    }
}
