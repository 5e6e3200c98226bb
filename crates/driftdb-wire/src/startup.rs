//! The start of a connection: what the first packets ask for (PostgreSQL manual, chapter 55.2.1 "Start-up").

use bytes::Bytes;
use driftdb_types::{Error, Result, SqlState};

use crate::frontend::Body;
use crate::input::{Input, ReadError};
use crate::output::Output;
use crate::registry::CancelKey;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The newest version spoken. 3.2 differs from 3.0 in the length of the cancel key; 3.1 was never used.
const MINOR_MAX: u16 = 2;

/// The database there is.
const DATABASE: &str = "driftdb";

/// What a client asks for when it connects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Session(StartupRequest),
    Cancel(CancelKey),
}

/// A client's startup message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StartupRequest {
    /// Of protocol 3.
    pub(crate) minor_version: u16,
    pub(crate) user: String,
    /// With the point in time that may follow an `@`.
    pub(crate) database: String,
    pub(crate) application: String,
    /// `-c name=value` and the like, in the order in which they take effect.
    pub(crate) settings: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`) that are not known here.
    pub(crate) unknown_options: Vec<String>,
}

impl StartupRequest {
    /// The minor version that is spoken on this connection.
    pub(crate) fn minor_spoken(&self) -> u16 {
        if self.minor_version >= MINOR_MAX { MINOR_MAX } else { 0 }
    }
}

/// Reads until it is clear what the client wants, refusing encryption on the way.
pub(crate) fn read_opening(input: &mut Input, output: &Output) -> Result<Opening, ReadError> {
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let (code, body) = input.startup_packet()?;
        let asked = match code {
            SSL_REQUEST => &mut ssl_asked,
            GSSENC_REQUEST => &mut gss_asked,
            CANCEL_REQUEST => return cancel_key(body).map(Opening::Cancel).map_err(ReadError::Malformed),
            version => return startup_request(version, body).map(Opening::Session).map_err(ReadError::Malformed),
        };
        if std::mem::replace(asked, true) {
            let error = Error::new(SqlState::PROTOCOL_VIOLATION, "encryption was asked for twice");
            return Err(ReadError::Malformed(error));
        }
        output.refuse_encryption()?;
    }
}

fn cancel_key(body: Bytes) -> Result<CancelKey> {
    let mut body = Body(body);
    let pid = body.i32()?;
    Ok(CancelKey { pid, secret: body.0.to_vec() })
}

fn startup_request(version: u32, body: Bytes) -> Result<StartupRequest> {
    let (major, minor) = (version >> 16, u16::try_from(version & 0xffff).unwrap_or(u16::MAX));
    if major != 3 {
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}"),
        ));
    }
    let mut request = StartupRequest { minor_version: minor, ..StartupRequest::default() };
    let mut database = None;
    let mut options = None;
    let mut body = Body(body);
    loop {
        let name = body.string()?;
        if name.is_empty() {
            break;
        }
        let value = body.string()?;
        match name.as_str() {
            "user" => request.user = value,
            "database" => database = Some(value),
            "options" => options = Some(value),
            "replication" => refuse_replication(&value)?,
            _ if name.starts_with("_pq_.") => request.unknown_options.push(name),
            _ => request.settings.push((name, value)),
        }
    }
    body.finish()?;
    if request.user.is_empty() {
        let state = SqlState::INVALID_AUTHORIZATION;
        return Err(Error::new(state, "no PostgreSQL user name specified in startup packet"));
    }
    // As in PostgreSQL, what the startup message says itself wins over its `options`.
    let direct = std::mem::take(&mut request.settings);
    request.settings = options.map(|text| parse_options(&text)).transpose()?.unwrap_or_default();
    request.settings.extend(direct);
    take_application(&mut request);
    check_encoding(&mut request)?;
    request.database = check_database(database, &request.user)?;
    Ok(request)
}

fn refuse_replication(value: &str) -> Result<()> {
    match value {
        "false" | "off" | "no" | "0" => Ok(()),
        _ => Err(Error::unsupported("the replication protocol")),
    }
}

/// Moves `application_name` out of the settings.
fn take_application(request: &mut StartupRequest) {
    request.settings.retain(|(name, value)| {
        let other = !name.eq_ignore_ascii_case("application_name");
        if !other {
            request.application.clone_from(value);
        }
        other
    });
}

/// Takes `client_encoding` out of the settings: there is only UTF-8.
fn check_encoding(request: &mut StartupRequest) -> Result<()> {
    let mut wrong = None;
    request.settings.retain(|(name, value)| {
        let other = !name.eq_ignore_ascii_case("client_encoding");
        let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
        if !other && !["utf8", "unicode"].contains(&plain.to_ascii_lowercase().as_str()) {
            wrong = Some(value.clone());
        }
        other
    });
    match wrong {
        Some(encoding) => Err(Error::unsupported(format_args!("client_encoding \"{encoding}\""))
            .hint("Set client_encoding to UTF8 (PGCLIENTENCODING=UTF8).")),
        None => Ok(()),
    }
}

/// The database that is asked for; clients that name none ask for their user's.
fn check_database(database: Option<String>, user: &str) -> Result<String> {
    let Some(database) = database.filter(|name| !name.is_empty() && name != user) else {
        return Ok(DATABASE.to_owned());
    };
    let name = database.split_once('@').map_or(database.as_str(), |(name, _)| name);
    if name == DATABASE {
        Ok(database)
    } else {
        Err(Error::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
            .hint("A server has one database: driftdb, or driftdb@<point> to read it as of a commit or a time."))
    }
}

/// The `options` parameter: arguments of a command line, of which `-c name=value` and `--name=value` are known. A
/// backslash takes the next character as it is, so that a value may have blanks.
fn parse_options(text: &str) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut words = split_words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = if let Some(attached) = word.strip_prefix("--") {
            Some(attached.to_owned())
        } else if word == "-c" {
            words.next()
        } else {
            word.strip_prefix("-c").map(str::to_owned)
        };
        let pair = setting.as_deref().and_then(|setting| setting.split_once('='));
        let Some((name, value)) = pair else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, format!("invalid connection option \"{word}\""))
                .hint("Options are written -c name=value."));
        };
        // PostgreSQL's: in a name given here, - stands for _.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: u32 = 3 << 16;

    fn request(pairs: &[(&str, &str)]) -> Result<StartupRequest> {
        let mut body = String::new();
        for (name, value) in pairs {
            body.push_str(&format!("{name}\0{value}\0"));
        }
        body.push('\0');
        startup_request(V3, Bytes::from(body))
    }

    fn state(pairs: &[(&str, &str)]) -> &'static str {
        request(pairs).unwrap_err().state.code()
    }

    #[test]
    fn settings_come_from_options_and_parameters_and_parameters_win() {
        let request = request(&[
            ("user", "ann"),
            ("DateStyle", "ISO"),
            ("options", r"-c work_mem=1MB --search-path=a\ b -cTimeZone=UTC"),
            ("application_name", "psql"),
            ("client_encoding", "'utf-8'"),
            ("_pq_.compression", "on"),
        ])
        .unwrap();
        let settings: Vec<(&str, &str)> =
            request.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("work_mem", "1MB"), ("search_path", "a b"), ("TimeZone", "UTC"), ("DateStyle", "ISO")]);
        assert_eq!((request.application.as_str(), request.database.as_str()), ("psql", "driftdb"));
        assert_eq!(request.unknown_options, ["_pq_.compression"]);
    }

    #[test]
    fn one_database_and_its_past() {
        for (asked, got) in [
            ("driftdb", "driftdb"),
            ("", "driftdb"),
            ("ann", "driftdb"),
            ("driftdb@42", "driftdb@42"),
            ("driftdb@2026-11-01T10:00:00Z", "driftdb@2026-11-01T10:00:00Z"),
        ] {
            assert_eq!(request(&[("user", "ann"), ("database", asked)]).unwrap().database, got);
        }
        assert_eq!(state(&[("user", "ann"), ("database", "postgres")]), "3D000");
        assert_eq!(state(&[("user", "ann"), ("database", "other@4")]), "3D000");
    }

    #[test]
    fn what_is_not_there_is_refused() {
        assert_eq!(state(&[("database", "driftdb")]), "28000");
        assert_eq!(state(&[("user", "ann"), ("replication", "database")]), "0A000");
        assert_eq!(state(&[("user", "ann"), ("client_encoding", "LATIN1")]), "0A000");
        assert_eq!(state(&[("user", "ann"), ("options", "-X")]), "42601");
        assert_eq!(state(&[("user", "ann"), ("options", "-c")]), "42601");
        let error = startup_request(2 << 16, Bytes::from_static(b"\0")).unwrap_err();
        assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED);
        for body in [&b""[..], b"user\0ann", b"user\0ann\0", b"user\0ann\0\0more"] {
            let error = startup_request(V3, Bytes::from(body)).unwrap_err();
            assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION, "{body:?}");
        }
    }

    #[test]
    fn newer_minor_versions_are_spoken_down_to() {
        for (asked, spoken) in [(0, 0), (1, 0), (2, 2), (9999, 2)] {
            let request = StartupRequest { minor_version: asked, ..StartupRequest::default() };
            assert_eq!(request.minor_spoken(), spoken);
        }
    }
}
