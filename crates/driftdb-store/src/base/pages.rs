//! The base's file: a header, and redb's bytes in pages that carry a checksum each.
//!
//! redb keeps checksums of its pages, and compares them only when it repairs a file. Here they are compared whenever a
//! page is read from the disk, so that a flipped bit is an error and never an answer. The checksum stands behind its page
//! and is written with it in one piece: redb never writes over a page that a commit can see, so a write that a crash
//! cut short tears only pages nobody will read. Its first page is the exception: redb writes over its own header there, in
//! which each of two slots has a checksum. A crash may tear that write, so that page's checksum is only for the doctor.

use std::io;
use std::path::Path;
use std::sync::Arc;

use driftdb_env::DiskFile;
use parking_lot::Mutex;

use crate::{Result, StoreError};

/// The version of the base's and the history's layout.
const FORMAT: u32 = 3;
const MAGIC: [u8; 8] = *b"DRIFTBAS";
/// Magic, format, and the CRC-32C of both, at the beginning of the file's first 4 KiB.
const HEADER_BYTES: usize = 16;
/// Where the first page begins.
const PAGES_AT: usize = 4096;
pub(super) const PAGE: usize = 4096;
/// What redb has in its first page, at least: the rest is zero.
const REDB_HEADER_BYTES: usize = 320;
/// A page and its checksum.
pub(super) const SLOT: usize = PAGE + size_of::<u32>();

/// What redb reads as a leaf of a tree in which nothing is: the kind of page, and how many entries.
const EMPTY_LEAF: [u8; 4] = [1, 0, 0, 0];

/// The file as redb sees it: its pages, one after the other.
#[derive(Debug)]
pub(crate) struct PageFile {
    file: Arc<dyn DiskFile>,
    /// Where there were damaged pages, in whose place redb was given empty ones; `None`: they are errors.
    skipped: Option<Skipped>,
}

/// Where the pages begin that could not be read.
pub(crate) type Skipped = Arc<Mutex<Vec<u64>>>;

impl PageFile {
    /// The pages of a file. An empty one gets its header.
    pub(crate) fn create(file: Arc<dyn DiskFile>, path: &Path) -> Result<PageFile> {
        let io = |error| StoreError::io("opening", path, error);
        if file.is_empty().map_err(io)? {
            let mut first = header(FORMAT).to_vec();
            first.resize(PAGES_AT, 0);
            file.write_at(0, &first).map_err(io)?;
            return Ok(PageFile { file, skipped: None });
        }
        PageFile::open(file, path)
    }

    /// The pages of a file that has a header.
    pub(crate) fn open(file: Arc<dyn DiskFile>, path: &Path) -> Result<PageFile> {
        let mut found = [0; HEADER_BYTES];
        file.read_at(0, &mut found).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StoreError::damaged(path, "it ends within its header"),
            _ => StoreError::io("reading", path, error),
        })?;
        let [_, _, _, _, _, _, _, _, version @ .., _, _, _, _] = found;
        let version = u32::from_le_bytes(version);
        let other = |found| StoreError::Format { path: path.to_owned(), found, known: FORMAT };
        match version {
            // The first format had no header before redb's.
            _ if found.starts_with(b"redb") => Err(other(1)),
            _ if found != header(version) => Err(StoreError::damaged(path, "its header is not that of a base")),
            FORMAT => {
                let pages = PageFile { file, skipped: None };
                // redb would take it for a new file.
                match pages.is_empty().map_err(|error| StoreError::io("reading", path, error))? {
                    true => Err(StoreError::damaged(path, "it has no pages")),
                    false => Ok(pages),
                }
            }
            _ => Err(other(version)),
        }
    }

    /// Gives redb an empty leaf for each damaged page that it reads, as if nothing had been in the part of its tree that is
    /// behind it, and says which they were.
    pub(super) fn skip_damage(&mut self) -> Skipped {
        Arc::clone(self.skipped.get_or_insert_default())
    }

    /// Where the file holds bytes that were never written there: pages with wrong checksums, whether anything refers to
    /// them or not, and what must be zero and is not.
    pub(crate) fn spoiled(&self) -> io::Result<Vec<u64>> {
        let mut first = [0; PAGES_AT];
        self.file.read_at(0, &mut first)?;
        let unused = first.get(HEADER_BYTES..).unwrap_or_default();
        let stray = unused.iter().position(|byte| *byte != 0);
        let mut spoiled: Vec<u64> = stray.iter().map(|at| (HEADER_BYTES + at) as u64).collect();
        let mut slot = [0; SLOT];
        let pages = self.len()? / PAGE as u64;
        for number in 0..pages {
            self.file.read_at(slot_at(number), &mut slot)?;
            let (page, sum) = slot.split_at(PAGE);
            // Space that was set aside, and not written yet.
            let is_blank = slot.iter().all(|byte| *byte == 0);
            if !is_blank && sum != checksum(number, page) {
                spoiled.push(slot_at(number));
            }
        }
        // The file's length is that of its pages.
        let end = slot_at(pages);
        if self.file.len()? != end {
            spoiled.push(end);
        }
        Ok(spoiled)
    }

    /// The number of the page that begins at an offset of redb's.
    fn page_at(offset: u64) -> io::Result<u64> {
        if offset.is_multiple_of(PAGE as u64) {
            Ok(offset / PAGE as u64)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no page begins at {offset}")))
        }
    }
}

fn header(version: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (body, crc) = header.split_at_mut(HEADER_BYTES - 4);
    let (magic, format) = body.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    format.copy_from_slice(&version.to_le_bytes());
    crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    header
}

/// Where a page's slot begins in the file; far beyond its end for a number that no file has.
pub(super) fn slot_at(number: u64) -> u64 {
    number.saturating_mul(SLOT as u64).saturating_add(PAGES_AT as u64)
}

/// Of the number too, so that a page in another's place is found.
pub(super) fn checksum(number: u64, page: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), page).to_le_bytes()
}

impl DiskFile for PageFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(PAGES_AT as u64) / SLOT as u64 * PAGE as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let first = PageFile::page_at(offset)?;
        let mut slots = vec![0; out.len().div_ceil(PAGE) * SLOT];
        self.file.read_at(slot_at(first), &mut slots)?;
        for ((number, slot), part) in (first..).zip(slots.chunks_exact(SLOT)).zip(out.chunks_mut(PAGE)) {
            let (page, sum) = slot.split_at_checked(PAGE).unwrap_or_default();
            if number > 0 && sum != checksum(number, page) {
                if let Some(skipped) = &self.skipped {
                    skipped.lock().push(slot_at(number));
                    out.fill(0);
                    out.iter_mut().zip(EMPTY_LEAF).for_each(|(byte, of)| *byte = of);
                    return Ok(());
                }
                let what = format!("the checksum of the page at offset {} is not that of its bytes", slot_at(number));
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            part.copy_from_slice(page.get(..part.len()).unwrap_or_default());
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let first = PageFile::page_at(offset)?;
        // redb writes its header as a whole, and nothing else of the first page.
        let mut header = Vec::new();
        let bytes = if first == 0 && (REDB_HEADER_BYTES..PAGE).contains(&bytes.len()) {
            header.extend_from_slice(bytes);
            header.resize(PAGE, 0);
            header.as_slice()
        } else {
            bytes
        };
        if !bytes.len().is_multiple_of(PAGE) {
            let what = format!("{} bytes at {offset} are not whole pages", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut slots = Vec::with_capacity(bytes.len() / PAGE * SLOT);
        for (number, page) in (first..).zip(bytes.chunks_exact(PAGE)) {
            slots.extend_from_slice(page);
            slots.extend_from_slice(&checksum(number, page));
        }
        self.file.write_at(slot_at(first), &slots)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(slot_at(PageFile::page_at(len)?))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(slot_at(PageFile::page_at(len)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
