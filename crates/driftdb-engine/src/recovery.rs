//! Recovery: base and history hold everything up to the checkpoint, and the commit log the rest. It is read from the
//! checkpoint's position on and applied as it was the first time. The store flushes in the background meanwhile, so a
//! log longer than memory is no obstacle.

use std::path::Path;
use std::sync::Arc;

use driftdb_env::Env;
use driftdb_log::Log;
use driftdb_store::{CommitBatch, Store, Write};
use driftdb_types::{Error, Lsn, Result, SqlState, TreeId};

use crate::catalog::{KnownTrees, decode_change};
use crate::chain;
use crate::commits::{self, commit_key, entry_digest};
use crate::error::log_error;
use crate::options::EngineOptions;
use crate::record::{DecodedRecord, decode_record};

/// After how many replayed commits, or bytes of them, the store's view is renewed, and the memtable sealed if it is full.
const REPLAY_PUBLISH_EVERY: u64 = 1_024;
const REPLAY_PUBLISH_BYTES: usize = 4 << 20;

/// What was found when the directory was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many commits were read from the log.
    pub commits: u64,
    /// How many bytes of an unfinished commit (never acknowledged) were cut from the end of the log.
    pub torn_bytes: u64,
}

/// Applies the commits of the log that come after the checkpoint.
pub(crate) fn replay(
    env: &Env,
    dir: &Path,
    options: &EngineOptions,
    store: &Store,
    known: &KnownTrees,
) -> Result<(Log, Recovery)> {
    let checkpoint = store.checkpoint();
    let mut last = checkpoint.stamp;
    let mut last_digest = commits::digest(&store.view(), last.seq)?.unwrap_or_default();
    let mut commits = 0_u64;
    let mut unpublished_bytes = 0;
    let publish_bytes = REPLAY_PUBLISH_BYTES.min(options.store.memtable_bytes);
    let mut apply = |end: Lsn, record: &[u8]| -> Result<()> {
        unpublished_bytes += record.len();
        let DecodedRecord { commit, entry, mut writes } = decode_record(record)?;
        let stamp = commit.stamp;
        if stamp.seq <= checkpoint.stamp.seq {
            return Ok(());
        }
        if stamp.seq != last.seq.next() || stamp.time_us <= last.time_us || commit.previous != last_digest {
            let message = format!("commit {} in the log does not follow commit {}", stamp.seq, last.seq);
            return Err(Error::new(SqlState::DATA_CORRUPTED, message));
        }
        for write in writes.iter().filter(|write| write.tree == TreeId::CATALOG) {
            if let (_, Some(schema)) = decode_change(&write.key, write.payload.as_deref())? {
                known.learn(&schema);
            }
        }
        if chain::contents(&writes, |tree| known.owner(tree)) != commit.contents {
            let message = format!("commit {} in the log does not do what its digests say", stamp.seq);
            return Err(Error::new(SqlState::DATA_CORRUPTED, message));
        }
        last_digest = entry_digest(&entry);
        writes.push(Write { tree: TreeId::COMMITS, key: commit_key(stamp.seq), payload: Some(entry) });
        if options.background {
            store.wait_for_room(options.room_timeout)?;
        }
        store.apply(&CommitBatch { stamp, end_lsn: end, writes: &writes });
        last = stamp;
        commits += 1;
        if commits.is_multiple_of(REPLAY_PUBLISH_EVERY) || unpublished_bytes >= publish_bytes {
            store.publish();
            unpublished_bytes = 0;
        }
        Ok(())
    };
    let mut refused: Option<Error> = None;
    let opened = Log::open(Arc::clone(&env.disk), dir, options.log, checkpoint.lsn, &mut |end, record| {
        apply(end, record).map_err(|error| {
            refused = Some(error.clone());
            error.into()
        })
    });
    // What was wrong with applying a commit (a full disk, say) is not the log's fault.
    let (log, report) = opened.map_err(|error| refused.unwrap_or_else(|| log_error(&error)))?;
    store.publish();
    let recovery = Recovery { commits, torn_bytes: report.torn_bytes };
    if recovery != Recovery::default() {
        tracing::info!(commits, torn_bytes = recovery.torn_bytes, stamp = %last.seq, "recovered from the commit log");
    }
    Ok((log, recovery))
}
