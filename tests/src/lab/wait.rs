//! Waiting with a deadline and an end on ctrl-c, so that no helper sleeps and hopes and no lab hangs.
//!
//! In: a question asked again and again. Out: its answer, or what was waited for in vain.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// How often a question is asked that has no event to wait on (a file grows, a process ends).
const ASK_EVERY: Duration = Duration::from_millis(5);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes the first SIGINT or SIGTERM end every wait of the lab with an error, so that values are dropped in order.
/// The second one ends the process at once (exit code 130), which leaves nothing behind either.
pub fn on_interrupt() -> Result<()> {
    let seen = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the shutdown looks at the flag before the second handler sets it.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(seen))
            .and_then(|_| flag::register(signal, Arc::clone(seen)))
            .with_context(|| format!("failed to handle signal {signal}"))?;
    }
    Ok(())
}

/// Whether [`on_interrupt`] has seen a signal.
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|seen| seen.load(Ordering::Relaxed))
}

/// Fails once a signal has been seen: called between steps that do not wait.
pub fn check_interrupt() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// Lets time pass in which something is measured. Fails when it was interrupted.
pub fn pass(how_long: Duration) -> Result<()> {
    check_interrupt()?;
    thread::sleep(how_long);
    check_interrupt()
}

/// Asks until the answer is `Some`. Fails after `within`, naming `what`, and at once when the answer is an error.
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        check_interrupt()?;
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} ms in vain for {what}", within.as_millis());
        }
        thread::sleep(ASK_EVERY);
    }
}
