//! Where records go when they leave the agent.
//!
//! In: finished lines. Out: bytes in a file or on a stream. A sink never holds up the data path or the
//! agent: what it cannot take now it refuses and counts, and the next line is tried anew.

mod json_lines;

pub use json_lines::{JsonLines, KEPT, MAX_FILE, MAX_LINE, Status, Target};
