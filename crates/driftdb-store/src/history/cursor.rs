//! Walking over the versions of one segment.
//!
//! First it is decided what to read at all: row groups by the bloom filter (for one key), pages by the page index's
//! least and greatest key, from and to. Neighbouring pages make up windows; a window is read when the walk comes to it,
//! and of its rows only those that belong to the answer are put together.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use driftdb_types::{CommitSeq, KeyRange};

use super::columns::Rows;
use super::segment::{OpenSegment, Window};
use super::writer::PAGE_ROWS;
use crate::{Period, Result, Version};

/// A window has at most this many rows.
const WINDOW_ROWS: usize = 4 * PAGE_ROWS;

/// The versions of a segment within a range of keys that belong to a period, in the order of (key, from), or against it.
pub(crate) struct HistoryCursor {
    segment: Arc<OpenSegment>,
    range: KeyRange,
    period: Period,
    reverse: bool,
    windows: VecDeque<Window>,
    ready: VecDeque<Version>,
}

impl HistoryCursor {
    pub(crate) fn new(segment: Arc<OpenSegment>, range: &KeyRange, period: Period, reverse: bool) -> Result<HistoryCursor> {
        let mut windows: VecDeque<Window> = VecDeque::new();
        let point = match range.bounds() {
            (Bound::Included(start), Bound::Included(end)) if start == end => Some(start),
            _ => None,
        };
        for row_group in 0..segment.row_groups() {
            let pages = segment.pages(
                row_group,
                |min, max| may_overlap(range, min, max),
                |min, max| period_may_hold_from(period, min, max),
                |min, max| period_may_hold_to(period, min, max),
            )?;
            if pages.is_empty() {
                continue;
            }
            if let Some(key) = point
                && !segment.may_hold(row_group, key)?
            {
                continue;
            }
            for rows in pages {
                match windows.back_mut() {
                    Some(last)
                        if last.row_group == row_group
                            && last.rows.end == rows.start
                            && rows.end - last.rows.start <= WINDOW_ROWS =>
                    {
                        last.rows.end = rows.end;
                    }
                    _ => windows.push_back(Window { row_group, rows }),
                }
            }
        }
        let range = range.clone();
        Ok(HistoryCursor { segment, range, period, reverse, windows, ready: VecDeque::new() })
    }

    /// Reads on until the next version is there, or the end.
    pub(crate) fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() {
            let window = if self.reverse { self.windows.pop_back() } else { self.windows.pop_front() };
            let Some(window) = window else { return Ok(()) };
            let admits = |rows: &Rows<'_>, row: usize| {
                let (from, to) = (rows.from_seq(row)?, rows.to_seq(row)?);
                Some(self.period.admits(from, Some(to)) && self.range.contains(rows.key(row)?))
            };
            let mut versions = self.segment.read(&window, admits)?;
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

    pub(crate) fn pop(&mut self) -> Option<Version> {
        self.ready.pop_front()
    }
}

/// Whether a page whose keys lie within `[min, max]` may have one of the range.
fn may_overlap(range: &KeyRange, min: &[u8], max: &[u8]) -> bool {
    let (start, end) = range.bounds();
    let after_start = match start {
        Bound::Included(start) => max >= start,
        Bound::Excluded(start) => max > start,
        Bound::Unbounded => true,
    };
    let before_end = match end {
        Bound::Included(end) => min <= end,
        Bound::Excluded(end) => min < end,
        Bound::Unbounded => true,
    };
    after_start && before_end
}

fn period_may_hold_from(period: Period, min: i64, max: i64) -> bool {
    let (min, max) = (CommitSeq(min.cast_unsigned()), CommitSeq(max.cast_unsigned()));
    match period {
        Period::All => true,
        Period::Overlaps { end, .. } => min < end,
        Period::ContainedIn { start, .. } => max >= start,
    }
}

fn period_may_hold_to(period: Period, min: i64, max: i64) -> bool {
    let (min, max) = (CommitSeq(min.cast_unsigned()), CommitSeq(max.cast_unsigned()));
    match period {
        Period::All => true,
        Period::Overlaps { start, .. } => max > start,
        Period::ContainedIn { end, .. } => min <= end,
    }
}
