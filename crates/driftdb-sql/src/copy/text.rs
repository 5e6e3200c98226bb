//! The text format's records: fields between delimiters, backslash escapes, a line end after each record.
//!
//! A backslash followed by a line end is that line end as data, so a record may span lines; a lone `\.` on a line ends
//! the data. Which of LF, CR and CRLF ends lines is learnt from the first one, and another kind later is an error,
//! as in PostgreSQL.

use driftdb_types::Result;

use super::CopyOptions;
use super::decode::{RawField, RawRecord, Scanned, bad_format};

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    Cr,
    CrLf,
}

pub(super) struct TextScanner {
    delimiter: u8,
    null: Vec<u8>,
    line_end: Option<LineEnd>,
    line: u64,
    /// How many bytes of the unfinished record are known to hold no line end, so that they are not looked at again.
    seen: usize,
}

impl TextScanner {
    pub(super) fn new(options: &CopyOptions) -> TextScanner {
        TextScanner {
            delimiter: options.delimiter,
            null: options.null.as_bytes().to_vec(),
            line_end: None,
            line: 1,
            seen: 0,
        }
    }

    /// The record's length without its line end, and that line end's length; `None` when it is not all there.
    fn record_end(&mut self, bytes: &[u8], last: bool) -> Result<Option<(usize, usize)>> {
        let mut at = self.seen;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\\' => {
                    // The escaped byte belongs to the escape, whatever it is.
                    if bytes.get(at + 1).is_none() && !last {
                        break;
                    }
                    at += 2;
                    continue;
                }
                b'\n' => {
                    return match self.line_end {
                        None | Some(LineEnd::Lf) => {
                            self.line_end = Some(LineEnd::Lf);
                            Ok(Some((at, 1)))
                        }
                        Some(_) => Err(bad_format("literal newline found in data")
                            .hint("Use \"\\n\" to represent newline.")
                            .detail(format!("line {}", self.line))),
                    };
                }
                b'\r' => match (self.line_end, bytes.get(at + 1)) {
                    (None | Some(LineEnd::CrLf), Some(b'\n')) => {
                        self.line_end = Some(LineEnd::CrLf);
                        return Ok(Some((at, 2)));
                    }
                    (None | Some(LineEnd::CrLf), None) if !last => break,
                    (None | Some(LineEnd::Cr), _) => {
                        self.line_end = Some(LineEnd::Cr);
                        return Ok(Some((at, 1)));
                    }
                    _ => {
                        return Err(bad_format("literal carriage return found in data")
                            .hint("Use \"\\r\" to represent carriage return.")
                            .detail(format!("line {}", self.line)));
                    }
                },
                _ => {}
            }
            at += 1;
        }
        if last {
            return Ok(Some((bytes.len(), 0)));
        }
        self.seen = at;
        Ok(None)
    }

    fn fields(&self, record: &[u8]) -> Vec<RawField> {
        let mut fields = Vec::new();
        let mut start = 0;
        let mut at = 0;
        loop {
            let byte = record.get(at).copied();
            match byte {
                Some(b'\\') => {
                    at += 2;
                    continue;
                }
                Some(byte) if byte != self.delimiter => {
                    at += 1;
                    continue;
                }
                _ => {}
            }
            let end = at.min(record.len());
            let raw = record.get(start..end).unwrap_or_default();
            // The NULL string is compared before escapes are undone: an escaped `\\N` is the text `\N`.
            let bytes = (raw != self.null.as_slice()).then(|| unescape(raw));
            fields.push(RawField { bytes, quoted: false });
            if byte.is_none() {
                return fields;
            }
            at += 1;
            start = at;
        }
    }
}

impl TextScanner {
    /// Looks at the bytes from a record's start; `last` says that no more will come.
    pub(super) fn scan(&mut self, bytes: &[u8], last: bool) -> Result<Scanned> {
        let Some((length, end_length)) = self.record_end(bytes, last)? else { return Ok(Scanned::More) };
        self.seen = 0;
        let record = bytes.get(..length).unwrap_or_default();
        if record == b"\\." {
            return Ok(Scanned::End);
        }
        let line = self.line;
        let inside = record.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(1 + inside as u64);
        Ok(Scanned::Record(RawRecord { line, fields: self.fields(record) }, length + end_length))
    }

    /// The line that the next record starts on, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }
}

/// Undoes backslash escapes: `\b \f \n \r \t \v`, one to three octal digits, `\x` with one or two hex digits, and any
/// other character for itself.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(escaped) = bytes.next() else {
            out.push(b'\\');
            break;
        };
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = u32::from(escaped - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            bytes.next();
                        }
                        _ => break,
                    }
                }
                out.push((value & 0xff) as u8);
            }
            b'x' => {
                let mut value = None;
                for _ in 0..2 {
                    match bytes.peek().and_then(|digit| char::from(*digit).to_digit(16)) {
                        Some(digit) => {
                            value = Some(value.unwrap_or(0) * 16 + digit);
                            bytes.next();
                        }
                        None => break,
                    }
                }
                out.push(value.map_or(b'x', |value| (value & 0xff) as u8));
            }
            other => out.push(other),
        }
    }
    out
}
