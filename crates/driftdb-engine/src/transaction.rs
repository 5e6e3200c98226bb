//! Transactions: a snapshot, the changes made on top of it, and the locks that keep them true.
//!
//! ```text
//!            begin            begin_statement (READ COMMITTED)     commit
//!   T ─────────┼─────────────────────┼───────────────────────────────┼──►
//!   view      v₁                    v₂                        queue → stamp
//!   writes     ∅ ── savepoint: a clone ──                           checked under locks, so nothing left to check
//!   locks          ╟── row and table locks, held to the end ─────────╢
//! ```
//!
//! Writers lock first and look then: whoever holds the lock of a row sees its newest committed version in the newest
//! view, because commits give their locks back only after they are visible. If that version is newer than the
//! snapshot, READ COMMITTED runs the statement again on a new snapshot (keeping its locks, so it gets further each
//! time) and REPEATABLE READ fails with 40001 ("first updater wins", Berenson et al., "A Critique of ANSI SQL Isolation
//! Levels", 1995).
//!
//! SERIALIZABLE is REPEATABLE READ whose reads are remembered and, if it wrote anything, found true still at the commit's
//! stamp ([`crate::reads`]): so it might have run alone at that moment. One that wrote nothing ran at its snapshot's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_store::{Hold, ReadPoint, StoreView, Write};
use driftdb_types::{CommitSeq, Error, KeyRange, Result, SqlState, Stamp, TableSchema, TreeId, TxnId};
use imbl::OrdMap;

use crate::advisory::SessionLocks;
use crate::budget::Charge;
use crate::cancel::Cancel;
use crate::catalog::{Catalog, CatalogChange};
use crate::chain;
use crate::engine::Engine;
use crate::error::{StatementError, serialization_failure, too_many_locks};
use crate::locks::{Acquired, LockFailure, LockMode, LockRequest, LockTable, Resource, lock_error};
use crate::pipeline::{CommitRequest, UncheckedReads};
use crate::reader::{self, RowVersion, TxnReader, TxnScan};
use crate::reads::ReadTracker;
use crate::recent::Written;
use crate::record::{CommitMeta, RecordBuffer};
use crate::write_set::{WriteSet, size_bytes};

/// What a transaction sees of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    #[default]
    ReadCommitted,
    /// Each statement sees what was committed before the first one began.
    RepeatableRead,
    /// The same; and what it saw is still so when it commits, or it does not.
    Serializable,
}

/// How to begin a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxnOptions {
    /// What it sees of others.
    pub isolation: Isolation,
    /// Whether it may write.
    pub read_only: bool,
}

/// What a table is locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableLock {
    /// To change rows: shared with others who do.
    Write,
    /// To change the definition, or all rows at once: alone.
    Exclusive,
}

/// What to do about a row that somebody else has locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockWait {
    /// Wait until it is free.
    #[default]
    Wait,
    /// Fail with 55P03.
    NoWait,
    /// Go on without it.
    SkipLocked,
}

/// What came of locking a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLock {
    /// It is locked, and still as the transaction sees it.
    Unchanged,
    /// It is locked, but changed since the statement's snapshot (READ COMMITTED only). The statement is to run again:
    /// see [`StatementError::Restart`].
    Changed,
    /// Somebody else has locked it ([`LockWait::SkipLocked`]).
    Skipped,
}

/// What a savepoint costs beside the payloads that it alone holds: nodes of the maps that the transaction copies when
/// it goes on writing.
const SAVEPOINT_BYTES: usize = 8 << 10;

/// A point in a transaction to which it can be rolled back.
#[derive(Debug)]
pub struct Savepoint {
    writes: WriteSet,
    /// None while there is nothing to share.
    _charge: Option<Charge>,
    owners: BTreeMap<TreeId, TreeId>,
    changes: OrdMap<TreeId, Option<Arc<TableSchema>>>,
    locks: usize,
    advisory_locks: usize,
}

/// The locks of one transaction; dropping them releases them.
#[derive(Debug)]
pub(crate) struct HeldLocks {
    table: Arc<LockTable>,
    txn: TxnId,
    held: Vec<Resource>,
    charge: Charge,
    /// Where it has taken advisory locks; `None` for a transaction without a session.
    session: Option<Arc<SessionLocks>>,
}

impl HeldLocks {
    /// How many there are: a mark for [`HeldLocks::release_after`].
    pub(crate) fn mark(&self) -> usize {
        self.held.len()
    }

    /// Gives back those taken since the mark.
    pub(crate) fn release_after(&mut self, mark: usize) {
        for resource in self.held.drain(mark.min(self.held.len())..) {
            self.charge.give_back(resource.size_bytes());
            self.table.release(self.txn, &resource);
        }
    }
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        self.release_after(0);
        if let Some(session) = &self.session {
            session.end_after(0);
        }
    }
}

/// A transaction, owned by one session. Dropping it rolls it back.
#[derive(Debug)]
pub struct Transaction {
    pub(crate) engine: Engine,
    id: TxnId,
    options: TxnOptions,
    cancel: Arc<Cancel>,
    lock_timeout: Option<Duration>,
    view: Arc<StoreView>,
    /// The catalog of the view.
    committed_catalog: Arc<Catalog>,
    /// The same with this transaction's own changes.
    catalog: Arc<Catalog>,
    /// Whether a statement has begun, so that a REPEATABLE READ snapshot stands.
    began: bool,
    pub(crate) writes: WriteSet,
    /// Which table each tree of `writes` belongs to: its rows' own one, and those of its indexes.
    owners: BTreeMap<TreeId, TreeId>,
    /// The definitions this transaction changed.
    pub(crate) changes: OrdMap<TreeId, Option<Arc<TableSchema>>>,
    pub(crate) locks: HeldLocks,
    table_locks: BTreeMap<TreeId, TableLock>,
    /// What it reads, where that has to be true at its commit.
    reads: Option<Arc<ReadTracker>>,
    /// Commits as of which it reads, or makes pins: they stay readable until its end.
    holds: Vec<Hold>,
}

impl Transaction {
    pub(crate) fn new(
        engine: Engine,
        options: TxnOptions,
        cancel: Arc<Cancel>,
        session: Option<Arc<SessionLocks>>,
    ) -> Transaction {
        let (view, catalog) = engine.snapshot();
        let id = session.as_ref().map_or_else(|| engine.next_txn(), |session| session.id());
        let charge = engine.budget().take_anyway(0);
        let locks = HeldLocks { table: Arc::clone(engine.locks()), txn: id, held: Vec::new(), charge, session };
        Transaction {
            engine,
            id,
            options,
            cancel,
            lock_timeout: None,
            view,
            committed_catalog: Arc::clone(&catalog),
            catalog,
            began: false,
            writes: WriteSet::default(),
            owners: BTreeMap::new(),
            changes: OrdMap::new(),
            locks,
            table_locks: BTreeMap::new(),
            reads: None,
            holds: Vec::new(),
        }
    }

    /// Keeps a hold until the transaction has ended, and what it committed is visible.
    pub(crate) fn hold_until_end(&mut self, hold: Hold) {
        self.holds.push(hold);
    }

    /// Everything can be read as of this commit until the transaction ends, if it can now.
    pub fn hold(&mut self, seq: CommitSeq) {
        self.holds.push(self.engine.store().hold(seq));
    }

    /// As whom it locks: its session's id, or its own. Good while the engine is open.
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// What it sees of others.
    pub fn isolation(&self) -> Isolation {
        self.options.isolation
    }

    /// Whether it must not write.
    pub fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// Changes the options; right before the first statement only (`SET TRANSACTION`).
    pub fn set_options(&mut self, options: TxnOptions) {
        self.options = options;
    }

    /// What ends its waits.
    pub fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }

    /// For how long it waits for a lock (`lock_timeout`); `None`: for as long as it takes.
    pub fn set_lock_timeout(&mut self, timeout: Option<Duration>) {
        self.lock_timeout = timeout;
    }

    /// Begins a statement: READ COMMITTED takes a new snapshot; the others only for the first one.
    pub fn begin_statement(&mut self) -> Result<()> {
        self.engine.check_open()?;
        if self.began && self.options.isolation != Isolation::ReadCommitted {
            return Ok(());
        }
        self.began = true;
        let validates = self.options.isolation == Isolation::Serializable && !self.options.read_only;
        let (view, catalog) = if validates {
            let (snapshot, reads) = self.engine.tracked_snapshot();
            self.reads = Some(reads);
            snapshot
        } else {
            self.engine.snapshot()
        };
        self.view = view;
        if !Arc::ptr_eq(&self.committed_catalog, &catalog) {
            self.committed_catalog = catalog;
            self.merge_catalog();
        }
        Ok(())
    }

    /// Whether a statement has begun.
    pub fn has_begun(&self) -> bool {
        self.began
    }

    /// The snapshot, without the transaction's own changes.
    pub fn view(&self) -> &Arc<StoreView> {
        &self.view
    }

    /// The snapshot's stamp.
    pub fn stamp(&self) -> Stamp {
        self.view.stamp()
    }

    /// The snapshot's catalog with this transaction's own changes.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// Whether it has changed anything so far.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// One entry: of the snapshot, or of the transaction's own changes.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<RowVersion>> {
        reader::get(&self.view, &self.writes, self.reads.as_ref(), tree, key)
    }

    /// The entries of a range, in key order or against it. The scan stands still while the transaction goes on
    /// writing.
    pub fn scan(&self, tree: TreeId, range: &KeyRange, reverse: bool) -> Result<TxnScan> {
        self.reader().scan(tree, range, reverse)
    }

    /// What the transaction sees at this moment, to be read elsewhere and later.
    pub fn reader(&self) -> TxnReader {
        TxnReader::new(Arc::clone(&self.view), self.writes.clone(), self.reads.clone())
    }

    /// Locks a table before its rows ([`TableLock::Write`]) or its definition ([`TableLock::Exclusive`]) are changed.
    /// Fails with [`StatementError::Restart`] (REPEATABLE READ: 40001) when the definition is no longer the one of
    /// [`Transaction::catalog`]; the lock is held then all the same.
    pub fn lock_table(&mut self, table: TreeId, lock: TableLock) -> Result<(), StatementError> {
        if self.table_locks.get(&table).is_none_or(|held| *held < lock) {
            let mode = match lock {
                TableLock::Write => LockMode::SHARED,
                TableLock::Exclusive => LockMode::EXCLUSIVE,
            };
            self.acquire(Resource::Table(table), mode, true).map_err(|failure| self.lock_error(failure, table))??;
            self.table_locks.insert(table, lock);
        }
        if self.changes.contains_key(&table) {
            return Ok(());
        }
        let version = |catalog: &Catalog| catalog.table_by_id(table).map(|schema| schema.version);
        if version(&self.committed_catalog) == version(&self.engine.newest_catalog()) {
            Ok(())
        } else {
            Err(self.outdated())
        }
    }

    /// Locks a row, and looks whether it is still as the transaction sees it.
    pub fn lock_row(&mut self, table: &TableSchema, key: &[u8], mode: LockMode, wait: LockWait) -> Result<RowLock> {
        self.ensure_table_lock(table)?;
        if !self.holds_exclusive(table.id) {
            let resource = Resource::Row(table.id, Bytes::copy_from_slice(key));
            match self.acquire(resource, mode, wait == LockWait::Wait) {
                Ok(acquired) => acquired.map(drop)?,
                Err(LockFailure::WouldBlock) if wait == LockWait::SkipLocked => return Ok(RowLock::Skipped),
                Err(failure) => return Err(self.lock_error(failure, table.id)),
            }
        }
        let stands = self.is_unchanged(table.id, key)?
            // Whose key alone matters may have changed otherwise, as long as it is there.
            || mode == LockMode::KeyShare
                && self.options.isolation != Isolation::ReadCommitted
                && self.newest(&self.engine.view(), table.id, key)?.is_some();
        if stands {
            Ok(RowLock::Unchanged)
        } else if self.options.isolation == Isolation::ReadCommitted {
            Ok(RowLock::Changed)
        } else {
            Err(serialization_failure())
        }
    }

    /// A point to roll back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            writes: self.writes.clone(),
            _charge: self.has_writes().then(|| self.engine.budget().take_anyway(SAVEPOINT_BYTES)),
            owners: self.owners.clone(),
            changes: self.changes.clone(),
            locks: self.locks.mark(),
            advisory_locks: self.locks.session.as_ref().map_or(0, |session| session.mark()),
        }
    }

    /// Takes back every change since the savepoint, and gives back the locks taken since.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.restart_from(savepoint);
        self.locks.release_after(savepoint.locks);
        let held: BTreeSet<TreeId> = self.locks.held.iter().filter_map(Resource::table).collect();
        self.table_locks.retain(|table, _| held.contains(table));
        if let Some(session) = &self.locks.session {
            session.end_after(savepoint.advisory_locks);
        }
    }

    /// Takes back every change since the savepoint, for the statement to run again. Locks stay.
    pub fn restart_from(&mut self, savepoint: &Savepoint) {
        self.writes = savepoint.writes.clone();
        self.owners = savepoint.owners.clone();
        if !self.changes.ptr_eq(&savepoint.changes) {
            self.changes = savepoint.changes.clone();
            self.merge_catalog();
        }
    }

    /// Commits: durable and visible to all when this returns. `None` when there was nothing to commit.
    ///
    /// After an error nothing is committed, except when it says (58030) that writing the commit log failed: then it is
    /// known only after a restart.
    pub fn commit(self, meta: &CommitMeta) -> Result<Option<Stamp>> {
        let mut writes = Vec::new();
        let mut catalog: Vec<CatalogChange> = Vec::new();
        let mut rows = 0_u64;
        for (tree, key, change) in self.writes.effective() {
            if writes.is_empty() {
                // Most commits are small: one row, a few index entries, and the entry of the commit itself.
                writes.reserve(8);
            }
            if tree == TreeId::CATALOG {
                let (id, _) = crate::catalog::decode_change(key, None)?;
                catalog.push((id, self.changes.get(&id).cloned().flatten()));
            } else if self.owners.get(&tree) == Some(&tree) {
                rows += 1;
            }
            writes.push(Write { tree, key: key.clone(), payload: change.after.clone() });
        }
        if writes.is_empty() {
            return Ok(None);
        }
        let contents = chain::contents(&writes, |tree| self.owners.get(&tree).copied());
        let record = RecordBuffer::encode(meta, &contents, rows, &writes)?;
        let size: usize = writes.iter().map(|write| size_bytes(&write.key, &[&write.payload])).sum();
        let charge = self.engine.budget().take_anyway(size + record.as_ref().len());
        let written = Arc::new(Written::new(&writes, self.redefined()));
        let Transaction { engine, locks, view, writes: own, reads, cancel, .. } = self;
        // Neither is needed any more, and a commit may have to wait for memory that they hold.
        drop((view, own));
        let reads = reads.map(UncheckedReads::new);
        let request = CommitRequest { record, writes, written, reads, catalog, locks, charge };
        engine.pipeline().commit(request, &cancel).map(Some)
    }

    /// Ends the transaction and forgets its changes. The same as dropping it.
    pub fn rollback(self) {}

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            let message = "cannot write in a read-only transaction";
            return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        self.engine.check_open()?;
        self.engine.pipeline().check_writable()
    }

    /// Records a change, within the budget.
    pub(crate) fn put(&mut self, tree: TreeId, key: Bytes, before: Option<Bytes>, after: Option<Bytes>) -> Result<()> {
        self.writes.put(self.engine.budget(), tree, key, before, after)
    }

    /// Records a change of a row.
    pub(crate) fn put_row(
        &mut self,
        table: TreeId,
        key: Bytes,
        before: Option<Bytes>,
        after: Option<Bytes>,
    ) -> Result<()> {
        self.owners.insert(table, table);
        self.put(table, key, before, after)
    }

    /// Records a change of an entry of one of a table's indexes.
    pub(crate) fn put_entry(
        &mut self,
        table: TreeId,
        index: TreeId,
        key: Bytes,
        before: Option<Bytes>,
        after: Option<Bytes>,
    ) -> Result<()> {
        self.owners.insert(index, table);
        self.put(index, key, before, after)
    }

    /// Records a change of a definition.
    pub(crate) fn put_schema(
        &mut self,
        id: TreeId,
        before: Option<&TableSchema>,
        after: Option<Arc<TableSchema>>,
    ) -> Result<()> {
        let before = before.map(crate::catalog::encode_schema).transpose()?;
        let payload = after.as_deref().map(crate::catalog::encode_schema).transpose()?;
        self.put(TreeId::CATALOG, crate::catalog::catalog_key(id), before, payload)?;
        self.changes.insert(id, after);
        self.merge_catalog();
        Ok(())
    }

    /// Whoever found that a key is there, or not, has read it.
    pub(crate) fn note_read(&self, tree: TreeId, key: &[u8]) -> Result<()> {
        self.reads.as_ref().map_or(Ok(()), |reads| reads.key(tree, key))
    }

    /// The trees of tables that others may have read under another name or with other columns.
    fn redefined(&self) -> Vec<TreeId> {
        let mut trees = Vec::new();
        for (id, after) in &self.changes {
            let Some(before) = self.committed_catalog.table_by_id(*id) else { continue };
            let same = after.as_ref().is_some_and(|after| after.name == before.name && after.columns == before.columns);
            if !same {
                trees.push(*id);
                trees.extend(before.indexes.iter().map(|index| index.id));
            }
        }
        trees
    }

    /// The newest committed state of a key, or the transaction's own.
    pub(crate) fn newest(&self, newest: &StoreView, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>> {
        match self.writes.get(tree, key) {
            Some(change) => Ok(change.after.clone()),
            None => Ok(newest.get(tree, key, ReadPoint::Latest)?.map(|version| version.payload)),
        }
    }

    /// The newest committed catalog with this transaction's own changes.
    pub(crate) fn newest_catalog(&self) -> Catalog {
        self.with_changes(&self.engine.newest_catalog())
    }

    /// What a snapshot that is too old means at this level.
    pub(crate) fn outdated(&self) -> StatementError {
        match self.options.isolation {
            Isolation::ReadCommitted => StatementError::Restart,
            Isolation::RepeatableRead | Isolation::Serializable => StatementError::Error(serialization_failure()),
        }
    }

    /// Whether nobody else can touch the table's rows.
    pub(crate) fn holds_exclusive(&self, table: TreeId) -> bool {
        self.table_locks.get(&table) == Some(&TableLock::Exclusive)
    }

    /// Sees to it that the table is locked at least for writing.
    pub(crate) fn ensure_table_lock(&mut self, table: &TableSchema) -> Result<()> {
        if self.table_locks.contains_key(&table.id) {
            return Ok(());
        }
        match self.lock_table(table.id, TableLock::Write) {
            Ok(()) => Ok(()),
            Err(StatementError::Restart) => Err(serialization_failure()),
            Err(StatementError::Error(error)) => Err(error),
        }
    }

    /// Locks a row or an entry of a unique index, and waits for it. Not needed where nobody else can touch the table.
    pub(crate) fn lock_key(&mut self, table: TreeId, tree: TreeId, key: &Bytes) -> Result<()> {
        if self.holds_exclusive(table) {
            return Ok(());
        }
        match self.acquire(Resource::Row(tree, key.clone()), LockMode::EXCLUSIVE, true) {
            Ok(acquired) => acquired.map(drop),
            Err(failure) => Err(self.lock_error(failure, table)),
        }
    }

    /// Locks the name of a table or an index.
    pub(crate) fn lock_name(&mut self, name: &str) -> Result<()> {
        match self.acquire(Resource::Name(name.into()), LockMode::EXCLUSIVE, true) {
            Ok(acquired) => acquired.map(drop),
            Err(failure) => Err(self.lock_error(failure, TreeId::CATALOG)),
        }
    }

    /// The outer result is the lock table's, the inner one that of the bounds on locks.
    fn acquire(
        &mut self,
        resource: Resource,
        mode: LockMode,
        wait: bool,
    ) -> std::result::Result<Result<Acquired>, LockFailure> {
        let request =
            LockRequest { txn: self.id, resource, mode, wait, timeout: self.lock_timeout, cancel: &self.cancel };
        let acquired = self.locks.table.acquire(&request)?;
        if acquired == Acquired::New {
            let charged = self.locks.charge.add(request.resource.size_bytes());
            self.locks.held.push(request.resource);
            if let Err(error) = charged {
                return Ok(Err(error));
            }
            let max = self.engine.options().locks_max;
            if self.locks.held.len() > max {
                return Ok(Err(too_many_locks("transaction", max)));
            }
        }
        Ok(Ok(acquired))
    }

    /// Whether a row that nobody else can change now is as the transaction sees it.
    pub(crate) fn is_unchanged(&self, table: TreeId, key: &[u8]) -> Result<bool> {
        if self.writes.get(table, key).is_some() {
            return Ok(true);
        }
        let newest = self.engine.view();
        let seen: CommitSeq = self.view.stamp().seq;
        if newest.stamp().seq == seen {
            return Ok(true);
        }
        let version = newest.get(table, key, ReadPoint::Latest)?;
        Ok(version.is_some_and(|version| version.from.seq <= seen))
    }

    fn with_changes(&self, catalog: &Catalog) -> Catalog {
        let mut catalog = catalog.clone();
        catalog.apply(self.changes.iter().map(|(id, schema)| (*id, schema.as_ref())));
        catalog
    }

    fn lock_error(&self, failure: LockFailure, table: TreeId) -> Error {
        let catalog = self.newest_catalog();
        lock_error(failure, &catalog, &format!("lock on row in {}", catalog.describe(table)))
    }

    fn merge_catalog(&mut self) {
        self.catalog = if self.changes.is_empty() {
            Arc::clone(&self.committed_catalog)
        } else {
            Arc::new(self.with_changes(&self.committed_catalog))
        };
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
