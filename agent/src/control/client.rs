//! The asking side of the control socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
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
    stream.write_all(&line)?;
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
    /// The next answer; `None` when the agent has said all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn next_body(&mut self) -> Result<Option<Body>, ClientError> {
        let mut line = Vec::new();
        self.lines.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&line)? {
            Reply::Ok(body) => Ok(Some(*body)),
            Reply::Error(failure) => Err(ClientError::Refused(failure)),
        }
    }
}
