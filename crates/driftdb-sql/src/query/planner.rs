//! What DataFusion's SQL planner asks: tables, functions and options. All answers are ours; DataFusion's registries of
//! tables are not used, and of its functions only those on the lists below.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result as DfResult, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::sqlparser::ast::TableFactor;
use driftdb_store::Period;
use driftdb_types::{Error, KeyRange, Result, SqlState, TableSchema, TreeId};

use super::aggregates;
use super::errors::into_datafusion;
use super::functions::{Call, Callee, Facts, builtin, is_of_the_moment};
use super::provider::{InputTable, StoreTable};
use super::rewrite::{CAST_PREFIX, PointPrefix, ReadAt, Rewritten};
use super::series;
use super::system;
use super::types::type_from_code;
use crate::read::QueryContext;

/// The planner's view of one query.
pub(super) struct Planner<'a> {
    pub(super) ctx: &'a QueryContext,
    pub(super) rewritten: &'a Rewritten,
    pub(super) facts: &'a Arc<Facts>,
    pub(super) options: &'a ConfigOptions,
    /// Set when the plan holds what only this execution gives (a function's argument that is a parameter).
    pub(super) per_execution: Cell<bool>,
    pub(super) params: Option<&'a [driftdb_types::Value]>,
    tables: RefCell<HashMap<TableReference, Arc<dyn TableSource>>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        ctx: &'a QueryContext,
        rewritten: &'a Rewritten,
        facts: &'a Arc<Facts>,
        options: &'a ConfigOptions,
        params: Option<&'a [driftdb_types::Value]>,
    ) -> Planner<'a> {
        Planner {
            ctx,
            rewritten,
            facts,
            options,
            per_execution: Cell::new(false),
            params,
            tables: RefCell::new(HashMap::new()),
            expr_planners: vec![
                Arc::new(datafusion::functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion::functions_window::planner::WindowFunctionPlanner),
            ],
            relation_planners: vec![Arc::new(RefuseLeftovers)],
        }
    }

    fn table(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>> {
        let default = self.ctx.read.system_time.map_or(ReadAt::Now, ReadAt::AsOf);
        let table = name.table();
        match name.schema() {
            None => {
                if let Some(input) = self.ctx.inputs.iter().find(|input| input.name == table) {
                    return Ok(Arc::new(InputTable::new(input)));
                }
                // As with PostgreSQL's search path, pg_catalog comes before the user's tables.
                match system::table("pg_catalog", table) {
                    Some(found) => Ok(found),
                    None => self.user_table(table, default),
                }
            }
            Some("public") => self.user_table(table, default),
            Some(schema) => match PointPrefix::number(schema) {
                Some(number) => {
                    let at = self.rewritten.points.get(number).copied();
                    self.user_table(table, at.ok_or_else(|| Error::internal("a read point without a number"))?)
                }
                None => system::table(schema, table).ok_or_else(|| undefined(&format!("{schema}.{table}"))),
            },
        }
    }

    fn user_table(&self, name: &str, at: ReadAt) -> Result<Arc<dyn TableProvider>> {
        let read = &self.ctx.read;
        let found = match at {
            ReadAt::AsOf(seq) => read.engine.catalog_at(&read.view, seq)?.table(name).cloned(),
            ReadAt::Now | ReadAt::Versions(_) | ReadAt::Later => read.catalog.table(name).cloned(),
        };
        let Some(table) = found else { return Err(self.undefined_at(name, at)) };
        let row_keys = self.ctx.row_keys && matches!(at, ReadAt::Now | ReadAt::Versions(_));
        Ok(Arc::new(StoreTable::new(table, at, &self.rewritten.hidden, row_keys)))
    }

    /// 42P01; for a point before the table's birth it says when that was.
    fn undefined_at(&self, name: &str, at: ReadAt) -> Error {
        let ReadAt::AsOf(seq) = at else { return undefined(name) };
        let error =
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist as of commit {seq}"));
        match self.first_stamp(name) {
            Ok(Some(stamp)) if stamp.seq > seq => {
                let zone = self.ctx.settings.time_zone();
                let time = driftdb_types::format_value(
                    &driftdb_types::Value::TimestampTz(stamp.time_us),
                    driftdb_types::DataType::TimestampTz,
                    zone,
                );
                error.detail(format!("It first existed at commit {} ({time}).", stamp.seq))
            }
            _ => error,
        }
    }

    fn first_stamp(&self, name: &str) -> Result<Option<driftdb_types::Stamp>> {
        let read = &self.ctx.read;
        let Some(table) = read.catalog.table(name) else { return Ok(None) };
        let range = KeyRange::point(&table.id.0.to_be_bytes());
        let mut versions = read.view.versions(TreeId::CATALOG, &range, Period::All)?;
        Ok(versions.next().transpose()?.map(|version| version.from))
    }
}

pub(super) fn undefined(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
}

/// The table as of a commit, by its id: for reading history under the name of today.
pub(super) fn table_now(ctx: &QueryContext, name: &str) -> Result<Arc<TableSchema>> {
    let plain = name.strip_prefix("public.").unwrap_or(name);
    ctx.read.catalog.table(plain).cloned().ok_or_else(|| undefined(name))
}

impl ContextProvider for Planner<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        if let Some(known) = self.tables.borrow().get(&name) {
            return Ok(Arc::clone(known));
        }
        let source = provider_as_source(self.table(&name).map_err(into_datafusion)?);
        self.tables.borrow_mut().insert(name, Arc::clone(&source));
        Ok(source)
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> DfResult<Arc<dyn TableSource>> {
        series::table_function(self, name, args).map(provider_as_source).map_err(into_datafusion)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(code) = name.strip_prefix(CAST_PREFIX) {
            return Some(Arc::new(Call::udf(Callee::Cast(type_from_code(code)?), self.facts)));
        }
        if name == "random" {
            return Some(datafusion::functions::math::random());
        }
        if is_of_the_moment(name) {
            self.per_execution.set(true);
        }
        builtin(name).map(|builtin| Arc::new(Call::udf(Callee::Builtin(builtin), self.facts)))
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        aggregates::aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        use datafusion::functions_window as w;
        Some(match name {
            "row_number" => w::row_number::row_number_udwf(),
            "rank" => w::rank::rank_udwf(),
            "dense_rank" => w::rank::dense_rank_udwf(),
            "percent_rank" => w::rank::percent_rank_udwf(),
            "cume_dist" => w::cume_dist::cume_dist_udwf(),
            "ntile" => w::ntile::ntile_udwf(),
            "lag" => w::lead_lag::lag_udwf(),
            "lead" => w::lead_lag::lead_udwf(),
            "first_value" => w::nth_value::first_value_udwf(),
            "last_value" => w::nth_value::last_value_udwf(),
            "nth_value" => w::nth_value::nth_value_udwf(),
            _ => return None,
        })
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<ArrowType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.options
    }

    /// Asked only to suggest a name where one is not known; without any, DataFusion's error would be another.
    fn udf_names(&self) -> Vec<String> {
        vec!["coalesce".to_owned()]
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// DataFusion ignores a version clause that no planner takes. By now none is left; if one is, it must not be ignored.
#[derive(Debug)]
struct RefuseLeftovers;

impl RelationPlanner for RefuseLeftovers {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let left_over = matches!(
            &relation,
            TableFactor::Table { version: Some(_), .. }
                | TableFactor::Table { sample: Some(_), .. }
                | TableFactor::Derived { sample: Some(_), .. }
        );
        if left_over {
            return Err(into_datafusion(Error::unsupported("this clause of a table")));
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
