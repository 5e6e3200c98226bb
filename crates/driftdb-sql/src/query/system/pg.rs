//! `pg_catalog`: tables that have rows.

use driftdb_types::{ColumnId, DataType as T, Result, TableSchema, Value};

use super::{
    CATALOG_OID, INFORMATION_OID, PUBLIC_OID, SystemTable, USER_OID, all, clustered_index_oid, oid, ready, system_oid,
    text,
};
use crate::query::functions::index_definition;
use crate::query::scan::ValueRows;
use crate::read::QueryContext;

const SCHEMA: &str = "pg_catalog";

/// As in PostgreSQL.
const DEFAULT_TABLESPACE_OID: i64 = 1663;

macro_rules! table {
    ($name:literal, [$(($column:literal, $type:expr)),* $(,)?], $rows:expr) => {
        SystemTable { schema: SCHEMA, name: $name, columns: &[$(($column, $type)),*], rows: $rows }
    };
}

pub(super) const TABLES: &[SystemTable] = &[
    table!(
        "pg_namespace",
        [("oid", T::Int8), ("nspname", T::Text), ("nspowner", T::Int8), ("nspacl", T::Text)],
        namespaces
    ),
    table!(
        "pg_class",
        [
            ("oid", T::Int8),
            ("relname", T::Text),
            ("relnamespace", T::Int8),
            ("reltype", T::Int8),
            ("reloftype", T::Int8),
            ("relowner", T::Int8),
            ("relam", T::Int8),
            ("relfilenode", T::Int8),
            ("reltablespace", T::Int8),
            ("relpages", T::Int4),
            ("reltuples", T::Float4),
            ("relallvisible", T::Int4),
            ("reltoastrelid", T::Int8),
            ("relhasindex", T::Bool),
            ("relisshared", T::Bool),
            ("relpersistence", T::Text),
            ("relkind", T::Text),
            ("relnatts", T::Int2),
            ("relchecks", T::Int2),
            ("relhasrules", T::Bool),
            ("relhastriggers", T::Bool),
            ("relhassubclass", T::Bool),
            ("relrowsecurity", T::Bool),
            ("relforcerowsecurity", T::Bool),
            ("relispopulated", T::Bool),
            ("relreplident", T::Text),
            ("relispartition", T::Bool),
            ("relacl", T::Text),
            ("reloptions", T::Text),
            ("relpartbound", T::Text),
        ],
        classes
    ),
    table!(
        "pg_attribute",
        [
            ("attrelid", T::Int8),
            ("attname", T::Text),
            ("atttypid", T::Int8),
            ("attstattarget", T::Int4),
            ("attlen", T::Int2),
            ("attnum", T::Int2),
            ("attndims", T::Int4),
            ("atttypmod", T::Int4),
            ("attnotnull", T::Bool),
            ("atthasdef", T::Bool),
            ("atthasmissing", T::Bool),
            ("attidentity", T::Text),
            ("attgenerated", T::Text),
            ("attisdropped", T::Bool),
            ("attislocal", T::Bool),
            ("attinhcount", T::Int4),
            ("attcollation", T::Int8),
            ("attacl", T::Text),
            ("attcompression", T::Text),
            ("attstorage", T::Text),
            ("attoptions", T::Text),
            ("attfdwoptions", T::Text),
        ],
        attributes
    ),
    table!("pg_attrdef", [("oid", T::Int8), ("adrelid", T::Int8), ("adnum", T::Int2), ("adbin", T::Text)], defaults),
    table!(
        "pg_type",
        [
            ("oid", T::Int8),
            ("typname", T::Text),
            ("typnamespace", T::Int8),
            ("typowner", T::Int8),
            ("typlen", T::Int2),
            ("typbyval", T::Bool),
            ("typtype", T::Text),
            ("typcategory", T::Text),
            ("typispreferred", T::Bool),
            ("typisdefined", T::Bool),
            ("typdelim", T::Text),
            ("typrelid", T::Int8),
            ("typelem", T::Int8),
            ("typarray", T::Int8),
            ("typinput", T::Text),
            ("typnotnull", T::Bool),
            ("typbasetype", T::Int8),
            ("typtypmod", T::Int4),
            ("typcollation", T::Int8),
            ("typdefault", T::Text),
        ],
        types
    ),
    table!(
        "pg_index",
        [
            ("indexrelid", T::Int8),
            ("indrelid", T::Int8),
            ("indnatts", T::Int2),
            ("indnkeyatts", T::Int2),
            ("indisunique", T::Bool),
            ("indisprimary", T::Bool),
            ("indisexclusion", T::Bool),
            ("indimmediate", T::Bool),
            ("indisclustered", T::Bool),
            ("indisvalid", T::Bool),
            ("indisready", T::Bool),
            ("indislive", T::Bool),
            ("indisreplident", T::Bool),
            ("indkey", T::Text),
            ("indexprs", T::Text),
            ("indpred", T::Text),
            ("indnullsnotdistinct", T::Bool),
        ],
        indexes
    ),
    table!(
        "pg_constraint",
        [
            ("oid", T::Int8),
            ("conname", T::Text),
            ("connamespace", T::Int8),
            ("contype", T::Text),
            ("condeferrable", T::Bool),
            ("condeferred", T::Bool),
            ("convalidated", T::Bool),
            ("conrelid", T::Int8),
            ("contypid", T::Int8),
            ("conindid", T::Int8),
            ("conparentid", T::Int8),
            ("confrelid", T::Int8),
            ("conkey", T::Text),
            ("confkey", T::Text),
            ("conbin", T::Text),
            ("conislocal", T::Bool),
        ],
        constraints
    ),
    table!(
        "pg_tables",
        [
            ("schemaname", T::Text),
            ("tablename", T::Text),
            ("tableowner", T::Text),
            ("tablespace", T::Text),
            ("hasindexes", T::Bool),
            ("hasrules", T::Bool),
            ("hastriggers", T::Bool),
            ("rowsecurity", T::Bool),
        ],
        tables
    ),
    table!(
        "pg_indexes",
        [
            ("schemaname", T::Text),
            ("tablename", T::Text),
            ("indexname", T::Text),
            ("tablespace", T::Text),
            ("indexdef", T::Text),
        ],
        index_texts
    ),
    table!(
        "pg_database",
        [
            ("oid", T::Int8),
            ("datname", T::Text),
            ("datdba", T::Int8),
            ("encoding", T::Int4),
            ("datlocprovider", T::Text),
            ("datistemplate", T::Bool),
            ("datallowconn", T::Bool),
            ("datconnlimit", T::Int4),
            ("dattablespace", T::Int8),
            ("datcollate", T::Text),
            ("datctype", T::Text),
            ("daticulocale", T::Text),
            ("datcollversion", T::Text),
            ("datacl", T::Text),
        ],
        databases
    ),
    table!(
        "pg_tablespace",
        [("oid", T::Int8), ("spcname", T::Text), ("spcowner", T::Int8), ("spcacl", T::Text), ("spcoptions", T::Text)],
        tablespaces
    ),
    table!(
        "pg_roles",
        [
            ("oid", T::Int8),
            ("rolname", T::Text),
            ("rolsuper", T::Bool),
            ("rolinherit", T::Bool),
            ("rolcreaterole", T::Bool),
            ("rolcreatedb", T::Bool),
            ("rolcanlogin", T::Bool),
            ("rolconnlimit", T::Int4),
            ("rolvaliduntil", T::TimestampTz),
            ("rolreplication", T::Bool),
            ("rolbypassrls", T::Bool),
        ],
        roles
    ),
    table!(
        "pg_user",
        [("usename", T::Text), ("usesysid", T::Int8), ("usecreatedb", T::Bool), ("usesuper", T::Bool)],
        users
    ),
    table!(
        "pg_settings",
        [
            ("name", T::Text),
            ("setting", T::Text),
            ("unit", T::Text),
            ("category", T::Text),
            ("short_desc", T::Text),
            ("context", T::Text),
            ("vartype", T::Text),
            ("source", T::Text),
        ],
        settings
    ),
    table!(
        "pg_am",
        [("oid", T::Int8), ("amname", T::Text), ("amhandler", T::Text), ("amtype", T::Text)],
        access_methods
    ),
    table!(
        "pg_collation",
        [
            ("oid", T::Int8),
            ("collname", T::Text),
            ("collnamespace", T::Int8),
            ("collprovider", T::Text),
            ("collencoding", T::Int4),
            ("collcollate", T::Text),
            ("collctype", T::Text),
        ],
        collations
    ),
];

const HEAP_OID: i64 = 2;
const BTREE_OID: i64 = 403;
const DEFAULT_COLLATION_OID: i64 = 100;

fn flag(value: bool) -> Value {
    Value::Bool(value)
}

fn small(value: usize) -> Value {
    Value::Int2(i16::try_from(value).unwrap_or(i16::MAX))
}

fn namespaces(_: &QueryContext) -> Result<ValueRows> {
    let row = |number: i64, name: &str| vec![oid(number), text(name), oid(USER_OID), Value::Null];
    ready(vec![
        row(CATALOG_OID, "pg_catalog"),
        row(PUBLIC_OID, "public"),
        row(INFORMATION_OID, "information_schema"),
        row(INFORMATION_OID + 1, "driftdb"),
    ])
}

fn namespace_oid(name: &str) -> i64 {
    match name {
        "pg_catalog" => CATALOG_OID,
        "information_schema" => INFORMATION_OID,
        _ => INFORMATION_OID + 1,
    }
}

struct Class<'a> {
    oid: i64,
    name: &'a str,
    namespace: i64,
    kind: &'a str,
    columns: usize,
    has_index: bool,
}

fn class_row(class: &Class<'_>) -> Vec<Value> {
    let access = match class.kind {
        "r" => HEAP_OID,
        "i" => BTREE_OID,
        _ => 0,
    };
    vec![
        oid(class.oid),
        text(class.name),
        oid(class.namespace),
        oid(0),
        oid(0),
        oid(USER_OID),
        oid(access),
        oid(class.oid),
        oid(0),
        Value::Int4(0),
        // PostgreSQL's mark of "never analysed".
        Value::Float4(-1.0),
        Value::Int4(0),
        oid(0),
        flag(class.has_index),
        flag(false),
        text("p"),
        text(class.kind),
        small(class.columns),
        Value::Int2(0),
        flag(false),
        flag(false),
        flag(false),
        flag(false),
        flag(false),
        flag(true),
        text(if class.kind == "r" { "d" } else { "n" }),
        flag(false),
        Value::Null,
        Value::Null,
        Value::Null,
    ]
}

/// Every index of a table, that of a clustered primary key included.
struct Index<'a> {
    oid: i64,
    name: &'a str,
    columns: &'a [ColumnId],
    unique: bool,
    primary: bool,
    constraint: bool,
}

fn indexes_of(table: &TableSchema) -> Vec<Index<'_>> {
    let primary = table.primary_key.as_ref();
    let mut found = Vec::new();
    if let Some(key) = primary.filter(|key| key.index.is_none()) {
        found.push(Index {
            oid: clustered_index_oid(table),
            name: &key.name,
            columns: &key.columns,
            unique: true,
            primary: true,
            constraint: true,
        });
    }
    found.extend(table.indexes.iter().map(|index| Index {
        oid: i64::from(index.id.0),
        name: &index.name,
        columns: &index.columns,
        unique: index.unique,
        primary: primary.and_then(|key| key.index) == Some(index.id),
        constraint: index.constraint,
    }));
    found
}

fn classes(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        let indexes = indexes_of(table);
        rows.push(class_row(&Class {
            oid: i64::from(table.id.0),
            name: &table.name,
            namespace: PUBLIC_OID,
            kind: "r",
            columns: table.columns.len(),
            has_index: !indexes.is_empty(),
        }));
        for index in indexes {
            rows.push(class_row(&Class {
                oid: index.oid,
                name: index.name,
                namespace: PUBLIC_OID,
                kind: "i",
                columns: index.columns.len(),
                has_index: false,
            }));
        }
    }
    for table in all() {
        let Some(oid) = system_oid(table.schema, table.name) else { continue };
        rows.push(class_row(&Class {
            oid,
            name: table.name,
            namespace: namespace_oid(table.schema),
            kind: if table.schema == SCHEMA { "r" } else { "v" },
            columns: table.columns.len(),
            has_index: false,
        }));
    }
    ready(rows)
}

fn attribute_row(
    relation: i64,
    number: usize,
    name: &str,
    data_type: T,
    not_null: bool,
    default: bool,
    dropped: bool,
) -> Vec<Value> {
    let type_oid = if dropped { 0 } else { i64::from(data_type.oid()) };
    let name = if dropped { format!("........pg.dropped.{number}........") } else { name.to_owned() };
    vec![
        oid(relation),
        text(name),
        oid(type_oid),
        Value::Int4(-1),
        Value::Int2(data_type.type_len()),
        small(number),
        Value::Int4(0),
        Value::Int4(data_type.typmod()),
        flag(not_null),
        flag(default),
        flag(false),
        text(""),
        text(""),
        flag(dropped),
        flag(true),
        Value::Int4(0),
        oid(if data_type.is_text() { DEFAULT_COLLATION_OID } else { 0 }),
        Value::Null,
        text(""),
        text(if data_type.type_len() < 0 { "x" } else { "p" }),
        Value::Null,
        Value::Null,
    ]
}

fn attributes(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for (position, column) in table.columns.iter().enumerate() {
            let default = column.default.is_some() && !column.dropped;
            rows.push(attribute_row(
                i64::from(table.id.0),
                position + 1,
                &column.name,
                column.data_type,
                column.not_null,
                default,
                column.dropped,
            ));
        }
        for index in indexes_of(table) {
            for (position, column) in index.columns.iter().filter_map(|id| table.column_by_id(*id)).enumerate() {
                rows.push(attribute_row(index.oid, position + 1, &column.name, column.data_type, false, false, false));
            }
        }
    }
    for table in all() {
        let Some(relation) = system_oid(table.schema, table.name) else { continue };
        for (position, (name, data_type)) in table.columns.iter().enumerate() {
            rows.push(attribute_row(relation, position + 1, name, *data_type, false, false, false));
        }
    }
    ready(rows)
}

fn defaults(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for (position, column) in table.columns.iter().enumerate().filter(|(_, column)| !column.dropped) {
            if let Some(default) = &column.default {
                let number = i64::from(table.id.0) * 2000 + position as i64;
                rows.push(vec![oid(number), oid(i64::from(table.id.0)), small(position + 1), text(default)]);
            }
        }
    }
    ready(rows)
}

pub(super) const ALL_TYPES: [(T, &str); 19] = [
    (T::Bool, "B"),
    (T::Bytea, "U"),
    (T::Int8, "N"),
    (T::Int2, "N"),
    (T::Int4, "N"),
    (T::Text, "S"),
    (T::Json, "U"),
    (T::Jsonb, "U"),
    (T::Float4, "N"),
    (T::Float8, "N"),
    (T::Char(1), "S"),
    (T::Varchar(None), "S"),
    (T::Date, "D"),
    (T::Time, "D"),
    (T::Timestamp, "D"),
    (T::TimestampTz, "D"),
    (T::Interval, "T"),
    (T::Numeric(None), "N"),
    (T::Uuid, "U"),
];

fn types(_: &QueryContext) -> Result<ValueRows> {
    let row = |number: i64, name: &str, length: i16, category: &str| {
        vec![
            oid(number),
            text(name),
            oid(CATALOG_OID),
            oid(USER_OID),
            Value::Int2(length),
            flag((1..=8).contains(&length)),
            text("b"),
            text(category),
            flag(matches!(name, "text" | "float8" | "timestamptz" | "bool" | "interval")),
            flag(true),
            text(","),
            oid(0),
            oid(0),
            oid(0),
            text(format!("{name}in")),
            flag(false),
            oid(0),
            Value::Int4(-1),
            oid(if category == "S" { DEFAULT_COLLATION_OID } else { 0 }),
            Value::Null,
        ]
    };
    let mut rows: Vec<Vec<Value>> = ALL_TYPES
        .iter()
        .map(|(data_type, category)| row(data_type.oid().into(), data_type.type_name(), data_type.type_len(), category))
        .collect();
    rows.push(row(18, "char", 1, "Z"));
    rows.push(row(19, "name", 64, "S"));
    rows.push(row(26, "oid", 4, "N"));
    rows.push(row(705, "unknown", -2, "X"));
    rows.push(row(2205, "regclass", 4, "N"));
    ready(rows)
}

fn numbers(columns: &[ColumnId]) -> String {
    let numbers: Vec<String> = columns.iter().map(|id| (u32::from(id.0) + 1).to_string()).collect();
    numbers.join(" ")
}

fn indexes(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for index in indexes_of(table) {
            rows.push(vec![
                oid(index.oid),
                oid(i64::from(table.id.0)),
                small(index.columns.len()),
                small(index.columns.len()),
                flag(index.unique),
                flag(index.primary),
                flag(false),
                flag(true),
                flag(false),
                flag(true),
                flag(true),
                flag(true),
                flag(false),
                text(numbers(index.columns)),
                Value::Null,
                Value::Null,
                flag(false),
            ]);
        }
    }
    ready(rows)
}

fn constraints(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for index in indexes_of(table).into_iter().filter(|index| index.primary || index.constraint) {
            rows.push(vec![
                oid(index.oid),
                text(index.name),
                oid(PUBLIC_OID),
                text(if index.primary { "p" } else { "u" }),
                flag(false),
                flag(false),
                flag(true),
                oid(i64::from(table.id.0)),
                oid(0),
                oid(index.oid),
                oid(0),
                oid(0),
                text(format!("{{{}}}", numbers(index.columns).replace(' ', ","))),
                Value::Null,
                Value::Null,
                flag(true),
            ]);
        }
    }
    ready(rows)
}

fn tables(ctx: &QueryContext) -> Result<ValueRows> {
    let row = |schema: &str, name: &str, indexed: bool| {
        vec![
            text(schema),
            text(name),
            text(ctx.client.user.as_str()),
            Value::Null,
            flag(indexed),
            flag(false),
            flag(false),
            flag(false),
        ]
    };
    let users = ctx.read.catalog.tables().map(|table| row("public", &table.name, !indexes_of(table).is_empty()));
    let system = all().filter(|table| table.schema == SCHEMA).map(|table| row(SCHEMA, table.name, false));
    ready(users.chain(system).collect())
}

fn index_texts(ctx: &QueryContext) -> Result<ValueRows> {
    let mut rows = Vec::new();
    for table in ctx.read.catalog.tables() {
        for index in indexes_of(table) {
            let definition = index_definition(table, index.name, index.columns, index.unique);
            rows.push(vec![text("public"), text(&table.name), text(index.name), Value::Null, text(definition)]);
        }
    }
    ready(rows)
}

fn databases(ctx: &QueryContext) -> Result<ValueRows> {
    ready(vec![vec![
        oid(1),
        text(ctx.client.database.as_str()),
        oid(USER_OID),
        Value::Int4(6),
        text("c"),
        flag(false),
        flag(true),
        Value::Int4(-1),
        oid(DEFAULT_TABLESPACE_OID),
        text("C"),
        text("C"),
        Value::Null,
        Value::Null,
        Value::Null,
    ]])
}

/// The one there is: the data directory.
fn tablespaces(_: &QueryContext) -> Result<ValueRows> {
    let default = text("pg_default");
    ready(vec![vec![oid(DEFAULT_TABLESPACE_OID), default, oid(USER_OID), Value::Null, Value::Null]])
}

fn roles(ctx: &QueryContext) -> Result<ValueRows> {
    let yes = || flag(true);
    ready(vec![vec![
        oid(USER_OID),
        text(ctx.client.user.as_str()),
        yes(),
        yes(),
        yes(),
        yes(),
        yes(),
        Value::Int4(-1),
        Value::Null,
        flag(false),
        flag(false),
    ]])
}

fn users(ctx: &QueryContext) -> Result<ValueRows> {
    ready(vec![vec![text(ctx.client.user.as_str()), oid(USER_OID), flag(true), flag(true)]])
}

fn settings(ctx: &QueryContext) -> Result<ValueRows> {
    let row = |(name, value, description): (&'static str, String, &'static str)| {
        vec![
            text(name),
            text(value),
            Value::Null,
            text("DriftDB"),
            text(description),
            text("user"),
            text("string"),
            text("session"),
        ]
    };
    ready(ctx.settings.all().into_iter().map(row).collect())
}

fn access_methods(_: &QueryContext) -> Result<ValueRows> {
    let row =
        |number: i64, name: &str, kind: &str| vec![oid(number), text(name), text(format!("{name}handler")), text(kind)];
    ready(vec![row(HEAP_OID, "heap", "t"), row(BTREE_OID, "btree", "i")])
}

fn collations(_: &QueryContext) -> Result<ValueRows> {
    let row = |number: i64, name: &str| {
        vec![oid(number), text(name), oid(CATALOG_OID), text("c"), Value::Int4(-1), text("C"), text("C")]
    };
    ready(vec![row(DEFAULT_COLLATION_OID, "default"), row(950, "C"), row(951, "POSIX")])
}
