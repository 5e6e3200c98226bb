//! Who may connect.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use driftdb_env::Rand;

use crate::scram::ScramVerifier;

/// How clients prove who they are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// SCRAM-SHA-256 against stored verifiers.
    Scram(Credentials),
    /// Anyone who can connect is who they say: only on loopback addresses, [`crate::Server::bind`] refuses others.
    Trust,
}

impl Auth {
    /// The first of the addresses on which this is not allowed.
    pub(crate) fn refuses(&self, listen: &[SocketAddr]) -> Option<SocketAddr> {
        match self {
            Auth::Scram(_) => None,
            Auth::Trust => listen.iter().copied().find(|addr| !addr.ip().to_canonical().is_loopback()),
        }
    }
}

/// The users and their verifiers.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    users: BTreeMap<String, ScramVerifier>,
}

impl Credentials {
    /// No users: nobody can connect.
    pub fn new() -> Credentials {
        Credentials::default()
    }

    /// The same with one user more, or with that user's verifier replaced.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, verifier: ScramVerifier) -> Credentials {
        self.users.insert(user.into(), verifier);
        self
    }

    /// Whether there is this user, with this password.
    pub fn fits(&self, user: &str, password: &str) -> bool {
        self.users.get(user).is_some_and(|verifier| verifier.fits(password))
    }

    /// What to check this user's proof against; for a user there is not, something that no proof fits.
    pub(crate) fn verifier(&self, user: &str, rand: &dyn Rand) -> ScramVerifier {
        match self.users.get(user) {
            Some(verifier) => verifier.clone(),
            // Made of the keys of those there are, the salt of one there is not outlives a restart, as a real one does.
            None => ScramVerifier::nobody(user, self.users.values(), rand),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_for_loopback_only() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let local = [addr("127.0.0.1:1"), addr("[::1]:1"), addr("127.9.9.9:1"), addr("[::ffff:127.0.0.1]:1")];
        assert_eq!(Auth::Trust.refuses(&local), None);
        for open in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(Auth::Trust.refuses(&[local[0], addr(open)]), Some(addr(open)));
            assert_eq!(Auth::Scram(Credentials::new()).refuses(&[addr(open)]), None);
        }
    }
}
