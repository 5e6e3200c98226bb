//! ERASE: which rows. A row is one of them if any of its versions, past or present, fulfils the condition.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr};
use driftdb_engine::Charge;
use driftdb_types::{Error, Result, TableSchema, Value};

use super::{name_target, row_key_of};
use crate::parse::{self, EraseStatement, Source, name_of};
use crate::query;
use crate::session::Exec;

/// The table and the keys of its rows that are to be erased, with their memory.
pub(crate) fn rows_to_erase(
    exec: &Exec<'_>,
    source: &Source,
    erase: &EraseStatement,
) -> Result<(Arc<TableSchema>, BTreeSet<Bytes>, Charge)> {
    /// What a key takes beside its bytes.
    const KEY_BYTES: usize = 64;
    let catalog = exec.catalog();
    let table = catalog.table(&erase.table.name).ok_or_else(|| erase.table.undefined(source))?;
    let qualifier = erase.alias.as_ref().map_or_else(|| table.name.clone(), name_of);
    let mut query = parse::parse_query("SELECT DISTINCT NULL FROM t FOR SYSTEM_TIME ALL")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(row_key_of(&qualifier))];
        if let Some(from) = select.from.first_mut() {
            name_target(&mut from.relation, table, &qualifier);
        }
        select.selection = erase.selection.clone();
    }
    let mut context = exec.context();
    context.row_keys = true;
    let planned = query::plan_query(&context, &query, &[])?;
    let mut stream = query::run_query(&context, &planned, &[])?;
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
    Ok((Arc::clone(table), keys, charge))
}
