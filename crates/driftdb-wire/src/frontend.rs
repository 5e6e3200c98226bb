//! What a client sends: typed messages out of frames.
//!
//! Decoding is ours rather than pgwire's, whose decoders trust the length fields inside a message: a body that ends
//! early reads on into the next message or panics in `bytes`, and text that is not UTF-8 is silently replaced. Here a
//! frame is cut off first ([`crate::input`]), every read is checked against its end, bytes left over are an error,
//! and so is text in another encoding. (PostgreSQL manual, chapter 55.7 "Message Formats".)

use bytes::{Buf, Bytes};
use driftdb_engine::Charge;
use driftdb_types::{Error, Result, SqlState};

/// Most bytes of a message that only carries a name or nothing, and of everything before authentication (PostgreSQL's
/// `PQ_SMALL_MESSAGE_LIMIT`).
pub(crate) const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// One whole message as it came: its type byte and the body without type and length.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
    /// For a large body and what is made of it.
    pub(crate) charge: Option<Charge>,
    /// There was no memory for the body, which was not kept.
    pub(crate) refused: Option<Error>,
}

/// What Describe and Close are about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

/// A client's message after authentication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        param_oids: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Close(Target),
    /// `rows_max` of 0 or less means all.
    Execute {
        portal: String,
        rows_max: i32,
    },
    Flush,
    Sync,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    FunctionCall,
    /// An authentication answer; after authentication it is out of place.
    Password,
    Terminate,
}

/// A Bind message: formats are given for none, all or each of the values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) param_formats: Vec<i16>,
    pub(crate) params: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<i16>,
}

/// Most bytes the body of a message of this type may have, or `None` if there is no such type.
pub(crate) fn body_bytes_max(tag: u8, message_bytes_max: usize) -> Option<usize> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(message_bytes_max),
        b'D' | b'C' | b'E' | b'H' | b'S' | b'c' | b'f' | b'X' | b'p' => {
            Some(SMALL_MESSAGE_BYTES_MAX.min(message_bytes_max))
        }
        _ => None,
    }
}

/// Whether messages of this type belong to the extended protocol: after an error in one, everything up to Sync is
/// skipped; an error in any other is followed by ReadyForQuery at once.
pub(crate) fn is_extended(tag: u8) -> bool {
    matches!(tag, b'P' | b'B' | b'D' | b'C' | b'E' | b'H' | b'S')
}

/// Decodes a frame whose type [`body_bytes_max`] knows.
pub(crate) fn decode(frame: Frame) -> Result<Message> {
    if let Some(error) = frame.refused {
        return Err(error);
    }
    let mut body = Body(frame.body);
    let message = match frame.tag {
        b'Q' => Message::Query(body.string()?),
        b'P' => {
            let (name, sql) = (body.string()?, body.string()?);
            let count = body.count()?;
            let param_oids = (0..count).map(|_| body.u32()).collect::<Result<_>>()?;
            Message::Parse { name, sql, param_oids }
        }
        b'B' => Message::Bind(body.bind()?),
        b'D' => Message::Describe(body.target()?),
        b'C' => Message::Close(body.target()?),
        b'E' => Message::Execute { portal: body.string()?, rows_max: body.i32()? },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'd' => return Ok(Message::CopyData(body.0)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(body.string()?),
        b'F' => return Ok(Message::FunctionCall),
        b'p' => return Ok(Message::Password),
        b'X' => return Ok(Message::Terminate),
        tag => return Err(unknown_type(tag)),
    };
    body.finish()?;
    Ok(message)
}

/// The error for a type byte that no message has. It is fatal: what follows cannot be framed.
pub(crate) fn unknown_type(tag: u8) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}"))
}

/// The error for a body that does not have the shape of its message.
pub(crate) fn malformed(what: &str) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, format!("invalid message format: {what}"))
}

/// The rest of a message body; every read is checked.
pub(crate) struct Body(pub(crate) Bytes);

impl Body {
    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| ends_early())
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.0.try_get_i16().map_err(|_| ends_early())
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.0.try_get_i32().map_err(|_| ends_early())
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| ends_early())
    }

    /// A 16-bit number of things. Unsigned, as PostgreSQL reads it: a statement may have 65,535 parameters.
    fn count(&mut self) -> Result<u16> {
        self.0.try_get_u16().map_err(|_| ends_early())
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<Bytes> {
        if length > self.0.len() {
            return Err(ends_early());
        }
        Ok(self.0.split_to(length))
    }

    /// A zero-terminated string.
    pub(crate) fn string(&mut self) -> Result<String> {
        let length = self.0.iter().position(|&byte| byte == 0).ok_or_else(|| malformed("a string has no end"))?;
        let text = self.0.split_to(length);
        self.0.advance(1);
        utf8(&text).map(str::to_owned)
    }

    fn formats(&mut self) -> Result<Vec<i16>> {
        let count = self.count()?;
        (0..count).map(|_| self.i16()).collect()
    }

    /// A value with its length, -1 for NULL.
    pub(crate) fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.bytes(length).map(Some),
                Err(_) => Err(malformed("a value's length is negative")),
            },
        }
    }

    fn bind(&mut self) -> Result<Bind> {
        let (portal, statement) = (self.string()?, self.string()?);
        let param_formats = self.formats()?;
        let count = self.count()?;
        let params = (0..count).map(|_| self.value()).collect::<Result<_>>()?;
        Ok(Bind { portal, statement, param_formats, params, result_formats: self.formats()? })
    }

    fn target(&mut self) -> Result<Target> {
        match self.u8()? {
            b'S' => Ok(Target::Statement(self.string()?)),
            b'P' => Ok(Target::Portal(self.string()?)),
            other => Err(malformed(&format!("{other} is neither a statement nor a portal"))),
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("it is longer than its content")) }
    }
}

fn ends_early() -> Error {
    malformed("it ends early")
}

/// Bytes as text, or the error for bytes that are not UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let bad = bytes.get(error.valid_up_to()..).unwrap_or_default();
        let shown: Vec<String> = bad.iter().take(4).map(|byte| format!("{byte:#04x}")).collect();
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftdb_env::{Rand, SimRand};

    fn frame(tag: u8, body: &[u8]) -> Frame {
        Frame { tag, body: Bytes::copy_from_slice(body), charge: None, refused: None }
    }

    #[test]
    fn bind_reads_every_part() {
        let body = b"p\0s\0\x00\x01\x00\x01\x00\x02\x00\x00\x00\x02hi\xff\xff\xff\xff\x00\x01\x00\x00";
        let expected = Bind {
            portal: "p".into(),
            statement: "s".into(),
            param_formats: vec![1],
            params: vec![Some(Bytes::from_static(b"hi")), None],
            result_formats: vec![0],
        };
        assert_eq!(decode(frame(b'B', body)).unwrap(), Message::Bind(expected));
    }

    #[test]
    fn every_cut_of_a_message_is_refused() {
        let whole: [(u8, &[u8]); 6] = [
            (b'Q', b"select 1\0"),
            (b'P', b"s\0select $1\0\x00\x01\x00\x00\x00\x17"),
            (b'B', b"\0s\0\x00\x00\x00\x01\x00\x00\x00\x011\x00\x01\x00\x01"),
            (b'D', b"Sname\0"),
            (b'E', b"portal\0\x00\x00\x00\x05"),
            (b'f', b"no more\0"),
        ];
        for (tag, body) in whole {
            decode(frame(tag, body)).unwrap();
            for end in 0..body.len() {
                let error = decode(frame(tag, &body[..end])).unwrap_err();
                assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION, "{} cut at {end}", char::from(tag));
            }
            let longer = [body, b"x"].concat();
            assert_eq!(decode(frame(tag, &longer)).unwrap_err().state, SqlState::PROTOCOL_VIOLATION);
        }
    }

    #[test]
    fn a_negative_length_other_than_null_is_refused() {
        let body = b"\0\0\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00";
        assert_eq!(decode(frame(b'B', body)).unwrap_err().state, SqlState::PROTOCOL_VIOLATION);
    }

    /// Whatever the bytes, there is an answer; the seed is fixed.
    #[test]
    fn random_bodies_are_decoded_or_refused() {
        let rand = SimRand::new(7);
        let (mut decoded, mut refused) = (0, 0);
        for _ in 0..50_000 {
            let mut body = vec![0; usize::try_from(rand.below(24)).unwrap()];
            rand.fill(&mut body);
            // Small numbers and ends of strings are what lengths and counts are made of.
            for byte in &mut body {
                *byte = if *byte < 150 { *byte % 3 } else { *byte };
            }
            let tag = b"QPBDECHSdcfFpX"[usize::try_from(rand.below(14)).unwrap()];
            match decode(Frame { tag, body: Bytes::from(body), charge: None, refused: None }) {
                Ok(_) => decoded += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(decoded > 1000 && refused > 1000, "{decoded} {refused}");
    }

    #[test]
    fn text_in_another_encoding_is_named() {
        let error = decode(frame(b'Q', b"select '\xe4\xf6'\0")).unwrap_err();
        assert_eq!(error.state, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert!(error.message.contains("0xe4 0xf6"), "{}", error.message);
    }
}
