//! Tables as DataFusion sees them: a user's table at a read point, and rows that a statement holds already.
//!
//! A provider holds the table's definition and the read point, not the reader: that is found in the execution's context,
//! so that a plan can be kept.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use driftdb_types::{Column, ColumnId, DataType, TableSchema, Value};

use super::ROW_KEY_COLUMN;
use super::keys::{access, conditions, may_narrow};
use super::rewrite::{HIDDEN_COLUMNS, ReadAt};
use super::scan::{RowsExec, StoreExec};
use super::types::{ORIGIN_KEY, field};
use crate::read::InputRows;

/// What one exposed column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stored(ColumnId, DataType),
    SystemFrom,
    SystemTo,
    FromSeq,
    ToSeq,
    TxUser,
    TxApp,
    TxComment,
    RowKey,
    /// What made the version the truth, in `driftdb.history`.
    Op,
}

impl Source {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Source::Stored(_, data_type) => data_type,
            Source::SystemFrom | Source::SystemTo => DataType::TimestampTz,
            Source::FromSeq | Source::ToSeq => DataType::Int8,
            Source::TxUser | Source::TxApp | Source::TxComment | Source::Op => DataType::Text,
            Source::RowKey => DataType::Bytea,
        }
    }

    pub(super) fn hidden(name: &str) -> Option<Source> {
        Some(match name {
            "_system_from" => Source::SystemFrom,
            "_system_to" => Source::SystemTo,
            "_from_seq" => Source::FromSeq,
            "_to_seq" => Source::ToSeq,
            "_tx_user" => Source::TxUser,
            "_tx_app" => Source::TxApp,
            "_tx_comment" => Source::TxComment,
            _ => return None,
        })
    }
}

/// How a table's versions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read(ReadAt),
    /// Every version, and every deletion as a row of its own: `driftdb.history`.
    History,
}

/// A table at a read point.
#[derive(Debug)]
pub(super) struct StoreTable {
    table: Arc<TableSchema>,
    mode: Mode,
    sources: Vec<Source>,
    schema: SchemaRef,
}

impl StoreTable {
    /// The table with those of its hidden columns that the query names.
    pub(super) fn new(table: Arc<TableSchema>, at: ReadAt, hidden: &[String], row_keys: bool) -> StoreTable {
        let mut columns = stored(&table, matches!(at, ReadAt::Now | ReadAt::AsOf(_)));
        for name in hidden.iter().filter(|name| table.column(name).is_none()) {
            if let Some(source) = Source::hidden(name) {
                columns.push((source, field(name, source.data_type(), true)));
            } else if row_keys && name == ROW_KEY_COLUMN {
                columns.push((Source::RowKey, field(name, DataType::Bytea, true)));
            }
        }
        StoreTable::with(table, Mode::Read(at), columns)
    }

    /// Every version with all hidden columns.
    pub(super) fn history(table: Arc<TableSchema>) -> StoreTable {
        let mut columns = stored(&table, false);
        let hidden = HIDDEN_COLUMNS.iter().filter(|name| table.column(name).is_none());
        columns.extend(hidden.filter_map(|name| {
            let source = Source::hidden(name)?;
            Some((source, field(name, source.data_type(), true)))
        }));
        columns.push((Source::Op, field("op", DataType::Text, true)));
        StoreTable::with(table, Mode::History, columns)
    }

    fn with(table: Arc<TableSchema>, mode: Mode, columns: Vec<(Source, Field)>) -> StoreTable {
        let (sources, fields): (Vec<Source>, Vec<Field>) = columns.into_iter().unzip();
        StoreTable { table, mode, sources, schema: Arc::new(Schema::new(fields)) }
    }
}

fn stored(table: &TableSchema, not_null_holds: bool) -> Vec<(Source, Field)> {
    let exposed = |column: &Column| {
        let field = field(&column.name, column.data_type, !(not_null_holds && column.not_null));
        let mut metadata = field.metadata().clone();
        metadata.insert(ORIGIN_KEY.to_owned(), format!("{},{}", table.id.0, u32::from(column.id.0) + 1));
        (Source::Stored(column.id, column.data_type), field.with_metadata(metadata))
    };
    table.live_columns().map(exposed).collect()
}

#[async_trait]
impl TableProvider for StoreTable {
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
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let positions: Vec<usize> = match projection {
            Some(positions) => positions.clone(),
            None => (0..self.sources.len()).collect(),
        };
        let sources = positions.iter().filter_map(|position| self.sources.get(*position).copied()).collect();
        let schema = Arc::new(self.schema.project(&positions)?);
        let found = conditions(&self.table, filters);
        let indexes = matches!(self.mode, Mode::Read(ReadAt::Now | ReadAt::AsOf(_)));
        let access = access(&self.table, &found, indexes);
        Ok(Arc::new(StoreExec::new(Arc::clone(&self.table), self.mode, access, sources, schema, limit)))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match may_narrow(&self.table, filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }
}

/// Rows that the execution's context holds under a name.
#[derive(Debug)]
pub(super) struct InputTable {
    name: String,
    schema: SchemaRef,
}

impl InputTable {
    pub(super) fn new(input: &InputRows) -> InputTable {
        let fields: Vec<Field> = input.columns.iter().map(|(name, data_type)| field(name, *data_type, true)).collect();
        InputTable { name: input.name.clone(), schema: Arc::new(Schema::new(fields)) }
    }
}

#[async_trait]
impl TableProvider for InputTable {
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
        let name = self.name.clone();
        RowsExec::plan(&self.schema, projection, self.name.clone(), move |ctx| {
            let input = ctx.inputs.iter().find(|input| input.name == name);
            let rows: Vec<Vec<Value>> = input.map(|input| input.rows.clone()).unwrap_or_default();
            Ok(Box::new(rows.into_iter().map(Ok)))
        })
    }
}
