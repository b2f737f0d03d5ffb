//! Frames and rows under small policies, and what is said of them.
