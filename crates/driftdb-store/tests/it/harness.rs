//! A store, the model of it, and the comparison of the two.
//!
//! The model is the plain list of commits. Everything the store answers is computed from it the slow way.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::SimEnv;
use driftdb_store::{CommitBatch, Period, ReadPoint, Scan, Store, StoreOptions, StoreView, Version, Write};
use driftdb_types::{CommitSeq, KeyRange, Lsn, Stamp, TableSchema, TreeId};
use parking_lot::Mutex;

use crate::schemas::{BYTES, Dice, ROWS, Schemas, row, table, widened};

pub(crate) const DIR: &str = "/data/store";

/// A commit as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) stamp: Stamp,
    pub(crate) end_lsn: Lsn,
    pub(crate) writes: Vec<Write>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) from: Stamp,
    pub(crate) to: Option<Stamp>,
    pub(crate) deleted: bool,
    pub(crate) payload: Bytes,
}

/// All commits.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) commits: Vec<Commit>,
}

impl Model {
    /// Every version, by tree and key, oldest first.
    pub(crate) fn versions(&self, up_to: CommitSeq) -> Versions {
        let mut all = Versions::new();
        for commit in self.commits.iter().filter(|commit| commit.stamp.seq <= up_to) {
            for write in &commit.writes {
                let versions = all.entry((write.tree, write.key.clone())).or_default();
                if let Some(last) = versions.last_mut()
                    && last.to.is_none()
                {
                    last.to = Some(commit.stamp);
                    last.deleted = write.payload.is_none();
                }
                if let Some(payload) = &write.payload {
                    versions.push(Expected { from: commit.stamp, to: None, deleted: false, payload: payload.clone() });
                }
            }
        }
        all
    }

    pub(crate) fn last(&self) -> Stamp {
        self.commits.last().map_or(Stamp::ZERO, |commit| commit.stamp)
    }
}

/// Every version, by tree and key, oldest first.
type Versions = BTreeMap<(TreeId, Bytes), Vec<Expected>>;

/// A scan that was begun, and what it is to give yet.
pub(crate) struct HeldScan {
    tree: TreeId,
    scan: Scan,
    expected: VecDeque<(Bytes, Expected)>,
}

pub(crate) struct Harness {
    pub(crate) sim: SimEnv,
    pub(crate) options: StoreOptions,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) store: Store,
    pub(crate) model: Model,
    pub(crate) dice: Dice,
    /// Views held on to, with the stamp they must answer for.
    pub(crate) held: Vec<(Arc<StoreView>, Stamp)>,
    pub(crate) held_scans: Vec<HeldScan>,
}

pub(crate) fn small_options() -> StoreOptions {
    StoreOptions { memtable_bytes: 6_000, cache_bytes: 1 << 20, compaction_fan_in: 3, ..StoreOptions::default() }
}

impl Harness {
    /// With every other seed, old views hold nothing but are moved at each flush.
    pub(crate) fn new(seed: u64) -> Harness {
        let mut options = small_options();
        if seed.is_multiple_of(2) {
            options.held_bytes_max = 0;
        }
        Harness::with(seed, driftdb_env::Env::sim(seed), options)
    }

    pub(crate) fn with(seed: u64, sim: SimEnv, options: StoreOptions) -> Harness {
        let schemas = Arc::new(Schemas { table: Mutex::new(Arc::new(table())) });
        let store = Store::open(sim.env.clone(), Path::new(DIR), options.clone(), schemas.clone()).unwrap();
        let (model, dice) = (Model::default(), Dice::new(seed ^ 0x5EED));
        Harness { sim, options, schemas, store, model, dice, held: Vec::new(), held_scans: Vec::new() }
    }

    pub(crate) fn table(&self) -> Arc<TableSchema> {
        Arc::clone(&self.schemas.table.lock())
    }

    pub(crate) fn key(&self) -> Bytes {
        // Few keys, so that each has many versions; of several lengths, so that prefixes of each other occur.
        let n = self.dice.below(12) as u8;
        Bytes::from(vec![b'k'; 1 + usize::from(n % 3)].into_iter().chain([n]).collect::<Vec<u8>>())
    }

    pub(crate) fn commit(&mut self, writes_max: u64) {
        let mut writes: BTreeMap<(TreeId, Bytes), Write> = BTreeMap::new();
        for _ in 0..self.dice.below(writes_max + 1) {
            let tree = [ROWS, BYTES, TreeId(7)][self.dice.below(3) as usize];
            let key = self.key();
            let payload = if self.dice.chance(25) {
                None
            } else if tree == ROWS {
                Some(row(&self.dice, &self.table()).into())
            } else {
                Some(Bytes::from(self.dice.u64().to_string()))
            };
            writes.insert((tree, key.clone()), Write { tree, key, payload });
        }
        self.commit_writes(writes.into_values().collect());
    }

    pub(crate) fn commit_writes(&mut self, writes: Vec<Write>) {
        let last = self.model.last();
        let stamp = Stamp {
            seq: last.seq.next(),
            time_us: last.time_us.max(1_000_000) + 1 + self.dice.below(1000).cast_signed(),
        };
        let commit = Commit { stamp, end_lsn: Lsn(stamp.seq.0 * 100), writes };
        apply(&self.store, &commit);
        self.model.commits.push(commit);
    }

    pub(crate) fn add_column(&mut self) {
        let next = Arc::new(widened(&self.table()));
        *self.schemas.table.lock() = next;
    }

    /// Opens the store again and does what recovery does: applies the commits after the checkpoint.
    pub(crate) fn reopen(&mut self) {
        self.held.clear();
        self.held_scans.clear();
        self.store.close();
        self.store = open_recovered(&self.sim, &self.options, &self.schemas, &self.model);
    }

    pub(crate) fn hold_view(&mut self) {
        let view = self.store.view();
        let stamp = view.stamp();
        self.held.push((view, stamp));
    }

    /// Begins a scan, of the newest view or of one that is held.
    pub(crate) fn hold_scan(&mut self) {
        let view = match self.held.get(self.dice.below(8) as usize) {
            Some((view, _)) => Arc::clone(view),
            None => self.store.view(),
        };
        let all = self.model.versions(view.stamp().seq);
        let tree = [ROWS, BYTES, TreeId(7)][self.dice.below(3) as usize];
        let range = if self.dice.chance(50) { KeyRange::all() } else { self.range() };
        let (scan, expected) = if self.dice.chance(30) {
            let period = self.period(&view);
            (view.versions(tree, &range, period), expected_versions(&all, tree, &range, period))
        } else {
            let (at, reverse) = (self.point(&view), self.dice.chance(50));
            let mut expected = expected_at(&all, tree, &range, at);
            if reverse {
                expected.reverse();
            }
            (view.scan(tree, &range, at, reverse), expected)
        };
        self.held_scans.push(HeldScan { tree, scan: scan.unwrap(), expected: expected.into() });
    }

    /// Goes on with the scans that are held, and drops those that have ended.
    pub(crate) fn go_on_with_scans(&mut self) {
        let mut held = std::mem::take(&mut self.held_scans);
        held.retain_mut(|held| {
            for _ in 0..=self.dice.below(4) {
                let (got, expected) = (held.scan.next(), held.expected.pop_front());
                let got: Vec<Version> = got.map(Result::unwrap).into_iter().collect();
                let ended = expected.is_none();
                self.compare_all(held.tree, got, expected.as_slice());
                if ended {
                    return false;
                }
            }
            true
        });
        self.held_scans = held;
    }

    fn point(&self, view: &StoreView) -> ReadPoint {
        let seq = CommitSeq(self.dice.below(view.stamp().seq.0 + 2));
        if self.dice.chance(50) { ReadPoint::Latest } else { ReadPoint::AsOf(seq) }
    }

    fn period(&self, view: &StoreView) -> Period {
        // Also periods that begin, or end, after the view's last commit.
        let stamp = || CommitSeq(self.dice.below(view.stamp().seq.0 + 10));
        match self.dice.below(3) {
            0 => Period::All,
            1 => Period::Overlaps { start: stamp(), end: stamp() },
            _ => Period::ContainedIn { start: stamp(), end: stamp() },
        }
    }

    /// The newest view, at a few stamps; and those held.
    pub(crate) fn check_some(&mut self) {
        self.store.publish();
        let view = self.store.view();
        assert_eq!(view.stamp(), self.model.last());
        self.check_view(&view, 2);
        let held = std::mem::take(&mut self.held);
        for (view, stamp) in &held {
            assert_eq!(view.stamp(), *stamp);
            self.check_view(view, 1);
        }
        self.held = held;
    }

    /// The newest view at every stamp.
    pub(crate) fn check_all(&self) {
        self.store.publish();
        let view = self.store.view();
        assert_eq!(view.stamp(), self.model.last());
        let all = self.model.versions(CommitSeq::MAX);
        self.check_at(&view, &all, ReadPoint::Latest);
        for seq in 0..=self.model.last().seq.0 + 1 {
            self.check_at(&view, &all, ReadPoint::AsOf(CommitSeq(seq)));
        }
        self.check_periods(&view, &all);
    }

    fn check_view(&self, view: &Arc<StoreView>, stamps: usize) {
        let all = self.model.versions(view.stamp().seq);
        self.check_at(view, &all, ReadPoint::Latest);
        for _ in 0..stamps {
            let seq = self.dice.below(view.stamp().seq.0 + 2);
            self.check_at(view, &all, ReadPoint::AsOf(CommitSeq(seq)));
        }
        self.check_periods(view, &all);
    }

    fn range(&self) -> KeyRange {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let bound = |key: Bytes| match self.dice.below(4) {
            0 => Unbounded,
            1 => Excluded(key.to_vec()),
            _ => Included(key.to_vec()),
        };
        KeyRange { start: bound(self.key()), end: bound(self.key()) }
    }

    fn check_at(&self, view: &Arc<StoreView>, all: &Versions, at: ReadPoint) {
        for ((tree, key), versions) in all {
            let got = view.get(*tree, key, at).unwrap();
            let expected = visible(versions, at);
            assert_eq!(got.is_some(), expected.is_some(), "get {tree} {key:?} at {at:?}: {got:?} for {expected:?}");
            if let (Some(got), Some(expected)) = (got, expected) {
                self.compare(*tree, key, &got, &expected);
            }
        }
        for tree in [ROWS, BYTES, TreeId(7), TreeId(8)] {
            for range in [KeyRange::all(), self.range()] {
                let mut expected = expected_at(all, tree, &range, at);
                for reverse in [false, true] {
                    let got = view.scan(tree, &range, at, reverse).unwrap();
                    self.compare_all(tree, got.map(Result::unwrap).collect(), &expected);
                    expected.reverse();
                }
            }
        }
    }

    fn check_periods(&self, view: &Arc<StoreView>, all: &Versions) {
        for tree in [ROWS, BYTES, TreeId(7)] {
            for _ in 0..3 {
                let period = self.period(view);
                let range = if self.dice.chance(50) { KeyRange::all() } else { self.range() };
                let expected = expected_versions(all, tree, &range, period);
                let got = view.versions(tree, &range, period).unwrap();
                self.compare_all(tree, got.map(Result::unwrap).collect(), &expected);
            }
        }
    }

    fn compare_all(&self, tree: TreeId, got: Vec<Version>, expected: &[(Bytes, Expected)]) {
        let keys = |versions: &[Version]| versions.iter().map(|v| (v.key.clone(), v.from)).collect::<Vec<_>>();
        let expected_keys: Vec<_> = expected.iter().map(|(key, version)| (key.clone(), version.from)).collect();
        assert_eq!(keys(&got), expected_keys, "tree {tree}");
        for (got, (key, expected)) in got.iter().zip(expected) {
            self.compare(tree, key, got, expected);
        }
    }

    fn compare(&self, tree: TreeId, key: &Bytes, got: &Version, expected: &Expected) {
        assert_eq!(got.key, *key);
        assert_eq!((got.from, got.to, got.deleted), (expected.from, expected.to, expected.deleted), "{tree} {key:?}");
        // To the byte, from wherever it was read: commits are verified by them.
        assert_eq!(got.payload, expected.payload, "{tree} {key:?}");
    }
}

fn visible(versions: &[Expected], at: ReadPoint) -> Option<Expected> {
    let found = match at {
        ReadPoint::Latest => versions.last().filter(|version| version.to.is_none()),
        ReadPoint::AsOf(seq) => {
            versions.iter().find(|version| version.from.seq <= seq && version.to.is_none_or(|to| seq < to.seq))
        }
    };
    found.cloned()
}

fn expected_at(all: &Versions, tree: TreeId, range: &KeyRange, at: ReadPoint) -> Vec<(Bytes, Expected)> {
    all.iter()
        .filter(|((of, key), _)| *of == tree && range.contains(key))
        .filter_map(|((_, key), versions)| Some((key.clone(), visible(versions, at)?)))
        .collect()
}

fn expected_versions(all: &Versions, tree: TreeId, range: &KeyRange, period: Period) -> Vec<(Bytes, Expected)> {
    all.iter()
        .filter(|((of, key), _)| *of == tree && range.contains(key))
        .flat_map(|((_, key), versions)| versions.iter().map(|version| (key.clone(), version.clone())))
        .filter(|(_, version)| admits(period, version))
        .collect()
}

/// What SQL:2011 says, independently of the store's code.
fn admits(period: Period, version: &Expected) -> bool {
    let (from, to) = (version.from.seq.0, version.to.map_or(u64::MAX, |to| to.seq.0));
    match period {
        Period::All => true,
        Period::Overlaps { start, end } => start < end && from < end.0 && start.0 < to,
        Period::ContainedIn { start, end } => from >= start.0 && version.to.is_some() && to <= end.0,
    }
}

pub(crate) fn apply(store: &Store, commit: &Commit) {
    store.apply(&CommitBatch { stamp: commit.stamp, end_lsn: commit.end_lsn, writes: &commit.writes });
}

pub(crate) fn open_recovered(sim: &SimEnv, options: &StoreOptions, schemas: &Arc<Schemas>, model: &Model) -> Store {
    let store = Store::open(sim.env.clone(), Path::new(DIR), options.clone(), schemas.clone()).unwrap();
    let checkpoint = store.checkpoint();
    // The log is read from the checkpoint's position on; a few commits before it do no harm.
    for commit in model.commits.iter().filter(|commit| commit.end_lsn.0 + 200 > checkpoint.lsn.0) {
        apply(&store, commit);
    }
    store.publish();
    store
}
