//! `driftdb serve`: settings, data directory, password, server; and the way out on a signal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use driftdb::{Database, OpenOptions};
use driftdb_env::Env;
use driftdb_wire::{Auth, RunningServer, Server, ServerOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Authentication, Layer, Settings};
use crate::credentials::{self, Password};
use crate::files;
use crate::say::say;

/// How long running statements may go on after SIGTERM before they are cancelled. A second signal cancels them at
/// once.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// What `--help` adds.
pub(crate) const HELP: &str = "Each setting may also stand in the file (memory-limit = \"2GiB\") or the environment \
    (DRIFTDB_MEMORY_LIMIT=2GiB). A flag beats a variable, a variable beats the file; what none of them knows is an \
    error. DRIFTDB_PASSWORD sets the password of the user driftdb; without it the first start makes one and shows it \
    once.";

/// What `driftdb serve` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Layer,
    /// A TOML file of settings; DRIFTDB_CONFIG names one too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Serves until a signal.
pub(crate) fn serve(env: &Env, arguments: Arguments) -> Result<()> {
    let settings = settings(env, arguments)?;
    start_tracing(&settings.log)?;
    let options = OpenOptions { memory_limit_bytes: settings.memory.0, ..OpenOptions::default() };
    let database = Database::open_with(&settings.data, options)?;
    let served = run(env, &settings, database.sql().clone());
    // Also where serving failed: what is committed gets its checkpoint and the files are closed.
    let closed = database.close();
    served?;
    closed?;
    say!("stopped");
    Ok(())
}

fn settings(env: &Env, arguments: Arguments) -> Result<Settings> {
    let file = match arguments.config.or_else(|| std::env::var_os("DRIFTDB_CONFIG").map(PathBuf::from)) {
        Some(path) => {
            let text = files::read_text(env, &path)?;
            Layer::from_toml(&text).with_context(|| path.display().to_string())?
        }
        None => Layer::default(),
    };
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    let variables = Layer::from_variables(std::env::vars_os().map(|(name, value)| (text(name), text(value))))?;
    arguments.settings.over(variables.over(file)).settle()
}

fn start_tracing(filter: &str) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).with_context(|| format!("log = \"{filter}\""))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of them on standard error, and panic where that is what failed: nobody reads the log any more.
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| anyhow!("cannot start logging: {error}"))
}

fn run(env: &Env, settings: &Settings, database: driftdb_sql::Database) -> Result<()> {
    let (auth, password) = match settings.authentication {
        Authentication::Trust => (Auth::Trust, Password::Stored),
        Authentication::Scram => {
            let given = std::env::var("DRIFTDB_PASSWORD").ok();
            let (credentials, password) = credentials::settle(env, &settings.data, given.as_deref())?;
            (Auth::Scram(credentials), password)
        }
    };
    let options = ServerOptions { max_connections: settings.connections_max, auth, ..ServerOptions::default() };
    let server = Server::bind(&[settings.listen], options, database, env.clone()).inspect_err(|_| {
        // It is stored already, and will not be shown again.
        show_generated(&password);
    })?;
    let address = server.local_addr().unwrap_or(settings.listen);
    let running = server.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody knows that the server is there: a signal that comes then must not kill it.
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        greet(settings, address, &password);
        wait(running, signals).await
    })
}

fn show_generated(password: &Password) {
    if let Password::Generated(password) = password {
        say!("user {}, password {password}", credentials::USER);
        say!("(shown this once: only its verifier is stored; DRIFTDB_PASSWORD at a start sets another)");
    }
}

fn greet(settings: &Settings, address: SocketAddr, password: &Password) {
    let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let psql = format!("psql -h {host} -p {} -U {user} {user}", address.port(), user = credentials::USER);
    say!("DriftDB {} serves {} on {address}", env!("CARGO_PKG_VERSION"), settings.data.display());
    show_generated(password);
    match password {
        Password::Generated(password) => {
            say!("connect with: PGPASSWORD={password} {psql}");
        }
        Password::Given => say!("connect with: PGPASSWORD=$DRIFTDB_PASSWORD {psql}"),
        Password::Stored => say!("connect with: {psql}"),
    }
}

/// Waits until a signal comes, then until the server is down. The first signal lets running statements finish for a
/// while; a second one cancels them.
async fn wait(running: RunningServer, (mut terminate, mut interrupt): (Signal, Signal)) -> Result<()> {
    let handle = running.handle();
    let mut down = tokio::task::spawn_blocking(move || running.join());
    let mut grace = SHUTDOWN_GRACE;
    loop {
        let name = tokio::select! {
            ended = &mut down => return ended.context("the server's thread")?.map_err(Into::into),
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(grace_s = grace.as_secs(), "{name}: shutting down");
        handle.shutdown(grace);
        grace = Duration::ZERO;
    }
}
