//! Erasing: versions go from every file, at once, and not because nobody can ask for them any more.
//!
//! The history segments that hold some of them are written anew without them, and so is the base, in whose free pages there
//! may be what once was current. The new base names the new segments: until it takes the old one's name nothing has happened, and
//! from then on nobody finds what was erased. What of it is in old files goes with their last reader.

use std::sync::atomic::Ordering;

use driftdb_types::{CommitSeq, KeyRange, TreeId};

use super::{Shared, Store};
use crate::base::Rewrite;
use crate::compaction::Job;
use crate::history::{HistoryCursor, Segment, segment_file_name};
use crate::{ErasedWrite, Period, Result, Version};

/// What is to be erased. All of it is in base or history.
pub struct Erasure<'e> {
    /// Of these trees.
    pub trees: &'e [TreeId],
    /// Whether a closed version goes. No current one does.
    pub goes: &'e dyn Fn(TreeId, &Version) -> bool,
    /// What is kept of the writes that made what goes.
    pub erased: &'e [ErasedWrite],
    /// What [`Store::erasing`] gives from then on, until [`Store::finish_erasing`].
    pub erasing: &'e str,
}

impl Store {
    /// The least stamp of the views that are there.
    pub fn oldest_view(&self) -> CommitSeq {
        self.shared.state.lock().views.oldest().unwrap_or(CommitSeq::MAX)
    }

    /// Erases: no file that the store reads has any of it when this returns. After an error nothing is erased, unless the next
    /// opening finds that it was.
    pub fn erase(&self, erasure: &Erasure<'_>) -> Result<()> {
        let shared = &self.shared;
        let _compacting = shared.compacting.lock();
        shared.base.check_open()?;
        let manifest = shared.state.lock().base.manifest.clone();
        let mut files = Vec::new();
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let mut rewrite = || -> Result<()> {
            for tree in erasure.trees {
                for segment in manifest.of(*tree) {
                    if !shared.has_any(segment, erasure.goes)? {
                        continue;
                    }
                    let number = shared.new_segment();
                    files.push(shared.history_dir.join(segment_file_name(*tree, number)));
                    let job = Job::of_one(segment, shared.schemas.horizon(*tree));
                    added.extend(shared.merge(&job, number, &|version| (erasure.goes)(*tree, version))?);
                    removed.push(segment.meta.number);
                }
            }
            Ok(())
        };
        let rewritten = rewrite();
        drop(manifest);
        let mut writing = shared.writing.lock();
        let result = rewritten.and_then(|()| {
            shared.settle(&mut writing)?;
            shared.base.rewrite(&Rewrite {
                removed: &removed,
                added: &added,
                next_segment: shared.next_segment.load(Ordering::Acquire),
                erased: erasure.erased,
                erasing: erasure.erasing,
            })
        });
        let result = shared.finish_write(&mut writing, result, files);
        if result.is_err() {
            if let Err(error) = shared.settle(&mut writing) {
                tracing::warn!(%error, "the failed erasure is not settled yet");
            }
            return result;
        }
        shared.move_all_views();
        shared.reap(&mut writing);
        Ok(())
    }

    /// What the erasure said that is done and not yet finished, if there is one.
    pub fn erasing(&self) -> Result<Option<String>> {
        self.shared.base.erasing()
    }

    /// Forgets that there was an erasure to finish.
    pub fn finish_erasing(&self) -> Result<()> {
        let mut writing = self.shared.writing.lock();
        let result = self.shared.settle(&mut writing).and_then(|()| {
            let write = self.shared.base.begin_write()?;
            write.end_erasing()?;
            write.commit()
        });
        self.shared.finish_write(&mut writing, result, Vec::new())
    }

    /// What is kept of erased writes of a tree, in the order of commit and place.
    pub fn erased_writes(&self, tree: TreeId) -> Result<Vec<ErasedWrite>> {
        self.shared.base.erased(tree)
    }

    /// Whether files of segments that were replaced are still there, because somebody reads them.
    pub fn has_obsolete_files(&self) -> bool {
        let mut writing = self.shared.writing.lock();
        self.shared.reap(&mut writing);
        !writing.obsolete.is_empty()
    }
}

impl Shared {
    fn has_any(&self, segment: &Segment, goes: &dyn Fn(TreeId, &Version) -> bool) -> Result<bool> {
        let mut cursor = HistoryCursor::new(&self.cache, segment, &KeyRange::all(), Period::All, false)?;
        loop {
            cursor.fill()?;
            match cursor.pop() {
                Some(version) if goes(segment.meta.tree, &version) => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
    }

    /// Has every view read the newest layers.
    fn move_all_views(&self) {
        let newest = self.view.load_full();
        let views = self.state.lock().views.all();
        for view in views.iter().filter(|view| view.stamp() <= newest.stamp()) {
            view.move_to(&newest.layers());
        }
    }
}
