//! Walking over the versions of one segment.
//!
//! First it is decided what to read at all: row groups by the bloom filter (for one key), pages by the page index's
//! least and greatest key, from and to. Neighbouring pages make up windows, bounded in rows and in bytes; a window is read
//! when the walk comes to it, and of its rows only those that belong to the answer are put together.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use driftdb_types::KeyRange;

use super::cache::SegmentCache;
use super::manifest::Segment;
use super::pages::{Window, windows};
use super::segment::OpenSegment;
use super::writer::PAGE_ROWS;
use crate::{Period, Result, Version};

/// A window of a scan has at most this many rows.
const WINDOW_ROWS: usize = 4 * PAGE_ROWS;
/// A walk over no more pages than this reads them through the cache.
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
    windows: VecDeque<Window>,
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
        let pages = pages(&open, range, period)?;
        let cached = pages.len() <= CACHED_PAGES;
        // The cache keeps pages, so that different walks find the same.
        let windows = windows(pages, if cached { 0 } else { WINDOW_ROWS });
        Ok(HistoryCursor {
            cache: Arc::clone(cache),
            number: segment.meta.number,
            segment: open,
            range: range.clone(),
            period,
            reverse,
            cached,
            windows,
            ready: VecDeque::new(),
        })
    }

    /// Reads on until the next version is there, or the end.
    pub(crate) fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() {
            let window = if self.reverse { self.windows.pop_back() } else { self.windows.pop_front() };
            let Some(window) = window else { return Ok(()) };
            let batches = if self.cached {
                self.cache.read(self.number, &self.segment, &window)?
            } else {
                self.segment.read(&window)?.into()
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

/// The pages that may hold what is asked for.
fn pages(segment: &OpenSegment, range: &KeyRange, period: Period) -> Result<Vec<Window>> {
    let mut windows: Vec<Window> = segment.pages(range, period).collect();
    if let (Bound::Included(start), Bound::Included(end)) = range.bounds()
        && start == end
    {
        let mut held = Vec::with_capacity(windows.len());
        for window in windows {
            if segment.may_hold(window.row_group, start)? {
                held.push(window);
            }
        }
        windows = held;
    }
    Ok(windows)
}
