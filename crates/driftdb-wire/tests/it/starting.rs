//! Connecting: negotiation, authentication, limits, cancel requests, shutting down.

use std::io::Read;
use std::time::Duration;

use driftdb_env::Env;
use driftdb_wire::{Auth, Credentials, Server, ServerError, ServerOptions};

use crate::database::TestDatabase;
use crate::harness::{PASSWORD, TestServer, USER};

const V3: u32 = 3 << 16;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

#[test]
fn a_client_learns_the_parameters() {
    let server = TestServer::trust();
    let mut raw = server.connect();
    raw.startup(V3, &[("user", USER), ("application_name", "raw"), ("options", "-c TimeZone=Europe/Berlin")]);
    let replies = raw.until_ready();
    assert_eq!(replies[0].tag, 'R');
    assert_eq!(replies.last().unwrap().body, b"I");
    let expected = [
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "Europe/Berlin"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("application_name", "raw"),
        ("IntervalStyle", "postgres"),
        ("in_hot_standby", "off"),
        ("session_authorization", USER),
    ];
    for (name, value) in expected {
        assert_eq!(raw.parameters.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(raw.parameters["server_version"].starts_with("16."));
    assert!(raw.parameters.contains_key("is_superuser"));
    assert_eq!(raw.key.as_ref().unwrap().len(), 8);
    // Changes are told before the next ReadyForQuery.
    assert_eq!(raw.query_tags("set application_name = 'other'"), ["SET"]);
    assert_eq!(raw.parameters["application_name"], "other");
}

#[test]
fn encryption_is_declined_and_asked_for_once() {
    let server = TestServer::trust();
    let mut raw = server.connect();
    for code in [GSS, SSL] {
        raw.bytes(&[8_u32.to_be_bytes(), code.to_be_bytes()].concat());
        let mut answer = [0];
        raw.stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    raw.bytes(&[8_u32.to_be_bytes(), SSL.to_be_bytes()].concat());
    raw.expect_fatal("08P01");
    server.assert_alive();
}

#[test]
fn newer_protocols_are_negotiated() {
    let server = TestServer::trust();
    for (version, parameters, told, key_bytes) in [
        (V3, &[("user", USER)][..], None, 8),
        (V3 + 2, &[("user", USER)], None, 4 + 32),
        (V3 + 1, &[("user", USER)], Some((V3, "")), 8),
        (V3 + 9999, &[("user", USER)], Some((V3 + 2, "")), 4 + 32),
        (V3, &[("user", USER), ("_pq_.x", "1")], Some((V3, "_pq_.x\0")), 8),
    ] {
        let mut raw = server.connect();
        raw.startup(version, parameters);
        let replies = raw.until_ready();
        let negotiate = replies.iter().find(|reply| reply.tag == 'v').map(|reply| reply.body.clone());
        let expected = told.map(|(version, options)| {
            let count = u32::from(!options.is_empty());
            [&version.to_be_bytes()[..], &count.to_be_bytes(), options.as_bytes()].concat()
        });
        assert_eq!(negotiate, expected, "{version:#x}");
        assert_eq!(raw.key.unwrap().len(), key_bytes);
    }
}

#[test]
fn what_is_not_there_cannot_be_connected_to() {
    let server = TestServer::trust();
    for (parameter, state) in [
        (("database", "nope"), "3D000"),
        (("replication", "database"), "0A000"),
        (("client_encoding", "LATIN1"), "0A000"),
        (("options", "-c no_such_setting=1"), "42704"),
        (("no_such_setting", "1"), "42704"),
    ] {
        let mut raw = server.connect();
        raw.startup(V3, &[("user", USER), parameter]);
        // Settings are looked at after the client has proved who it is.
        let replies = std::iter::from_fn(|| raw.reply()).filter(|reply| reply.tag != 'R');
        let errors: Vec<String> = replies.map(|reply| reply.error()).collect();
        assert_eq!(errors, [format!("FATAL {state}")], "{parameter:?}");
    }
}

#[test]
fn a_query_instead_of_a_password_is_refused() {
    let server = TestServer::scram();
    let mut raw = server.connect();
    raw.startup(V3, &[("user", USER)]);
    let offered = raw.reply().unwrap();
    assert_eq!((offered.tag, offered.text().as_str()), ('R', "\0\0\0\x0aSCRAM-SHA-256\0"));
    raw.send(b'Q', b"select 1\0");
    raw.expect_fatal("08P01");
    for body in [&b""[..], b"MD5\0\x00\x00\x00\x00", b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=x"] {
        let mut raw = server.connect();
        raw.startup(V3, &[("user", USER)]);
        raw.reply().unwrap();
        raw.send(b'p', body);
        raw.expect_fatal("08P01");
    }
}

#[test]
fn trust_is_refused_beyond_loopback() {
    let database = TestDatabase::open();
    let options = ServerOptions { auth: Auth::Trust, ..ServerOptions::default() };
    let listen = ["127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()];
    let refused = Server::bind(&listen, options.clone(), database.handle(), Env::real()).unwrap_err();
    assert!(matches!(refused, ServerError::TrustBeyondLoopback(_)), "{refused}");
    assert!(matches!(Server::bind(&[], options, database.handle(), Env::real()), Err(ServerError::NoAddress)));
    let taken = Server::bind(&listen[..1], ServerOptions::default(), database.handle(), Env::real()).unwrap();
    let again = [taken.local_addr().unwrap()];
    let options = ServerOptions { auth: Auth::Scram(Credentials::new()), ..ServerOptions::default() };
    let refused = Server::bind(&again, options, database.handle(), Env::real()).unwrap_err();
    assert!(matches!(refused, ServerError::Listen { .. }), "{refused}");
    drop(taken);
    database.close();
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = TestServer::with(|options| ServerOptions { auth: Auth::Trust, max_connections: 2, ..options });
    let first = server.session();
    let mut second = server.session();
    let mut third = server.connect();
    third.startup(V3, &[("user", USER)]);
    let fields = third.expect_fatal("53300");
    assert_eq!(fields[&'M'], "sorry, too many clients already");
    // Who is in is not disturbed, and a place that is given back can be taken.
    assert_eq!(second.query_tags("select 1"), ["SELECT 1"]);
    drop(first);
    let mut tries = 0;
    loop {
        let mut next = server.connect();
        next.startup(V3, &[("user", USER)]);
        if next.reply().unwrap().tag == 'R' {
            break;
        }
        tries += 1;
        assert!(tries < 100);
        Env::real().clock.sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wrong_key_cancels_nothing() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let mut key = raw.key.clone().unwrap();
    *key.last_mut().unwrap() ^= 1;
    for key in [key, vec![0, 0, 0, 99, 0, 0, 0, 0], vec![], vec![0, 0]] {
        let mut other = server.connect();
        let length = u32::try_from(8 + key.len()).unwrap();
        other.bytes(&[&length.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &key].concat());
        // Never an answer, unless the packet is malformed.
        if key.len() >= 4 {
            assert_eq!(other.reply(), None);
        }
    }
    assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
}

#[test]
fn a_copy_that_waits_for_data_is_cancelled() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int)"), ["CREATE TABLE"]);
    raw.send(b'Q', b"copy t from stdin\0");
    assert_eq!(raw.reply().unwrap().tag, 'G');
    raw.send(b'd', b"1\n");
    let mut other = server.connect();
    let key = raw.key.clone().unwrap();
    other.bytes(&[&16_u32.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &key].concat());
    assert_eq!(raw.until_ready()[0].error(), "ERROR 57014");
    // The client did not know yet.
    raw.send(b'd', b"2\n");
    raw.send(b'c', b"");
    assert_eq!(raw.query("select * from t").iter().filter(|reply| reply.tag == 'D').count(), 0);
}

#[test]
fn the_database_of_a_point_in_time() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int)"), ["CREATE TABLE"]);
    assert_eq!(raw.query_tags("insert into t values (1)"), ["INSERT 0 1"]);
    let seq = raw.query("select max(seq)::text from driftdb.commits")[1].row().remove(0).unwrap();
    assert_eq!(raw.query_tags("insert into t values (2)"), ["INSERT 0 1"]);
    let mut past = server.connect();
    let database = format!("driftdb@{}", String::from_utf8(seq).unwrap());
    past.startup(V3, &[("user", USER), ("database", &database)]);
    past.until_ready();
    assert_eq!(past.query("select * from t").iter().filter(|reply| reply.tag == 'D').count(), 1);
    assert_eq!(past.query_tags("insert into t values (3)"), ["ERROR 25006"]);
    let mut future = server.connect();
    future.startup(V3, &[("user", USER), ("database", "driftdb@1000000")]);
    let last = std::iter::from_fn(|| future.reply()).last().unwrap();
    assert!(last.error().starts_with("FATAL"), "{}", last.error());
}

#[test]
fn idle_sessions_are_told_of_the_shutdown() {
    let mut server = TestServer::trust();
    let mut idle = server.session();
    let mut in_transaction = server.session();
    assert_eq!(in_transaction.query_tags("begin"), ["BEGIN"]);
    let mut in_batch = server.session();
    in_batch.send(b'P', b"\0select 1\0\x00\x00");
    in_batch.send(b'H', b"");
    assert_eq!(in_batch.reply().unwrap().tag, '1');
    server.shutdown(Duration::from_secs(5));
    for raw in [&mut idle, &mut in_transaction, &mut in_batch] {
        raw.expect_fatal("57P01");
    }
    assert!(std::net::TcpStream::connect(server.addr).is_err());
}

#[test]
fn who_has_not_started_does_not_hold_up_a_shutdown() {
    let mut server = TestServer::scram();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.startup(V3, &[("user", USER)]);
    half.reply().unwrap();
    let clock = Env::real().clock;
    let start = clock.monotonic();
    server.shutdown(Duration::from_secs(60));
    assert!(clock.monotonic() - start < Duration::from_secs(10));
    // Whether they are told depends on how far they were.
    for raw in [&mut silent, &mut half] {
        assert!(raw.reply().is_none_or(|reply| reply.error() == "FATAL 57P03"));
    }
}

#[test]
fn a_setting_too_long_to_tell_is_told_cut() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let name = "x".repeat(100_000);
    assert_eq!(raw.query_tags(&format!("set application_name = '{name}'")), ["SET"]);
    assert!(name.starts_with(raw.parameters["application_name"].trim_end_matches('…')));
    assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
}

#[test]
fn several_addresses_are_served_alike() {
    let database = TestDatabase::open();
    let options = ServerOptions { auth: Auth::Trust, ..ServerOptions::default() };
    let listen = ["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let server = Server::bind(&listen, options, database.handle(), Env::real()).unwrap();
    let addrs = server.local_addrs().to_vec();
    let server = server.start().unwrap();
    for addr in addrs {
        assert!(std::net::TcpStream::connect(addr).is_ok());
    }
    server.shutdown(Duration::ZERO).unwrap();
    database.close();
}

#[test]
fn passwords_are_proved_and_strangers_get_the_same_answer() {
    let server = TestServer::scram();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = async |user: &str, password: &str| {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(server.addr.port()).user(user).password(password);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.simple_query("select 1").await.map(|_| ())
    };
    runtime.block_on(connect(USER, PASSWORD)).unwrap();
    for (user, password) in [(USER, "wrong"), (USER, ""), ("stranger", PASSWORD), ("stranger", "wrong")] {
        let error = runtime.block_on(connect(user, password)).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "28P01");
        assert_eq!(error.message(), format!("password authentication failed for user \"{user}\""));
    }
    runtime.block_on(connect(USER, PASSWORD)).unwrap();
}

#[test]
fn silent_connections_lock_nobody_out() {
    let limits = |options| ServerOptions { max_connections: 2, max_starting: 4, auth: Auth::Trust, ..options };
    let server = TestServer::with(limits);
    let first = server.session();
    let mut silent: Vec<_> = (0..7).map(|_| server.connect()).collect();
    // There is room for a client at once, and the oldest made it.
    let mut second = server.session();
    assert_eq!(second.query_tags("select 1"), ["SELECT 1"]);
    assert_eq!(silent[0].reply(), None);
    // The limit of sessions is what it was.
    let mut third = server.connect();
    third.startup(V3, &[("user", USER)]);
    third.expect_fatal("53300");
    drop((first, silent));
}

#[test]
fn who_has_spoken_is_told_why_it_is_let_go() {
    let server = TestServer::with(|options| ServerOptions { max_starting: 2, ..options });
    let mut half = server.connect();
    half.startup(V3, &[("user", USER)]);
    assert_eq!(half.reply().unwrap().tag, 'R');
    let others = [server.connect(), server.connect()];
    half.expect_fatal("53300");
    drop(others);
}
