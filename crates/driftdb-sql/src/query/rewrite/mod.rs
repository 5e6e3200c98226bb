//! The syntax tree, made ready for DataFusion's planner.
//!
//! Where DataFusion reads a construct otherwise than PostgreSQL, the construct is replaced by a call of one of our own
//! functions, whose names begin with a control character so that no user's name meets them: arithmetic, casts, literals
//! of dates and intervals, EXTRACT, AT TIME ZONE and the like. Results get the names PostgreSQL gives them. A table's
//! system-time clause is taken off and its read point put into the table's name (`time`).

mod columns;
mod exprs;
mod from;
mod names;
mod psql;
mod schemas;
mod subqueries;
mod time;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Fetch, GroupByExpr, LimitClause, NamedWindowDefinition, NamedWindowExpr, OrderByKind, Query,
    Select, SetExpr, TableFactor, Value as AstValue, ValueWithSpan, VisitMut, VisitorMut,
};
use driftdb_types::{DataType, Error, Result, SqlState, Value};

pub(crate) use columns::HIDDEN_COLUMNS;
pub(crate) use exprs::{CAST_PREFIX, OPERATOR_PREFIX};
pub(crate) use subqueries::ALIAS as SUBQUERY_ALIAS;
pub(crate) use time::{PointPrefix, ReadAt};

use crate::read::QueryContext;

/// A query rewritten, and what was learnt on the way.
pub(crate) struct Rewritten {
    pub(crate) query: Query,
    /// The highest `$n` that the user wrote.
    pub(crate) placeholders: usize,
    /// The hidden columns that the query names.
    pub(crate) hidden: Vec<String>,
    /// The read points that [`PointPrefix`] names number into.
    pub(crate) points: Vec<ReadAt>,
    /// Whether a read point depends on the execution (a parameter, the clock), so that each plans anew.
    pub(crate) per_execution: bool,
}

/// Rewrites `query`. `params` are the parameters' values when it is to be executed, and `None` when it is prepared.
pub(crate) fn rewrite(ctx: &QueryContext, query: &Query, params: Option<(&[DataType], &[Value])>) -> Result<Rewritten> {
    let mut query = query.clone();
    schemas::take_off(&mut query);
    let seen = columns::look_over(ctx, &mut query);
    let mut rewrite = Rewrite { ctx, params, seen, points: Vec::new(), per_execution: false, depth: 0 };
    if let ControlFlow::Break(error) = query.visit(&mut rewrite) {
        return Err(error);
    }
    Ok(Rewritten {
        query,
        placeholders: rewrite.seen.placeholders,
        hidden: rewrite.seen.hidden,
        points: rewrite.points,
        per_execution: rewrite.per_execution,
    })
}

struct Rewrite<'a> {
    ctx: &'a QueryContext,
    params: Option<(&'a [DataType], &'a [Value])>,
    seen: columns::Seen,
    points: Vec<ReadAt>,
    per_execution: bool,
    /// How many queries the walk is inside of.
    depth: usize,
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Rewrite<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        psql::without_rows(query);
        if self.depth == 1 {
            names::order_by_columns(query);
        }
        flow(from::rewrite_joins(query).and_then(|()| fetch_to_limit(query)))
    }

    /// Numbers that stand for themselves and not for values (LIMIT, positions) get their literal form back.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth = self.depth.saturating_sub(1);
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            exprs.iter_mut().for_each(|item| exprs::plain_number(&mut item.expr));
        }
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            for expr in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
                exprs::plain_number(expr);
            }
            // LIMIT NULL is no limit.
            if limit.as_ref().is_some_and(is_null) {
                *limit = None;
            }
            if offset.as_ref().is_some_and(|offset| is_null(&offset.value)) {
                *offset = None;
            }
        }
        flow(values_names(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let outermost = self.depth <= 1;
        let prepared = from::prepare(select, !self.seen.hidden.is_empty())
            .and_then(|()| columns::expand_wildcards(select, &self.seen))
            .map(|()| names::name_results(select, outermost));
        if outermost {
            exprs::show_relations(select);
        }
        flow(prepared)
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        subqueries::as_values(select);
        for NamedWindowDefinition(_, window) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = window {
                exprs::frame_numbers(window);
            }
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(exprs::plain_number);
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(exprs::plain_number);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        flow(self.table_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        psql::column_subquery(expr);
        subqueries::keep_rows(expr);
        subqueries::single_row(expr);
        subqueries::exists_of_aggregate(expr);
        exprs::array_to_row(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(exprs::rewrite(expr, self.seen.placeholders))
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: AstValue::Null, .. }))
}

/// `FETCH FIRST n ROWS ONLY` is LIMIT n.
fn fetch_to_limit(query: &mut Query) -> Result<()> {
    let Some(Fetch { quantity, .. }) = query.fetch.take() else { return Ok(()) };
    let one = || Expr::value(AstValue::Number("1".to_owned(), false));
    let quantity = quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        None => {
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit: Some(quantity), offset: None, limit_by: Vec::new() });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(quantity),
        Some(_) => return Err(Error::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses are not allowed")),
    }
    Ok(())
}

/// The rows of VALUES must be equally long: DataFusion's own message is of its machinery.
fn values_names(query: &Query) -> Result<()> {
    if let SetExpr::Values(values) = query.body.as_ref() {
        let mut lengths = values.rows.iter().map(|row| row.content.len());
        let first = lengths.next();
        if lengths.any(|length| Some(length) != first) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
        }
    }
    Ok(())
}
