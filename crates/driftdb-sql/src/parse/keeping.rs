//! What history is kept: retention, pins and ERASE. Parsed from the tokens, which sqlparser cannot read.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use driftdb_types::{DataType, Error, Interval, Result, SqlState, TimeZone, Value, parse_value};

use super::command::{Cursor, point_of};
use super::source::is_word;
use super::statement::{CreatePin, DeleteStatement, EraseStatement, Kind};

/// `ALTER TABLE … SET RETENTION`, behind ALTER; `None`: it is another ALTER.
pub(super) fn set_retention(cursor: &mut Cursor<'_>) -> Result<Option<Kind>> {
    let is_it = |pair: &[TokenWithSpan]| match pair {
        [set, retention] => is_word(Some(set), "set") && is_word(Some(retention), "retention"),
        _ => false,
    };
    if !cursor.rest().windows(2).any(is_it) {
        return Ok(None);
    }
    cursor.expect_word("table")?;
    let if_exists = cursor.words(&["if", "exists"]);
    cursor.word("only");
    let table = cursor.table()?;
    if !cursor.words(&["set", "retention"]) {
        return Err(Error::unsupported("SET RETENTION together with other changes of a table"));
    }
    let retention = if cursor.word("unlimited") { None } else { Some(length(cursor, "a retention")?) };
    Ok(Some(Kind::SetRetention { table, if_exists, retention }))
}

/// `CREATE PIN name [AS OF point] [RETAIN interval]`, behind PIN.
pub(super) fn create_pin(cursor: &mut Cursor<'_>) -> Result<Kind> {
    let if_not_exists = cursor.words(&["if", "not", "exists"]);
    let name = cursor.name()?;
    let as_of = match cursor.words(&["as", "of"]) {
        true => {
            let rest = cursor.rest();
            let end = rest.iter().rposition(|token| is_word(Some(token), "retain")).unwrap_or(rest.len());
            Some(point_of(cursor.source, cursor.take(end))?)
        }
        false => None,
    };
    let retain = if cursor.word("retain") { Some(length(cursor, "the time of a pin")?) } else { None };
    Ok(Kind::CreatePin(Box::new(CreatePin { name, if_not_exists, as_of, retain })))
}

/// `DROP PIN name, …`, behind PIN.
pub(super) fn drop_pin(cursor: &mut Cursor<'_>) -> Result<Kind> {
    let if_exists = cursor.words(&["if", "exists"]);
    Ok(Kind::DropPin { names: cursor.comma_separated(Cursor::name)?, if_exists })
}

/// Has sqlparser read `ERASE FROM` as the DELETE that it looks like. Whether it is one.
pub(super) fn erase_as_delete(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, bool) {
    match tokens.first_mut() {
        Some(first) if is_word(Some(first), "erase") => {
            first.token = Token::make_word("DELETE", None);
            (tokens, true)
        }
        _ => (tokens, false),
    }
}

/// The ERASE that was read as a DELETE.
pub(super) fn erase(kind: Kind) -> Result<Kind> {
    let Kind::Delete(delete) = kind else { return Err(Error::internal("ERASE was not read as a DELETE")) };
    let refused = [
        (delete.with.is_some(), "WITH before ERASE"),
        (!delete.using.is_empty(), "USING in ERASE"),
        (delete.returning.is_some(), "RETURNING in ERASE"),
    ];
    match refused.into_iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(Error::unsupported(what)),
        None => {
            let DeleteStatement { table, alias, selection, .. } = *delete;
            Ok(Kind::Erase(Box::new(EraseStatement { table, alias, selection })))
        }
    }
}

/// A positive interval.
fn length(cursor: &mut Cursor<'_>, what: &str) -> Result<Interval> {
    cursor.word("interval");
    let at = cursor.peek();
    let text = cursor.string()?;
    let place = |error: Error| match at {
        Some(token) => Error { position: cursor.source.position(token.span.start), ..error },
        None => error,
    };
    match parse_value(DataType::Interval, &text, &TimeZone::utc()).map_err(place)? {
        Value::Interval(interval)
            if interval.estimated_us() > 0 && interval.months >= 0 && interval.days >= 0 && interval.micros >= 0 =>
        {
            Ok(interval)
        }
        _ => {
            let message = format!("{what} must be longer than nothing, and is \"{text}\"");
            Err(place(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)))
        }
    }
}
