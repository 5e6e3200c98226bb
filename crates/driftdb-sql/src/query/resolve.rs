//! Types, settled by PostgreSQL's rules, on the logical plan that DataFusion made and before its own coercion sees it.
//!
//! Bottom up, each expression gets its operands' types in hand: calls become resolved calls; literals without a type
//! become literals of the type their place wants; comparisons, CASE, IN, COALESCE and UNION get one type for all their
//! parts; parameters without a type take the one that their place gives them, which is remembered, so that the plan can
//! be made again with all of them known.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Alias, InList, InSubquery, Placeholder, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Case, Cast, Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Operator, TryCast, Union,
    WindowFunctionDefinition,
};
use driftdb_types::{DataType, Error, Result, SqlState};

use super::aggregates::SINGLE;
use super::errors::{from_datafusion, into_datafusion};
use super::functions::{
    ArgType, Call, Callee, Facts, builtin, cast_expr, common_type, implicit_cost, param_arrow, unresolved,
};
use super::types::{Digits, TYPE_KEY, data_type_of, digits_of, field};

/// The types of parameters, as far as they are known; `$1` is at 0.
pub(super) type ParamTypes = Vec<Option<DataType>>;

/// Settles the types in `plan`, and notes in `params` those that parameters get.
pub(super) fn resolve(plan: LogicalPlan, facts: &Arc<Facts>, params: &mut ParamTypes) -> Result<LogicalPlan> {
    let mut resolver = Resolver { facts, params };
    plan.transform_up_with_subqueries(|node| resolver.node(node).map(Transformed::yes))
        .map(|transformed| transformed.data)
        .map_err(from_datafusion)
}

struct Resolver<'a> {
    facts: &'a Arc<Facts>,
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
                LogicalPlan::Join(join)
            }
            LogicalPlan::Limit(limit) => self.limit(limit)?,
            LogicalPlan::Union(union) => self.union(union)?,
            other => other,
        };
        node.recompute_schema()
    }

    /// What is known of an expression's type.
    fn arg(&mut self, expr: &Expr, schema: &DFSchema) -> DfResult<ArgType> {
        match expr {
            Expr::Alias(Alias { expr: inner, .. }) => self.arg(inner, schema),
            Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Literal(ScalarValue::Null, _) => Ok(ArgType::Unknown),
            Expr::Placeholder(Placeholder { id, field }) => match field {
                Some(field) => {
                    let data_type = data_type_of(field).map_err(into_datafusion)?;
                    self.note(id, data_type);
                    Ok(known(data_type, field.data_type().clone()))
                }
                None => Ok(self.noted(id).map_or(ArgType::Unknown, |t| known(t, super::types::arrow_type(t)))),
            },
            Expr::Literal(scalar, metadata) => {
                let mut field = Field::new("", scalar.data_type(), true);
                if let Some(metadata) = metadata {
                    field = metadata.add_to_field(field);
                }
                let data_type = data_type_of(&field).map_err(into_datafusion)?;
                let constant = Some(scalar.clone());
                Ok(ArgType::Known { data_type, arrow: scalar.data_type(), digits: digits_of(&field), constant })
            }
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
                let metadata = std::collections::HashMap::from([(TYPE_KEY.to_owned(), "text".to_owned())]);
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
        match target {
            Compared::AsIs => Ok((left, right)),
            Compared::As(target) => {
                let left = self.convert(left, &left_arg, target)?;
                let right = self.convert(right, &right_arg, target)?;
                if target == DataType::Interval {
                    // Arrow compares intervals part by part; SQL by their length.
                    return Ok((self.interval_key(left)?, self.interval_key(right)?));
                }
                Ok((left, right))
            }
        }
    }

    fn interval_key(&mut self, expr: Expr) -> DfResult<Expr> {
        let Some(key) = builtin("\u{1}interval_key") else { return fail(Error::internal("no key of intervals")) };
        let udf = Call::udf(Callee::Builtin(key), self.facts);
        let Some(call) = unresolved(&udf) else { return Ok(expr) };
        let types = [known(DataType::Interval, super::types::arrow_type(DataType::Interval))];
        let resolution = call.resolve(&types).map_err(into_datafusion)?;
        Ok(Arc::new(call.resolved(resolution)).call(vec![expr]))
    }

    fn in_list(&mut self, in_list: InList, schema: &DFSchema) -> DfResult<Expr> {
        let InList { expr, list, negated } = in_list;
        // Each item is compared with `=`: where all agree on a type they are converted to it, else one by one.
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
        let param = common_arrow(&all, target);
        let mut converted = |expr: Expr, from: &ArgType| {
            let expr = self.convert_to(expr, from, target, &param)?;
            if target == DataType::Interval { self.interval_key(expr) } else { Ok(expr) }
        };
        let expr = converted(*expr, &first)?;
        let list =
            list.into_iter().zip(&args).map(|(item, from)| converted(item, from)).collect::<DfResult<Vec<_>>>()?;
        Ok(Expr::InList(InList { expr: Box::new(expr), list, negated }))
    }

    fn in_subquery(&mut self, in_subquery: InSubquery, schema: &DFSchema) -> DfResult<Expr> {
        let InSubquery { expr, subquery, negated } = in_subquery;
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
                    format!("operator does not exist: {} = {}", shown(&left), shown(&right)),
                ));
            }
            (_, ArgType::Unknown, Some(target)) => self.convert(*expr, &left, target)?,
            _ => *expr,
        };
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated }))
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
        aggregate.params.args = self.aggregated(aggregate.func.name(), aggregate.params.args, schema)?;
        Ok(Expr::AggregateFunction(aggregate))
    }

    fn window(&mut self, mut window: WindowFunction, schema: &DFSchema) -> DfResult<Expr> {
        if let Some(filter) = window.params.filter.take() {
            window.params.filter = Some(Box::new(self.boolean(*filter, schema, "FILTER")?));
        }
        if let WindowFunctionDefinition::AggregateUDF(udaf) = &window.fun {
            window.params.args = self.aggregated(udaf.name(), window.params.args, schema)?;
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
            out.push(if text { self.convert(arg, from, DataType::Text)? } else { arg });
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
        Ok(LogicalPlan::Union(Union { inputs: converted, schema }))
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

fn known(data_type: DataType, arrow: ArrowType) -> ArgType {
    ArgType::Known { data_type, arrow, digits: Digits::All, constant: None }
}

fn known_field(field: &Field) -> DfResult<ArgType> {
    let data_type = data_type_of(field).map_err(into_datafusion)?;
    Ok(ArgType::Known { data_type, arrow: field.data_type().clone(), digits: digits_of(field), constant: None })
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

/// The Arrow type for values of one DriftDB type: of numerics the one with the most digits after the point.
fn common_arrow(args: &[ArgType], target: DataType) -> ArrowType {
    match target {
        DataType::Numeric(None) => {
            let scales = args.iter().filter_map(|arg| match param_arrow(arg, target) {
                ArrowType::Decimal128(_, scale) if *arg != ArgType::Unknown => Some(scale),
                _ => None,
            });
            ArrowType::Decimal128(38, scales.max().unwrap_or(super::types::NUMERIC_SCALE))
        }
        other => super::types::arrow_type(other),
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
