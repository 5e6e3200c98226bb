//! FROM: what DataFusion would do otherwise with the tables of one SELECT.
//!
//! *Joins with USING.* The joined column is one: the left side's, of a RIGHT join the right side's, of a FULL join the
//! first that is not NULL; and `*` gives the joined columns once and first. DataFusion's order of `*` depends on the
//! aliases, and over several such joins the column is ambiguous to it. So `USING (c)` becomes `ON left.c = right.c`, a bare
//! `c` the expression it stands for, and `*` is spelled out.
//!
//! *Lateral rows.* `LATERAL (SELECT expression) AS o(n)` without a FROM of its own is one row of expressions: they are put
//! where `o.n` stands, for DataFusion cannot run it as a join.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, OrderBy, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableFactor, TableWithJoins, Value as AstValue, ValueWithSpan, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions, visit_expressions_mut,
};
use driftdb_types::{Error, Result, SqlState};

use super::exprs::{call, operation};
use crate::parse::name_of;

/// Checks the names of the tables, and refuses what cannot be done with NATURAL joins.
pub(super) fn prepare(select: &mut Select, names_hidden: bool) -> Result<()> {
    unique_names(select)?;
    join_using(select, None)?;
    let joins = || select.from.iter().flat_map(|table| &table.joins);
    let natural = || joins().filter(|join| matches!(constraint(join), Some(JoinConstraint::Natural)));
    if natural().next().is_none() {
        return Ok(());
    }
    if names_hidden {
        return Err(Error::unsupported("NATURAL JOIN in a query that names hidden columns").hint("Join with ON."));
    }
    if natural().any(|join| matches!(&join.join_operator, JoinOperator::FullOuter(_))) {
        return Err(Error::unsupported("NATURAL FULL JOIN").hint("Join with USING."));
    }
    if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
        return Err(Error::unsupported("* over a NATURAL JOIN").hint("Name the columns, or join with USING."));
    }
    Ok(())
}

/// What the columns of joins with USING stand for, by name.
type Merged = HashMap<String, Expr>;

/// Makes ON of USING in one SELECT and the ORDER BY behind it.
pub(super) fn join_using(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    let using = |table: &TableWithJoins| {
        table.joins.iter().any(|join| matches!(constraint(join), Some(JoinConstraint::Using(_))))
    };
    if !select.from.iter().any(using) {
        return Ok(());
    }
    let mut merged = Merged::new();
    let mut star = Vec::new();
    for table in &mut select.from {
        let order = using_to_on(table, &mut merged)?;
        spelled_out(table, &order, &merged, &mut star)?;
    }
    let mut projection = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(_) => projection.extend(star.iter().cloned()),
            // The result keeps the column's name, whatever stands for it.
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) if merged.contains_key(&name_of(&ident)) => {
                let alias = Ident::with_quote('"', name_of(&ident));
                projection.push(SelectItem::ExprWithAlias { expr: Expr::Identifier(ident), alias });
            }
            other => projection.push(other),
        }
    }
    select.projection = projection;
    put(select, order_by, &merged, &HashMap::new());
    Ok(())
}

/// Rewrites the joins of one item of FROM; gives the joined columns in the order of `*`.
fn using_to_on(table: &mut TableWithJoins, merged: &mut Merged) -> Result<Vec<String>> {
    let unknown = || Error::unsupported("a join with USING over tables without names");
    let mut order: Vec<String> = Vec::new();
    let mut left_tables = vec![reference(&table.relation).ok_or_else(unknown)?];
    for join in &mut table.joins {
        let right = reference(&join.relation).ok_or_else(unknown)?;
        let Some(JoinConstraint::Using(columns)) = constraint(join) else {
            left_tables.push(right);
            continue;
        };
        let columns = columns.iter().map(|column| column_of(column).ok_or_else(unknown)).collect::<Result<Vec<_>>>()?;
        let mut on: Option<Expr> = None;
        for column in &columns {
            let name = name_of(column);
            let of = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
            let left = match (merged.get(&name), left_tables.as_slice()) {
                (Some(known), _) => known.clone(),
                (None, [only]) => of(only),
                // Which of several tables has the column is not known here.
                (None, _) => {
                    return Err(Error::unsupported(format!("USING ({column}) after other joins")).hint("Join with ON."));
                }
            };
            let stands_for = match &join.join_operator {
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => of(&right),
                JoinOperator::FullOuter(_) => call("coalesce", vec![left.clone(), of(&right)]),
                _ => left.clone(),
            };
            let equal = operation(left, BinaryOperator::Eq, of(&right));
            on = Some(match on {
                None => equal,
                Some(before) => operation(before, BinaryOperator::And, equal),
            });
            merged.insert(name, stands_for);
        }
        let names: Vec<String> = columns.iter().map(name_of).collect();
        order.retain(|name| !names.contains(name));
        order.splice(0..0, names);
        if let (Some(constraint), Some(on)) = (constraint_mut(join), on) {
            *constraint = JoinConstraint::On(on);
        }
        left_tables.push(right);
    }
    Ok(order)
}

fn constraint(join: &Join) -> Option<&JoinConstraint> {
    match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        _ => None,
    }
}

fn constraint_mut(join: &mut Join) -> Option<&mut JoinConstraint> {
    match &mut join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

/// The name that a table's columns are qualified with.
fn reference(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, alias: None, .. } => match name.0.last()? {
            ObjectNamePart::Identifier(ident) => Some(ident.clone()),
            ObjectNamePart::Function(_) => None,
        },
        _ => None,
    }
}

fn unique_names(select: &Select) -> Result<()> {
    let mut taken = HashSet::new();
    for table in &select.from {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            let Some(name) = reference(factor).map(|ident| name_of(&ident)) else { continue };
            if !taken.insert(name.clone()) {
                return Err(Error::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("table name \"{name}\" specified more than once"),
                ));
            }
        }
    }
    Ok(())
}

/// The columns of one item of FROM as `*` gives them.
fn spelled_out(table: &TableWithJoins, order: &[String], merged: &Merged, items: &mut Vec<SelectItem>) -> Result<()> {
    for name in order {
        if let Some(expr) = merged.get(name) {
            items.push(SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name.clone()) });
        }
    }
    for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
        let name = reference(factor).ok_or_else(|| Error::unsupported("* over this join with USING"))?;
        let mut options = WildcardAdditionalOptions::default();
        // What stands for a joined column names the tables that have it.
        let own: Vec<ObjectName> = order
            .iter()
            .filter(|column| table_has(table, &name, column))
            .map(|column| ObjectName::from(Ident::with_quote('"', column.clone())))
            .collect();
        if !own.is_empty() {
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(own));
        }
        let kind = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(name));
        items.push(SelectItem::QualifiedWildcard(kind, options));
    }
    Ok(())
}

/// Whether one of the joins' conditions takes the column from that table.
fn table_has(table: &TableWithJoins, name: &Ident, column: &str) -> bool {
    let mut found = false;
    for join in &table.joins {
        let Some(JoinConstraint::On(on)) = constraint(join) else { continue };
        let mut on = on.clone();
        let _ = visit_expressions_mut(&mut on, |part| {
            if let Expr::CompoundIdentifier(idents) = part
                && let [of, last] = idents.as_slice()
            {
                found |= name_of(of) == name_of(name) && name_of(last) == column;
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}

fn column_of(name: &ObjectName) -> Option<Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident.clone()),
        _ => None,
    }
}

/// One column of a lateral row.
struct Inlined {
    table: String,
    column: String,
    expr: Expr,
}

/// Puts the expressions of lateral rows where they are named, and makes ON of USING.
pub(super) fn rewrite_joins(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    inline_lateral_rows(select, query.order_by.as_mut());
    join_using(select, query.order_by.as_mut())
}

fn inline_lateral_rows(select: &mut Select, order_by: Option<&mut OrderBy>) {
    if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)))
    {
        return;
    }
    let mut inlined = Vec::new();
    for table in &mut select.from {
        table.joins.retain(|join| match lateral_row(join) {
            Some(columns) => {
                inlined.extend(columns);
                false
            }
            None => true,
        });
    }
    if inlined.is_empty() {
        return;
    }
    let mut bare = Merged::new();
    let mut qualified = HashMap::new();
    for Inlined { table, column, expr } in inlined {
        bare.insert(column.clone(), expr.clone());
        qualified.insert((table, column), expr);
    }
    // A result that is such a column keeps its name.
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match &*expr {
            Expr::CompoundIdentifier(idents) => idents.last().map(name_of),
            Expr::Identifier(ident) => Some(name_of(ident)),
            _ => None,
        };
        if let Some(name) = name.filter(|name| bare.contains_key(name)) {
            let expr = std::mem::replace(expr, Expr::value(AstValue::Null));
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
        }
    }
    put(select, order_by, &bare, &qualified);
}

/// The columns of a join that is nothing but a lateral row.
fn lateral_row(join: &Join) -> Option<Vec<Inlined>> {
    let every_row = match &join.join_operator {
        JoinOperator::CrossJoin(_) => true,
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on)) => {
            matches!(on, Expr::Value(ValueWithSpan { value: AstValue::Boolean(true), .. }))
        }
        _ => false,
    };
    let TableFactor::Derived { lateral: true, subquery, alias: Some(alias), sample: None } = &join.relation else {
        return None;
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    let bare = subquery.with.is_none()
        && subquery.limit_clause.is_none()
        && subquery.fetch.is_none()
        && select.from.is_empty()
        && select.selection.is_none()
        && select.having.is_none()
        && select.distinct.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    if !every_row || !bare {
        return None;
    }
    let table = name_of(&alias.name);
    let mut columns = Vec::new();
    for (position, item) in select.projection.iter().enumerate() {
        let (expr, own) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(name_of(alias))),
            _ => return None,
        };
        if calls_aggregate(expr) {
            return None;
        }
        let column = alias.columns.get(position).map(|column| name_of(&column.name)).or(own)?;
        columns.push(Inlined { table: table.clone(), column, expr: Expr::Nested(Box::new(expr.clone())) });
    }
    Some(columns)
}

/// Whether an aggregate is called, so that the expression is not of one row. Those of its subqueries are theirs.
pub(super) fn calls_aggregate(expr: &Expr) -> bool {
    struct Calls {
        /// How many subqueries the walk is inside of.
        depth: usize,
    }
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth = self.depth.saturating_sub(1);
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, part: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = part else { return ControlFlow::Continue(()) };
            let Some(ObjectNamePart::Identifier(name)) = function.name.0.last() else {
                return ControlFlow::Continue(());
            };
            let aggregates = crate::query::aggregates::aggregate(&name_of(name)).is_some() || function.over.is_some();
            if self.depth == 0 && aggregates { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    ast::Visit::visit(expr, &mut Calls { depth: 0 }).is_break()
}

/// Puts expressions in place of names, in one SELECT and its ORDER BY. Inside of subqueries a bare name is most likely
/// one of theirs, and is left alone.
fn put(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    bare: &Merged,
    qualified: &HashMap<(String, String), Expr>,
) {
    let outputs: HashSet<String> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(name_of(alias)),
            _ => None,
        })
        .collect();
    let mut put = Put { depth: 0, bare, qualified };
    let _ = select.visit(&mut put);
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by {
        for item in exprs {
            // A result's name goes before a column's.
            let output = matches!(&item.expr, Expr::Identifier(ident) if outputs.contains(&name_of(ident)));
            if !output {
                let _ = item.expr.visit(&mut put);
            }
        }
    }
}

struct Put<'a> {
    depth: usize,
    bare: &'a Merged,
    qualified: &'a HashMap<(String, String), Expr>,
}

impl VisitorMut for Put<'_> {
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
        let found = match &*expr {
            Expr::Identifier(column) if self.depth == 0 => self.bare.get(&name_of(column)),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [table, column] => self.qualified.get(&(name_of(table), name_of(column))),
                _ => None,
            },
            _ => None,
        };
        if let Some(found) = found {
            *expr = found.clone();
        }
        ControlFlow::Continue(())
    }
}
