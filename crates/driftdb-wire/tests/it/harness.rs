//! A server for each test, and a client that speaks bytes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use driftdb_env::Env;
use driftdb_wire::{Auth, Credentials, RunningServer, ScramVerifier, Server, ServerHandle, ServerOptions};

pub(crate) const USER: &str = "driftdb";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A server on an empty database; both are gone at the end of the test.
pub(crate) struct TestServer {
    server: Option<RunningServer>,
    pub(crate) addr: SocketAddr,
    database: super::database::TestDatabase,
}

impl TestServer {
    /// With passwords.
    pub(crate) fn scram() -> TestServer {
        TestServer::with(|options| options)
    }

    /// Without.
    pub(crate) fn trust() -> TestServer {
        TestServer::with(|options| ServerOptions { auth: Auth::Trust, ..options })
    }

    pub(crate) fn with(adjust: impl FnOnce(ServerOptions) -> ServerOptions) -> TestServer {
        let env = Env::real();
        let verifier = ScramVerifier::from_password(PASSWORD, &*env.rand);
        let auth = Auth::Scram(Credentials::new().with_user(USER, verifier));
        let options = adjust(ServerOptions { auth, ..ServerOptions::default() });
        let database = super::database::TestDatabase::open();
        let listen = ["127.0.0.1:0".parse().unwrap()];
        let server = Server::bind(&listen, options, database.handle(), env).unwrap().start().unwrap();
        let addr = server.local_addr().unwrap();
        TestServer { server: Some(server), addr, database }
    }

    pub(crate) fn handle(&self) -> ServerHandle {
        self.server.as_ref().unwrap().handle()
    }

    /// Shuts the server down within `grace`, not the database.
    pub(crate) fn shutdown(&mut self, grace: Duration) {
        self.server.take().unwrap().shutdown(grace).unwrap();
    }

    /// A raw connection on which nothing was said yet.
    pub(crate) fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, key: None, parameters: HashMap::new() }
    }

    /// A raw connection past its start; the server must trust.
    pub(crate) fn session(&self) -> Raw {
        let mut raw = self.connect();
        raw.startup(3 << 16, &[("user", USER)]);
        raw.until_ready();
        raw
    }

    /// Checks that the server still answers someone new.
    pub(crate) fn assert_alive(&self) {
        let mut raw = self.session();
        assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let stopped = server.shutdown(Duration::ZERO);
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
        self.database.close();
    }
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) tag: char,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The fields of an error or notice.
    pub(crate) fn fields(&self) -> HashMap<char, String> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        text.split('\0').filter_map(|part| Some((part.chars().next()?, part.get(1..)?.to_owned()))).collect()
    }

    /// `SEVERITY SQLSTATE` of an error.
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.tag, 'E', "{self:?}");
        let fields = self.fields();
        format!("{} {}", fields[&'S'], fields[&'C'])
    }

    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8(self.body.clone()).unwrap();
        text.strip_suffix('\0').unwrap_or(&text).to_owned()
    }

    /// The values of a DataRow.
    pub(crate) fn row(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, 'D', "{self:?}");
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        for _ in 0..u16::from_be_bytes([self.body[0], self.body[1]]) {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            values.push(usize::try_from(length).ok().map(|length| {
                let (value, after) = rest.split_at(length);
                rest = after;
                value.to_vec()
            }));
        }
        assert!(rest.is_empty());
        values
    }
}

/// A client that speaks bytes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// Pid and secret for a cancel request.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) parameters: HashMap<String, String>,
}

impl Raw {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn startup(&mut self, version: u32, parameters: &[(&str, &str)]) {
        self.bytes(&startup_packet(version, parameters));
    }

    pub(crate) fn send(&mut self, tag: u8, body: &[u8]) {
        self.bytes(&message(tag, body));
    }

    /// The next message, or `None` when the server has closed the connection.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut head = [0; 5];
        let mut got = 0;
        while got < head.len() {
            match self.stream.read(&mut head[got..]) {
                Ok(0) | Err(_) if got == 0 => return None,
                Ok(0) => panic!("the server's message is cut"),
                Ok(count) => got += count,
                Err(error) => panic!("no whole message: {error}"),
            }
        }
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        self.stream.read_exact(&mut body).unwrap();
        let reply = Reply { tag: char::from(head[0]), body };
        match reply.tag {
            'K' => self.key = Some(reply.body.clone()),
            'S' => {
                let text = reply.text();
                let (name, value) = text.split_once('\0').unwrap();
                self.parameters.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
        Some(reply)
    }

    /// All messages up to ReadyForQuery, it included.
    pub(crate) fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            let reply = self.reply().unwrap_or_else(|| panic!("closed after {replies:?}"));
            let last = reply.tag == 'Z';
            replies.push(reply);
            if last {
                return replies;
            }
        }
    }

    /// The type letters of all messages up to ReadyForQuery, and its status.
    pub(crate) fn shape(&mut self) -> String {
        let replies = self.until_ready();
        let status = char::from(replies.last().unwrap().body[0]);
        replies.iter().map(|reply| reply.tag).chain([status]).collect()
    }

    /// Sends a simple query; gives its replies.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Reply> {
        self.send(b'Q', &[sql.as_bytes(), &[0]].concat());
        self.until_ready()
    }

    /// The command tags of a simple query, or its error.
    pub(crate) fn query_tags(&mut self, sql: &str) -> Vec<String> {
        let tag = |reply: Reply| match reply.tag {
            'C' => Some(reply.text()),
            'E' => Some(reply.error()),
            _ => None,
        };
        self.query(sql).into_iter().filter_map(tag).collect()
    }

    /// Expects that the server says why and closes the connection.
    pub(crate) fn expect_fatal(&mut self, state: &str) -> HashMap<char, String> {
        let reply = self.reply().expect("an error before the end");
        assert_eq!(reply.error(), format!("FATAL {state}"), "{:?}", reply.fields());
        assert_eq!(self.reply(), None);
        reply.fields()
    }
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

pub(crate) fn startup_packet(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&length[..], &body].concat()
}
