//! Developer builds only: what the BPF program logs, on standard error.

use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;

/// How often the program's log is read.
const EVERY: Duration = Duration::from_millis(100);

/// Prints the program's log for as long as the runtime lives. Without one (in a test, say) nothing is read.
pub(super) fn start(ebpf: &mut Ebpf) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    match EbpfLogger::init(ebpf) {
        Ok(mut logger) => {
            runtime.spawn(async move {
                let mut tick = tokio::time::interval(EVERY);
                loop {
                    tick.tick().await;
                    logger.flush();
                }
            });
        }
        Err(error) => tracing::warn!("the program's log cannot be read: {error}"),
    }
}
