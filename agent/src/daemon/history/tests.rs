//! The end of the thread, told or waited for.

use std::sync::mpsc::RecvTimeoutError;

use super::*;

/// A keeper whose thread does this.
fn keeper(its: impl FnOnce(&Receiver<Said>, &AtomicBool) + Send + 'static) -> HistoryKeeper {
    let ((tell, said), (finished, done)) = (sync_channel(1), sync_channel(1));
    let ends: Arc<AtomicBool> = Arc::default();
    let its_end = Arc::clone(&ends);
    thread::spawn(move || {
        its(&said, &its_end);
        let _ = finished.send(());
    });
    let (beats, shadow, missed, status) = Default::default();
    HistoryKeeper { beats, shadow, tell, missed, status, ends, done, collector: None }
}

#[test]
fn death_of_the_thread_is_told() {
    let (tell, heard) = sync_channel::<()>(1);
    let failing = keeper(move |_, _| {
        let _ = heard.recv();
        panic!("on purpose");
    });
    assert_eq!(failing.status().problem, None);
    failing.missed.store(7, Ordering::Relaxed);
    tell.send(()).expect("it waits");
    // Its end of the channel goes when it is done with.
    assert_eq!(failing.done.recv_timeout(LAST_WRITE), Err(RecvTimeoutError::Disconnected));
    let status = failing.status();
    assert!(status.problem.is_some_and(|problem| problem.contains("has failed")));
    assert_eq!(status.refused, 7);
}

#[test]
fn end_is_heard_behind_a_full_queue() {
    let (tell, heard) = sync_channel::<()>(1);
    let busy = keeper(move |said, ends| {
        let _ = heard.recv();
        assert!(matches!(said.recv(), Ok(Said::Denied(_))));
        assert!(ends.load(Ordering::Acquire));
    });
    busy.tell.send(Said::Denied(Vec::new())).expect("room for one");
    thread::scope(|scope| {
        let end = scope.spawn(|| {
            while !busy.ends.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            tell.send(())
        });
        busy.finish();
        end.join().expect("it ends").expect("it waits");
    });
    // It has said so once, and is gone.
    assert_eq!(busy.done.recv_timeout(LAST_WRITE), Err(RecvTimeoutError::Disconnected));
}
