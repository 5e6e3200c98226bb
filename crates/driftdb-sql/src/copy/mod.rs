//! COPY's text and CSV formats: bytes to rows and rows to bytes (PostgreSQL manual, COPY, "File Formats").

mod csv;
mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use decode::{CopyDecoder, CopyRow};
pub(crate) use encode::CopyEncoder;

/// Which of COPY's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyFormat {
    /// Tab-separated with backslash escapes.
    Text,
    /// Comma-separated with quotes.
    Csv,
}

/// What the first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyHeader {
    /// A row.
    No,
    /// Column names, not looked at.
    Yes,
    /// Column names, which must be the table's.
    Match,
}

/// Which columns' non-NULL values are always quoted on output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ForceQuote {
    /// Those that need it.
    None,
    /// All.
    All,
    /// These too.
    Columns(Vec<String>),
}

/// COPY's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    pub(crate) format: CopyFormat,
    pub(crate) delimiter: u8,
    /// What stands for NULL.
    pub(crate) null: String,
    pub(crate) header: CopyHeader,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
    pub(crate) force_quote: ForceQuote,
    /// Columns whose values are never matched against the NULL string.
    pub(crate) force_not_null: Vec<String>,
    /// Columns whose quoted values too are matched against the NULL string.
    pub(crate) force_null: Vec<String>,
}

impl CopyOptions {
    /// The text format's defaults.
    pub(crate) fn text() -> CopyOptions {
        CopyOptions {
            format: CopyFormat::Text,
            delimiter: b'\t',
            null: "\\N".to_owned(),
            header: CopyHeader::No,
            quote: b'"',
            escape: b'"',
            force_quote: ForceQuote::None,
            force_not_null: Vec::new(),
            force_null: Vec::new(),
        }
    }

    /// The CSV format's defaults.
    pub(crate) fn csv() -> CopyOptions {
        CopyOptions { format: CopyFormat::Csv, delimiter: b',', null: String::new(), ..CopyOptions::text() }
    }
}
