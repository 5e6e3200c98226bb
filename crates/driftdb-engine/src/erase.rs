//! ERASE: rows go from every version, file and index, for good.
//!
//! 1. The rows are deleted, by a commit like others; who reads an older state is waited for.
//! 2. Base and history are written anew without any version of theirs, and without what is left of them in free pages
//!    ([`driftdb_store::Store::erase`]). That is one step; before it nothing is erased, after it the rest is finished also when a
//!    crash comes between.
//! 3. A certificate is committed, as the first record of a new log segment; after a checkpoint all earlier segments go.
//!
//! What is kept is the digest of each write that made or ended an erased version, and its place in its commit: so the contents
//! of every commit can still be computed ([`crate::verify`]), and the certificate has the digest of those digests. Nobody can
//! find out from them what was erased, unless he can guess it whole: they are of key and payload, with nothing secret in them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_store::{ErasedWrite, Erasure, Period, ReadPoint, StoreView, Version};
use driftdb_types::{CommitSeq, Digest, Error, KeyRange, Result, SqlState, Stamp, TableSchema, TreeId, decode_row};
use serde::{Deserialize, Serialize};

use crate::budget::Charge;
use crate::cancel::Cancel;
use crate::catalog::catalog_key;
use crate::chain::{fold, write_digest};
use crate::engine::Engine;
use crate::error::StatementError;
use crate::reader::RowVersion;
use crate::record::CommitMeta;
use crate::retention::{Horizon, horizons, state_digest};
use crate::transaction::{TableLock, Transaction, TxnOptions};

/// How long to rest between two looks at who still reads.
const LOOK: Duration = Duration::from_millis(5);
/// About what the digest of a write takes in memory, with its place.
const WRITE_BYTES: usize = 160;

/// What says that an erasure was done: an entry of [`TreeId::ERASURES`] (key: its number as `u64` big-endian), as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The erasure's number: that of the commit up to which every version of the rows went.
    pub number: u64,
    /// From which table.
    pub table: TreeId,
    /// How many rows.
    pub rows: u64,
    /// How many row versions.
    pub versions: u64,
    /// The fold of the digests of the writes that were erased, in the order of tree, commit and key.
    pub digest: Digest,
}

impl Certificate {
    /// The certificate in an entry.
    pub fn decode(payload: &[u8]) -> Result<Certificate> {
        serde_json::from_slice(payload)
            .map_err(|error| Error::new(SqlState::DATA_CORRUPTED, format!("a certificate cannot be read: {error}")))
    }
}

/// What the store keeps while an erasure is to be finished.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    certificate: Certificate,
    user: String,
    application: String,
    client: String,
    comment: Option<String>,
}

/// The certificates there are, by number.
pub(crate) fn certificates(view: &Arc<StoreView>) -> Result<BTreeMap<u64, Certificate>> {
    let scan = view.scan(TreeId::ERASURES, &KeyRange::all(), ReadPoint::Latest, false)?;
    scan.map(|entry| Certificate::decode(&entry?.payload).map(|found| (found.number, found))).collect()
}

/// One more erased write in the digest of a certificate.
pub(crate) fn fold_erased(digest: Digest, write: &ErasedWrite) -> Digest {
    let place = [&write.tree.0.to_le_bytes()[..], &write.seq.0.to_le_bytes(), &write.place.to_le_bytes()].concat();
    fold(digest, Digest::of(&[&place, &write.digest.0]))
}

/// Erased writes of one tree among those that are there: a walk over the versions, in the order of keys, tells which place each
/// write has in its commit.
#[derive(Debug, Default)]
pub(crate) struct Places {
    commits: HashMap<CommitSeq, Commit>,
}

#[derive(Debug, Default)]
struct Commit {
    next: u32,
    erased: VecDeque<ErasedWrite>,
}

impl Places {
    /// Of the writes that were erased before, in order.
    pub(crate) fn of(erased: Vec<ErasedWrite>) -> Places {
        let mut places = Places::default();
        for write in erased {
            places.watch(write.seq).erased.push_back(write);
        }
        places
    }

    fn watch(&mut self, seq: CommitSeq) -> &mut Commit {
        self.commits.entry(seq).or_default()
    }

    /// The next write of a commit that is there has come: which erased ones stand before it, and its place. `None` for a commit
    /// that is not watched: it has no erased writes.
    pub(crate) fn next(&mut self, seq: CommitSeq) -> Option<(Vec<ErasedWrite>, u32)> {
        let commit = self.commits.get_mut(&seq)?;
        let mut before = Vec::new();
        while let Some(write) = commit.erased.pop_front_if(|write| write.place == commit.next) {
            commit.next += 1;
            before.push(write);
        }
        let place = commit.next;
        commit.next += 1;
        Some((before, place))
    }

    /// The erased writes behind the last ones of their commits.
    pub(crate) fn rest(self) -> impl Iterator<Item = ErasedWrite> {
        self.commits.into_values().flat_map(|commit| commit.erased)
    }
}

/// What is about to be erased.
struct Goal<'g> {
    table: TreeId,
    keys: &'g BTreeSet<Bytes>,
    /// Versions that began up to here: they have all ended.
    last: CommitSeq,
}

impl Goal<'_> {
    /// Whether a version goes: a row by its key, an entry of an index by the row's.
    fn goes(&self, tree: TreeId, version: &Version) -> bool {
        let row = if tree == self.table { &version.key } else { &version.payload };
        version.from.seq <= self.last && version.to.is_some() && self.keys.contains(row)
    }
}

impl Engine {
    /// Erases the rows of these keys, with every version that they ever had, and commits the certificate. Waits for those who
    /// read states from before it; after an error before that (57014, say) the rows may be deleted already, and nothing is erased.
    /// 53200 when there are more versions than transactions' memory has room for.
    pub fn erase(
        &self,
        table: &TableSchema,
        keys: &BTreeSet<Bytes>,
        meta: &CommitMeta,
        cancel: &Arc<Cancel>,
    ) -> Result<Certificate> {
        let _one = loop {
            if let Some(guard) = self.erasing().try_lock() {
                break guard;
            }
            cancel.check()?;
            self.env().clock.sleep(LOOK);
        };
        let last = self.delete_for_good(table, keys, meta, cancel)?;
        while self.store().oldest_view() < last {
            let told =
                |error: Error| error.detail("The rows are deleted, and not erased yet.").hint("Repeat the ERASE.");
            cancel.check().map_err(told)?;
            self.env().clock.sleep(LOOK);
        }
        self.store().flush()?;
        let goal = Goal { table: table.id, keys, last };
        let (erased, versions, _charge) = self.erased_writes(&goal, cancel)?;
        let certificate = Certificate {
            number: last.0,
            table: table.id,
            rows: keys.len() as u64,
            versions,
            digest: erased.iter().fold(Digest::ZERO, fold_erased),
        };
        let unfinished = Unfinished {
            certificate: certificate.clone(),
            user: meta.user.clone(),
            application: meta.application.clone(),
            client: meta.client.clone(),
            comment: meta.comment.clone(),
        };
        let erasing = serde_json::to_string(&unfinished).map_err(|error| Error::internal(error.to_string()))?;
        self.store().erase(&Erasure {
            trees: &self.known().trees_of(table.id),
            goes: &|tree, version| goal.goes(tree, version),
            erased: &erased,
            erasing: &erasing,
        })?;
        self.finish_erasing()?;
        // Who has begun to read before may still have the old files open.
        while self.store().has_obsolete_files() {
            cancel.check()?;
            self.env().clock.sleep(LOOK);
        }
        Ok(certificate)
    }

    /// Deletes the rows that are there. The commit up to which every version of them has ended.
    fn delete_for_good(
        &self,
        table: &TableSchema,
        keys: &BTreeSet<Bytes>,
        meta: &CommitMeta,
        cancel: &Arc<Cancel>,
    ) -> Result<CommitSeq> {
        let mut txn = self.begin(TxnOptions::default(), Arc::clone(cancel));
        lock(&mut txn, table.id)?;
        // By the definition of now; a table that was dropped meanwhile has no rows to delete.
        if let Some(table) = txn.catalog().table_by_id(table.id).cloned() {
            for key in keys {
                let Some(row) = txn.get(table.id, key)? else { continue };
                let values = decode_row(&table, &row.payload)?;
                txn.delete_row(&table, key, &values)?;
            }
            // A dropped index keeps its entries, for reads of when it was there.
            let is_there = |tree: &TreeId| table.indexes.iter().any(|index| index.id == *tree);
            let trees = self.known().trees_of(table.id).into_iter();
            for tree in trees.filter(|tree| *tree != table.id && !is_there(tree)) {
                for entry in txn.scan(tree, &KeyRange::all(), false)? {
                    cancel.check()?;
                    let RowVersion { key, payload, .. } = entry?;
                    if keys.contains(&payload) {
                        txn.put_entry(table.id, tree, Bytes::copy_from_slice(&key), Some(payload), None)?;
                    }
                }
            }
        }
        // Nobody else writes the table until it ends.
        let newest = self.view().stamp().seq;
        Ok(txn.commit(meta)?.map_or(newest, |stamp| stamp.seq))
    }

    /// What is to be kept of the writes that made or ended what goes; how many row versions go.
    fn erased_writes(&self, goal: &Goal<'_>, cancel: &Cancel) -> Result<(Vec<ErasedWrite>, u64, Charge)> {
        let view = self.view();
        let horizon = horizons(&view)?.get(&goal.table).map_or(CommitSeq::ZERO, |horizon| horizon.stamp.seq);
        let mut charge = self.charge(0)?;
        let (mut erased, mut versions) = (Vec::new(), 0);
        for tree in self.known().trees_of(goal.table) {
            let mut places = Places::of(self.store().erased_writes(tree)?);
            let mut goes = HashSet::new();
            for version in view.versions_left(tree, &KeyRange::all(), Period::All)? {
                cancel.check()?;
                let version = version?;
                if goal.goes(tree, &version) {
                    versions += u64::from(tree == goal.table);
                    goes.extend(writes_of(&version).filter(|(seq, _)| *seq > horizon).map(|(seq, _)| seq));
                    charge.add(WRITE_BYTES)?;
                }
            }
            for seq in goes {
                places.watch(seq);
            }
            for version in view.versions_left(tree, &KeyRange::all(), Period::All)? {
                cancel.check()?;
                let version = version?;
                let goes = goal.goes(tree, &version);
                for (seq, payload) in writes_of(&version) {
                    let Some((_, place)) = places.next(seq).filter(|_| seq > horizon && goes) else { continue };
                    let digest = write_digest(tree, &version.key, payload);
                    erased.push(ErasedWrite { tree, seq, place, erasure: goal.last.0, digest });
                }
            }
        }
        erased.sort_unstable_by_key(|write| (write.tree, write.seq, write.place));
        Ok((erased, versions, charge))
    }

    /// Commits the certificate of an erasure that is done, if there is one that has none yet, and has the log go that was before.
    pub(crate) fn finish_erasing(&self) -> Result<()> {
        let Some(text) = self.store().erasing()? else { return Ok(()) };
        let unfinished: Unfinished = serde_json::from_str(&text)
            .map_err(|error| Error::new(SqlState::DATA_CORRUPTED, format!("an erasure cannot be finished: {error}")))?;
        let Unfinished { certificate, user, application, client, comment } = unfinished;
        let mut txn = self.begin(TxnOptions::default(), Arc::new(Cancel::new()));
        txn.begin_statement()?;
        let key = Bytes::copy_from_slice(&certificate.number.to_be_bytes());
        if txn.get(TreeId::ERASURES, &key)?.is_none() {
            let json = |error: serde_json::Error| Error::internal(error.to_string());
            let payload = serde_json::to_vec(&certificate).map_err(json)?;
            txn.put(TreeId::ERASURES, key, None, Some(payload.into()))?;
            // Where retention has let versions go, the state at the horizon is another now.
            let view = self.view();
            if let Some(horizon) = horizons(&view)?.get(&certificate.table) {
                let trees = self.known().trees_of(certificate.table);
                let state = state_digest(&view, certificate.table, &trees, horizon.stamp.seq)?;
                let key = catalog_key(certificate.table);
                let known = txn.get(TreeId::HORIZONS, &key)?.map(|known| known.payload);
                let entry = serde_json::to_vec(&Horizon { state, ..*horizon }).map_err(json)?;
                txn.put(TreeId::HORIZONS, key, known, Some(entry.into()))?;
            }
            self.pipeline().end_log_segment();
            txn.commit(&CommitMeta { user, application, client, comment, txid: None })?;
        }
        self.store().flush()?;
        self.pipeline().remove_log_before(self.store().checkpoint().lsn);
        self.store().finish_erasing()?;
        Ok(())
    }
}

/// The commits that wrote a version and its end, and what they wrote.
fn writes_of(version: &Version) -> impl Iterator<Item = (CommitSeq, Option<&[u8]>)> {
    let deleted: Option<Stamp> = version.to.filter(|_| version.deleted);
    let made = (version.from.seq, Some(version.payload.as_ref()));
    std::iter::once(made).chain(deleted.map(|to| (to.seq, None)))
}

/// Locks a table alone, on a snapshot that has its newest rows.
fn lock(txn: &mut Transaction, table: TreeId) -> Result<()> {
    loop {
        txn.begin_statement()?;
        match txn.lock_table(table, TableLock::Exclusive) {
            // Once more: the snapshot is to be of after the lock.
            Ok(()) => return txn.begin_statement(),
            Err(StatementError::Restart) => {}
            Err(StatementError::Error(error)) => return Err(error),
        }
    }
}
