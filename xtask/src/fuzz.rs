//! `cargo xtask fuzz`: the fuzz targets for longer than in `test`, and the making of their corpus.
//!
//! The targets are tests named `fuzz_…` of the crates whose decoders they try; `crates/driftdb-fuzz` has how and why.

use anyhow::Result;
use clap::Args;

use crate::run;

/// Where the targets are.
const PACKAGES: [&str; 10] =
    ["-p", "driftdb-types", "-p", "driftdb-log", "-p", "driftdb-store", "-p", "driftdb-engine", "--lib", "--test=it"];

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
pub(crate) struct FuzzOptions {
    /// Only the target of this name, or those whose names begin so.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The seed of the first input; alone, that input is tried again.
    #[arg(long)]
    seed: Option<u64>,
    /// How many inputs a target.
    #[arg(long)]
    rounds: Option<u64>,
    /// For how long a target, however many inputs that takes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Try only the input in this file, with every panic shown.
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with_all = ["seed", "rounds", "minutes"])]
    input: Option<std::path::PathBuf>,
    /// Use the optimised build. It does not notice sums that overflow.
    #[arg(long)]
    release: bool,
    /// Make the examples in the corpus anew, after a change of format; try nothing.
    #[arg(long, conflicts_with_all = ["seed", "rounds", "minutes", "input"])]
    write_corpus: bool,
}

/// Runs what was asked for.
pub(crate) fn fuzz(options: &FuzzOptions) -> Result<bool> {
    let release: &[&str] = if options.release { &["--release"] } else { &[] };
    let filter = format!("fuzz_{}", options.target.as_deref().unwrap_or_default());
    // One after the other: each is to have a core to itself, and what it says to stand together.
    let rest = ["--no-fail-fast", &filter, "--", "--nocapture", "--test-threads=1"];
    let mut command = run::cargo_command(&[&["test"], &PACKAGES[..], release, &rest].concat())?;
    let settings = [
        ("DRIFTDB_TEST_SEED", options.seed),
        ("DRIFTDB_TEST_ROUNDS", options.rounds),
        ("DRIFTDB_TEST_MINUTES", options.minutes),
    ];
    command.envs(settings.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))));
    if options.write_corpus {
        command.env("DRIFTDB_TEST_CORPUS", "write");
    }
    if let Some(input) = &options.input {
        command.env("DRIFTDB_TEST_INPUT", input.canonicalize()?).env("DRIFTDB_TEST_PANICS", "1");
    }
    run::succeeds(&mut command)
}
