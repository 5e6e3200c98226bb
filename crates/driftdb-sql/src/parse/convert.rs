//! From sqlparser's statements to ours: queries and DML. Every field of every statement is looked at.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::*;
use driftdb_engine::LockMode;
use driftdb_types::{Error, Result, SqlState};

use super::allow::Walk;
use super::names::{TableName, name_of, single};
use super::source::Source;
use super::statement::*;

/// Converts a parsed statement that is not DDL.
pub(crate) fn convert(source: &Source, statement: Statement, walk: &mut Walk<'_>) -> Result<Kind> {
    match statement {
        Statement::Query(query) => convert_query(source, *query, walk),
        Statement::Insert(insert) => convert_insert(source, insert, None, walk),
        Statement::Update(update) => convert_update(source, update, None, walk),
        Statement::Delete(delete) => convert_delete(source, delete, None, walk),
        Statement::CreateTable(create) => super::define::create_table(source, create, walk),
        Statement::CreateIndex(create) => super::define::create_index(source, create),
        Statement::AlterTable(alter) => super::define::alter_table(source, alter, walk),
        Statement::Merge(_) => Err(Error::unsupported("MERGE")),
        other => Err(Error::unsupported(first_words(&other.to_string()))),
    }
}

/// The capital words a statement begins with.
pub(crate) fn first_words(text: &str) -> String {
    let words: Vec<&str> = text
        .split_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .take(3)
        .collect();
    match words.is_empty() {
        true => "this statement".to_owned(),
        false => words.join(" "),
    }
}

fn convert_query(source: &Source, mut query: Query, walk: &mut Walk<'_>) -> Result<Kind> {
    // WITH … INSERT, UPDATE or DELETE.
    match *query.body {
        SetExpr::Insert(Statement::Insert(insert)) => return convert_insert(source, insert, query.with, walk),
        SetExpr::Update(Statement::Update(update)) => return convert_update(source, update, query.with, walk),
        SetExpr::Delete(Statement::Delete(delete)) => return convert_delete(source, delete, query.with, walk),
        body => query.body = Box::new(body),
    }
    let locks = std::mem::take(&mut query.locks);
    walk.query(&query)?;
    let lock = match locks.as_slice() {
        [] => None,
        [LockClause { lock_type, of, nonblock }] => {
            check_lockable(source, &query, of.as_ref())?;
            let mode = match lock_type {
                LockType::Share => LockMode::Share,
                LockType::Update => LockMode::Update,
            };
            let blocked = match nonblock {
                None => Blocked::Wait,
                Some(NonBlock::Nowait) => Blocked::NoWait,
                Some(NonBlock::SkipLocked) => Blocked::SkipLocked,
            };
            Some(RowLocking { mode, blocked })
        }
        _ => return Err(Error::unsupported("more than one FOR UPDATE clause")),
    };
    Ok(Kind::Query(Box::new(QueryStatement { query, lock })))
}

/// FOR UPDATE takes one plain table, whose rows the result shows one by one.
fn check_lockable(source: &Source, query: &Query, of: Option<&ObjectName>) -> Result<()> {
    let refuse = |what: &str| Err(source.locate(Error::unsupported(format!("FOR UPDATE with {what}")), query));
    if query.with.is_some() {
        return refuse("WITH");
    }
    let SetExpr::Select(select) = query.body.as_ref() else {
        return refuse("UNION, INTERSECT, EXCEPT or VALUES");
    };
    if select.distinct.is_some() {
        return refuse("DISTINCT");
    }
    let plain_groups = matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    if !plain_groups || select.having.is_some() {
        return refuse("GROUP BY or HAVING");
    }
    if let Some(what) = over_rows(&select.projection) {
        let message = format!("FOR UPDATE is not allowed with {what}");
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
        return refuse("more or less than one table");
    };
    if !joins.is_empty() {
        return refuse("a join");
    }
    let TableFactor::Table { name, alias, version, args, .. } = relation else {
        return refuse("a subquery in FROM");
    };
    if args.is_some() {
        return refuse("a function in FROM");
    }
    if version.is_some() {
        return Err(source.locate(travelled_target("SELECT FOR UPDATE"), relation));
    }
    if let Some(of) = of {
        let shown = alias.as_ref().map_or_else(|| name.0.last().map(ToString::to_string), |a| Some(a.name.to_string()));
        if Some(of.to_string()) != shown {
            return Err(source.locate(
                Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{of}\" in FOR UPDATE clause not found in FROM clause"),
                ),
                of,
            ));
        }
    }
    Ok(())
}

/// What of several rows is in a list of results: aggregates or window functions.
fn over_rows(items: &[SelectItem]) -> Option<&'static str> {
    const AGGREGATES: [&str; 21] = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "string_agg",
        "bool_and",
        "bool_or",
        "every",
        "bit_and",
        "bit_or",
        "bit_xor",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "variance",
        "var_pop",
        "var_samp",
        "corr",
        "covar_pop",
        "covar_samp",
    ];
    /// How many queries it is inside of: those in the list have rows of their own.
    struct Calls(usize);
    impl Visitor for Calls {
        type Break = &'static str;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<&'static str> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<&'static str> {
            self.0 = self.0.saturating_sub(1);
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<&'static str> {
            let (0, Expr::Function(function)) = (self.0, expr) else { return ControlFlow::Continue(()) };
            if function.over.is_some() {
                return ControlFlow::Break("window functions");
            }
            match function.name.0.last() {
                Some(ObjectNamePart::Identifier(name)) if AGGREGATES.contains(&name_of(name).as_str()) => {
                    ControlFlow::Break("aggregate functions")
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut calls = Calls(0);
    items.iter().find_map(|item| match item.visit(&mut calls) {
        ControlFlow::Break(what) => Some(what),
        ControlFlow::Continue(()) => None,
    })
}

/// The results of RETURNING, each of one row.
fn returned(walk: &mut Walk<'_>, items: &[SelectItem]) -> Result<()> {
    walk.items(items)?;
    match over_rows(items) {
        None => Ok(()),
        Some(what) => {
            // Window functions have a code of their own in PostgreSQL, which nothing here gives.
            Err(Error::new(SqlState::GROUPING_ERROR, format!("{what} are not allowed in RETURNING")))
        }
    }
}

fn travelled_target(what: &str) -> Error {
    Error::new(
        SqlState::READ_ONLY_SQL_TRANSACTION,
        format!("cannot execute {what} on a table FOR SYSTEM_TIME: the past only reads"),
    )
}

/// The target of UPDATE or DELETE.
fn target(source: &Source, what: &str, table: &TableWithJoins) -> Result<(TableName, Option<Ident>)> {
    let TableWithJoins { relation, joins } = table;
    if !joins.is_empty() {
        return Err(source.locate(Error::unsupported(format!("a join as the target of {what}")), relation));
    }
    let TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = relation
    else {
        return Err(source.locate(Error::new(SqlState::SYNTAX_ERROR, format!("{what} takes a table")), relation));
    };
    if version.is_some() {
        return Err(source.locate(travelled_target(what), relation));
    }
    let extra = args.is_some()
        || !with_hints.is_empty()
        || *with_ordinality
        || !partitions.is_empty()
        || json_path.is_some()
        || sample.is_some()
        || !index_hints.is_empty();
    if extra {
        return Err(source.locate(Error::unsupported(format!("this clause after the table of {what}")), relation));
    }
    let alias = match alias {
        None => None,
        Some(TableAlias { explicit: _, name, columns, at }) => {
            if !columns.is_empty() || at.is_some() {
                return Err(source.locate(Error::unsupported(format!("column aliases in {what}")), name));
            }
            Some(name.clone())
        }
    };
    Ok((TableName::new(source, name)?, alias))
}

/// DEFAULT written as a value.
pub(crate) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

fn convert_insert(source: &Source, insert: Insert, with: Option<With>, walk: &mut Walk<'_>) -> Result<Kind> {
    let Insert {
        insert_token: _,
        optimizer_hints: _,
        or,
        ignore,
        into,
        table,
        table_alias,
        columns,
        overwrite,
        source: rows,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword,
        on,
        returning,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    let refused = [
        (or.is_some(), "INSERT OR"),
        (ignore, "INSERT IGNORE"),
        (!into, "INSERT without INTO"),
        (overwrite, "INSERT OVERWRITE"),
        (!assignments.is_empty(), "INSERT … SET"),
        (partitioned.is_some(), "PARTITION in INSERT"),
        (!after_columns.is_empty(), "columns after PARTITION"),
        (has_table_keyword, "INSERT INTO TABLE"),
        (output.is_some(), "OUTPUT"),
        (replace_into, "REPLACE INTO"),
        (priority.is_some(), "a priority of INSERT"),
        (insert_alias.is_some(), "an alias after VALUES"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
        (multi_table_insert_type.is_some(), "INSERT ALL or FIRST"),
        (!multi_table_into_clauses.is_empty(), "INSERT into several tables"),
        (!multi_table_when_clauses.is_empty(), "INSERT … WHEN"),
        (multi_table_else_clause.is_some(), "INSERT … ELSE"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(present, _)| *present) {
        return Err(Error::unsupported(what));
    }
    let TableObject::TableName(name) = &table else {
        return Err(Error::unsupported("INSERT into a function or query"));
    };
    let table = TableName::new(source, name)?;
    let columns = columns.iter().map(|column| single(source, column, "a column")).collect::<Result<Vec<_>>>()?;
    let rows = match rows {
        None => InsertSource::DefaultValues,
        Some(query) => insert_source(*query, with, walk)?,
    };
    let on_conflict = match on {
        None => None,
        Some(OnInsert::OnConflict(on_conflict)) => {
            if let OnConflictAction::DoUpdate(DoUpdate { assignments, selection }) = &on_conflict.action {
                assignments
                    .iter()
                    .try_for_each(|set| if is_default(&set.value) { Ok(()) } else { walk.expr(&set.value) })?;
                walk.opt(selection.as_ref())?;
            }
            Some(on_conflict)
        }
        Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY UPDATE")),
    };
    if let Some(items) = &returning {
        returned(walk, items)?;
    }
    let alias = table_alias.map(|alias| alias.alias);
    Ok(Kind::Insert(Box::new(InsertStatement { table, alias, columns, source: rows, on_conflict, returning })))
}

fn insert_source(mut query: Query, with: Option<With>, walk: &mut Walk<'_>) -> Result<InsertSource> {
    let plain = with.is_none()
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    if let (true, SetExpr::Values(values)) = (plain, query.body.as_mut()) {
        let rows: Vec<Vec<Expr>> = std::mem::take(&mut values.rows).into_iter().map(|row| row.content).collect();
        // The rest of the query is walked without its rows, whose DEFAULTs are not expressions.
        walk.query(&query)?;
        for value in rows.iter().flatten().filter(|value| !is_default(value)) {
            walk.expr(value)?;
        }
        return Ok(InsertSource::Values(rows));
    }
    let query = match (with, &query.with) {
        (None, _) => query,
        (Some(with), None) => Query { with: Some(with), ..query },
        (Some(_), Some(_)) => return Err(Error::unsupported("WITH both before INSERT and in its query")),
    };
    walk.query(&query)?;
    Ok(InsertSource::Query(Box::new(query)))
}

/// `SET a = x, (b, c) = (y, z)` as single assignments.
pub(crate) fn set_columns(source: &Source, assignments: Vec<Assignment>) -> Result<Vec<SetColumn>> {
    let mut set = Vec::with_capacity(assignments.len());
    let mut push = |column: Ident, value: Expr| {
        let value = if is_default(&value) { None } else { Some(value) };
        set.push(SetColumn { column, value });
    };
    for Assignment { target, value } in assignments {
        match target {
            AssignmentTarget::ColumnName(name) => push(single(source, &name, "the column of SET")?, value),
            AssignmentTarget::Tuple(names) => {
                let Expr::Tuple(values) = value else {
                    return Err(Error::unsupported("SET (…) = (SELECT …)"));
                };
                if names.len() != values.len() {
                    return Err(Error::new(
                        SqlState::SYNTAX_ERROR,
                        "number of columns does not match number of values",
                    ));
                }
                for (name, value) in names.iter().zip(values) {
                    push(single(source, name, "the column of SET")?, value);
                }
            }
        }
    }
    Ok(set)
}

fn convert_update(source: &Source, update: Update, with: Option<With>, walk: &mut Walk<'_>) -> Result<Kind> {
    let Update {
        update_token: _,
        optimizer_hints: _,
        table,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
    } = update;
    let refused = [
        (output.is_some(), "OUTPUT"),
        (or.is_some(), "UPDATE OR"),
        (!order_by.is_empty(), "ORDER BY in UPDATE"),
        (limit.is_some(), "LIMIT in UPDATE"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(present, _)| *present) {
        return Err(Error::unsupported(what));
    }
    let (table, alias) = target(source, "UPDATE", &table)?;
    let from = match from {
        None => Vec::new(),
        Some(UpdateTableFromKind::AfterSet(from)) => from,
        Some(UpdateTableFromKind::BeforeSet(_)) => return Err(Error::unsupported("FROM before SET")),
    };
    if let Some(with) = &with {
        walk.with(with)?;
    }
    let set = set_columns(source, assignments)?;
    set.iter().try_for_each(|set| walk.opt(set.value.as_ref()))?;
    from.iter().try_for_each(|table| walk.table(table))?;
    walk.opt(selection.as_ref())?;
    returned(walk, returning.as_deref().unwrap_or_default())?;
    Ok(Kind::Update(Box::new(UpdateStatement { with, table, alias, set, from, selection, returning })))
}

fn convert_delete(source: &Source, delete: Delete, with: Option<With>, walk: &mut Walk<'_>) -> Result<Kind> {
    let Delete {
        delete_token: _,
        optimizer_hints: _,
        tables,
        from,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    let refused = [
        (!tables.is_empty(), "DELETE from several tables"),
        (output.is_some(), "OUTPUT"),
        (!order_by.is_empty(), "ORDER BY in DELETE"),
        (limit.is_some(), "LIMIT in DELETE"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(present, _)| *present) {
        return Err(Error::unsupported(what));
    }
    let FromTable::WithFromKeyword(from) = from else {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "DELETE needs FROM"));
    };
    let [table] = from.as_slice() else {
        return Err(Error::unsupported("DELETE from several tables"));
    };
    let (table, alias) = target(source, "DELETE", table)?;
    if let Some(with) = &with {
        walk.with(with)?;
    }
    let using = using.unwrap_or_default();
    using.iter().try_for_each(|table| walk.table(table))?;
    walk.opt(selection.as_ref())?;
    returned(walk, returning.as_deref().unwrap_or_default())?;
    Ok(Kind::Delete(Box::new(DeleteStatement { with, table, alias, using, selection, returning })))
}
