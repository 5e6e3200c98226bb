//! A disk that can be written without being changed: what is written stays in memory, over what is on another disk. For
//! looking at the files of a database as opening it would leave them, and leaving them as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Disk, DiskFile, DiskLock, OpenOptions};

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// See the head of the file. Nothing of it is durable, and syncing does nothing.
#[derive(Debug)]
pub struct OverlayDisk {
    under: Arc<dyn Disk>,
    names: Mutex<Names>,
}

/// What names mean here and not on the disk below.
#[derive(Debug, Default)]
struct Names {
    /// Files that were opened for writing, made or renamed; `None`: there is none of that name.
    files: BTreeMap<PathBuf, Option<Arc<Content>>>,
    dirs: BTreeSet<PathBuf>,
}

impl OverlayDisk {
    /// Over this disk.
    pub fn new(under: Arc<dyn Disk>) -> OverlayDisk {
        OverlayDisk { under, names: Mutex::default() }
    }

    /// The content of a file that is there.
    fn content(&self, names: &mut Names, path: &Path) -> io::Result<Arc<Content>> {
        match names.files.get(path) {
            Some(Some(content)) => Ok(Arc::clone(content)),
            Some(None) => Err(not_found(path)),
            None => {
                let content = Arc::new(Content::over(self.under.open(path, OpenOptions::READ)?)?);
                names.files.insert(path.to_owned(), Some(Arc::clone(&content)));
                Ok(content)
            }
        }
    }

    fn has_file(&self, names: &Names, path: &Path) -> io::Result<bool> {
        match names.files.get(path) {
            Some(content) => Ok(content.is_some()),
            None => match self.under.open(path, OpenOptions::READ) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                // It is there, whatever it is.
                Err(_) => self.under.exists(path),
            },
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Disk for OverlayDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.names.lock().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        let mut found: BTreeSet<String> = match self.under.list(dir) {
            Ok(found) => found.into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && names.dirs.contains(dir) => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        for (path, content) in names.files.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            match content {
                Some(_) => found.insert(name.to_owned()),
                None => found.remove(name),
            };
        }
        Ok(found.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let names = self.names.lock();
        match names.files.get(path) {
            Some(content) => Ok(content.is_some()),
            None => Ok(names.dirs.contains(path) || self.under.exists(path)?),
        }
    }

    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        let is_there = self.has_file(&names, path)?;
        if is_there && options.create_new {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
        }
        if !is_there && !options.create {
            return Err(not_found(path));
        }
        if !is_there {
            names.files.insert(path.to_owned(), Some(Arc::new(Content::default())));
        }
        let content = self.content(&mut names, path)?;
        if options.truncate {
            content.state.lock().set_len(content.under.as_deref(), 0)?;
        }
        Ok(Arc::new(OverlayFile { content, writes: options.write }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        if !self.has_file(&names, path)? {
            return Err(not_found(path));
        }
        names.files.insert(path.to_owned(), None);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let content = self.content(&mut names, from)?;
        names.files.insert(from.to_owned(), None);
        names.files.insert(to.to_owned(), Some(content));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Whoever made this disk has locked the one below, or need not.
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(NoLock))
    }
}

#[derive(Debug)]
struct NoLock;

impl DiskLock for NoLock {}

/// A file's bytes: those below, and the pages written over them.
#[derive(Debug, Default)]
struct Content {
    under: Option<Arc<dyn DiskFile>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    len: u64,
    /// How much of the file below still shows where no page is; it shrinks when the length is cut.
    under_len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Content {
    fn over(under: Arc<dyn DiskFile>) -> io::Result<Content> {
        let len = under.len()?;
        Ok(Content { under: Some(under), state: Mutex::new(State { len, under_len: len, pages: BTreeMap::new() }) })
    }
}

impl State {
    /// One page as it is now; beyond the file's end it is zeros.
    fn page(&self, under: Option<&dyn DiskFile>, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES];
        let start = number * PAGE;
        let there = self.under_len.saturating_sub(start).min(PAGE) as usize;
        if let Some(under) = under.filter(|_| there > 0) {
            under.read_at(start, page.get_mut(..there).unwrap_or_default())?;
        }
        Ok(page)
    }

    fn set_len(&mut self, under: Option<&dyn DiskFile>, len: u64) -> io::Result<()> {
        if len < self.len {
            // What is cut off must read as zeros when the length grows again.
            let mut last = self.page(under, len / PAGE)?;
            last.get_mut((len % PAGE) as usize..).unwrap_or_default().fill(0);
            self.pages.split_off(&(len / PAGE));
            self.pages.insert(len / PAGE, last);
            self.under_len = self.under_len.min(len);
        }
        self.len = len;
        Ok(())
    }
}

/// The pieces of `[offset, offset + len)` by page: page number, where in the page, how many bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(len as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        let within = (at % PAGE) as usize;
        let count = ((end - at).min(PAGE) as usize).min(PAGE_BYTES - within);
        let piece = (at / PAGE, within, count);
        at += count as u64;
        (count > 0).then_some(piece)
    })
}

/// A handle.
#[derive(Debug)]
struct OverlayFile {
    content: Arc<Content>,
    writes: bool,
}

impl OverlayFile {
    fn change(&self, change: impl FnOnce(&mut State, Option<&dyn DiskFile>) -> io::Result<()>) -> io::Result<()> {
        if !self.writes {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened for reading"));
        }
        change(&mut self.content.state.lock(), self.content.under.as_deref())
    }
}

impl DiskFile for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.state.lock().len)
    }

    fn read_at(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let state = self.content.state.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(under) =
            self.content.under.as_deref().filter(|_| state.pages.is_empty() && state.len <= state.under_len)
        {
            return under.read_at(offset, out);
        }
        for (number, within, count) in pieces(offset, out.len()) {
            let page = state.page(self.content.under.as_deref(), number)?;
            let (now, rest) = std::mem::take(&mut out).split_at_mut(count);
            now.copy_from_slice(page.get(within..within + count).unwrap_or_default());
            out = rest;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|state, under| {
            let mut bytes = bytes;
            let len = bytes.len();
            for (number, within, count) in pieces(offset, len) {
                let mut page = state.page(under, number)?;
                let (now, rest) = bytes.split_at(count);
                page.get_mut(within..within + count).unwrap_or_default().copy_from_slice(now);
                state.pages.insert(number, page);
                bytes = rest;
            }
            state.len = state.len.max(offset.saturating_add(len as u64));
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state, under| state.set_len(under, len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(|state, _| {
            state.len = state.len.max(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::conformance;
    use crate::{Env, SimDisk};

    #[test]
    fn it_is_a_disk() {
        let under = SimDisk::new(1);
        conformance::check(&OverlayDisk::new(Arc::new(under.clone())), Path::new("/new"));
        assert!(!under.exists(Path::new("/new")).unwrap());
    }

    #[test]
    fn the_disk_below_stays_as_it_is() {
        let under = Env::sim(1).disk;
        let (dir, path) = (Path::new("/d"), Path::new("/d/file"));
        under.create_dir_all(dir).unwrap();
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        under.open(path, OpenOptions::CREATE).unwrap().write_at(0, &bytes).unwrap();
        let over = OverlayDisk::new(Arc::new(under.clone()));
        let file = over.open(path, OpenOptions::WRITE).unwrap();
        let read = |file: &dyn DiskFile| {
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(file.as_ref()), bytes);
        let mut expected = bytes.clone();
        file.write_at(4_090, &[1; 20]).unwrap();
        expected[4_090..4_110].fill(1);
        assert_eq!(read(file.as_ref()), expected);
        file.set_len(5_000).unwrap();
        file.allocate(9_000).unwrap();
        expected.truncate(5_000);
        expected.resize(9_000, 0);
        assert_eq!(read(file.as_ref()), expected);
        assert_eq!(read(over.open(path, OpenOptions::READ).unwrap().as_ref()), expected, "another handle of it");
        over.open(&dir.join("new"), OpenOptions::CREATE_NEW).unwrap().write_at(0, b"x").unwrap();
        over.rename(&dir.join("new"), &dir.join("renamed")).unwrap();
        over.remove(path).unwrap();
        assert_eq!(over.list(dir).unwrap(), ["renamed"]);
        assert_eq!(under.list(dir).unwrap(), ["file"]);
        assert_eq!(read(under.open(path, OpenOptions::READ).unwrap().as_ref()), bytes);
    }
}
