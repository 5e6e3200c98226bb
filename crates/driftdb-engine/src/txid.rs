//! Names for transactions, so that a client whose connection broke at COMMIT can ask what became of it.
//!
//! A name says after which commit the transaction's own has to be looked for, and a random number that no other has. It
//! is kept with the commit of a transaction that asked for its name. What is not found among the commits, and is not under
//! way, has not committed and never will.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use driftdb_types::{CommitSeq, Error, Result, SqlState};
use parking_lot::Mutex;

use crate::engine::Engine;

/// A transaction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Txid {
    /// Its commit comes after this one.
    after: CommitSeq,
    number: u64,
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.after, self.number)
    }
}

impl FromStr for Txid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Txid> {
        let parts = text.split_once('-').filter(|(_, number)| number.len() == 16);
        let txid = parts.and_then(|(after, number)| {
            Some(Txid { after: CommitSeq(after.parse().ok()?), number: u64::from_str_radix(number, 16).ok()? })
        });
        txid.ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("\"{text}\" is no transaction's name"))
                .hint("driftdb_txid_current() gives a transaction's name.")
        })
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxidStatus {
    /// It is under way.
    InProgress,
    /// It committed, and is durable.
    Committed,
    /// It did not commit, and never will; or it had nothing to commit.
    Aborted,
}

/// The transactions under way that have a name.
#[derive(Debug, Default)]
pub(crate) struct NamedTransactions {
    numbers: Mutex<HashSet<u64>>,
}

/// The name of a session's transaction, given to it when it asks.
#[derive(Debug)]
pub struct SessionTxid {
    engine: Engine,
    current: Mutex<Option<Txid>>,
}

impl SessionTxid {
    pub(crate) fn new(engine: Engine) -> SessionTxid {
        SessionTxid { engine, current: Mutex::new(None) }
    }

    /// The transaction's name, and from now on it has one.
    pub fn current(&self) -> Txid {
        *self.current.lock().get_or_insert_with(|| {
            let number = self.engine.env().rand.next_u64();
            self.engine.named_transactions().numbers.lock().insert(number);
            Txid { after: self.engine.stamp().seq, number }
        })
    }

    /// What is to be kept with the commit, if the transaction has a name.
    pub fn to_keep(&self) -> Option<u64> {
        self.current.lock().map(|txid| txid.number)
    }

    /// The transaction has ended.
    pub fn end(&self) {
        if let Some(txid) = self.current.lock().take() {
            self.engine.named_transactions().numbers.lock().remove(&txid.number);
        }
    }

    /// What became of a transaction; `None` where a failure of the disk leaves that open until the next start.
    pub fn status(&self, txid: Txid) -> Result<Option<TxidStatus>> {
        let engine = &self.engine;
        if engine.named_transactions().numbers.lock().contains(&txid.number) {
            return Ok(Some(TxidStatus::InProgress));
        }
        // Taken after the look above: one that has ended since then is in this view.
        let view = engine.view();
        for commit in engine.commits(&view, txid.after.next()..=view.stamp().seq, false)? {
            if commit?.meta.txid == Some(txid.number) {
                return Ok(Some(TxidStatus::Committed));
            }
        }
        Ok(engine.read_only_reason().is_none().then_some(TxidStatus::Aborted))
    }
}

impl Drop for SessionTxid {
    fn drop(&mut self) {
        self.end();
    }
}
