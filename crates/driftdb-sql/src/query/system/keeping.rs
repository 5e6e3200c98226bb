//! What is kept: `driftdb.pins`, `driftdb.erasures` and `driftdb.retention_plan`.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use driftdb_engine::{Certificate, Pin, RetentionPlan};
use driftdb_store::ReadPoint;
use driftdb_types::{CommitSeq, DataType as T, KeyRange, Result, Stamp, TableSchema, TreeId, Value};

use super::{Computed, SystemTable, ready, text};
use crate::query::scan::ValueRows;
use crate::read::QueryContext;

pub(super) const TABLES: &[SystemTable] = &[
    SystemTable {
        schema: "driftdb",
        name: "pins",
        columns: &[
            ("name", T::Text),
            ("seq", T::Int8),
            ("time", T::TimestampTz),
            ("until", T::TimestampTz),
            ("created", T::TimestampTz),
            ("user", T::Text),
        ],
        rows: pins,
    },
    SystemTable {
        schema: "driftdb",
        name: "erasures",
        columns: &[
            ("erasure", T::Int8),
            ("time", T::TimestampTz),
            ("user", T::Text),
            ("table", T::Text),
            ("rows", T::Int8),
            ("versions", T::Int8),
            ("digest", T::Text),
        ],
        rows: erasures,
    },
];

/// The columns of `driftdb.retention_plan`.
const PLAN: &[(&str, T)] = &[
    ("table", T::Text),
    ("retention", T::Interval),
    ("horizon_seq", T::Int8),
    ("horizon_time", T::TimestampTz),
    ("next_seq", T::Int8),
    ("next_time", T::TimestampTz),
    ("held_by", T::Text),
    ("versions", T::Int8),
    ("bytes", T::Int8),
];

fn pins(ctx: &QueryContext) -> Result<ValueRows> {
    let read = &ctx.read;
    let pins = match read.system_time {
        Some(seq) => {
            let versions = read.view.scan(TreeId::PINS, &KeyRange::all(), ReadPoint::AsOf(seq), false)?;
            versions.map(|version| Pin::of_version(&version?)).collect::<Result<Vec<_>>>()?
        }
        None => {
            let entries = read.reader.scan(TreeId::PINS, &KeyRange::all(), false)?;
            entries.map(|entry| Pin::of_entry(&entry?)).collect::<Result<Vec<_>>>()?
        }
    };
    let mut rows = Vec::with_capacity(pins.len());
    for Pin { name, stamp, until_us, made } in pins {
        let record = made.map(|made| read.engine.commit_record(&read.view, made.seq)).transpose()?.flatten();
        rows.push(vec![
            text(name),
            seq_value(stamp.seq),
            Value::TimestampTz(stamp.time_us),
            until_us.map_or(Value::Null, Value::TimestampTz),
            made.map_or(Value::Null, |made| Value::TimestampTz(made.time_us)),
            record.map_or(Value::Null, |record| text(record.meta.user)),
        ]);
    }
    ready(rows)
}

fn erasures(ctx: &QueryContext) -> Result<ValueRows> {
    let read = &ctx.read;
    let at = read.system_time.map_or(ReadPoint::Latest, ReadPoint::AsOf);
    if read.system_time.is_none() {
        read.reader.note_range(TreeId::ERASURES, &KeyRange::all())?;
    }
    let mut rows = Vec::new();
    for version in read.view.scan(TreeId::ERASURES, &KeyRange::all(), at, false)? {
        let version = version?;
        let Certificate { number: erasure, table, rows: erased, versions, digest } =
            Certificate::decode(&version.payload)?;
        let record = read.engine.commit_record(&read.view, version.from.seq)?;
        let number = |number: u64| Value::Int8(i64::try_from(number).unwrap_or(i64::MAX));
        let name = read.engine.table_ever(table).map_or_else(|| table.to_string(), |table| table.name.clone());
        rows.push(vec![
            number(erasure),
            Value::TimestampTz(version.from.time_us),
            record.map_or(Value::Null, |record| text(record.meta.user)),
            text(name),
            number(erased),
            number(versions),
            text(digest.to_string()),
        ]);
    }
    ready(rows)
}

/// `driftdb.retention_plan` of a table.
pub(in crate::query) fn retention_plan(table: Arc<TableSchema>) -> Arc<dyn TableProvider> {
    let rows = move |ctx: &QueryContext| ready(vec![plan_row(&table, ctx.read.engine.retention_plan(&table)?)]);
    Arc::new(Computed::new("driftdb.retention_plan".to_owned(), PLAN, Arc::new(rows)))
}

fn plan_row(table: &TableSchema, plan: RetentionPlan) -> Vec<Value> {
    let seq = |stamp: Option<Stamp>| stamp.map_or(Value::Null, |stamp| seq_value(stamp.seq));
    let time = |stamp: Option<Stamp>| stamp.map_or(Value::Null, |stamp| Value::TimestampTz(stamp.time_us));
    vec![
        text(table.name.clone()),
        plan.retention.map_or(Value::Null, Value::Interval),
        seq(plan.horizon),
        time(plan.horizon),
        seq(plan.next),
        time(plan.next),
        plan.held_by.map_or(Value::Null, text),
        Value::Int8(i64::try_from(plan.versions).unwrap_or(i64::MAX)),
        Value::Int8(i64::try_from(plan.bytes).unwrap_or(i64::MAX)),
    ]
}

fn seq_value(seq: CommitSeq) -> Value {
    Value::Int8(i64::try_from(seq.0).unwrap_or(i64::MAX))
}
