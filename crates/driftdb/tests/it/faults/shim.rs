//! The library that stands between the server and libc (`shim.c`): built here, given orders, and its trace read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::server::{Server, driftdb, succeed};

const SOURCE: &str = include_str!("shim.c");

/// The calls that an order is about; their sum for several.
pub(super) const PREAD: u32 = 1;
pub(super) const PWRITE: u32 = 2;
pub(super) const FDATASYNC: u32 = 4;
pub(super) const FSYNC: u32 = 8;
pub(super) const RENAME: u32 = 16;
pub(super) const ALL: u32 = PREAD | PWRITE | FDATASYNC | FSYNC | RENAME;

/// Every call whose turn it is.
const CERTAIN: u32 = 1_000_000;

/// What the shim is to do, from when it is armed on.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) calls: u32,
    /// Stands in the file's path, below the data directory.
    pub(super) within: &'static str,
    /// The thread that calls; empty for any.
    pub(super) thread: &'static str,
    /// How many such calls go through before the first that is struck.
    pub(super) skip: u32,
    /// How many are struck at most.
    pub(super) times: u32,
    per_million: u32,
    /// Success is reported and nothing done; otherwise the call fails with EIO.
    dropped: bool,
    seed: u32,
}

impl Order {
    /// The next such call fails.
    pub(super) fn once(calls: u32, within: &'static str) -> Order {
        Order { calls, within, thread: "", skip: 0, times: 1, per_million: CERTAIN, dropped: false, seed: 0 }
    }

    /// All fail from now on.
    pub(super) fn always(calls: u32, within: &'static str) -> Order {
        Order { times: u32::MAX, ..Order::once(calls, within) }
    }

    /// All are reported done and are not.
    pub(super) fn dropping(calls: u32, within: &'static str) -> Order {
        Order { dropped: true, ..Order::always(calls, within) }
    }

    /// Some fail.
    pub(super) fn random(calls: u32, per_million: u32, seed: u64) -> Order {
        Order { per_million, seed: (seed & u64::from(u32::MAX)) as u32, ..Order::always(calls, "") }
    }

    /// Of these files' alone.
    pub(super) fn of(self, within: &'static str) -> Order {
        Order { within, ..self }
    }

    /// Of this thread's alone.
    pub(super) fn by(self, thread: &'static str) -> Order {
        Order { thread, ..self }
    }

    /// So many go through first, and so many are struck.
    pub(super) fn after(self, skip: u32, times: u32) -> Order {
        Order { skip, times, ..self }
    }
}

/// The names of calls.
fn names(calls: u32) -> String {
    let all = [(PREAD, "pread"), (PWRITE, "pwrite"), (FDATASYNC, "fdatasync"), (FSYNC, "fsync"), (RENAME, "rename")];
    let named: Vec<&str> = all.iter().filter(|(call, _)| calls & call != 0).map(|(_, name)| *name).collect();
    named.join(", ")
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { calls, within, thread, skip, times, per_million, dropped, seed } = self;
        let effect = if *dropped { "dropped" } else { "EIO" };
        write!(f, "{effect}: {} of \"{within}\"", names(*calls))?;
        match times {
            &u32::MAX => write!(f, ", always")?,
            times => write!(f, ", {times} times")?,
        }
        if *skip > 0 {
            write!(f, ", after {skip}")?;
        }
        if !thread.is_empty() {
            write!(f, ", on the thread {thread}")?;
        }
        if *per_million < CERTAIN {
            write!(f, ", {per_million} of a million from seed {seed}")?;
        }
        Ok(())
    }
}

/// Offsets in the struct `order` of shim.c.
const STRUCK_AT: u64 = 32;
const WITHIN_BYTES: usize = 64;
const THREAD_BYTES: usize = 16;
const ORDER_BYTES: u64 = 36 + (WITHIN_BYTES + THREAD_BYTES) as u64;

pub(super) struct Shim {
    library: PathBuf,
    control_path: PathBuf,
    control: File,
    trace: Option<PathBuf>,
}

impl Shim {
    /// Builds it in `place`, with nothing ordered.
    pub(super) fn build(place: &Path) -> Shim {
        let (source, library, control_path) = (place.join("shim.c"), place.join("shim.so"), place.join("order"));
        std::fs::write(&source, SOURCE).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        succeed(cc.args(["-ldl", "-lpthread"]));
        let mut options = OpenOptions::new();
        let control = options.read(true).write(true).create(true).truncate(true).open(&control_path).unwrap();
        control.set_len(ORDER_BYTES).unwrap();
        Shim { library, control_path, control, trace: None }
    }

    /// Writes down what is called, too.
    pub(super) fn tracing(mut self) -> Shim {
        self.trace = Some(self.control_path.with_file_name("trace"));
        self
    }

    /// A server behind it, with little memory and without a password.
    pub(super) fn launch(&self, data: &Path) -> Server {
        Server::launch(data, &mut self.command(data))
    }

    /// What starts that, but for its arguments.
    pub(super) fn command(&self, data: &Path) -> Command {
        // The paths that the shim sees are the kernel's.
        let parent = data.parent().unwrap().canonicalize().unwrap();
        let data = parent.join(data.file_name().unwrap());
        let mut command = driftdb();
        command
            .env("DRIFTDB_AUTH", "trust")
            .env("DRIFTDB_MEMORY_LIMIT", "128MiB")
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_CONTROL", &self.control_path)
            .env("FAULTS_DATA", &data);
        if let Some(trace) = &self.trace {
            command.env("FAULTS_TRACE", trace);
        }
        command
    }

    pub(super) fn arm(&self, order: &Order) {
        self.disarm();
        let numbers = [
            order.calls,
            u32::from(order.dropped),
            order.skip,
            order.times,
            order.per_million,
            order.seed,
            0, // matched
            0, // struck
        ];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        for (text, room) in [(order.within, WITHIN_BYTES), (order.thread, THREAD_BYTES)] {
            assert!(text.len() < room, "{text}");
            bytes.extend(text.bytes().chain(std::iter::repeat(0)).take(room));
        }
        self.control.write_all_at(&bytes, 4).unwrap();
        // The last, so that nobody follows half an order.
        self.control.write_all_at(&1_u32.to_ne_bytes(), 0).unwrap();
    }

    pub(super) fn disarm(&self) {
        self.control.write_all_at(&0_u32.to_ne_bytes(), 0).unwrap();
    }

    /// How many calls have been struck since it was armed.
    pub(super) fn struck(&self) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, STRUCK_AT).unwrap();
        u32::from_ne_bytes(bytes)
    }

    /// Waits until that many have been struck.
    pub(super) fn wait_until_struck(&self, times: u32) {
        wait_until(&format!("{times} calls are struck"), || self.struck() >= times);
    }

    /// The trace so far.
    pub(super) fn trace(&self) -> String {
        std::fs::read_to_string(self.trace.as_ref().expect("it traces")).unwrap()
    }
}

/// Waits for something that has to come.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
