//! What psql's `\d` asks that DataFusion cannot run, and whose answer is known.
//!
//! Some of its queries read tables of things there are none of (policies, publications, extended statistics) with arrays and
//! nested subqueries around them: such a SELECT gives no rows, whatever it computes. And a column's collation is asked
//! for where it differs from its type's, which it never does.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, TableFactor, Value as AstValue,
};

use super::names::name_of_expr;
use crate::parse::name_of;
use crate::query::system::is_empty_table;

/// The name of a table of pg_catalog.
fn catalog_table(factor: &TableFactor) -> Option<String> {
    let TableFactor::Table { name: ObjectName(parts), args: None, version: None, .. } = factor else { return None };
    match parts.as_slice() {
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(table)] if name_of(schema) == "pg_catalog" => {
            Some(name_of(table))
        }
        [ObjectNamePart::Identifier(table)] if name_of(table).starts_with("pg_") => Some(name_of(table)),
        _ => None,
    }
}

/// Makes a SELECT that cannot have rows one that DataFusion can plan: the same results, all NULL, and no row of them.
pub(super) fn without_rows(query: &mut Query) {
    if let SetExpr::Select(select) = query.body.as_mut() {
        if empty(select) {
            query.order_by = None;
        }
    } else {
        empty_sides(&mut query.body);
    }
}

fn empty_sides(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => _ = empty(select),
        SetExpr::SetOperation { left, right, .. } => {
            empty_sides(left);
            empty_sides(right);
        }
        _ => {}
    }
}

fn empty(select: &mut Select) -> bool {
    arrays_to_null(select);
    let reads_empty = select.from.iter().any(|table| {
        let inner = table.joins.iter().filter(|join| {
            matches!(
                &join.join_operator,
                JoinOperator::Join(JoinConstraint::On(_))
                    | JoinOperator::Inner(JoinConstraint::On(_))
                    | JoinOperator::CrossJoin(_)
            )
        });
        let outer_right = table.joins.iter().any(|join| {
            matches!(
                &join.join_operator,
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
            )
        });
        let mut factors = std::iter::once(&table.relation).chain(inner.map(|join| &join.relation));
        !outer_right && factors.any(|factor| catalog_table(factor).is_some_and(|name| is_empty_table(&name)))
    });
    let plain =
        matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty()) && select.having.is_none();
    let named = select.projection.iter().all(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => !super::from::calls_aggregate(expr),
        _ => false,
    });
    if !reads_empty || !plain || !named {
        return false;
    }
    for item in &mut select.projection {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => name_of_expr(expr).unwrap_or_else(|| "?column?".to_owned()),
            SelectItem::ExprWithAlias { alias, .. } => name_of(alias),
            _ => continue,
        };
        let null = super::exprs::null_text();
        *item = SelectItem::ExprWithAlias { expr: null, alias: Ident::with_quote('"', name) };
    }
    select.from.clear();
    select.selection = Some(Expr::value(AstValue::Boolean(false)));
    true
}

/// The arrays in pg_catalog (access lists, options) are all NULL, and so is what is made of them.
fn arrays_to_null(select: &mut Select) {
    let of_catalog = !select.from.is_empty()
        && select.from.iter().all(|table| {
            std::iter::once(&table.relation)
                .chain(table.joins.iter().map(|join| &join.relation))
                .all(|factor| catalog_table(factor).is_some())
        });
    if !of_catalog {
        return;
    }
    for item in &mut select.projection {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => name_of_expr(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(name_of(alias)),
            _ => continue,
        };
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
        let Expr::Function(function) = expr else { continue };
        let Some(ObjectNamePart::Identifier(called)) = function.name.0.last() else { continue };
        if matches!(name_of(called).as_str(), "array_to_string" | "array") {
            let alias = Ident::with_quote('"', name.unwrap_or_else(|| name_of(called)));
            *item = SelectItem::ExprWithAlias { expr: super::exprs::null_text(), alias };
        }
    }
}

/// The subqueries of `\d`'s list of columns.
pub(super) fn column_subquery(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let tables: Option<Vec<String>> = select.from.iter().map(|table| catalog_table(&table.relation)).collect();
    match tables.unwrap_or_default().iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["pg_collation", "pg_type"] => *expr = super::exprs::null_text(),
        // Whether a column has a default is said by the table of defaults alone.
        ["pg_attrdef"] => select.selection = select.selection.take().map(without_flag),
        _ => {}
    }
}

fn without_flag(condition: Expr) -> Expr {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => match right.as_ref() {
            Expr::CompoundIdentifier(idents) if idents.last().is_some_and(|last| name_of(last) == "atthasdef") => {
                without_flag(*left)
            }
            _ => Expr::BinaryOp { left: Box::new(without_flag(*left)), op: BinaryOperator::And, right },
        },
        other => other,
    }
}
