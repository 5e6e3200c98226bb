//! CSV records: fields between delimiters, quoted where they hold a delimiter, a quote or a line end.
//!
//! A quote may open anywhere in a field, as in PostgreSQL; inside quotes the escape character makes the next quote or
//! escape data. A line end inside quotes is data, so records are found with the quote state in hand.

use driftdb_types::Result;

use super::CopyOptions;
use super::decode::{RawField, RawRecord, Scanned, bad_format};
use super::text::LineEnd;

pub(super) struct CsvScanner {
    delimiter: u8,
    quote: u8,
    escape: u8,
    line_end: Option<LineEnd>,
    line: u64,
    unfinished: Unfinished,
}

/// How far the unfinished record was looked at, so that a long one is not scanned again from its start.
#[derive(Default)]
struct Unfinished {
    at: usize,
    in_quotes: bool,
}

impl CsvScanner {
    pub(super) fn new(options: &CopyOptions) -> CsvScanner {
        CsvScanner {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            line_end: None,
            line: 1,
            unfinished: Unfinished::default(),
        }
    }

    fn record_end(&mut self, bytes: &[u8], last: bool) -> Result<Option<(usize, usize)>> {
        let Unfinished { mut at, mut in_quotes } = std::mem::take(&mut self.unfinished);
        while let Some(&byte) = bytes.get(at) {
            let next = bytes.get(at + 1).copied();
            if in_quotes {
                // Where escape and quote are the same, a doubled quote leaves and enters again, which comes to the same.
                if byte == self.escape && self.escape != self.quote {
                    if next.is_none() && !last {
                        break;
                    }
                    if next == Some(self.quote) || next == Some(self.escape) {
                        at += 2;
                        continue;
                    }
                }
                in_quotes = byte != self.quote;
            } else if byte == self.quote {
                in_quotes = true;
            } else if byte == b'\n' {
                return match self.line_end {
                    None | Some(LineEnd::Lf) => {
                        self.line_end = Some(LineEnd::Lf);
                        Ok(Some((at, 1)))
                    }
                    Some(_) => Err(self.wrong_line_end("unquoted newline found in data")),
                };
            } else if byte == b'\r' {
                match (self.line_end, next) {
                    (None | Some(LineEnd::CrLf), Some(b'\n')) => {
                        self.line_end = Some(LineEnd::CrLf);
                        return Ok(Some((at, 2)));
                    }
                    (None | Some(LineEnd::CrLf), None) if !last => break,
                    (None | Some(LineEnd::Cr), _) => {
                        self.line_end = Some(LineEnd::Cr);
                        return Ok(Some((at, 1)));
                    }
                    _ => return Err(self.wrong_line_end("unquoted carriage return found in data")),
                }
            }
            at += 1;
        }
        if last {
            if in_quotes {
                return Err(bad_format("unterminated CSV quoted field").detail(format!("line {}", self.line)));
            }
            return Ok(Some((bytes.len(), 0)));
        }
        self.unfinished = Unfinished { at, in_quotes };
        Ok(None)
    }

    fn wrong_line_end(&self, message: &str) -> driftdb_types::Error {
        bad_format(message).hint("Use quoted CSV field to represent a line end.").detail(format!("line {}", self.line))
    }

    fn fields(&self, record: &[u8]) -> Vec<RawField> {
        let mut fields = Vec::new();
        let mut field = Vec::new();
        let mut quoted = false;
        let mut in_quotes = false;
        let mut bytes = record.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if in_quotes {
                let escapes =
                    byte == self.escape && bytes.peek().is_some_and(|next| *next == self.quote || *next == self.escape);
                if escapes {
                    field.extend(bytes.next());
                } else if byte == self.quote {
                    in_quotes = false;
                } else {
                    field.push(byte);
                }
            } else if byte == self.delimiter {
                fields.push(RawField { bytes: Some(std::mem::take(&mut field)), quoted });
                quoted = false;
            } else if byte == self.quote {
                in_quotes = true;
                quoted = true;
            } else {
                field.push(byte);
            }
        }
        fields.push(RawField { bytes: Some(field), quoted });
        fields
    }
}

impl CsvScanner {
    /// Looks at the bytes from a record's start; `last` says that no more will come.
    pub(super) fn scan(&mut self, bytes: &[u8], last: bool) -> Result<Scanned> {
        let Some((length, end_length)) = self.record_end(bytes, last)? else { return Ok(Scanned::More) };
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
