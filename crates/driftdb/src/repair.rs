//! `driftdb doctor --repair`: a copy of a damaged database in which nothing is wrong, and what it lacks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use driftdb::memory;
use driftdb_engine::{EngineOptions, Repair, check_repair_target};
use driftdb_env::Env;

use crate::say::{complain, say};
use crate::{credentials, exit};

/// What `--help` adds.
pub(crate) const HELP: &str = "--repair changes nothing in the data directory: it makes a copy of what can be read, and \
    verifies it. Where the commit log goes back to the first commit, it replaces everything else and nothing is lost. Otherwise \
    commits after a damaged one are lost, and a table that lost versions can be read from the commit on as of which it is \
    whole: earlier reads of it are refused. What is lost is said, and the exit code is 4 then.";

/// What of `driftdb doctor` concerns repairing.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Make a repaired copy, if anything is wrong: beside the data directory, with ".repaired" after its name.
    #[arg(long)]
    repair: bool,
    /// Where to make the copy: a directory that is empty or not there yet.
    #[arg(long, value_name = "DIRECTORY", requires = "repair", conflicts_with = "in_place")]
    into: Option<PathBuf>,
    /// Put the copy in the data directory's place, which is kept with ".damaged" after its name.
    #[arg(long, requires = "repair")]
    in_place: bool,
}

impl Options {
    /// Where the copy of a database is to be made; `None`: none is asked for. Fails where something is in the way.
    pub(crate) fn target(&self, env: &Env, data: &Path) -> Result<Option<PathBuf>> {
        if !self.repair {
            return Ok(None);
        }
        let target = match &self.into {
            Some(into) => into.clone(),
            None => beside(data, ".repaired")?,
        };
        check_repair_target(env, &target).context("remove it, or give another place with --into")?;
        if self.in_place {
            let kept = beside(data, ".damaged")?;
            if env.disk.exists(&kept)? {
                bail!("{} is there already: it would be written over", kept.display());
            }
        }
        Ok(Some(target))
    }

    /// Makes the copy; gives 0 where nothing is lost.
    pub(crate) fn run(&self, env: &Env, data: &Path, target: &Path) -> Result<ExitCode> {
        let (options, _) = memory::split(memory::LIMIT_DEFAULT_BYTES);
        let options = EngineOptions { background: false, ..options };
        let mut repair = match driftdb_engine::repair(env, data, target, &options) {
            Ok(repair) => repair,
            Err(error) => {
                // So that it is not in the way of the next attempt.
                let _ = env.disk.empty_dir(target);
                let detail = error.detail.clone().map(|detail| format!(": {detail}")).unwrap_or_default();
                complain!("not repaired: {}{detail}", error.message);
                return Ok(exit::code(&error.into()));
            }
        };
        if let Err(error) = credentials::copy(env, data, target) {
            let how = "the next start makes a new one, or takes it from DRIFTDB_PASSWORD";
            repair.lost.push(format!("the password ({how}): {error:#}"));
        }
        report(&repair, target);
        if self.in_place {
            replace(env, data, target)?;
        }
        Ok(if is_whole(&repair) { ExitCode::SUCCESS } else { ExitCode::from(exit::DAMAGED) })
    }
}

fn is_whole(repair: &Repair) -> bool {
    repair.lost.is_empty() && repair.verification.findings.is_empty()
}

fn report(repair: &Repair, target: &Path) {
    for mended in &repair.mended {
        say!("mended: {mended}");
    }
    for lost in repair.lost.iter().chain(&repair.verification.findings) {
        complain!("lost: {lost}");
    }
    let verified = &repair.verification;
    say!(
        "{}: a repaired copy with {} commits and {} versions; {}",
        target.display(),
        verified.commits,
        verified.versions,
        if is_whole(repair) { "nothing is lost" } else { "what is lost is said above" }
    );
    say!("{}", verified.digest);
}

/// Puts the copy in the data directory's place.
fn replace(env: &Env, data: &Path, target: &Path) -> Result<()> {
    let kept = beside(data, ".damaged")?;
    let moved = |from: &Path, to: &Path| {
        env.disk.rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
    };
    moved(data, &kept)?;
    moved(target, data)?;
    env.disk.sync_dir(data.parent().unwrap_or(data))?;
    say!("it is in {} now, and what was there in {}", data.display(), kept.display());
    Ok(())
}

/// The path with something after its name.
fn beside(data: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = data.file_name() else {
        bail!("{} has no name to put {suffix} after: give a place with --into", data.display());
    };
    let mut name = OsString::from(name);
    name.push(suffix);
    Ok(data.with_file_name(name))
}
