//! The names of results, as PostgreSQL gives them (its `FigureColname`).

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TrimWhereField,
    Value as AstValue, visit_expressions,
};

use crate::parse::name_of;

const UNNAMED: &str = "?column?";

/// Gives every computed result its name. A name that an earlier result of the same list has gets a mark behind it, for
/// DataFusion wants them different; the mark is taken off before a client sees it.
///
/// A plain column beside a wildcard may be one that the wildcard gives already. In the outermost query it is marked to be
/// sure; further in, where a name is referred to from outside, it is left alone.
pub(super) fn name_results(select: &mut Select, outermost: bool) {
    let mut taken = HashSet::new();
    let wildcard = outermost
        && select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    for (position, item) in select.projection.iter_mut().enumerate() {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let name = name_of_expr(expr).unwrap_or_else(|| UNNAMED.to_owned());
                let free = taken.insert(name.clone());
                if plain && free && !wildcard {
                    continue;
                }
                let name = if free && !plain { name } else { marked(&name, position) };
                let expr = std::mem::replace(expr, Expr::value(AstValue::Null));
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = name_of(alias);
                if !taken.insert(name.clone()) {
                    *alias = Ident::with_quote('"', marked(&name, position));
                }
            }
            _ => {}
        }
    }
}

/// In ORDER BY a result's name means the result only where it stands alone; in an expression it means a column of the
/// tables, as everywhere else. DataFusion takes the result first: so results of such names are marked before it looks.
///
/// Only in the outermost query, where the mark is taken off before a client sees it.
pub(super) fn order_by_columns(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(OrderBy { kind: OrderByKind::Expressions(items), .. }) = &mut query.order_by else { return };
    let mut mentioned = HashSet::new();
    for item in items.iter().filter(|item| !matches!(item.expr, Expr::Identifier(_))) {
        let _: ControlFlow<()> = visit_expressions(&item.expr, |part| {
            match part {
                Expr::Identifier(ident) => _ = mentioned.insert(name_of(ident)),
                Expr::CompoundIdentifier(idents) => mentioned.extend(idents.last().map(name_of)),
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
    let mut marks = HashMap::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (&*expr, name_of_expr(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (&*expr, Some(name_of(alias))),
            _ => continue,
        };
        let plain = match expr {
            Expr::Identifier(ident) => Some(name_of(ident)),
            Expr::CompoundIdentifier(idents) => idents.last().map(name_of),
            _ => None,
        };
        let Some(name) = name.filter(|name| mentioned.contains(name) && plain.as_ref() != Some(name)) else { continue };
        let alias = Ident::with_quote('"', marked(&name, position));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: alias.clone() };
        marks.entry(name).or_insert(alias);
    }
    for item in items {
        if let Expr::Identifier(ident) = &item.expr
            && let Some(alias) = marks.get(&name_of(ident))
        {
            item.expr = Expr::Identifier(alias.clone());
        }
    }
}

fn marked(name: &str, position: usize) -> String {
    format!("{name}\u{1}{position}")
}

fn last_part(name: &ObjectName) -> Option<String> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(name_of(ident)),
        ObjectNamePart::Function(_) => None,
    }
}

/// The name of a result; `None` where PostgreSQL says `?column?`.
pub(super) fn name_of_expr(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(ident) => name_of(ident),
        Expr::CompoundIdentifier(idents) => name_of(idents.last()?),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return name_of_expr(inner),
        Expr::Function(function) => last_part(&function.name)?,
        Expr::Cast { expr: inner, data_type, .. } => {
            return strong_name(inner).or_else(|| type_name(&data_type.to_string()));
        }
        Expr::TypedString(typed) => return type_name(&typed.data_type.to_string()),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::Case { else_result, .. } => {
            else_result.as_deref().and_then(strong_name).unwrap_or_else(|| "case".to_owned())
        }
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Subquery(query) => return name_of_first_result(&query.body),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(TrimWhereField::Leading) => "ltrim".to_owned(),
            Some(TrimWhereField::Trailing) => "rtrim".to_owned(),
            _ => "btrim".to_owned(),
        },
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Tuple(_) => "row".to_owned(),
        Expr::Value(value) if matches!(value.value, AstValue::Boolean(_)) => "bool".to_owned(),
        _ => return None,
    })
}

/// A name that outranks the name of a type: that of a column or a function.
fn strong_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => strong_name(inner),
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) | Expr::Case { .. } => None,
        other => name_of_expr(other),
    }
}

fn name_of_first_result(body: &SetExpr) -> Option<String> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => name_of_expr(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(name_of(alias)),
            _ => None,
        },
        SetExpr::Query(query) => name_of_first_result(&query.body),
        SetExpr::SetOperation { left, .. } => name_of_first_result(left),
        SetExpr::Values(_) => Some("column1".to_owned()),
        _ => None,
    }
}

/// The name PostgreSQL's catalog has for a type that was written in SQL.
fn type_name(written: &str) -> Option<String> {
    let lower = written.to_lowercase();
    let base = lower.split('(').next().unwrap_or_default().trim();
    let with_zone = lower.contains("with time zone") && !lower.contains("without");
    Some(
        match base.split(' ').next().unwrap_or_default() {
            "int" | "integer" | "int4" => "int4",
            "bigint" | "int8" => "int8",
            "smallint" | "int2" => "int2",
            "boolean" | "bool" => "bool",
            "real" | "float4" => "float4",
            "double" | "float" | "float8" => "float8",
            "decimal" | "dec" | "numeric" => "numeric",
            "char" | "character" if base.contains("varying") => "varchar",
            "char" | "character" => "bpchar",
            "timestamp" if with_zone => "timestamptz",
            other => return Some(other.rsplit('.').next().unwrap_or(other).to_owned()),
        }
        .to_owned(),
    )
}
