//! `driftdb_digest()`: what shows later whether anybody changed the past.

use driftdb_engine::CommitDigest;
use driftdb_types::{CommitSeq, DataType as T, Error, Result, SqlState, Value};

use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

pub(super) const FUNCTIONS: &[Builtin] = &[Builtin {
    name: "driftdb_digest",
    nulls: Nulls::Strict,
    volatile: true,
    overloads: &[
        Overload { args: &[], rest: None, returns: Returns::Is(T::Text), eval: newest },
        Overload { args: &[Kind::Is(T::Int8)], rest: None, returns: Returns::Is(T::Text), eval: of_commit },
    ],
}];

/// Of the last commit that the statement sees.
fn newest(facts: &Facts, _args: &[Value]) -> Result<Value> {
    text(facts, facts.last_commit)
}

fn of_commit(facts: &Facts, args: &[Value]) -> Result<Value> {
    let [Value::Int8(seq)] = args else { return Err(mismatch("driftdb_digest", args)) };
    match u64::try_from(*seq).map(CommitSeq) {
        Ok(seq) if seq <= facts.last_commit => text(facts, seq),
        _ => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("there is no commit {seq}"))),
    }
}

fn text(facts: &Facts, seq: CommitSeq) -> Result<Value> {
    let digest = facts.engine.digest(&facts.engine.view(), seq)?;
    Ok(Value::Text(digest.unwrap_or(CommitDigest { seq, ..CommitDigest::default() }).to_string()))
}
