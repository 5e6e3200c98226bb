//! What `driftdb serve` is told: a TOML file, `DRIFTDB_*` variables, flags; each later one beats the one before.
//! All three go through the same [`Layer`], and a key that none of them knows is an error that names it: a misspelt
//! limit must not silently be no limit.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use driftdb::memory;
use serde::Deserialize;

/// The prefix of the environment variables.
const PREFIX: &str = "DRIFTDB_";

/// Variables of that prefix that are not settings: the file of settings and the password.
const OTHER_VARIABLES: &[&str] = &["CONFIG", "PASSWORD"];

/// One source's settings: what it says, and nothing for what it leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Layer {
    /// The data directory; made when absent [default: ./driftdb-data].
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:5433].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Memory the database may use, such as 512MiB or 4GiB [default: 2GiB].
    ///
    /// A 32nd goes to each memtable (there are up to three: one being written, two waiting for their flush), four to the cache of
    /// history and four to that of the base file, seven to queries (what needs more spills, or fails with 53200), seven to
    /// large statements and the changes and locks of transactions (53200 beyond it), two to what old snapshots hold. The rest is
    /// for connections and the program itself. At least 128MiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<ByteSize>,
    /// Connections at a time; one more is refused with 53300 [default: 100].
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,
    /// How clients prove who they are: scram asks for the password; trust believes everyone, and is allowed only while
    /// listening on a loopback address [default: scram].
    #[arg(long, value_name = "METHOD")]
    pub(crate) auth: Option<Authentication>,
    /// What to log on standard error, as in driftdb=info,warn [default: info].
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

impl Layer {
    /// The settings in a TOML file's text.
    pub(crate) fn from_toml(text: &str) -> Result<Layer> {
        // The error of the TOML reader shows the line, and for an unknown key the ones there are.
        toml::from_str(text).context("the settings cannot be read")
    }

    /// The settings in the environment.
    pub(crate) fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Layer> {
        let mut table = toml::Table::new();
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(PREFIX).filter(|key| !OTHER_VARIABLES.contains(key)) else { continue };
            let key = key.to_ascii_lowercase().replace('_', "-");
            let value = match value.parse::<i64>() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(value),
            };
            // One variable at a time, so that the message can name it.
            let one = toml::Table::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = Layer::deserialize(one) {
                bail!("environment variable {name}: {}", error.message());
            }
            table.insert(key, value);
        }
        Layer::deserialize(table).context("the environment's settings cannot be read")
    }

    /// These settings, with `below` for what they leave open.
    pub(crate) fn over(self, below: Layer) -> Layer {
        Layer {
            data: self.data.or(below.data),
            listen: self.listen.or(below.listen),
            memory_limit: self.memory_limit.or(below.memory_limit),
            max_connections: self.max_connections.or(below.max_connections),
            auth: self.auth.or(below.auth),
            log: self.log.or(below.log),
        }
    }

    /// The settings in force, defaults filled in and bounds checked.
    pub(crate) fn settle(self) -> Result<Settings> {
        let settings = Settings {
            data: self.data.unwrap_or_else(default_data),
            listen: self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5433))),
            memory: self.memory_limit.unwrap_or(MEMORY_DEFAULT),
            connections_max: self.max_connections.unwrap_or(100),
            authentication: self.auth.unwrap_or(Authentication::Scram),
            log: self.log.unwrap_or_else(|| "info".to_owned()),
        };
        if settings.memory < MEMORY_MIN {
            bail!("memory-limit {} is less than {MEMORY_MIN}, the least the database runs in", settings.memory);
        }
        if settings.connections_max == 0 {
            bail!("max-connections must be at least 1");
        }
        if settings.authentication == Authentication::Trust && !settings.listen.ip().is_loopback() {
            bail!(
                "auth = trust would let anyone in who reaches {}: it is allowed only on a loopback address",
                settings.listen
            );
        }
        Ok(settings)
    }
}

/// Where the data is when nothing else is said.
pub(crate) fn default_data() -> PathBuf {
    PathBuf::from("./driftdb-data")
}

const MEMORY_DEFAULT: ByteSize = ByteSize(memory::LIMIT_DEFAULT_BYTES);
const MEMORY_MIN: ByteSize = ByteSize(memory::LIMIT_MIN_BYTES);

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) memory: ByteSize,
    pub(crate) connections_max: usize,
    pub(crate) authentication: Authentication,
    pub(crate) log: String,
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Authentication {
    /// SCRAM-SHA-256 with the stored verifier.
    Scram,
    /// Everyone is who they say.
    Trust,
}

/// A number of bytes, written `512MiB`, `4GiB` or plainly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

const UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let wrong = || format!("\"{text}\" is not a size such as 512MiB or 4GiB");
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| lower.strip_suffix(name).map(|number| (number.trim_end(), *unit)))
            .unwrap_or((lower.as_str(), 1));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(ByteSize).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{name}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<Layer> {
        Layer::from_variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn each_layer_beats_the_one_below() {
        let file = Layer::from_toml("listen = '127.0.0.1:1'\nmax-connections = 1\nmemory-limit = '200MiB'").unwrap();
        let environment = variables(&[("DRIFTDB_LISTEN", "127.0.0.1:2"), ("DRIFTDB_MAX_CONNECTIONS", "2")]).unwrap();
        let flags = Layer { listen: Some("127.0.0.1:3".parse().unwrap()), ..Layer::default() };
        let settings = flags.over(environment.over(file)).settle().unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!(settings.connections_max, 2);
        assert_eq!(settings.memory, ByteSize(200 << 20));
        assert_eq!(settings.data, default_data());
    }

    #[test]
    fn unknown_keys_are_errors_that_name_them() {
        let error = format!("{:#}", Layer::from_toml("max-conections = 5").unwrap_err());
        assert!(error.contains("max-conections") && error.contains("max-connections"), "{error}");
        let error = format!("{:#}", variables(&[("DRIFTDB_MEMORY", "1GiB")]).unwrap_err());
        assert!(error.contains("DRIFTDB_MEMORY"), "{error}");
        assert!(variables(&[("DRIFTDB_PASSWORD", "x"), ("DRIFTDB_CONFIG", "x"), ("HOME", "x")]).is_ok());
    }

    #[test]
    fn wrong_values_are_errors_that_name_them() {
        for (name, value) in [
            ("DRIFTDB_LISTEN", "nowhere"),
            ("DRIFTDB_MEMORY_LIMIT", "much"),
            ("DRIFTDB_MAX_CONNECTIONS", "-1"),
            ("DRIFTDB_AUTH", "password"),
        ] {
            let error = format!("{:#}", variables(&[(name, value)]).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn trust_is_for_loopback() {
        let trust = |listen: &str| Layer {
            listen: Some(listen.parse().unwrap()),
            auth: Some(Authentication::Trust),
            ..Layer::default()
        };
        assert!(trust("127.0.0.1:5433").settle().is_ok());
        assert!(trust("[::1]:5433").settle().is_ok());
        assert!(trust("0.0.0.0:5433").settle().is_err());
        assert!(trust("192.168.0.1:5433").settle().is_err());
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("17", 17), ("512MiB", 512 << 20), ("4 GiB", 4 << 30), ("1kb", 1_000), ("3B", 3)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "99999999999GiB", "1 parsec"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(512 << 20).to_string(), "512MiB");
        assert_eq!(ByteSize(1 << 30).to_string(), "1GiB");
        assert_eq!(ByteSize(1001).to_string(), "1001B");
    }
}
