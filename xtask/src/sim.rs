//! `cargo xtask sim`: the simulator for longer than in `test`; and whether it finds bugs that are put in on purpose.
//!
//! Each mutation of `crates/driftdb-sim/mutations.toml` is made in a copy of the sources, which is built and simulated
//! until a seed fails. So the code that is shipped has no switches in it, and what is tested is what would be wrong. A
//! mutation that no seed finds fails the run, and so does one that no longer fits the code. (The idea is old: DeMillo,
//! Lipton, Sayward, "Hints on Test Data Selection", 1978.)

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
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
    /// Put in one deliberate bug after the other, or those with this in their names, and see whether each is found.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seed", "rounds", "minutes", "release"])]
    mutations: Option<Option<String>>,
}

/// Runs what was asked for.
pub(crate) fn sim(options: &SimOptions) -> Result<bool> {
    if let Some(filter) = &options.mutations {
        return find_mutations(filter.as_deref());
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

/// Makes all mutations, one after the other, or those whose name contains `filter`.
fn find_mutations(filter: Option<&str>) -> Result<bool> {
    let root = run::repository()?;
    let list = std::fs::read_to_string(root.join("crates/driftdb-sim/mutations.toml"))?;
    let Mutations { mutation: mut mutations } = toml::from_str(&list).context("mutations.toml")?;
    mutations.retain(|mutation| filter.is_none_or(|filter| mutation.name.contains(filter)));
    ensure!(!mutations.is_empty(), "no mutation is named so");
    let copy = run::target_directory()?.join("mutations/source");
    copy_sources(&root, &copy)?;
    let mut missed = 0;
    for mutation in &mutations {
        let begun = Instant::now();
        let found = mutation.is_found(&copy)?;
        let seconds = begun.elapsed().as_secs();
        println!("{}: {} ({seconds} s)", mutation.name, found.as_deref().unwrap_or("NOT FOUND"));
        missed += usize::from(found.is_none());
    }
    println!("{} mutations, {missed} not found", mutations.len());
    Ok(missed == 0)
}

impl Mutation {
    /// Builds the mutated copy and simulates; how it was found.
    fn is_found(&self, copy: &Path) -> Result<Option<String>> {
        let path = copy.join(&self.file);
        let source = std::fs::read_to_string(&path)?;
        let fits = source.matches(&self.old).count();
        ensure!(fits == 1, "\"{}\": {} has what is to be replaced {fits} times", self.name, self.file.display());
        std::fs::write(&path, source.replace(&self.old, &self.new))?;
        let found = self.simulate(copy);
        std::fs::write(&path, source)?;
        found
    }

    fn simulate(&self, copy: &Path) -> Result<Option<String>> {
        let mut build = cargo(copy)?;
        run::output(build.args(TEST).arg("--no-run")).with_context(|| format!("\"{}\" does not build", self.name))?;
        let mut test = cargo(copy)?;
        test.args(TEST).args(["random_histories", "--", "--nocapture"]);
        let output = test.env("DRIFTDB_TEST_ROUNDS", ROUNDS).env("RUST_BACKTRACE", "0").output()?;
        if output.status.success() {
            return Ok(None);
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.starts_with("seed ")).unwrap_or("a panic");
        Ok(Some(line.chars().take(160).collect()))
    }
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
