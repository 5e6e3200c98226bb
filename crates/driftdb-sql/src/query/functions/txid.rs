//! What becomes of a transaction whose client does not hear the answer to COMMIT.

use driftdb_engine::TxidStatus;
use driftdb_types::{DataType as T, Result, Value};

use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

pub(super) const FUNCTIONS: &[Builtin] = &[
    Builtin {
        name: "driftdb_txid_current",
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload {
            args: &[],
            rest: None,
            returns: Returns::Is(T::Text),
            eval: |facts, _| Ok(Value::Text(facts.txid.current().to_string())),
        }],
    },
    Builtin {
        name: "driftdb_txid_status",
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload { args: &[Kind::Is(T::Text)], rest: None, returns: Returns::Is(T::Text), eval: status }],
    },
];

fn status(facts: &Facts, args: &[Value]) -> Result<Value> {
    let [Value::Text(name)] = args else { return Err(mismatch("driftdb_txid_status", args)) };
    let word = |status| match status {
        TxidStatus::InProgress => "in progress",
        TxidStatus::Committed => "committed",
        TxidStatus::Aborted => "aborted",
    };
    let status = facts.txid.status(name.parse()?)?;
    Ok(status.map_or(Value::Null, |status| Value::Text(word(status).to_owned())))
}
