//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it: what is stored of a password, and the exchange.
//!
//! ```text
//!   client                                        server, which has: salt, iterations, StoredKey, ServerKey
//!     n,,n=,r=<c-nonce>                     →
//!                                           ←     r=<c-nonce><s-nonce>,s=<salt>,i=<iterations>
//!     c=biws,r=<both>,p=<ClientProof>       →     H(ClientProof xor HMAC(StoredKey, all of the above)) = StoredKey?
//!                                           ←     v=HMAC(ServerKey, all of the above)
//! ```
//!
//! From StoredKey and ServerKey nobody can log in, and the password is never here. The steps of the exchange are
//! pgwire's (0.42.1 was read for it: the client's GS2 header and nonce are compared, the proof's length is checked,
//! a channel binding we do not offer is refused). An unknown user gets the same exchange with keys nobody has, and
//! always the same salt, so that neither the messages nor their number tell whether the user exists.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use driftdb_env::Rand;
use driftdb_types::{Error, Result, SqlState};
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;

use crate::frontend::Body;

/// The one mechanism offered. Without TLS there is no channel to bind to.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What is kept of a password, in PostgreSQL's text form
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (`Display` and `FromStr`).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// A text that is not a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM verifier: expected SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
pub struct InvalidVerifier;

impl ScramVerifier {
    /// The verifier of a password, with a new salt.
    pub fn from_password(password: &str, rand: &dyn Rand) -> ScramVerifier {
        let mut salt = vec![0; SALT_BYTES];
        rand.fill(&mut salt);
        ScramVerifier::with_salt(password, salt)
    }

    /// Whether this is the verifier of that password. It takes as long as making one.
    pub fn fits(&self, password: &str) -> bool {
        *self == ScramVerifier::with_salt(password, self.salt.clone())
    }

    fn with_salt(password: &str, salt: Vec<u8>) -> ScramVerifier {
        let salted = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
        match ScramSecret::verifier_from_salted_password(salt, salted, SCRAM_ITERATIONS) {
            ScramSecret::Verifier { salt, stored_key, server_key, .. } => {
                ScramVerifier { iterations: default_iterations(), salt, stored_key, server_key }
            }
            // That function makes no other; if it ever does, nobody logs in with it.
            ScramSecret::SaltedPassword { salt, .. } => ScramVerifier {
                iterations: default_iterations(),
                salt,
                stored_key: vec![0; KEY_BYTES],
                server_key: vec![0; KEY_BYTES],
            },
        }
    }

    /// A verifier that no password fits, for a user there is not. Its salt is always the same for the same name and
    /// the same `others`.
    pub(crate) fn nobody<'a>(
        user: &str,
        others: impl Iterator<Item = &'a ScramVerifier>,
        rand: &dyn Rand,
    ) -> ScramVerifier {
        let secret: Vec<u8> = others.flat_map(|other| other.server_key.iter().copied()).collect();
        // PBKDF2 with one iteration is HMAC here: a function of the name that only who has the keys can compute.
        let mut salt = gen_salted_password(user, &secret, 1);
        salt.truncate(SALT_BYTES);
        let (mut stored_key, mut server_key) = (vec![0; KEY_BYTES], vec![0; KEY_BYTES]);
        rand.fill(&mut stored_key);
        rand.fill(&mut server_key);
        ScramVerifier { iterations: default_iterations(), salt, stored_key, server_key }
    }

    fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: usize::try_from(self.iterations).unwrap_or(usize::MAX),
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }
}

fn default_iterations() -> u32 {
    u32::try_from(SCRAM_ITERATIONS).unwrap_or(4096)
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored, server) =
            (BASE64.encode(&self.salt), BASE64.encode(&self.stored_key), BASE64.encode(&self.server_key));
        write!(f, "{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl FromStr for ScramVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<ScramVerifier, InvalidVerifier> {
        let mut parts = text.trim().split('$');
        let (Some(MECHANISM), Some(salting), Some(keys), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidVerifier);
        };
        let (iterations, salt) = salting.split_once(':').ok_or(InvalidVerifier)?;
        let (stored, server) = keys.split_once(':').ok_or(InvalidVerifier)?;
        let iterations: u32 = iterations.parse().map_err(|_| InvalidVerifier)?;
        let decode = |part: &str| BASE64.decode(part).map_err(|_| InvalidVerifier);
        let (salt, stored_key, server_key) = (decode(salt)?, decode(stored)?, decode(server)?);
        let sound = iterations > 0 && iterations <= i32::MAX.unsigned_abs() && !salt.is_empty();
        if sound && stored_key.len() == KEY_BYTES && server_key.len() == KEY_BYTES {
            Ok(ScramVerifier { iterations, salt, stored_key, server_key })
        } else {
            Err(InvalidVerifier)
        }
    }
}

/// The server's side of one exchange, between the client's two messages.
#[derive(Debug)]
pub(crate) struct Exchange(ScramServerAuthWaitingForClientFinal);

impl Exchange {
    /// Takes the body of a SASLInitialResponse; gives the data of the answer.
    pub(crate) fn begin(body: Bytes, verifier: &ScramVerifier) -> Result<(Exchange, Bytes)> {
        let mut body = Body(body);
        let mechanism = body.string()?;
        let data = body.value()?;
        body.finish()?;
        if mechanism != MECHANISM {
            return Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let data = data.ok_or_else(|| malformed("the first message is empty"))?;
        let (answer, waiting) = ScramServerAuth::new()
            .on_client_first_message_with_secret(&data, verifier.secret())
            .map_err(|error| malformed(&error.to_string()))?;
        Ok((Exchange(waiting), Bytes::from(answer)))
    }

    /// Takes the body of a SASLResponse; gives the data that proves this server knows the verifier, or `None` if the
    /// proof is wrong.
    pub(crate) fn finish(self, body: &Bytes) -> Result<Option<Bytes>> {
        match self.0.on_client_final_message(body) {
            Ok(answer) => Ok(Some(Bytes::from(answer))),
            Err(PgWireError::InvalidPassword(_)) => Ok(None),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message").detail(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftdb_env::SimRand;

    /// The password and salt of RFC 7677's example; the keys computed by Python's hashlib and hmac.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_verifier_is_what_others_compute() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(ScramVerifier::with_salt("pencil", salt).to_string(), PENCIL);
        let verifier: ScramVerifier = PENCIL.parse().unwrap();
        assert!(verifier.fits("pencil") && !verifier.fits("pen"));
    }

    #[test]
    fn the_text_form_comes_back_and_nothing_else_is_read() {
        let verifier = ScramVerifier::from_password("sécret", &SimRand::new(1));
        assert_eq!(verifier.to_string().parse::<ScramVerifier>().unwrap(), verifier);
        assert!(!format!("{verifier:?}").contains(&BASE64.encode(&verifier.stored_key)));
        let shorter = PENCIL.strip_suffix("2dU=").unwrap();
        for bad in ["", "md5abc", "SCRAM-SHA-256$0:AA==$AA==:AA==", shorter, &format!("{PENCIL}$x")] {
            assert_eq!(bad.parse::<ScramVerifier>(), Err(InvalidVerifier), "{bad}");
        }
    }

    #[test]
    fn nobody_keeps_its_salt_and_fits_nothing() {
        let rand = SimRand::new(2);
        let others = [PENCIL.parse().unwrap(), ScramVerifier::from_password("x", &rand)];
        let nobody = |user: &str, count| ScramVerifier::nobody(user, others.iter().take(count), &rand);
        let (first, again) = (nobody("eve", 1), nobody("eve", 1));
        assert_eq!((first.salt.len(), first.iterations), (SALT_BYTES, 4096));
        assert_eq!(first.salt, again.salt);
        assert_ne!(first.stored_key, again.stored_key);
        assert_ne!(nobody("mallory", 1).salt, first.salt);
        assert_ne!(nobody("eve", 2).salt, first.salt);
    }

    fn first(mechanism: &str, data: &[u8]) -> Bytes {
        let length = i32::try_from(data.len()).unwrap().to_be_bytes();
        Bytes::from([mechanism.as_bytes(), &[0], &length, data].concat())
    }

    #[test]
    fn malformed_messages_are_protocol_violations() {
        let verifier: ScramVerifier = PENCIL.parse().unwrap();
        for body in [
            Bytes::new(),
            Bytes::from_static(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            Bytes::from_static(b"SCRAM-SHA-256\0\x00\x00\x00\x09n"),
            first("PLAIN", b"n,,n=,r=abc"),
            first("SCRAM-SHA-256", b""),
            first("SCRAM-SHA-256", b"\xff\xfe"),
            first("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"),
            first("SCRAM-SHA-256", b"n,a=admin,n=,r=abc"),
            first("SCRAM-SHA-256", b"n,,m=x,n=,r=abc"),
        ] {
            let error = Exchange::begin(body, &verifier).unwrap_err();
            assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION);
        }
        for last in [&b""[..], b"c=biws", b"c=biws,r=abc,p=AAAA", b"c=eSws,r=abc,p=", b"\xff,p="] {
            let (exchange, _) = Exchange::begin(first("SCRAM-SHA-256", b"n,,n=,r=abc"), &verifier).unwrap();
            let error = exchange.finish(&Bytes::from(last)).unwrap_err();
            assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION);
        }
    }

    #[test]
    fn a_proof_that_does_not_fit_is_refused_as_a_wrong_password() {
        let verifier: ScramVerifier = PENCIL.parse().unwrap();
        let (exchange, answer) = Exchange::begin(first("SCRAM-SHA-256", b"n,,n=,r=abc"), &verifier).unwrap();
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        let nonce = answer.strip_prefix("r=").unwrap().split(',').next().unwrap();
        assert!(nonce.starts_with("abc") && nonce.len() >= 3 + 24);
        let last = format!("c=biws,r={nonce},p={}", BASE64.encode([7; 32]));
        assert_eq!(exchange.finish(&Bytes::from(last)).unwrap(), None);
    }
}
