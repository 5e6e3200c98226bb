//! Numbers that are given out once: row numbers, object ids, transaction ids.
//!
//! Row numbers and object ids are never given twice, not even to rows and tables that are only in history. So every
//! commit keeps, in its record, a floor above all that were in use then ([`Floors`]); recovery takes the last one's.
//! Numbers given to transactions that never committed are in no file, so that they come again after a restart does no
//! harm. One counter of row numbers serves all tables: 2^63 of them are enough.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use driftdb_types::{Error, Result, SqlState, TreeId, TxnId};

use crate::record::Floors;

#[derive(Debug)]
pub(crate) struct Counters {
    row: AtomicI64,
    object: AtomicU32,
    txn: AtomicU64,
}

impl Counters {
    /// Counters that go on where the last commit stood.
    pub(crate) fn new(floors: Option<Floors>) -> Counters {
        let floors = floors.unwrap_or_default();
        Counters {
            row: AtomicI64::new(floors.row.max(1)),
            object: AtomicU32::new(floors.object.max(TreeId::FIRST_USER.0)),
            txn: AtomicU64::new(1),
        }
    }

    /// A row number.
    pub(crate) fn next_row(&self) -> i64 {
        self.row.fetch_add(1, Ordering::Relaxed)
    }

    /// An id for a table or an index.
    pub(crate) fn next_object(&self) -> Result<TreeId> {
        let next = self.object.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1));
        next.map(TreeId).map_err(|_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "there are no more object ids"))
    }

    /// An id for a transaction; good until the engine closes.
    pub(crate) fn next_txn(&self) -> TxnId {
        TxnId(self.txn.fetch_add(1, Ordering::Relaxed))
    }

    /// What stands in a commit: a commit's own numbers were given before it came to be stamped.
    pub(crate) fn floors(&self) -> Floors {
        Floors { row: self.row.load(Ordering::Acquire), object: self.object.load(Ordering::Acquire) }
    }
}
