//! The asking side of the control socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Body, Failure, MAX_LINE, Reply, Request};

/// The agent could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent answers on `{}`: {source}\nhint: is `bulkhead run` running, and may you use its socket?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It listens and says nothing.
    #[error("the agent does not answer: stopped or overloaded")]
    Silent,
    /// The connection broke.
    #[error("the agent stopped answering: {0}")]
    Broken(#[from] io::Error),
    /// The other side speaks another language, for example another version.
    #[error(
        "the agent's answer was not understood: {0}\nhint: `bulkhead --version` and `bulkhead status` should name the same version"
    )]
    Language(#[from] serde_json::Error),
    /// A change was asked for, and nobody knows what became of it.
    #[error(
        "the agent was asked for a change and {0}: the change may be in force, or still come in force\nhint: `bulkhead status` tells what is in force, `bulkhead revisions` and `bulkhead audit-log` what was changed last"
    )]
    Unsure(String),
    /// The agent refused.
    #[error("{}", .0.message)]
    Refused(Failure),
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// After which somebody who waits is told so.
    quiet: Duration,
    /// After which nobody waits any more.
    whole: Duration,
}

/// A large policy takes a second to look at.
const TO_LOOK: Patience = Patience { quiet: Duration::from_secs(5), whole: Duration::from_secs(10) };

/// To give up on a change is worse than to wait for it.
const TO_CHANGE: Patience = Patience { quiet: Duration::from_secs(5), whole: Duration::from_secs(60) };

fn is_over(error: &io::Error) -> bool {
    // Linux says the former when a socket's time is over.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn broken(error: io::Error) -> ClientError {
    if is_over(&error) { ClientError::Silent } else { ClientError::Broken(error) }
}

impl Request {
    /// Whether it may change what is enforced: who hears no answer to it does not know what is in force.
    fn changes(&self) -> bool {
        match self {
            Self::Mode { .. }
            | Self::Release { .. }
            | Self::Apply { .. }
            | Self::Confirm { .. }
            | Self::Rollback { .. }
            | Self::ShadowSet { .. }
            | Self::ShadowClear { .. }
            | Self::Acknowledge { .. }
            | Self::Advance { .. }
            | Self::StepBack { .. }
            | Self::Accept { .. } => true,
            Self::Status
            | Self::Devices
            | Self::Rules
            | Self::Violations { .. }
            | Self::Explain { .. }
            | Self::Flows { .. }
            | Self::Why { .. }
            | Self::Plan { .. }
            | Self::Revisions
            | Self::Rollout
            | Self::Shadow
            | Self::InForce { .. }
            | Self::Inventory { .. }
            | Self::Drift => false,
        }
    }
}

/// Answers as they arrive.
pub struct Answers {
    lines: BufReader<UnixStream>,
}

/// Sends one request.
///
/// # Errors
/// [`ClientError::Connect`] when there is no agent.
pub fn send(socket: &Path, request: &Request) -> Result<Answers, ClientError> {
    send_within(socket, request, TO_LOOK.whole)
}

fn send_within(socket: &Path, request: &Request, patience: Duration) -> Result<Answers, ClientError> {
    let connect = |source| ClientError::Connect { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(connect)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&line).map_err(broken)?;
    Ok(Answers { lines: BufReader::new(stream) })
}

/// Sends one request and returns its one answer.
///
/// # Errors
/// [`ClientError`].
pub fn ask(socket: &Path, request: &Request) -> Result<Body, ClientError> {
    ask_and_wait(socket, request, |_| {})
}

/// The same; `still` is called when the answer takes long, with the time for which it is waited for from then on. A change
/// is waited for longer than a look.
///
/// # Errors
/// [`ClientError`]; [`ClientError::Unsure`] when a change was sent and no answer came.
pub fn ask_and_wait(
    socket: &Path,
    request: &Request,
    still: impl FnOnce(Duration),
) -> Result<Body, ClientError> {
    let patience = if request.changes() { TO_CHANGE } else { TO_LOOK };
    asked(socket, request, patience, still)
}

fn asked(
    socket: &Path,
    request: &Request,
    patience: Patience,
    still: impl FnOnce(Duration),
) -> Result<Body, ClientError> {
    let mut answers = send_within(socket, request, patience.whole)?;
    let ended = answers.within(patience, still).and_then(|body| {
        body.ok_or_else(|| {
            ClientError::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"))
        })
    });
    match ended {
        Err(ClientError::Silent) if request.changes() => {
            let waited = patience.whole.as_secs();
            Err(ClientError::Unsure(format!("has not answered for {waited} s")))
        }
        Err(ClientError::Broken(error)) if request.changes() => {
            Err(ClientError::Unsure(format!("stopped answering ({error})")))
        }
        ended => ended,
    }
}

impl Answers {
    /// From now on waits as long as it takes: records come when something happens.
    ///
    /// # Errors
    /// When the connection cannot be changed.
    pub fn patiently(&mut self) -> io::Result<()> {
        self.lines.get_ref().set_read_timeout(None)
    }

    /// The next answer; `None` when the agent has said all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn next_body(&mut self) -> Result<Option<Body>, ClientError> {
        let mut line = Vec::new();
        self.read(&mut line).map_err(broken)?;
        body(&line)
    }

    /// The next answer, and a word to whoever waits for it.
    fn within(
        &mut self,
        patience: Patience,
        still: impl FnOnce(Duration),
    ) -> Result<Option<Body>, ClientError> {
        let Patience { quiet, whole } = patience;
        let mut line = Vec::new();
        let wait = |answers: &Self, time| answers.lines.get_ref().set_read_timeout(Some(time));
        wait(self, quiet)?;
        match self.read(&mut line) {
            Ok(()) => {}
            Err(error) if is_over(&error) => {
                let left = whole.saturating_sub(quiet);
                still(left);
                wait(self, left)?;
                // What has come of the line is in it.
                self.read(&mut line).map_err(broken)?;
            }
            Err(error) => return Err(broken(error)),
        }
        body(&line)
    }

    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let left = MAX_LINE.saturating_sub(line.len());
        self.lines.by_ref().take(left as u64).read_until(b'\n', line).map(|_| ())
    }
}

fn body(line: &[u8]) -> Result<Option<Body>, ClientError> {
    if line.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(line)? {
        Reply::Ok(body) => Ok(Some(*body)),
        Reply::Error(failure) => Err(ClientError::Refused(failure)),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    const SHORT: Patience = Patience { quiet: Duration::from_millis(50), whole: Duration::from_millis(100) };
    const LONG: Patience = Patience { quiet: Duration::from_millis(50), whole: Duration::from_secs(60) };

    /// Asks an agent that does `act` with the connection once it has read the request, and counts the words on the way.
    fn answer(
        request: &Request,
        patience: Patience,
        act: impl FnOnce(UnixStream) + Send,
    ) -> (Result<Body, ClientError>, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        thread::scope(|scope| {
            scope.spawn(move || {
                let (stream, _) = listener.accept().expect("somebody asks");
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).expect("a request");
                act(stream);
            });
            let mut words = 0;
            let answer = asked(&path, request, patience, |_| words += 1);
            (answer, words)
        })
    }

    #[test]
    fn who_asked_for_a_change_and_hears_nothing_is_told_that_it_may_come() {
        let change = Request::Confirm { reason: None };
        // Held open until the asker has left.
        let hold = |mut stream: UnixStream| drop(stream.read(&mut [0]));
        let (ended, words) = answer(&change, SHORT, hold);
        let text = ended.expect_err("no answer").to_string();
        assert!(text.contains("still come in force") && text.contains("hint: `bulkhead status`"), "{text}");
        assert_eq!(words, 1);
        let (ended, _) = answer(&change, SHORT, drop);
        assert!(matches!(ended, Err(ClientError::Unsure(_))), "{ended:?}");
        let (ended, _) = answer(&Request::Status, SHORT, hold);
        assert!(matches!(ended, Err(ClientError::Silent)), "{ended:?}");
    }

    #[test]
    fn an_answer_that_takes_long_is_waited_for() {
        let (halves, told) = std::sync::mpsc::channel::<()>();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("somebody asks");
                // Half of it, and the rest only when the asker was told that it takes long.
                stream.write_all(b"{\"ok\":").expect("read");
                told.recv().expect("it is told");
                stream.write_all(b"\"end\"}\n").expect("read");
            });
            let request = Request::Confirm { reason: None };
            let ended = asked(&path, &request, LONG, |left| {
                assert!(left > Duration::from_secs(50));
                halves.send(()).expect("it waits");
            });
            assert!(matches!(ended, Ok(Body::End)), "{ended:?}");
        });
    }
}
