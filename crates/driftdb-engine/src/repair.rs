//! Repairing a damaged database: a copy is made of what can be read of it, and it is not changed itself.
//!
//! Where the commit log goes back to the first commit, base and history are made anew from it, and nothing is lost. Otherwise the
//! copy has the rows of the base and the history segments that are undamaged, and the commits of the log after the checkpoint,
//! up to the first that cannot be read: what comes after that one does not follow.
//!
//! What is lost must not be taken for what never was. A table that lost versions can be read from the commit on as of which
//! it is whole: its horizon moves there, as retention would move it, so reads before it are refused, and what is left can be
//! verified. A table that lost current rows begins anew with a commit of the repair's, in which its indexes are made to fit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::Env;
use driftdb_log::{Log, Severity};
use driftdb_store::{Checkpoint, LostRows, NoSchemas, ReadPoint};
use driftdb_types::{CommitSeq, Error, KeyRange, Result, SqlState, TableSchema, TreeId, decode_row};

use crate::cancel::Cancel;
use crate::commits::commit_key;
use crate::engine::{Engine, LOG_DIR};
use crate::error::{io_error, log_error};
use crate::keys::index_entry;
use crate::options::EngineOptions;
use crate::record::{CommitMeta, decode_record};
use crate::transaction::{Transaction, TxnOptions};
use crate::verify::Verification;

/// What the repair's own commits say of who made them.
const APPLICATION: &str = "doctor";
/// So many bytes of records are appended together.
const GROUP_BYTES: usize = 4 << 20;
/// So many entries of indexes are put right in one commit.
const MEND_MAX: usize = 10_000;

/// What came of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// What was put right, and lost nothing.
    pub mended: Vec<String>,
    /// What the copy does not have.
    pub lost: Vec<String>,
    /// How the copy was verified.
    pub verification: Verification,
}

/// 22023 unless the directory, in which a copy is to be made, is empty or not there yet.
pub fn check_repair_target(env: &Env, to: &Path) -> Result<()> {
    let failed = |error| io_error(&format!("cannot look into {}", to.display()), &error);
    let is_there = |path: &Path| env.disk.exists(path).map_err(failed);
    let holds = is_there(to)?
        && (!env.disk.list(to).map_err(failed)?.is_empty()
            || is_there(&to.join(LOG_DIR))?
            || is_there(&driftdb_store::history_dir(to))?);
    if holds {
        let message = format!("there is something in {} already", to.display());
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}

/// Makes a database in the directory `to`, where there is nothing, of what can be read of the one in `from`, which must not be
/// open. After an error `to` may hold a part of it.
///
/// XX001 where that cannot be done: the base is damaged where it says what it holds, and the log does not have it. 22023 where
/// `to` holds something; 58030 and 53100 when the disk fails.
pub fn repair(env: &Env, from: &Path, to: &Path, options: &EngineOptions) -> Result<Repair> {
    check_repair_target(env, to)?;
    let options = EngineOptions { background: false, ..options.clone() };
    let work = Work { env, from, to, options: &options };
    let findings = driftdb_store::check(env, from, Arc::new(NoSchemas));
    let is_sound = findings.iter().all(|finding| finding.harmless);
    if !is_sound && let Some(repair) = work.rebuild(true)? {
        return Ok(repair);
    }
    let mut repair = match work.salvage() {
        Err(error) if error.state == SqlState::DATA_CORRUPTED => match work.rebuild(false)? {
            Some(repair) => return Ok(repair),
            None => {
                return Err(
                    error.detail("The commit log does not go back to the first commit, so it cannot replace it.")
                );
            }
        },
        done => done?,
    };
    for finding in findings.iter().filter(|finding| finding.harmless) {
        repair.mended.push(format!("{}: {}", finding.path.display(), finding.what));
    }
    Ok(repair)
}

struct Work<'w> {
    env: &'w Env,
    from: &'w Path,
    to: &'w Path,
    options: &'w EngineOptions,
}

/// What a copy of the log has.
struct CopiedLog {
    /// The last commit.
    last: CommitSeq,
    commits: u64,
    /// Why there are no more, if some may be lost.
    cut: Option<String>,
    notes: Vec<String>,
}

impl Work<'_> {
    /// Makes everything anew from the log, if that has everything; or, if it need not be `whole`, if it has the beginning.
    fn rebuild(&self, whole: bool) -> Result<Option<Repair>> {
        self.clear()?;
        let known =
            driftdb_store::read_checkpoint(self.env, self.from).map_or(CommitSeq::ZERO, |known| known.stamp.seq);
        let log = self.copy_log(Checkpoint::ZERO)?;
        let has_all = log.cut.is_none() && log.last >= known;
        if log.commits == 0 || (whole && !has_all) {
            self.clear()?;
            return Ok(None);
        }
        let mut repair = Repair::default();
        repair.mended.push(format!("base and history were made anew from the {} commits of the log", log.commits));
        repair.note_log(log);
        self.finish(&self.open()?, repair, CommitSeq::ZERO).map(Some)
    }

    /// Copies what is left.
    fn salvage(&self) -> Result<Repair> {
        self.clear()?;
        let salvage = driftdb_store::salvage(self.env, self.from, self.to)?;
        check_system(&salvage.lost_rows, salvage.checkpoint)?;
        let log = self.copy_log(salvage.checkpoint)?;
        let collected = if log.cut.is_some() { salvage.checkpoint.stamp.seq } else { CommitSeq::ZERO };
        let mut repair = Repair::default();
        repair.note_log(log);
        let engine = self.open()?;
        if !salvage.lost_rows.is_empty() {
            check_unused(&engine, salvage.checkpoint.stamp.seq)?;
            repair.lost.push(format!("{} rows and entries of indexes that were current", salvage.rows));
        }
        // Of each table that is not whole, the commit from which on it is.
        let mut horizons: BTreeMap<TreeId, CommitSeq> = BTreeMap::new();
        for lost in &salvage.lost_history {
            let table = engine.known().owner(lost.tree).unwrap_or(lost.tree);
            if table < TreeId::FIRST_USER {
                let message = format!("{} cannot be replaced: {}", lost.path.display(), lost.what);
                return Err(Error::new(SqlState::DATA_CORRUPTED, message));
            }
            let horizon = horizons.entry(table).or_default();
            *horizon = lost.ended.1.max(*horizon);
            repair.lost.push(format!(
                "{} versions of {}, which ended with commits {} to {}: {}: {}",
                lost.versions,
                engine.known().describe(table),
                lost.ended.0,
                lost.ended.1,
                lost.path.display(),
                lost.what
            ));
        }
        let damaged = damaged_tables(&engine, &salvage.lost_rows);
        horizons.extend(repair.begin_anew(&engine, &damaged)?);
        for (table, horizon) in horizons {
            let name = engine.known().describe(table);
            repair.lost.push(format!("{name} as of commits before {horizon}, because some of it is missing there"));
            move_horizon(&engine, table, horizon)?;
        }
        self.finish(&engine, repair, collected)
    }

    fn open(&self) -> Result<Engine> {
        Engine::open(self.env.clone(), self.to, self.options.clone())
    }

    /// Verifies what was made. What lacks versions up to the commit `collected` lost them by retention, and with the end of the log
    /// the commit that says so.
    fn finish(&self, engine: &Engine, mut repair: Repair, collected: CommitSeq) -> Result<Repair> {
        engine.store().flush()?;
        repair.verification = engine.verify(&[])?;
        if collected > CommitSeq::ZERO && !repair.verification.tables.is_empty() {
            for table in std::mem::take(&mut repair.verification.tables) {
                let name = engine.known().describe(table);
                repair
                    .lost
                    .push(format!("{name} as of commits before {collected}: some of it was collected by retention"));
                move_horizon(engine, table, collected)?;
            }
            engine.store().flush()?;
            repair.verification = engine.verify(&[])?;
        }
        engine.close()?;
        Ok(repair)
    }

    /// Makes a log of the commits after a checkpoint, up to the first that is lost.
    fn copy_log(&self, checkpoint: Checkpoint) -> Result<CopiedLog> {
        let from = self.from.join(LOG_DIR);
        let disk = Arc::clone(&self.env.disk);
        let log = Log::create(disk, &self.to.join(LOG_DIR), self.options.log, checkpoint.lsn);
        let mut copy = LogCopy {
            log: log.map_err(|error| log_error(&error))?,
            group: Vec::new(),
            bytes: 0,
            last: checkpoint.stamp.seq,
            later: None,
            failed: None,
        };
        let left = driftdb_log::salvage(self.env.disk.as_ref(), &from, checkpoint.lsn, &mut |record, follows| {
            copy.take(record, follows);
        });
        copy.append()?;
        let mut notes = Vec::new();
        let mut damages = Vec::new();
        for finding in left.findings {
            match finding.severity {
                Severity::Damage => damages.push(finding.to_string()),
                Severity::Covered | Severity::Note => notes.push(finding.to_string()),
            }
        }
        let cut = (!left.is_complete || copy.later.is_some()).then(|| match copy.later {
            Some((first, last)) => {
                format!("{}; commits {first} to {last} can be read, but do not follow", damages.join("; "))
            }
            None => damages.join("; "),
        });
        if cut.is_none() {
            notes.append(&mut damages);
        }
        let commits = copy.last.0 - checkpoint.stamp.seq.0;
        Ok(CopiedLog { last: copy.last, commits, cut, notes })
    }

    /// Removes what an attempt left.
    fn clear(&self) -> Result<()> {
        let disk = &self.env.disk;
        for dir in [self.to.to_owned(), self.to.join(LOG_DIR), driftdb_store::history_dir(self.to)] {
            let failed = |error| io_error(&format!("cannot clear {}", dir.display()), &error);
            disk.create_dir_all(&dir).map_err(failed)?;
            for name in disk.list(&dir).map_err(failed)? {
                disk.remove(&dir.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Repair {
    /// Has tables that lost rows begin anew: with a commit after the last one that was saved, as of which there were more rows.
    fn begin_anew(&mut self, engine: &Engine, tables: &[TreeId]) -> Result<Vec<(TreeId, CommitSeq)>> {
        let Some(first) = tables.first() else { return Ok(Vec::new()) };
        let last = engine.stamp().seq;
        for table in tables {
            let catalog = engine.catalog();
            // One that was dropped has no indexes that anybody would read.
            let Some(schema) = catalog.table_by_id(*table) else { continue };
            let entries = mend_indexes(engine, schema)?;
            if entries > 0 {
                let name = engine.known().describe(*table);
                self.mended.push(format!("{entries} entries of the indexes of {name} were made to fit its rows"));
            }
        }
        if engine.stamp().seq == last {
            // That it has one is a commit too.
            move_horizon(engine, *first, last)?;
        }
        let anew = engine.stamp().seq;
        Ok(tables.iter().map(|table| (*table, anew)).collect())
    }

    fn note_log(&mut self, log: CopiedLog) {
        self.mended.extend(log.notes);
        if let Some(cut) = log.cut {
            self.lost.push(format!("every commit after {}, if there were any: {cut}", log.last));
        }
    }
}

fn move_horizon(engine: &Engine, table: TreeId, horizon: CommitSeq) -> Result<()> {
    let name = engine.known().describe(table);
    let comment = |horizon| format!("what {name} was before commit {horizon} is lost in part");
    let moved = engine.move_horizon(table, || Ok(horizon), APPLICATION, comment)?;
    if moved < horizon {
        return Err(Error::internal(format!("the horizon of {name} is at {moved} instead of {horizon}")));
    }
    Ok(())
}

struct LogCopy {
    log: Log,
    group: Vec<Bytes>,
    bytes: usize,
    /// The last commit that was copied.
    last: CommitSeq,
    /// The commits that can be read and not be copied.
    later: Option<(CommitSeq, CommitSeq)>,
    failed: Option<Error>,
}

impl LogCopy {
    fn take(&mut self, record: &[u8], follows: bool) {
        let Ok(seq) = decode_record(record).map(|decoded| decoded.commit.stamp.seq) else { return };
        if seq <= self.last || self.failed.is_some() {
            return;
        }
        if !follows || seq != self.last.next() {
            let first = self.later.map_or(seq, |(first, _)| first);
            self.later = Some((first, seq));
            return;
        }
        self.last = seq;
        self.bytes += record.len();
        self.group.push(Bytes::copy_from_slice(record));
        if self.bytes >= GROUP_BYTES {
            self.failed = self.append().err();
        }
    }

    fn append(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.bytes = 0;
        let group = std::mem::take(&mut self.group);
        if !group.is_empty() {
            self.log.append(&group).map_err(|error| log_error(&error))?;
        }
        Ok(())
    }
}

/// XX001 where definitions or commits are missing: without them nothing else can be told.
fn check_system(lost: &[LostRows], checkpoint: Checkpoint) -> Result<()> {
    let last = commit_key(checkpoint.stamp.seq);
    let is_behind =
        |(tree, key): &(TreeId, Bytes)| *tree >= TreeId::FIRST_USER || (*tree == TreeId::COMMITS && *key == last);
    if lost.iter().all(|lost| lost.after.as_ref().is_some_and(is_behind)) {
        return Ok(());
    }
    Err(Error::new(SqlState::DATA_CORRUPTED, "the base is damaged where it has tables' definitions or the commits"))
}

/// XX001 where there may be something missing between the commits and the first table: pins, horizons or certificates.
fn check_unused(engine: &Engine, last: CommitSeq) -> Result<()> {
    for commit in engine.commits(&engine.view(), CommitSeq(1)..=last, false)? {
        if commit?.contents.iter().any(|of| of.table < TreeId::FIRST_USER) {
            let message = "the base is damaged, maybe where it has pins, horizons or erasures";
            return Err(Error::new(SqlState::DATA_CORRUPTED, message));
        }
    }
    Ok(())
}

/// The tables of whose trees some rows or entries are missing.
fn damaged_tables(engine: &Engine, lost: &[LostRows]) -> Vec<TreeId> {
    let is_within = |tree: TreeId, lost: &LostRows| {
        lost.after.as_ref().is_none_or(|(first, _)| *first <= tree)
            && lost.before.as_ref().is_none_or(|(last, _)| tree <= *last)
    };
    let trees = engine.known().all_trees().into_iter();
    let damaged = trees.filter(|(tree, _)| lost.iter().any(|lost| is_within(*tree, lost))).map(|(_, table)| table);
    let mut damaged: Vec<TreeId> = damaged.filter(|table| *table >= TreeId::FIRST_USER).collect();
    damaged.sort_unstable();
    damaged.dedup();
    damaged
}

/// Gives every row its entry in each index, and no row's entries go. Gives how many were wrong.
fn mend_indexes(engine: &Engine, table: &TableSchema) -> Result<usize> {
    let view = engine.view();
    let mut mend = Mend { engine, table, txn: None, entries: 0 };
    let damaged = |error: driftdb_types::CodecError| Error::new(SqlState::DATA_CORRUPTED, error.to_string());
    for index in &table.indexes {
        for entry in view.scan(index.id, &KeyRange::all(), ReadPoint::Latest, false)? {
            let entry = entry?;
            let row = view.get(table.id, &entry.payload, ReadPoint::Latest)?;
            let values = row.map(|row| decode_row(table, &row.payload)).transpose().map_err(damaged)?;
            if values.is_none_or(|values| index_entry(index, &values, &entry.payload).key != entry.key) {
                mend.put(index.id, entry.key, Some(entry.payload), None)?;
            }
        }
    }
    for row in view.scan(table.id, &KeyRange::all(), ReadPoint::Latest, false)? {
        let row = row?;
        let values = decode_row(table, &row.payload).map_err(damaged)?;
        for index in &table.indexes {
            let key = index_entry(index, &values, &row.key).key;
            if view.get(index.id, &key, ReadPoint::Latest)?.is_none_or(|entry| entry.payload != row.key) {
                mend.put(index.id, key, None, Some(row.key.clone()))?;
            }
        }
    }
    mend.commit()?;
    Ok(mend.entries)
}

struct Mend<'m> {
    engine: &'m Engine,
    table: &'m TableSchema,
    txn: Option<Transaction>,
    entries: usize,
}

impl Mend<'_> {
    fn put(&mut self, index: TreeId, key: Bytes, before: Option<Bytes>, after: Option<Bytes>) -> Result<()> {
        let txn = match &mut self.txn {
            Some(txn) => txn,
            none => {
                let mut txn = self.engine.begin(TxnOptions::default(), Arc::new(Cancel::new()));
                txn.begin_statement()?;
                none.insert(txn)
            }
        };
        txn.put_entry(self.table.id, index, key, before, after)?;
        self.entries += 1;
        if self.entries.is_multiple_of(MEND_MAX) { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        let Some(txn) = self.txn.take() else { return Ok(()) };
        let comment = format!("the indexes of table \"{}\" are made to fit the rows that are left", self.table.name);
        txn.commit(&CommitMeta::own(APPLICATION, comment))?;
        Ok(())
    }
}
