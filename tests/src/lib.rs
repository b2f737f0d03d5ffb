//! The lab and what the test tiers share.

pub mod capture;
pub mod cargo;
pub mod dice;
pub mod frame;
pub mod grid;
pub mod lab;
pub mod minisign;
pub mod site;
pub mod skip;
