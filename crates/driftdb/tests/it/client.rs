//! A small blocking client over tokio-postgres, results as text.

use tokio::runtime::Runtime;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::server::{PASSWORD, Server};

/// A row as text; `None` is NULL.
pub(crate) type Row = Vec<Option<String>>;

pub(crate) struct Client {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

/// How to connect to `server`.
pub(crate) fn config(server: &Server, password: &str) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(server.port()).user("driftdb").dbname("driftdb").password(password);
    config
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Client {
        Client::try_connect(server, PASSWORD).expect("the server lets us in")
    }

    pub(crate) fn try_connect(server: &Server, password: &str) -> Result<Client, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(config(server, password).connect(NoTls))?;
        runtime.spawn(connection);
        Ok(Client { runtime, client })
    }

    pub(crate) fn try_query(&mut self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect())
    }

    /// Runs statements that have to succeed; the rows of all of them.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Row> {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", error.as_db_error()))
    }

    /// The one value of a statement that gives one.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let rows = self.query(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone().unwrap_or_else(|| panic!("{sql}: NULL"))
    }

    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.value(sql).parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}
