//! Names with a schema. PostgreSQL knows a table by its own name, however it was written in FROM; DataFusion only by the
//! name as written. So a table that is named with its schema gets its own name as an alias, and references lose the schema.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor,
    TableWithJoins, VisitMut, VisitorMut,
};

use super::time::alias_of;

/// Rewrites all of a query's names.
pub(super) fn take_off(query: &mut Query) {
    let _ = query.visit(&mut Schemas);
}

struct Schemas;

impl VisitorMut for Schemas {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(tables);
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(ObjectName(parts)), _) =
                item
                && parts.len() == 2
            {
                parts.remove(0);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && parts.len() == 3
        {
            parts.remove(0);
        }
        ControlFlow::Continue(())
    }
}

fn tables(table: &mut TableWithJoins) {
    factor(&mut table.relation);
    table.joins.iter_mut().for_each(|join| factor(&mut join.relation));
}

fn factor(factor: &mut TableFactor) {
    match factor {
        TableFactor::Table { name: ObjectName(parts), alias: alias @ None, args: None, .. } => {
            if let [_, ObjectNamePart::Identifier(table)] = parts.as_slice() {
                *alias = Some(alias_of(table.clone()));
            }
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => tables(table_with_joins),
        _ => {}
    }
}
