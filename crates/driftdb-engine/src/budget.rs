//! The memory of transactions: large statements and their parameters, what they change, what their savepoints hold, and
//! their locks, of all of them together.
//!
//! Whatever takes a part of it owns a [`Charge`], which gives the part back when it goes. So what is shared (by a
//! savepoint, by a reader) counts once, and for as long as anybody has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use driftdb_types::{Error, Result, SqlState};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Budget {
    max_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { max_bytes, used_bytes: AtomicUsize::new(0) })
    }

    /// 53200 when there is not so much left.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Charge> {
        let charge = self.take_anyway(bytes);
        self.check()?;
        Ok(charge)
    }

    /// For what is there in any case; others have so much less.
    pub(crate) fn take_anyway(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: Arc::clone(self), bytes }
    }

    fn check(&self) -> Result<()> {
        if self.used_bytes.load(Ordering::Relaxed) <= self.max_bytes {
            return Ok(());
        }
        let message =
            format!("the statements, changes and locks of all transactions take more than {} bytes", self.max_bytes);
        Err(Error::new(SqlState::OUT_OF_MEMORY, message)
            .hint("Make the changes in several transactions, or try again when others have ended."))
    }

    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// A part of the memory of transactions, given back when this goes.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Takes more, for something that is there already. 53200 when that is too much, but it counts all the same.
    pub fn add(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.budget.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.check()
    }

    /// Gives a part back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}
