//! `information_schema` (SQL standard, part 11), the views that tools read.

use driftdb_types::{Column, ColumnId, DataType as T, Result, TableSchema, Value};

use super::{SystemTable, all, ready, text};
use crate::query::scan::ValueRows;
use crate::read::QueryContext;

const SCHEMA: &str = "information_schema";

pub(super) const TABLES: &[SystemTable] = &[
    SystemTable {
        schema: SCHEMA,
        name: "schemata",
        columns: &[("catalog_name", T::Text), ("schema_name", T::Text), ("schema_owner", T::Text)],
        rows: schemata,
    },
    SystemTable {
        schema: SCHEMA,
        name: "tables",
        columns: &[
            ("table_catalog", T::Text),
            ("table_schema", T::Text),
            ("table_name", T::Text),
            ("table_type", T::Text),
            ("self_referencing_column_name", T::Text),
            ("reference_generation", T::Text),
            ("user_defined_type_catalog", T::Text),
            ("user_defined_type_schema", T::Text),
            ("user_defined_type_name", T::Text),
            ("is_insertable_into", T::Text),
            ("is_typed", T::Text),
            ("commit_action", T::Text),
        ],
        rows: tables,
    },
    SystemTable {
        schema: SCHEMA,
        name: "columns",
        columns: &[
            ("table_catalog", T::Text),
            ("table_schema", T::Text),
            ("table_name", T::Text),
            ("column_name", T::Text),
            ("ordinal_position", T::Int4),
            ("column_default", T::Text),
            ("is_nullable", T::Text),
            ("data_type", T::Text),
            ("character_maximum_length", T::Int4),
            ("character_octet_length", T::Int4),
            ("numeric_precision", T::Int4),
            ("numeric_precision_radix", T::Int4),
            ("numeric_scale", T::Int4),
            ("datetime_precision", T::Int4),
            ("udt_catalog", T::Text),
            ("udt_schema", T::Text),
            ("udt_name", T::Text),
            ("is_identity", T::Text),
            ("is_generated", T::Text),
            ("is_updatable", T::Text),
        ],
        rows: columns,
    },
    SystemTable {
        schema: SCHEMA,
        name: "table_constraints",
        columns: &[
            ("constraint_catalog", T::Text),
            ("constraint_schema", T::Text),
            ("constraint_name", T::Text),
            ("table_catalog", T::Text),
            ("table_schema", T::Text),
            ("table_name", T::Text),
            ("constraint_type", T::Text),
            ("is_deferrable", T::Text),
            ("initially_deferred", T::Text),
        ],
        rows: constraints,
    },
    SystemTable {
        schema: SCHEMA,
        name: "key_column_usage",
        columns: &[
            ("constraint_catalog", T::Text),
            ("constraint_schema", T::Text),
            ("constraint_name", T::Text),
            ("table_catalog", T::Text),
            ("table_schema", T::Text),
            ("table_name", T::Text),
            ("column_name", T::Text),
            ("ordinal_position", T::Int4),
        ],
        rows: key_columns,
    },
];

fn schemata(ctx: &QueryContext) -> Result<ValueRows> {
    let row = |name: &str| vec![text(ctx.client.database.as_str()), text(name), text(ctx.client.user.as_str())];
    ready(["public", "pg_catalog", "information_schema", "driftdb"].map(row).to_vec())
}

fn tables(ctx: &QueryContext) -> Result<ValueRows> {
    let row = |schema: &str, name: &str, kind: &str, insertable: &str| {
        vec![
            text(ctx.client.database.as_str()),
            text(schema),
            text(name),
            text(kind),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            text(insertable),
            text("NO"),
            Value::Null,
        ]
    };
    let users = ctx.read.catalog.tables().map(|table| row("public", &table.name, "BASE TABLE", "YES"));
    let system = all().map(|table| row(table.schema, table.name, "VIEW", "NO"));
    ready(users.chain(system).collect())
}

fn columns(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for (position, column) in table.live_columns().enumerate() {
            rows.push(column_row(ctx, table, column, position));
        }
    }
    ready(rows)
}

fn column_row(ctx: &QueryContext, table: &TableSchema, column: &Column, position: usize) -> Vec<Value> {
    let number = |n: u32| Value::Int4(i32::try_from(n).unwrap_or(i32::MAX));
    let (length, precision, radix, scale) = match column.data_type {
        T::Varchar(Some(length)) | T::Char(length) => (number(length), Value::Null, Value::Null, Value::Null),
        T::Int2 => (Value::Null, number(16), number(2), number(0)),
        T::Int4 => (Value::Null, number(32), number(2), number(0)),
        T::Int8 => (Value::Null, number(64), number(2), number(0)),
        T::Float4 => (Value::Null, number(24), number(2), Value::Null),
        T::Float8 => (Value::Null, number(53), number(2), Value::Null),
        T::Numeric(Some((precision, scale))) => {
            (Value::Null, number(precision.into()), number(10), number(scale.into()))
        }
        _ => (Value::Null, Value::Null, Value::Null, Value::Null),
    };
    let octets = match length {
        Value::Int4(length) => Value::Int4(length.saturating_mul(4)),
        _ => Value::Null,
    };
    let datetime = match column.data_type {
        T::Time | T::Timestamp | T::TimestampTz | T::Interval => number(6),
        T::Date => number(0),
        _ => Value::Null,
    };
    vec![
        text(ctx.client.database.as_str()),
        text("public"),
        text(&table.name),
        text(&column.name),
        Value::Int4(i32::try_from(position + 1).unwrap_or(i32::MAX)),
        column.default.as_deref().map_or(Value::Null, text),
        text(if column.not_null { "NO" } else { "YES" }),
        text(unmodified_name(column.data_type)),
        length,
        octets,
        precision,
        radix,
        scale,
        datetime,
        text(ctx.client.database.as_str()),
        text("pg_catalog"),
        text(column.data_type.type_name()),
        text("NO"),
        text("NEVER"),
        text("YES"),
    ]
}

/// The type's name without its length.
fn unmodified_name(data_type: T) -> String {
    match data_type {
        T::Char(_) => "character".to_owned(),
        other => other.without_modifiers().sql_name(),
    }
}

/// Constraints as (name, kind, columns).
fn constraints_of(table: &TableSchema) -> Vec<(String, &'static str, Vec<ColumnId>)> {
    let primary = table.primary_key.as_ref();
    let mut found: Vec<(String, &'static str, Vec<ColumnId>)> =
        primary.map(|key| (key.name.clone(), "PRIMARY KEY", key.columns.clone())).into_iter().collect();
    for index in table.indexes.iter().filter(|index| index.constraint) {
        if primary.and_then(|key| key.index) != Some(index.id) {
            found.push((index.name.clone(), "UNIQUE", index.columns.clone()));
        }
    }
    found
}

fn named(ctx: &QueryContext, table: &TableSchema, constraint: &str) -> Vec<Value> {
    let database = || text(ctx.client.database.as_str());
    vec![database(), text("public"), text(constraint), database(), text("public"), text(&table.name)]
}

fn constraints(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for (name, kind, _) in constraints_of(table) {
            let mut row = named(ctx, table, &name);
            row.extend([text(kind), text("NO"), text("NO")]);
            rows.push(row);
        }
    }
    ready(rows)
}

fn key_columns(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for (name, _, columns) in constraints_of(table) {
            for (position, column) in columns.iter().filter_map(|id| table.column_by_id(*id)).enumerate() {
                let mut row = named(ctx, table, &name);
                row.extend([text(&column.name), Value::Int4(i32::try_from(position + 1).unwrap_or(i32::MAX))]);
                rows.push(row);
            }
        }
    }
    ready(rows)
}
