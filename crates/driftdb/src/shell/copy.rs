//! `\copy`: a file or stream on this side, COPY on the other, and a bar that shows how far it is.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use driftdb_env::{Env, OpenOptions};
use indicatif::{ProgressBar, ProgressStyle};

use super::backend::{Backend, ReadChunk};
use super::commands::CopyCommand;
use crate::files::Pieces;
use crate::say::say;

/// Copies, and says how many rows where that is known. `lines` gives the data that follows in the shell's own input.
pub(super) fn copy(env: &Env, backend: &mut dyn Backend, command: &CopyCommand, lines: ReadChunk<'_>) -> Result<()> {
    let rows = match (&command.file, command.from) {
        (Some(file), true) => Some(from_file(env, backend, &command.statement, file)?),
        (None, true) => {
            let mut ended = false;
            Some(backend.copy_in(&command.statement, &mut || {
                let line = if ended { None } else { lines()? };
                // The line that ends the data is none of it.
                ended = line.as_deref().is_none_or(|line| line.trim_ascii_end() == br"\.");
                Ok(line.filter(|_| !ended))
            })?)
        }
        (Some(file), false) => to_file(env, backend, &command.statement, file)?,
        (None, false) => {
            let mut out = io::stdout().lock();
            backend.copy_out(&command.statement, &mut |bytes| {
                out.write_all(bytes).context("cannot write to standard output")
            })?;
            // Nothing but the data goes there.
            return out.flush().context("cannot write to standard output");
        }
    };
    say!("{}", rows.map_or_else(|| "COPY".to_owned(), |rows| format!("COPY {rows}")));
    Ok(())
}

fn from_file(env: &Env, backend: &mut dyn Backend, statement: &str, file: &Path) -> Result<u64> {
    let mut pieces = Pieces::open(env, file)?;
    let bar = bar(Some(pieces.length()));
    let copied = backend.copy_in(statement, &mut || {
        let piece = pieces.next_piece().with_context(|| format!("cannot read {}", file.display()))?;
        bar.inc(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(piece)
    });
    bar.finish_and_clear();
    copied
}

fn to_file(env: &Env, backend: &mut dyn Backend, statement: &str, path: &Path) -> Result<Option<u64>> {
    let unwritten = || format!("cannot write {}", path.display());
    let bar = bar(None);
    // The file is made when the first data is there, so that a refused statement leaves what was there before.
    let mut file = None;
    let mut at = 0;
    let copied = backend.copy_out(statement, &mut |bytes| {
        if file.is_none() {
            file = Some(env.disk.open(path, OpenOptions::TRUNCATE).with_context(unwritten)?);
        }
        if let Some(file) = &file {
            file.write_at(at, bytes).with_context(unwritten)?;
        }
        at += bytes.len() as u64;
        bar.inc(bytes.len() as u64);
        Ok(())
    });
    bar.finish_and_clear();
    let rows = copied?;
    if file.is_none() {
        // No rows: an empty file.
        env.disk.open(path, OpenOptions::TRUNCATE).with_context(unwritten)?;
    }
    Ok(rows)
}

/// A progress bar on standard error, where someone looks at it.
fn bar(length: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
