//! SELECT of one table by key, or by a range of keys.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins,
};
use driftdb_engine::{Cancel, TxnReader, TxnScan};
use driftdb_store::{ReadPoint, Scan, StoreView};
use driftdb_types::{ColumnId, CommitSeq, DataType, Result, RowDecoder, TableSchema, TimeZone, TreeId, Value};

use super::access::{Access, Target, find_access};
use super::compile::{Compiler, ParamTypes, output_name};
use super::scalar::{Env, Scalar};
use super::scope::Scope;
use crate::outcome::{ResultColumn, RowSource, RowStream};
use crate::parse::temporal::{SystemTime, system_time_of};
use crate::parse::{QueryStatement, name_of};
use crate::session::Exec;
use crate::system_time;

/// Rows of a range handed on at a time.
const BATCH_ROWS: usize = 1024;

struct Compiled {
    table: Arc<TableSchema>,
    access: Access,
    decoder: RowDecoder,
    filter: Scalar,
    output: Vec<Scalar>,
    columns: Arc<[ResultColumn]>,
    params: Vec<DataType>,
    /// The table's own AS OF, and whether it is a commit's number.
    as_of: Option<(Scalar, bool)>,
}

/// A compiled SELECT.
#[derive(Clone)]
pub(crate) struct PointSelect {
    compiled: Arc<Compiled>,
}

impl PointSelect {
    /// Compiles a query, if it is covered.
    pub(crate) fn compile(
        exec: &Exec<'_>,
        query: &QueryStatement,
        types: &[Option<DataType>],
    ) -> Result<Option<PointSelect>> {
        Ok(compile(exec, &query.query, types).map(|compiled| PointSelect { compiled: Arc::new(compiled) }))
    }

    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.compiled.table
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.compiled.params.clone()
    }

    pub(crate) fn columns(&self) -> Arc<[ResultColumn]> {
        Arc::clone(&self.compiled.columns)
    }

    pub(crate) fn explain(&self) -> Vec<String> {
        let Compiled { table, access, .. } = self.compiled.as_ref();
        let what = if access.is_single() { "Point" } else { "Range" };
        vec![format!("{what} Select on {} using {}", table.name, index_name(table, access))]
    }

    /// Runs it. `None` when the past has another definition of the table, or the parameters cannot be placed among the
    /// keys: then the general path has to.
    pub(crate) fn run(&self, exec: &Exec<'_>) -> Result<Option<RowStream>> {
        let compiled = self.compiled.as_ref();
        let env = exec.env();
        let at = match &compiled.as_of {
            Some((point, is_seq)) => {
                let value = point.eval(&[], &env)?;
                let view = exec.txn.view();
                Some(system_time::resolve(exec.engine, view, &value, *is_seq, env.tz)?)
            }
            None => exec.system_time,
        };
        if let Some(seq) = at
            && !is_as_of(exec, &compiled.table, seq)?
        {
            return Ok(None);
        }
        let source = match at {
            None => Source::Now(exec.txn.reader()),
            Some(seq) => {
                let view = exec.engine.view_as_of(exec.txn.view(), seq);
                exec.engine.check_horizon(&view, &compiled.table, seq)?;
                Source::Then(view, seq)
            }
        };
        match compiled.access.target(&env)? {
            None => Ok(None),
            Some(Target::Nothing) => Ok(Some(self.ready(Vec::new()))),
            Some(Target::Key(key)) => {
                let row = match compiled.access.index() {
                    None => source.get(compiled.table.id, &key)?,
                    Some(index) => match source.get(index, &key)? {
                        Some(row_key) => source.get(compiled.table.id, &row_key)?,
                        None => None,
                    },
                };
                let row = row.map(|payload| compiled.row(&payload, &env)).transpose()?.flatten();
                Ok(Some(self.ready(row.into_iter().collect())))
            }
            Some(Target::Range(range)) => {
                let tree = compiled.access.index().unwrap_or(compiled.table.id);
                let entries = match &source {
                    Source::Now(reader) => Entries::Now(Box::new(reader.scan(tree, &range, false)?)),
                    Source::Then(view, seq) => {
                        Entries::Then(Box::new(view.scan(tree, &range, ReadPoint::AsOf(*seq), false)?))
                    }
                };
                let rows = RangeRows {
                    compiled: Arc::clone(&self.compiled),
                    source,
                    entries,
                    params: exec.params.to_vec(),
                    tz: env.tz.clone(),
                    transaction_us: env.transaction_us,
                    statement_us: env.statement_us,
                    cancel: Arc::clone(exec.cancel),
                };
                Ok(Some(RowStream::new(self.columns(), Box::new(rows))))
            }
        }
    }

    fn ready(&self, rows: Vec<Vec<Value>>) -> RowStream {
        RowStream::ready(self.columns(), rows, crate::outcome::RowsTag::Select)
    }
}

/// The name of the index or key that an access goes through.
pub(crate) fn index_name(table: &TableSchema, access: &Access) -> String {
    match access.index() {
        None => table.primary_key.as_ref().map(|key| key.name.clone()),
        Some(id) => table.indexes.iter().find(|index| index.id == id).map(|index| index.name.clone()),
    }
    .unwrap_or_default()
}

impl Compiled {
    /// The result of one row, if the condition holds for it.
    fn row(&self, payload: &[u8], env: &Env<'_>) -> Result<Option<Vec<Value>>> {
        let values = self.decoder.decode(payload)?;
        if !self.filter.holds(&values, env)? {
            return Ok(None);
        }
        self.output.iter().map(|scalar| scalar.eval(&values, env)).collect::<Result<Vec<_>>>().map(Some)
    }
}

/// What rows are read from.
enum Source {
    Now(TxnReader),
    Then(Arc<StoreView>, CommitSeq),
}

impl Source {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Source::Now(reader) => Ok(reader.get(tree, key)?.map(|row| row.payload)),
            Source::Then(view, seq) => Ok(view.get(tree, key, ReadPoint::AsOf(*seq))?.map(|version| version.payload)),
        }
    }
}

enum Entries {
    Now(Box<TxnScan>),
    Then(Box<Scan>),
}

impl Entries {
    fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Entries::Now(scan) => Ok(scan.next().transpose()?.map(|row| row.payload)),
            Entries::Then(scan) => Ok(scan.next().transpose()?.map(|version| version.payload)),
        }
    }
}

/// The rows of a range, read as they are asked for.
struct RangeRows {
    compiled: Arc<Compiled>,
    source: Source,
    entries: Entries,
    params: Vec<Value>,
    tz: TimeZone,
    transaction_us: i64,
    statement_us: i64,
    cancel: Arc<Cancel>,
}

impl RowSource for RangeRows {
    fn next_batch(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        let env = Env {
            params: &self.params,
            tz: &self.tz,
            transaction_us: self.transaction_us,
            statement_us: self.statement_us,
        };
        let mut rows = Vec::new();
        while rows.len() < BATCH_ROWS {
            self.cancel.check()?;
            let Some(payload) = self.entries.next()? else { break };
            let payload = match self.compiled.access.index() {
                None => Some(payload),
                Some(_) => self.source.get(self.compiled.table.id, &payload)?,
            };
            if let Some(payload) = payload {
                rows.extend(self.compiled.row(&payload, &env)?);
            }
        }
        Ok(if rows.is_empty() { None } else { Some(rows) })
    }
}

/// The parts of a query that reads one table with nothing but a WHERE clause.
pub(crate) fn single_table(query: &Query) -> Option<(&Select, &TableFactor)> {
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        query;
    let bare = with.is_none()
        && order_by.is_none()
        && limit_clause.is_none()
        && fetch.is_none()
        && locks.is_empty()
        && for_clause.is_none()
        && settings.is_none()
        && format_clause.is_none()
        && pipe_operators.is_empty();
    let (true, SetExpr::Select(select)) = (bare, body.as_ref()) else { return None };
    let plain = select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
        && select.flavor == SelectFlavor::Standard
        && !select.projection.is_empty();
    match (plain, select.from.as_slice()) {
        (true, [TableWithJoins { relation, joins }]) if joins.is_empty() => Some((select, relation)),
        _ => None,
    }
}

/// Compiles a list of results.
pub(crate) fn compile_items(
    compiler: &mut Compiler<'_>,
    items: &[SelectItem],
) -> Option<(Vec<Scalar>, Vec<ResultColumn>)> {
    let (mut scalars, mut columns) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                let (scalar, data_type) = compiler.output(expr)?;
                let name = match item {
                    SelectItem::ExprWithAlias { alias, .. } => name_of(alias),
                    _ => output_name(expr),
                };
                let table = match &scalar {
                    Scalar::Column(position) => compiler.scope.get(*position).and_then(|column| column.origin),
                    _ => None,
                };
                scalars.push(scalar);
                columns.push(ResultColumn { name, data_type, table });
            }
            SelectItem::Wildcard(_) => star(compiler.scope, None, &mut scalars, &mut columns),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let [datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
                    return None;
                };
                let before = scalars.len();
                star(compiler.scope, Some(&name_of(ident)), &mut scalars, &mut columns);
                (scalars.len() > before).then_some(())?;
            }
            SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => return None,
        }
    }
    Some((scalars, columns))
}

fn star(scope: &Scope, qualifier: Option<&str>, scalars: &mut Vec<Scalar>, columns: &mut Vec<ResultColumn>) {
    for (position, column) in scope.star(qualifier) {
        scalars.push(Scalar::Column(position));
        columns.push(ResultColumn { name: column.name.clone(), data_type: column.data_type, table: column.origin });
    }
}

/// Whether the table had this very definition at that commit.
fn is_as_of(exec: &Exec<'_>, table: &TableSchema, seq: CommitSeq) -> Result<bool> {
    let catalog = exec.engine.catalog_at(exec.txn.view(), seq)?;
    Ok(catalog.table(&table.name).is_some_and(|then| then.id == table.id && then.version == table.version))
}

/// The read point, if it is known before the statement runs. `None`: the general path is to say what is wrong with it.
fn known_point(exec: &Exec<'_>, as_of: Option<&(Scalar, bool)>) -> Option<Option<CommitSeq>> {
    match as_of {
        None => Some(exec.system_time),
        Some((Scalar::Const(value), is_seq)) => {
            system_time::resolve(exec.engine, exec.txn.view(), value, *is_seq, exec.time_zone()).ok().map(Some)
        }
        Some((scalar, is_seq)) if !exec.params.is_empty() => {
            let value = scalar.eval(&[], &exec.env()).ok()?;
            system_time::resolve(exec.engine, exec.txn.view(), &value, *is_seq, exec.time_zone()).ok().map(Some)
        }
        Some(_) => Some(None),
    }
}

fn compile(exec: &Exec<'_>, query: &Query, types: &[Option<DataType>]) -> Option<Compiled> {
    let (select, relation) = single_table(query)?;
    let TableFactor::Table { name, alias, args: None, version, .. } = relation else { return None };
    let table_name = crate::parse::plain_table_name(name)?;
    let catalog = exec.catalog();
    let table = catalog.table(&table_name)?;
    let qualifier = match alias {
        None => table_name,
        Some(alias) if alias.columns.is_empty() => name_of(&alias.name),
        Some(_) => return None,
    };
    let scope = Scope::table(table, &qualifier);
    let mut compiler = Compiler::new(&scope, ParamTypes(types.to_vec()), exec.time_zone());
    let mut filter = compiler.condition(select.selection.as_ref()?)?;
    let access = find_access(table, &filter)?;
    let (mut output, columns) = compile_items(&mut compiler, &select.projection)?;
    let as_of = match version {
        None => None,
        Some(version) => {
            let SystemTime::AsOf(point) = system_time_of(version).ok()? else { return None };
            let (expr, is_seq) = point.parts();
            let target = if is_seq { DataType::Int8 } else { DataType::TimestampTz };
            Some((compiler.point(expr, target)?, is_seq))
        }
    };
    let params = compiler.params.resolved();
    if let Some(seq) = known_point(exec, as_of.as_ref())?
        && !is_as_of(exec, table, seq).ok()?
    {
        return None;
    }
    let mut used = Vec::new();
    for scalar in output.iter_mut().chain([&mut filter]) {
        scalar.compact(&mut used);
    }
    let ids: Vec<ColumnId> =
        used.iter().map(|position| u16::try_from(*position).map(ColumnId)).collect::<Result<_, _>>().ok()?;
    let decoder = RowDecoder::new(table, &ids).ok()?;
    Some(Compiled { table: Arc::clone(table), access, decoder, filter, output, columns: columns.into(), params, as_of })
}
