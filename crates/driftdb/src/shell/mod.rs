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

use anyhow::{Context as _, Result, bail};
use driftdb_env::Env;

use backend::{Backend, ReadChunk};
use commands::{Command, CopyCommand};
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

    fn copy_in(&mut self, statement: &str, chunks: ReadChunk<'_>) -> Result<u64> {
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
            let texts = arguments.command.iter().map(|text| Ok(format!("{text}\n;\n")));
            return Ok(self.run_all(texts, Data::Stdin));
        }
        match &arguments.file {
            Some(path) if path.as_os_str() != "-" => {
                let text = files::read_text(self.env, path)?;
                Ok(self.run_all(std::iter::once(Ok(text)), Data::Follows))
            }
            None if io::stdin().is_terminal() => self.converse(),
            _ => {
                let mut input = io::stdin().lock();
                let texts = std::iter::from_fn(|| whole_lines(&mut input).transpose());
                Ok(self.run_all(texts, Data::Follows))
            }
        }
    }

    /// Runs what `texts` give until the first error.
    fn run_all(&mut self, mut texts: impl Iterator<Item = Result<String>>, data: Data) -> ExitCode {
        let mut splitter = Splitter::default();
        let mut all = || -> Result<()> {
            while let Some(text) = texts.next() {
                splitter.push(&text?);
                while let Some(piece) = splitter.next_piece() {
                    let mut first = true;
                    let mut lines = || match data {
                        Data::Stdin => stdin_line(),
                        Data::Follows => following_line(&mut splitter, &mut texts, std::mem::take(&mut first)),
                    };
                    if self.perform(&piece, &mut lines)? == Next::Quit {
                        return Ok(());
                    }
                }
            }
            if let Some(piece) = splitter.finish() {
                self.perform(&piece, &mut || Ok(None))?;
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
                match self.perform(&piece, &mut typed_line()) {
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

    /// Does one thing. `lines` gives the data that follows it, for a COPY.
    fn perform(&mut self, piece: &Piece, lines: ReadChunk<'_>) -> Result<Next> {
        match piece {
            Piece::Statement(statement) => match commands::copy_statement(statement) {
                Some(command) => self.copy(&command, lines)?,
                None => self.timed(|shell| shell.statement(statement))?,
            },
            Piece::Command(line) => match commands::parse(line)? {
                Command::Quit => return Ok(Next::Quit),
                Command::Help => say!("{}", commands::HELP),
                Command::Timing(wanted) => {
                    self.timing = wanted.unwrap_or(!self.timing);
                    say!("Timing is {}.", if self.timing { "on" } else { "off" });
                }
                Command::Tables => self.statement(commands::TABLES)?,
                Command::Describe(table) => self.describe(&table)?,
                Command::Copy(command) => self.copy(&command, lines)?,
            },
        }
        Ok(Next::More)
    }

    fn copy(&mut self, command: &CopyCommand, lines: ReadChunk<'_>) -> Result<()> {
        self.timed(|shell| copy::copy(shell.env, shell.backend.as_mut(), command, lines))
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
        let mut found = Found::default();
        self.backend.run(&commands::exists(&name), &mut found)?;
        if !found.0 {
            bail!("there is no table named \"{typed}\"");
        }
        for statement in commands::describe(&name) {
            self.statement(&statement)?;
        }
        Ok(())
    }
}

/// Where the data of a COPY FROM STDIN is.
#[derive(Clone, Copy)]
enum Data {
    /// Behind the statement, in the same text.
    Follows,
    /// In standard input, which holds nothing else.
    Stdin,
}

/// Whether a query gave a row.
#[derive(Default)]
struct Found(bool);

impl table::Sink for Found {
    fn columns(&mut self, _: Vec<String>) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, _: Vec<Option<String>>) -> io::Result<()> {
        self.0 = true;
        Ok(())
    }

    fn done(&mut self, _: &str, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The next line of standard input.
fn stdin_line() -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).context("cannot read standard input")?;
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// The next line behind the statement, for which more text may have to be read.
fn following_line(
    splitter: &mut Splitter,
    texts: &mut impl Iterator<Item = Result<String>>,
    first: bool,
) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(line) = splitter.next_line(first) {
            return Ok(Some(line.into_bytes()));
        }
        match texts.next() {
            Some(text) => splitter.push(&text?),
            None => return Ok(splitter.last_line().map(String::into_bytes)),
        }
    }
}

/// Lines of data from the keyboard; what to do is said before the first.
fn typed_line() -> impl FnMut() -> Result<Option<Vec<u8>>> {
    let mut told = false;
    move || {
        if !std::mem::replace(&mut told, true) {
            say!(r"Enter the data, a line a row, and end it with \. on a line of its own or Ctrl-D.");
        }
        stdin_line()
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
