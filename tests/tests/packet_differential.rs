//! A million frames that nobody thought of: the host decides as the kernel does, always.
//!
//! In: a seed (`BULKHEAD_SEED`, or the clock). Out: 0 disagreements in action, and in every counter of device x code,
//! rule and interface. A disagreement is printed with its frame and can become a row of the packet table.

mod packet;

use std::{
    env,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use packet::{duel, lab, random};

/// Frames in all; rounds share nothing but the corpus.
const FRAMES: usize = 1_000_000;
const ROUNDS: usize = 20;
/// Frames between two looks at the counters.
const EVERY: usize = 200;

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
    let seed = seed();
    // Told at once: a run that hangs or is killed can be repeated.
    eprintln!("BULKHEAD_SEED={seed}");
    let corpus = random::corpus();
    let start = Instant::now();
    namespace.run(|| {
        for n in 0..ROUNDS {
            let own = seed.wrapping_add(n as u64);
            let frames = FRAMES / ROUNDS;
            if let Err(first) = duel::round(&room, &format!("round-{n}"), own, frames, EVERY, &corpus) {
                // Again, looking at the counters after every frame: which one was it?
                let exact = duel::round(&room, &format!("again-{n}"), own, frames, 1, &corpus);
                let found =
                    exact.err().unwrap_or_else(|| format!("not found again; at first it was\n{first}"));
                panic!("host and kernel disagree, BULKHEAD_SEED={seed}, round {n}\n{found}");
            }
        }
    });
    let rate = FRAMES as f64 / start.elapsed().as_secs_f64();
    eprintln!("{FRAMES} frames, 0 disagreements, {rate:.0} frames/s, BULKHEAD_SEED={seed}");
}
