//! The connections that are open: for cancel requests, for the limits, and for shutting down.
//!
//! A connection is *starting* until its client has proved who it is, then it has a *place*; each has a limit of its own, so
//! that strangers cannot take the places of clients. When the first limit is reached, the one that has been starting
//! longest is let go for the newcomer: a client starts within milliseconds, and who holds sockets open without a word is
//! always older.
//!
//! A connection is *waiting* while it has nothing to do but read the client's next message. Shutting down closes the
//! reading side of those that wait, which wakes them up; a busy one looks at the flag before it waits again. Both
//! sides write their flag before they read the other's (`SeqCst`), so one of them always sees the other.

use std::collections::{BTreeMap, HashMap};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftdb_engine::Cancel;
use driftdb_env::Rand;
use parking_lot::{Condvar, Mutex};

/// Length of the secret of protocol 3.0, and of ours in 3.2 (which allows 4 to 256).
const SHORT_SECRET_BYTES: usize = 4;
const LONG_SECRET_BYTES: usize = 32;

/// What a client needs to cancel its running statement from another connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelKey {
    pub(crate) pid: i32,
    pub(crate) secret: Vec<u8>,
}

/// All open connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
    /// Signalled when a connection ends.
    ended: Condvar,
    stopping: AtomicBool,
    /// The grace of the shutdown is over.
    cancelling: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    last_pid: i32,
    connections: HashMap<i32, Arc<Entry>>,
    /// Those that are starting, in the order in which they came.
    starting: BTreeMap<u64, Arc<Entry>>,
    last_turn: u64,
    /// How many have a place under the limit of sessions.
    placed: usize,
}

#[derive(Debug)]
struct Entry {
    stream: Arc<TcpStream>,
    waiting: AtomicBool,
    /// It was starting for too long while others came.
    let_go: AtomicBool,
    /// Set when the session is open.
    session: Mutex<Option<(Vec<u8>, Arc<Cancel>)>>,
}

/// One connection's entry; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    pid: i32,
    entry: Arc<Entry>,
    /// Its key among those that are starting.
    turn: u64,
    placed: bool,
}

impl Registry {
    /// Enters a new connection, which is starting. With `starting_max` of them the oldest is let go; `None` if there are
    /// `connections_max` in all.
    pub(crate) fn register(
        registry: &Arc<Registry>,
        stream: Arc<TcpStream>,
        starting_max: usize,
        connections_max: usize,
    ) -> Option<Registration> {
        let (waiting, let_go) = (AtomicBool::new(false), AtomicBool::new(false));
        let entry = Arc::new(Entry { stream, waiting, let_go, session: Mutex::new(None) });
        let mut state = registry.state.lock();
        if state.connections.len() >= connections_max {
            return None;
        }
        while state.starting.len() >= starting_max.max(1) {
            let Some((_, oldest)) = state.starting.pop_first() else { break };
            oldest.let_go.store(true, Ordering::SeqCst);
            close(&oldest.stream, Shutdown::Read);
        }
        let mut pid = state.last_pid;
        loop {
            pid = pid.checked_add(1).unwrap_or(1);
            if !state.connections.contains_key(&pid) {
                break;
            }
        }
        state.last_pid = pid;
        state.connections.insert(pid, Arc::clone(&entry));
        state.last_turn += 1;
        let turn = state.last_turn;
        state.starting.insert(turn, Arc::clone(&entry));
        Some(Registration { registry: Arc::clone(registry), pid, entry, turn, placed: false })
    }

    /// Cancels the statement that runs on the connection with this key. A wrong key does nothing, and takes the same
    /// time however much of it is right.
    pub(crate) fn cancel(&self, key: &CancelKey) {
        let entry = self.state.lock().connections.get(&key.pid).map(Arc::clone);
        let Some(entry) = entry else { return };
        if let Some((secret, cancel)) = &*entry.session.lock()
            && equal_in_constant_time(secret, &key.secret)
        {
            cancel.cancel();
        }
    }

    /// Whether the server is shutting down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Says that the server is shutting down, and wakes up every connection that waits for its client.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for entry in self.entries() {
            if entry.waiting.load(Ordering::SeqCst) {
                close(&entry.stream, Shutdown::Read);
            }
        }
    }

    /// Whether what is cancelled now is so because the server shuts down.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.cancelling.load(Ordering::SeqCst)
    }

    /// Cancels every running statement, as the server will not wait for them any more.
    pub(crate) fn cancel_all(&self) {
        self.cancelling.store(true, Ordering::SeqCst);
        for entry in self.entries() {
            if let Some((_, cancel)) = &*entry.session.lock() {
                cancel.cancel();
            }
        }
    }

    /// Closes every connection under its thread.
    pub(crate) fn close_all(&self) {
        for entry in self.entries() {
            close(&entry.stream, Shutdown::Both);
        }
    }

    /// Waits until all connections have ended; gives how many are left after `timeout`.
    pub(crate) fn wait_for_end(&self, timeout: Duration) -> usize {
        let mut state = self.state.lock();
        // One wait is bounded, not all together: the sum is bounded by the number of connections, which only falls.
        while !state.connections.is_empty() {
            if self.ended.wait_for(&mut state, timeout).timed_out() {
                break;
            }
        }
        state.connections.len()
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.state.lock().connections.values().map(Arc::clone).collect()
    }
}

/// An error means that the connection is closed already.
fn close(stream: &TcpStream, how: Shutdown) {
    if let Err(error) = stream.shutdown(how) {
        tracing::debug!(%error, "closing a connection");
    }
}

impl Registration {
    /// Ends the start: takes a place under the limit of sessions; false if there is none, or it was let go meanwhile.
    pub(crate) fn take_place(&mut self, connections_max: usize) -> bool {
        let mut state = self.registry.state.lock();
        state.starting.remove(&self.turn);
        if state.placed < connections_max && !self.was_let_go() {
            state.placed += 1;
            self.placed = true;
        }
        self.placed
    }

    /// Whether it was starting for so long that another one got its room.
    pub(crate) fn was_let_go(&self) -> bool {
        self.entry.let_go.load(Ordering::SeqCst)
    }

    /// The connection's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Makes the session cancellable; gives the key for the client.
    pub(crate) fn open(&self, cancel: Arc<Cancel>, rand: &dyn Rand, long_secret: bool) -> CancelKey {
        let mut secret = vec![0; if long_secret { LONG_SECRET_BYTES } else { SHORT_SECRET_BYTES }];
        rand.fill(&mut secret);
        *self.entry.session.lock() = Some((secret.clone(), cancel));
        CancelKey { pid: self.pid, secret }
    }

    /// Says that the connection goes to wait for its client; false if it should not, as the server is shutting down.
    pub(crate) fn begin_wait(&self) -> bool {
        self.entry.waiting.store(true, Ordering::SeqCst);
        !self.registry.is_stopping()
    }

    /// Says that the client has sent something.
    pub(crate) fn end_wait(&self) {
        self.entry.waiting.store(false, Ordering::SeqCst);
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        state.connections.remove(&self.pid);
        state.starting.remove(&self.turn);
        if self.placed {
            state.placed = state.placed.saturating_sub(1);
        }
        drop(state);
        self.registry.ended.notify_all();
    }
}

/// Whether the secrets are equal, in a time that only depends on their lengths.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |found, (l, r)| std::hint::black_box(found | (l ^ r)));
    left.len() == right.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(equal_in_constant_time(b"abcd", b"abcd"));
        for other in [&b"abcx"[..], b"xbcd", b"abc", b"abcde", b""] {
            assert!(!equal_in_constant_time(b"abcd", other));
        }
    }
}
