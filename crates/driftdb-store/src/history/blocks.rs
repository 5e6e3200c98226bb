//! A segment's file as Parquet reads it: in blocks, whose checksums are compared at every read.
//!
//! Parquet's pages can carry checksums, but its writer here makes none. Those of the blocks are taken when all of the file is
//! compared with the manifest's checksum, before it is used for the first time since the start; from then on a bit that
//! flips on the disk, or on the way from it, is an error and never an answer.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, DiskFile, OpenOptions};
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::writer::parquet_error;
use crate::{Result, StoreError};

/// How much is read and checked at least. The checksums take a 2,048th of what history has been read.
const BLOCK: u64 = 8 << 10;
/// How much is read at a time to verify a file.
const PART: u64 = 128 * BLOCK;

/// CRC-32C of each block of a file.
pub(crate) type BlockSums = Arc<[u32]>;

/// Reads all of a file, which `each` sees in pieces: its checksum, and those of its blocks.
pub(crate) fn checksums(file: &dyn DiskFile, len: u64, each: &mut dyn FnMut(&[u8])) -> io::Result<(u32, BlockSums)> {
    let mut crc = 0;
    let mut sums = Vec::new();
    let mut buffer = Vec::new();
    for offset in (0..len).step_by(PART as usize) {
        buffer.resize((len - offset).min(PART) as usize, 0);
        file.read_at(offset, &mut buffer)?;
        crc = crc32c::crc32c_append(crc, &buffer);
        each(&buffer);
        sums.extend(buffer.chunks(BLOCK as usize).map(crc32c::crc32c));
    }
    Ok((crc, sums.into()))
}

/// The file, opened. Clones report failures apart from each other.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<dyn DiskFile>,
    len: u64,
    /// `None` for the doctor, who reads files that are known to be damaged.
    sums: Option<BlockSums>,
    /// What went wrong last: on its way through Parquet it becomes a text.
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Clone for Blocks {
    fn clone(&self) -> Blocks {
        Blocks { file: Arc::clone(&self.file), len: self.len, sums: self.sums.clone(), failure: Arc::default() }
    }
}

impl Blocks {
    pub(super) fn open(disk: &Arc<dyn Disk>, path: &Path, sums: Option<BlockSums>) -> Result<Blocks> {
        let io = |error| StoreError::io("opening", path, error);
        let file = disk.open(path, OpenOptions::READ).map_err(io)?;
        let len = file.len().map_err(io)?;
        Ok(Blocks { file, len, sums, failure: Arc::default() })
    }

    /// A reader for Parquet, whose failures are found here.
    pub(super) fn reader(&self) -> Blocks {
        Blocks { failure: Arc::clone(&self.failure), ..self.clone() }
    }

    /// What an error of Parquet's means here: what the disk said, if it did.
    pub(super) fn error(&self, what: &'static str, path: &Path, error: ParquetError) -> StoreError {
        match self.failure.lock().take() {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => StoreError::damaged(path, error.to_string()),
            Some(error) => StoreError::io(what, path, error),
            None => parquet_error(what, path, error),
        }
    }

    /// Reads these bytes, which the file has.
    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        self.try_read(start, length).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            *self.failure.lock() = Some(error);
            told
        })
    }

    fn try_read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let Some(sums) = &self.sums else {
            let mut bytes = vec![0; length];
            self.file.read_at(start, &mut bytes)?;
            return Ok(bytes.into());
        };
        let first = start / BLOCK;
        let end = (start + length as u64).next_multiple_of(BLOCK).min(self.len);
        let mut bytes = vec![0; (end - first * BLOCK) as usize];
        self.file.read_at(first * BLOCK, &mut bytes)?;
        for (number, block) in (first..).zip(bytes.chunks(BLOCK as usize)) {
            if sums.get(number as usize) != Some(&crc32c::crc32c(block)) {
                let what =
                    format!("the bytes at offset {} are not what they were when the file was verified", number * BLOCK);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        let within = (start - first * BLOCK) as usize;
        Ok(Bytes::from(bytes).slice(within..within + length))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Blocks {
    type T = BlockRead;

    fn get_read(&self, start: u64) -> Result<BlockRead, ParquetError> {
        Ok(BlockRead { blocks: self.reader(), offset: start, ready: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Lengths come from the file: a damaged one must not make us ask for all the memory there is.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {}", self.len)));
        }
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// A sequential read of [`Blocks`].
pub(super) struct BlockRead {
    blocks: Blocks,
    offset: u64,
    ready: Bytes,
}

impl Read for BlockRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let to_end_of_block = BLOCK - self.offset % BLOCK;
            let count = self.blocks.len.saturating_sub(self.offset).min(to_end_of_block);
            self.ready = self.blocks.read(self.offset, count as usize)?;
            self.offset += count;
        }
        let count = out.len().min(self.ready.len());
        let (out, ready) = (out.split_at_mut(count).0, self.ready.split_to(count));
        out.copy_from_slice(&ready);
        Ok(count)
    }
}
