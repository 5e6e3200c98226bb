//! Listening, admitting and shutting down. Which thread does what:
//!
//! | thread | does |
//! |---|---|
//! | the caller of [`Server::run`] (or the one [`Server::start`] makes) | accepts on all addresses, then sees the shutdown through |
//! | one for each connection | everything else ([`crate::connection`]) |
//!
//! Memory is bounded by the number of connections times the bounds of each. Connections that have not authenticated (they
//! may only want to cancel, or to be told that the server is full) have a limit of their own; when it is reached the
//! oldest of them is let go. As many again may be on their way out, and past those a connection is closed unread.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use driftdb_env::{Env, TaskHandle};
use driftdb_sql::Database;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::connection;
use crate::registry::Registry;

/// How long the accept loop rests when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long statements may take to notice that they were cancelled when the server shuts down.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// Bounds and rules of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most sessions at a time; one more gets FATAL 53300. Default 100.
    pub max_connections: usize,
    /// How clients prove who they are. Default: SCRAM without users, so that nobody gets in.
    pub auth: Auth,
    /// Most connections at a time whose client has not authenticated yet; for one more the oldest of them is let go,
    /// with FATAL 53300 if its client has asked for a session. Default 100.
    pub max_starting: usize,
    /// How long a client may take to start and authenticate. Default 10 s.
    pub startup_timeout: Duration,
    /// Most bytes of one message of a client (a statement, all parameters of a Bind). One that is longer ends the connection;
    /// one that there is no memory for is read past, and answered with 53200. Default: as in PostgreSQL, 1 GiB less 2 with its length.
    pub message_bytes_max: usize,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_connections: 100,
            auth: Auth::Scram(crate::Credentials::new()),
            max_starting: 100,
            startup_timeout: Duration::from_secs(10),
            message_bytes_max: (1 << 30) - 6,
        }
    }
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No address was given.
    #[error("no address to listen on")]
    NoAddress,
    /// Trust would let in anyone who reaches this address.
    #[error("authentication by trust is only allowed on loopback addresses, not on {0}")]
    TrustBeyondLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("cannot start the server: {0}")]
    Start(#[source] io::Error),
    /// The thread of a server panicked.
    #[error("the server's thread ended by a panic")]
    Panicked,
}

/// What every connection of a server shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ServerOptions,
    pub(crate) db: Database,
    pub(crate) env: Env,
    pub(crate) registry: Arc<Registry>,
}

/// A server that listens. It answers when it is run.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    addrs: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop: watch::Sender<Option<Duration>>,
}

/// Shuts a server down, from any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    stop: watch::Sender<Option<Duration>>,
}

impl ServerHandle {
    /// Asks the server to shut down; returns at once, and [`Server::run`] returns when it is done. No connection is
    /// accepted any more, those that wait for their client are told FATAL 57P01, running statements have until
    /// `grace` is over and are then cancelled. A second call can only shorten the grace.
    pub fn shutdown(&self, grace: Duration) {
        self.stop.send_if_modified(|asked| {
            let shorter = asked.is_none_or(|before| grace < before);
            if shorter {
                *asked = Some(grace);
            }
            shorter
        });
    }
}

/// A server on a thread of its own.
#[derive(Debug)]
pub struct RunningServer {
    handle: ServerHandle,
    addrs: Vec<SocketAddr>,
    thread: TaskHandle,
    result: Arc<Mutex<Option<Result<(), ServerError>>>>,
}

impl RunningServer {
    /// The first address it listens on, with the port the system chose if none was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addrs.first().copied()
    }

    /// A handle to shut it down.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Shuts it down, as [`ServerHandle::shutdown`], and waits for that.
    pub fn shutdown(self, grace: Duration) -> Result<(), ServerError> {
        self.handle.shutdown(grace);
        self.join()
    }

    /// Waits until it is shut down.
    pub fn join(self) -> Result<(), ServerError> {
        self.thread.join().map_err(|_| ServerError::Panicked)?;
        self.result.lock().take().unwrap_or(Ok(()))
    }
}

impl Server {
    /// Listens on all the addresses (port 0 lets the system choose one).
    pub fn bind(listen: &[SocketAddr], options: ServerOptions, db: Database, env: Env) -> Result<Server, ServerError> {
        if listen.is_empty() {
            return Err(ServerError::NoAddress);
        }
        if let Some(addr) = options.auth.refuses(listen) {
            return Err(ServerError::TrustBeyondLoopback(addr));
        }
        let mut listeners = Vec::new();
        let mut addrs = Vec::new();
        for &addr in listen {
            let in_listen = |source| ServerError::Listen { addr, source };
            let listener = TcpListener::bind(addr).map_err(in_listen)?;
            listener.set_nonblocking(true).map_err(in_listen)?;
            addrs.push(listener.local_addr().map_err(in_listen)?);
            listeners.push(listener);
        }
        let shared = Shared { options, db, env, registry: Arc::default() };
        Ok(Server { listeners, addrs, shared: Arc::new(shared), stop: watch::Sender::new(None) })
    }

    /// The first address it listens on, with the port the system chose if none was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addrs.first().copied()
    }

    /// Every address it listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// A handle to shut it down.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { stop: self.stop.clone() }
    }

    /// Serves on a thread of its own.
    pub fn start(self) -> Result<RunningServer, ServerError> {
        let (handle, addrs) = (self.handle(), self.addrs.clone());
        let result = Arc::new(Mutex::new(None));
        let (spawner, place) = (Arc::clone(&self.shared.env.spawner), Arc::clone(&result));
        let task = Box::new(move || {
            let ended = self.run();
            *place.lock() = Some(ended);
        });
        let thread = spawner.spawn("wire-accept", task).map_err(ServerError::Start)?;
        Ok(RunningServer { handle, addrs, thread, result })
    }

    /// Serves on this thread until it is shut down. When it returns no connection of it is left, unless one did not
    /// notice for five seconds that it was cancelled: that is logged.
    pub fn run(self) -> Result<(), ServerError> {
        let Server { listeners, shared, stop, .. } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::Start)?;
        let mut stopped = stop.subscribe();
        runtime.block_on(async {
            let mut accepting = tokio::task::JoinSet::new();
            for listener in listeners {
                let listener = tokio::net::TcpListener::from_std(listener).map_err(ServerError::Start)?;
                accepting.spawn(accept(listener, Arc::clone(&shared)));
            }
            // The sender lives in `stop`, so this cannot fail.
            let _asked = stopped.wait_for(Option::is_some).await;
            Ok(())
        })?;
        // The listeners are closed with the runtime's tasks.
        drop(runtime);
        drain(&shared, &mut stopped);
        Ok(())
    }
}

/// Accepts for ever.
async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.into_std().and_then(|stream| admit(stream, peer, &shared)) {
                    tracing::warn!(%peer, %error, "a connection could not be served");
                }
            }
            // The client has given up while it waited in the queue.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives a new connection its thread.
fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    // A client whose machine has vanished must not hold its place for ever.
    socket2::SockRef::from(&stream).set_keepalive(true)?;
    let stream = Arc::new(stream);
    let starting_max = shared.options.max_starting;
    let all_max = shared.options.max_connections.saturating_add(starting_max.max(1).saturating_mul(2));
    let registered = Registry::register(&shared.registry, Arc::clone(&stream), starting_max, all_max);
    let Some(registration) = registered else {
        return Ok(());
    };
    let spawner = Arc::clone(&shared.env.spawner);
    let shared = Arc::clone(shared);
    let task = Box::new(move || connection::serve(stream, peer, registration, &shared));
    spawner.spawn("wire-connection", task).map(drop)
}

/// Ends all connections.
fn drain(shared: &Shared, stopped: &mut watch::Receiver<Option<Duration>>) {
    const STEP: Duration = Duration::from_millis(20);
    let registry = &shared.registry;
    registry.stop();
    let start = shared.env.clock.monotonic();
    loop {
        // A second request may have shortened it.
        let grace = stopped.borrow().unwrap_or_default();
        let spent = shared.env.clock.monotonic().saturating_sub(start);
        if spent >= grace || registry.wait_for_end(STEP.min(grace.saturating_sub(spent))) == 0 {
            break;
        }
    }
    registry.cancel_all();
    if registry.wait_for_end(CANCEL_WAIT) == 0 {
        return;
    }
    registry.close_all();
    let left = registry.wait_for_end(CANCEL_WAIT);
    if left > 0 {
        tracing::error!(left, "connections did not end");
    }
}
