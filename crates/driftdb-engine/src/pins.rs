//! Pins: named holds on history. Everything as of a pin's commit, and all that came later, can be read until the pin is dropped
//! or has come to its end, whatever the tables' retention says.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::{ReadPoint, StoreView, Version};
use driftdb_types::{CommitSeq, Error, KeyRange, Result, SqlState, Stamp, TreeId};
use serde::{Deserialize, Serialize};

use crate::commits;
use crate::reader::RowVersion;
use crate::transaction::Transaction;

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// The commit it keeps.
    pub stamp: Stamp,
    /// When it ends to hold (microseconds since 1970 UTC); `None`: when it is dropped.
    pub until_us: Option<i64>,
    /// The commit that made it; `None`: the transaction that reads it.
    pub made: Option<Stamp>,
}

/// What is stored of a pin, as JSON.
#[derive(Serialize, Deserialize)]
struct StoredPin {
    stamp: Stamp,
    until_us: Option<i64>,
}

impl Pin {
    fn decode(key: &[u8], payload: &[u8], made: Option<Stamp>) -> Result<Pin> {
        let name = String::from_utf8_lossy(key).into_owned();
        let stored: StoredPin = serde_json::from_slice(payload)
            .map_err(|error| Error::new(SqlState::DATA_CORRUPTED, format!("pin \"{name}\" cannot be read: {error}")))?;
        Ok(Pin { name, stamp: stored.stamp, until_us: stored.until_us, made })
    }

    /// The pin of an entry of [`TreeId::PINS`], as a transaction sees it.
    pub fn of_entry(entry: &RowVersion) -> Result<Pin> {
        Pin::decode(&entry.key, &entry.payload, entry.from)
    }

    /// The same as of a commit.
    pub fn of_version(version: &Version) -> Result<Pin> {
        Pin::decode(&version.key, &version.payload, Some(version.from))
    }
}

/// The pin that keeps the most at a time.
pub(crate) fn lowest_pin(view: &Arc<StoreView>, now_us: i64) -> Result<Option<Pin>> {
    let mut lowest: Option<Pin> = None;
    for version in view.scan(TreeId::PINS, &KeyRange::all(), ReadPoint::Latest, false)? {
        let pin = Pin::of_version(&version?)?;
        let holds = pin.until_us.is_none_or(|until_us| now_us < until_us);
        if holds && lowest.as_ref().is_none_or(|lowest| pin.stamp < lowest.stamp) {
            lowest = Some(pin);
        }
    }
    Ok(lowest)
}

impl Transaction {
    /// Makes a pin of everything as of a visible commit. 42710 when there is one of that name; TT001 when some table cannot be
    /// read there any more; 22023 before the first commit.
    pub fn create_pin(&mut self, name: &str, seq: CommitSeq, until_us: Option<i64>) -> Result<()> {
        self.check_writable()?;
        let key = self.lock_pin(name)?;
        if self.newest_pin(&key)?.is_some() {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("pin \"{name}\" already exists")));
        }
        // From here on no horizon passes it: first by this, and then because the pin is visible.
        let hold = self.engine.store().hold(seq);
        let view = self.engine.view();
        let record = commits::commit_record(&view, seq)?
            .ok_or_else(|| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("there is no commit {seq} to pin")))?;
        for table in self.engine.catalog().tables() {
            self.engine.check_horizon(&view, table, seq)?;
        }
        let stored = serde_json::to_vec(&StoredPin { stamp: record.stamp, until_us });
        let stored = stored.map_err(|error| Error::internal(error.to_string()))?;
        self.put(TreeId::PINS, key, None, Some(stored.into()))?;
        self.hold_until_end(hold);
        Ok(())
    }

    /// Drops a pin. Whether there was one.
    pub fn drop_pin(&mut self, name: &str) -> Result<bool> {
        self.check_writable()?;
        let key = self.lock_pin(name)?;
        let Some(before) = self.newest_pin(&key)? else { return Ok(false) };
        self.put(TreeId::PINS, key, Some(before), None)?;
        Ok(true)
    }

    fn newest_pin(&self, key: &Bytes) -> Result<Option<Bytes>> {
        self.newest(&self.engine.view(), TreeId::PINS, key)
    }

    fn lock_pin(&mut self, name: &str) -> Result<Bytes> {
        let key = Bytes::copy_from_slice(name.as_bytes());
        self.lock_key(TreeId::PINS, TreeId::PINS, &key)?;
        Ok(key)
    }
}
