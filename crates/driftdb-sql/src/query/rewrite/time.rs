//! System-time clauses: each is resolved to a commit or a period of commits here, before planning, because the schema a
//! table has depends on it. The table's name then carries the number of its read point as a schema of its own, which
//! no user can write: `orders FOR SYSTEM_TIME AS OF …` becomes `"\u{1}at:0".orders AS orders`.

use datafusion::sql::sqlparser::ast::{
    DataType as AstType, Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor,
    TableVersion, TypedString, Value as AstValue, ValueWithSpan,
};
use driftdb_store::Period;
use driftdb_types::{CommitSeq, Error, Result, SqlState, Value};

use super::Rewrite;
use super::exprs::function_name;
use crate::parse::name_of;
use crate::parse::temporal::{PointExpr, SystemTime, system_time_of};
use crate::query::eval_const_typed;
use crate::system_time::{resolve_bound, resolve_point};

/// When a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadAt {
    /// Now: the statement's snapshot with the transaction's own writes.
    Now,
    /// As of a commit.
    AsOf(CommitSeq),
    /// All versions of a period.
    Versions(Period),
    /// Not known before execution; planned as if it were now.
    Later,
}

/// The schema names that stand for read points.
pub(crate) struct PointPrefix;

impl PointPrefix {
    const TEXT: &'static str = "\u{1}at:";

    fn name(number: usize) -> String {
        format!("{}{number}", PointPrefix::TEXT)
    }

    /// The read point's number in a schema name.
    pub(crate) fn number(schema: &str) -> Option<usize> {
        schema.strip_prefix(PointPrefix::TEXT)?.parse().ok()
    }
}

impl Rewrite<'_> {
    pub(super) fn table_factor(&mut self, factor: &mut TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table { name, alias, args: Some(_), version: None, .. } => table_function(name, alias),
            TableFactor::Table { name, alias, version: version @ Some(_), args: None, .. } => {
                let Some(clause) = version.take() else { return Ok(()) };
                self.versioned(name, alias, &clause)
            }
            TableFactor::Table { .. } | TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => Ok(()),
            _ => Err(Error::unsupported("this form of table in FROM")),
        }
    }

    fn versioned(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        clause: &TableVersion,
    ) -> Result<()> {
        let table = match name.0.as_slice() {
            [ObjectNamePart::Identifier(table)] => {
                if self.seen.ctes.contains(&name_of(table)) {
                    return Err(Error::unsupported(format!(
                        "FOR SYSTEM_TIME of the WITH query \"{}\"",
                        name_of(table)
                    ))
                    .hint("Put the clause on the tables inside of it."));
                }
                table.clone()
            }
            [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(table)] if name_of(schema) == "public" => {
                table.clone()
            }
            _ => return Err(Error::unsupported(format!("FOR SYSTEM_TIME of {name}"))),
        };
        let at = self.read_at(&system_time_of(clause)?)?;
        let prefix = Ident::with_quote('"', PointPrefix::name(self.points.len()));
        self.points.push(at);
        if alias.is_none() {
            *alias = Some(alias_of(table.clone()));
        }
        *name = ObjectName(vec![ObjectNamePart::Identifier(prefix), ObjectNamePart::Identifier(table)]);
        Ok(())
    }

    fn read_at(&mut self, clause: &SystemTime<'_>) -> Result<ReadAt> {
        let period = match *clause {
            SystemTime::AsOf(point) => {
                let Some((value, is_seq)) = self.value(point)? else { return Ok(ReadAt::Later) };
                let zone = self.ctx.settings.time_zone();
                return Ok(ReadAt::AsOf(resolve_point(&self.ctx.read, &value, is_seq, zone)?));
            }
            SystemTime::All => Period::All,
            SystemTime::FromTo(from, to) => {
                let Some((start, end)) = self.bounds(from, to)? else { return Ok(ReadAt::Later) };
                Period::Overlaps { start: start.0, end: end.1 }
            }
            SystemTime::Between(from, to) => {
                let Some((start, end)) = self.bounds(from, to)? else { return Ok(ReadAt::Later) };
                Period::Overlaps { start: start.0, end: end.0.next() }
            }
            SystemTime::ContainedIn(from, to) => {
                let Some((start, end)) = self.bounds(from, to)? else { return Ok(ReadAt::Later) };
                Period::ContainedIn { start: start.1, end: end.0 }
            }
        };
        Ok(ReadAt::Versions(period))
    }

    /// Both points as (last commit at or before, first commit at or after).
    #[expect(clippy::type_complexity, reason = "two pairs, named above")]
    fn bounds(
        &mut self,
        from: PointExpr<'_>,
        to: PointExpr<'_>,
    ) -> Result<Option<((CommitSeq, CommitSeq), (CommitSeq, CommitSeq))>> {
        let zone = self.ctx.settings.time_zone();
        let (Some(from), Some(to)) = (self.value(from)?, self.value(to)?) else { return Ok(None) };
        let start = resolve_bound(&self.ctx.read, &from.0, from.1, zone)?;
        let end = resolve_bound(&self.ctx.read, &to.0, to.1, zone)?;
        Ok(Some((
            (start.last_at_or_before, start.first_at_or_after()),
            (end.last_at_or_before, end.first_at_or_after()),
        )))
    }

    /// A point's value, and whether it can only be a commit's number. `None` while a parameter has no value yet.
    fn value(&mut self, point: PointExpr<'_>) -> Result<Option<(Value, bool)>> {
        let (expr, is_seq) = point.parts();
        if let Some(value) = literal(expr) {
            // A commit's number means the same for ever; what a time means may depend on the time zone and on now.
            self.per_execution |= !is_seq;
            return Ok(Some((value, is_seq)));
        }
        self.per_execution = true;
        let params = match self.params {
            Some((_, params)) => params,
            None if has_placeholder(expr) => return Ok(None),
            None => &[],
        };
        if let Expr::Value(ValueWithSpan { value: AstValue::Placeholder(name), .. }) = expr {
            let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            let value = number.and_then(|number| params.get(number.checked_sub(1)?)).cloned();
            return match value {
                // A parameter that no type was declared for comes as text.
                Some(Value::Text(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Ok(Some((text.parse().map(Value::Int8).unwrap_or(Value::Text(text)), is_seq)))
                }
                Some(value) => Ok(Some((value, is_seq))),
                None => Err(Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"))),
            };
        }
        let types = self.params.map_or(&[][..], |(types, _)| types);
        eval_const_typed(self.ctx, expr, None, types, params).map(|value| Some((value, is_seq))).map_err(|error| {
            if error.state == SqlState::UNDEFINED_COLUMN {
                error.hint("The point of FOR SYSTEM_TIME must be an expression without columns.")
            } else {
                error
            }
        })
    }
}

pub(super) fn alias_of(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

fn literal(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::Value(ValueWithSpan { value: AstValue::Number(digits, _), .. }) => digits.parse().ok().map(Value::Int8),
        Expr::Value(ValueWithSpan { value: AstValue::SingleQuotedString(text), .. }) => Some(Value::Text(text.clone())),
        // Its zone counts, which a timestamp without time zone would not have.
        Expr::TypedString(TypedString { data_type: AstType::Timestamp(..) | AstType::Date, value, .. }) => {
            value.value.clone().into_string().map(Value::Text)
        }
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

fn has_placeholder(expr: &Expr) -> bool {
    use datafusion::sql::sqlparser::ast::visit_expressions;
    use std::ops::ControlFlow;
    let found = visit_expressions(expr, |part| match part {
        Expr::Value(ValueWithSpan { value: AstValue::Placeholder(_), .. }) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// A function in FROM gets a name in one part, which is what DataFusion looks up, and the alias PostgreSQL gives it. A
/// function of one column without a name gives the column its alias too.
fn table_function(name: &mut ObjectName, alias: &mut Option<TableAlias>) -> Result<()> {
    let full = function_name(name)?.ok_or_else(|| Error::unsupported(format!("{name} in FROM")))?;
    let last = full.rsplit('.').next().unwrap_or(&full).to_owned();
    let alias = alias.get_or_insert_with(|| alias_of(Ident::with_quote('"', last)));
    if full == "generate_series" && alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    *name = ObjectName::from(Ident::new(full));
    Ok(())
}
