//! Prepared statements: what is found out once, and when it has to be found out anew.

use std::fmt;
use std::sync::Arc;

use driftdb_engine::Catalog;
use driftdb_types::{DataType, Error, Result, SqlState, Value};
use parking_lot::Mutex;

use super::Session;
use super::execute::Exec;
use crate::dml::{DeletePlan, ErasePlan, InsertPlan, LockingPlan, UpdatePlan};
use crate::outcome::ResultColumn;
use crate::parse::{self, ExplainStatement, Kind, Statement};
use crate::point::PointSelect;
use crate::query::{self, PlannedQuery};

/// How a statement is carried out.
pub(crate) enum Plan {
    /// As it stands: there is nothing to prepare.
    Command,
    Point(PointSelect),
    Query(Box<PlannedQuery>),
    Locking(Box<LockingPlan>),
    Insert(Box<InsertPlan>),
    Update(Box<UpdatePlan>),
    Delete(Box<DeletePlan>),
    Erase(Box<ErasePlan>),
    Explain(Box<Planned>),
}

/// A plan, good for one state of the catalog.
pub(crate) struct Planned {
    pub(crate) params: Vec<DataType>,
    /// `None`: the statement gives no rows.
    pub(crate) columns: Option<Arc<[ResultColumn]>>,
    pub(crate) plan: Plan,
    catalog: Arc<Catalog>,
}

impl Planned {
    pub(crate) fn command(catalog: Arc<Catalog>) -> Planned {
        Planned { params: Vec::new(), columns: None, plan: Plan::Command, catalog }
    }

    /// Whether the tables are still those it was made for.
    fn fits(&self, catalog: &Arc<Catalog>) -> bool {
        if Arc::ptr_eq(&self.catalog, catalog) {
            return true;
        }
        let same = |table: &Arc<driftdb_types::TableSchema>| {
            catalog.table(&table.name).is_some_and(|now| Arc::ptr_eq(now, table))
        };
        match &self.plan {
            Plan::Command => true,
            Plan::Point(point) => same(point.table()),
            _ => false,
        }
    }
}

/// A statement with its plan. Cheap to clone; good in the session that made it.
#[derive(Clone)]
pub struct Prepared {
    inner: Arc<Inner>,
}

struct Inner {
    statement: Statement,
    /// The types the client named.
    types: Vec<Option<DataType>>,
    params: Vec<DataType>,
    columns: Option<Arc<[ResultColumn]>>,
    planned: Mutex<Arc<Planned>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("params", &self.inner.params).finish_non_exhaustive()
    }
}

impl Prepared {
    /// The types of `$1`, `$2`, …
    pub fn params(&self) -> &[DataType] {
        &self.inner.params
    }

    /// The columns of its rows; `None` when it gives none.
    pub fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.inner.columns.clone()
    }

    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.inner.statement
    }

    /// About how much memory it takes with its plan: one of a query is a tree of many small parts.
    pub(super) fn memory_bytes(&self) -> usize {
        let planned = match self.inner.planned.lock().plan {
            Plan::Query(_) | Plan::Locking(_) | Plan::Erase(_) | Plan::Explain(_) => 32 << 10,
            Plan::Command | Plan::Point(_) | Plan::Insert(_) | Plan::Update(_) | Plan::Delete(_) => 4 << 10,
        };
        planned + parse::memory_bytes(self.inner.statement.source().text())
    }

    fn new(statement: &Statement, types: &[Option<DataType>], planned: Arc<Planned>) -> Prepared {
        let inner = Inner {
            statement: statement.clone(),
            types: types.to_vec(),
            params: planned.params.clone(),
            columns: planned.columns.clone(),
            planned: Mutex::new(planned),
        };
        Prepared { inner: Arc::new(inner) }
    }

    /// The plan for the catalog of `exec`, made anew if that is another one than last time.
    pub(super) fn planned(&self, exec: &Exec<'_>) -> Result<Arc<Planned>> {
        let planned = Arc::clone(&self.inner.planned.lock());
        if planned.fits(&exec.catalog()) {
            return Ok(planned);
        }
        let types: Vec<Option<DataType>> = self.inner.params.iter().copied().map(Some).collect();
        let types = if types.is_empty() { self.inner.types.clone() } else { types };
        let anew = Arc::new(plan(exec, &self.inner.statement, &types)?);
        if !same_shape(anew.columns.as_ref(), self.inner.columns.as_ref()) {
            return Err(changed_shape());
        }
        *self.inner.planned.lock() = Arc::clone(&anew);
        Ok(anew)
    }
}

/// Whether two results look alike to a client.
pub(super) fn same_shape(left: Option<&Arc<[ResultColumn]>>, right: Option<&Arc<[ResultColumn]>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => {
            let shape = |column: &ResultColumn| (column.name.clone(), column.data_type);
            left.iter().map(shape).eq(right.iter().map(shape))
        }
        _ => false,
    }
}

/// The error of a statement whose result is no longer what was described.
pub(super) fn changed_shape() -> Error {
    // Drivers prepare the statement anew on this, and know it by the routine.
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type")
        .routine("RevalidateCachedQuery")
}

/// Plans a statement on the catalog of `exec`.
pub(crate) fn plan(exec: &Exec<'_>, statement: &Statement, types: &[Option<DataType>]) -> Result<Planned> {
    plan_kind(exec, statement, statement.kind(), types)
}

fn plan_kind(exec: &Exec<'_>, statement: &Statement, kind: &Kind, types: &[Option<DataType>]) -> Result<Planned> {
    let catalog = exec.catalog();
    let mut types = types.to_vec();
    if types.len() < statement.parameters() {
        types.resize(statement.parameters(), None);
    }
    for (slot, told) in types.iter_mut().zip(statement.parameter_types()) {
        *slot = slot.or(*told);
    }
    let (params, columns, plan) = match kind {
        Kind::Query(query) if query.lock.is_some() => {
            let plan = LockingPlan::new(exec, statement.source(), query, &types)?;
            (plan.params(), Some(plan.columns()), Plan::Locking(Box::new(plan)))
        }
        Kind::Query(query) => match PointSelect::compile(exec, query, &types)? {
            Some(point) => (point.params(), Some(point.columns()), Plan::Point(point)),
            None => {
                let values = (!exec.params.is_empty()).then_some(exec.params);
                let planned = query::plan_query_for(&exec.context(), &query.query, &types, values)?;
                (planned.params.clone(), Some(Arc::clone(&planned.columns)), Plan::Query(Box::new(planned)))
            }
        },
        Kind::Insert(insert) => {
            let plan = InsertPlan::new(exec, statement.source(), insert, &types)
                .map_err(|error| not_writable(exec, "INSERT", error))?;
            (plan.params(), plan.columns(), Plan::Insert(Box::new(plan)))
        }
        Kind::Update(update) => {
            let plan = UpdatePlan::new(exec, statement.source(), update, &types)
                .map_err(|error| not_writable(exec, "UPDATE", error))?;
            (plan.params(), plan.columns(), Plan::Update(Box::new(plan)))
        }
        Kind::Delete(delete) => {
            let plan = DeletePlan::new(exec, statement.source(), delete, &types)
                .map_err(|error| not_writable(exec, "DELETE", error))?;
            (plan.params(), plan.columns(), Plan::Delete(Box::new(plan)))
        }
        Kind::Erase(erase) => {
            let plan = ErasePlan::new(exec, statement.source(), erase, &types)
                .map_err(|error| not_writable(exec, "ERASE", error))?;
            (plan.params(), None, Plan::Erase(Box::new(plan)))
        }
        Kind::Explain(explain) => {
            let ExplainStatement { options: _, statement: inner } = explain.as_ref();
            let planned = plan_kind(exec, statement, inner, &types)?;
            let columns: Arc<[ResultColumn]> = Arc::from([ResultColumn::new("QUERY PLAN", DataType::Text)]);
            (planned.params.clone(), Some(columns), Plan::Explain(Box::new(planned)))
        }
        _ => return Ok(Planned::command(catalog)),
    };
    Ok(Planned { params, columns, plan, catalog })
}

/// Of a table that is there only in the past, that it is not there is not what keeps it from being written.
fn not_writable(exec: &Exec<'_>, what: &str, error: Error) -> Error {
    let missing = error.state == SqlState::UNDEFINED_TABLE;
    exec.check_writable(what).err().filter(|_| missing).unwrap_or(error)
}

impl Session {
    /// `params` are the values it is prepared for, if they are known already.
    pub(super) fn prepare_statement(
        &mut self,
        statement: &Statement,
        types: &[Option<DataType>],
        params: &[Value],
    ) -> Result<Prepared> {
        if !statement.kind().is_planned() {
            // Commands need no snapshot; those that end a failed transaction can be prepared in it.
            if !statement.ends_transaction() {
                self.ensure_transaction()?;
            }
            let mut planned = Planned::command(self.db.shared.engine.catalog());
            match statement.kind() {
                Kind::Show(name) => {
                    self.shown_setting(name)?;
                    planned.columns = Some(Arc::from([self.show_column(name)]));
                }
                Kind::ShowAll => {
                    let names = ["name", "setting", "description"];
                    planned.columns = Some(names.map(|name| ResultColumn::new(name, DataType::Text)).into());
                }
                Kind::Execute { name, .. } => planned.columns = self.named_columns(name)?,
                _ => {}
            }
            return Ok(Prepared::new(statement, types, Arc::new(planned)));
        }
        self.begin_statement()?;
        let exec = self.exec(params)?;
        let planned = plan(&exec, statement, types)?;
        Ok(Prepared::new(statement, types, Arc::new(planned)))
    }
}
