//! The shell over a connection to a server.

use std::future::poll_fn;
use std::io::Cursor;
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result, anyhow};
use futures::{SinkExt as _, StreamExt as _};
use tokio::runtime::Runtime;
use tokio_postgres::error::DbError;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, SimpleQueryMessage, Socket};

use super::backend::{Backend, ReadChunk, Report, WriteChunk};
use super::table::Sink;

/// Notices that wait to be shown; more are dropped.
const NOTICES_MAX: usize = 1_000;

/// Whom to connect to, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Address {
    /// The server's host.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The server's port.
    #[arg(long, default_value_t = 5433)]
    port: u16,
    /// The user; the password comes from DRIFTDB_PASSWORD or PGPASSWORD.
    #[arg(long, default_value = "driftdb")]
    user: String,
    /// The database; driftdb@42 or driftdb@2026-11-01T10:00:00Z reads as of that point.
    #[arg(long, default_value = "driftdb")]
    database: String,
}

/// A connection.
pub(super) struct Remote {
    runtime: Runtime,
    client: Client,
    notices: Receiver<String>,
}

impl Remote {
    /// Connects.
    pub(super) fn connect(address: &Address) -> Result<Remote> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut config = tokio_postgres::Config::new();
        config
            .host(&address.host)
            .port(address.port)
            .user(&address.user)
            .dbname(&address.database)
            .application_name("driftdb sql");
        if let Ok(password) = std::env::var("DRIFTDB_PASSWORD").or_else(|_| std::env::var("PGPASSWORD")) {
            config.password(password);
        }
        let (client, connection) = runtime
            .block_on(config.connect(NoTls))
            .map_err(|error| anyhow!(describe(&error, "")))
            .with_context(|| format!("cannot connect to {}:{}", address.host, address.port))?;
        let (sender, notices) = sync_channel(NOTICES_MAX);
        runtime.spawn(attend(connection, sender));
        Ok(Remote { runtime, client, notices })
    }
}

/// Drives the connection until it closes, keeping the notices.
async fn attend(mut connection: Connection<Socket, NoTlsStream>, notices: SyncSender<String>) {
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message {
            // Full: the reader is far behind, and a notice is not worth blocking the connection for.
            let _ = notices.try_send(report(&notice, ""));
        }
    }
}

impl Backend for Remote {
    fn run(&mut self, statement: &str, sink: &mut dyn Sink) -> Result<()> {
        let client = &self.client;
        self.runtime.block_on(async {
            let shown = |error: tokio_postgres::Error| anyhow!(describe(&error, statement));
            let mut messages = pin!(client.simple_query_raw(statement).await.map_err(shown)?);
            loop {
                let message = tokio::select! {
                    message = messages.next() => message,
                    // The answer to the cancel request is an error from the statement itself, if it was in time.
                    _ = tokio::signal::ctrl_c() => {
                        client.cancel_token().cancel_query(NoTls).await.map_err(shown)?;
                        continue;
                    }
                };
                match message.transpose().map_err(shown)? {
                    None => return Ok(()),
                    Some(SimpleQueryMessage::RowDescription(columns)) => {
                        sink.columns(columns.iter().map(|column| column.name().to_owned()).collect())?;
                    }
                    Some(SimpleQueryMessage::Row(row)) => {
                        let mut values = Vec::with_capacity(row.len());
                        for column in 0..row.len() {
                            values.push(row.try_get(column).map_err(shown)?.map(str::to_owned));
                        }
                        sink.row(values)?;
                    }
                    Some(SimpleQueryMessage::CommandComplete(rows)) => sink.done(statement, rows)?,
                    Some(_) => {}
                }
            }
        })
    }

    fn copy_in(&mut self, statement: &str, chunks: ReadChunk<'_>) -> Result<u64> {
        let client = &self.client;
        self.runtime.block_on(async {
            let shown = |error: tokio_postgres::Error| anyhow!(describe(&error, statement));
            // Dropped before `finish`, the sink tells the server to forget the copy.
            let mut sink = pin!(client.copy_in::<_, Cursor<Vec<u8>>>(statement).await.map_err(shown)?);
            while let Some(chunk) = chunks()? {
                if sink.send(Cursor::new(chunk)).await.is_err() {
                    break; // the server has ended the copy; `finish` says why
                }
            }
            sink.finish().await.map_err(shown)
        })
    }

    fn copy_out(&mut self, statement: &str, chunks: WriteChunk<'_>) -> Result<Option<u64>> {
        let client = &self.client;
        self.runtime.block_on(async {
            let shown = |error: tokio_postgres::Error| anyhow!(describe(&error, statement));
            let mut data = pin!(client.copy_out(statement).await.map_err(shown)?);
            while let Some(chunk) = data.next().await {
                chunks(&chunk.map_err(shown)?)?;
            }
            Ok(None)
        })
    }

    fn notices(&mut self) -> Vec<String> {
        self.notices.try_iter().collect()
    }
}

fn describe(error: &tokio_postgres::Error, statement: &str) -> String {
    match error.as_db_error() {
        Some(error) => report(error, statement),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

fn report(error: &DbError, statement: &str) -> String {
    let position = match error.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => usize::try_from(*position).ok(),
        _ => None,
    };
    let report = Report {
        severity: error.severity(),
        code: error.code().code(),
        message: error.message(),
        detail: error.detail(),
        hint: error.hint(),
        position,
    };
    report.text(statement)
}
