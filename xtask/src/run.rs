//! Starting other programs, each printed before it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The root of the repository, from where xtask was built.
pub(crate) fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask has no parent directory")?.to_path_buf())
}

/// The build directory, as cargo would choose it.
pub(crate) fn target_directory() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => Ok(PathBuf::from(directory)),
        None => Ok(repository()?.join("target")),
    }
}

/// Prints the command line of `command`.
pub(crate) fn announce(command: &Command) {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    println!("$ {line}");
}

/// The cargo that runs xtask, started in the repository.
pub(crate) fn cargo_command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(repository()?);
    Ok(command)
}

/// Runs cargo and says whether it succeeded.
pub(crate) fn cargo(arguments: &[&str]) -> Result<bool> {
    succeeds(&mut cargo_command(arguments)?)
}

/// Runs `command`, with its output going to ours, and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    announce(command);
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
    Ok(status.success())
}

/// Runs `command` quietly and gives its standard output; its failure is an error that carries its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{program} failed with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
