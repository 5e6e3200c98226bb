//! Frames off the socket: bytes are read in chunks, and a message is handed on when all of it is there.
//!
//! A length is checked, and counted as memory, before a byte of its message is read. The buffer for it is asked for at once,
//! but the machine gives its pages only as they are written to: a client that announces 64 MiB costs nothing until it sends
//! them.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use driftdb_engine::{Charge, Engine};
use driftdb_env::Clock;
use driftdb_types::{Error, SqlState};

use crate::frontend::{Frame, SMALL_MESSAGE_BYTES_MAX, body_bytes_max, unknown_type};

const CHUNK_BYTES: usize = 16 * 1024;
/// Messages up to this size are not counted: each connection may have one.
const FREE_BYTES: usize = CHUNK_BYTES;
/// How many copies of a message there are while it is acted on: itself, and what is decoded of it, which becomes a row.
const COPIES: usize = 3;

/// Why there is no next message.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client closed the connection, or it broke.
    Gone,
    /// The read timeout passed first. What had come of the message is kept.
    TimedOut,
    /// What came cannot be a message, and what follows cannot be framed any more.
    Malformed(Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ReadError::TimedOut,
            _ => ReadError::Gone,
        }
    }
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Input {
    stream: Arc<TcpStream>,
    /// Read, not yet taken.
    buffer: BytesMut,
    chunk: Box<[u8]>,
    message_bytes_max: usize,
    /// What large messages are counted against, once there is a session.
    engine: Option<Engine>,
    /// For the message that is being read.
    charge: Option<Charge>,
    /// There is no memory for the message that comes: its type, how much of it is to come, and why.
    unwanted: Option<(u8, usize, Error)>,
    clock: Arc<dyn Clock>,
    /// When, on the monotonic clock, waiting for bytes ends however often some came.
    deadline: Option<Duration>,
}

impl Input {
    pub(crate) fn new(stream: Arc<TcpStream>, message_bytes_max: usize, clock: Arc<dyn Clock>) -> Input {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Input {
            stream,
            buffer: BytesMut::new(),
            chunk,
            message_bytes_max,
            engine: None,
            charge: None,
            unwanted: None,
            clock,
            deadline: None,
        }
    }

    /// From now on messages of some size are counted as memory of transactions; one that has no room is refused.
    pub(crate) fn begin_session(&mut self, engine: Engine) {
        self.engine = Some(engine);
    }

    /// Bounds all waiting from now on together; `None` lifts the bound.
    pub(crate) fn set_deadline(&mut self, within: Option<Duration>) -> io::Result<()> {
        self.deadline = within.map(|within| self.clock.monotonic() + within);
        self.set_timeout(within)
    }

    /// Bounds every wait for bytes; `None` waits for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        // A timeout of zero would mean none.
        self.stream.set_read_timeout(timeout.map(|wait| wait.max(Duration::from_millis(1))))
    }

    /// Whether all of the next message is here already, so that [`Input::frame`] does not wait.
    pub(crate) fn has_frame(&self) -> bool {
        match self.head().filter(|_| self.unwanted.is_none()) {
            Some((_, length)) => usize::try_from(length).is_ok_and(|length| self.buffer.len() > length),
            None => false,
        }
    }

    /// The next message with a type byte.
    pub(crate) fn frame(&mut self) -> Result<Frame, ReadError> {
        self.frame_of(body_bytes_max)
    }

    /// The body of the next message, which must be an answer to an authentication request. Nothing else is read
    /// before the client has proved who it is.
    pub(crate) fn answer(&mut self) -> Result<Bytes, ReadError> {
        let only = |tag, _| (tag == b'p').then_some(SMALL_MESSAGE_BYTES_MAX);
        self.frame_of(only).map(|frame| frame.body)
    }

    fn frame_of(&mut self, bytes_max: impl Fn(u8, usize) -> Option<usize>) -> Result<Frame, ReadError> {
        let (tag, body_len) = loop {
            if let Some(frame) = self.skip_unwanted()? {
                return Ok(frame);
            }
            let Some((tag, length)) = self.head() else {
                self.fill(self.buffer.len() + 1)?;
                continue;
            };
            let Some(bytes_max) = bytes_max(tag, self.message_bytes_max) else {
                return Err(ReadError::Malformed(unknown_type(tag)));
            };
            let body_len = body_length(length, 4, bytes_max)?;
            match self.count(body_len) {
                Ok(()) => break (tag, body_len),
                Err(error) => {
                    self.buffer.advance(5);
                    self.unwanted = Some((tag, body_len, error));
                }
            }
        };
        // Growing by doubling would take up to three times as much while it is copied.
        self.buffer.reserve((5 + body_len).saturating_sub(self.buffer.len()));
        self.fill(5 + body_len)?;
        self.buffer.advance(5);
        let body = self.buffer.split_to(body_len).freeze();
        if self.buffer.is_empty() && body_len > FREE_BYTES {
            // What is left of it would keep the whole of a large message.
            self.buffer = BytesMut::new();
        }
        Ok(Frame { tag, body, charge: self.charge.take(), refused: None })
    }

    /// Counts the message that comes, once. 53200 when there is no memory for it.
    fn count(&mut self, body_len: usize) -> Result<(), Error> {
        if let (None, Some(engine), true) = (&self.charge, &self.engine, body_len > FREE_BYTES) {
            self.charge = Some(engine.charge(body_len.saturating_mul(COPIES))?);
        }
        Ok(())
    }

    /// Reads and drops a message there is no memory for, if there is one, and gives why in its place.
    fn skip_unwanted(&mut self) -> Result<Option<Frame>, ReadError> {
        while let Some((tag, left, error)) = self.unwanted.take() {
            let here = self.buffer.len().min(left);
            self.buffer.advance(here);
            if here == left {
                return Ok(Some(Frame { tag, body: Bytes::new(), charge: None, refused: Some(error) }));
            }
            self.unwanted = Some((tag, left - here, error));
            self.fill(1)?;
        }
        Ok(None)
    }

    /// Type and length of the next message, if they are here.
    fn head(&self) -> Option<(u8, i32)> {
        let mut head = self.buffer.as_ref();
        Some((head.try_get_u8().ok()?, head.try_get_i32().ok()?))
    }

    /// The next packet of the start of a connection, which has no type byte: its request code and the rest.
    pub(crate) fn startup_packet(&mut self) -> Result<(u32, Bytes), ReadError> {
        self.fill(4)?;
        let length = self.buffer.as_ref().get_i32();
        let body_len = body_length(length, 8, SMALL_MESSAGE_BYTES_MAX)?;
        self.fill(8 + body_len)?;
        self.buffer.advance(4);
        let code = self.buffer.get_u32();
        Ok((code, self.buffer.split_to(body_len).freeze()))
    }

    /// Reads until `wanted` bytes are buffered.
    fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        while self.buffer.len() < wanted {
            if let Some(deadline) = self.deadline {
                let left = deadline.checked_sub(self.clock.monotonic()).ok_or(ReadError::TimedOut)?;
                self.set_timeout(Some(left))?;
            }
            match (&*self.stream).read(&mut self.chunk) {
                Ok(0) => return Err(ReadError::Gone),
                Ok(count) => self.buffer.extend_from_slice(self.chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads and drops what the client still sends, up to a bound. Closing a socket with unread bytes resets the
    /// connection, and the reset may overtake the error message that says why.
    pub(crate) fn drain(&mut self) {
        const READS_MAX: usize = 64;
        if self.set_timeout(Some(Duration::from_millis(200))).is_err() {
            return;
        }
        for _ in 0..READS_MAX {
            match (&*self.stream).read(&mut self.chunk) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// The body's length out of a length field that counts itself and, with `counted`, what else is not body.
fn body_length(length: i32, counted: usize, bytes_max: usize) -> Result<usize, ReadError> {
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(counted));
    match body {
        Some(body) if body <= bytes_max => Ok(body),
        Some(body) => Err(ReadError::Malformed(Error::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("invalid message length: {body} bytes, where at most {bytes_max} are allowed"),
        ))),
        None => Err(ReadError::Malformed(Error::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("invalid message length: {length}"),
        ))),
    }
}
