//! Types, settled by PostgreSQL's rules, on the logical plan that DataFusion made and before its own coercion sees it.
//!
//! Bottom up, each expression gets its operands' types in hand: calls become resolved calls; literals without a type
//! become literals of the type their place wants; comparisons, CASE, IN, COALESCE and UNION get one type for all their
//! parts; parameters without a type take the one that their place gives them, which is remembered, so that the plan can
//! be made again with all of them known. Comparisons, aggregates and set operations have files of their own.

mod comparison;
mod groups;
mod sets;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Alias, Placeholder, ScalarFunction, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Case, Cast, Expr, ExprSchemable, Limit, LogicalPlan, Operator, TryCast};
use driftdb_types::{DataType, Error, Result, SqlState};

use self::comparison::{check_subqueries, comparison_operator, is_comparison};
use super::errors::{from_datafusion, into_datafusion};
use super::functions::{ArgType, Call, Callee, Facts, cast_expr, common_type, param_arrow, settled_field, unresolved};
use super::types::{TYPE_KEY, arrow_type, data_type_of, field};

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
        let node = match node {
            LogicalPlan::Aggregate(aggregate) => LogicalPlan::Aggregate(self.set_columns(aggregate)?),
            other => other,
        };
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        check_subqueries(&node)?;
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
                let (target, args) = self.unify(function.args, schema, "COALESCE")?;
                return self.marked(datafusion::functions::core::coalesce().call(args), target);
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
        Ok(call.resolved(resolution, converted))
    }

    /// Gives all the same type, and says which.
    fn unify(&mut self, exprs: Vec<Expr>, schema: &DFSchema, place: &str) -> DfResult<(DataType, Vec<Expr>)> {
        let args = exprs.iter().map(|expr| self.arg(expr, schema)).collect::<DfResult<Vec<_>>>()?;
        let target = common_of(&args, place).map_err(into_datafusion)?;
        let param = common_arrow(&args, target);
        let exprs = exprs.into_iter().zip(&args).map(|(expr, from)| self.convert_to(expr, from, target, &param));
        Ok((target, exprs.collect::<DfResult<_>>()?))
    }

    /// What DataFusion makes of several values of type json is a text to it: it does not say any more what it is.
    fn marked(&self, expr: Expr, target: DataType) -> DfResult<Expr> {
        if !matches!(target, DataType::Json | DataType::Jsonb) {
            return Ok(expr);
        }
        let text = [known(DataType::Text, arrow_type(DataType::Text))];
        Call::settled(Callee::Cast(target), self.facts, &text, vec![expr]).map_err(into_datafusion)
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
        let (target, mut results) = self.unify(results, schema, "CASE")?;
        let else_expr = if has_else { results.pop().map(Box::new) } else { None };
        let when_then_expr =
            whens.into_iter().zip(results).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
        let settled = Expr::Case(Case { expr, when_then_expr, else_expr });
        self.marked(settled, target)
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
