//! What the system says of the server's process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the memory is looked at.
const SAMPLE: Duration = Duration::from_millis(10);

/// Memory that is the process's own, without pages of its program file, in MiB.
pub(super) fn memory_mib(pid: u32) -> u64 {
    memory(pid).expect("the server lives")
}

/// The same; `None` when there is no such process.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") / 1024)
}

/// How many sockets it has open: one for each connection, and a few more.
pub(super) fn sockets(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the server lives");
    let is_socket = |target: &std::path::Path| target.to_string_lossy().starts_with("socket:");
    files
        .filter(|file| file.as_ref().is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|to| is_socket(&to))))
        .count()
}

/// Looks at the memory all the time, and keeps the most it has seen.
pub(super) struct MemoryWatch {
    ended: Arc<AtomicBool>,
    peak_mib: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    pub(super) fn begin(pid: u32) -> MemoryWatch {
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
    pub(super) fn take_peak_mib(&self) -> u64 {
        self.peak_mib.swap(0, Ordering::Relaxed)
    }

    pub(super) fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
