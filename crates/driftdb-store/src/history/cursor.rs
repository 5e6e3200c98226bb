//! Walking over the versions of one segment.
//!
//! What to read at all is decided by the least and greatest key, from and to: of the row groups, as the footer says, and of their
//! pages, as the page index says, which is read when the walk comes to the row group; for one key the bloom filter too.
//! Neighbouring pages make up windows, bounded in rows and in bytes; a window is read when the walk comes to it, and of its rows
//! only those that belong to the answer are put together.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use driftdb_types::KeyRange;

use super::cache::SegmentCache;
use super::manifest::Segment;
use super::pages::{Window, windows};
use super::segment::{Group, OpenSegment};
use super::writer::PAGE_ROWS;
use crate::{Period, Result, Version};

/// A window of a scan has at most this many rows.
const WINDOW_ROWS: usize = 4 * PAGE_ROWS;
/// A walk over no more row groups and pages than this reads them through the cache.
const CACHED_GROUPS: usize = 2;
const CACHED_PAGES: usize = 4;

/// The versions of a segment within a range of keys that belong to a period, in the order of (key, from), or against it.
pub(crate) struct HistoryCursor {
    cache: Arc<SegmentCache>,
    number: u64,
    segment: Arc<OpenSegment>,
    range: KeyRange,
    period: Period,
    reverse: bool,
    cached: bool,
    /// The row groups to come, and what is left of the one it is in.
    groups: VecDeque<usize>,
    windows: VecDeque<(Arc<Group>, Window)>,
    ready: VecDeque<Version>,
}

impl HistoryCursor {
    pub(crate) fn new(
        cache: &Arc<SegmentCache>,
        segment: &Segment,
        range: &KeyRange,
        period: Period,
        reverse: bool,
    ) -> Result<HistoryCursor> {
        let open = cache.open(segment)?;
        let groups: VecDeque<usize> = open.groups(range, period).collect();
        let mut cursor = HistoryCursor {
            cache: Arc::clone(cache),
            number: segment.meta.number,
            segment: open,
            range: range.clone(),
            period,
            reverse,
            cached: groups.len() <= CACHED_GROUPS,
            groups,
            windows: VecDeque::new(),
            ready: VecDeque::new(),
        };
        if cursor.cached {
            cursor.find_few()?;
        }
        Ok(cursor)
    }

    /// Finds the pages of all row groups, which are few. If the pages are few as well, each is a window of its own: the cache keeps
    /// pages, so that different walks find the same.
    fn find_few(&mut self) -> Result<()> {
        let mut found = Vec::new();
        for number in std::mem::take(&mut self.groups) {
            let group = self.cache.group(self.number, &self.segment, number)?;
            let pages = self.pages(&group)?;
            found.push((group, pages));
        }
        self.cached = found.iter().map(|(_, pages)| pages.len()).sum::<usize>() <= CACHED_PAGES;
        let rows_max = if self.cached { 0 } else { WINDOW_ROWS };
        for (group, pages) in found {
            self.windows.extend(windows(pages, rows_max).into_iter().map(|window| (Arc::clone(&group), window)));
        }
        Ok(())
    }

    /// The pages of a row group that may hold what is asked for.
    fn pages(&self, group: &Group) -> Result<Vec<Window>> {
        let pages: Vec<Window> = group.pages(&self.range, self.period).collect();
        if let (Bound::Included(start), Bound::Included(end)) = self.range.bounds()
            && start == end
            && !pages.is_empty()
            && !self.segment.may_hold(group, start)?
        {
            return Ok(Vec::new());
        }
        Ok(pages)
    }

    /// The next window, with its row group.
    fn next_window(&mut self) -> Result<Option<(Arc<Group>, Window)>> {
        loop {
            let window = if self.reverse { self.windows.pop_back() } else { self.windows.pop_front() };
            if window.is_some() {
                return Ok(window);
            }
            let number = if self.reverse { self.groups.pop_back() } else { self.groups.pop_front() };
            let Some(number) = number else { return Ok(None) };
            let group = Arc::new(self.segment.group(number)?);
            let pages = self.pages(&group)?;
            self.windows = windows(pages, WINDOW_ROWS).into_iter().map(|window| (Arc::clone(&group), window)).collect();
        }
    }

    /// Reads on until the next version is there, or the end.
    pub(crate) fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() {
            let Some((group, window)) = self.next_window()? else { return Ok(()) };
            let batches = if self.cached {
                self.cache.read(self.number, &self.segment, &group, &window)?
            } else {
                self.segment.read(&group, &window)?.into()
            };
            let mut versions = Vec::new();
            for batch in batches.iter() {
                let admits = |from, to| self.period.admits(from, Some(to));
                versions.append(&mut self.segment.select(batch, &self.range, admits)?);
            }
            if self.reverse {
                versions.reverse();
            }
            self.ready = versions.into();
        }
        Ok(())
    }

    /// The next version; [`HistoryCursor::fill`] comes first.
    pub(crate) fn head(&self) -> Option<&Version> {
        self.ready.front()
    }

    /// Takes the next version, if it is of this key.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Version> {
        if self.head()?.key == key { self.pop() } else { None }
    }

    /// How many versions are left. Takes them.
    pub(crate) fn count(mut self) -> Result<u64> {
        let mut count = 0;
        loop {
            self.fill()?;
            if self.ready.is_empty() {
                return Ok(count);
            }
            count += std::mem::take(&mut self.ready).len() as u64;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Version> {
        self.ready.pop_front()
    }
}
