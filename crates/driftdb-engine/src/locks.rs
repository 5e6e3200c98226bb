//! Locks of rows, tables and names, held until the end of a transaction.
//!
//! The table of locks is split in shards by the hash of what is locked, so that sessions which touch different rows
//! do not meet. A lock has holders and a queue; it is granted in the order of asking (a holder that wants more goes
//! first), so nobody starves.
//!
//! *Deadlocks* are looked for at the moment a wait begins (Coffman et al., "System Deadlocks", 1971: a cycle in the
//! wait-for graph). A new edge of that graph only ever comes from a transaction that begins to wait, and all of them
//! do so under one mutex (`waiting`), so the last one of a cycle sees the whole of it and is the one to give way. The
//! edges are not stored: who waits for what is, and whom that means is read off the lock itself. A transaction that
//! is seen waiting held its locks all the time while the search ran, because it can neither end nor begin to wait
//! meanwhile: so what is found is a true cycle.
//!
//! Order of mutexes: `waiting`, then one shard, then a [`Waiter`]'s own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_env::Clock;
use driftdb_types::{Error, SqlState, TreeId, TxnId};

use crate::cancel::{Cancel, Wake};
use crate::catalog::Catalog;
use crate::sync::{Condvar, Mutex, RandomState};

const SHARDS: usize = 64;
/// How long a waiter sleeps when it has no time limit; it is woken by a grant and by a cancel.
const SLEEP_LONG: Duration = Duration::from_secs(1);
/// How long a waiter with a time limit sleeps before it looks at the clock, which may be a simulated one.
const SLEEP_SHORT: Duration = Duration::from_millis(20);

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    /// A table's definition and, as a whole, its rows.
    Table(TreeId),
    /// A row, or the entry of a unique index.
    Row(TreeId, Bytes),
    /// A name for a table or an index.
    Name(Arc<str>),
    /// What a number means is the applications' to agree on.
    Advisory(AdvisoryKey),
}

/// The number of an advisory lock: one of 64 bits, or two of 32, which are different numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisoryKey {
    /// `pg_advisory_lock(bigint)`
    One(i64),
    /// `pg_advisory_lock(int, int)`
    Two(i32, i32),
}

impl Resource {
    /// The table, where it is one.
    pub(crate) fn table(&self) -> Option<TreeId> {
        match self {
            Resource::Table(table) => Some(*table),
            _ => None,
        }
    }

    fn describe(&self, catalog: &Catalog) -> String {
        match self {
            Resource::Table(tree) => catalog.describe(*tree),
            Resource::Row(tree, key) => format!("key {key:?} of {}", catalog.describe(*tree)),
            Resource::Name(name) => format!("the name \"{name}\""),
            Resource::Advisory(AdvisoryKey::One(key)) => format!("advisory lock {key}"),
            Resource::Advisory(AdvisoryKey::Two(first, second)) => format!("advisory lock ({first}, {second})"),
        }
    }

    /// About how much memory one lock of it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        /// Places in the table of locks and in the transaction's list, and allocations.
        const OVERHEAD_BYTES: usize = 192;
        let name_bytes = match self {
            Resource::Table(_) | Resource::Advisory(_) => 0,
            Resource::Row(_, key) => key.len(),
            Resource::Name(name) => name.len(),
        };
        OVERHEAD_BYTES + name_bytes
    }
}

/// How strongly something is locked, from weak to strong: PostgreSQL's modes of row locks. Each conflicts with all that
/// the one before it conflicts with, and more.
///
/// |  | KeyShare | Share | NoKeyUpdate | Update |
/// |---|---|---|---|---|
/// | KeyShare | | | | × |
/// | Share | | | × | × |
/// | NoKeyUpdate | | × | × | × |
/// | Update | × | × | × | × |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// The row's key stays (`FOR KEY SHARE`).
    KeyShare,
    /// The row stays as it is (`FOR SHARE`).
    Share,
    /// It is about to change, but for its key (`FOR NO KEY UPDATE`, most UPDATEs).
    NoKeyUpdate,
    /// Nobody else may lock it in any way (`FOR UPDATE`, DELETE).
    #[default]
    Update,
}

impl LockMode {
    /// Tables: the mode of those who change rows.
    pub(crate) const SHARED: LockMode = LockMode::KeyShare;
    /// The mode that conflicts with every other.
    pub(crate) const EXCLUSIVE: LockMode = LockMode::Update;

    fn conflicts(self, other: LockMode) -> bool {
        let (weak, strong) = if self < other { (self, other) } else { (other, self) };
        match strong {
            LockMode::Update => true,
            LockMode::NoKeyUpdate => weak >= LockMode::Share,
            LockMode::Share | LockMode::KeyShare => false,
        }
    }
}

/// How a wait for a lock ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The transaction did not hold it before.
    New,
    /// The transaction held it already, as strongly or less.
    Held,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockFailure {
    /// Someone holds it and the caller does not wait.
    WouldBlock,
    /// The time limit passed.
    TimedOut,
    /// Waiting would never end: each transaction waits for what is named, which the next one holds.
    Deadlock(Vec<(TxnId, Resource)>),
    /// The statement was cancelled.
    Cancelled(Error),
}

/// What a failure is to a client. `what` names the lock that could not be had.
pub(crate) fn lock_error(failure: LockFailure, catalog: &Catalog, what: &str) -> Error {
    match failure {
        LockFailure::WouldBlock => Error::new(SqlState::LOCK_NOT_AVAILABLE, format!("could not obtain {what}")),
        LockFailure::TimedOut => Error::new(SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout"),
        LockFailure::Deadlock(cycle) => deadlock(&cycle, catalog),
        LockFailure::Cancelled(error) => error,
    }
}

fn deadlock(cycle: &[(TxnId, Resource)], catalog: &Catalog) -> Error {
    let blockers = cycle.iter().skip(1).chain(cycle.first()).map(|(txn, _)| txn);
    let lines: Vec<String> = cycle
        .iter()
        .zip(blockers)
        .map(|((txn, resource), blocker)| {
            let what = resource.describe(catalog);
            format!("Transaction {} waits for {what}; blocked by transaction {}.", txn.0, blocker.0)
        })
        .collect();
    Error::new(SqlState::DEADLOCK_DETECTED, "deadlock detected")
        .detail(lines.join("\n"))
        .hint("The transaction might succeed if retried.")
}

/// How to take a lock.
pub(crate) struct LockRequest<'a> {
    pub(crate) txn: TxnId,
    pub(crate) resource: Resource,
    pub(crate) mode: LockMode,
    /// Whether to wait for it.
    pub(crate) wait: bool,
    /// For how long at most.
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: &'a Arc<Cancel>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    txn: TxnId,
    mode: LockMode,
}

/// A lock that somebody holds. Nearly all have one holder and no queue, which costs no allocation.
#[derive(Debug)]
struct Lock {
    first: Holder,
    others: Vec<Holder>,
    queue: VecDeque<Arc<Waiter>>,
}

/// A transaction in the queue of a lock.
#[derive(Debug)]
struct Waiter {
    txn: TxnId,
    mode: LockMode,
    /// Whether it holds the lock already and wants more of it.
    upgrade: bool,
    granted: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Waiter {
    fn wake(&self) {
        let _granted = self.granted.lock();
        self.changed.notify_all();
    }
}

/// The locks of all transactions.
#[derive(Debug)]
pub(crate) struct LockTable {
    shards: Vec<Mutex<HashMap<Resource, Lock>>>,
    hasher: RandomState,
    waiting: Mutex<HashMap<TxnId, Resource>>,
    clock: Arc<dyn Clock>,
}

impl LockTable {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> LockTable {
        LockTable {
            shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            hasher: RandomState::new(),
            waiting: Mutex::new(HashMap::new()),
            clock,
        }
    }

    /// Takes a lock, or says why not. May wait.
    pub(crate) fn acquire(&self, request: &LockRequest<'_>) -> Result<Acquired, LockFailure> {
        if let Some(acquired) = self.try_acquire(request) {
            return Ok(acquired);
        }
        if !request.wait {
            return Err(LockFailure::WouldBlock);
        }
        match self.begin_wait(request)? {
            Ok(acquired) => Ok(acquired),
            Err(waiter) => {
                request.cancel.set_sleeper(Some(Arc::clone(&waiter) as Arc<dyn Wake>));
                let ended = self.wait(request, &waiter);
                request.cancel.set_sleeper(None);
                self.waiting.lock().remove(&request.txn);
                match ended {
                    Ok(()) if waiter.upgrade => Ok(Acquired::Held),
                    Ok(()) => Ok(Acquired::New),
                    Err(failure) => {
                        self.give_up(request, &waiter);
                        Err(failure)
                    }
                }
            }
        }
    }

    /// Gives one lock back.
    pub(crate) fn release(&self, txn: TxnId, resource: &Resource) {
        let mut shard = self.shard(resource).lock();
        let Some(lock) = shard.get_mut(resource) else { return };
        let mut granted = Vec::new();
        if lock.remove_holder(txn, &mut granted) {
            shard.remove(resource);
        }
        drop(shard);
        wake(granted);
    }

    /// Makes a lock that is held weaker.
    pub(crate) fn weaken(&self, txn: TxnId, resource: &Resource, mode: LockMode) {
        let mut shard = self.shard(resource).lock();
        let Some(lock) = shard.get_mut(resource) else { return };
        if let Some(holder) = lock.holder_mut(txn) {
            holder.mode = holder.mode.min(mode);
        }
        let mut granted = Vec::new();
        lock.grant_waiters(&mut granted);
        drop(shard);
        wake(granted);
    }

    /// How many locks are held at the moment.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, resource: &Resource) -> &Mutex<HashMap<Resource, Lock>> {
        let hash = usize::try_from(self.hasher.hash_one(resource) % (SHARDS as u64)).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the hash was reduced modulo the number of shards")]
        &self.shards[hash]
    }

    fn try_acquire(&self, request: &LockRequest<'_>) -> Option<Acquired> {
        let mut shard = self.shard(&request.resource).lock();
        match shard.get_mut(&request.resource) {
            Some(lock) => lock.try_grant(request.txn, request.mode),
            None => {
                shard.insert(request.resource.clone(), Lock::held_by(request.txn, request.mode));
                Some(Acquired::New)
            }
        }
    }

    fn try_acquire_or_enqueue(&self, request: &LockRequest<'_>) -> Result<Acquired, Arc<Waiter>> {
        let mut shard = self.shard(&request.resource).lock();
        match shard.get_mut(&request.resource) {
            Some(lock) => match lock.try_grant(request.txn, request.mode) {
                Some(acquired) => Ok(acquired),
                None => Err(lock.enqueue(request.txn, request.mode)),
            },
            None => {
                shard.insert(request.resource.clone(), Lock::held_by(request.txn, request.mode));
                Ok(Acquired::New)
            }
        }
    }

    /// Enters the queue unless the lock has become free or the wait would never end.
    fn begin_wait(&self, request: &LockRequest<'_>) -> Result<Result<Acquired, Arc<Waiter>>, LockFailure> {
        let mut waiting = self.waiting.lock();
        let waiter = match self.try_acquire_or_enqueue(request) {
            Ok(acquired) => return Ok(Ok(acquired)),
            Err(waiter) => waiter,
        };
        waiting.insert(request.txn, request.resource.clone());
        if let Some(cycle) = self.find_cycle(&waiting, request.txn) {
            waiting.remove(&request.txn);
            drop(waiting);
            self.give_up(request, &waiter);
            return Err(LockFailure::Deadlock(cycle));
        }
        Ok(Err(waiter))
    }

    fn wait(&self, request: &LockRequest<'_>, waiter: &Waiter) -> Result<(), LockFailure> {
        let deadline = request.timeout.map(|timeout| self.clock.monotonic().saturating_add(timeout));
        let mut granted = waiter.granted.lock();
        loop {
            if *granted {
                return Ok(());
            }
            request.cancel.check().map_err(LockFailure::Cancelled)?;
            if deadline.is_some_and(|deadline| self.clock.monotonic() >= deadline) {
                return Err(LockFailure::TimedOut);
            }
            let looks_at_time = deadline.is_some() || request.cancel.has_deadline();
            waiter.changed.wait_for(&mut granted, if looks_at_time { SLEEP_SHORT } else { SLEEP_LONG });
        }
    }

    /// Leaves the queue; or, where the lock was granted in the meantime, gives it back (a stronger mode of a lock held
    /// before stays).
    fn give_up(&self, request: &LockRequest<'_>, waiter: &Arc<Waiter>) {
        let mut shard = self.shard(&request.resource).lock();
        let Some(lock) = shard.get_mut(&request.resource) else { return };
        let mut granted = Vec::new();
        let before = lock.queue.len();
        lock.queue.retain(|other| !Arc::ptr_eq(other, waiter));
        if lock.queue.len() == before {
            if !waiter.upgrade && lock.remove_holder(request.txn, &mut granted) {
                shard.remove(&request.resource);
            }
        } else {
            lock.grant_waiters(&mut granted);
        }
        drop(shard);
        wake(granted);
    }

    /// A cycle through `start`, which has just begun to wait.
    fn find_cycle(&self, waiting: &HashMap<TxnId, Resource>, start: TxnId) -> Option<Vec<(TxnId, Resource)>> {
        let mut seen = HashSet::new();
        // Depth-first: each entry is a transaction on the path and whom it waits for that is still to be looked at.
        let mut path: Vec<(TxnId, Resource, Vec<TxnId>)> = Vec::new();
        let mut visit = Some(start);
        loop {
            if let Some(txn) = visit.take()
                && seen.insert(txn)
                && let Some(resource) = waiting.get(&txn)
            {
                path.push((txn, resource.clone(), self.blockers(resource, txn)));
            }
            let (_, _, left) = path.last_mut()?;
            match left.pop() {
                Some(blocker) if blocker == start => {
                    return Some(path.into_iter().map(|(txn, resource, _)| (txn, resource)).collect());
                }
                Some(blocker) => visit = Some(blocker),
                None => {
                    path.pop();
                }
            }
        }
    }

    /// Whom `txn`, in the queue for `resource`, waits for in the end: the holders. Those before it in the queue wait for
    /// nothing but the same lock, so where they lead, this does; a queue of many costs no more than one of few.
    fn blockers(&self, resource: &Resource, txn: TxnId) -> Vec<TxnId> {
        let shard = self.shard(resource).lock();
        let Some(lock) = shard.get(resource) else { return Vec::new() };
        // Who has just begun to wait is at the end.
        let mut before = lock.queue.iter().rev().skip_while(|waiter| waiter.txn != txn);
        let Some(own) = before.next().map(|waiter| waiter.mode) else { return Vec::new() };
        // Who waits for somebody in the queue waits through him for all that he waits for. As a stronger mode conflicts
        // with all that a weaker one does, the strongest of this chain says it all.
        let mode =
            before.fold(own, |mode, waiter| if mode.conflicts(waiter.mode) { mode.max(waiter.mode) } else { mode });
        lock.holders()
            .filter(|holder| holder.txn != txn && mode.conflicts(holder.mode))
            .map(|holder| holder.txn)
            .collect()
    }
}

impl Lock {
    fn held_by(txn: TxnId, mode: LockMode) -> Lock {
        Lock { first: Holder { txn, mode }, others: Vec::new(), queue: VecDeque::new() }
    }

    fn holders(&self) -> impl Iterator<Item = &Holder> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn holder_mut(&mut self, txn: TxnId) -> Option<&mut Holder> {
        std::iter::once(&mut self.first).chain(&mut self.others).find(|holder| holder.txn == txn)
    }

    /// Whether the lock can be had now by one who does not wait.
    fn try_grant(&mut self, txn: TxnId, mode: LockMode) -> Option<Acquired> {
        let alone = self.others.is_empty();
        if let Some(holder) = self.holder_mut(txn) {
            if holder.mode >= mode {
                return Some(Acquired::Held);
            }
            if alone || !self.is_held_against(txn, mode) {
                self.holder_mut(txn)?.mode = mode;
                return Some(Acquired::Held);
            }
            return None;
        }
        // Nobody overtakes one who waits and whom he would keep waiting.
        if self.is_held_against(txn, mode) || self.queue.iter().any(|waiter| waiter.mode.conflicts(mode)) {
            return None;
        }
        self.others.push(Holder { txn, mode });
        Some(Acquired::New)
    }

    /// Whether somebody else holds it in a way that this mode does not go with.
    fn is_held_against(&self, txn: TxnId, mode: LockMode) -> bool {
        self.holders().any(|holder| holder.txn != txn && holder.mode.conflicts(mode))
    }

    /// A holder that wants more stands before all others: they wait for it in any case.
    fn enqueue(&mut self, txn: TxnId, mode: LockMode) -> Arc<Waiter> {
        let upgrade = self.holder_mut(txn).is_some();
        let waiter = Arc::new(Waiter { txn, mode, upgrade, granted: Mutex::new(false), changed: Condvar::new() });
        if upgrade {
            self.queue.push_front(Arc::clone(&waiter));
        } else {
            self.queue.push_back(Arc::clone(&waiter));
        }
        waiter
    }

    /// Takes a holder out and grants to those who can have it now. Says whether nobody is left.
    fn remove_holder(&mut self, txn: TxnId, granted: &mut Vec<Arc<Waiter>>) -> bool {
        if self.first.txn == txn {
            match self.others.pop() {
                Some(other) => self.first = other,
                None => return !self.grant_first(granted),
            }
        } else {
            self.others.retain(|holder| holder.txn != txn);
        }
        self.grant_waiters(granted);
        false
    }

    /// Hands a lock that lost its last holder to the head of the queue. Says whether there was one.
    fn grant_first(&mut self, granted: &mut Vec<Arc<Waiter>>) -> bool {
        let Some(waiter) = self.queue.pop_front() else { return false };
        self.first = Holder { txn: waiter.txn, mode: waiter.mode };
        granted.push(waiter);
        self.grant_waiters(granted);
        true
    }

    /// Grants, in their order, to all who can have it beside the holders and those who wait before them.
    fn grant_waiters(&mut self, granted: &mut Vec<Arc<Waiter>>) {
        let mut still_waiting: Option<LockMode> = None;
        let mut place = 0;
        while let Some(waiter) = self.queue.get(place) {
            let (txn, mode) = (waiter.txn, waiter.mode);
            let overtakes = still_waiting.is_some_and(|before| before.conflicts(mode));
            if overtakes || self.is_held_against(txn, mode) {
                if mode == LockMode::EXCLUSIVE {
                    // Nobody goes with it, so nobody behind it can have a turn.
                    return;
                }
                still_waiting = still_waiting.max(Some(mode));
                place += 1;
                continue;
            }
            match self.holder_mut(txn) {
                Some(holder) => holder.mode = mode,
                None => self.others.push(Holder { txn, mode }),
            }
            granted.extend(self.queue.remove(place));
        }
    }
}

/// Tells those to whom the lock was granted. Not under the shard's mutex: whoever wakes up wants it next, and would push the
/// one who holds it off its core to wait for it.
fn wake(granted: Vec<Arc<Waiter>>) {
    for waiter in granted {
        *waiter.granted.lock() = true;
        waiter.changed.notify_one();
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use driftdb_env::{RealClock, SimClock, Spawner, TaskHandle, ThreadSpawner};

    use super::*;

    fn table() -> Arc<LockTable> {
        Arc::new(LockTable::new(Arc::new(RealClock::new())))
    }

    fn row(key: &'static str) -> Resource {
        Resource::Row(TreeId(100), Bytes::from_static(key.as_bytes()))
    }

    fn request<'a>(txn: u64, resource: Resource, mode: LockMode, cancel: &'a Arc<Cancel>) -> LockRequest<'a> {
        LockRequest { txn: TxnId(txn), resource, mode, wait: true, timeout: None, cancel }
    }

    fn take(locks: &LockTable, txn: u64, key: &'static str, mode: LockMode) -> Result<Acquired, LockFailure> {
        locks.acquire(&request(txn, row(key), mode, &Arc::new(Cancel::new())))
    }

    fn try_take(locks: &LockTable, txn: u64, key: &'static str, mode: LockMode) -> bool {
        let cancel = Arc::new(Cancel::new());
        locks.acquire(&LockRequest { wait: false, ..request(txn, row(key), mode, &cancel) }).is_ok()
    }

    /// Takes a lock on another thread, and tells what came of it.
    fn take_later(
        locks: &Arc<LockTable>,
        txn: u64,
        key: &'static str,
        mode: LockMode,
    ) -> (TaskHandle, mpsc::Receiver<Result<Acquired, LockFailure>>) {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::clone(locks);
        let task = Box::new(move || sender.send(take(&shared, txn, key, mode)).unwrap());
        let handle = ThreadSpawner::new().spawn("locker", task).unwrap();
        while !handle.is_finished() && !locks.waiting.lock().contains_key(&TxnId(txn)) {
            std::thread::yield_now();
        }
        (handle, receiver)
    }

    #[test]
    fn shared_locks_are_shared_and_exclusive_ones_not() {
        let locks = table();
        assert!(matches!(take(&locks, 1, "a", LockMode::SHARED), Ok(Acquired::New)));
        assert!(matches!(take(&locks, 1, "a", LockMode::SHARED), Ok(Acquired::Held)));
        assert!(matches!(take(&locks, 2, "a", LockMode::SHARED), Ok(Acquired::New)));
        assert!(!try_take(&locks, 3, "a", LockMode::EXCLUSIVE));
        assert!(!try_take(&locks, 1, "a", LockMode::EXCLUSIVE));
        locks.release(TxnId(2), &row("a"));
        assert!(matches!(take(&locks, 1, "a", LockMode::EXCLUSIVE), Ok(Acquired::Held)));
        assert!(!try_take(&locks, 2, "a", LockMode::SHARED));
        locks.release(TxnId(1), &row("a"));
        assert_eq!(locks.len(), 0);
    }

    #[test]
    fn waiters_are_served_in_order_and_writers_do_not_starve() {
        let locks = table();
        take(&locks, 1, "a", LockMode::SHARED).unwrap();
        let (writer, written) = take_later(&locks, 2, "a", LockMode::EXCLUSIVE);
        let (reader, read) = take_later(&locks, 3, "a", LockMode::SHARED);
        assert!(read.try_recv().is_err(), "a reader must not overtake the writer that waits");
        locks.release(TxnId(1), &row("a"));
        assert!(matches!(written.recv().unwrap(), Ok(Acquired::New)));
        assert!(read.try_recv().is_err());
        locks.release(TxnId(2), &row("a"));
        assert!(matches!(read.recv().unwrap(), Ok(Acquired::New)));
        writer.join().unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn modes_conflict_as_postgresql_s_do() {
        use LockMode::{KeyShare, NoKeyUpdate, Share, Update};
        let modes = [KeyShare, Share, NoKeyUpdate, Update];
        let table = modes.map(|mode| modes.map(|other| mode.conflicts(other)));
        let expected = [
            [false, false, false, true],
            [false, false, true, true],
            [false, true, true, true],
            [true, true, true, true],
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn who_disturbs_nobody_that_waits_need_not_wait() {
        let locks = table();
        take(&locks, 1, "a", LockMode::NoKeyUpdate).unwrap();
        let (writer, written) = take_later(&locks, 2, "a", LockMode::NoKeyUpdate);
        assert!(try_take(&locks, 3, "a", LockMode::KeyShare), "goes with the holder and with who waits");
        assert!(!try_take(&locks, 4, "a", LockMode::Share));
        locks.release(TxnId(1), &row("a"));
        written.recv().unwrap().unwrap();
        writer.join().unwrap();
    }

    #[test]
    fn a_weakened_lock_lets_others_in() {
        let locks = table();
        take(&locks, 1, "a", LockMode::Update).unwrap();
        let (reader, read) = take_later(&locks, 2, "a", LockMode::Share);
        locks.weaken(TxnId(1), &row("a"), LockMode::Share);
        read.recv().unwrap().unwrap();
        assert!(!try_take(&locks, 3, "a", LockMode::NoKeyUpdate));
        reader.join().unwrap();
    }

    #[test]
    fn an_upgrade_overtakes_who_waits_for_its_holder() {
        let locks = table();
        take(&locks, 1, "a", LockMode::SHARED).unwrap();
        take(&locks, 2, "a", LockMode::SHARED).unwrap();
        let (third, third_has) = take_later(&locks, 3, "a", LockMode::EXCLUSIVE);
        let (upgrade, upgraded) = take_later(&locks, 1, "a", LockMode::EXCLUSIVE);
        locks.release(TxnId(2), &row("a"));
        assert!(matches!(upgraded.recv().unwrap(), Ok(Acquired::Held)));
        assert!(third_has.try_recv().is_err());
        locks.release(TxnId(1), &row("a"));
        third_has.recv().unwrap().unwrap();
        third.join().unwrap();
        upgrade.join().unwrap();
    }

    #[test]
    fn two_upgrades_of_one_lock_are_a_deadlock() {
        let locks = table();
        take(&locks, 1, "a", LockMode::SHARED).unwrap();
        take(&locks, 2, "a", LockMode::SHARED).unwrap();
        let (first, has) = take_later(&locks, 1, "a", LockMode::EXCLUSIVE);
        assert!(matches!(take(&locks, 2, "a", LockMode::EXCLUSIVE), Err(LockFailure::Deadlock(_))));
        locks.release(TxnId(2), &row("a"));
        has.recv().unwrap().unwrap();
        first.join().unwrap();
    }

    #[test]
    fn a_deadlock_of_three_is_found_by_the_last_one_and_named() {
        let locks = table();
        for (txn, key) in [(1, "a"), (2, "b"), (3, "c")] {
            take(&locks, txn, key, LockMode::EXCLUSIVE).unwrap();
        }
        let (first, first_has) = take_later(&locks, 1, "b", LockMode::EXCLUSIVE);
        let (second, second_has) = take_later(&locks, 2, "c", LockMode::EXCLUSIVE);
        let Err(LockFailure::Deadlock(cycle)) = take(&locks, 3, "a", LockMode::EXCLUSIVE) else {
            panic!("no deadlock");
        };
        assert_eq!(cycle, [(TxnId(3), row("a")), (TxnId(1), row("b")), (TxnId(2), row("c"))]);
        locks.release(TxnId(3), &row("c"));
        second_has.recv().unwrap().unwrap();
        locks.release(TxnId(2), &row("b"));
        locks.release(TxnId(2), &row("c"));
        first_has.recv().unwrap().unwrap();
        first.join().unwrap();
        second.join().unwrap();
    }

    #[test]
    fn a_deadlock_through_one_who_waits_before_is_found() {
        let locks = table();
        take(&locks, 1, "a", LockMode::SHARED).unwrap();
        take(&locks, 3, "b", LockMode::EXCLUSIVE).unwrap();
        let (writer, written) = take_later(&locks, 2, "a", LockMode::EXCLUSIVE);
        let (first, first_has) = take_later(&locks, 1, "b", LockMode::EXCLUSIVE);
        // 3 could share "a" with 1, but not overtake 2.
        let Err(LockFailure::Deadlock(cycle)) = take(&locks, 3, "a", LockMode::SHARED) else { panic!("no deadlock") };
        assert_eq!(cycle, [(TxnId(3), row("a")), (TxnId(1), row("b"))]);
        locks.release(TxnId(3), &row("b"));
        first_has.recv().unwrap().unwrap();
        locks.release(TxnId(1), &row("a"));
        written.recv().unwrap().unwrap();
        writer.join().unwrap();
        first.join().unwrap();
    }

    #[test]
    fn a_wait_ends_with_a_cancel_and_leaves_the_queue() {
        let locks = table();
        take(&locks, 1, "a", LockMode::SHARED).unwrap();
        let cancel = Arc::new(Cancel::new());
        let (shared, theirs) = (Arc::clone(&locks), Arc::clone(&cancel));
        let waits = Box::new(move || {
            let failure = shared.acquire(&request(2, row("a"), LockMode::EXCLUSIVE, &theirs));
            assert!(matches!(failure, Err(LockFailure::Cancelled(_))));
        });
        let task = ThreadSpawner::new().spawn("waiter", waits).unwrap();
        while !locks.waiting.lock().contains_key(&TxnId(2)) {
            std::thread::yield_now();
        }
        let (reader, read) = take_later(&locks, 3, "a", LockMode::SHARED);
        cancel.cancel();
        task.join().unwrap();
        read.recv().unwrap().unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let clock = SimClock::new();
        let locks = Arc::new(LockTable::new(Arc::new(clock.clone())));
        take(&locks, 1, "a", LockMode::EXCLUSIVE).unwrap();
        let shared = Arc::clone(&locks);
        let waits = Box::new(move || {
            let cancel = Arc::new(Cancel::new());
            let wanted = request(2, row("a"), LockMode::EXCLUSIVE, &cancel);
            let failure = shared.acquire(&LockRequest { timeout: Some(Duration::from_secs(5)), ..wanted });
            assert!(matches!(failure, Err(LockFailure::TimedOut)));
        });
        let task = ThreadSpawner::new().spawn("waiter", waits).unwrap();
        while !task.is_finished() {
            clock.sleep(Duration::from_secs(1));
        }
        task.join().unwrap();
        locks.release(TxnId(1), &row("a"));
        assert_eq!(locks.len(), 0);
    }

    /// Many threads, few keys, locks taken in any order: everyone gets through or is told of a deadlock, and nothing is
    /// left behind.
    #[test]
    fn a_scramble_comes_to_an_end() {
        let locks = table();
        let (ids, taken) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
        let scramble = |seed: u64| {
            let (locks, ids, taken) = (Arc::clone(&locks), Arc::clone(&ids), Arc::clone(&taken));
            Box::new(move || {
                let mut random = seed;
                let cancel = Arc::new(Cancel::new());
                for _ in 0..300 {
                    let txn = ids.fetch_add(1, Ordering::Relaxed);
                    let mut held = Vec::new();
                    for _ in 0..3 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let key = ["a", "b", "c", "d"][(random >> 33) as usize % 4];
                        let mode = if random >> 60 & 1 == 0 { LockMode::SHARED } else { LockMode::EXCLUSIVE };
                        match locks.acquire(&request(txn, row(key), mode, &cancel)) {
                            Ok(Acquired::New) => held.push(row(key)),
                            Ok(Acquired::Held) => {}
                            Err(LockFailure::Deadlock(_)) => break,
                            Err(failure) => panic!("{failure:?}"),
                        }
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                    for resource in held {
                        locks.release(TxnId(txn), &resource);
                    }
                }
            })
        };
        let spawner = ThreadSpawner::new();
        let tasks: Vec<_> = (0..8).map(|seed| spawner.spawn("scrambler", scramble(seed)).unwrap()).collect();
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(locks.len(), 0);
        assert!(locks.waiting.lock().is_empty());
        assert!(taken.load(Ordering::Relaxed) > 1_000);
    }
}
