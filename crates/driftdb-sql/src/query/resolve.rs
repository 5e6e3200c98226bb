//! Types, settled by PostgreSQL's rules, on the logical plan that DataFusion made and before its own coercion sees it.
//!
//! Bottom up, each expression gets its operands' types in hand: calls become resolved calls; literals without a type
//! become literals of the type their place wants; comparisons, CASE, IN, COALESCE and UNION get one type for all their
//! parts; parameters without a type take the one that their place gives them, which is remembered, so that the plan can
//! be made again with all of them known.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Alias, InList, InSubquery, Placeholder, ScalarFunction, SetComparison, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Case, Cast, Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Operator, RecursiveQuery,
    TryCast, Union, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use driftdb_types::{DataType, Error, Result, SqlState};

use super::aggregates::SINGLE;
use super::errors::{from_datafusion, into_datafusion};
use super::functions::{
    ArgType, Call, Callee, Facts, cast_expr, common_type, implicit_cost, param_arrow, settled_field, unresolved,
};
use super::keyed::has_key;
use super::types::{ORIGIN_KEY, TYPE_KEY, arrow_type, data_type_of, field};

/// The types of parameters, as far as they are known; `$1` is at 0.
pub(super) type ParamTypes = Vec<Option<DataType>>;

/// Settles the types in `plan`, and notes in `params` those that parameters get.
pub(super) fn resolve(plan: LogicalPlan, facts: &Arc<Facts>, params: &mut ParamTypes) -> Result<LogicalPlan> {
    let mut resolver = Resolver { facts, params };
    plan.transform_up_with_subqueries(|node| resolver.node(node).map(Transformed::yes))
        .map(|transformed| transformed.data)
        .map_err(from_datafusion)
}

pub(super) struct Resolver<'a> {
    pub(super) facts: &'a Arc<Facts>,
    params: &'a mut ParamTypes,
}

fn fail<T>(error: Error) -> DfResult<T> {
    Err(into_datafusion(error))
}

impl Resolver<'_> {
    fn node(&mut self, node: LogicalPlan) -> DfResult<LogicalPlan> {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let node = node
            .map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|part| self.expr(part, &schema).map(Transformed::yes))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?
            .data;
        let node = match node {
            LogicalPlan::Filter(mut filter) => {
                filter.predicate = self.boolean(filter.predicate, &schema, "WHERE")?;
                LogicalPlan::Filter(filter)
            }
            LogicalPlan::Join(mut join) => {
                if let Some(condition) = join.filter.take() {
                    join.filter = Some(self.boolean(condition, &schema, "JOIN/ON")?);
                }
                LogicalPlan::Join(self.join_keys(join, &schema)?)
            }
            LogicalPlan::Limit(limit) => self.limit(limit)?,
            LogicalPlan::Union(union) => self.union(union)?,
            LogicalPlan::Sort(mut sort) => {
                sort.expr = self.sort_keys(sort.expr, &schema)?;
                LogicalPlan::Sort(sort)
            }
            LogicalPlan::RecursiveQuery(query) => self.recursive(query)?,
            LogicalPlan::Aggregate(aggregate) => return self.grouped(aggregate, &schema),
            LogicalPlan::Distinct(distinct) => return self.distinct(distinct),
            other => other,
        };
        node.recompute_schema()
    }

    /// What is known of an expression's type.
    pub(super) fn arg(&mut self, expr: &Expr, schema: &DFSchema) -> DfResult<ArgType> {
        match expr {
            Expr::Alias(Alias { expr: inner, .. }) => self.arg(inner, schema),
            Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Literal(ScalarValue::Null, _) => Ok(ArgType::Unknown),
            Expr::Placeholder(Placeholder { id, field }) => match field {
                Some(field) => {
                    let data_type = data_type_of(field).map_err(into_datafusion)?;
                    self.note(id, data_type);
                    Ok(known(data_type, field.data_type().clone()))
                }
                None => Ok(self.noted(id).map_or(ArgType::Unknown, |t| known(t, arrow_type(t)))),
            },
            Expr::Literal(scalar, metadata) => {
                let mut field = Field::new("", scalar.data_type(), true);
                if let Some(metadata) = metadata {
                    field = metadata.add_to_field(field);
                }
                let data_type = data_type_of(&field).map_err(into_datafusion)?;
                Ok(known(data_type, scalar.data_type()))
            }
            // DataFusion would find these out from their operands, all the way down, at every level.
            Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }) | Expr::Not(_) => Ok(boolean()),
            Expr::BinaryExpr(BinaryExpr { op, .. }) if is_comparison(*op) => Ok(boolean()),
            Expr::ScalarFunction(function) if let Some(field) = settled_field(&function.func) => known_field(field),
            other => {
                let (_, field) = other.to_field(schema)?;
                if field.data_type().is_null() {
                    return Ok(ArgType::Unknown);
                }
                known_field(&field)
            }
        }
    }

    fn position(id: &str) -> Option<usize> {
        id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
    }

    fn noted(&self, id: &str) -> Option<DataType> {
        self.params.get(Self::position(id)?).copied().flatten()
    }

    fn note(&mut self, id: &str, data_type: DataType) {
        let Some(slot) = Self::position(id).and_then(|position| self.params.get_mut(position)) else { return };
        if slot.is_none() {
            *slot = Some(data_type.without_modifiers());
        }
    }

    /// Converts to a type. A parameter without one takes it.
    fn convert(&mut self, expr: Expr, from: &ArgType, target: DataType) -> DfResult<Expr> {
        let param = param_arrow(from, target);
        self.convert_to(expr, from, target, &param)
    }

    fn convert_to(&mut self, expr: Expr, from: &ArgType, target: DataType, param: &ArrowType) -> DfResult<Expr> {
        match expr {
            Expr::Placeholder(Placeholder { id, field: None }) => {
                self.note(&id, target);
                let target = self.noted(&id).unwrap_or(target);
                Ok(Expr::Placeholder(Placeholder::new_with_field(id, Some(Arc::new(field("", target, true))))))
            }
            Expr::Alias(alias) if matches!(from, ArgType::Unknown) => {
                let Alias { expr: inner, relation, name, .. } = alias;
                Ok(self.convert_to(*inner, from, target, param)?.alias_qualified(relation, name))
            }
            other => cast_expr(other, from, target, param, self.facts),
        }
    }

    fn expr(&mut self, expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
        match expr {
            Expr::TryCast(TryCast { expr: inner, field }) => int_literal(*inner, &field),
            Expr::ScalarFunction(function) => self.function(function, schema),
            Expr::BinaryExpr(binary) => self.binary(binary, schema),
            Expr::InList(in_list) => self.in_list(in_list, schema),
            Expr::InSubquery(in_subquery) => self.in_subquery(in_subquery, schema),
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                let (expr, subquery) = self.with_subquery(*expr, subquery, op, schema)?;
                Ok(Expr::SetComparison(SetComparison::new(Box::new(expr), subquery, op, quantifier)))
            }
            Expr::Case(case) => self.case(case, schema),
            Expr::Not(inner) => Ok(Expr::Not(Box::new(self.boolean(*inner, schema, "NOT")?))),
            Expr::IsTrue(inner) => Ok(Expr::IsTrue(Box::new(self.boolean(*inner, schema, "IS TRUE")?))),
            Expr::IsNotTrue(inner) => Ok(Expr::IsNotTrue(Box::new(self.boolean(*inner, schema, "IS NOT TRUE")?))),
            Expr::IsFalse(inner) => Ok(Expr::IsFalse(Box::new(self.boolean(*inner, schema, "IS FALSE")?))),
            Expr::IsNotFalse(inner) => Ok(Expr::IsNotFalse(Box::new(self.boolean(*inner, schema, "IS NOT FALSE")?))),
            Expr::AggregateFunction(aggregate) => self.aggregate(aggregate, schema),
            Expr::WindowFunction(window) => self.window(*window, schema),
            placeholder @ Expr::Placeholder(_) => {
                self.arg(&placeholder, schema)?;
                Ok(placeholder)
            }
            other => Ok(other),
        }
    }

    fn boolean(&mut self, expr: Expr, schema: &DFSchema, place: &str) -> DfResult<Expr> {
        match self.arg(&expr, schema)? {
            ArgType::Known { data_type: DataType::Bool, .. } => Ok(expr),
            ArgType::Unknown => self.convert(expr, &ArgType::Unknown, DataType::Bool),
            ArgType::Known { data_type, .. } => fail(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {place} must be type boolean, not type {}", data_type.without_modifiers()),
            )),
        }
    }

    fn function(&mut self, function: ScalarFunction, schema: &DFSchema) -> DfResult<Expr> {
        let Some(call) = unresolved(&function.func) else { return Ok(Expr::ScalarFunction(function)) };
        if let Callee::Builtin(builtin) = call.what {
            if builtin.name == "coalesce" {
                let args = self.unify(function.args, schema, "COALESCE")?;
                return Ok(datafusion::functions::core::coalesce().call(args));
            }
            if let ("pg_typeof", [arg]) = (builtin.name, function.args.as_slice()) {
                let name = self
                    .arg(arg, schema)?
                    .data_type()
                    .map_or("unknown".to_owned(), |t| t.without_modifiers().sql_name());
                // A text that is known to be one.
                let metadata = HashMap::from([(TYPE_KEY.to_owned(), "text".to_owned())]);
                return Ok(Expr::Literal(ScalarValue::Utf8(Some(name)), Some(metadata.into())));
            }
            if let Some(op) = comparison_operator(builtin.name) {
                let mut args = function.args.into_iter();
                let (Some(left), Some(right)) = (args.next(), args.next()) else {
                    return fail(Error::internal("a comparison without operands"));
                };
                let (left, right) = self.comparison(left, op, right, schema)?;
                return Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))));
            }
        }
        if let (Callee::Cast(target), [arg @ Expr::Placeholder(_)]) = (call.what, function.args.as_slice()) {
            // The parameter of a cast has the cast's type.
            if self.arg(arg, schema)? == ArgType::Unknown {
                let plain = target.without_modifiers();
                let typed = self.convert(arg.clone(), &ArgType::Unknown, plain)?;
                if plain == target {
                    return Ok(typed);
                }
                return self.settle(call, vec![typed], schema);
            }
        }
        if let (Callee::Cast(target), [Expr::Literal(ScalarValue::Utf8(Some(_)), None)]) =
            (call.what, function.args.as_slice())
        {
            // A text stays a call: as a literal it would be without a type again.
            if !target.is_text() {
                return self.settle_literal(call, function.args.clone(), target);
            }
        }
        self.settle(call, function.args.clone(), schema)
    }

    fn settle_literal(&mut self, call: &Call, args: Vec<Expr>, target: DataType) -> DfResult<Expr> {
        let Some(arg) = args.into_iter().next() else { return fail(Error::internal("a cast of nothing")) };
        let param = param_arrow(&ArgType::Unknown, target);
        cast_expr(arg, &ArgType::Unknown, target, &param, &call.facts)
    }

    fn settle(&mut self, call: &Call, args: Vec<Expr>, schema: &DFSchema) -> DfResult<Expr> {
        let types = args.iter().map(|arg| self.arg(arg, schema)).collect::<DfResult<Vec<_>>>()?;
        let resolution = call.resolve(&types).map_err(into_datafusion)?;
        let is_cast = matches!(call.what, Callee::Cast(_));
        let mut converted = Vec::with_capacity(args.len());
        for (position, (arg, from)) in args.into_iter().zip(&types).enumerate() {
            let (Some(target), Some(param)) = (resolution.targets.get(position), resolution.params.get(position))
            else {
                converted.push(arg);
                continue;
            };
            converted.push(if is_cast && *from != ArgType::Unknown {
                arg
            } else {
                self.convert_to(arg, from, *target, param)?
            });
        }
        Ok(Arc::new(call.resolved(resolution)).call(converted))
    }

    /// Gives all the same type.
    fn unify(&mut self, exprs: Vec<Expr>, schema: &DFSchema, place: &str) -> DfResult<Vec<Expr>> {
        let args = exprs.iter().map(|expr| self.arg(expr, schema)).collect::<DfResult<Vec<_>>>()?;
        let target = common_of(&args, place).map_err(into_datafusion)?;
        let param = common_arrow(&args, target);
        exprs.into_iter().zip(&args).map(|(expr, from)| self.convert_to(expr, from, target, &param)).collect()
    }

    fn binary(&mut self, binary: BinaryExpr, schema: &DFSchema) -> DfResult<Expr> {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And | Operator::Or => {
                let place = if op == Operator::And { "AND" } else { "OR" };
                let left = self.boolean(*left, schema, place)?;
                let right = self.boolean(*right, schema, place)?;
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            op if is_comparison(op) => {
                let (left, right) = self.comparison(*left, op, *right, schema)?;
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            _ => Ok(Expr::BinaryExpr(BinaryExpr { left, op, right })),
        }
    }

    fn comparison(&mut self, left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> DfResult<(Expr, Expr)> {
        let (left_arg, right_arg) = (self.arg(&left, schema)?, self.arg(&right, schema)?);
        let Some(target) = comparable(&left_arg, &right_arg) else {
            let shown =
                |arg: &ArgType| arg.data_type().map_or("unknown".to_owned(), |t| t.without_modifiers().sql_name());
            return fail(
                Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!(
                        "operator does not exist: {} {} {}",
                        shown(&left_arg),
                        operator_name(op),
                        shown(&right_arg)
                    ),
                )
                .hint(
                    "No operator matches the given name and argument types. You might need to add explicit type casts.",
                ),
            );
        };
        let (left, right) = (without_blanks(left, &right_arg), without_blanks(right, &left_arg));
        let Compared::As(target) = target else { return self.keys(left, right, schema) };
        // A constant beside a numeric of fixed scale has a fixed scale too, so that it can narrow the keys to look at.
        let beside = |arg: &ArgType, other: &ArgType| match other {
            ArgType::Known { arrow: fixed @ ArrowType::Decimal128(..), .. } if *arg == ArgType::Unknown => {
                fixed.clone()
            }
            _ => param_arrow(arg, target),
        };
        let (left_form, right_form) = (beside(&left_arg, &right_arg), beside(&right_arg, &left_arg));
        let left = self.convert_to(left, &left_arg, target, &left_form)?;
        let right = self.convert_to(right, &right_arg, target, &right_form)?;
        self.keys(left, right, schema)
    }

    fn in_list(&mut self, in_list: InList, schema: &DFSchema) -> DfResult<Expr> {
        let InList { expr, list, negated } = in_list;
        // Each item is compared with `=`: where all agree on a type they are converted to it, else one by one.
        if list.iter().any(|item| !matches!(item, Expr::Literal(..) | Expr::Placeholder(_))) {
            // DataFusion's list wants constants; it answers wrongly where an item is a CASE, for one.
            let equal = |item| {
                let (left, right) = self.comparison((*expr).clone(), Operator::Eq, item, schema)?;
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Eq, Box::new(right))))
            };
            let any = list.into_iter().map(equal).collect::<DfResult<Vec<_>>>()?.into_iter().reduce(Expr::or);
            let any = any.unwrap_or_else(|| Expr::Literal(ScalarValue::Boolean(Some(false)), None));
            return Ok(if negated { Expr::Not(Box::new(any)) } else { any });
        }
        let first = self.arg(&expr, schema)?;
        let args = list.iter().map(|item| self.arg(item, schema)).collect::<DfResult<Vec<_>>>()?;
        let all: Vec<ArgType> = std::iter::once(first.clone()).chain(args.iter().cloned()).collect();
        for arg in &args {
            if comparable(&first, arg).is_none() {
                let item = list.first().cloned().unwrap_or_else(|| (*expr).clone());
                self.comparison((*expr).clone(), Operator::Eq, item, schema)?;
                return fail(Error::new(SqlState::UNDEFINED_FUNCTION, "operator does not exist: IN over these types"));
            }
        }
        let target = common_of(&all, "IN").map_err(into_datafusion)?;
        let param = compared_arrow(&all, target);
        let mut converted = |expr: Expr, from: &ArgType| {
            let expr = self.convert_to(expr, from, target, &param)?;
            self.own_key(expr, schema)
        };
        let expr = converted(*expr, &first)?;
        let list =
            list.into_iter().zip(&args).map(|(item, from)| converted(item, from)).collect::<DfResult<Vec<_>>>()?;
        Ok(Expr::InList(InList { expr: Box::new(expr), list, negated }))
    }

    fn in_subquery(&mut self, in_subquery: InSubquery, schema: &DFSchema) -> DfResult<Expr> {
        let InSubquery { expr, subquery, negated } = in_subquery;
        if negated && !subquery.outer_ref_columns.is_empty() {
            // DataFusion looks for a NULL among the rows of all outer rows together.
            let hint = "NOT EXISTS says the same where the subquery's column is never NULL.";
            return fail(Error::unsupported("NOT IN with a subquery that names columns of the outer query").hint(hint));
        }
        let (expr, subquery) = self.with_subquery(*expr, subquery, Operator::Eq, schema)?;
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated }))
    }

    /// A comparison with the values of a subquery.
    fn with_subquery(
        &mut self,
        expr: Expr,
        subquery: Subquery,
        op: Operator,
        schema: &DFSchema,
    ) -> DfResult<(Expr, Subquery)> {
        let left = self.arg(&expr, schema)?;
        let output = subquery.subquery.schema();
        if output.fields().len() != 1 {
            return fail(Error::new(SqlState::SYNTAX_ERROR, "subquery has too many columns"));
        }
        let column = output.field(0);
        let right = match column.data_type() {
            ArrowType::Null => ArgType::Unknown,
            _ => known_field(column)?,
        };
        let expr = match (comparable(&left, &right), &left, right.data_type()) {
            (None, ..) => {
                let shown =
                    |arg: &ArgType| arg.data_type().map_or("unknown".to_owned(), |t| t.without_modifiers().sql_name());
                return fail(Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("operator does not exist: {} {} {}", shown(&left), operator_name(op), shown(&right)),
                ));
            }
            (_, ArgType::Unknown, Some(target)) => self.convert(expr, &left, target)?,
            _ => expr,
        };
        let left = self.arg(&expr, schema)?;
        self.subquery_keys(expr, &left, subquery)
    }

    fn case(&mut self, case: Case, schema: &DFSchema) -> DfResult<Expr> {
        let Case { expr, when_then_expr, else_expr } = case;
        let mut whens = Vec::with_capacity(when_then_expr.len());
        let mut results = Vec::with_capacity(when_then_expr.len() + 1);
        for (when, then) in when_then_expr {
            whens.push(self.boolean(*when, schema, "CASE/WHEN")?);
            results.push(*then);
        }
        let has_else = else_expr.is_some();
        results.extend(else_expr.map(|expr| *expr));
        let mut results = self.unify(results, schema, "CASE")?;
        let else_expr = if has_else { results.pop().map(Box::new) } else { None };
        let when_then_expr =
            whens.into_iter().zip(results).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
        Ok(Expr::Case(Case { expr, when_then_expr, else_expr }))
    }

    fn aggregate(&mut self, mut aggregate: AggregateFunction, schema: &DFSchema) -> DfResult<Expr> {
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

    fn window(&mut self, mut window: WindowFunction, schema: &DFSchema) -> DfResult<Expr> {
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
            ("count" | "grouping" | "first_value" | SINGLE, _) | (_, None) => false,
            (_, Some(t)) => !t.is_number(),
        };
        if wrong {
            return match (name, first) {
                ("min" | "max", Some(DataType::Interval)) => fail(Error::unsupported(format!("{name}(interval)"))),
                _ => fail(super::functions::no_match(name, &types)),
            };
        }
        let mut out = Vec::with_capacity(args.len());
        for (arg, from) in args.into_iter().zip(&types) {
            // A literal or parameter without a type is text in the aggregates that take any.
            let text = *from == ArgType::Unknown && matches!(arg, Expr::Placeholder(_));
            let keeps = matches!(name, "count" | "sum" | "avg" | "min" | "max" | "grouping" | "first_value" | SINGLE);
            out.push(match (text, has_key(from) && !keeps) {
                (true, _) => self.convert(arg, from, DataType::Text)?,
                // The others are DataFusion's own, which knows no numerics with a scale of their own.
                (_, true) => self.convert(arg, from, DataType::Float8)?,
                _ => arg,
            });
        }
        Ok(out)
    }

    fn limit(&mut self, limit: Limit) -> DfResult<LogicalPlan> {
        let Limit { skip, fetch, input } = limit;
        let schema = DFSchema::empty();
        let mut count = |expr: Option<Box<Expr>>, place: &str| -> DfResult<Option<Box<Expr>>> {
            let Some(expr) = expr else { return Ok(None) };
            let from = self.arg(&expr, &schema)?;
            match from.data_type() {
                None => {}
                Some(t) if t.is_number() => {}
                Some(t) => {
                    return fail(Error::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!("argument of {place} must be type bigint, not type {}", t.without_modifiers()),
                    ));
                }
            }
            self.convert_to(*expr, &from, DataType::Int8, &ArrowType::Int64).map(|expr| Some(Box::new(expr)))
        };
        let skip = count(skip, "OFFSET")?;
        let fetch = count(fetch, "LIMIT")?;
        Ok(LogicalPlan::Limit(Limit { skip, fetch, input }))
    }

    /// Every input of a UNION gives each column in the type that all agree on.
    fn union(&mut self, union: Union) -> DfResult<LogicalPlan> {
        let Union { inputs, schema } = union;
        let width = schema.fields().len();
        let mut columns: Vec<Vec<ArgType>> = Vec::with_capacity(inputs.len());
        for input in &inputs {
            if input.schema().fields().len() != width {
                return fail(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "each UNION query must have the same number of columns",
                ));
            }
            columns.push((0..width).map(|column| self.output(input, column)).collect::<DfResult<Vec<_>>>()?);
        }
        let mut targets = Vec::with_capacity(width);
        for column in 0..width {
            let of_column: Vec<ArgType> = columns.iter().filter_map(|input| input.get(column).cloned()).collect();
            let target = common_of(&of_column, "UNION").map_err(into_datafusion)?;
            let arrow = common_arrow(&of_column, target);
            targets.push((target, arrow));
        }
        let mut converted = Vec::with_capacity(inputs.len());
        for (input, types) in inputs.into_iter().zip(&columns) {
            converted.push(Arc::new(self.convert_output(Arc::unwrap_or_clone(input), types, &targets)?));
        }
        // The names are the first input's, the types those that were agreed on.
        let types = converted.first().map(|first| Arc::clone(first.schema()));
        let fields = schema.iter().zip(types.iter().flat_map(|types| types.fields().iter()));
        let fields = fields.map(|((relation, named), typed)| {
            (relation.cloned(), Arc::new(typed.as_ref().clone().with_name(named.name()).with_nullable(true)))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
        Ok(LogicalPlan::Union(Union { inputs: converted, schema: Arc::new(schema) }))
    }

    /// Both terms of a recursive query must give the same types: DataFusion would convert the rows of the second to the
    /// types of the first, and so never end.
    fn recursive(&mut self, query: RecursiveQuery) -> DfResult<LogicalPlan> {
        let RecursiveQuery { name, static_term, recursive_term, is_distinct, .. } = query;
        if let LogicalPlan::Projection(projection) = recursive_term.as_ref() {
            let schema = merge_schema(&recursive_term.inputs());
            for (number, (expr, first)) in projection.expr.iter().zip(static_term.schema().fields()).enumerate() {
                // The user's casts are calls of ours: a plain one is DataFusion's.
                let Expr::Cast(Cast { expr: found, .. }) = expr.clone().unalias() else { continue };
                let (Some(first), Some(found)) =
                    (known_field(first)?.data_type(), self.arg(&found, &schema)?.data_type())
                else {
                    continue;
                };
                return fail(
                    Error::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "recursive query \"{name}\" column {} has type {first} in non-recursive term but type {found} \
                             overall",
                            number + 1
                        ),
                    )
                    .hint("Cast the output of the non-recursive term to the correct type."),
                );
            }
        }
        // Where a column comes from is no part of what the terms must agree on, but DataFusion takes it for that.
        let plain = |term: Arc<LogicalPlan>| -> DfResult<Arc<LogicalPlan>> {
            let fields: Vec<_> = term.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
            let columns = fields.into_iter().map(|(relation, field)| {
                let code = field.metadata().get(TYPE_KEY).cloned().unwrap_or_default();
                let metadata = HashMap::from([(TYPE_KEY.to_owned(), code), (ORIGIN_KEY.to_owned(), String::new())]);
                Expr::Column(Column::new(relation.clone(), field.name())).alias_qualified_with_metadata(
                    relation,
                    field.name(),
                    Some(metadata.into()),
                )
            });
            Ok(Arc::new(LogicalPlanBuilder::from(Arc::unwrap_or_clone(term)).project(columns)?.build()?))
        };
        let (first, next) = (plain(static_term)?, plain(recursive_term)?);
        Ok(LogicalPlan::RecursiveQuery(RecursiveQuery::try_new(name, first, next, is_distinct)?))
    }

    /// The type of an input's column; that of a literal without a type is unknown.
    fn output(&mut self, input: &LogicalPlan, column: usize) -> DfResult<ArgType> {
        if let LogicalPlan::Projection(projection) = input
            && let Some(expr) = projection.expr.get(column)
        {
            let schema = merge_schema(&input.inputs());
            return self.arg(expr, &schema);
        }
        let field = input.schema().field(column);
        match field.data_type() {
            ArrowType::Null => Ok(ArgType::Unknown),
            _ => known_field(field),
        }
    }

    fn convert_output(
        &mut self,
        input: LogicalPlan,
        types: &[ArgType],
        targets: &[(DataType, ArrowType)],
    ) -> DfResult<LogicalPlan> {
        let same = input.schema().fields().iter().zip(targets).all(|(field, (_, arrow))| field.data_type() == arrow);
        if same {
            return Ok(input);
        }
        if let LogicalPlan::Projection(mut projection) = input {
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for ((expr, from), (target, arrow)) in
                std::mem::take(&mut projection.expr).into_iter().zip(types).zip(targets)
            {
                let name = NamePreserver::new_for_projection().save(&expr);
                exprs.push(name.restore(self.convert_to(expr, from, *target, arrow)?));
            }
            return LogicalPlanBuilder::from(Arc::unwrap_or_clone(projection.input)).project(exprs)?.build();
        }
        let columns = input.schema().columns();
        let mut exprs = Vec::with_capacity(columns.len());
        for ((column, from), (target, arrow)) in columns.into_iter().zip(types).zip(targets) {
            let (relation, name) = (column.relation.clone(), column.name.clone());
            let converted = self.convert_to(Expr::Column(column), from, *target, arrow)?;
            exprs.push(converted.alias_qualified(relation, name));
        }
        LogicalPlanBuilder::from(input).project(exprs)?.build()
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

fn boolean() -> ArgType {
    known(DataType::Bool, ArrowType::Boolean)
}

fn known(data_type: DataType, arrow: ArrowType) -> ArgType {
    ArgType::Known { data_type, arrow }
}

pub(super) fn known_field(field: &Field) -> DfResult<ArgType> {
    let data_type = data_type_of(field).map_err(into_datafusion)?;
    Ok(known(data_type, field.data_type().clone()))
}

/// A literal compared with a `char(n)` loses its trailing blanks, as the stored values did.
fn without_blanks(expr: Expr, other: &ArgType) -> Expr {
    match (&expr, other.data_type()) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), None), Some(DataType::Char(_))) => {
            Expr::Literal(ScalarValue::Utf8(Some(text.trim_end_matches(' ').to_owned())), None)
        }
        _ => expr,
    }
}

/// The mark that the rewriting puts around an integer literal that is an int4.
fn int_literal(inner: Expr, target: &Field) -> DfResult<Expr> {
    match &inner {
        Expr::Literal(scalar, _) => Ok(Expr::Literal(scalar.cast_to(target.data_type())?, None)),
        _ => Ok(Expr::Cast(Cast::new(Box::new(inner), target.data_type().clone()))),
    }
}

fn common_of(args: &[ArgType], place: &str) -> Result<DataType> {
    let types: Vec<Option<DataType>> = args.iter().map(ArgType::data_type).collect();
    common_type(&types).map_err(|error| Error { message: format!("{place} {}", error.message), ..error })
}

/// The Arrow type for values of one DriftDB type. Numerics of one fixed scale keep it.
fn common_arrow(args: &[ArgType], target: DataType) -> ArrowType {
    let mut forms = args.iter().map(|arg| param_arrow(arg, target));
    match (target, forms.next()) {
        (DataType::Numeric(None), Some(first)) if forms.all(|form| form == first) => first,
        (other, _) => arrow_type(other),
    }
}

/// The Arrow type in which values are compared with each other: of numerics of fixed scales the one with the most digits
/// after the point.
fn compared_arrow(args: &[ArgType], target: DataType) -> ArrowType {
    let scale = |arg: &ArgType| match param_arrow(arg, target) {
        ArrowType::Decimal128(_, scale) => Some(scale),
        _ => None,
    };
    match (target, args.iter().map(scale).collect::<Option<Vec<i8>>>().and_then(|scales| scales.into_iter().max())) {
        (DataType::Numeric(None), Some(scale)) => ArrowType::Decimal128(38, scale),
        (other, _) => arrow_type(other),
    }
}

enum Compared {
    AsIs,
    As(DataType),
}

/// As what two operands of a comparison are compared; `None` where PostgreSQL has no such operator.
fn comparable(left: &ArgType, right: &ArgType) -> Option<Compared> {
    let (left, right) = match (left.data_type(), right.data_type()) {
        (None, None) => return Some(Compared::As(DataType::Text)),
        (Some(t), None) | (None, Some(t)) => {
            let plain = if t.is_text() { DataType::Text } else { t.without_modifiers() };
            return (t != DataType::Json).then_some(Compared::As(plain));
        }
        (Some(left), Some(right)) => (left, right),
    };
    if left == DataType::Json || right == DataType::Json {
        return None;
    }
    if left.is_text() && right.is_text() {
        return Some(Compared::AsIs);
    }
    if left.is_number() && right.is_number() {
        let float = |t: DataType| matches!(t, DataType::Float4 | DataType::Float8);
        // DataFusion widens integers and decimals rightly; a decimal against a float is compared as double.
        return Some(if float(left) != float(right) { Compared::As(DataType::Float8) } else { Compared::AsIs });
    }
    if left == DataType::Interval && right == DataType::Interval {
        return Some(Compared::As(DataType::Interval));
    }
    if left == right {
        return Some(Compared::AsIs);
    }
    if implicit_cost(left, right).is_some() {
        return Some(Compared::As(right));
    }
    implicit_cost(right, left).map(|_| Compared::As(left))
}

/// The operator that a call of the rewriting stands for.
fn comparison_operator(name: &str) -> Option<Operator> {
    Some(match name.strip_prefix(super::rewrite::OPERATOR_PREFIX)? {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "is distinct from" => Operator::IsDistinctFrom,
        _ => return None,
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator as Op;
    let plain = matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq);
    plain || matches!(op, Op::IsDistinctFrom | Op::IsNotDistinctFrom)
}

fn operator_name(op: Operator) -> String {
    match op {
        Operator::NotEq => "<>".to_owned(),
        Operator::IsDistinctFrom => "IS DISTINCT FROM".to_owned(),
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM".to_owned(),
        other => other.to_string(),
    }
}
