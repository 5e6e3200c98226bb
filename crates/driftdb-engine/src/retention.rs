//! Retention: how long versions are kept after they ended.
//!
//! A table's *horizon* is the first commit as of which it can be read. It moves when garbage is collected: as far as the table's
//! retention says, but beyond no pin, no snapshot and no stamp that somebody reads. That is a commit like others, written before
//! the first version goes, with the digest of the table's state at the horizon: by it what is left can be verified
//! ([`crate::verify`]), where the contents of earlier commits cannot be computed any more.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use driftdb_env::TaskHandle;
use driftdb_store::{Period, ReadPoint, StoreView, Version};
use driftdb_types::{
    CommitSeq, DataType, Digest, Error, Interval, KeyRange, Result, SqlState, Stamp, TableSchema, TimeZone, TreeId,
    Value, format_value,
};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::catalog::catalog_key;
use crate::chain::{fold, write_digest};
use crate::commits;
use crate::engine::{Engine, Inner};
use crate::pins::lowest_pin;
use crate::record::CommitMeta;
use crate::sync::{Condvar, Mutex};
use crate::transaction::TxnOptions;

/// How often the thread looks.
const LOOK: Duration = Duration::from_secs(1);
/// In so many steps the horizon moves through the time of a table's retention.
const STEPS: i128 = 16;
/// A step takes no less and no more than this.
const STEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// From where on a table can be read: an entry of [`TreeId::HORIZONS`] (key: the table's id as in the catalog), as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    pub(crate) stamp: Stamp,
    /// Of the table's state there.
    pub(crate) state: Digest,
}

/// The horizons of all tables.
pub(crate) fn horizons(view: &Arc<StoreView>) -> Result<HashMap<TreeId, Horizon>> {
    let damaged = |what: &str| Error::new(SqlState::DATA_CORRUPTED, format!("a horizon cannot be read: {what}"));
    let mut horizons = HashMap::new();
    for entry in view.scan(TreeId::HORIZONS, &KeyRange::all(), ReadPoint::Latest, false)? {
        let entry = entry?;
        let id = <[u8; 4]>::try_from(entry.key.as_ref()).map_err(|_| damaged("its key is no table's id"))?;
        let horizon = serde_json::from_slice(&entry.payload).map_err(|error| damaged(&error.to_string()))?;
        horizons.insert(TreeId(u32::from_be_bytes(id)), horizon);
    }
    Ok(horizons)
}

/// The digest of a table as of a commit: of its definition and of what its trees, in their order, hold; and of the commits that
/// each began with.
pub(crate) fn state_digest(view: &Arc<StoreView>, table: TreeId, trees: &[TreeId], seq: CommitSeq) -> Result<Digest> {
    let with = |state: Digest, tree: TreeId, version: &Version| {
        let write = write_digest(tree, &version.key, Some(&version.payload));
        fold(state, Digest::of(&[&write.0, &version.from.seq.0.to_le_bytes()]))
    };
    let definition = view.get(TreeId::CATALOG, &catalog_key(table), ReadPoint::AsOf(seq))?;
    let mut state = definition.iter().fold(Digest::ZERO, |state, of| with(state, TreeId::CATALOG, of));
    for tree in trees {
        for version in view.scan(*tree, &KeyRange::all(), ReadPoint::AsOf(seq), false)? {
            state = with(state, *tree, &version?);
        }
    }
    Ok(state)
}

/// What collecting a table's garbage would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPlan {
    /// For how long versions are kept; `None`: for ever.
    pub retention: Option<Interval>,
    /// The first commit as of which the table can be read now; `None`: as of every commit.
    pub horizon: Option<Stamp>,
    /// Where that would be; `None`: where it is.
    pub next: Option<Stamp>,
    /// The pin that holds it back.
    pub held_by: Option<String>,
    /// How many row versions would go.
    pub versions: u64,
    /// About how many bytes of history's files would go, those of the table's indexes included.
    pub bytes: u64,
}

impl Engine {
    /// TT001, naming the first commit that can be read, unless the table can be read as of this one.
    pub fn check_horizon(&self, view: &StoreView, table: &TableSchema, seq: CommitSeq) -> Result<()> {
        let horizon = view.horizon(table.id);
        if seq >= horizon {
            return Ok(());
        }
        let record = commits::commit_record(&self.view(), horizon)?.ok_or_else(|| commits::missing(horizon))?;
        let time = Value::TimestampTz(record.stamp.time_us);
        let time = format_value(&time, DataType::TimestampTz, &TimeZone::utc());
        let message =
            format!("table \"{}\" cannot be read as of commit {seq}: its history begins at {time}", table.name);
        Err(Error::new(SqlState::BEYOND_RETENTION_HORIZON, message)
            .detail("Older versions are beyond the table's retention.")
            .hint(format!("The earliest point that can be read is @SEQ:{horizon}.")))
    }

    /// What [`Engine::collect_garbage`] would do with a table.
    pub fn retention_plan(&self, table: &TableSchema) -> Result<RetentionPlan> {
        let view = self.view();
        let (reach, held_by) = self.reach(&view, table)?;
        let horizon = view.horizon(table.id);
        let next = reach.max(horizon);
        let stamp = |seq| Ok::<_, Error>(commits::commit_record(&view, seq)?.map(|record| record.stamp));
        let mut bytes = 0;
        for tree in self.known().trees_of(table.id) {
            bytes += self.store().garbage_bytes(tree, next)?;
        }
        let mut versions = 0;
        let gone = Period::ContainedIn { start: CommitSeq::ZERO, end: next };
        for version in view.versions_left(table.id, &KeyRange::all(), gone)? {
            version?;
            versions += 1;
        }
        Ok(RetentionPlan {
            retention: table.retention,
            horizon: stamp(horizon)?,
            next: if next > horizon { stamp(next)? } else { None },
            held_by,
            versions,
            bytes,
        })
    }

    /// Moves the horizon of every table as far as its retention lets it, for the store to let go of what is before it. How many
    /// horizons moved.
    pub fn collect_garbage(&self) -> Result<usize> {
        let mut moved = 0;
        for table in self.catalog().tables().filter(|table| table.retention.is_some()) {
            moved += usize::from(self.collect(table)?);
        }
        Ok(moved)
    }

    /// The first commit as of which a table has to be readable, by retention and pins; and the pin that holds it back.
    fn reach(&self, view: &Arc<StoreView>, table: &TableSchema) -> Result<(CommitSeq, Option<String>)> {
        let now_us = self.env().clock.now_us();
        let Some(until_us) = table.retention.and_then(|retention| retention.before(now_us)) else {
            return Ok((CommitSeq::ZERO, None));
        };
        let reach = commits::seq_at_time(view, until_us)?;
        Ok(match lowest_pin(view, now_us)?.filter(|pin| pin.stamp.seq < reach) {
            Some(pin) => (pin.stamp.seq, Some(pin.name)),
            None => (reach, None),
        })
    }

    /// Moves a table's horizon. Whether it moved.
    fn collect(&self, table: &TableSchema) -> Result<bool> {
        // The state at the horizon is another after an erasure.
        let _one = self.erasing().lock();
        let before = self.view().horizon(table.id);
        let (reach, _) = self.reach(&self.view(), table)?;
        if reach <= before || !self.is_touched(table.id, before, reach)? {
            return Ok(false);
        }
        // Looked at again where nobody can begin to hold a commit: who makes a pin does so until it is visible.
        let horizon = || Ok(self.reach(&self.view(), table)?.0);
        let comment = |horizon| format!("table \"{}\" is kept from commit {horizon} on", table.name);
        Ok(self.move_horizon(table.id, horizon, "retention", comment)? > before)
    }

    /// Moves a table's horizon to a commit, or only so far as nobody reads behind it; gives where it is then.
    pub(crate) fn move_horizon(
        &self,
        table: TreeId,
        wanted: impl FnOnce() -> Result<CommitSeq>,
        application: &str,
        comment: impl FnOnce(CommitSeq) -> String,
    ) -> Result<CommitSeq> {
        let before = self.view().horizon(table);
        let trees = self.known().trees_of(table);
        let horizon = self.store().raise_horizon(&trees, wanted)?;
        if horizon <= before {
            return Ok(before);
        }
        if let Err(error) = self.commit_horizon(table, &trees, horizon, application, comment(horizon)) {
            // What it is after the next start is what is in the files.
            self.store().lower_horizon(&trees, before);
            return Err(error);
        }
        // It is durable: now versions may go.
        self.known().set_horizon(table, horizon);
        self.store().horizons_moved();
        Ok(horizon)
    }

    fn commit_horizon(
        &self,
        table: TreeId,
        trees: &[TreeId],
        horizon: CommitSeq,
        application: &str,
        comment: String,
    ) -> Result<()> {
        let view = self.view();
        let record = commits::commit_record(&view, horizon)?.ok_or_else(|| commits::missing(horizon))?;
        let entry = Horizon { stamp: record.stamp, state: state_digest(&view, table, trees, horizon)? };
        let entry = serde_json::to_vec(&entry).map_err(|error| Error::internal(error.to_string()))?;
        let mut txn = self.begin(TxnOptions::default(), Arc::new(Cancel::new()));
        txn.begin_statement()?;
        let key = catalog_key(table);
        let known = txn.get(TreeId::HORIZONS, &key)?.map(|known| known.payload);
        txn.put(TreeId::HORIZONS, key, known, Some(Bytes::from(entry)))?;
        txn.commit(&CommitMeta::own(application, comment))?;
        Ok(())
    }

    /// Whether a commit after `before` and up to `reach` changed the table: if none did, no version ended there.
    fn is_touched(&self, table: TreeId, before: CommitSeq, reach: CommitSeq) -> Result<bool> {
        for commit in self.commits(&self.view(), before.next()..=reach, false)? {
            if commit?.tables().any(|touched| touched == table) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The thread that collects garbage.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    stopping: Mutex<bool>,
    stop: Condvar,
    thread: Mutex<Option<TaskHandle>>,
}

impl Collector {
    /// Starts the thread, which goes when the engine goes.
    pub(crate) fn start(self: &Arc<Self>, engine: &Engine, inner: Weak<Inner>) -> Result<()> {
        let collector = Arc::clone(self);
        let run = move || collector.run(&inner);
        let thread = engine.env().spawner.spawn("retention", Box::new(run));
        let thread = thread.map_err(|error| crate::error::io_error("cannot start the retention thread", &error))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread, and waits for it.
    pub(crate) fn stop(&self) {
        *self.stopping.lock() = true;
        self.stop.notify_all();
        let thread = self.thread.lock().take();
        if let Some(Err(panicked)) = thread.map(TaskHandle::join) {
            tracing::error!(%panicked, "the retention thread ended badly");
        }
    }

    fn run(&self, inner: &Weak<Inner>) {
        // When each table was collected last, on the monotonic clock.
        let mut collected: HashMap<TreeId, Duration> = HashMap::new();
        loop {
            {
                let mut stopping = self.stopping.lock();
                if !*stopping {
                    self.stop.wait_for(&mut stopping, LOOK);
                }
                if *stopping {
                    return;
                }
            }
            let Some(engine) = Engine::of(inner) else { return };
            let now = engine.env().clock.monotonic();
            for table in engine.catalog().tables() {
                let Some(retention) = table.retention else { continue };
                let is_due = collected.get(&table.id).is_none_or(|last| now.saturating_sub(*last) >= step(retention));
                if !is_due || engine.read_only_reason().is_some() {
                    continue;
                }
                collected.insert(table.id, now);
                if let Err(error) = engine.collect(table) {
                    tracing::warn!(table = %table.name, %error, "garbage cannot be collected");
                }
            }
        }
    }
}

/// How long to wait between two collections of a table.
fn step(retention: Interval) -> Duration {
    let step_us = u64::try_from(retention.estimated_us() / STEPS).unwrap_or(0);
    Duration::from_micros(step_us).clamp(STEP.0, STEP.1)
}
