//! Asks the agent what `top` wants to know. In: what is to be done, and the control socket. Out: inputs for the state.

use std::{path::Path, sync::mpsc, time::Instant};

use super::state::{Act, Input, Seen};
use crate::{
    control::{
        Body, Request,
        client::{self, ClientError},
    },
    model::Mode,
};

/// What may wait to be done.
pub(super) const JOBS: usize = 4;
/// Conversations and violations that are looked at: more than fit on a screen.
const LAST: usize = 100;
/// What is recorded as the reason of a change.
const REASON: &str = "from `bulkhead top`";

/// Something to do, and when the screen began.
pub(super) type Job = (Instant, Act);

/// Works until the screen has ended.
pub(super) fn work(socket: &Path, jobs: &mpsc::Receiver<Job>, done: &mpsc::SyncSender<Input>) {
    for (begun, act) in jobs {
        let input = match act {
            Act::Quit => return,
            Act::Look { of } => match look(socket, begun, of) {
                Ok(seen) => Input::Seen(Box::new(seen)),
                Err(error) => Input::Failed(first_line(&error)),
            },
            Act::Explain { id } => match client::ask(socket, &Request::Explain { id }) {
                Ok(Body::Explained(explained)) => Input::Explained(explained),
                Ok(other) => Input::Said(super::super::unexpected(&other).to_string()),
                Err(error) => Input::Said(first_line(&error)),
            },
            Act::Change { device, mode } => {
                let reason = Some(REASON.to_owned());
                changed(socket, &Request::Mode { device, mode: Mode::name(mode).to_owned(), reason })
            }
            Act::Release { device } => {
                changed(socket, &Request::Release { device, reason: Some(REASON.to_owned()) })
            }
        };
        if done.send(input).is_err() {
            return;
        }
    }
}

fn look(socket: &Path, begun: Instant, of: Option<String>) -> Result<Seen, ClientError> {
    let at = begun.elapsed();
    let Body::Status(status) = client::ask(socket, &Request::Status)? else { return Err(strange()) };
    let Body::Devices(devices) = client::ask(socket, &Request::Devices)? else { return Err(strange()) };
    // Somebody else may be reading them, or the device may be gone: what was seen before stays.
    let flows = of.and_then(|of| {
        let answer = client::ask(socket, &Request::Flows { of: Some(of.clone()), last: LAST });
        if let Ok(Body::Flows(flows)) = answer { Some((of, flows)) } else { None }
    });
    let mut violations = Vec::new();
    let mut answers = client::send(socket, &Request::Violations { last: LAST, follow: false })?;
    while let Some(Body::Violation(record)) = answers.next_body()? {
        violations.push(record);
    }
    violations.reverse();
    Ok(Seen { at, status: *status, devices, flows, violations })
}

fn changed(socket: &Path, request: &Request) -> Input {
    Input::Done(match client::ask(socket, request) {
        Ok(Body::Applied(applied)) => applied.notes.join("; "),
        Ok(other) => super::super::unexpected(&other).to_string(),
        Err(error) => first_line(&error),
    })
}

fn strange() -> ClientError {
    ClientError::Broken(std::io::Error::other("it answered something else"))
}

/// There is one line for it.
fn first_line(error: &ClientError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
