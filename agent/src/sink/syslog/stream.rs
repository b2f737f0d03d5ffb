//! A stream to a receiver, plain or TLS, that knows how many bytes it has given to the kernel.
//!
//! Whatever it waits for has one bound over all of it: a peer that moves a byte just before each wait is over would hold it for
//! ever.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustls::ClientConnection;

/// A plain stream.
pub(super) struct Counted {
    socket: TcpStream,
    written: u64,
    /// Until when what is under way may take.
    until: Option<Instant>,
}

/// Either stream.
pub(super) enum Stream {
    Plain(Counted),
    Tls(Box<rustls::StreamOwned<ClientConnection, Counted>>),
}

impl Counted {
    /// What is left of the time; `None` when there is no bound.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => Err(late()),
            left => Ok(left),
        }
    }

    /// A socket with a time limit says that it would block when the time is over (socket(7), SO_SNDTIMEO).
    fn in_time(&self, result: io::Result<usize>) -> io::Result<usize> {
        result.map_err(|error| match self.until {
            Some(_) if error.kind() == io::ErrorKind::WouldBlock => late(),
            Some(_) | None => error,
        })
    }
}

/// The time is over.
fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not go on in time")
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.socket.set_read_timeout(Some(left))?;
        }
        let read = self.socket.read(buffer);
        self.in_time(read)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.socket.set_write_timeout(Some(left))?;
        }
        let written = self.socket.write(bytes);
        let written = self.in_time(written)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Stream {
    /// Of a connected socket; with TLS, after its handshake, all of which takes at most a time.
    pub(super) fn begin(
        socket: TcpStream,
        tls: Option<ClientConnection>,
        within: Duration,
    ) -> io::Result<Self> {
        let mut counted = Counted { socket, written: 0, until: None };
        let Some(mut client) = tls else { return Ok(Self::Plain(counted)) };
        counted.until = Some(Instant::now() + within);
        while client.is_handshaking() {
            client.complete_io(&mut counted)?;
        }
        counted.until = None;
        Ok(Self::Tls(Box::new(rustls::StreamOwned::new(client, counted))))
    }

    /// Gives everything to the kernel, all of it within a time.
    pub(super) fn write_all(&mut self, bytes: &[u8], within: Duration) -> io::Result<()> {
        self.counted_mut().until = Some(Instant::now() + within);
        match self {
            Self::Plain(stream) => stream.write_all(bytes)?,
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush())?,
        }
        self.counted_mut().until = None;
        Ok(())
    }

    /// Bytes given to the kernel so far.
    pub(super) fn written(&self) -> u64 {
        self.counted().written
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.counted().socket.as_fd()
    }

    /// Whether the peer has ended the stream, without waiting. What it says is not for us: syslog goes one way.
    pub(super) fn is_ended(&mut self) -> io::Result<bool> {
        self.counted().socket.set_nonblocking(true)?;
        let ended = self.is_ended_by_now();
        self.counted().socket.set_nonblocking(false)?;
        ended
    }

    /// Whether the peer, which has ended the stream, has closed its connection too, in order; it may take a time.
    pub(super) fn is_closed(&mut self, within: Duration) -> io::Result<bool> {
        // The end of TLS may be written by a peer that has not read everything: the end of TCP counts.
        let Self::Tls(stream) = self else { return Ok(true) };
        stream.sock.until = Some(Instant::now() + within);
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            if stream.sock.read(&mut buffer)? == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_ended_by_now(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        // A peer that talks on and on does not hold us up.
        for _ in 0..16 {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Says that nothing follows and waits until the peer has closed the connection too: whether it has, in order. Linux
    /// closes so only when nothing unread is left; else it resets the connection, which is an error here.
    pub(super) fn finish(&mut self, within: Duration) -> io::Result<bool> {
        self.counted_mut().until = Some(Instant::now() + within);
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.counted().socket.shutdown(std::net::Shutdown::Write)?;
        Ok(self.is_ended_by_now()? && self.is_closed(within)?)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // A peer that ends TCP and not TLS before has ended all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }

    fn counted(&self) -> &Counted {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn counted_mut(&mut self) -> &mut Counted {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}
