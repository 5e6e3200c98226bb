//! A small file system of its own, which can fill up without harm to the machine.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::server::run;

/// What it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// In memory.
    Tmpfs,
    /// An image in a file: space that is set aside, and delayed allocation, are a real file system's.
    Ext4,
}

/// A mounted file system, unmounted when it goes.
pub(super) struct SmallDisk {
    /// Keeps the directory it is mounted in.
    _place: TempDir,
    root: PathBuf,
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = run(command);
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl SmallDisk {
    /// Mounts one of that many MiB; why not, where this machine does not let us.
    pub(super) fn mount(kind: Kind, size_mib: u64) -> Result<SmallDisk, String> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("disk");
        std::fs::create_dir(&root).unwrap();
        let mut mount = Command::new("mount");
        match kind {
            Kind::Tmpfs => mount.args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"]),
            Kind::Ext4 => {
                let image = place.path().join("image");
                File::create(&image).and_then(|file| file.set_len(size_mib << 20)).unwrap();
                // Without space that is kept for root, and without waiting for the table of inodes.
                done(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
                mount.args(["-o", "loop"]).arg(&image)
            }
        };
        done(mount.arg(&root))?;
        Ok(SmallDisk { _place: place, root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes all the space that is left.
    pub(super) fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![b'x'; size];
            while ballast.write_all(&block).and_then(|()| ballast.sync_data()).is_ok() {}
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub(super) fn make_space(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that a failing test has left is gone by now: it goes before this does.
        if let Err(error) = done(Command::new("umount").arg(&self.root)) {
            let _ = writeln!(std::io::stderr(), "{error}");
        }
    }
}
