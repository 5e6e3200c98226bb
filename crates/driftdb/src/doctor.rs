//! `driftdb doctor`: reads every file of a stopped database and says what is wrong, where. It changes nothing; on request it makes
//! a repaired copy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use driftdb_engine::{LOG_DIR, lock_directory};
use driftdb_env::Env;
use driftdb_store::NoSchemas;
use driftdb_types::Lsn;

use crate::say::{complain, say};
use crate::{config, credentials, exit, repair};

/// What `driftdb doctor` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory of a stopped database.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = config::default_data())]
    data: PathBuf,
    #[command(flatten)]
    repair: repair::Options,
}

/// What was found, and said.
#[derive(Default)]
pub(crate) struct Diagnosis {
    damages: usize,
    notes: usize,
}

impl Diagnosis {
    /// Says what is wrong.
    pub(crate) fn damage(&mut self, what: &str) {
        self.damages += 1;
        complain!("damaged: {what}");
    }

    /// Says what is not as it should be, and does no harm.
    fn note(&mut self, what: &str) {
        self.notes += 1;
        say!("note: {what}");
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_sound(&self) -> bool {
        self.damages == 0
    }

    /// Says how much is wrong.
    pub(crate) fn say_count(&self, data: &Path) {
        complain!("{}: {} found", data.display(), self.damages);
    }
}

/// Checks everything, says what is wrong on standard error, and gives 0 where nothing is.
pub(crate) fn doctor(env: &Env, arguments: &Arguments) -> Result<ExitCode> {
    let data = arguments.data.as_path();
    check_there(env, data)?;
    let target = arguments.repair.target(env, data)?;
    let _lock = lock_directory(env, data)?;
    let diagnosis = examine(env, data);
    if let Some(target) = target.filter(|_| diagnosis.damages + diagnosis.notes > 0) {
        return arguments.repair.run(env, data, &target);
    }
    if diagnosis.is_sound() {
        say!("{}: nothing wrong", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    diagnosis.say_count(data);
    Ok(ExitCode::from(exit::DAMAGED))
}

/// Fails where there is no database.
pub(crate) fn check_there(env: &Env, data: &Path) -> Result<()> {
    if !env.disk.exists(&data.join(LOG_DIR))? && !driftdb_store::is_there(env, data)? {
        bail!("{} holds no database", data.display());
    }
    Ok(())
}

/// Reads every file of a database that is locked, and says what is wrong.
pub(crate) fn examine(env: &Env, data: &Path) -> Diagnosis {
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
    diagnosis
}

fn check_store(env: &Env, data: &Path, diagnosis: &mut Diagnosis) {
    for finding in driftdb_store::check(env, data, Arc::new(NoSchemas)) {
        let text = format!("{}: {}", finding.path.display(), finding.what);
        if finding.harmless {
            diagnosis.note(&text);
        } else {
            diagnosis.damage(&text);
        }
    }
}

fn check_log(env: &Env, data: &Path, from: Lsn, diagnosis: &mut Diagnosis) {
    for finding in driftdb_log::check(env.disk.as_ref(), &data.join(LOG_DIR), from) {
        match finding.severity {
            driftdb_log::Severity::Damage => diagnosis.damage(&finding.to_string()),
            driftdb_log::Severity::Covered => {
                diagnosis.note(&format!("{finding} (the checkpoint has it: nothing is lost)"));
            }
            driftdb_log::Severity::Note => diagnosis.note(&finding.to_string()),
        }
    }
}
