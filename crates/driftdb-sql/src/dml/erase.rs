//! ERASE: which rows. A row is one of them if any of its versions, past or present, fulfils the condition.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr};
use driftdb_engine::Charge;
use driftdb_types::{DataType, Error, Result, TableSchema, Value};

use super::{name_target, row_key_of};
use crate::parse::{self, EraseStatement, Source, name_of};
use crate::query::{self, PlannedQuery};
use crate::session::Exec;

/// A prepared ERASE.
pub(crate) struct ErasePlan {
    table: Arc<TableSchema>,
    /// The keys of the rows.
    keys: PlannedQuery,
}

impl ErasePlan {
    pub(crate) fn new(
        exec: &Exec<'_>,
        source: &Source,
        erase: &EraseStatement,
        types: &[Option<DataType>],
    ) -> Result<ErasePlan> {
        let table = super::target_table(exec, source, &erase.table)?;
        let qualifier = erase.alias.as_ref().map_or_else(|| table.name.clone(), name_of);
        let mut query = parse::parse_query("SELECT DISTINCT NULL FROM t FOR SYSTEM_TIME ALL")?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = vec![SelectItem::UnnamedExpr(row_key_of(&qualifier))];
            if let Some(from) = select.from.first_mut() {
                name_target(&mut from.relation, &table, &qualifier);
            }
            select.selection = erase.selection.clone();
        }
        let keys = query::plan_query(&exec.row_key_context(), &query, types)?;
        Ok(ErasePlan { table, keys })
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.keys.params.clone()
    }

    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// The keys of the rows that are to be erased, with their memory.
    pub(crate) fn keys(&self, exec: &Exec<'_>) -> Result<(BTreeSet<Bytes>, Charge)> {
        /// What a key takes beside its bytes.
        const KEY_BYTES: usize = 64;
        let mut stream = query::run_query(&exec.row_key_context(), &self.keys, exec.params)?;
        let (mut keys, mut charge) = (BTreeSet::new(), exec.engine.charge(0)?);
        while let Some(batch) = stream.next_batch()? {
            exec.cancel.check()?;
            for row in batch {
                let Some(Value::Bytea(key)) = row.into_iter().next() else {
                    return Err(Error::internal("a query for rows to erase gave no row key"));
                };
                charge.add(key.len() + KEY_BYTES)?;
                keys.insert(Bytes::from(key));
            }
        }
        Ok((keys, charge))
    }
}
