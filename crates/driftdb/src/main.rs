//! The one binary: `serve`, `init`, `sql`, `doctor`, `verify`. Each command is a module; what they share is small.

mod config;
mod credentials;
mod doctor;
mod exit;
mod files;
mod init;
mod repair;
mod say;
mod serve;
mod shell;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use driftdb_env::Env;

use crate::say::complain;

/// A server runs a thread for each connection, and glibc's allocator keeps what each of them once needed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(
    name = "driftdb",
    version,
    about = "A SQL database in which nothing is ever overwritten: any query can be asked as of any commit",
    after_help = exit::HELP
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a data directory to PostgreSQL clients.
    #[command(after_help = serve::HELP)]
    Serve(serve::Arguments),
    /// Make a data directory and its password, without serving it.
    Init(init::Arguments),
    /// Talk SQL: to a server, or to a data directory opened here.
    Sql(shell::Arguments),
    /// Check every file of a stopped database, and make a repaired copy of it.
    #[command(after_help = repair::HELP)]
    Doctor(doctor::Arguments),
    /// Check that a stopped database holds what was committed, down to the last byte.
    #[command(after_help = verify::HELP)]
    Verify(verify::Arguments),
}

fn main() -> ExitCode {
    let env = Env::real();
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => serve::serve(&env, arguments).map(|()| ExitCode::SUCCESS),
        Command::Init(arguments) => init::init(&env, &arguments).map(|()| ExitCode::SUCCESS),
        Command::Sql(arguments) => shell::shell(&env, &arguments),
        Command::Doctor(arguments) => doctor::doctor(&env, &arguments),
        Command::Verify(arguments) => verify::verify(&env, &arguments),
    };
    done.unwrap_or_else(|error| {
        complain!("driftdb: {error:#}");
        if let Some(hint) = error.downcast_ref::<driftdb::Error>().and_then(|error| error.hint.as_ref()) {
            complain!("{hint}");
        }
        exit::code(&error)
    })
}
