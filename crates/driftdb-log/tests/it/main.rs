//! The commit log from outside: on simulated disks that crash, fail, fill up and rot, and on the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod crash;
mod damage;
mod limits;
mod real;
mod roundtrip;

use std::path::Path;
use std::sync::Arc;

use driftdb_env::{Disk, SimDisk};
use driftdb_log::{Log, LogError, LogOptions, RecoveryReport};
use driftdb_types::Lsn;

const DIR: &str = "/db/log";

/// A record and the Lsn of its end.
type Found = Vec<(Lsn, Vec<u8>)>;

fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    segment_bytes: u64,
    from: Lsn,
) -> Result<(Log, RecoveryReport, Found), LogError> {
    let mut found = Vec::new();
    let (log, report) = Log::open(disk, dir, LogOptions { segment_bytes }, from, &mut |lsn, record| {
        found.push((lsn, record.to_vec()));
        Ok(())
    })?;
    assert_eq!(report.records, found.len() as u64);
    assert_eq!(report.end, log.end());
    assert_eq!(report.torn_bytes, report.torn.as_ref().map_or(0, |torn| torn.size_bytes));
    Ok((log, report, found))
}

fn open_sim(disk: &SimDisk, segment_bytes: u64, from: Lsn) -> Result<(Log, RecoveryReport, Found), LogError> {
    open(Arc::new(disk.clone()), Path::new(DIR), segment_bytes, from)
}

fn payloads(found: &Found) -> Vec<&[u8]> {
    found.iter().map(|(_, record)| record.as_slice()).collect()
}
