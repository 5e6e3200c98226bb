//! Commit records: what one commit is in the commit log, and its entry in the tree of commits.
//!
//! The layout is in `docs/format.md`, section "Commit records". A record is encoded by the committing session while
//! others are being written; only what the order of commits decides (stamp, floors, chain) stands at fixed places and is
//! filled in by the pipeline ([`RecordBuffer::stamp`]).
//!
//! Decoding trusts nothing: every length is checked against what is there, and no input makes it panic.

use bytes::Bytes;
use driftdb_store::Write;
use driftdb_types::{CommitSeq, Digest, Error, Result, SqlState, Stamp, TreeId};

use crate::chain::TableContents;

/// The record format written by this release, and the only one it reads.
const RECORD_FORMAT: u8 = 2;
/// Where the entry for the tree of commits begins: after format and the entry's length.
const ENTRY_AT: usize = 1 + 4;
/// The fixed part of the entry: seq, time, floors, digest of the entry before, rows, number of tables.
const ENTRY_FIXED: usize = 8 + 8 + 8 + 4 + 32 + 8 + 4;
/// A table's id and the digest of its contents.
const TABLE_BYTES: usize = 4 + 32;

const HAS_COMMENT: u8 = 1;
const HAS_TXID: u8 = 2;

const PUT: u8 = 1;
const DELETE: u8 = 0;

/// Who commits, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitMeta {
    /// The session's user.
    pub user: String,
    /// The session's `application_name`.
    pub application: String,
    /// The client's address.
    pub client: String,
    /// `driftdb.comment`, where it is set.
    pub comment: Option<String>,
    /// The transaction's number, where it asked for its name ([`SessionTxid`](crate::SessionTxid)).
    pub txid: Option<u64>,
}

impl CommitMeta {
    /// Of a commit that the database makes of itself.
    pub(crate) fn own(application: &str, comment: String) -> CommitMeta {
        CommitMeta {
            user: "driftdb".to_owned(),
            application: application.to_owned(),
            comment: Some(comment),
            ..CommitMeta::default()
        }
    }
}

/// What is kept of each commit beside its row versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Its place in history.
    pub stamp: Stamp,
    /// The digest of the entry of the commit before it; [`Digest::ZERO`] in the first.
    pub previous: Digest,
    /// Who made it, and why.
    pub meta: CommitMeta,
    /// What it did to each table whose rows or definition it changed, in the order of their ids.
    pub contents: Vec<TableContents>,
    /// How many rows it wrote or deleted.
    pub rows: u64,
}

impl CommitRecord {
    /// The tables whose rows or definition it changed, in the order of their ids.
    pub fn tables(&self) -> impl Iterator<Item = TreeId> + '_ {
        self.contents.iter().map(|contents| contents.table).filter(|table| *table >= TreeId::FIRST_USER)
    }
}

/// The numbers that are given out next. They stand in every commit, so that the last one says what was ever used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floors {
    /// Greater than every row number in use at this commit.
    pub(crate) row: i64,
    /// Greater than every object id in use at this commit.
    pub(crate) object: u32,
}

/// A record in the making.
#[derive(Debug)]
pub(crate) struct RecordBuffer {
    bytes: Vec<u8>,
}

impl AsRef<[u8]> for RecordBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl RecordBuffer {
    /// Encodes everything but the stamp, the floors and the digest of the entry before.
    pub(crate) fn encode(
        meta: &CommitMeta,
        contents: &[TableContents],
        rows: u64,
        writes: &[Write],
    ) -> Result<RecordBuffer> {
        let payloads: usize =
            writes.iter().map(|write| write.key.len() + write.payload.as_ref().map_or(0, Bytes::len) + 13).sum();
        let mut bytes = Vec::with_capacity(ENTRY_AT + ENTRY_FIXED + 64 + contents.len() * TABLE_BYTES + payloads);
        bytes.push(RECORD_FORMAT);
        bytes.extend([0; 4 + 8 + 8 + 8 + 4 + 32]);
        bytes.extend(rows.to_le_bytes());
        bytes.extend(length(contents.len())?.to_le_bytes());
        for TableContents { table, digest } in contents {
            bytes.extend(table.0.to_le_bytes());
            bytes.extend(digest.0);
        }
        put_text(&mut bytes, &meta.user)?;
        put_text(&mut bytes, &meta.application)?;
        put_text(&mut bytes, &meta.client)?;
        let has = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        bytes.push(has(meta.comment.is_some(), HAS_COMMENT) | has(meta.txid.is_some(), HAS_TXID));
        if let Some(comment) = &meta.comment {
            put_text(&mut bytes, comment)?;
        }
        if let Some(txid) = meta.txid {
            bytes.extend(txid.to_le_bytes());
        }
        let entry_length = length(bytes.len() - ENTRY_AT)?;
        bytes.extend(length(writes.len())?.to_le_bytes());
        for write in writes {
            bytes.push(if write.payload.is_some() { PUT } else { DELETE });
            bytes.extend(write.tree.0.to_le_bytes());
            put_bytes(&mut bytes, &write.key)?;
            if let Some(payload) = &write.payload {
                put_bytes(&mut bytes, payload)?;
            }
        }
        let mut record = RecordBuffer { bytes };
        record.fill(1, &entry_length.to_le_bytes())?;
        Ok(record)
    }

    /// Fills in what the order of commits decided, and gives the entry for the tree of commits.
    pub(crate) fn stamp(&mut self, stamp: Stamp, floors: Floors, previous: Digest) -> Result<Bytes> {
        self.fill(ENTRY_AT, &stamp.seq.0.to_le_bytes())?;
        self.fill(ENTRY_AT + 8, &stamp.time_us.to_le_bytes())?;
        self.fill(ENTRY_AT + 16, &floors.row.to_le_bytes())?;
        self.fill(ENTRY_AT + 24, &floors.object.to_le_bytes())?;
        self.fill(ENTRY_AT + 28, &previous.0)?;
        let mut input = Input { bytes: self.bytes.get(1..).unwrap_or_default() };
        Ok(Bytes::copy_from_slice(input.bytes()?))
    }

    fn fill(&mut self, at: usize, value: &[u8]) -> Result<()> {
        match self.bytes.get_mut(at..at + value.len()) {
            Some(place) => {
                place.copy_from_slice(value);
                Ok(())
            }
            None => Err(Error::internal("a commit record is shorter than its fixed part")),
        }
    }
}

/// A record read back from the commit log.
#[derive(Debug)]
pub(crate) struct DecodedRecord {
    pub(crate) commit: CommitRecord,
    /// The entry for the tree of commits.
    pub(crate) entry: Bytes,
    pub(crate) writes: Vec<Write>,
}

/// Decodes a record of the commit log.
pub(crate) fn decode_record(record: &[u8]) -> Result<DecodedRecord> {
    let mut input = Input { bytes: record };
    let format = input.u8()?;
    if format != RECORD_FORMAT {
        let message = format!("commit record of format {format}; this release reads format {RECORD_FORMAT}");
        return Err(Error::new(SqlState::DATA_CORRUPTED, message));
    }
    let entry = input.bytes()?;
    let (commit, _) = decode_entry(entry)?;
    let count = input.u32()?;
    // A write takes at least nine bytes: a damaged count must not make us allocate for it.
    let mut writes = Vec::with_capacity(input.bounded(count, 9)?);
    for _ in 0..count {
        let kind = input.u8()?;
        let tree = TreeId(input.u32()?);
        let key = Bytes::copy_from_slice(input.bytes()?);
        let payload = match kind {
            PUT => Some(Bytes::copy_from_slice(input.bytes()?)),
            DELETE => None,
            _ => return Err(damaged("an unknown operation")),
        };
        writes.push(Write { tree, key, payload });
    }
    input.end()?;
    Ok(DecodedRecord { commit, entry: Bytes::copy_from_slice(entry), writes })
}

/// Decodes an entry of the tree of commits.
pub(crate) fn decode_entry(entry: &[u8]) -> Result<(CommitRecord, Floors)> {
    let mut input = Input { bytes: entry };
    let seq = CommitSeq(input.u64()?);
    let time_us = input.i64()?;
    let floors = Floors { row: input.i64()?, object: input.u32()? };
    let previous = Digest(input.array()?);
    let rows = input.u64()?;
    let count = input.u32()?;
    let mut contents = Vec::with_capacity(input.bounded(count, TABLE_BYTES)?);
    for _ in 0..count {
        contents.push(TableContents { table: TreeId(input.u32()?), digest: Digest(input.array()?) });
    }
    let user = input.text()?;
    let application = input.text()?;
    let client = input.text()?;
    let flags = input.u8()?;
    if flags & !(HAS_COMMENT | HAS_TXID) != 0 {
        return Err(damaged("flags that mean nothing"));
    }
    let comment = if flags & HAS_COMMENT == 0 { None } else { Some(input.text()?) };
    let txid = if flags & HAS_TXID == 0 { None } else { Some(input.u64()?) };
    input.end()?;
    let meta = CommitMeta { user, application, client, comment, txid };
    Ok((CommitRecord { stamp: Stamp { seq, time_us }, previous, meta, contents, rows }, floors))
}

fn damaged(what: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("a commit record holds {what}"))
}

fn length(len: usize) -> Result<u32> {
    u32::try_from(len)
        .map_err(|_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("a commit of {len} bytes is too large")))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    out.extend(length(bytes.len())?.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    put_bytes(out, text.as_bytes())
}

/// What is left to decode.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(damaged("less than it says")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        <[u8; N]>::try_from(self.take(N)?).map_err(|_| damaged("less than it says"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.u32()?).map_err(|_| damaged("too much"))?;
        self.take(len)
    }

    fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| damaged("text that is not UTF-8"))
    }

    /// `count` as a size, if there can be so many things of at least `size` bytes.
    fn bounded(&self, count: u32, size: usize) -> Result<usize> {
        let count = usize::try_from(count).map_err(|_| damaged("too much"))?;
        if count > self.bytes.len() / size { Err(damaged("less than it says")) } else { Ok(count) }
    }

    fn end(&self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(damaged("more than it says")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(tree: u32, key: &str, payload: Option<&str>) -> Write {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Write { tree: TreeId(tree), key: bytes(key), payload: payload.map(bytes) }
    }

    const CONTENTS: TableContents = TableContents { table: TreeId(100), digest: Digest([7; 32]) };

    fn sample() -> (RecordBuffer, Vec<Write>, CommitMeta) {
        let meta = CommitMeta {
            user: "ann".to_owned(),
            application: "psql".to_owned(),
            client: "127.0.0.1".to_owned(),
            comment: Some("why".to_owned()),
            txid: Some(7),
        };
        let writes = vec![write(100, "a", Some("row")), write(100, "b", None), write(101, "", Some(""))];
        let record = RecordBuffer::encode(&meta, &[CONTENTS], 2, &writes).unwrap();
        (record, writes, meta)
    }

    #[test]
    fn a_record_comes_back() {
        let (mut record, writes, meta) = sample();
        let stamp = Stamp { seq: CommitSeq(9), time_us: -5 };
        let floors = Floors { row: 77, object: 105 };
        let previous = Digest([9; 32]);
        let entry = record.stamp(stamp, floors, previous).unwrap();
        let decoded = decode_record(record.as_ref()).unwrap();
        assert_eq!(decoded.entry, entry);
        assert_eq!(decoded.writes, writes);
        let (commit, found) = decode_entry(&entry).unwrap();
        assert_eq!(found, floors);
        assert_eq!(commit, CommitRecord { stamp, previous, meta, contents: vec![CONTENTS], rows: 2 });
        assert_eq!(decoded.commit, commit);
    }

    #[test]
    fn every_cut_and_every_tail_is_refused() {
        let (record, _, _) = sample();
        for len in 0..record.as_ref().len() {
            assert!(decode_record(&record.as_ref()[..len]).is_err(), "{len} bytes");
        }
        let mut longer = record.as_ref().to_vec();
        longer.push(0);
        assert!(decode_record(&longer).is_err());
        assert!(decode_record(&[1]).unwrap_err().message.contains("format 1"));
    }

    /// The bytes on disk: what changes here needs a new format number.
    #[test]
    fn the_format_stands_still() {
        let meta = CommitMeta { user: "u".to_owned(), ..CommitMeta::default() };
        let mut record = RecordBuffer::encode(&meta, &[CONTENTS], 1, &[write(100, "k", Some("v"))]).unwrap();
        let stamp = Stamp { seq: CommitSeq(3), time_us: 4 };
        record.stamp(stamp, Floors { row: 5, object: 6 }, Digest([9; 32])).unwrap();
        let expected: &[&[u8]] = &[
            &[2],
            &122_u32.to_le_bytes(),
            &3_u64.to_le_bytes(),
            &4_i64.to_le_bytes(),
            &5_i64.to_le_bytes(),
            &6_u32.to_le_bytes(),
            &[9; 32],
            &1_u64.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &100_u32.to_le_bytes(),
            &[7; 32],
            &[1, 0, 0, 0, b'u', 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &1_u32.to_le_bytes(),
            &[1],
            &100_u32.to_le_bytes(),
            &[1, 0, 0, 0, b'k', 1, 0, 0, 0, b'v'],
        ];
        assert_eq!(record.as_ref(), expected.concat());
    }
}
