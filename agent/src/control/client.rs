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
    /// The agent refused.
    #[error("{}", .0.message)]
    Refused(Failure),
}

/// How long an answer may take. A large policy takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

fn broken(error: io::Error) -> ClientError {
    // Linux says the former when a socket's time is over.
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        ClientError::Silent
    } else {
        ClientError::Broken(error)
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
    let connect = |source| ClientError::Connect { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(connect)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line).map_err(broken)?;
    Ok(Answers { lines: BufReader::new(stream) })
}

/// Sends one request and returns its one answer.
///
/// # Errors
/// [`ClientError`].
pub fn ask(socket: &Path, request: &Request) -> Result<Body, ClientError> {
    send(socket, request)?.next_body()?.ok_or_else(|| {
        ClientError::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"))
    })
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
        self.lines.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line).map_err(broken)?;
        if line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&line)? {
            Reply::Ok(body) => Ok(Some(*body)),
            Reply::Error(failure) => Err(ClientError::Refused(failure)),
        }
    }
}
