//! `\copy`: a file on this side, COPY on the other, and a bar that shows how far it is.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use driftdb_env::{Env, OpenOptions};
use indicatif::{ProgressBar, ProgressStyle};

use super::backend::Backend;
use super::commands::CopyCommand;
use crate::files::Pieces;

/// Copies, and gives the number of rows where it is known.
pub(super) fn copy(env: &Env, backend: &mut dyn Backend, command: &CopyCommand) -> Result<Option<u64>> {
    if command.from {
        let mut pieces = Pieces::open(env, &command.file)?;
        let bar = bar(Some(pieces.length()));
        let copied = backend.copy_in(&command.statement, &mut || {
            let piece = pieces.next_piece().with_context(|| format!("cannot read {}", command.file.display()))?;
            bar.inc(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
            Ok(piece)
        });
        bar.finish_and_clear();
        return copied.map(Some);
    }
    let unwritten = || format!("cannot write {}", command.file.display());
    let bar = bar(None);
    // The file is made when the first data is there, so that a refused statement leaves what was there before.
    let mut file = None;
    let mut at = 0;
    let copied = backend.copy_out(&command.statement, &mut |bytes| {
        if file.is_none() {
            file = Some(env.disk.open(&command.file, OpenOptions::TRUNCATE).with_context(unwritten)?);
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
        env.disk.open(&command.file, OpenOptions::TRUNCATE).with_context(unwritten)?;
    }
    Ok(rows)
}

/// A progress bar on standard error, where someone looks at it.
fn bar(length: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
