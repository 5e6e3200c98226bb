//! What the system says of the server's process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the memory is looked at.
const SAMPLE: Duration = Duration::from_millis(10);

/// Memory that is the process's own, without pages of its program file, in MiB.
pub(crate) fn memory_mib(pid: u32) -> u64 {
    memory(pid).expect("the server lives")
}

/// The same; `None` when there is no such process.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") / 1024)
}

/// The most memory it has had at any time, pages of its program file among them, in MiB.
pub(crate) fn memory_max_mib(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:") / 1024
}

/// What the process has read and written since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes of files it has asked for, wherever they came from.
    pub(crate) read_bytes: u64,
    /// How many times it has asked.
    pub(crate) reads: u64,
    /// Bytes that were to go to the disk.
    pub(crate) written_bytes: u64,
}

impl Traffic {
    pub(crate) fn of(pid: u32) -> Traffic {
        let path = format!("/proc/{pid}/io");
        Traffic {
            read_bytes: field(&path, "rchar:"),
            reads: field(&path, "syscr:"),
            written_bytes: field(&path, "write_bytes:"),
        }
    }
}

/// The number in the line of a file of `/proc` that begins so.
fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).expect("the server lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How many sockets it has open: one for each connection, and a few more.
pub(crate) fn sockets(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the server lives");
    let is_socket = |target: &std::path::Path| target.to_string_lossy().starts_with("socket:");
    files
        .filter(|file| file.as_ref().is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|to| is_socket(&to))))
        .count()
}

/// Looks at the memory all the time, and keeps the most it has seen.
pub(crate) struct MemoryWatch {
    ended: Arc<AtomicBool>,
    peak_mib: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn begin(pid: u32) -> MemoryWatch {
        let (ended, peak_mib) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, peak) = (Arc::clone(&ended), Arc::clone(&peak_mib));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed)
                && let Some(now) = memory(pid)
            {
                peak.fetch_max(now, Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        MemoryWatch { ended, peak_mib, thread }
    }

    /// The peak since the beginning, or since the last call.
    pub(crate) fn take_peak_mib(&self) -> u64 {
        self.peak_mib.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
