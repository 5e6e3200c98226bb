//! Hidden columns: there when named, never in `*`.
//!
//! A table shows DataFusion only those hidden columns that the query names somewhere. Where it names any, each `*` is
//! spelled out as `table.* EXCLUDE (hidden columns)`, so that they stay out of it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Value as AstValue, ValueWithSpan,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use driftdb_types::{Error, Result};

use super::super::ROW_KEY_COLUMN;
use crate::parse::name_of;
use crate::read::QueryContext;

/// The hidden columns every table has.
pub(crate) const HIDDEN_COLUMNS: [&str; 7] =
    ["_system_from", "_system_to", "_from_seq", "_to_seq", "_tx_user", "_tx_app", "_tx_comment"];

/// What a look over the whole query found.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) placeholders: usize,
    /// Hidden columns that are named.
    pub(super) hidden: Vec<String>,
    /// Names of CTEs.
    pub(super) ctes: HashSet<String>,
    /// Names of tables that have hidden columns.
    tables: HashSet<String>,
}

pub(super) fn look_over(ctx: &QueryContext, query: &mut Query) -> Seen {
    let mut look = Look { row_keys: ctx.row_keys, seen: Seen::default() };
    let _ = query.visit(&mut look);
    if !look.seen.hidden.is_empty() {
        look.seen.tables = ctx.read.catalog.tables().map(|table| table.name.clone()).collect();
    }
    look.seen
}

struct Look {
    row_keys: bool,
    seen: Seen,
}

impl VisitorMut for Look {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.seen.ctes.extend(with.cte_tables.iter().map(|cte| name_of(&cte.alias.name)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let last = match expr {
            Expr::Identifier(ident) => Some(&*ident),
            Expr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        if let Some(name) = last.map(name_of) {
            let hidden = HIDDEN_COLUMNS.contains(&name.as_str()) || (self.row_keys && name == ROW_KEY_COLUMN);
            if hidden && !self.seen.hidden.contains(&name) {
                self.seen.hidden.push(name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let AstValue::Placeholder(name) = &value.value
            && let Some(number) = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok())
        {
            self.seen.placeholders = self.seen.placeholders.max(number);
        }
        ControlFlow::Continue(())
    }
}

/// One item of FROM and the name its columns are qualified with.
struct Source {
    name: ObjectName,
    has_hidden: bool,
}

/// Spells out `*` where the query names hidden columns.
pub(super) fn expand_wildcards(select: &mut Select, seen: &Seen) -> Result<()> {
    let wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if seen.hidden.is_empty() || !select.projection.iter().any(wildcard) {
        return Ok(());
    }
    let mut sources = Vec::new();
    for table in &select.from {
        collect(table, seen, &mut sources)?;
    }
    if !sources.iter().any(|source| source.has_hidden) {
        return Ok(());
    }
    let mut items = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(_) => {
                items.extend(sources.iter().map(|source| qualified(&source.name, source.has_hidden, seen)));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let hidden = sources.iter().any(|source| source.has_hidden && same_name(&source.name, &name));
                items.push(qualified(&name, hidden, seen));
            }
            other => items.push(other),
        }
    }
    select.projection = items;
    Ok(())
}

fn same_name(left: &ObjectName, right: &ObjectName) -> bool {
    match (left.0.last(), right.0.last()) {
        (Some(ObjectNamePart::Identifier(left)), Some(ObjectNamePart::Identifier(right))) => {
            name_of(left) == name_of(right)
        }
        _ => false,
    }
}

fn qualified(name: &ObjectName, has_hidden: bool, seen: &Seen) -> SelectItem {
    let mut options = WildcardAdditionalOptions::default();
    if has_hidden {
        let hidden = seen.hidden.iter().map(|name| ObjectName::from(Ident::with_quote('"', name.clone())));
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(hidden.collect()));
    }
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name.clone()), options)
}

fn collect(table: &TableWithJoins, seen: &Seen, sources: &mut Vec<Source>) -> Result<()> {
    factor(&table.relation, seen, sources)?;
    for join in &table.joins {
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => Some(constraint),
            _ => None,
        };
        if matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural)) {
            return Err(Error::unsupported("* over a join with USING or NATURAL in a query that names hidden columns")
                .hint("Name the columns, or join with ON."));
        }
        factor(&join.relation, seen, sources)?;
    }
    Ok(())
}

fn factor(factor: &TableFactor, seen: &Seen, sources: &mut Vec<Source>) -> Result<()> {
    match factor {
        TableFactor::Table { name, alias, args, version, .. } => {
            let written = match name.0.as_slice() {
                [ObjectNamePart::Identifier(table)] => Some(name_of(table)).filter(|name| !seen.ctes.contains(name)),
                [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(table)]
                    if name_of(schema) == "public" =>
                {
                    Some(name_of(table))
                }
                _ => None,
            };
            let has_hidden =
                args.is_none() && (version.is_some() || written.is_some_and(|name| seen.tables.contains(&name)));
            let name = match alias {
                Some(alias) => ObjectName::from(alias.name.clone()),
                None => name.clone(),
            };
            sources.push(Source { name, has_hidden });
        }
        TableFactor::Derived { alias: Some(alias), .. } | TableFactor::Function { alias: Some(alias), .. } => {
            sources.push(Source { name: ObjectName::from(alias.name.clone()), has_hidden: false });
        }
        TableFactor::NestedJoin { table_with_joins, .. } => collect(table_with_joins, seen, sources)?,
        _ => {
            return Err(Error::unsupported("* over a subquery without a name in a query that names hidden columns"));
        }
    }
    Ok(())
}
