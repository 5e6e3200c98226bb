//! From a point of system time, as written, to a commit.
//!
//! A point is a time (any value that is one, or text that reads as one) or a commit's number. A time means the last commit
//! at or before it. Points in the future are refused: what will be true then is not known yet, and an answer, once
//! given, must not change. The commit may be newer than the statement's snapshot: [`Engine::view_as_of`] has a view in
//! which it can be read.

use driftdb_engine::{Cancel, Engine};
use driftdb_store::StoreView;
use driftdb_types::{CommitSeq, DataType, Error, Result, SqlState, TimeZone, Value, format_value, parse_value_at};

use crate::parse::AsOf;
use crate::query::eval_const;
use crate::read::{QueryContext, ReadState};

/// The commit that a point means.
pub(crate) fn resolve_point(read: &ReadState, value: &Value, is_seq: bool, tz: &TimeZone) -> Result<CommitSeq> {
    resolve(&read.engine, &read.view, value, is_seq, tz)
}

/// The commit that the point of an AS OF of its own means, as in `BEGIN READ ONLY AS OF`.
pub(crate) fn resolve_as_of(context: &QueryContext, point: &AsOf, params: &[Value]) -> Result<CommitSeq> {
    let value = eval_const(context, &point.expr, None, params)?;
    resolve_point(&context.read, &value, point.is_seq, context.settings.time_zone())
}

/// The commit that a point given as text means, as in `SET driftdb.system_time`.
pub(crate) fn resolve_text(engine: &Engine, view: &StoreView, text: &str, tz: &TimeZone) -> Result<CommitSeq> {
    resolve(engine, view, &Value::Text(text.to_owned()), false, tz)
}

pub(crate) fn resolve(
    engine: &Engine,
    view: &StoreView,
    value: &Value,
    is_seq: bool,
    tz: &TimeZone,
) -> Result<CommitSeq> {
    match point(engine, value, is_seq, tz)? {
        Point::Seq(seq) => check_seq(engine, seq),
        // What is waited for is one sync of the commit log at most.
        Point::Time(time_us) => engine.seq_as_of(view, time_us, &Cancel::new()),
    }
}

/// A bound of a range of versions: it may lie beyond the commits there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeBound {
    /// The last commit at or before the bound; zero when the first came later.
    pub(crate) last_at_or_before: CommitSeq,
    /// Whether that commit is exactly at the bound.
    pub(crate) exact: bool,
}

impl TimeBound {
    /// The first commit at or after the bound.
    pub(crate) fn first_at_or_after(self) -> CommitSeq {
        if self.exact { self.last_at_or_before } else { self.last_at_or_before.next() }
    }
}

/// The bound that a point means in FROM … TO, BETWEEN and CONTAINED IN.
pub(crate) fn resolve_bound(read: &ReadState, value: &Value, is_seq: bool, tz: &TimeZone) -> Result<TimeBound> {
    match point(&read.engine, value, is_seq, tz)? {
        Point::Seq(seq) => {
            Ok(TimeBound { last_at_or_before: CommitSeq(u64::try_from(seq).unwrap_or(0)), exact: seq > 0 })
        }
        Point::Time(time_us) => {
            let last = read.engine.seq_at_time(&read.view, time_us)?;
            let exact = match last {
                CommitSeq::ZERO => false,
                last => {
                    read.engine.commit_record(&read.view, last)?.is_some_and(|record| record.stamp.time_us == time_us)
                }
            };
            Ok(TimeBound { last_at_or_before: last, exact })
        }
    }
}

enum Point {
    Seq(i64),
    Time(i64),
}

fn point(engine: &Engine, value: &Value, is_seq: bool, tz: &TimeZone) -> Result<Point> {
    match value {
        Value::Null => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "a point of system time cannot be NULL")),
        Value::Int2(seq) => Ok(Point::Seq(i64::from(*seq))),
        Value::Int4(seq) => Ok(Point::Seq(i64::from(*seq))),
        Value::Int8(seq) => Ok(Point::Seq(*seq)),
        Value::Text(text) => from_text(engine, text, is_seq, tz),
        other if is_seq => {
            Err(Error::new(SqlState::DATATYPE_MISMATCH, format!("@SEQ takes an integer, not {}", type_name(other))))
        }
        Value::TimestampTz(time_us) => Ok(Point::Time(*time_us)),
        Value::Timestamp(_) | Value::Date(_) => match value.clone().cast(DataType::TimestampTz, tz)? {
            Value::TimestampTz(time_us) => Ok(Point::Time(time_us)),
            other => Err(Error::internal(format!("a cast to timestamptz gave {other:?}"))),
        },
        other => Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("a point of system time is a time or a commit's number, not {}", type_name(other)),
        )),
    }
}

fn type_name(value: &Value) -> String {
    value.data_type().map_or_else(|| "NULL".to_owned(), |data_type| data_type.sql_name())
}

fn from_text(engine: &Engine, text: &str, is_seq: bool, tz: &TimeZone) -> Result<Point> {
    let trimmed = text.trim();
    let number = match trimmed.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("@seq:") => trimmed.get(5..),
        _ if is_seq => Some(trimmed),
        _ => None,
    };
    if let Some(number) = number {
        let invalid =
            || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid commit number: \"{text}\""));
        return number.trim().parse().map(Point::Seq).map_err(|_| invalid());
    }
    match parse_value_at(DataType::TimestampTz, trimmed, tz, engine.env().clock.now_us())? {
        Value::TimestampTz(time_us) => Ok(Point::Time(time_us)),
        other => Err(Error::internal(format!("reading a timestamptz gave {other:?}"))),
    }
}

/// A point given as text, written so that it stays the same whatever the session's time zone and the clock will be.
pub(crate) fn fixed(engine: &Engine, text: &str, tz: &TimeZone) -> Result<String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    Ok(match from_text(engine, text, false, tz)? {
        Point::Seq(seq) => format!("@SEQ:{seq}"),
        Point::Time(time_us) => format_value(&Value::TimestampTz(time_us), DataType::TimestampTz, &TimeZone::utc()),
    })
}

/// What is committed may be asked about, whether the snapshot has it or not.
fn check_seq(engine: &Engine, seq: i64) -> Result<CommitSeq> {
    let newest = engine.stamp().seq;
    match u64::try_from(seq) {
        Ok(number) if number <= newest.0 => Ok(CommitSeq(number)),
        Ok(_) => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("commit {seq} is in the future: the last one is {newest}"),
        )),
        Err(_) => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("commit numbers start at 1, not {seq}"))),
    }
}
