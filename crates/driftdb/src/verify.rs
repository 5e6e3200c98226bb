//! `driftdb verify`: whether a stopped database holds what was committed, and what was there when somebody noted its digest.
//! It changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use driftdb::memory;
use driftdb_engine::{CommitDigest, Engine, EngineOptions, Verification, lock_directory};
use driftdb_env::{Env, OverlayDisk};

use crate::doctor::{self, Diagnosis};
use crate::say::say;
use crate::{config, exit};

/// What `--help` adds.
pub(crate) const HELP: &str = "What it prints last is the digest of the newest commit, as SELECT driftdb_digest() gives \
    it. Noted down where nobody who can write the data directory can change it, it shows later (--digest) whether anything \
    that was committed until then is not what it was.";

/// What `driftdb verify` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory of a stopped database.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = config::default_data())]
    data: PathBuf,
    /// A digest that was noted earlier; may be given several times.
    #[arg(long, value_name = "COMMIT:DIGEST")]
    digest: Vec<CommitDigest>,
}

/// Verifies everything, says what is wrong on standard error, and gives 0 where nothing is.
pub(crate) fn verify(env: &Env, arguments: &Arguments) -> Result<ExitCode> {
    let data = arguments.data.as_path();
    doctor::check_there(env, data)?;
    let _lock = lock_directory(env, data)?;
    let mut diagnosis = doctor::examine(env, data);
    let verified = match recompute(env, data, &arguments.digest) {
        Ok(verified) => verified,
        // It may be what the doctor has named already; or a library's panic.
        Err(error) => {
            diagnosis.damage(&format!("what was committed cannot be read: {error:#}"));
            return Ok(exit_code(data, &diagnosis));
        }
    };
    for finding in &verified.findings {
        diagnosis.damage(finding);
    }
    if verified.more > 0 {
        diagnosis.damage(&format!("and {} findings more of that kind", verified.more));
    }
    if diagnosis.is_sound() {
        let Verification { commits, versions, .. } = verified;
        say!("{}: {commits} commits, {versions} versions: everything is what was committed", data.display());
        say!("{}", verified.digest);
    }
    Ok(exit_code(data, &diagnosis))
}

fn exit_code(data: &Path, diagnosis: &Diagnosis) -> ExitCode {
    if diagnosis.is_sound() {
        return ExitCode::SUCCESS;
    }
    diagnosis.say_count(data);
    ExitCode::from(exit::DAMAGED)
}

/// Opens the database over its files, as recovery after a crash would, and computes the chain again.
fn recompute(env: &Env, data: &Path, noted: &[CommitDigest]) -> Result<Verification> {
    let over = Env { disk: Arc::new(OverlayDisk::new(Arc::clone(&env.disk))), ..env.clone() };
    let (options, _) = memory::split(memory::LIMIT_DEFAULT_BYTES);
    let engine = Engine::open(over, data, EngineOptions { background: false, ..options })?;
    Ok(engine.verify(noted)?)
}
