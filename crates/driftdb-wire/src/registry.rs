//! The connections that are open: for cancel requests, for the limit, and for shutting down.
//!
//! A connection is *waiting* while it has nothing to do but read the client's next message. Shutting down closes the
//! reading side of those that wait, which wakes them up; a busy one looks at the flag before it waits again. Both
//! sides write their flag before they read the other's (`SeqCst`), so one of them always sees the other.

use std::collections::HashMap;
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
}

#[derive(Debug, Default)]
struct State {
    last_pid: i32,
    connections: HashMap<i32, Arc<Entry>>,
    /// How many of them have a place under the limit.
    placed: usize,
}

#[derive(Debug)]
struct Entry {
    stream: Arc<TcpStream>,
    waiting: AtomicBool,
    /// Set when the session is open.
    session: Mutex<Option<(Vec<u8>, Arc<Cancel>)>>,
}

/// One connection's entry; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    pid: i32,
    entry: Arc<Entry>,
    placed: bool,
}

impl Registry {
    /// Enters a new connection, unless there are `connections_max` already.
    pub(crate) fn register(
        registry: &Arc<Registry>,
        stream: Arc<TcpStream>,
        connections_max: usize,
    ) -> Option<Registration> {
        let entry = Arc::new(Entry { stream, waiting: AtomicBool::new(false), session: Mutex::new(None) });
        let mut state = registry.state.lock();
        if state.connections.len() >= connections_max {
            return None;
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
        Some(Registration { registry: Arc::clone(registry), pid, entry, placed: false })
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

    /// Cancels every running statement.
    pub(crate) fn cancel_all(&self) {
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
    /// Takes a place under the limit of connections that clients can use; false if there is none.
    pub(crate) fn take_place(&mut self, connections_max: usize) -> bool {
        let mut state = self.registry.state.lock();
        if state.placed < connections_max {
            state.placed += 1;
            self.placed = true;
        }
        self.placed
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
