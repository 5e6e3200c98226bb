//! The rows a statement writes or locks, found without DataFusion.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::{LockMode, LockWait, RowLock, StatementError};
use driftdb_types::{KeyRange, Result, TableSchema, Value, decode_row};

use crate::point::scalar::Scalar;
use crate::point::{Access, Target, find_access, index_name};
use crate::session::{Exec, Run};

/// How the target's rows are found: through a key or an index, or by looking at every row.
pub(super) struct Finder {
    table: Arc<TableSchema>,
    access: Option<Access>,
    /// `None`: every row.
    filter: Option<Scalar>,
}

impl Finder {
    pub(super) fn new(table: &Arc<TableSchema>, filter: Option<Scalar>) -> Finder {
        let access = filter.as_ref().and_then(|filter| find_access(table, filter));
        Finder { table: Arc::clone(table), access, filter }
    }

    /// What EXPLAIN says of a statement that goes this way.
    pub(super) fn explain(&self, verb: &str) -> Vec<String> {
        let name = &self.table.name;
        match &self.access {
            Some(access) => {
                let kind = if access.is_single() { "Point" } else { "Range" };
                vec![format!("{kind} {verb} on {name} using {}", index_name(&self.table, access))]
            }
            None => vec![format!("{verb} on {name}"), format!("  ->  Scan on {name}")],
        }
    }

    /// Calls `step` with each row that fulfils the condition: its key and values. What `step` writes is not seen.
    pub(super) fn each(
        &self,
        exec: &mut Exec<'_>,
        mut step: impl FnMut(&mut Exec<'_>, &Bytes, Vec<Value>) -> Run<bool>,
    ) -> Run<()> {
        let target = match &self.access {
            None => Some(Target::Range(KeyRange::all())),
            Some(access) => access.target(&exec.env())?,
        };
        let (tree, range) = match (target, self.access.as_ref().and_then(Access::index)) {
            (Some(Target::Nothing), _) => return Ok(()),
            (Some(Target::Key(key)), None) => {
                if let Some(row) = exec.txn.get(self.table.id, &key)? {
                    self.offer(exec, row.key, &row.payload, &mut step)?;
                }
                return Ok(());
            }
            (Some(Target::Key(key)), Some(index)) => {
                if let Some(entry) = exec.txn.get(index, &key)? {
                    self.follow(exec, entry.payload, &mut step)?;
                }
                return Ok(());
            }
            (Some(Target::Range(range)), Some(index)) => (Some(index), range),
            (Some(Target::Range(range)), None) => (None, range),
            // The parameters have no place among the keys: every row is looked at.
            (None, _) => (None, KeyRange::all()),
        };
        // The scan stands still while the transaction goes on writing.
        let reader = exec.txn.reader();
        for row in exec.txn.scan(tree.unwrap_or(self.table.id), &range, false)? {
            exec.cancel.check()?;
            let row = row?;
            let more = match tree {
                None => self.offer(exec, row.key, &row.payload, &mut step)?,
                Some(_) => match reader.get(self.table.id, &row.payload)? {
                    Some(found) => self.offer(exec, row.payload, &found.payload, &mut step)?,
                    None => true,
                },
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn follow(
        &self,
        exec: &mut Exec<'_>,
        key: Bytes,
        step: &mut impl FnMut(&mut Exec<'_>, &Bytes, Vec<Value>) -> Run<bool>,
    ) -> Run<()> {
        if let Some(row) = exec.txn.get(self.table.id, &key)? {
            self.offer(exec, key, &row.payload, step)?;
        }
        Ok(())
    }

    fn offer(
        &self,
        exec: &mut Exec<'_>,
        key: Bytes,
        payload: &[u8],
        step: &mut impl FnMut(&mut Exec<'_>, &Bytes, Vec<Value>) -> Run<bool>,
    ) -> Run<bool> {
        let values = decode_row(&self.table, payload).map_err(driftdb_types::Error::from)?;
        if let Some(filter) = &self.filter
            && !filter.holds(&values, &exec.env())?
        {
            return Ok(true);
        }
        step(exec, &key, values)
    }
}

/// Locks a row that was found. `false`: somebody else has it, and it is to be skipped.
pub(super) fn lock(exec: &mut Exec<'_>, table: &TableSchema, key: &[u8], mode: LockMode, wait: LockWait) -> Run<bool> {
    match exec.txn.lock_row(table, key, mode, wait)? {
        RowLock::Unchanged => Ok(true),
        RowLock::Skipped => Ok(false),
        RowLock::Changed => Err(StatementError::Restart),
    }
}

/// The values of a row that a query named by its key; `None` when it is not there (any more).
pub(super) fn row_at(exec: &Exec<'_>, table: &TableSchema, key: &[u8]) -> Result<Option<Vec<Value>>> {
    match exec.txn.get(table.id, key)? {
        None => Ok(None),
        Some(row) => Ok(Some(decode_row(table, &row.payload)?)),
    }
}
