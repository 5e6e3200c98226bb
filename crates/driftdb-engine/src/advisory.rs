//! Locks on numbers that only the applications know the meaning of (`pg_advisory_lock`).
//!
//! They belong to a session, and so do its transactions' locks of rows: it is one holder in the table of locks, which is
//! never in its own way and is one node of the wait-for graph. A lock that is taken for the session stays, whatever
//! becomes of transactions, until it is given back as often as it was taken; one that is taken for a transaction ends with
//! it. Taken in both modes, a number is locked in the stronger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use driftdb_types::{Result, TxnId};

use crate::budget::Charge;
use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::error::too_many_locks;
use crate::locks::{AdvisoryKey, LockFailure, LockMode, LockRequest, Resource, lock_error};
use crate::sync::Mutex;

/// Whether others may have the same lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisoryMode {
    /// Others may share it.
    Shared,
    /// Nobody else may have it.
    Exclusive,
}

impl AdvisoryMode {
    fn lock_mode(self) -> LockMode {
        match self {
            AdvisoryMode::Shared => LockMode::Share,
            AdvisoryMode::Exclusive => LockMode::EXCLUSIVE,
        }
    }
}

/// How long an advisory lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisoryScope {
    /// Until it is given back, or the session ends.
    Session,
    /// Until the transaction ends, or goes back to a savepoint before it.
    Transaction,
}

/// How to wait for an advisory lock.
#[derive(Clone, Copy, Debug)]
pub struct AdvisoryWait<'a> {
    /// Whether to wait at all.
    pub wait: bool,
    /// For how long at most (`lock_timeout`).
    pub timeout: Option<Duration>,
    /// What ends the wait.
    pub cancel: &'a Arc<Cancel>,
}

type Counts = HashMap<(AdvisoryMode, AdvisoryScope), u32>;

#[derive(Debug)]
struct Held {
    keys: HashMap<AdvisoryKey, Counts>,
    /// What was taken for the transaction, in that order.
    of_transaction: Vec<(AdvisoryKey, AdvisoryMode)>,
    charge: Charge,
}

/// A session's place in the table of locks. Dropping it gives its advisory locks back.
#[derive(Debug)]
pub struct SessionLocks {
    engine: Engine,
    id: TxnId,
    held: Mutex<Held>,
}

impl SessionLocks {
    pub(crate) fn new(engine: Engine) -> SessionLocks {
        let charge = engine.budget().take_anyway(0);
        let held = Held { keys: HashMap::new(), of_transaction: Vec::new(), charge };
        SessionLocks { id: engine.next_txn(), held: Mutex::new(held), engine }
    }

    /// As whom the session and its transactions lock.
    pub(crate) fn id(&self) -> TxnId {
        self.id
    }

    /// Takes a lock, once more if it is held already. `false`: somebody else has it, and the caller does not wait.
    ///
    /// 55P03 after the timeout, 40P01 in a deadlock, 53200 when there are too many locks.
    pub fn lock(
        &self,
        key: AdvisoryKey,
        mode: AdvisoryMode,
        scope: AdvisoryScope,
        how: AdvisoryWait<'_>,
    ) -> Result<bool> {
        let resource = Resource::Advisory(key);
        let strong_enough = self.held.lock().strongest(&key).is_some_and(|held| held >= mode.lock_mode());
        // Only this session's thread takes locks for it, so what it holds is the same after the wait.
        if !strong_enough {
            let AdvisoryWait { wait, timeout, cancel } = how;
            let request =
                LockRequest { txn: self.id, resource: resource.clone(), mode: mode.lock_mode(), wait, timeout, cancel };
            match self.engine.locks().acquire(&request) {
                Ok(_) => {}
                Err(LockFailure::WouldBlock) => return Ok(false),
                Err(failure) => return Err(lock_error(failure, &self.engine.newest_catalog(), "advisory lock")),
            }
        }
        let mut held = self.held.lock();
        let fresh = !held.keys.contains_key(&key);
        *held.keys.entry(key).or_default().entry((mode, scope)).or_default() += 1;
        if scope == AdvisoryScope::Transaction {
            held.of_transaction.push((key, mode));
        }
        if fresh {
            let room = held.charge.add(resource.size_bytes());
            let max = self.engine.options().locks_max;
            let refused = if held.keys.len() > max { Err(too_many_locks("session", max)) } else { room };
            if let Err(error) = refused {
                held.of_transaction.pop_if(|_| scope == AdvisoryScope::Transaction);
                self.give_back(&mut held, key, mode, scope);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Gives a lock of the session back that was taken in this mode. `false`: it was not.
    pub fn unlock(&self, key: AdvisoryKey, mode: AdvisoryMode) -> bool {
        self.give_back(&mut self.held.lock(), key, mode, AdvisoryScope::Session)
    }

    /// Gives all locks of the session back.
    pub fn unlock_all(&self) {
        let mut held = self.held.lock();
        let keys: Vec<AdvisoryKey> = held.keys.keys().copied().collect();
        for key in keys {
            for mode in [AdvisoryMode::Shared, AdvisoryMode::Exclusive] {
                while self.give_back(&mut held, key, mode, AdvisoryScope::Session) {}
            }
        }
    }

    /// How many the transaction has taken: a mark for [`SessionLocks::end_after`].
    pub(crate) fn mark(&self) -> usize {
        self.held.lock().of_transaction.len()
    }

    /// Gives back what the transaction has taken since the mark.
    pub(crate) fn end_after(&self, mark: usize) {
        let mut held = self.held.lock();
        while held.of_transaction.len() > mark {
            let Some((key, mode)) = held.of_transaction.pop() else { return };
            self.give_back(&mut held, key, mode, AdvisoryScope::Transaction);
        }
    }

    fn give_back(&self, held: &mut Held, key: AdvisoryKey, mode: AdvisoryMode, scope: AdvisoryScope) -> bool {
        let before = held.strongest(&key);
        let Some(counts) = held.keys.get_mut(&key) else { return false };
        let Some(count) = counts.get_mut(&(mode, scope)) else { return false };
        *count -= 1;
        if *count == 0 {
            counts.remove(&(mode, scope));
        }
        if counts.is_empty() {
            held.keys.remove(&key);
            held.charge.give_back(Resource::Advisory(key).size_bytes());
        }
        match held.strongest(&key) {
            None => self.engine.locks().release(self.id, &Resource::Advisory(key)),
            Some(after) if before.is_some_and(|before| after < before) => {
                self.engine.locks().weaken(self.id, &Resource::Advisory(key), after);
            }
            Some(_) => {}
        }
        true
    }
}

impl Held {
    fn strongest(&self, key: &AdvisoryKey) -> Option<LockMode> {
        self.keys.get(key)?.keys().map(|(mode, _)| mode.lock_mode()).max()
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.end_after(0);
        self.unlock_all();
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
