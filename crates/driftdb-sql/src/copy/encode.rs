//! Rows to bytes.

use driftdb_types::{DataType, TimeZone, Value, write_value};

use super::{CopyFormat, CopyHeader, CopyOptions, ForceQuote};
use crate::outcome::ResultColumn;

/// Turns rows into COPY data.
pub(crate) struct CopyEncoder {
    options: CopyOptions,
    columns: Vec<(String, DataType, bool)>,
    zone: TimeZone,
    text: String,
}

impl CopyEncoder {
    pub(crate) fn new(options: CopyOptions, columns: &[ResultColumn], zone: TimeZone) -> CopyEncoder {
        let columns = columns
            .iter()
            .map(|column| {
                let forced = match &options.force_quote {
                    ForceQuote::None => false,
                    ForceQuote::All => true,
                    ForceQuote::Columns(names) => names.contains(&column.name),
                };
                (column.name.clone(), column.data_type, forced)
            })
            .collect();
        CopyEncoder { options, columns, zone, text: String::new() }
    }

    /// Appends the header line, if the options want one.
    pub(crate) fn header(&mut self, out: &mut Vec<u8>) {
        if self.options.header == CopyHeader::No {
            return;
        }
        let names: Vec<String> = self.columns.iter().map(|(name, ..)| name.clone()).collect();
        for (number, name) in names.iter().enumerate() {
            if number > 0 {
                out.push(self.options.delimiter);
            }
            self.field(name, false, out);
        }
        out.push(b'\n');
    }

    /// Appends one row.
    pub(crate) fn row(&mut self, values: &[Value], out: &mut Vec<u8>) {
        for number in 0..self.columns.len().max(values.len()) {
            if number > 0 {
                out.push(self.options.delimiter);
            }
            let (Some(value), Some((_, data_type, forced))) = (values.get(number), self.columns.get(number)) else {
                continue;
            };
            let forced = *forced;
            if value.is_null() {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            let mut text = std::mem::take(&mut self.text);
            text.clear();
            write_value(&mut text, value, *data_type, &self.zone);
            self.field(&text, forced, out);
            self.text = text;
        }
        out.push(b'\n');
    }

    fn field(&self, text: &str, forced: bool, out: &mut Vec<u8>) {
        match self.options.format {
            CopyFormat::Text => self.text_field(text, out),
            CopyFormat::Csv => self.csv_field(text, forced, out),
        }
    }

    fn text_field(&self, text: &str, out: &mut Vec<u8>) {
        for byte in text.bytes() {
            let escape = match byte {
                b'\\' => Some(b'\\'),
                8 => Some(b'b'),
                12 => Some(b'f'),
                b'\n' => Some(b'n'),
                b'\r' => Some(b'r'),
                b'\t' => Some(b't'),
                11 => Some(b'v'),
                byte if byte == self.options.delimiter => Some(byte),
                _ => None,
            };
            match escape {
                Some(letter) => out.extend_from_slice(&[b'\\', letter]),
                None => out.push(byte),
            }
        }
    }

    fn csv_field(&self, text: &str, forced: bool, out: &mut Vec<u8>) {
        let CopyOptions { delimiter, quote, escape, .. } = self.options;
        let special = |byte: u8| byte == delimiter || byte == quote || byte == b'\n' || byte == b'\r';
        // A lone `\.` would end the data when read again; a text equal to the NULL string would become NULL.
        let quoted = forced || text == self.options.null || text == "\\." || text.bytes().any(special);
        if !quoted {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(quote);
        for byte in text.bytes() {
            if byte == quote || byte == escape {
                out.push(escape);
            }
            out.push(byte);
        }
        out.push(quote);
    }
}
