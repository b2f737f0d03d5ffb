//! `simulate --bpf` on captures that nobody thought of: the program in the kernel says what the host says, frame by frame and in every
//! counter.
//!
//! In: a seed (`BULKHEAD_SEED`, or the clock). Frames are those of the packet table, mutated, on a random policy.

mod command;
mod packet;

use std::{env, ffi::OsStr, time::SystemTime};

use bulkhead_tests::{
    capture::{paced, pcap},
    lab::requirements,
    skip::{Tier, skip},
};
use command::{Ran, bulkhead, file, folder};
use packet::{invent, mutate, random, random::Random, text};
use serde_json::Value;

/// Frames of a capture, and captures.
const FRAMES: usize = 5_000;
const CAPTURES: u64 = 8;
/// 2026-11-02T08:00:00Z, ns.
const MONDAY: u64 = 1_793_606_400_000_000_000;

fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(7, |now| now.as_secs());
    env::var("BULKHEAD_SEED")
        .map_or_else(|_| clock(), |text| text.parse().expect("BULKHEAD_SEED is a number"))
}

#[test]
fn kernel_says_what_the_host_says_of_captures_of_any_kind() {
    let test = "kernel_says_what_the_host_says_of_captures_of_any_kind";
    if let Err(reason) = requirements() {
        return skip(Tier::Packet, test, &reason);
    }
    let seed = seed();
    eprintln!("BULKHEAD_SEED={seed}");
    let folder = folder(test);
    let corpus = random::corpus();
    // Nothing is too much at once: how many flows a second may begin is a matter of time, which is left out.
    let config = file(&folder, "bulkhead.toml", "[interface.floor]\n[interface.line]\n[interface.spur]\n");
    let (mut frames, mut dropped) = (0, 0);
    for n in 0..CAPTURES {
        let mut random = Random::new(seed.wrapping_add(n));
        let policy = if n == 0 { text("cell.toml") } else { invent::policy(&mut random, invent::ANY) };
        let policy = file(&folder, "policy.toml", policy);
        let seen = (0..FRAMES).map(|_| mutate::frame(&mut random, &corpus));
        let capture = file(&folder, "seen.pcap", pcap(&paced(MONDAY, seen), 65_535));
        let mut words: Vec<&OsStr> = vec!["simulate".as_ref(), "--bpf".as_ref(), "--json".as_ref()];
        words.extend(["--fail-on".as_ref(), "none".as_ref(), "--policy".as_ref(), policy.as_os_str()]);
        words.extend(["--pcap".as_ref(), capture.as_os_str(), "--gateway".as_ref(), "10.20.1.1".as_ref()]);
        if n % 2 == 1 {
            words.extend(["--config".as_ref(), config.as_os_str(), "--as-enforced".as_ref()]);
        }
        let Ran { code, out, err } = bulkhead(&words);
        assert_eq!(code, 0, "capture {n}: {err}");
        assert!(err.contains("the kernel says the same of "), "{err}");
        let report: Value = serde_json::from_str(&out).expect("JSON");
        frames += report["totals"]["frames"].as_u64().expect("a number");
        dropped += report["totals"]["dropped"].as_u64().expect("a number");
    }
    assert_eq!(frames, CAPTURES * FRAMES as u64);
    assert!(dropped > CAPTURES, "{dropped}: some of it is denied");
}
