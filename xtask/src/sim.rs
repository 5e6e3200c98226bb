//! `cargo xtask sim`: the simulator for longer than in `test`; and whether it finds bugs that are put in on purpose.
//!
//! Each mutation of `crates/driftdb-sim/mutations.toml` is made in a copy of the sources, which is built and simulated
//! until a seed fails. So the code that is shipped has no switches in it, and what is tested is what would be wrong. The seed that
//! fails has to pass without the mutation: otherwise something else was found. A mutation that no seed finds fails the run, and so
//! does one that no longer fits the code. (The idea is old: DeMillo, Lipton, Sayward, "Hints on Test Data Selection", 1978.)

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::run;

/// The simulator's test that is to fail.
const TEST: [&str; 5] = ["test", "-p", "driftdb-sim", "--test", "it"];
/// How many seeds may pass before a mutation counts as missed.
const ROUNDS: &str = "60";

/// What `cargo xtask sim` takes.
#[derive(Args)]
pub(crate) struct SimOptions {
    /// The first seed; alone, that seed is run again exactly as it was.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long)]
    rounds: Option<u64>,
    /// For how long, however many seeds that takes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Use the optimised build.
    #[arg(long)]
    release: bool,
    /// Put in one deliberate bug after the other, or those with this in their names, and see whether each is found. With
    /// --minutes none is begun after that time, and the newest commit's name says which comes first.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seed", "rounds", "release"])]
    mutations: Option<Option<String>>,
}

/// Runs what was asked for.
pub(crate) fn sim(options: &SimOptions) -> Result<bool> {
    if let Some(filter) = &options.mutations {
        return find_mutations(filter.as_deref(), options.minutes);
    }
    let release: &[&str] = if options.release { &["--release"] } else { &[] };
    let mut command = run::cargo_command(&[&TEST[..], release, &["random_histories", "--", "--nocapture"]].concat())?;
    let settings = [
        ("DRIFTDB_TEST_SEED", options.seed),
        ("DRIFTDB_TEST_ROUNDS", options.rounds),
        ("DRIFTDB_TEST_MINUTES", options.minutes),
    ];
    command.envs(settings.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))));
    run::succeeds(&mut command)
}

#[derive(Deserialize)]
struct Mutations {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
struct Mutation {
    name: String,
    file: PathBuf,
    old: String,
    new: String,
}

/// Makes all mutations, one after the other, or those whose name contains `filter`, or as many as can be begun in some minutes.
fn find_mutations(filter: Option<&str>, minutes: Option<u64>) -> Result<bool> {
    let root = run::repository()?;
    let list = std::fs::read_to_string(root.join("crates/driftdb-sim/mutations.toml"))?;
    let Mutations { mutation: mut mutations } = toml::from_str(&list).context("mutations.toml")?;
    mutations.retain(|mutation| filter.is_none_or(|filter| mutation.name.contains(filter)));
    ensure!(!mutations.is_empty(), "no mutation is named so");
    if minutes.is_some() {
        let first = place_of_commit(&root, mutations.len())?;
        mutations.rotate_left(first);
    }
    let copy = run::target_directory()?.join("mutations/source");
    copy_sources(&root, &copy)?;
    let begun = Instant::now();
    let sound = Sound::build(&copy)?;
    let (mut done, mut missed) = (0, 0);
    for mutation in &mutations {
        if minutes.is_some_and(|minutes| begun.elapsed().as_secs() >= minutes * 60) {
            break;
        }
        let begun = Instant::now();
        let found = mutation.is_found(&copy, &sound)?;
        let seconds = begun.elapsed().as_secs();
        println!("{}: {} ({seconds} s)", mutation.name, found.as_deref().unwrap_or("NOT FOUND"));
        done += 1;
        missed += usize::from(found.is_none());
    }
    println!("{done} of {} mutations, {missed} not found", mutations.len());
    Ok(missed == 0)
}

/// A place in a list that is another for each commit.
fn place_of_commit(root: &Path, places: usize) -> Result<usize> {
    let name = run::output(Command::new("git").current_dir(root).args(["rev-parse", "HEAD"]))?;
    let digits = name.get(..8).context("git gives no commit's name")?;
    Ok(usize::from_str_radix(digits, 16)? % places)
}

impl Mutation {
    /// Builds the mutated copy and simulates; how it was found.
    fn is_found(&self, copy: &Path, sound: &Sound) -> Result<Option<String>> {
        let path = copy.join(&self.file);
        let source = std::fs::read_to_string(&path)?;
        let fits = source.matches(&self.old).count();
        ensure!(fits == 1, "\"{}\": {} has what is to be replaced {fits} times", self.name, self.file.display());
        std::fs::write(&path, source.replace(&self.old, &self.new))?;
        let built = build(copy).with_context(|| format!("\"{}\" does not build", self.name));
        std::fs::write(&path, source)?;
        let said = simulate(&built?, &[("DRIFTDB_TEST_ROUNDS", ROUNDS)])?;
        let Some(said) = said else { return Ok(None) };
        let mut seeds = said.lines().filter_map(|line| line.strip_prefix("DRIFTDB_TEST_SEED="));
        let seed = seeds.next_back().context("the simulator does not say its seed")?;
        if let Some(said) = sound.simulate(seed)? {
            bail!("seed {seed} fails without \"{}\" too:\n{said}", self.name);
        }
        let line = said.lines().find(|line| line.starts_with("seed ")).unwrap_or("a panic");
        Ok(Some(line.chars().take(160).collect()))
    }
}

/// The simulator of the code as it is.
struct Sound(PathBuf);

impl Sound {
    fn build(copy: &Path) -> Result<Sound> {
        let kept = run::target_directory()?.join("mutations/sound");
        std::fs::copy(build(copy)?, &kept)?;
        Ok(Sound(kept))
    }

    fn simulate(&self, seed: &str) -> Result<Option<String>> {
        simulate(&self.0, &[("DRIFTDB_TEST_SEED", seed)])
    }
}

/// Builds the simulator; the executable.
fn build(copy: &Path) -> Result<PathBuf> {
    // First as people read it, for when it does not build.
    run::output(cargo(copy)?.args(TEST).arg("--no-run"))?;
    let said = run::output(cargo(copy)?.args(TEST).args(["--no-run", "--message-format=json"]))?;
    let messages = said.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = |message: serde_json::Value| Some(PathBuf::from(message.get("executable")?.as_str()?));
    messages.filter_map(executable).next().context("cargo built no test")
}

/// Runs the simulator; what it said, if it failed.
fn simulate(executable: &Path, settings: &[(&str, &str)]) -> Result<Option<String>> {
    let mut test = Command::new(executable);
    test.args(["random_histories", "--nocapture"]).env("RUST_BACKTRACE", "0").envs(settings.iter().copied());
    let output = test.output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stdout, output.stderr].concat();
    Ok(Some(String::from_utf8_lossy(&said).into_owned()))
}

fn cargo(directory: &Path) -> Result<Command> {
    // A directory of its own: cargo tells two copies of a package apart by their files' times only.
    let mut command = run::cargo_command(&[])?;
    command.current_dir(directory).env("CARGO_TARGET_DIR", run::target_directory()?.join("mutations/target"));
    Ok(command)
}

/// Copies what cargo builds from.
fn copy_sources(root: &Path, copy: &Path) -> Result<()> {
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    let files = run::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    for file in files.split('\0').filter(|file| !file.is_empty() && root.join(file).is_file()) {
        let to = copy.join(file);
        std::fs::create_dir_all(to.parent().context("a file in no directory")?)?;
        std::fs::copy(root.join(file), to)?;
    }
    Ok(())
}
