//! `driftdb init`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use driftdb_env::Env;

use crate::config;
use crate::credentials::{self, Password};
use crate::say::say;

/// What `driftdb init` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data directory to make.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = config::default_data())]
    data: PathBuf,
}

/// Makes a data directory with an empty database and the password of its user.
pub(crate) fn init(env: &Env, arguments: &Arguments) -> Result<()> {
    let data = &arguments.data;
    if env.disk.exists(&data.join(credentials::FILE))? {
        bail!("there is a database in {} already", data.display());
    }
    let database = driftdb::Database::open(data)?;
    let given = std::env::var("DRIFTDB_PASSWORD").ok();
    let settled = credentials::settle(env, data, given.as_deref());
    database.close()?;
    let (_, password) = settled?;
    say!("made an empty database in {}", data.display());
    match password {
        Password::Generated(password) => {
            say!("user {}, password {password}", credentials::USER);
            say!("(shown this once: only its verifier is stored)");
        }
        Password::Given => say!("user {}, password from DRIFTDB_PASSWORD", credentials::USER),
        Password::Stored => {}
    }
    say!("start it with: driftdb serve --data {}", data.display());
    Ok(())
}
