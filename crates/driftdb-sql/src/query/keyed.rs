//! Comparing, sorting and grouping by keys.
//!
//! DataFusion goes by the parts of an interval, the bytes of an unconstrained numeric and the text of a jsonb. Wherever it
//! compares (in conditions, ORDER BY, GROUP BY, DISTINCT, joins, windows), such a value is replaced by its key
//! ([`KEY`](super::functions::KEY)). What a grouping gives back is the first value of each group, as in PostgreSQL.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Cast, Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder};
use driftdb_types::{DataType, Error};

use super::errors::into_datafusion;
use super::functions::{ArgType, Call, Callee, KEY, builtin};
use super::resolve::{Resolver, known_field};
use super::types::{NUMERIC, NUMERIC_KEY};

/// Whether DataFusion's own way to compare these values is not SQL's.
pub(super) fn has_key(arg: &ArgType) -> bool {
    match arg {
        ArgType::Known { data_type: DataType::Jsonb, .. } => true,
        ArgType::Known { arrow, .. } => *arrow == NUMERIC || matches!(arrow, ArrowType::Interval(_)),
        ArgType::Unknown => false,
    }
}

impl Resolver<'_> {
    /// What `expr` is compared by with values that have keys.
    pub(super) fn key(&self, expr: Expr, arg: &ArgType) -> DfResult<Expr> {
        if !has_key(arg) {
            let number = arg.data_type().is_some_and(|t| t.is_number());
            let wide = || Cast::new_from_field(Box::new(expr.clone()), Arc::new(Field::new("", NUMERIC_KEY, true)));
            return Ok(if number { Expr::Cast(wide()) } else { expr });
        }
        let key = builtin(KEY).ok_or_else(|| into_datafusion(Error::internal("values have no keys")))?;
        Call::settled(Callee::Builtin(key), self.facts, std::slice::from_ref(arg), vec![expr]).map_err(into_datafusion)
    }

    /// Both sides of a comparison, by their keys if either has one.
    pub(super) fn keys(&mut self, left: Expr, right: Expr, schema: &DFSchema) -> DfResult<(Expr, Expr)> {
        let args = (self.arg(&left, schema)?, self.arg(&right, schema)?);
        if has_key(&args.0) || has_key(&args.1) {
            return Ok((self.key(left, &args.0)?, self.key(right, &args.1)?));
        }
        Ok((left, right))
    }

    /// `expr`, or its key if it has one.
    pub(super) fn own_key(&mut self, expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
        let arg = self.arg(&expr, schema)?;
        if has_key(&arg) { self.key(expr, &arg) } else { Ok(expr) }
    }

    pub(super) fn own_keys(&mut self, exprs: Vec<Expr>, schema: &DFSchema) -> DfResult<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.own_key(expr, schema)).collect()
    }

    pub(super) fn sort_keys(&mut self, sorts: Vec<Sort>, schema: &DFSchema) -> DfResult<Vec<Sort>> {
        sorts.into_iter().map(|sort| Ok(Sort { expr: self.own_key(sort.expr, schema)?, ..sort })).collect()
    }

    pub(super) fn join_keys(&mut self, mut join: Join, schema: &DFSchema) -> DfResult<Join> {
        join.on = join.on.into_iter().map(|(l, r)| self.keys(l, r, schema)).collect::<DfResult<_>>()?;
        Ok(join)
    }

    /// `expr IN (subquery)` by keys, if either has one.
    pub(super) fn subquery_keys(
        &self,
        expr: Expr,
        arg: &ArgType,
        mut subquery: Subquery,
    ) -> DfResult<(Expr, Subquery)> {
        let column = known_field(subquery.subquery.schema().field(0))?;
        if !has_key(arg) && !has_key(&column) {
            return Ok((expr, subquery));
        }
        let inner = Arc::unwrap_or_clone(subquery.subquery);
        let value = inner.schema().columns().into_iter().map(Expr::Column).map(|value| self.key(value, &column));
        let keys = value.collect::<DfResult<Vec<_>>>()?;
        subquery.subquery = Arc::new(LogicalPlanBuilder::from(inner).project(keys)?.build()?);
        Ok((self.key(expr, arg)?, subquery))
    }

    pub(super) fn distinct(&mut self, distinct: Distinct) -> DfResult<LogicalPlan> {
        match distinct {
            Distinct::All(input) => {
                let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
                let schema = Arc::clone(input.schema());
                let keyed = schema.fields().iter().any(|f| known_field(f).is_ok_and(|arg| has_key(&arg)));
                match keyed {
                    true => self.grouped(Aggregate::try_new(input, columns, Vec::new())?, &schema),
                    false => Ok(LogicalPlan::Distinct(Distinct::All(input))),
                }
            }
            Distinct::On(mut on) => {
                let schema = Arc::clone(on.input.schema());
                on.on_expr = self.own_keys(on.on_expr, &schema)?;
                on.sort_expr = on.sort_expr.map(|sorts| self.sort_keys(sorts, &schema)).transpose()?;
                if let Some(sorts) = &mut on.sort_expr {
                    // DataFusion panics where one stands twice; the second says nothing.
                    let mut seen = HashSet::new();
                    sorts.retain(|sort| seen.insert(sort.expr.clone()));
                }
                Ok(LogicalPlan::Distinct(Distinct::On(on)))
            }
        }
    }

    /// A grouping by keys.
    pub(super) fn grouped(&mut self, aggregate: Aggregate, schema: &DFSchema) -> DfResult<LogicalPlan> {
        let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
        let plain = Aggregate::try_new(Arc::clone(&input), group_expr.clone(), aggr_expr.clone())?;
        let groups: Vec<Expr> = grouping_set_to_exprlist(&group_expr)?.into_iter().cloned().collect();
        let args = groups.iter().map(|group| self.arg(group, schema)).collect::<DfResult<Vec<_>>>()?;
        if !args.iter().any(has_key) {
            return Ok(LogicalPlan::Aggregate(plain));
        }
        if matches!(group_expr.first(), Some(Expr::GroupingSet(_))) {
            let keyed = args.iter().find(|arg| has_key(arg)).and_then(ArgType::data_type);
            let name = keyed.map_or_else(String::new, |data_type| data_type.sql_name());
            return Err(into_datafusion(Error::unsupported(format!("grouping sets of type {name}"))));
        }
        let mut aggregates = aggr_expr;
        let mut firsts = Vec::new();
        for (number, (group, arg)) in groups.iter().zip(&args).enumerate() {
            let name = format!("\u{1}first {number}");
            firsts.push(has_key(arg).then(|| name.clone()));
            if has_key(arg) {
                let first =
                    AggregateFunction::new_udf(first_value_udaf(), vec![group.clone()], false, None, Vec::new(), None);
                aggregates.push(Expr::AggregateFunction(first).alias(name));
            }
        }
        let keyed = self.own_keys(group_expr, schema)?;
        let grouped = LogicalPlan::Aggregate(Aggregate::try_new(input, keyed, aggregates)?);
        let mut columns = Vec::new();
        for (number, ((relation, field), column)) in plain.schema.iter().zip(grouped.schema().columns()).enumerate() {
            columns.push(match firsts.get(number) {
                Some(Some(first)) => {
                    Expr::Column(Column::from_name(first)).alias_qualified(relation.cloned(), field.name())
                }
                _ => Expr::Column(column),
            });
        }
        LogicalPlanBuilder::from(grouped).project(columns)?.build()
    }
}
