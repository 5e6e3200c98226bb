//! What is compared with what, and as what: `=` and its kin, IN, subqueries.

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{InList, InSubquery, SetComparison};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use driftdb_types::{DataType, Error, SqlState};

use super::super::errors::into_datafusion;
use super::super::functions::{ArgType, Call, Callee, builtin, implicit_cost, param_arrow};
use super::super::rewrite::OPERATOR_PREFIX;
use super::super::types::arrow_type;
use super::{Resolver, common_of, fail, known, known_field};

impl Resolver<'_> {
    pub(super) fn comparison(
        &mut self,
        left: Expr,
        op: Operator,
        right: Expr,
        schema: &DFSchema,
    ) -> DfResult<(Expr, Expr)> {
        let (left_arg, right_arg) = (self.arg(&left, schema)?, self.arg(&right, schema)?);
        let left = self.without_blanks(left, &left_arg, &right_arg)?;
        let right = self.without_blanks(right, &right_arg, &left_arg)?;
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

    pub(super) fn in_list(&mut self, in_list: InList, schema: &DFSchema) -> DfResult<Expr> {
        let InList { expr, list, negated } = in_list;
        let first = self.arg(&expr, schema)?;
        let blanks = matches!(first.data_type(), Some(DataType::Char(_)));
        // Each item is compared with `=`: where all agree on a type they are converted to it, else one by one.
        if blanks || list.iter().any(|item| !matches!(item, Expr::Literal(..) | Expr::Placeholder(_))) {
            // DataFusion's list wants constants; it answers wrongly where an item is a CASE, for one.
            let equal = |item| {
                let (left, right) = self.comparison((*expr).clone(), Operator::Eq, item, schema)?;
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Eq, Box::new(right))))
            };
            let any = list.into_iter().map(equal).collect::<DfResult<Vec<_>>>()?.into_iter().reduce(Expr::or);
            let any = any.unwrap_or_else(|| Expr::Literal(ScalarValue::Boolean(Some(false)), None));
            return Ok(if negated { Expr::Not(Box::new(any)) } else { any });
        }
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

    pub(super) fn in_subquery(&mut self, in_subquery: InSubquery, schema: &DFSchema) -> DfResult<Expr> {
        let InSubquery { expr, subquery, negated } = in_subquery;
        let (expr, subquery) = self.with_subquery(*expr, subquery, Operator::Eq, schema)?;
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated }))
    }

    /// A literal or parameter that is compared with a `char(n)` loses its trailing blanks, as the stored values did.
    fn without_blanks(&mut self, expr: Expr, own: &ArgType, other: &ArgType) -> DfResult<Expr> {
        if !matches!(other.data_type(), Some(DataType::Char(_))) {
            return Ok(expr);
        }
        match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), None) => {
                Ok(Expr::Literal(ScalarValue::Utf8(Some(text.trim_end_matches(' ').to_owned())), None))
            }
            Expr::Placeholder(_) if own.data_type().is_none_or(|data_type| data_type == DataType::Text) => {
                let text = self.convert(expr, own, DataType::Text)?;
                let rtrim = builtin("rtrim").ok_or_else(|| into_datafusion(Error::internal("rtrim is not there")))?;
                let arg = known(DataType::Text, ArrowType::Utf8);
                Call::settled(Callee::Builtin(rtrim), self.facts, &[arg], vec![text]).map_err(into_datafusion)
            }
            other => Ok(other),
        }
    }

    /// A comparison with the values of a subquery.
    pub(super) fn with_subquery(
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
}

/// Refuses the places of `IN (subquery)` and of ANY and ALL where DataFusion answers as if there were no NULLs: it knows
/// what a condition needs whose rows are kept when it is true, and nothing more.
pub(super) fn check_subqueries(node: &LogicalPlan) -> DfResult<()> {
    if let LogicalPlan::Filter(filter) = node {
        return kept_when_true(&filter.predicate, false);
    }
    node.apply_expressions(|expr| {
        expr.apply(|part| match subquery_of(part) {
            Some(subquery) if !subquery.outer_ref_columns.is_empty() => refuse("outside of WHERE"),
            _ => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}

/// A condition, or a part of one that makes it true when it is.
fn kept_when_true(expr: &Expr, alternative: bool) -> DfResult<()> {
    let (asked, negated) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            kept_when_true(left, alternative)?;
            return kept_when_true(right, alternative);
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            kept_when_true(left, true)?;
            return kept_when_true(right, true);
        }
        Expr::Not(inner) => (inner.as_ref(), true),
        other => (other, false),
    };
    match asked {
        Expr::InSubquery(InSubquery { expr, subquery, negated: not }) => match negated != *not {
            false => Ok(()),
            true if alternative => refuse("with NOT inside of OR"),
            true if !subquery.outer_ref_columns.is_empty() => refuse("with NOT that names columns of the outer query"),
            true if expr.column_refs().is_empty() => refuse("with NOT and a constant before it"),
            true => Ok(()),
        },
        Expr::SetComparison(SetComparison { subquery, .. })
            if !negated && !alternative && subquery.outer_ref_columns.is_empty() =>
        {
            Ok(())
        }
        other => {
            other.apply(|part| match subquery_of(part) {
                Some(_) => refuse("inside of an expression"),
                None => Ok(TreeNodeRecursion::Continue),
            })?;
            Ok(())
        }
    }
}

fn subquery_of(part: &Expr) -> Option<&Subquery> {
    match part {
        Expr::InSubquery(InSubquery { subquery, .. }) | Expr::SetComparison(SetComparison { subquery, .. }) => {
            Some(subquery)
        }
        _ => None,
    }
}

fn refuse<T>(place: &str) -> DfResult<T> {
    fail(Error::unsupported(format!("a comparison with the rows of a subquery {place}")).hint("Use EXISTS."))
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
pub(super) fn comparison_operator(name: &str) -> Option<Operator> {
    Some(match name.strip_prefix(OPERATOR_PREFIX)? {
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

pub(super) fn is_comparison(op: Operator) -> bool {
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
