//! The last changes to a plan before it is run, when no optimiser will look at it again.
//!
//! - Conditions are evaluated from left to right: DataFusion evaluates both sides of an AND for all rows of a batch, so
//!   that `a <> 0 AND 10 / a > 4` would divide by zero. Where what follows can fail, it is made a CASE, whose branches are
//!   evaluated only for the rows that get there. The argument of an aggregate with a FILTER likewise.
//! - The conditions of joins look at the cancel flag: see `watch`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, LogicalPlan, Operator};
use driftdb_types::Result;

use super::errors::{from_datafusion, into_datafusion};
use super::functions::alive;
use super::plan::facts;
use crate::read::QueryContext;

/// The plan as it is to be run.
pub(super) fn guarded_plan(ctx: &QueryContext, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut look: Option<Expr> = None;
    let mut node = |node: LogicalPlan| -> DfResult<Transformed<LogicalPlan>> {
        match node {
            LogicalPlan::Filter(mut filter) => {
                filter.predicate = in_order(filter.predicate);
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Join(mut join) => {
                let Some(condition) = join.filter.take() else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
                let alive = match &look {
                    Some(alive) => alive.clone(),
                    None => {
                        let facts = Arc::new(facts(ctx).map_err(into_datafusion)?);
                        look.insert(alive(&facts).map_err(into_datafusion)?).clone()
                    }
                };
                join.filter = Some(alive.and(in_order(condition)));
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            LogicalPlan::Aggregate(aggregate) => {
                let aggregate = LogicalPlan::Aggregate(aggregate);
                let names = NamePreserver::new_for_projection();
                aggregate.map_expressions(|expr| {
                    let name = names.save(&expr);
                    Ok(expr.transform_up(filtered_argument)?.update_data(|expr| name.restore(expr)))
                })
            }
            other => Ok(Transformed::no(other)),
        }
    };
    let transformed = plan.transform_up_with_subqueries(&mut node);
    transformed.map(|transformed| transformed.data).map_err(from_datafusion)
}

/// A condition, of which only whether it is true counts, with its parts evaluated from left to right.
fn in_order(condition: Expr) -> Expr {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return condition };
    let lazy = can_fail(&right);
    match op {
        Operator::And if lazy => case(in_order(*left), in_order(*right), Some(literal(false))),
        Operator::Or if lazy => case(in_order(*left), literal(true), Some(in_order(*right))),
        Operator::And | Operator::Or => {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(in_order(*left)), op, Box::new(in_order(*right))))
        }
        _ => Expr::BinaryExpr(BinaryExpr { left, op, right }),
    }
}

fn literal(value: bool) -> Expr {
    Expr::Literal(ScalarValue::Boolean(Some(value)), None)
}

fn case(condition: Expr, then: Expr, otherwise: Option<Expr>) -> Expr {
    Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(Box::new(condition), Box::new(then))],
        else_expr: otherwise.map(Box::new),
    })
}

/// Whether evaluating can give an error: comparisons of columns cannot, functions and casts may.
fn can_fail(expr: &Expr) -> bool {
    let mut fails = false;
    let visited = expr.apply(|part| {
        fails = matches!(part, Expr::ScalarFunction(_) | Expr::Cast(_) | Expr::TryCast(_));
        Ok(if fails { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.is_err() || fails
}

/// `sum(10 / a) FILTER (WHERE a <> 0)` divides only where the filter holds.
fn filtered_argument(expr: Expr) -> DfResult<Transformed<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = expr else {
        return Ok(Transformed::no(expr));
    };
    if let (Some(filter), Some(first)) = (&params.filter, params.args.first_mut())
        && can_fail(first)
    {
        *first = case(filter.as_ref().clone(), std::mem::take(first), None);
    }
    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
}
