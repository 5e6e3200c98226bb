//! What the test of sizes measures, as a table.

use std::fmt;
use std::time::{Duration, Instant};

use super::{ROW_BYTES, Size};
use crate::process::Traffic;

const MIB: f64 = 1_048_576.0;

/// Lines as they come, and what they are made of.
pub(super) struct Report {
    size: Size,
    begun: Instant,
    lines: Vec<(String, String)>,
    written_bytes: u64,
    memory_max_mib: u64,
}

impl Report {
    pub(super) fn new(size: Size) -> Report {
        Report { size, begun: Instant::now(), lines: Vec::new(), written_bytes: 0, memory_max_mib: 0 }
    }

    /// Adds a line, and shows it at once: the long form takes its time.
    fn line(&mut self, what: &str, found: String) {
        println!("{:>7.1} s  {what}: {found}", self.begun.elapsed().as_secs_f64());
        self.lines.push((what.to_owned(), found));
    }

    /// Does something to so many rows.
    pub(super) fn time(&mut self, what: &str, rows: u64, act: impl FnOnce()) {
        let begun = Instant::now();
        act();
        let seconds = begun.elapsed().as_secs_f64();
        let rate = if rows > 1 { format!(", {:.0} rows/s", rows as f64 / seconds) } else { String::new() };
        self.line(what, format!("{seconds:.1} s{rate}"));
    }

    /// What the server has written to the disk.
    pub(super) fn written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
    }

    /// What the disk holds after a round.
    pub(super) fn round(&mut self, round: u64, segments: usize, directory_bytes: u64, history_bytes: u64) {
        let logical_bytes = (self.size.versions(round) * ROW_BYTES) as f64;
        let found = format!(
            "{segments} history segments, {:.0} MiB of history, {:.0} MiB in all; space × {:.2}, written × {:.2} of {:.0} MiB",
            history_bytes as f64 / MIB,
            directory_bytes as f64 / MIB,
            directory_bytes as f64 / logical_bytes,
            self.written_bytes as f64 / logical_bytes,
            logical_bytes / MIB,
        );
        self.line(&format!("after round {round}"), found);
    }

    /// Reads so many rows of the past one by one.
    pub(super) fn points(&mut self, pid: u32, count: u64, read: impl FnOnce()) {
        let (before, begun) = (Traffic::of(pid), Instant::now());
        read();
        let (after, seconds) = (Traffic::of(pid), begun.elapsed().as_secs_f64());
        let each = |before: u64, after: u64| (after - before) as f64 / count as f64;
        let found = format!(
            "{:.2} ms each; {:.1} KiB of files in {:.1} reads each, for a row of {ROW_BYTES} bytes",
            seconds * 1e3 / count as f64,
            each(before.read_bytes, after.read_bytes) / 1024.0,
            each(before.reads, after.reads),
        );
        self.line("rows as of random rounds", found);
    }

    /// What memory it took: its own, and with the pages of its program file.
    pub(super) fn memory(&mut self, when: &str, own_mib: u64, all_mib: u64) {
        self.memory_max_mib = self.memory_max_mib.max(own_mib);
        let limit = self.size.limit_mib;
        self.line(
            &format!("memory {when}"),
            format!("at most {own_mib} MiB of its own, {all_mib} MiB resident, of {limit} MiB"),
        );
    }

    /// How long a start took until a row of the past was read.
    pub(super) fn restart(&mut self, after: &str, took: Duration, log_bytes: u64) {
        let log_mib = log_bytes as f64 / MIB;
        self.line(
            &format!("start after {after}"),
            format!("{:.2} s, with {log_mib:.0} MiB of log segments", took.as_secs_f64()),
        );
    }

    /// The most memory of its own that the server has had.
    pub(super) fn memory_max_mib(&self) -> u64 {
        self.memory_max_mib
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { rows, updates, limit_mib } = self.size;
        let versions = self.size.versions(updates);
        writeln!(f, "{rows} rows, {updates} updates of each, {versions} versions, {limit_mib} MiB\n")?;
        writeln!(f, "| what | found |\n|---|---|")?;
        for (what, found) in &self.lines {
            writeln!(f, "| {what} | {found} |")?;
        }
        Ok(())
    }
}
