//! A client that reads when it likes: it speaks just enough of the protocol to have the server hold something for it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub(super) struct Raw {
    stream: TcpStream,
    /// The last byte of each row that came.
    last_bytes: Vec<u8>,
}

/// A message of the server.
struct Reply {
    tag: u8,
    body: Vec<u8>,
}

/// How an exchange ended: with ReadyForQuery, or as the server closed the connection. With the SQLSTATE of an error that
/// came before.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) open: bool,
    pub(super) error: Option<String>,
}

impl Raw {
    /// Opens a session on a server that trusts; its end if the server wants none.
    pub(super) async fn connect(port: u16) -> io::Result<Result<Raw, Ended>> {
        let socket = TcpSocket::new_v4()?;
        // The system would take megabytes of results for a client that does not read.
        socket.set_recv_buffer_size(4096)?;
        let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let mut raw = Raw { stream, last_bytes: Vec::new() };
        let body = b"\0\x03\0\0user\0driftdb\0database\0driftdb\0\0";
        raw.stream.write_all(&framed(None, body)).await?;
        let ended = raw.read_to_end().await;
        Ok(if ended.open { Ok(raw) } else { Err(ended) })
    }

    /// Sends a statement, and reads nothing.
    pub(super) async fn begin(&mut self, sql: &str) -> io::Result<()> {
        self.stream.write_all(&framed(Some(b'Q'), &terminated(sql))).await
    }

    /// Runs a statement whose result does not matter.
    pub(super) async fn run(&mut self, sql: &str) -> io::Result<Ended> {
        self.begin(sql).await?;
        Ok(self.read_to_end().await)
    }

    /// Begins a transaction, takes a few rows of a query and leaves its portal suspended.
    pub(super) async fn suspend(&mut self, sql: &str) -> io::Result<()> {
        self.run("BEGIN").await?;
        let parse = [b"\0".as_slice(), &terminated(sql), b"\0\0"].concat();
        let execute = [b"\0".as_slice(), &3_u32.to_be_bytes()].concat();
        let messages = [
            framed(Some(b'P'), &parse),
            framed(Some(b'B'), b"\0\0\0\0\0\0\0\0"),
            framed(Some(b'E'), &execute),
            framed(Some(b'S'), b""),
        ];
        self.stream.write_all(&messages.concat()).await?;
        let ended = self.read_to_end().await;
        assert!(ended.open && ended.error.is_none(), "{ended:?}");
        Ok(())
    }

    /// Has the suspended portal give the rest of its rows.
    pub(super) async fn resume(&mut self) -> io::Result<Ended> {
        let messages = [framed(Some(b'E'), b"\0\0\0\0\0"), framed(Some(b'S'), b"")];
        self.stream.write_all(&messages.concat()).await?;
        Ok(self.read_to_end().await)
    }

    /// Reads a row of a result.
    pub(super) async fn sip(&mut self) {
        let reply = self.reply().await.unwrap();
        assert!(matches!(reply.tag, b'T' | b'D'), "message {}", char::from(reply.tag));
    }

    /// The last byte of each row that came since the last call.
    pub(super) fn take_last_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.last_bytes)
    }

    /// Reads until the server waits for the next statement, or has closed the connection.
    pub(super) async fn read_to_end(&mut self) -> Ended {
        let mut error = None;
        while let Ok(reply) = self.reply().await {
            match reply.tag {
                b'Z' => return Ended { open: true, error },
                b'E' => error = Some(reply.state()),
                _ => {}
            }
        }
        Ended { open: false, error }
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let tag = self.stream.read_u8().await?;
        let length = usize::try_from(self.stream.read_u32().await?).unwrap();
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).await?;
        if tag == b'D' {
            self.last_bytes.extend(body.last());
        }
        Ok(Reply { tag, body })
    }
}

impl Reply {
    /// The SQLSTATE of an error.
    fn state(&self) -> String {
        let fields = self.body.split(|byte| *byte == 0);
        let code = fields.into_iter().find_map(|field| field.strip_prefix(b"C")).expect("an error has a code");
        String::from_utf8_lossy(code).into_owned()
    }
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// A message; the first one of a connection has no tag.
fn framed(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    tag.into_iter().chain(length.to_be_bytes()).chain(body.iter().copied()).collect()
}
