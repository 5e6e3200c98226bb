//! Subqueries as values: EXISTS and IN among a query's results, and subqueries of one value.
//!
//! DataFusion runs these only as conditions. As a value, `EXISTS (q)` is `(SELECT count(*) FROM (q)) > 0`, and `x IN (q)`
//! is spelled out with its three answers: true where a row equals x, else NULL where x or a row is NULL (and there is a
//! row at all), else false.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, UnaryOperator,
    Value as AstValue, ValueWithSpan, VisitMut, VisitorMut, helpers::attached_token::AttachedToken, visit_expressions,
};

use super::exprs::operation;
use super::from::calls_aggregate;
use super::names::name_of_expr;
use crate::query::aggregates::{FIRST, SINGLE};
use crate::query::plan::{query_of, select_from};

/// The subquery of ANY and ALL gives many rows: an empty LIMIT, which means nothing, keeps [`single_row`] off it. Its
/// column gets a name of its own, because DataFusion takes two columns of one name, outside and inside, for the same.
pub(super) fn keep_rows(expr: &mut Expr) {
    let (Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }) = expr else { return };
    while let Expr::Nested(inner) = right.as_mut() {
        **right = std::mem::replace(inner.as_mut(), Expr::value(AstValue::Null));
    }
    if let Expr::Subquery(query) = right.as_mut() {
        let inner = std::mem::replace(query.as_mut(), query_of(select_from(Vec::new(), Vec::new())));
        let column = Expr::CompoundIdentifier(vec![quoted(ALIAS), quoted(COLUMN)]);
        let result = vec![SelectItem::ExprWithAlias { expr: column, alias: quoted(COLUMN) }];
        **query = query_of(select_from(result, vec![renamed(inner)]));
        query.limit_clause.get_or_insert(LimitClause::LimitOffset { limit: None, offset: None, limit_by: Vec::new() });
    }
}

/// A correlated subquery as a value must give one row at most, and DataFusion wants it to be an aggregate that cannot
/// give more: so its result becomes `single(x)`, which fails on a second row, or with LIMIT 1 the first value in its
/// order.
pub(super) fn single_row(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let one = match &query.limit_clause {
        None => false,
        Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, .. }) => {
            if !matches!(limit, Expr::Value(ValueWithSpan { value: AstValue::Number(n, _), .. }) if n == "1") {
                return;
            }
            true
        }
        Some(_) => return,
    };
    let order_by = match query.order_by.as_ref().map(|order_by| &order_by.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(exprs)) => exprs.clone(),
        Some(OrderByKind::All(_)) => return,
    };
    let by_position = order_by.iter().any(|item| matches!(item.expr, Expr::Value(_)));
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let plain = query.with.is_none() && query.fetch.is_none() && ungrouped && select.having.is_none();
    if !plain || by_position || select.distinct.is_some() || select.selection.is_none() {
        return;
    }
    let [item] = select.projection.as_mut_slice() else { return };
    let (result, name) = match item {
        SelectItem::UnnamedExpr(result) => (result.clone(), name_of_expr(result)),
        SelectItem::ExprWithAlias { expr: result, alias } => (result.clone(), Some(alias.value.clone())),
        _ => return,
    };
    if calls_aggregate(&result) || matches!(result, Expr::Wildcard(_)) {
        return;
    }
    let aggregate = if one { FIRST } else { SINGLE };
    let clauses = match (one, order_by.is_empty()) {
        (true, false) => vec![FunctionArgumentClause::OrderBy(order_by)],
        _ => Vec::new(),
    };
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(result))];
    let call = aggregate_call(aggregate, args, clauses);
    *item = SelectItem::ExprWithAlias {
        expr: call,
        alias: Ident::with_quote('"', name.unwrap_or_else(|| "?column?".to_owned())),
    };
    query.order_by = None;
    query.limit_clause = None;
}

/// A grouping of all rows into one gives a row even of none: EXISTS is true then, which DataFusion does not see.
pub(super) fn exists_of_aggregate(expr: &mut Expr) {
    let Expr::Exists { subquery, negated } = expr else { return };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let calls = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => calls_aggregate(expr),
        _ => false,
    });
    if calls && ungrouped && select.having.is_none() && subquery.limit_clause.is_none() {
        *expr = Expr::value(AstValue::Boolean(!*negated));
    }
}

/// Rewrites the subqueries of `select` whose NULLs count: among its results, and in conditions where being NULL is not the
/// same as being false. Those inside of other subqueries are left alone.
pub(super) fn as_values(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = expr.visit(&mut Values { depth: 0, exists: true });
        }
    }
    for expr in select.selection.iter_mut().chain(&mut select.having) {
        condition(expr, false);
    }
}

/// DataFusion joins with the rows of `IN (subquery)` where the rows are kept for which it is true, and knows what NULLs mean
/// to `column NOT IN (subquery)` by itself. `alternative`: an OR is around it.
fn condition(expr: &mut Expr, alternative: bool) {
    match expr {
        Expr::Nested(inner) => condition(inner, alternative),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            condition(left, alternative);
            condition(right, alternative);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            condition(left, true);
            condition(right, true);
        }
        Expr::InSubquery { negated: false, .. } => {}
        Expr::AnyOp { .. } | Expr::AllOp { .. } if !alternative => {}
        other => {
            let negated = match &*other {
                Expr::InSubquery { expr, .. } => Some(expr),
                Expr::UnaryOp { op: UnaryOperator::Not, expr } => match expr.as_ref() {
                    Expr::InSubquery { expr, negated: false, .. } => Some(expr),
                    _ => None,
                },
                _ => None,
            };
            if alternative || !negated.is_some_and(|expr| names_column(expr)) {
                let _ = other.visit(&mut Values { depth: 0, exists: false });
            }
        }
    }
}

fn names_column(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

struct Values {
    depth: usize,
    /// Whether EXISTS too becomes a value.
    exists: bool,
}

impl VisitorMut for Values {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let replacement = match expr {
            Expr::Exists { subquery, negated } if self.exists => {
                let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
                Some(operation(scalar(counting((**subquery).clone())), op, zero()))
            }
            Expr::InSubquery { expr: inner, subquery, negated } => {
                let found = in_values(inner, subquery);
                Some(match negated {
                    true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) },
                    false => found,
                })
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

fn zero() -> Expr {
    Expr::value(AstValue::Number("0".to_owned(), false))
}

fn scalar(query: Query) -> Expr {
    Expr::Subquery(Box::new(query))
}

fn count_all() -> Expr {
    aggregate_call("count", vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)], Vec::new())
}

fn aggregate_call(name: &str, args: Vec<FunctionArg>, clauses: Vec<FunctionArgumentClause>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(Ident::with_quote('"', name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn one_result(expr: Expr) -> Vec<SelectItem> {
    vec![SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', "count") }]
}

/// `SELECT count(*)` over the rows of a query. Where the query is plain, in its own place, so that what it takes from
/// outside stays one level away.
fn counting(mut query: Query) -> Query {
    let plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    match query.body.as_mut() {
        SetExpr::Select(select) if plain && is_plain(select) => {
            select.projection = one_result(count_all());
            query.order_by = None;
            query
        }
        _ => over(query, None),
    }
}

fn is_plain(select: &Select) -> bool {
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let all = matches!(select.distinct, None | Some(Distinct::All));
    let no_calls = select.projection.iter().all(|item| match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Value(_) | Expr::Cast { .. } | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        SelectItem::ExprWithAliases { .. } => false,
    });
    ungrouped && all && select.having.is_none() && no_calls && !select.from.is_empty()
}

/// The name of a subquery whose values are looked at.
pub(crate) const ALIAS: &str = "\u{1}in";
const COLUMN: &str = "\u{1}c";

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// `SELECT count(*) FROM (query) AS in(c) [WHERE condition]`.
fn over(query: Query, condition: Option<Expr>) -> Query {
    let mut from = renamed(query);
    if let (None, TableFactor::Derived { alias: Some(alias), .. }) = (&condition, &mut from.relation) {
        alias.columns.clear();
    }
    let mut select = select_from(one_result(count_all()), vec![from]);
    select.selection = condition;
    query_of(select)
}

/// `(query) AS in(c)`.
fn renamed(query: Query) -> TableWithJoins {
    let columns = vec![TableAliasColumnDef { name: quoted(COLUMN), data_type: None }];
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(TableAlias { explicit: true, name: quoted(ALIAS), columns, at: None }),
        sample: None,
    };
    TableWithJoins { relation, joins: Vec::new() }
}

fn in_values(left: &Expr, subquery: &Query) -> Expr {
    let column = || Expr::CompoundIdentifier(vec![quoted(ALIAS), quoted(COLUMN)]);
    let some =
        |condition: Option<Expr>| operation(scalar(over(subquery.clone(), condition)), BinaryOperator::Gt, zero());
    let equal = some(Some(operation(column(), BinaryOperator::Eq, left.clone())));
    let null_row = some(Some(Expr::IsNull(Box::new(column()))));
    let null_left = operation(Expr::IsNull(Box::new(left.clone())), BinaryOperator::And, some(None));
    let case = |condition: Expr, result: AstValue| CaseWhen { condition, result: Expr::value(result) };
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![
            case(equal, AstValue::Boolean(true)),
            case(operation(null_left, BinaryOperator::Or, null_row), AstValue::Null),
        ],
        else_result: Some(Box::new(Expr::value(AstValue::Boolean(false)))),
    }
}
