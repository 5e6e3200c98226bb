//! The inputs that are kept, a file each, in `tests/corpus/<target>/` of the target's crate.
//!
//! Names say where one is from: `made-…` is one of the target's examples, and is made anew on demand; `failed-…` is what
//! something was once wrong with, and stays for ever.

use std::io;
use std::path::{Path, PathBuf};

use driftdb_env::{Disk, OpenOptions, RealDisk};

const MADE: &str = "made-";
const FAILED: &str = "failed-";

/// The corpus of one target.
pub(crate) struct Corpus {
    disk: RealDisk,
    directory: PathBuf,
}

impl Corpus {
    /// That of the target `name` in the crate whose sources are in `crate_directory`.
    pub(crate) fn of(crate_directory: &str, name: &str) -> Corpus {
        Corpus { disk: RealDisk::new(), directory: Path::new(crate_directory).join("tests/corpus").join(name) }
    }

    /// Every input with its name, in the order of the names. None where there is no such directory.
    pub(crate) fn read(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let names = match self.disk.list(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        names.into_iter().map(|name| Ok((name.clone(), read(&self.directory.join(&name))?))).collect()
    }

    /// Replaces the examples by these; gives how many there were.
    pub(crate) fn renew(&self, examples: &[(String, Vec<u8>)]) -> io::Result<usize> {
        self.disk.create_dir_all(&self.directory)?;
        let names = self.disk.list(&self.directory)?;
        let old: Vec<&String> = names.iter().filter(|name| name.starts_with(MADE)).collect();
        for name in &old {
            self.disk.remove(&self.directory.join(name))?;
        }
        for (name, bytes) in examples {
            self.write(&self.directory.join(format!("{MADE}{name}")), bytes)?;
        }
        Ok(old.len())
    }

    /// Keeps an input that failed; gives where.
    pub(crate) fn keep(&self, input: &[u8]) -> io::Result<PathBuf> {
        self.disk.create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("{FAILED}{:08x}", crc32c::crc32c(input)));
        self.write(&path, input)?;
        Ok(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.open(path, OpenOptions::TRUNCATE)?.write_at(0, bytes)
    }
}

/// All that is in a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = RealDisk::new().open(path, OpenOptions::READ)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
