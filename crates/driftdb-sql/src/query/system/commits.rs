//! `driftdb.commits`: when, who and what.

use driftdb_types::{CommitSeq, DataType as T, KeyRange, Result, TreeId, Value};

use super::{SystemTable, text};
use crate::query::scan::ValueRows;
use crate::read::QueryContext;

pub(super) const TABLES: &[SystemTable] = &[SystemTable {
    schema: "driftdb",
    name: "commits",
    columns: &[
        ("seq", T::Int8),
        ("time", T::TimestampTz),
        ("user", T::Text),
        ("application", T::Text),
        ("client", T::Text),
        ("comment", T::Text),
        ("tables", T::Text),
        ("rows", T::Int8),
    ],
    rows: commits,
}];

fn commits(ctx: &QueryContext) -> Result<ValueRows> {
    let engine = ctx.read.engine.clone();
    let last = ctx.read.system_time.unwrap_or_else(|| ctx.read.view.stamp().seq);
    if ctx.read.system_time.is_none() {
        ctx.read.reader.note_range(TreeId::COMMITS, &KeyRange::all())?;
    }
    let records = engine.commits(&ctx.read.view, CommitSeq(1)..=last, false)?;
    Ok(Box::new(records.map(move |record| {
        let record = record?;
        // A table is named as it was last called, dropped ones too.
        let names: Vec<String> = record
            .tables()
            .map(|id| engine.table_ever(id).map_or_else(|| id.to_string(), |table| table.name.clone()))
            .collect();
        Ok(vec![
            Value::Int8(i64::try_from(record.stamp.seq.0).unwrap_or(i64::MAX)),
            Value::TimestampTz(record.stamp.time_us),
            text(record.meta.user),
            text(record.meta.application),
            text(record.meta.client),
            record.meta.comment.map_or(Value::Null, text),
            text(names.join(",")),
            Value::Int8(i64::try_from(record.rows).unwrap_or(i64::MAX)),
        ])
    })))
}
