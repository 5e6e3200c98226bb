//! The bytes of a frame and of a segment's header. See "Commit log" in `docs/format.md`, which is the reference.
//!
//! ```text
//! frame          0 length u32 │ 4 checksum u32 │ 8 previous u32 │ 12 kind u8 │ 13 format u8 │ 14 zero u16 │
//!               16 group u64 │ 24 payload
//! segment header 0 "DRIFTLOG" │ 8 format u32 │ 12 zero u32 │ 16 first u64 │ 24 bytes u64 │ 32 previous u32 │
//!               36 zero × 24 │ 60 checksum u32
//! ```
//! All numbers little-endian.

use std::ops::RangeInclusive;

use driftdb_types::Lsn;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: u64 = 24;
/// The least room in which a frame is begun: its header and one byte.
pub(crate) const FRAME_MIN: u64 = FRAME_HEADER + 1;
/// Bytes of a segment before its first frame.
pub(crate) const SEGMENT_HEADER: u64 = 64;
/// The newest format of segments and frames, and the only one.
pub(crate) const FORMAT: u8 = 1;

const MAGIC: [u8; 8] = *b"DRIFTLOG";

/// Which part of a record a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Whole, Kind::First, Kind::Middle, Kind::Last].into_iter().find(|kind| *kind as u8 == byte)
    }

    pub(crate) fn begins_record(self) -> bool {
        matches!(self, Kind::Whole | Kind::First)
    }

    pub(crate) fn ends_record(self) -> bool {
        matches!(self, Kind::Whole | Kind::Last)
    }
}

/// A frame whose checksum is right for where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    /// Where the group began that the frame was written with.
    pub(crate) group: Lsn,
    /// The checksum of the frame before it.
    pub(crate) previous: u32,
    pub(crate) checksum: u32,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame.
    pub(crate) fn size_bytes(&self) -> u64 {
        FRAME_HEADER + self.payload.len() as u64
    }
}

/// Why there is no valid frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    Empty,
    Length,
    Checksum,
    Fields,
    Format(u8),
}

impl BadFrame {
    pub(crate) fn what(self) -> String {
        match self {
            BadFrame::Empty => "there is no frame where one was written".to_owned(),
            BadFrame::Length => "the frame is longer than its segment".to_owned(),
            BadFrame::Checksum => "the frame's checksum is wrong".to_owned(),
            BadFrame::Fields => "the frame's header is invalid".to_owned(),
            BadFrame::Format(format) => format!("the frame has format {format}"),
        }
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// CRC-32C over where the frame stands and everything in it but the checksum itself.
pub(crate) fn frame_checksum(at: Lsn, length: u32, rest: &[u8]) -> u32 {
    let place = crc32c::crc32c(&at.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, &length.to_le_bytes()), rest)
}

/// Appends the frame that stands at `at` to `out`, and gives its checksum. `payload` must be shorter than 4 GiB,
/// which the bound on the size of a segment ensures.
pub(crate) fn encode_frame(out: &mut Vec<u8>, at: Lsn, group: Lsn, previous: u32, kind: Kind, payload: &[u8]) -> u32 {
    let length = payload.len() as u32;
    out.extend_from_slice(&length.to_le_bytes());
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let rest_at = out.len();
    out.extend_from_slice(&previous.to_le_bytes());
    out.extend_from_slice(&[kind as u8, FORMAT, 0, 0]);
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = frame_checksum(at, length, out.get(rest_at..).unwrap_or_default());
    if let Some(to) = out.get_mut(checksum_at..rest_at) {
        to.copy_from_slice(&checksum.to_le_bytes());
    }
    checksum
}

/// The frame at the start of `bytes`, which go to the end of the segment; it stands at `at`.
pub(crate) fn decode_frame(bytes: &[u8], at: Lsn) -> Result<Frame<'_>, BadFrame> {
    let header: [u8; FRAME_HEADER as usize] = array(bytes, 0).ok_or(BadFrame::Length)?;
    if header == [0; FRAME_HEADER as usize] {
        return Err(BadFrame::Empty);
    }
    let (length, checksum) = u32_at(&header, 0).zip(u32_at(&header, 4)).ok_or(BadFrame::Length)?;
    let (previous, group) = u32_at(&header, 8).zip(u64_at(&header, 16)).ok_or(BadFrame::Length)?;
    let end = FRAME_HEADER as usize + length as usize;
    let rest = bytes.get(8..end).ok_or(BadFrame::Length)?;
    let payload = bytes.get(FRAME_HEADER as usize..end).ok_or(BadFrame::Length)?;
    if frame_checksum(at, length, rest) != checksum {
        return Err(BadFrame::Checksum);
    }
    let [kind, format, zeros @ ..] = array::<4>(&header, 12).ok_or(BadFrame::Length)?;
    if format != FORMAT {
        return Err(BadFrame::Format(format));
    }
    match Kind::of(kind) {
        Some(kind) if zeros == [0; 2] && group <= at.0 => {
            Ok(Frame { kind, group: Lsn(group), previous, checksum, payload })
        }
        _ => Err(BadFrame::Fields),
    }
}

/// The first valid frame in `bytes` (which stand at `at`) at or after the offset `from` whose group is one of
/// `groups`, with its offset. For finding the way again after an invalid frame, whose length cannot be trusted.
///
/// Looks at every offset; the fields are compared before any checksum is computed, so that arbitrary payloads cost
/// next to nothing.
pub(crate) fn find_frame(
    bytes: &[u8],
    at: Lsn,
    from: usize,
    groups: RangeInclusive<u64>,
) -> Option<(usize, Frame<'_>)> {
    const KIND: usize = 12;
    let kinds = bytes.get(from.checked_add(KIND)?..)?;
    let candidates = kinds.iter().enumerate().filter(|(_, kind)| Kind::of(**kind).is_some());
    candidates.map(|(index, _)| from + index).find_map(|offset| {
        let place = at.0.checked_add(offset as u64)?;
        let [_, fields @ ..] = array::<4>(bytes, offset + KIND)?;
        let group = u64_at(bytes, offset + 16)?;
        if fields != [FORMAT, 0, 0] || !groups.contains(&group) || group > place {
            return None;
        }
        let frame = decode_frame(bytes.get(offset..)?, Lsn(place)).ok()?;
        Some((offset, frame))
    })
}

/// What a segment says of itself in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The Lsn of the segment's first byte, this header's.
    pub(crate) first: Lsn,
    /// The length of the file.
    pub(crate) size_bytes: u64,
    /// The checksum of the last frame of the segment before it; 0 in the first.
    pub(crate) previous: u32,
}

/// Why there is no valid segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Magic,
    Checksum,
    Format(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u32::from(FORMAT).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&[0; 24]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().unwrap_or([0; SEGMENT_HEADER as usize])
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER as usize]) -> Result<SegmentHeader, BadHeader> {
        if array(bytes, 0) != Some(MAGIC) {
            return Err(BadHeader::Magic);
        }
        let checksum = bytes.get(..60).map(crc32c::crc32c);
        if checksum.is_none() || checksum != u32_at(bytes, 60) {
            return Err(BadHeader::Checksum);
        }
        let fields = || Some((u32_at(bytes, 8)?, u64_at(bytes, 16)?, u64_at(bytes, 24)?, u32_at(bytes, 32)?));
        let (format, first, size_bytes, previous) = fields().ok_or(BadHeader::Checksum)?;
        if format != u32::from(FORMAT) {
            return Err(BadHeader::Format(format));
        }
        Ok(SegmentHeader { first: Lsn(first), size_bytes, previous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_stored_as_documented() {
        let mut out = Vec::new();
        let checksum = encode_frame(&mut out, Lsn(0x0102), Lsn(0x0101), 0xA1B2_C3D4, Kind::First, b"payload");
        let [a, b, c, d] = checksum.to_le_bytes();
        #[rustfmt::skip]
        let want = [
            7, 0, 0, 0,  a, b, c, d,  0xD4, 0xC3, 0xB2, 0xA1,  2, 1, 0, 0,
            1, 1, 0, 0, 0, 0, 0, 0,  b'p', b'a', b'y', b'l', b'o', b'a', b'd',
        ];
        assert_eq!(out, want);
        let mut covered = 0x0102_u64.to_le_bytes().to_vec();
        covered.extend_from_slice(&out[..4]);
        covered.extend_from_slice(&out[8..]);
        assert_eq!(checksum, crc32c::crc32c(&covered));
    }

    #[test]
    fn a_frame_is_valid_in_its_own_place_only() {
        let mut out = vec![0; 100];
        encode_frame(&mut out, Lsn(1100), Lsn(1100), 5, Kind::Whole, b"");
        assert_eq!(out.len(), 124);
        let frame = decode_frame(&out[100..], Lsn(1100)).unwrap();
        assert_eq!((frame.kind, frame.previous, frame.payload), (Kind::Whole, 5, &b""[..]));
        assert_eq!(frame.size_bytes(), 24);
        assert_eq!(decode_frame(&out[100..], Lsn(1101)).err(), Some(BadFrame::Checksum));
        assert_eq!(decode_frame(&out[..], Lsn(1000)).err(), Some(BadFrame::Empty));
        assert_eq!(decode_frame(&out[100..123], Lsn(1100)).err(), Some(BadFrame::Length));
        let find = |at, from, groups| find_frame(&out, Lsn(at), from, groups).map(|(offset, _)| offset);
        assert_eq!(find(1000, 0, 0..=u64::MAX), Some(100));
        assert_eq!(find(1000, 100, 1100..=1100), Some(100));
        assert_eq!(find(1000, 0, 1101..=u64::MAX), None);
        assert_eq!(find(1000, 101, 0..=u64::MAX), None);
        assert_eq!(find(999, 0, 0..=u64::MAX), None);
        assert_eq!(find(1000, usize::MAX, 0..=u64::MAX), None);
    }

    #[test]
    fn every_flip_in_a_frame_shows() {
        let mut out = Vec::new();
        encode_frame(&mut out, Lsn(64), Lsn(64), 5, Kind::Whole, b"some bytes");
        out.resize(out.len() + 50, 0);
        for at in 0..34 {
            for bit in 0..8 {
                out[at] ^= 1 << bit;
                assert!(decode_frame(&out, Lsn(64)).is_err(), "byte {at} bit {bit}");
                out[at] ^= 1 << bit;
            }
        }
        decode_frame(&out, Lsn(64)).unwrap();
    }

    #[test]
    fn a_segment_header_is_stored_as_documented() {
        let header = SegmentHeader { first: Lsn(0x0102), size_bytes: 0x0304, previous: 0x0506_0708 };
        let bytes = header.encode();
        let mut want = b"DRIFTLOG\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x08\x07\x06\x05".to_vec();
        want.resize(60, 0);
        want.extend_from_slice(&crc32c::crc32c(&want).to_le_bytes());
        assert_eq!(bytes.as_slice(), want);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut bad = bytes;
            bad[at] ^= 4;
            assert!(SegmentHeader::decode(&bad).is_err());
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let mut bytes = SegmentHeader { first: Lsn(0), size_bytes: 4096, previous: 0 }.encode();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..].copy_from_slice(&checksum);
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Format(2)));
        let mut frame = Vec::new();
        encode_frame(&mut frame, Lsn(64), Lsn(64), 0, Kind::Whole, b"x");
        frame[13] = 2;
        let checksum = frame_checksum(Lsn(64), 1, &frame[8..]).to_le_bytes();
        frame[4..8].copy_from_slice(&checksum);
        assert_eq!(decode_frame(&frame, Lsn(64)).err(), Some(BadFrame::Format(2)));
    }
}
