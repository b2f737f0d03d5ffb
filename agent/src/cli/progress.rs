//! A line on a terminal while something takes longer than a person expects.
//!
//! In: words and the work. Out: what the work gives; the line is gone by then. Nothing is shown when standard error is
//! no terminal.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does the work; after a second it says `what`, and for how long already.
pub(super) fn shown<T>(what: &str, work: impl FnOnce() -> T) -> T {
    watched(|| what.to_owned(), work)
}

/// The same for work that tells how far it is.
pub(super) fn watched<T>(what: impl Fn() -> String + Send, work: impl FnOnce() -> T) -> T {
    if std::io::stderr().is_terminal() { told(what, PATIENCE, std::io::stderr(), work) } else { work() }
}

fn told<T>(
    what: impl Fn() -> String + Send,
    patience: Duration,
    mut to: impl Write + Send,
    work: impl FnOnce() -> T,
) -> T {
    let started = Instant::now();
    thread::scope(|scope| {
        let (done, waiting) = channel::<()>();
        scope.spawn(move || {
            let mut said = false;
            // A terminal that cannot be written to is no reason to end the work.
            while waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                said = true;
                let _ = write!(to, "\r{}: {} s\u{1b}[K", what(), started.elapsed().as_secs());
                let _ = to.flush();
            }
            if said {
                let _ = write!(to, "\r\u{1b}[K");
                let _ = to.flush();
            }
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// Tells what is written to it.
    struct Screen(Sender<String>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn long_work_is_told_and_the_line_goes_with_it() {
        let (screen, seen): (_, Receiver<String>) = channel();
        let told = told(
            || "checking 3 files".to_owned(),
            Duration::from_millis(1),
            Screen(screen),
            || {
                let first = seen.recv().expect("the line begins while the work goes on");
                assert!(first.contains('\r'), "{first}");
                7
            },
        );
        let rest: String = seen.try_iter().collect();
        assert_eq!(told, 7);
        assert!(rest.contains("checking 3 files") && rest.ends_with("\u{1b}[K"), "{rest:?}");
    }

    #[test]
    fn short_work_is_not() {
        let (screen, seen) = channel();
        assert_eq!(told(|| "checking 3 files".to_owned(), Duration::from_secs(600), Screen(screen), || 7), 7);
        assert_eq!(seen.try_iter().count(), 0);
    }
}
