//! Walks over the versions of base and history in the order of keys, which look at each as it passes. What cannot be read
//! is reported, and ends its walk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use driftdb_types::{KeyRange, Stamp, TreeId};

use super::Check;
use crate::base::{self, Committed};
use crate::history::{Bounds, Group, OpenSegment, Segment, SegmentMeta, Window};
use crate::{Period, StoreError, TreeSchema, Version};

/// Rows of a segment that are read at a time, if they are not large.
const WINDOW_ROWS: usize = 8192;

/// Over the versions of one history segment.
pub(super) struct SegmentWalk<'c> {
    path: PathBuf,
    open: OpenSegment,
    committed: &'c Committed,
    /// The row groups to come, and what is left of the one it is in.
    groups: VecDeque<usize>,
    group: Option<Group>,
    windows: VecDeque<Window>,
    ready: VecDeque<Version>,
    /// The place of the last version, and what there was until there.
    last: Option<(Bytes, Stamp)>,
    seen: SegmentMeta,
    /// What the manifest says there is, until that was compared.
    promised: Option<SegmentMeta>,
}

impl<'c> SegmentWalk<'c> {
    /// Looks at the file as a whole, and goes to its first version.
    pub(super) fn begin(check: &mut Check, segment: Segment, committed: &'c Committed) -> Option<SegmentWalk<'c>> {
        let (path, meta) = (segment.path.as_path(), &segment.meta);
        if meta.number >= committed.next_segment {
            check.found(path, format!("its number {} is still to be given", meta.number));
        }
        match segment.verify_digest(&check.disk) {
            Ok(()) => {}
            // What can still be read of it says more.
            Err(error @ StoreError::Damaged { .. }) => check.report(error.into()),
            Err(error) => {
                check.report(error.into());
                return None;
            }
        }
        let open = match check.survive(path, |check| OpenSegment::open(&check.disk, path, None))? {
            Ok(open) => open,
            Err(error) => {
                check.report(error.into());
                return None;
            }
        };
        let mut walk = SegmentWalk {
            groups: open.groups(&KeyRange::all(), Period::All).collect(),
            group: None,
            windows: VecDeque::new(),
            open,
            committed,
            ready: VecDeque::new(),
            last: None,
            seen: SegmentMeta { rows: 0, bounds: Bounds::NONE, ..meta.clone() },
            promised: Some(segment.meta),
            path: segment.path,
        };
        walk.fill(check);
        Some(walk)
    }

    pub(super) fn head(&self) -> Option<&Version> {
        self.ready.front()
    }

    /// Takes the version and goes on to the next.
    pub(super) fn pop(&mut self, check: &mut Check) -> Option<Version> {
        let version = self.ready.pop_front();
        self.fill(check);
        version
    }

    fn fill(&mut self, check: &mut Check) {
        while self.ready.is_empty() {
            if self.windows.is_empty() && self.groups.is_empty() {
                if let Some(promised) = self.promised.take_if(|promised| *promised != self.seen) {
                    let what = format!("the manifest says {promised:?}, and in it are {:?}", self.seen);
                    check.found(&self.path, what);
                }
                return;
            }
            let path = self.path.clone();
            match check.survive(&path, |_| self.read_on()) {
                Some(Ok(versions)) => self.ready = versions,
                failed => {
                    self.windows.clear();
                    self.groups.clear();
                    self.promised = None;
                    if let Some(Err(error)) = failed {
                        check.report(error.into());
                    }
                }
            }
            for place in 0..self.ready.len() {
                self.look_at(check, place);
            }
        }
    }

    /// The versions of the next window.
    fn read_on(&mut self) -> Result<VecDeque<Version>, StoreError> {
        if self.windows.is_empty()
            && let Some(number) = self.groups.pop_front()
        {
            self.windows = self.group.insert(self.open.group(number)?).windows(WINDOW_ROWS);
        }
        let mut versions = VecDeque::new();
        let Some((group, window)) = self.group.as_ref().zip(self.windows.pop_front()) else { return Ok(versions) };
        for batch in self.open.read(group, &window)? {
            versions.extend(self.open.select(&batch, &KeyRange::all(), |_, _| true)?);
        }
        Ok(versions)
    }

    fn look_at(&mut self, check: &mut Check, place: usize) {
        let Some(version @ Version { from, to: Some(to), .. }) = self.ready.get(place) else { return };
        let (path, key): (_, &[u8]) = (&self.path, &version.key);
        let at = (version.key.clone(), *from);
        if self.last.as_ref().is_some_and(|last| *last >= at) {
            check.found(path, format!("the versions of key {key:02x?} are out of order"));
        }
        if from >= to {
            check.found(path, format!("a version of key {key:02x?} ends before it begins"));
        }
        if to.seq > self.committed.checkpoint.stamp.seq {
            check.found(path, format!("a version of key {key:02x?} ends after the checkpoint"));
        }
        if let Some(table) = self.open.table() {
            check.check_row(path, table, key, &version.payload);
        }
        if self.seen.rows == 0 {
            self.seen.bounds.key_min = key.to_vec();
        }
        self.seen.rows += 1;
        self.seen.bounds.key_max = key.to_vec();
        self.seen.bounds.add_period(from.seq, to.seq);
        self.last = Some(at);
    }
}

/// A row of the base.
pub(super) struct Row {
    pub(super) tree: TreeId,
    pub(super) key: Bytes,
    pub(super) from: Stamp,
}

type Rows<'r> = redb::Range<'r, &'static [u8], &'static [u8]>;

/// Over the rows of the base, tree by tree.
pub(super) struct BaseWalk<'r> {
    path: &'r Path,
    rows: Rows<'r>,
    committed: &'r Committed,
    head: Option<Row>,
}

impl<'r> BaseWalk<'r> {
    /// Goes to the first row.
    pub(super) fn begin(check: &mut Check, path: &'r Path, rows: Rows<'r>, committed: &'r Committed) -> BaseWalk<'r> {
        let mut walk = BaseWalk { path, rows, committed, head: None };
        walk.pop(check);
        walk
    }

    pub(super) fn head(&self) -> Option<&Row> {
        self.head.as_ref()
    }

    /// The tree that it has come to.
    pub(super) fn tree(&self) -> Option<TreeId> {
        self.head.as_ref().map(|row| row.tree)
    }

    /// Takes the row and goes on to the next.
    pub(super) fn pop(&mut self, check: &mut Check) -> Option<Row> {
        let row = self.head.take();
        while self.head.is_none()
            && let Some(entry) = self.rows.next()
        {
            match entry {
                Ok((key, value)) => self.head = self.look_at(check, key.value(), value.value()),
                Err(error) => {
                    check.report(base::redb_error(self.path, error).into());
                    break;
                }
            }
        }
        row
    }

    fn look_at(&self, check: &mut Check, full: &[u8], value: &[u8]) -> Option<Row> {
        let Some(((tree, key), (from, payload))) = base::decode_key(full).zip(base::decode_value(value)) else {
            check.found(self.path, format!("the entry of key {full:02x?} is too short"));
            return None;
        };
        if from.seq > self.committed.checkpoint.stamp.seq {
            check.found(self.path, format!("the row of key {key:02x?} of tree {tree} is later than the checkpoint"));
        }
        if let Some(TreeSchema::Rows(table)) = check.schemas.tree_schema(tree) {
            check.check_row(self.path, &table, key, payload);
        }
        Some(Row { tree, key: Bytes::copy_from_slice(key), from })
    }
}
