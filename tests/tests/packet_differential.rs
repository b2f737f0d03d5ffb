//! A million frames that nobody thought of: the host decides as the kernel does, always.
//!
//! In: a seed (`BULKHEAD_SEED`, or the clock), and how many (`BULKHEAD_FRAMES`). Every two thousand frames meet a policy and
//! settings of their own. Out: 0 disagreements in action, and in every counter of device x code, rule and interface; and
//! every grant and reason was met. A disagreement is printed with its frame and can become a row of the packet table.

mod packet;

use std::{
    env,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bulkhead_common::reason::{Grant, Reason};
use packet::{
    duel::{self, BROKEN, Fight, Met},
    expect::word,
    lab, random,
};

/// Frames in all, unless `BULKHEAD_FRAMES` says how many; rounds share nothing but the corpus.
const FRAMES: usize = 1_000_000;
/// Frames of one round.
const ROUND: usize = 50_000;
/// Frames between two looks at the counters.
const EVERY: usize = 200;

fn frames() -> usize {
    env::var("BULKHEAD_FRAMES").map_or(FRAMES, |text| text.parse().expect("BULKHEAD_FRAMES is a number"))
}

fn seed() -> u64 {
    match env::var("BULKHEAD_SEED") {
        Ok(text) => text.parse().expect("BULKHEAD_SEED is a number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            u64::try_from(now.as_millis()).expect("the clock is before the year 500 million")
        }
    }
}

#[test]
fn host_and_kernel_agree_on_a_million_frames() {
    let Some((namespace, room)) = lab("host_and_kernel_agree_on_a_million_frames") else { return };
    let (seed, frames) = (seed(), frames());
    // Told at once: a run that hangs or is killed can be repeated.
    eprintln!("BULKHEAD_SEED={seed}");
    let corpus = random::corpus();
    let start = Instant::now();
    let mut met = Met::default();
    namespace.run(|| {
        for n in 0..frames.div_ceil(ROUND) {
            let fight = Fight {
                seed: seed.wrapping_add(n as u64),
                frames: ROUND.min(frames - n * ROUND),
                every: EVERY,
                corpus: &corpus,
                deaf: None,
            };
            match duel::round(&room, &format!("round-{n}"), &fight) {
                Ok(round) => met.add(round),
                Err(first) if first.starts_with(BROKEN) => panic!("BULKHEAD_SEED={seed}, round {n}\n{first}"),
                Err(first) => {
                    // Again, looking at the counters after every frame: which one was it?
                    let exact = duel::round(&room, &format!("again-{n}"), &Fight { every: 1, ..fight });
                    let found =
                        exact.err().unwrap_or_else(|| format!("not found again; at first it was\n{first}"));
                    panic!("host and kernel disagree, BULKHEAD_SEED={seed}, round {n}\n{found}");
                }
            }
        }
    });
    let Met { frames, policies, words, remembered } = met;
    let rate = frames as f64 / start.elapsed().as_secs_f64();
    let told: Vec<String> = words.iter().map(|(code, count)| format!("{} {count}", word(*code))).collect();
    eprintln!("{}", told.join(", "));
    // A reason that no frame met was not compared.
    let codes = Grant::ALL.iter().map(|g| g.code()).chain(Reason::ALL.iter().map(|r| r.code()));
    let missing: Vec<&str> = codes
        .filter(|code| !words.contains_key(code) && *code != Reason::NoPolicy.code())
        .map(word)
        .collect();
    assert!(missing.is_empty(), "no frame met {missing:?}, BULKHEAD_SEED={seed}");
    assert!(remembered > frames / 20, "{remembered} frames were remembered, BULKHEAD_SEED={seed}");
    let policies = policies.len();
    assert!(policies as u64 > frames / 4000, "{policies} policies are few, BULKHEAD_SEED={seed}");
    eprintln!(
        "{policies} policies, {frames} frames, {remembered} remembered, 0 disagreements, {rate:.0} frames/s, BULKHEAD_SEED={seed}"
    );
}

/// The alarm rings: a host that does not hear of one thing is found out, and the frame is told.
#[test]
fn a_host_that_decides_otherwise_is_found_out() {
    let Some((namespace, room)) = lab("a_host_that_decides_otherwise_is_found_out") else { return };
    let corpus = random::corpus();
    namespace.run(|| {
        let fight = Fight { seed: 8, frames: 20_000, every: 1, corpus: &corpus, deaf: Some(Grant::Dhcp) };
        let found = duel::round(&room, "deaf", &fight).expect_err("the host never grants DHCP");
        assert!(found.contains("`dhcp`: host None, kernel Some(1)"), "{found}");
        assert!(found.contains("frame: ") && found.contains("[device."), "{found}");
    });
}
