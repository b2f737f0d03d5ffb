//! Answers that take their time, on threads of their own: the loop goes on meanwhile.

use std::{io, sync::mpsc::sync_channel, thread};

use tokio::sync::oneshot;

use super::agent::world;
use crate::control::Reply;

/// Does the work on a thread of this name, and sends its answer. Where the system has no thread to give, that is the answer.
pub(super) fn answer(
    name: &str,
    back: oneshot::Sender<Reply>,
    work: impl FnOnce() -> Reply + Send + 'static,
) {
    answer_with(name, back, work, |builder, thread| builder.spawn(thread).map(drop));
}

type Thread = Box<dyn FnOnce() + Send>;

fn answer_with(
    name: &str,
    back: oneshot::Sender<Reply>,
    work: impl FnOnce() -> Reply + Send + 'static,
    spawn: impl FnOnce(thread::Builder, Thread) -> io::Result<()>,
) {
    // A thread that is not made takes with it all that it was given.
    let (give, take) = sync_channel::<(oneshot::Sender<Reply>, _)>(1);
    let thread = Box::new(move || {
        let Ok((back, work)) = take.recv() else { return };
        let work: Box<dyn FnOnce() -> Reply + Send> = work;
        // Whoever asked may have left.
        drop(back.send(work()));
    });
    match spawn(thread::Builder::new().name(name.to_owned()), thread) {
        // It waits for this, and there is room.
        Ok(()) => drop(give.send((back, Box::new(work)))),
        Err(error) => {
            let why =
                format!("the system has no thread for the answer: {error}\nhint: try again in a moment");
            drop(back.send(Reply::Error(world(why))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply::Error(world("done"))
    }

    #[test]
    fn work_is_done_and_answered() {
        let (back, mut answered) = oneshot::channel();
        let (name, named) = sync_channel(1);
        answer("told", back, move || {
            name.send(thread::current().name().map(str::to_owned)).expect("there is room");
            reply()
        });
        assert_eq!(named.recv().expect("it runs").as_deref(), Some("told"));
        let answered =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(&mut answered);
        assert!(matches!(answered, Ok(Reply::Error(failure)) if failure.message == "done"));
    }

    #[test]
    fn system_without_threads_is_the_answer() {
        let (back, mut answered) = oneshot::channel();
        answer_with("told", back, reply, |_, _| Err(io::Error::from_raw_os_error(libc::EAGAIN)));
        let Ok(Reply::Error(failure)) = answered.try_recv() else { panic!("an answer") };
        assert!(failure.message.starts_with("the system has no thread"), "{}", failure.message);
    }
}
