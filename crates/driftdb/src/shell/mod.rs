//! `driftdb sql`: a shell over a server's connection or over a data directory opened here.
//!
//! Input of every kind (typed, `-c`, `-f`, standard input) goes through one [`split::Splitter`] into statements and
//! backslash commands, and those through one [`backend::Backend`].

mod backend;
mod commands;
mod copy;
mod embedded;
mod prompt;
mod remote;
mod split;
mod table;

use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use driftdb_env::Env;

use backend::Backend;
use commands::Command;
use embedded::Embedded;
use prompt::{Asker, Typed};
use remote::{Address, Remote};
use split::{Piece, Splitter};
use table::Aligned;

use crate::say::{complain, say};
use crate::{exit, files};

/// What `driftdb sql` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    address: Address,
    /// Open this data directory here instead of connecting to a server.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["host", "port", "user", "database"])]
    data: Option<PathBuf>,
    /// Run this and leave. May be given several times.
    #[arg(short, long = "command", value_name = "SQL")]
    command: Vec<String>,
    /// Run the statements of this file (- for standard input) and leave.
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
}

/// Runs the shell. Not interactive, it stops at the first error, with exit code 1.
pub(crate) fn shell(env: &Env, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.data {
        None => Shell::new(env, Box::new(Remote::connect(&arguments.address)?)).run(arguments),
        Some(data) => {
            let mut embedded = Embedded::open(data)?;
            let done = Shell::new(env, Box::new(&mut embedded)).run(arguments);
            let closed = embedded.close();
            let code = done?;
            closed.map(|()| code)
        }
    }
}

impl<B: Backend> Backend for &mut B {
    fn run(&mut self, statement: &str, sink: &mut dyn table::Sink) -> Result<()> {
        (**self).run(statement, sink)
    }

    fn copy_in(&mut self, statement: &str, chunks: backend::ReadChunk<'_>) -> Result<u64> {
        (**self).copy_in(statement, chunks)
    }

    fn copy_out(&mut self, statement: &str, chunks: backend::WriteChunk<'_>) -> Result<Option<u64>> {
        (**self).copy_out(statement, chunks)
    }

    fn notices(&mut self) -> Vec<String> {
        (**self).notices()
    }
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    More,
    Quit,
}

struct Shell<'a> {
    env: &'a Env,
    backend: Box<dyn Backend + 'a>,
    timing: bool,
}

impl<'a> Shell<'a> {
    fn new(env: &'a Env, backend: Box<dyn Backend + 'a>) -> Shell<'a> {
        Shell { env, backend, timing: false }
    }

    fn run(&mut self, arguments: &Arguments) -> Result<ExitCode> {
        if !arguments.command.is_empty() {
            return Ok(self.run_all(arguments.command.iter().map(|text| Ok(format!("{text}\n;\n")))));
        }
        match &arguments.file {
            Some(path) if path.as_os_str() != "-" => {
                let text = files::read_text(self.env, path)?;
                Ok(self.run_all(std::iter::once(Ok(text))))
            }
            None if io::stdin().is_terminal() => self.converse(),
            _ => {
                let mut input = io::stdin().lock();
                Ok(self.run_all(std::iter::from_fn(|| whole_lines(&mut input).transpose())))
            }
        }
    }

    /// Runs what `texts` give until the first error.
    fn run_all(&mut self, texts: impl Iterator<Item = Result<String>>) -> ExitCode {
        let mut splitter = Splitter::default();
        let all = || -> Result<()> {
            for text in texts {
                splitter.push(&text?);
                while let Some(piece) = splitter.next_piece() {
                    if self.perform(&piece)? == Next::Quit {
                        return Ok(());
                    }
                }
            }
            if let Some(piece) = splitter.finish() {
                self.perform(&piece)?;
            }
            Ok(())
        };
        match all() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                show_error(&error);
                ExitCode::from(exit::FAILURE)
            }
        }
    }

    /// Talks with a person: an error is shown and the talk goes on.
    fn converse(&mut self) -> Result<ExitCode> {
        say!(r"DriftDB {}: SQL ends with a semicolon, \? shows the commands, \q leaves", env!("CARGO_PKG_VERSION"));
        let mut asker = Asker::new(self.env, "driftdb")?;
        loop {
            let text = match asker.ask()? {
                Typed::Text(text) => text,
                Typed::Nothing => continue,
                Typed::End => return Ok(ExitCode::SUCCESS),
            };
            let mut splitter = Splitter::default();
            splitter.push(&text);
            splitter.push("\n");
            while let Some(piece) = splitter.next_piece() {
                match self.perform(&piece) {
                    Ok(Next::More) => {}
                    Ok(Next::Quit) => return Ok(ExitCode::SUCCESS),
                    Err(error) => {
                        show_error(&error);
                        break;
                    }
                }
            }
        }
    }

    /// Does one thing.
    fn perform(&mut self, piece: &Piece) -> Result<Next> {
        match piece {
            Piece::Statement(statement) => self.timed(|shell| shell.statement(statement))?,
            Piece::Command(line) => match commands::parse(line)? {
                Command::Quit => return Ok(Next::Quit),
                Command::Help => say!("{}", commands::HELP),
                Command::Timing(wanted) => {
                    self.timing = wanted.unwrap_or(!self.timing);
                    say!("Timing is {}.", if self.timing { "on" } else { "off" });
                }
                Command::Tables => self.statement(commands::TABLES)?,
                Command::Describe(table) => self.describe(&table)?,
                Command::Copy(command) => self.timed(|shell| {
                    let rows = copy::copy(shell.env, shell.backend.as_mut(), &command)?;
                    say!("{}", rows.map_or_else(|| "COPY".to_owned(), |rows| format!("COPY {rows}")));
                    Ok(())
                })?,
            },
        }
        Ok(Next::More)
    }

    fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let start = self.env.clock.monotonic();
        let done = work(self);
        for notice in self.backend.notices() {
            complain!("{notice}");
        }
        if self.timing {
            let spent = self.env.clock.monotonic().saturating_sub(start);
            say!("Time: {:.3} ms", spent.as_secs_f64() * 1e3);
        }
        done
    }

    fn statement(&mut self, statement: &str) -> Result<()> {
        self.backend.run(statement, &mut Aligned::new(io::stdout().lock()))
    }

    fn describe(&mut self, typed: &str) -> Result<()> {
        let name = commands::stored_name(typed);
        for statement in commands::describe(&name) {
            self.statement(&statement)?;
        }
        Ok(())
    }
}

/// As many lines as are there without waiting for more, at least one; `None` at the end.
fn whole_lines(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        let available = input.fill_buf().context("cannot read standard input")?;
        let (end, enough) = match available.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => (newline + 1, true),
            None => (available.len(), available.is_empty()),
        };
        bytes.extend(available.iter().take(end));
        input.consume(end);
        if enough {
            let text = String::from_utf8(bytes).context("standard input is not UTF-8")?;
            return Ok(Some(text).filter(|text| !text.is_empty()));
        }
    }
}

fn show_error(error: &anyhow::Error) {
    // What was printed so far belongs before the error.
    let _ = io::stdout().flush();
    complain!("{error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_whatever_the_buffer() {
        for capacity in [1, 2, 7, 100] {
            let mut input = io::BufReader::with_capacity(capacity, "é1\n\nlast 2".as_bytes());
            let mut all = String::new();
            while let Some(text) = whole_lines(&mut input).unwrap() {
                assert!(text.ends_with('\n') || text.ends_with('2'), "{text:?}");
                all.push_str(&text);
            }
            assert_eq!(all, "é1\n\nlast 2");
        }
        assert!(whole_lines(&mut b"\xff\n".as_slice()).is_err());
    }
}
