//! After a write of the base: what it committed becomes what new views are made of; what failed writes left is found out,
//! and cleaned up.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Shared, Writing};
use crate::base::{BaseSnapshot, Committed};
use crate::history::{Manifest, Segment, SegmentMeta};
use crate::{Result, StoreError};

impl Shared {
    /// After a write of the base: installs what it committed, or notes that it failed, with the files it had begun.
    pub(super) fn finish_write(&self, writing: &mut Writing, result: Result<()>, files: Vec<PathBuf>) -> Result<()> {
        let result = result.and_then(|()| self.install(writing, self.base.committed()?));
        if let Err(error) = &result {
            if matches!(error, StoreError::Sync { .. }) {
                self.base.note_sync_failure(error);
            }
            writing.unsettled = true;
            writing.undecided.extend(files);
        }
        result
    }

    /// Finds out what failed writes left, and cleans up after them.
    pub(super) fn settle(&self, writing: &mut Writing) -> Result<()> {
        if !writing.unsettled {
            return Ok(());
        }
        self.base.check_synced()?;
        self.base.recover_from_failure(None)?;
        let committed = self.base.committed()?;
        let known = {
            let state = self.state.lock();
            let numbers: HashSet<u64> = state.base.manifest.segments().map(|segment| segment.meta.number).collect();
            (state.base.checkpoint, numbers)
        };
        let found: HashSet<u64> = committed.segments.iter().map(|segment| segment.number).collect();
        let live: HashSet<String> = committed.segments.iter().map(SegmentMeta::file_name).collect();
        if known != (committed.checkpoint, found) {
            // The commit that reported an error did happen, as this process sees the file. Before anything is built on it
            // it has to be durable: another commit, whose sync succeeds, makes it so.
            let write = self.base.begin_write()?;
            write.set_checkpoint(&committed.checkpoint)?;
            write.commit()?;
            self.install(writing, committed)?;
        }
        for path in std::mem::take(&mut writing.undecided) {
            let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| live.contains(name));
            if !named
                && let Err(error) = self.env.disk.remove(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove the file of a failed write");
                writing.undecided.push(path);
            }
        }
        writing.unsettled = false;
        Ok(())
    }

    /// Makes what the base holds now what new views are made of.
    fn install(&self, writing: &mut Writing, committed: Committed) -> Result<()> {
        let (old_manifest, old_checkpoint, old_rows) = {
            let state = self.state.lock();
            (state.base.manifest.clone(), state.base.checkpoint, Arc::clone(&state.base.rows))
        };
        let rows =
            if committed.checkpoint == old_checkpoint { old_rows } else { self.base.rows(committed.checkpoint)? };
        let known: HashMap<u64, &Arc<Segment>> =
            old_manifest.segments().map(|segment| (segment.meta.number, segment)).collect();
        let segments = committed.segments.into_iter().map(|meta| match known.get(&meta.number) {
            Some(segment) => Arc::clone(segment),
            None => Arc::new(Segment::new(meta, &self.history_dir)),
        });
        let manifest = Manifest::new(segments);
        let live: HashSet<u64> = manifest.segments().map(|segment| segment.meta.number).collect();
        writing
            .obsolete
            .extend(old_manifest.segments().filter(|segment| !live.contains(&segment.meta.number)).cloned());
        drop(old_manifest);
        {
            let mut state = self.state.lock();
            state.sealed.retain(|table| {
                let waits = table.last() > committed.checkpoint.stamp;
                if !waits {
                    table.count_as_held(&self.held_bytes);
                }
                waits
            });
            if committed.checkpoint != old_checkpoint {
                state.occasions += 1;
            }
            state.base = BaseSnapshot { checkpoint: committed.checkpoint, manifest, rows };
            let view = state.view(&self.cache, &self.readers);
            self.view.store(view);
        }
        self.move_old_views();
        self.reap(writing);
        Ok(())
    }

    /// Removes the files that became nobody's when a view went. A flush or compaction under way does so itself.
    pub(super) fn reap_meanwhile(&self) {
        if let Some(mut writing) = self.writing.try_lock() {
            self.reap(&mut writing);
        }
    }

    /// Removes the files of obsolete segments that no view reads any more.
    pub(super) fn reap(&self, writing: &mut Writing) {
        writing.obsolete.retain(|segment| {
            // Nobody can take a new reference: the manifest of new views does not have it.
            if Arc::strong_count(segment) > 1 {
                return true;
            }
            self.cache.forget(segment.meta.number);
            match self.env.disk.remove(&segment.path) {
                Ok(()) => false,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
                Err(error) => {
                    tracing::warn!(path = %segment.path.display(), %error, "cannot remove an obsolete history segment");
                    true
                }
            }
        });
    }
}
