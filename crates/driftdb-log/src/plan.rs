//! Laying a group of records out over the segments, before anything is written.
//!
//! The plan holds every byte of the group, with the checksums chained, in one buffer a segment. So the writer knows
//! how many new segments it needs before it touches the log, and a failure to get them changes nothing.

use driftdb_types::Lsn;

use crate::frame::{FRAME_HEADER, FRAME_MIN, Frame, Kind, SEGMENT_HEADER, SegmentHeader, encode_frame};

/// How far beyond its end the log is written with zeros, in steps of this size.
///
/// Space that was set aside but never written is marked so by the file system; the first write to it changes
/// metadata, which `fdatasync` must then bring to the disk as well. Writing zeros ahead, along with a group, pays that
/// once a step instead of once a group.
const ZERO_AHEAD_BYTES: u64 = 256 * 1024;

/// Where the next frame goes, and what it chains to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The first Lsn of the segment written to.
    pub(crate) first: Lsn,
    /// The size of that segment.
    pub(crate) size_bytes: u64,
    /// The offset in it at which the last frame ends.
    pub(crate) offset: u64,
    /// The checksum of the last frame.
    pub(crate) checksum: u32,
}

impl Tail {
    /// The tail of a segment without frames.
    pub(crate) fn of_new(header: &SegmentHeader) -> Tail {
        Tail { first: header.first, size_bytes: header.size_bytes, offset: SEGMENT_HEADER, checksum: header.previous }
    }

    /// The end of the log.
    pub(crate) fn lsn(&self) -> Lsn {
        Lsn(self.first.0 + self.offset)
    }

    /// Whether no further frame fits in the segment.
    pub(crate) fn is_full(&self) -> bool {
        self.size_bytes.saturating_sub(self.offset) < FRAME_MIN
    }

    /// Goes on past `frame`, which is the next one.
    pub(crate) fn follow(&mut self, frame: &Frame<'_>) {
        self.offset += frame.size_bytes();
        self.checksum = frame.checksum;
    }

    /// The offset up to which the segment is written with zeros beyond the end.
    pub(crate) fn zeros_to(&self) -> u64 {
        self.offset.next_multiple_of(ZERO_AHEAD_BYTES).min(self.size_bytes)
    }

    /// The header of the segment that follows.
    pub(crate) fn next_header(&self, size_bytes: u64) -> SegmentHeader {
        SegmentHeader { first: Lsn(self.first.0 + self.size_bytes), size_bytes, previous: self.checksum }
    }
}

/// What is to be written to one segment, in one write.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// The log's tail once this part is written.
    pub(crate) tail: Tail,
}

/// A group of records, laid out.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For the segment the log ends in; none when it is full.
    pub(crate) current: Option<Part>,
    /// For the segments to be made, headers included.
    pub(crate) new: Vec<Part>,
    /// The end of each record.
    pub(crate) ends: Vec<Lsn>,
}

impl Part {
    /// Adds the zeros to write ahead; gives the offset up to which they go.
    pub(crate) fn add_zeros(&mut self) -> u64 {
        let end = self.tail.zeros_to();
        let zeros = usize::try_from(end.saturating_sub(self.tail.offset)).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + zeros, 0);
        end
    }
}

impl Plan {
    /// Lays `records` out after `tail`; segments made for them have `segment_bytes`. With `fill` they begin in a new one.
    /// `buffer` is an empty buffer to use again.
    pub(crate) fn of<R: AsRef<[u8]>>(
        tail: Tail,
        segment_bytes: u64,
        records: &[R],
        fill: bool,
        buffer: Vec<u8>,
    ) -> Plan {
        let mut layout = Layout {
            group: None,
            part: Part { offset: tail.offset, bytes: buffer, tail },
            done: Vec::new(),
            segment_bytes,
        };
        if fill {
            layout.fill();
        }
        let ends = records.iter().map(|record| layout.add(record.as_ref())).collect();
        layout.done.push(layout.part);
        let mut parts = layout.done.into_iter();
        Plan { current: parts.next().filter(|part| !part.bytes.is_empty()), new: parts.collect(), ends }
    }
}

struct Layout {
    /// Where the first frame of the group stands.
    group: Option<Lsn>,
    part: Part,
    done: Vec<Part>,
    segment_bytes: u64,
}

impl Layout {
    /// Fills the segment with the beginning of a record that has no end, and so is none.
    fn fill(&mut self) {
        let tail = &mut self.part.tail;
        // One that has no frame yet is as good as a new one.
        if tail.is_full() || tail.offset == SEGMENT_HEADER {
            return;
        }
        let at = tail.lsn();
        let room = usize::try_from(tail.size_bytes.saturating_sub(tail.offset + FRAME_HEADER)).unwrap_or(0);
        self.group = Some(at);
        tail.checksum = encode_frame(&mut self.part.bytes, at, at, tail.checksum, Kind::First, &vec![0; room]);
        tail.offset = tail.size_bytes;
    }

    fn add(&mut self, record: &[u8]) -> Lsn {
        let mut rest = record;
        let mut first = true;
        loop {
            if self.part.tail.is_full() {
                self.begin_segment();
            }
            let tail = &mut self.part.tail;
            let room = tail.size_bytes.saturating_sub(tail.offset + FRAME_HEADER);
            let count = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (payload, after) = rest.split_at(count);
            let kind = match (first, after.is_empty()) {
                (true, true) => Kind::Whole,
                (true, false) => Kind::First,
                (false, false) => Kind::Middle,
                (false, true) => Kind::Last,
            };
            let at = tail.lsn();
            let group = *self.group.get_or_insert(at);
            tail.checksum = encode_frame(&mut self.part.bytes, at, group, tail.checksum, kind, payload);
            tail.offset += FRAME_HEADER + count as u64;
            if after.is_empty() {
                return tail.lsn();
            }
            (rest, first) = (after, false);
        }
    }

    fn begin_segment(&mut self) {
        let header = self.part.tail.next_header(self.segment_bytes);
        let part = Part { offset: 0, bytes: header.encode().to_vec(), tail: Tail::of_new(&header) };
        self.done.push(std::mem::replace(&mut self.part, part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode_frame;

    fn tail(offset: u64) -> Tail {
        Tail { first: Lsn(1000), size_bytes: 256, offset, checksum: 7 }
    }

    fn plan(offset: u64, records: &[&[u8]]) -> Plan {
        Plan::of(tail(offset), 512, records, false, Vec::new())
    }

    #[test]
    fn records_that_fit_are_one_write() {
        let plan = plan(64, &[b"one", b"", b"three"]);
        let part = plan.current.unwrap();
        assert_eq!((part.offset, part.bytes.len(), plan.new.len()), (64, 3 * 24 + 8, 0));
        assert_eq!(plan.ends, [Lsn(1091), Lsn(1115), Lsn(1144)]);
        assert_eq!(part.tail.lsn(), Lsn(1144));
    }

    #[test]
    fn a_record_fills_the_segment_and_goes_on_in_the_next() {
        let plan = plan(200, &[&[1; 33], &[2; 500]]);
        let part = plan.current.unwrap();
        assert_eq!(part.bytes.len(), 56, "to the last byte");
        let sizes: Vec<_> = plan.new.iter().map(|part| (part.offset, part.bytes.len(), part.tail.first)).collect();
        assert_eq!(sizes, [(0, 512, Lsn(1256)), (0, 64 + 24 + 101, Lsn(1768))]);
        assert_eq!(plan.ends, [Lsn(1256 + 64 + 24 + 1), Lsn(1768 + 189)]);
    }

    #[test]
    fn a_segment_is_filled_with_what_is_no_record() {
        let plan = |offset| Plan::of(tail(offset), 512, &[b"x"], true, Vec::new());
        let filled = plan(100);
        assert_eq!(filled.current.unwrap().bytes.len(), 156);
        assert_eq!(filled.ends, [Lsn(1256 + 64 + 24 + 1)]);
        let group = decode_frame(&filled.new[0].bytes[64..], Lsn(1256 + 64)).unwrap().group;
        assert_eq!(group, Lsn(1100), "what fills it is of the same group");
        assert!(plan(240).current.is_none());
        assert_eq!(plan(64).ends, [Lsn(1064 + 25)], "nothing is in it yet");
    }

    #[test]
    fn no_frame_is_begun_where_not_one_byte_of_payload_fits() {
        assert!(plan(231, &[b"x"]).current.is_some());
        let plan = plan(232, &[b""]);
        assert!(plan.current.is_none());
        assert_eq!(plan.ends, [Lsn(1256 + 64 + 24)]);
    }
}
