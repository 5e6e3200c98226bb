//! Packets no client should send. Whatever comes, the connection gets a defined end or a defined error, and the
//! server answers the next client.

use std::net::Shutdown;
use std::time::Duration;

use driftdb_env::{Rand, SimRand};
use driftdb_wire::{Auth, ServerOptions};

use crate::harness::{Raw, TestServer, USER, message, startup_packet};

const V3: u32 = 3 << 16;

#[test]
fn garbage_instead_of_a_startup_packet() {
    let server = TestServer::trust();
    let packets: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        b"\x00\x00\x00\x04",                  // too short for a version
        b"\x00\x00\x00\x07\x00\x03\x00",      // the same
        b"\x80\x00\x00\x08\x00\x03\x00\x00",  // negative
        b"\x7f\xff\xff\xff\x00\x03\x00\x00",  // 2 GiB
        b"\x00\x00\x00\x09\x00\x03\x00\x00x", // no end of the parameters
        &startup_packet(V3, &[])[..],         // no user
    ];
    for packet in packets {
        let mut raw = server.connect();
        raw.bytes(packet);
        let state = if packet.len() == 9 && packet[3] == 9 && packet[8] == 0 { "28000" } else { "08P01" };
        raw.expect_fatal(state);
    }
    let mut raw = server.connect();
    raw.bytes(&startup_packet(2 << 16, &[("user", USER)]));
    raw.expect_fatal("0A000");
    server.assert_alive();
}

#[test]
fn a_startup_packet_cut_anywhere() {
    let server = TestServer::trust();
    let packet = startup_packet(V3, &[("user", USER), ("application_name", "cut")]);
    for end in 0..packet.len() {
        let mut raw = server.connect();
        raw.bytes(&packet[..end]);
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.reply(), None);
    }
    server.assert_alive();
}

#[test]
fn a_frame_that_cannot_be_is_fatal() {
    let server = TestServer::trust();
    let frames: [&[u8]; 10] = [
        b"z\x00\x00\x00\x04", // no such type
        b"\x00\x00\x00\x00\x04",
        b"\xff\xff\xff\xff\xff",
        b"Q\x00\x00\x00\x03", // a length counts itself
        b"Q\x00\x00\x00\x00",
        b"Q\xff\xff\xff\xff",
        b"Q\x80\x00\x00\x00",
        b"Q\x7f\xff\xff\xff", // more than is allowed
        b"P\x40\x00\x00\x00select",
        b"S\x00\x01\x00\x00", // more than a Sync can need
    ];
    for frame in frames {
        let mut raw = server.session();
        raw.bytes(frame);
        raw.expect_fatal("08P01");
    }
    let mut raw = server.session();
    raw.send(b'p', b"secret\0");
    raw.expect_fatal("08P01");
    server.assert_alive();
}

#[test]
fn a_message_cut_by_the_end_of_the_connection() {
    let server = TestServer::trust();
    let query = message(b'Q', b"select 1\0");
    for end in 0..query.len() {
        let mut raw = server.session();
        raw.bytes(&query[..end]);
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.reply(), None);
    }
    server.assert_alive();
}

#[test]
fn a_body_of_the_wrong_shape_is_an_error_and_the_connection_goes_on() {
    let server = TestServer::trust();
    let mut raw = server.session();
    raw.send(b'Q', b"select 1"); // no end of the string
    assert_eq!(raw.until_ready()[0].error(), "ERROR 08P01");
    raw.send(b'Q', b"select '\xff'\0");
    assert_eq!(raw.until_ready()[0].error(), "ERROR 22021");
    raw.send(b'F', b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00");
    assert_eq!(raw.until_ready()[0].error(), "ERROR 0A000");
    let bodies: [(u8, &[u8]); 10] = [
        (b'P', b"s"),
        (b'P', b"\0select 1\0\x00\x05"),
        (b'P', b"\0select 1\0\x00\x00extra"),
        (b'B', b""),
        (b'B', b"\0\0\xff\xff"),
        (b'B', b"\0\0\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00"),
        (b'B', b"\0\0\x00\x00\x00\x01\x80\x00\x00\x00\x00\x00"),
        (b'D', b"Xname\0"),
        (b'C', b""),
        (b'E', b"\0\x00"),
    ];
    for (tag, body) in bodies {
        raw.send(tag, body);
        // Skipped, as is everything up to Sync.
        raw.send(b'P', b"\0select 1\0\x00\x00");
        raw.send(b'Q', b"select 1\0");
        raw.send(b'S', b"");
        let replies = raw.until_ready();
        assert_eq!(replies.len(), 2, "{} {body:?}: {replies:?}", char::from(tag));
        assert_eq!(replies[0].error(), "ERROR 08P01");
    }
    raw.send(b'S', b"more than nothing");
    assert_eq!(raw.until_ready()[0].error(), "ERROR 08P01");
    // Left over from a COPY that is over.
    raw.send(b'd', b"1\n");
    raw.send(b'c', b"");
    raw.send(b'f', b"why\0");
    assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
}

#[test]
fn a_message_beyond_the_servers_bound() {
    let bound = |options| ServerOptions { auth: Auth::Trust, message_bytes_max: 20_000, ..options };
    let server = TestServer::with(bound);
    let mut raw = server.session();
    let fits = format!("select 1 -- {}\0", "x".repeat(19_000));
    raw.send(b'Q', fits.as_bytes());
    assert_eq!(raw.shape(), "TDCZI");
    let large = format!("select 1 -- {}\0", "x".repeat(20_000));
    raw.send(b'Q', large.as_bytes());
    raw.expect_fatal("08P01");
    server.assert_alive();
}

/// Random bytes at each stage. The seed is fixed; what a connection answers is of no interest, only that the server
/// still answers others.
#[test]
fn random_bytes() {
    let server = TestServer::trust();
    let rand = SimRand::new(0x5eed);
    let random = |length_max: u64| {
        let mut bytes = vec![0; usize::try_from(rand.below(length_max) + 1).unwrap()];
        rand.fill(&mut bytes);
        bytes
    };
    for round in 0..200 {
        let mut raw = if round % 4 == 0 { server.connect() } else { server.session() };
        let bytes = match round % 4 {
            // Instead of a startup packet, or as it.
            0 if round % 8 == 0 => random(200),
            0 => {
                let body = random(100);
                let length = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
                [&length[..], &V3.to_be_bytes(), &body].concat()
            }
            // Where messages should be.
            1 => random(200),
            // Real types and lengths, random bodies.
            _ => (0..8)
                .flat_map(|_| message(b"QPBDECHSdcfF"[usize::try_from(rand.below(12)).unwrap()], &random(40)))
                .collect(),
        };
        // The server may have closed the connection before all is written.
        drop(std::io::Write::write_all(&mut raw.stream, &bytes));
        drop(raw.stream.shutdown(Shutdown::Write));
        drain(&mut raw);
    }
    server.assert_alive();
}

/// Reads to the end of the connection, which must come.
fn drain(raw: &mut Raw) {
    let mut bytes = Vec::new();
    // A reset is an end too; a timeout is not.
    if let Err(error) = std::io::Read::read_to_end(&mut raw.stream, &mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let quick = |options| ServerOptions { auth: Auth::Trust, startup_timeout: Duration::from_millis(200), ..options };
    let server = TestServer::with(quick);
    let mut silent = server.connect();
    silent.expect_fatal("57014");
    // Byte by byte does not buy more time.
    let mut slow = server.connect();
    let mut packet = startup_packet(V3, &[("user", USER)]).into_iter();
    let mut sent = 0;
    while sent < 10 && std::io::Write::write_all(&mut slow.stream, &[packet.next().unwrap()]).is_ok() {
        sent += 1;
        driftdb_env::Env::real().clock.sleep(Duration::from_millis(40));
    }
    slow.expect_fatal("57014");
    // Who has started has no such limit.
    let mut session = server.session();
    driftdb_env::Env::real().clock.sleep(Duration::from_millis(400));
    assert_eq!(session.query_tags("select 1"), ["SELECT 1"]);
}
