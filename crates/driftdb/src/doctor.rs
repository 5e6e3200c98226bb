//! `driftdb doctor`: reads every file of a stopped database and says what is wrong, where. It changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use driftdb_engine::{LOG_DIR, lock_directory};
use driftdb_env::Env;
use driftdb_store::NoSchemas;
use driftdb_types::Lsn;

use crate::say::{complain, say};
use crate::{config, credentials, exit};

/// What `driftdb doctor` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory of a stopped database.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = config::default_data())]
    data: PathBuf,
}

/// What was found.
#[derive(Default)]
struct Diagnosis {
    damages: usize,
}

impl Diagnosis {
    fn damage(&mut self, what: &str) {
        self.damages += 1;
        complain!("damaged: {what}");
    }
}

/// Checks everything, says what is wrong on standard error, and gives 0 where nothing is.
pub(crate) fn doctor(env: &Env, arguments: &Arguments) -> Result<ExitCode> {
    let data = arguments.data.as_path();
    if !env.disk.exists(&data.join(LOG_DIR))? && !driftdb_store::is_there(env, data)? {
        bail!("{} holds no database", data.display());
    }
    let _lock = lock_directory(env, data)?;
    // A library that panics over damage is a finding, not a failure of the doctor's.
    std::panic::set_hook(Box::new(|_| {}));
    let mut diagnosis = Diagnosis::default();
    if let Err(error) = credentials::read(env, data) {
        diagnosis.damage(&format!("{error:#}"));
    }
    check_store(env, data, &mut diagnosis);
    // Where the checkpoint cannot be read, the store's findings say so, and the log is looked at as a whole.
    let from = driftdb_store::read_checkpoint(env, data).map_or(Lsn(0), |checkpoint| checkpoint.lsn);
    check_log(env, data, from, &mut diagnosis);
    if diagnosis.damages == 0 {
        say!("{}: nothing wrong", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    complain!("{}: {} found", data.display(), diagnosis.damages);
    Ok(ExitCode::from(exit::DAMAGED))
}

fn check_store(env: &Env, data: &Path, diagnosis: &mut Diagnosis) {
    for finding in driftdb_store::check(env, data, Arc::new(NoSchemas)) {
        let text = format!("{}: {}", finding.path.display(), finding.what);
        if finding.harmless {
            say!("note: {text}");
        } else {
            diagnosis.damage(&text);
        }
    }
}

fn check_log(env: &Env, data: &Path, from: Lsn, diagnosis: &mut Diagnosis) {
    for finding in driftdb_log::check(env.disk.as_ref(), &data.join(LOG_DIR), from) {
        match finding.severity {
            driftdb_log::Severity::Damage => diagnosis.damage(&finding.to_string()),
            driftdb_log::Severity::Covered => say!("note: {finding} (the checkpoint has it: nothing is lost)"),
            driftdb_log::Severity::Note => say!("note: {finding}"),
        }
    }
}
