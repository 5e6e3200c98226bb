//! COPY … FROM STDIN and TO STDOUT.

use std::collections::HashSet;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use driftdb_types::{Error, Result, SqlState};

use super::command::{CopySource, Cursor};
use super::statement::{CopyStatement, CopyWhat, Kind};
use crate::copy::{CopyFormat, CopyHeader, CopyOptions, ForceQuote};

/// What was written, before the format's defaults are known.
#[derive(Default)]
struct Written {
    /// The options that were given by name.
    named: HashSet<String>,
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<CopyHeader>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<ForceQuote>,
    force_not_null: Vec<String>,
    force_null: Vec<String>,
}

pub(super) fn copy(cursor: &mut Cursor<'_>) -> Result<Kind> {
    if cursor.word("binary") {
        return Err(Error::unsupported("COPY in binary format"));
    }
    let what = match cursor.copy_source()? {
        CopySource::Table(table, columns) => CopyWhat::Table { table, columns },
        CopySource::Query(tokens) => CopyWhat::Query(copied_query(cursor, tokens)?),
    };
    let from_stdin = cursor.word("from");
    if !from_stdin {
        cursor.expect_word("to")?;
    }
    if from_stdin && matches!(what, CopyWhat::Query(_)) {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "COPY FROM takes a table, not a query"));
    }
    if !cursor.word(if from_stdin { "stdin" } else { "stdout" }) {
        return match cursor.peek() {
            Some(TokenWithSpan { token: Token::SingleQuotedString(_), .. }) => {
                Err(Error::unsupported("COPY with a file of the server").hint("Use psql's \\copy."))
            }
            Some(_) if cursor.word("program") => Err(Error::unsupported("COPY … PROGRAM")),
            _ => Err(cursor.unexpected()),
        };
    }
    cursor.word("with");
    let mut written = Written::default();
    if cursor.token(&Token::LParen) {
        loop {
            option(cursor, &mut written)?;
            if !cursor.token(&Token::Comma) {
                break;
            }
        }
        if !cursor.token(&Token::RParen) {
            return Err(cursor.unexpected());
        }
    } else {
        while legacy_option(cursor, &mut written)? {}
    }
    if cursor.word("where") {
        return Err(Error::unsupported("WHERE in COPY FROM"));
    }
    let options = finish(written, from_stdin)?;
    Ok(Kind::Copy(Box::new(CopyStatement { what, from_stdin, options })))
}

fn copied_query(cursor: &Cursor<'_>, tokens: &[TokenWithSpan]) -> Result<Box<datafusion::sql::sqlparser::ast::Query>> {
    let statement = super::statement_of(cursor.source, tokens.to_vec())?;
    match statement.kind() {
        Kind::Query(query) if query.lock.is_some() => Err(Error::unsupported("FOR UPDATE in COPY")),
        Kind::Query(query) => Ok(Box::new(query.query.clone())),
        _ => Err(Error::unsupported("COPY of a statement other than a query")),
    }
}

fn option(cursor: &mut Cursor<'_>, written: &mut Written) -> Result<()> {
    let at = cursor.peek();
    let name = cursor.option_name()?;
    if !written.named.insert(name.clone()) {
        let position = at.and_then(|token| cursor.source.position(token.span.start));
        return Err(Error { position, ..Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options") });
    }
    match name.as_str() {
        "format" => {
            let format = cursor.option_value()?;
            written.format = Some(match format.to_ascii_lowercase().as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => return Err(Error::unsupported("COPY in binary format")),
                _ => {
                    return Err(Error::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("COPY format \"{format}\" not recognized"),
                    ));
                }
            });
        }
        // Every row is stored the same way, frozen or not.
        "freeze" => {
            boolean(&name, &cursor.option_value()?)?;
        }
        "delimiter" => written.delimiter = Some(cursor.option_string()?),
        "null" => written.null = Some(cursor.option_string()?),
        "header" => {
            let value = cursor.option_value()?;
            written.header = Some(match value.eq_ignore_ascii_case("match") {
                true => CopyHeader::Match,
                false if boolean(&name, &value)? => CopyHeader::Yes,
                false => CopyHeader::No,
            });
        }
        "quote" => written.quote = Some(cursor.option_string()?),
        "escape" => written.escape = Some(cursor.option_string()?),
        "force_quote" => {
            written.force_quote = Some(match cursor.token(&Token::Mul) {
                true => ForceQuote::All,
                false => ForceQuote::Columns(cursor.names_in_parentheses()?),
            });
        }
        "force_not_null" => written.force_not_null = cursor.names_in_parentheses()?,
        "force_null" => written.force_null = cursor.names_in_parentheses()?,
        "encoding" => encoding(&cursor.option_string()?)?,
        _ => return Err(Error::new(SqlState::SYNTAX_ERROR, format!("option \"{name}\" not recognized"))),
    }
    Ok(())
}

/// The form without parentheses, from before PostgreSQL 9.0.
fn legacy_option(cursor: &mut Cursor<'_>, written: &mut Written) -> Result<bool> {
    if cursor.word("binary") {
        return Err(Error::unsupported("COPY in binary format"));
    } else if cursor.word("csv") {
        written.format = Some(CopyFormat::Csv);
    } else if cursor.word("header") {
        written.header = Some(CopyHeader::Yes);
    } else if cursor.word("freeze") {
    } else if cursor.word("delimiter") || cursor.word("delimiters") {
        cursor.word("as");
        written.delimiter = Some(cursor.option_string()?);
    } else if cursor.word("null") {
        cursor.word("as");
        written.null = Some(cursor.option_string()?);
    } else if cursor.word("quote") {
        cursor.word("as");
        written.quote = Some(cursor.option_string()?);
    } else if cursor.word("escape") {
        cursor.word("as");
        written.escape = Some(cursor.option_string()?);
    } else if cursor.word("encoding") {
        encoding(&cursor.option_string()?)?;
    } else if cursor.word("force") {
        return Err(Error::unsupported("FORCE outside of parentheses in COPY"));
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("{name} requires a Boolean value"))),
    }
}

fn encoding(name: &str) -> Result<()> {
    match name.to_ascii_lowercase().as_str() {
        "utf8" | "utf-8" | "unicode" => Ok(()),
        _ => Err(Error::unsupported(format!("the encoding \"{name}\""))),
    }
}

fn finish(written: Written, from_stdin: bool) -> Result<CopyOptions> {
    let csv = written.format == Some(CopyFormat::Csv);
    let mut options = if csv { CopyOptions::csv() } else { CopyOptions::text() };
    let only_csv = |present: bool, what: &str| match present && !csv {
        true => Err(Error::unsupported(format!("COPY {what} outside of CSV"))),
        false => Ok(()),
    };
    only_csv(written.quote.is_some(), "QUOTE")?;
    only_csv(written.escape.is_some(), "ESCAPE")?;
    only_csv(written.force_quote.is_some(), "FORCE_QUOTE")?;
    only_csv(!written.force_not_null.is_empty(), "FORCE_NOT_NULL")?;
    only_csv(!written.force_null.is_empty(), "FORCE_NULL")?;
    if from_stdin && written.force_quote.is_some() {
        return Err(Error::unsupported("FORCE_QUOTE in COPY FROM"));
    }
    let forces_null = !written.force_not_null.is_empty() || !written.force_null.is_empty();
    if !from_stdin && forces_null {
        return Err(Error::unsupported("FORCE_NOT_NULL and FORCE_NULL in COPY TO"));
    }
    if let Some(delimiter) = written.delimiter {
        options.delimiter = single_byte("delimiter", &delimiter)?;
        if matches!(options.delimiter, b'\n' | b'\r') || (!csv && options.delimiter == b'\\') {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "COPY delimiter cannot be newline or backslash"));
        }
        if !csv && (options.delimiter.is_ascii_alphanumeric() || options.delimiter == b'.') {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("COPY delimiter cannot be \"{delimiter}\""),
            ));
        }
    }
    if let Some(null) = written.null {
        if null.contains(['\n', '\r']) {
            let message = "COPY null representation cannot use newline or carriage return";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        options.null = null;
    }
    if let Some(header) = written.header {
        if header == CopyHeader::Match && !from_stdin {
            return Err(Error::unsupported("HEADER MATCH in COPY TO"));
        }
        options.header = header;
    }
    if let Some(quote) = written.quote {
        options.quote = single_byte("quote", &quote)?;
        options.escape = options.quote;
    }
    if let Some(escape) = written.escape {
        options.escape = single_byte("escape", &escape)?;
    }
    if csv && options.delimiter == options.quote {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "COPY delimiter and quote must be different"));
    }
    if options.null.as_bytes().contains(&options.delimiter) {
        let message = "COPY delimiter character must not appear in the NULL specification";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    options.force_quote = written.force_quote.unwrap_or(ForceQuote::None);
    options.force_not_null = written.force_not_null;
    options.force_null = written.force_null;
    Ok(options)
}

fn single_byte(what: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("COPY {what} must be a single one-byte character"),
        )),
    }
}
