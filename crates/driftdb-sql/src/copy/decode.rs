//! Bytes to rows. The data arrives in pieces cut anywhere; a record is decoded once its last byte is there, and the
//! bytes of an unfinished one are bounded.

use driftdb_types::{DataType, Error, Result, SqlState, TimeZone, Value, parse_value};

use super::csv::CsvScanner;
use super::text::TextScanner;
use super::{CopyFormat, CopyHeader, CopyOptions};

/// A record longer than this is refused, so that data without line ends does not fill the memory.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// One row of a COPY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyRow {
    /// The line it starts on, from 1.
    pub(crate) line: u64,
    pub(crate) values: Vec<Value>,
}

/// A field as found: its bytes without escapes and quotes, and whether it was quoted.
#[derive(Debug, PartialEq)]
pub(super) struct RawField {
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) quoted: bool,
}

/// One record as found.
#[derive(Debug, PartialEq)]
pub(super) struct RawRecord {
    pub(super) line: u64,
    pub(super) fields: Vec<RawField>,
}

/// What a scanner says of the bytes that begin at its position.
pub(super) enum Scanned {
    /// A record of that many bytes.
    Record(RawRecord, usize),
    /// The end marker `\.`.
    End,
    /// The record is not all there.
    More,
}

enum Scanner {
    Text(TextScanner),
    Csv(CsvScanner),
}

impl Scanner {
    fn scan(&mut self, bytes: &[u8], last: bool) -> Result<Scanned> {
        match self {
            Scanner::Text(scanner) => scanner.scan(bytes, last),
            Scanner::Csv(scanner) => scanner.scan(bytes, last),
        }
    }

    fn line(&self) -> u64 {
        match self {
            Scanner::Text(scanner) => scanner.line(),
            Scanner::Csv(scanner) => scanner.line(),
        }
    }
}

/// How one column's fields are read.
struct CopyColumn {
    name: String,
    data_type: DataType,
    force_not_null: bool,
    force_null: bool,
}

/// Turns COPY data into rows.
pub(crate) struct CopyDecoder {
    columns: Vec<CopyColumn>,
    null: String,
    format: CopyFormat,
    header: CopyHeader,
    zone: TimeZone,
    scanner: Scanner,
    /// The bytes of an unfinished record.
    rest: Vec<u8>,
    ended: bool,
}

impl CopyDecoder {
    pub(crate) fn new(options: CopyOptions, columns: Vec<(String, DataType)>, zone: TimeZone) -> CopyDecoder {
        let scanner = match options.format {
            CopyFormat::Text => Scanner::Text(TextScanner::new(&options)),
            CopyFormat::Csv => Scanner::Csv(CsvScanner::new(&options)),
        };
        let columns = columns
            .into_iter()
            .map(|(name, data_type)| CopyColumn {
                force_not_null: options.force_not_null.contains(&name),
                force_null: options.force_null.contains(&name),
                name,
                data_type,
            })
            .collect();
        CopyDecoder {
            columns,
            null: options.null,
            format: options.format,
            header: options.header,
            zone,
            scanner,
            rest: Vec::new(),
            ended: false,
        }
    }

    /// How much of an unfinished record is kept, in bytes.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next piece of the data and appends the rows that it completes.
    pub(crate) fn push(&mut self, data: &[u8], out: &mut Vec<CopyRow>) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(data);
        let used = self.records(&buffer, false, out)?;
        buffer.drain(..used);
        if buffer.len() > RECORD_BYTES_MAX {
            return Err(Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a line of the COPY data is longer than {RECORD_BYTES_MAX} bytes"),
            )
            .detail(format!("line {}", self.scanner.line())));
        }
        self.rest = buffer;
        Ok(())
    }

    /// Says that the data is complete, and appends the row of a last line without a line end.
    pub(crate) fn finish(&mut self, out: &mut Vec<CopyRow>) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.rest);
        self.records(&buffer, true, out)?;
        self.ended = true;
        Ok(())
    }

    fn records(&mut self, buffer: &[u8], last: bool, out: &mut Vec<CopyRow>) -> Result<usize> {
        let mut used = 0;
        while let Some(bytes) = buffer.get(used..).filter(|bytes| !bytes.is_empty()) {
            match self.scanner.scan(bytes, last)? {
                Scanned::Record(record, length) => {
                    used += length;
                    if let Some(row) = self.row(record)? {
                        out.push(row);
                    }
                }
                Scanned::End => {
                    self.ended = true;
                    return Ok(buffer.len());
                }
                Scanned::More => break,
            }
        }
        Ok(used)
    }

    fn row(&mut self, record: RawRecord) -> Result<Option<CopyRow>> {
        let line = record.line;
        match std::mem::replace(&mut self.header, CopyHeader::No) {
            CopyHeader::No => {}
            CopyHeader::Yes => return Ok(None),
            CopyHeader::Match => return self.match_header(&record).map(|()| None),
        }
        // A table without columns takes empty lines.
        if self.columns.is_empty()
            && matches!(record.fields.as_slice(), [RawField { bytes: Some(bytes), .. }] if bytes.is_empty())
        {
            return Ok(Some(CopyRow { line, values: Vec::new() }));
        }
        if record.fields.len() > self.columns.len() {
            return Err(bad_format("extra data after last expected column").detail(format!("line {line}")));
        }
        if let Some(missing) = self.columns.get(record.fields.len()) {
            return Err(
                bad_format(format!("missing data for column \"{}\"", missing.name)).detail(format!("line {line}"))
            );
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for (field, column) in record.fields.into_iter().zip(&self.columns) {
            values.push(self.value(field, column, line)?);
        }
        Ok(Some(CopyRow { line, values }))
    }

    fn value(&self, field: RawField, column: &CopyColumn, line: u64) -> Result<Value> {
        let Some(bytes) = field.bytes else { return Ok(Value::Null) };
        if self.format == CopyFormat::Csv && bytes == self.null.as_bytes() {
            let is_null = if field.quoted { column.force_null } else { !column.force_not_null };
            if is_null {
                return Ok(Value::Null);
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
                .detail(format!("line {line}, column {}", column.name))
        })?;
        if text.contains('\0') {
            return Err(Error::new(
                SqlState::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\": 0x00",
            )
            .detail(format!("line {line}, column {}", column.name)));
        }
        parse_value(column.data_type, &text, &self.zone).map_err(|error| {
            let shown: String = text.chars().take(100).collect();
            error.detail(format!("line {line}, column {}: \"{shown}\"", column.name))
        })
    }

    fn match_header(&self, record: &RawRecord) -> Result<()> {
        if record.fields.len() != self.columns.len() {
            return Err(bad_format(format!(
                "wrong number of fields in header line: got {}, expected {}",
                record.fields.len(),
                self.columns.len()
            ))
            .detail(format!("line {}", record.line)));
        }
        for (number, (field, column)) in record.fields.iter().zip(&self.columns).enumerate() {
            let name = field.bytes.as_deref().map(String::from_utf8_lossy);
            if name.as_deref() != Some(column.name.as_str()) {
                return Err(bad_format(format!(
                    "column name mismatch in header line field {}: got \"{}\", expected \"{}\"",
                    number + 1,
                    name.unwrap_or_default(),
                    column.name
                ))
                .detail(format!("line {}", record.line)));
            }
        }
        Ok(())
    }
}

pub(super) fn bad_format(message: impl Into<String>) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}
