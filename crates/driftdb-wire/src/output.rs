//! The writing half of a connection: messages are gathered and go out in one write, when the protocol says so (Sync,
//! Flush, ReadyForQuery) or when the bound of the buffer is reached. A client that does not read thus holds its
//! statement back: that is the backpressure on results.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::startup::ParameterStatus;

use driftdb_types::Error;

/// The buffer is written out when it holds this much.
const FLUSH_BYTES: usize = 32 * 1024;
/// A buffer that one large row has blown up beyond this is given back.
const KEEP_BYTES: usize = 128 * 1024;
/// Most bytes of a text in an error, a notice or a parameter: a value of many megabytes may stand in it. pgwire's
/// encoder, as libpq, takes 30,000 bytes for a parameter.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// How bad an error is for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed, the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Output {
    stream: Arc<TcpStream>,
    buffer: BytesMut,
}

impl Output {
    pub(crate) fn new(stream: Arc<TcpStream>) -> Output {
        Output { stream, buffer: BytesMut::with_capacity(4096) }
    }

    /// Bounds every wait for the client to take bytes; `None` waits for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout.map(|wait| wait.max(Duration::from_millis(1))))
    }

    /// Says no to a request for encryption: one byte, outside of any message.
    pub(crate) fn refuse_encryption(&self) -> io::Result<()> {
        (&*self.stream).write_all(b"N")
    }

    /// Adds a message.
    pub(crate) fn send(&mut self, message: &impl Message) -> io::Result<()> {
        let start = self.buffer.len();
        if let Err(error) = message.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.flush_if_full()
    }

    /// The buffer, to encode rows into; call [`Output::flush_if_full`] after each.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, severity: Severity, error: &Error) -> io::Result<()> {
        let severity = match severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        let mut fields = fields(severity, error.state.code(), &error.message);
        let optional =
            [(b'D', error.detail.clone()), (b'H', error.hint.clone()), (b'P', error.position.map(|at| at.to_string()))];
        let subject = error.subject.as_deref().cloned().unwrap_or_default();
        let subject = [
            (b's', subject.schema),
            (b't', subject.table),
            (b'c', subject.column),
            (b'n', subject.constraint),
            (b'R', subject.routine.map(str::to_owned)),
        ];
        for (code, text) in optional.into_iter().chain(subject) {
            if let Some(text) = text {
                fields.push((code, field(&text)));
            }
        }
        self.send(&ErrorResponse::new(fields))
    }

    /// Adds a notice: `severity` is WARNING, NOTICE, INFO, LOG or DEBUG.
    pub(crate) fn notice(&mut self, severity: &str, state: &str, message: &str) -> io::Result<()> {
        self.send(&NoticeResponse::new(fields(severity, state, message)))
    }

    /// Adds the value of a setting that clients are told of. One that is too long for that is told cut.
    pub(crate) fn parameter(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.send(&ParameterStatus::new(field(name), field(value)))
    }

    /// Writes the buffer out if it has reached its bound.
    pub(crate) fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the buffer out.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = (&*self.stream).write_all(&self.buffer);
        if self.buffer.capacity() > KEEP_BYTES {
            self.buffer = BytesMut::with_capacity(FLUSH_BYTES);
        } else {
            self.buffer.clear();
        }
        written
    }
}

fn fields(severity: &str, state: &str, message: &str) -> Vec<(u8, String)> {
    vec![
        (b'S', severity.to_owned()),
        // The same, never translated.
        (b'V', severity.to_owned()),
        (b'C', state.to_owned()),
        (b'M', field(message)),
    ]
}

/// A text that can stand in a field: without zero bytes, which would end it, and not without bound.
fn field(text: &str) -> String {
    let mut end = text.len().min(FIELD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = text.get(..end).unwrap_or_default().replace('\0', "\\0");
    if end < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_no_zero_bytes_and_an_end() {
        assert_eq!(field("a\0b"), "a\\0b");
        let long = "ä".repeat(FIELD_BYTES_MAX);
        assert!(field(&long).len() <= FIELD_BYTES_MAX + '…'.len_utf8());
    }
}
