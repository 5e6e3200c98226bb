//! Reading whole files and pieces of files through the environment's disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use driftdb_env::{DiskFile, Env, OpenOptions};

/// The largest file that is read whole: settings, scripts and credentials are far smaller.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// The whole of a text file.
pub(crate) fn read_text(env: &Env, path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(env, path)?).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The whole of a file.
pub(crate) fn read_bytes(env: &Env, path: &Path) -> Result<Vec<u8>> {
    let wrong = || format!("cannot read {}", path.display());
    let file = env.disk.open(path, OpenOptions::READ).with_context(wrong)?;
    let length = file.len().with_context(wrong)?;
    if length > TEXT_BYTES_MAX {
        bail!("{} has {length} bytes; at most {TEXT_BYTES_MAX} are read", path.display());
    }
    let mut bytes = vec![0; usize::try_from(length)?];
    file.read_at(0, &mut bytes).with_context(wrong)?;
    Ok(bytes)
}

/// Reads a file from its beginning, a piece at a time.
pub(crate) struct Pieces {
    file: Arc<dyn DiskFile>,
    at: u64,
    length: u64,
}

impl Pieces {
    /// The largest piece.
    const PIECE_BYTES: u64 = 64 << 10;

    /// Opens the file.
    pub(crate) fn open(env: &Env, path: &Path) -> Result<Pieces> {
        let wrong = || format!("cannot read {}", path.display());
        let file = env.disk.open(path, OpenOptions::READ).with_context(wrong)?;
        let length = file.len().with_context(wrong)?;
        Ok(Pieces { file, at: 0, length })
    }

    /// The file's length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        let left = (self.length - self.at).min(Self::PIECE_BYTES);
        if left == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(left)?];
        self.file.read_at(self.at, &mut bytes)?;
        self.at += left;
        Ok(Some(bytes))
    }
}
