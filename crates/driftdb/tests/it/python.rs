//! The Python that has pyarrow, psycopg and asyncpg.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::clear_settings;

/// The Python that `cargo xtask test` found, or has made under the build directory, or else the machine's.
pub(crate) fn python() -> Command {
    let build = Path::new(env!("CARGO_BIN_EXE_driftdb")).ancestors().nth(2).expect("the build directory");
    let made = build.join("xtask/venv/bin/python");
    let otherwise = if made.exists() { made } else { PathBuf::from("python3") };
    let mut command = Command::new(std::env::var_os("DRIFTDB_TEST_PYTHON").map_or(otherwise, PathBuf::from));
    clear_settings(&mut command);
    command
}
