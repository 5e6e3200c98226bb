//! Aggregates and windows.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, Projection, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use driftdb_types::{DataType, Error};

use super::super::aggregates::SINGLE;
use super::super::functions::{ArgType, no_match};
use super::super::keyed::has_key;
use super::{Resolver, fail};

/// The aggregate that tells which columns of a set are there.
const GROUPING: &str = "grouping";

impl Resolver<'_> {
    pub(super) fn aggregate(&mut self, mut aggregate: AggregateFunction, schema: &DFSchema) -> DfResult<Expr> {
        if let Some(filter) = aggregate.params.filter.take() {
            aggregate.params.filter = Some(Box::new(self.boolean(*filter, schema, "FILTER")?));
        }
        let params = &mut aggregate.params;
        let args = self.aggregated(aggregate.func.name(), std::mem::take(&mut params.args), schema)?;
        // Only how many different ones there are is asked, not which.
        let counted = params.distinct && aggregate.func.name() == "count";
        params.args = if counted { self.own_keys(args, schema)? } else { args };
        params.order_by = self.sort_keys(std::mem::take(&mut params.order_by), schema)?;
        Ok(Expr::AggregateFunction(aggregate))
    }

    pub(super) fn window(&mut self, mut window: WindowFunction, schema: &DFSchema) -> DfResult<Expr> {
        if let Some(filter) = window.params.filter.take() {
            window.params.filter = Some(Box::new(self.boolean(*filter, schema, "FILTER")?));
        }
        if let WindowFunctionDefinition::AggregateUDF(udaf) = &window.fun {
            window.params.args = self.aggregated(udaf.name(), window.params.args, schema)?;
        }
        window.params.partition_by = self.own_keys(window.params.partition_by, schema)?;
        window.params.order_by = self.sort_keys(window.params.order_by, schema)?;
        if let Some(first) = window.params.order_by.first() {
            let ordered = self.arg(&first.expr, schema)?.data_type();
            window.params.window_frame = by_peers(window.params.window_frame, ordered);
        }
        Ok(Expr::WindowFunction(Box::new(window)))
    }

    /// Grouping sets over columns only: what they compute is computed below them, under the name that what is above knows it
    /// by. Elsewhere an alias keeps such a name, and a set has no place for one.
    pub(super) fn set_columns(&mut self, aggregate: Aggregate) -> DfResult<Aggregate> {
        let [Expr::GroupingSet(_)] = aggregate.group_expr.as_slice() else { return Ok(aggregate) };
        let mut computed: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        computed.retain(|expr| !matches!(expr, Expr::Column(_)));
        if computed.is_empty() {
            return Ok(aggregate);
        }
        let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let named = computed.iter().map(|expr| expr.clone().alias(expr.schema_name().to_string()));
        let projection = Projection::try_new(columns.chain(named).collect(), input)?;
        let input = self.node(LogicalPlan::Projection(projection))?;
        let to_column = |expr: Expr| {
            Ok(match computed.contains(&expr) {
                true => {
                    let column = Expr::Column(Column::from_name(expr.schema_name().to_string()));
                    Transformed::new(column, true, TreeNodeRecursion::Jump)
                }
                false => Transformed::no(expr),
            })
        };
        let sets = group_expr.into_iter().map(|expr| Ok(expr.transform_down(to_column)?.data));
        let names = NamePreserver::new_for_projection();
        let asked = aggr_expr.into_iter().map(|expr| {
            let name = names.save(&expr);
            let grouping = |part: Expr| match &part {
                Expr::AggregateFunction(aggregate) if aggregate.func.name() == GROUPING => part.map_children(to_column),
                _ => Ok(Transformed::no(part)),
            };
            Ok(name.restore(expr.transform_down(grouping)?.data))
        });
        Aggregate::try_new(Arc::new(input), sets.collect::<DfResult<_>>()?, asked.collect::<DfResult<_>>()?)
    }

    /// The arguments of an aggregate, refused where PostgreSQL has no such aggregate for their type.
    fn aggregated(&mut self, name: &str, args: Vec<Expr>, schema: &DFSchema) -> DfResult<Vec<Expr>> {
        let types = args.iter().map(|arg| self.arg(arg, schema)).collect::<DfResult<Vec<_>>>()?;
        let first = types.first().and_then(ArgType::data_type);
        let wrong = match (name, first) {
            ("min" | "max", Some(t)) => {
                matches!(t, DataType::Bool | DataType::Json | DataType::Jsonb | DataType::Uuid | DataType::Interval)
            }
            ("string_agg", Some(t)) => !t.is_text(),
            ("bool_and" | "bool_or", Some(t)) => t != DataType::Bool,
            ("bit_and" | "bit_or" | "bit_xor", Some(t)) => !t.is_integer(),
            ("count" | GROUPING | "first_value" | SINGLE, _) | (_, None) => false,
            (_, Some(t)) => !t.is_number(),
        };
        if wrong {
            return match (name, first) {
                ("min" | "max", Some(DataType::Interval)) => fail(Error::unsupported(format!("{name}(interval)"))),
                _ => fail(no_match(name, &types)),
            };
        }
        let mut out = Vec::with_capacity(args.len());
        for (arg, from) in args.into_iter().zip(&types) {
            // A literal or parameter without a type is text in the aggregates that take any.
            let text = *from == ArgType::Unknown && matches!(arg, Expr::Placeholder(_));
            let keeps = matches!(name, "count" | "sum" | "avg" | "min" | "max" | GROUPING | "first_value" | SINGLE);
            out.push(match (text, has_key(from) && !keeps) {
                (true, _) => self.convert(arg, from, DataType::Text)?,
                // The others are DataFusion's own, which knows no numerics with a scale of their own.
                (_, true) => self.convert(arg, from, DataType::Float8)?,
                _ => arg,
            });
        }
        Ok(out)
    }
}

/// A RANGE frame without distances is one of peers, which is GROUPS. DataFusion computes RANGE only over types that it can
/// add to, even where there is nothing to add.
fn by_peers(frame: WindowFrame, ordered: Option<DataType>) -> WindowFrame {
    let sumless = matches!(ordered, Some(DataType::Time | DataType::Uuid | DataType::Bytea));
    let near = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => distance.is_null(),
    };
    match sumless && frame.units == WindowFrameUnits::Range && near(&frame.start_bound) && near(&frame.end_bound) {
        true => WindowFrame::new_bounds(WindowFrameUnits::Groups, frame.start_bound, frame.end_bound),
        false => frame,
    }
}
