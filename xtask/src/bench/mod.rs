//! `cargo xtask bench`.

use anyhow::Result;
use clap::Args;

/// What the benchmark takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds a measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Runs it.
pub(crate) fn bench(options: &Options) -> Result<bool> {
    println!("{}", options.seconds);
    Ok(false)
}
