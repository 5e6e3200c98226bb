//! Running a target: the corpus, then inputs made from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftdb_env::{Clock, Disk, DiskFile, OpenOptions, RealClock, RealDisk, Spawner, ThreadSpawner};
use parking_lot::Mutex;

use crate::corpus::{Corpus, read};
use crate::mutate::Mutator;
use crate::panics::{catch, take_own};

/// How long a target may take over one input. Machines stall; a decoder that loops takes longer than any stall.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus too.
    pub name: &'static str,
    /// Where the sources of its crate are: `env!("CARGO_MANIFEST_DIR")`.
    pub crate_directory: &'static str,
    /// How many inputs the ordinary tests run it with.
    pub rounds: u64,
    /// How much memory it may take over one input.
    pub memory_bytes_max: u64,
    /// Whether positions in it count from its beginning or its end, so that hardly anything gets far that has another length.
    pub rigid: bool,
    /// Words that may be put into an input; none: random bytes are.
    pub tokens: &'static [&'static str],
    /// Valid inputs, at least one of each shape, each with a name of its own; the same ones each time. Those whose names begin
    /// with `refused` are not valid: damage that mutations hardly ever come to.
    pub examples: fn() -> Vec<(String, Vec<u8>)>,
    /// Decodes one input and asserts what must hold; whether the decoder accepted it.
    pub run: fn(&[u8]) -> bool,
}

/// What was asked for in the environment.
struct Settings {
    first_seed: u64,
    rounds: u64,
    time: Option<Duration>,
    write_corpus: bool,
}

impl Settings {
    fn of(target: &Target) -> Settings {
        let variable = |name: &str| std::env::var(name).ok();
        let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
        let seed = number("DRIFTDB_TEST_SEED");
        let usual = if seed.is_some() { 1 } else { target.rounds };
        Settings {
            first_seed: seed.unwrap_or(0),
            rounds: number("DRIFTDB_TEST_ROUNDS").unwrap_or(usual),
            time: number("DRIFTDB_TEST_MINUTES").map(|minutes| Duration::from_secs(60 * minutes)),
            write_corpus: variable("DRIFTDB_TEST_CORPUS").is_some_and(|value| value == "write"),
        }
    }

    fn are_done(&self, round: u64, passed: Duration) -> bool {
        self.time.map_or(round >= self.rounds, |time| passed >= time)
    }
}

impl Target {
    /// Runs it with every input of its corpus, and with those that follow from the seeds. Panics at the first one that
    /// fails, having kept it in the corpus.
    pub fn fuzz(&self) {
        let settings = Settings::of(self);
        let corpus = Corpus::of(self.crate_directory, self.name);
        if let Some(path) = std::env::var_os("DRIFTDB_TEST_INPUT") {
            let outcome =
                read(Path::new(&path)).map_err(|error| error.to_string()).and_then(|input| self.run_alone(&input));
            let accepted = outcome.unwrap_or_else(|what| fail(&what));
            return println!("{}: {} is {}", self.name, path.display(), if accepted { "accepted" } else { "refused" });
        }
        let examples = (self.examples)();
        if settings.write_corpus {
            let written = corpus.renew(&examples);
            return println!("{}: {} examples in place of {written:?}", self.name, examples.len());
        }
        if let Err(failure) = self.run_all(&settings, &corpus, examples) {
            fail(&format!("fuzz target {}: {failure}", self.name));
        }
    }

    fn run_alone(&self, input: &[u8]) -> Result<bool, String> {
        self.run_one(&Watch::begin(self).map_err(|error| error.to_string())?, input)
    }

    fn run_all(&self, settings: &Settings, corpus: &Corpus, examples: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let watch = Watch::begin(self).map_err(|error| error.to_string())?;
        let kept = corpus.read().map_err(|error| format!("its corpus: {error}"))?;
        for (name, input) in examples.iter().chain(&kept) {
            let accepted = self.run_one(&watch, input).map_err(|what| format!("{name} of the corpus: {what}"))?;
            if examples.iter().any(|(example, _)| example == name) && accepted == name.starts_with("refused") {
                return Err(format!("the example {name} is {}", if accepted { "accepted" } else { "refused" }));
            }
        }
        let mut inputs: Vec<Vec<u8>> = examples.into_iter().chain(kept).map(|(_, input)| input).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let (mut round, mut accepted, mut said) = (0, 0, Duration::ZERO);
        let clock = RealClock::new();
        while !settings.are_done(round, clock.monotonic()) {
            let seed = settings.first_seed + round;
            if settings.time.is_some() && clock.monotonic() >= said {
                println!("{}: DRIFTDB_TEST_SEED={seed}", self.name);
                said = clock.monotonic() + Duration::from_secs(10);
            }
            let input = Mutator::new(seed, &inputs, self.tokens, self.rigid).input();
            let taken = self.run_one(&watch, &input).map_err(|what| {
                let kept =
                    corpus.keep(&input).map_or_else(|error| error.to_string(), |path| path.display().to_string());
                format!("DRIFTDB_TEST_SEED={seed}: {what}\nthe input is kept as {kept}")
            })?;
            accepted += u64::from(taken);
            round += 1;
        }
        println!(
            "{}: {round} inputs and {} kept in {:.1} s, {accepted} of them accepted",
            self.name,
            inputs.len(),
            clock.monotonic().as_secs_f64()
        );
        // A target that never gets past the decoder, or that nothing fails, tests nothing.
        let says_something = round < 200 || (1..round).contains(&accepted);
        if says_something { Ok(()) } else { Err(format!("{accepted} of {round} inputs are accepted")) }
    }

    /// What is wrong, if something is; or else whether the decoder accepted it.
    fn run_one(&self, watch: &Watch, input: &[u8]) -> Result<bool, String> {
        watch.note(input);
        take_own();
        let mut outcome = Ok(false);
        let memory = allocation_counter::measure(|| outcome = catch(|| (self.run)(input)));
        watch.pause();
        if let Some(panicked) = take_own() {
            return Err(panicked.to_string());
        }
        let accepted = outcome.map_err(|panicked| panicked.to_string())?;
        if memory.bytes_max > self.memory_bytes_max {
            return Err(format!("it takes {} bytes of memory for {} of input", memory.bytes_max, input.len()));
        }
        Ok(accepted)
    }
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn fail(message: &str) -> ! {
    panic!("{message}")
}

/// Ends the process when a target does not come back, and leaves the input where it is found if the process dies.
struct Watch {
    state: Arc<Watched>,
    disk: RealDisk,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

struct Watched {
    clock: RealClock,
    /// When the target was given its input.
    since: Mutex<Option<Duration>>,
    ended: AtomicBool,
}

impl Watch {
    fn begin(target: &Target) -> io::Result<Watch> {
        let path = std::env::temp_dir().join(format!("driftdb-fuzz-{}-{}", target.name, std::process::id()));
        let disk = RealDisk::new();
        let file = disk.open(&path, OpenOptions::TRUNCATE)?;
        let state =
            Arc::new(Watched { clock: RealClock::new(), since: Mutex::new(None), ended: AtomicBool::new(false) });
        let (watched, input) = (Arc::clone(&state), path.clone());
        let task = move || watched.watch(&input.display().to_string());
        ThreadSpawner::new().spawn("fuzz-watch", Box::new(task))?;
        Ok(Watch { state, disk, file, path })
    }

    fn note(&self, input: &[u8]) {
        // It matters only to whoever looks for the reason of a death.
        let _ = self.file.set_len(0).and_then(|()| self.file.write_at(0, input));
        *self.state.since.lock() = Some(self.state.clock.monotonic());
    }

    fn pause(&self) {
        *self.state.since.lock() = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        // A file left behind in the directory for temporary files does no harm.
        let _ = self.disk.remove(&self.path);
    }
}

impl Watched {
    fn watch(&self, input: &str) {
        while !self.ended.load(Ordering::Acquire) {
            self.clock.sleep(Duration::from_millis(200));
            let since = *self.since.lock();
            if since.is_some_and(|since| self.clock.monotonic().saturating_sub(since) > PATIENCE) {
                eprintln!("a fuzz target does not come to an end over the input in {input}");
                std::process::abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(run: fn(&[u8]) -> bool) -> Target {
        Target {
            name: "sample",
            crate_directory: "/nowhere",
            rounds: 300,
            memory_bytes_max: 1 << 20,
            rigid: false,
            tokens: &[],
            examples: || vec![("a".to_owned(), vec![1; 30])],
            run,
        }
    }

    /// In a crate directory that is not there, so that nothing is kept.
    fn outcome(run: fn(&[u8]) -> bool) -> Result<(), String> {
        let target = target(run);
        let settings = Settings { first_seed: 0, rounds: 300, time: None, write_corpus: false };
        target.run_all(&settings, &Corpus::of("/proc/nowhere", "sample"), (target.examples)())
    }

    #[test]
    fn what_is_wrong_is_found_and_said() {
        assert_eq!(outcome(|input| input.first() == Some(&1)), Ok(()));
        let what = outcome(|input| input.len() == 30 || input.len() < 20 || panic!("too long")).unwrap_err();
        assert!(what.starts_with("DRIFTDB_TEST_SEED=") && what.contains("too long"), "{what}");
        let what = outcome(|input| vec![0_u8; input.len() << 20].len() > 1 << 30).unwrap_err();
        assert!(what.contains("bytes of memory"), "{what}");
    }

    #[test]
    fn a_target_that_tests_nothing_is_found() {
        assert_eq!(outcome(|_| true).unwrap_err(), "300 of 300 inputs are accepted");
        assert_eq!(outcome(|_| false).unwrap_err(), "the example a is refused");
    }
}
