//! System tables: `driftdb.commits`, `driftdb.pins`, `information_schema`, and of `pg_catalog` what common tools ask for. They are computed
//! from the catalog of the execution's snapshot when they are scanned.

mod commits;
mod information;
mod keeping;
mod pg;
mod pg_empty;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use driftdb_engine::Catalog;
use driftdb_types::{DataType, KeyRange, Result, TableSchema, TreeId, Value};

pub(super) use keeping::retention_plan;

use super::functions::CLUSTERED_INDEX_OID;
use super::scan::{RowsExec, ValueRows};
use super::types::field;
use crate::read::{QueryContext, ReadState};

/// The oid of the schema `public`.
const PUBLIC_OID: i64 = 2200;
/// The oid of the schema `pg_catalog`.
const CATALOG_OID: i64 = 11;
/// The oid of the schema `information_schema`.
const INFORMATION_OID: i64 = 13_000;
/// The oid of the only user there is.
const USER_OID: i64 = 10;

/// One system table.
#[derive(Clone, Copy)]
struct SystemTable {
    schema: &'static str,
    name: &'static str,
    columns: &'static [(&'static str, DataType)],
    rows: fn(&QueryContext) -> Result<ValueRows>,
}

/// The system table of that name.
pub(super) fn table(schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let groups: [&[SystemTable]; 5] =
        [commits::TABLES, keeping::TABLES, information::TABLES, pg::TABLES, pg_empty::TABLES];
    let found = groups.into_iter().flatten().find(|table| table.schema == schema && table.name == name)?;
    Some(Arc::new(Computed::of(*found)))
}

/// Whether it is a table of pg_catalog that never has rows.
pub(super) fn is_empty_table(name: &str) -> bool {
    pg_empty::TABLES.iter().any(|table| table.name == name)
}

/// The names of all of them, with their schemas.
fn all() -> impl Iterator<Item = &'static SystemTable> {
    let groups: [&'static [SystemTable]; 5] =
        [commits::TABLES, keeping::TABLES, information::TABLES, pg::TABLES, pg_empty::TABLES];
    groups.into_iter().flatten()
}

/// A table whose rows are computed when it is scanned.
struct Computed {
    name: String,
    schema: SchemaRef,
    rows: Rows,
}

type Rows = Arc<dyn Fn(&QueryContext) -> Result<ValueRows> + Send + Sync>;

impl Computed {
    fn new(name: String, columns: &[(&str, DataType)], rows: Rows) -> Computed {
        let fields: Vec<Field> = columns.iter().map(|(name, data_type)| field(name, *data_type, true)).collect();
        Computed { name, schema: Arc::new(Schema::new(fields)), rows }
    }

    /// One of the tables that show the catalog of the session's read point.
    fn of(table: SystemTable) -> Computed {
        let rows = move |ctx: &QueryContext| {
            let catalog = ctx.read.catalog_shown()?;
            if ctx.read.system_time.is_none() {
                ctx.read.reader.note_range(TreeId::CATALOG, &KeyRange::all())?;
            }
            let read = ReadState { catalog, ..ctx.read.clone() };
            (table.rows)(&QueryContext { read, ..ctx.clone() })
        };
        Computed::new(format!("{}.{}", table.schema, table.name), table.columns, Arc::new(rows))
    }
}

impl std::fmt::Debug for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl TableProvider for Computed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = Arc::clone(&self.rows);
        RowsExec::plan(&self.schema, projection, self.name.clone(), move |ctx| rows(ctx))
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

fn oid(value: impl Into<i64>) -> Value {
    Value::Int8(value.into())
}

fn ready(rows: Vec<Vec<Value>>) -> Result<ValueRows> {
    Ok(Box::new(rows.into_iter().map(Ok)))
}

/// The oid that the index of a clustered primary key is shown with; the rows are that index.
fn clustered_index_oid(table: &TableSchema) -> i64 {
    i64::from(table.id.0 | CLUSTERED_INDEX_OID)
}

/// The oid of a table or index by its name.
pub(super) fn relation_oid(catalog: &Catalog, name: &str) -> Option<i64> {
    if let Some(table) = catalog.table(name) {
        return Some(i64::from(table.id.0));
    }
    for table in catalog.tables() {
        if let Some(index) = table.indexes.iter().find(|index| index.name == name) {
            return Some(i64::from(index.id.0));
        }
        if table.is_clustered() && table.primary_key.as_ref().is_some_and(|key| key.name == name) {
            return Some(clustered_index_oid(table));
        }
    }
    system_oid("pg_catalog", name)
}

/// How many system tables there are.
const COUNT: usize = commits::TABLES.len() + information::TABLES.len() + pg::TABLES.len() + pg_empty::TABLES.len();

/// The name of a table or index by its oid.
pub(super) fn relation_name(catalog: &Catalog, oid: i64) -> Option<String> {
    for table in catalog.tables() {
        if i64::from(table.id.0) == oid {
            return Some(table.name.clone());
        }
        if let Some(index) = table.indexes.iter().find(|index| i64::from(index.id.0) == oid) {
            return Some(index.name.clone());
        }
        if clustered_index_oid(table) == oid && table.is_clustered() {
            return table.primary_key.as_ref().map(|key| key.name.clone());
        }
    }
    let place = usize::try_from(oid).ok()?.checked_sub(1)?;
    all().nth(place).map(|table| table.name.to_owned())
}

/// The type of that name, in the catalog's spelling or SQL's.
pub(super) fn type_named(written: &str) -> Option<DataType> {
    let name = written.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    pg::ALL_TYPES.iter().map(|(data_type, _)| *data_type).find(|t| t.type_name() == name || t.sql_name() == name)
}

/// The first oid that the engine gives to a table or index of users.
const USERS_FIRST_OID: usize = 100;

// System tables have the oids from 1 on, by their place in the list, and so none of a user's table.
const _: () = assert!(COUNT < USERS_FIRST_OID, "system tables would share oids with users' tables");

/// The oid of a system table.
fn system_oid(schema: &str, name: &str) -> Option<i64> {
    let place = all().position(|table| table.name == name && table.schema == schema)?;
    i64::try_from(place + 1).ok()
}
