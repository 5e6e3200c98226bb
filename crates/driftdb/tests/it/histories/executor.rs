//! A database of lists in memory, right or broken in a chosen way: what the checker is tried on.
//!
//! Transactions take turns operation by operation. An append locks its key, and who finds a lock aborts; REPEATABLE READ
//! aborts at an append to what has changed since its snapshot; SERIALIZABLE besides at COMMIT, if it appended anything
//! and something that it read has changed.

use std::collections::HashMap;

use super::history::{Element, Key, Level, Op, Outcome, Transaction};
use crate::server::Dice;

const SESSIONS: usize = 6;
const KEYS: u64 = 4;

/// What a broken database does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Appends to what has changed since the snapshot.
    NoFirstUpdaterWins,
    /// The same, and puts the list as of the snapshot in place of the newest.
    Overwrite,
    /// Shows what is not committed.
    DirtyReads,
    /// Does not read its own appends.
    BlindToOwn,
    /// Its snapshots lack the last commit.
    StaleSnapshots,
    /// Keeps what an aborted transaction had appended.
    KeepAborted,
    /// Commits the first append only.
    HalfCommits,
}

/// One at a time, or taking turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    Serial,
    Interleaved,
}

struct Running {
    transaction: Transaction,
    /// Operations to come: a key, and whether to append.
    plan: Vec<(Key, bool)>,
    snapshot: u64,
    own: Vec<(Key, Element)>,
}

pub(super) struct Executor {
    dice: Dice,
    levels: &'static [Level],
    fault: Option<Fault>,
    /// The versions of each list, by the commit that made them.
    lists: HashMap<Key, Vec<(u64, Vec<Element>)>>,
    commits: u64,
    clock: u64,
    next_element: Element,
    running: Vec<Option<Running>>,
    history: Vec<Transaction>,
}

impl Executor {
    /// A history of `transactions` transactions, and of one that reads everything at the end.
    pub(super) fn run(
        seed: u64,
        levels: &'static [Level],
        schedule: Schedule,
        fault: Option<Fault>,
        transactions: usize,
    ) -> Vec<Transaction> {
        let mut executor = Executor {
            dice: Dice::seeded(seed),
            levels,
            fault,
            lists: HashMap::new(),
            commits: 0,
            clock: 0,
            next_element: 0,
            running: (0..SESSIONS).map(|_| None).collect(),
            history: Vec::new(),
        };
        while executor.history.len() < transactions {
            let session = executor.dice.below(SESSIONS as u64) as usize;
            executor.step(session);
            while schedule == Schedule::Serial && executor.running[session].is_some() {
                executor.step(session);
            }
        }
        for session in 0..SESSIONS {
            if let Some(running) = executor.running[session].take() {
                executor.end(running, Outcome::Aborted);
            }
        }
        // The fault is over: what it has done is to be seen as it is.
        executor.fault = None;
        let mut last = executor.begin(0);
        last.plan = (0..KEYS as Key).map(|key| (key, false)).collect();
        executor.running[0] = Some(last);
        while executor.running[0].is_some() {
            executor.step(0);
        }
        executor.history
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn begin(&mut self, session: usize) -> Running {
        let level = self.levels[self.dice.below(self.levels.len() as u64) as usize];
        let plan = (0..=self.dice.below(4)).map(|_| (self.dice.below(KEYS) as Key, self.dice.below(2) == 0)).collect();
        let (session, invoked) = (session as u64, self.tick());
        let transaction =
            Transaction { session, level, ops: Vec::new(), invoked, completed: 0, outcome: Outcome::Aborted };
        let stale = u64::from(self.fault == Some(Fault::StaleSnapshots));
        Running { transaction, plan, snapshot: self.commits.saturating_sub(stale), own: Vec::new() }
    }

    /// The next operation of a session: BEGIN, an append or a read, COMMIT or ROLLBACK.
    fn step(&mut self, session: usize) {
        let Some(mut running) = self.running[session].take() else {
            self.running[session] = Some(self.begin(session));
            return;
        };
        let Some((key, append)) = running.plan.pop() else {
            let rollback = running.own.len() > 1 && self.dice.below(8) == 0;
            let outcome = if rollback || !self.may_commit(&running) { Outcome::Aborted } else { Outcome::Committed };
            return self.end(running, outcome);
        };
        if append {
            self.next_element += 1;
            running.transaction.ops.push(Op::Append(key, self.next_element));
            if !self.may_append(&running, key) {
                return self.end(running, Outcome::Aborted);
            }
            running.own.push((key, self.next_element));
        } else {
            let list = self.read(&running, key);
            running.transaction.ops.push(Op::Read(key, list));
        }
        self.running[session] = Some(running);
    }

    /// The last version of a list that a snapshot shows.
    fn version(&self, key: Key, snapshot: u64) -> &[Element] {
        let versions = self.lists.get(&key).map(Vec::as_slice).unwrap_or_default();
        versions.iter().rev().find(|(commit, _)| *commit <= snapshot).map_or(&[], |(_, list)| list)
    }

    fn is_changed_since(&self, key: Key, snapshot: u64) -> bool {
        self.lists.get(&key).and_then(|versions| versions.last()).is_some_and(|(commit, _)| *commit > snapshot)
    }

    fn read(&self, running: &Running, key: Key) -> Vec<Element> {
        let snapshot = match running.transaction.level {
            Level::ReadCommitted => self.commits,
            Level::RepeatableRead | Level::Serializable => running.snapshot,
        };
        let mut list = self.version(key, snapshot).to_vec();
        let mut add = |own: &[(Key, Element)]| list.extend(own.iter().filter(|(k, _)| *k == key).map(|(_, v)| *v));
        if self.fault == Some(Fault::DirtyReads) {
            self.running.iter().flatten().for_each(|other| add(&other.own));
        }
        if self.fault != Some(Fault::BlindToOwn) {
            add(&running.own);
        }
        list
    }

    fn ignores_changes(&self) -> bool {
        matches!(self.fault, Some(Fault::NoFirstUpdaterWins | Fault::Overwrite))
    }

    fn may_append(&self, running: &Running, key: Key) -> bool {
        let locked = self.running.iter().flatten().any(|other| other.own.iter().any(|(locked, _)| *locked == key));
        let snapshot_stays = running.transaction.level != Level::ReadCommitted;
        self.ignores_changes() || !(locked || snapshot_stays && self.is_changed_since(key, running.snapshot))
    }

    fn may_commit(&self, running: &Running) -> bool {
        if running.transaction.level != Level::Serializable || running.own.is_empty() || self.ignores_changes() {
            return true;
        }
        let changed = |op: &Op| matches!(op, Op::Read(key, _) if self.is_changed_since(*key, running.snapshot));
        !running.transaction.ops.iter().any(changed)
    }

    fn end(&mut self, mut running: Running, outcome: Outcome) {
        let kept = match (outcome, self.fault) {
            (Outcome::Committed, Some(Fault::HalfCommits)) => &running.own[..running.own.len().min(1)],
            (Outcome::Committed, _) | (_, Some(Fault::KeepAborted)) => &running.own,
            _ => &[],
        };
        if !kept.is_empty() {
            let base = if self.fault == Some(Fault::Overwrite) { running.snapshot } else { self.commits };
            let mut changed: HashMap<Key, Vec<Element>> = HashMap::new();
            for (key, element) in kept {
                changed.entry(*key).or_insert_with(|| self.version(*key, base).to_vec()).push(*element);
            }
            self.commits += 1;
            for (key, list) in changed {
                self.lists.entry(key).or_default().push((self.commits, list));
            }
        }
        running.transaction.completed = self.tick();
        running.transaction.outcome = outcome;
        self.history.push(running.transaction);
    }
}
