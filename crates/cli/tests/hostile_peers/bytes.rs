//! Bytes that are no request.

use millstream_kafka_wire::ApiKey;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;

use crate::common::peer::{Peer, header};
use crate::common::process::resident_bytes;
use crate::common::{Server, seed};
use crate::neighbour::served;

/// What a server's memory may grow by while it refuses things.
const REFUSING_BYTES_MAX: u64 = 48 << 20;

async fn assert_refused(server: &Server, bytes: &[u8]) {
    let mut peer = Peer::connect(server.address()).await;
    peer.send_bytes(bytes).await;
    assert_eq!(
        peer.closed().await,
        b"",
        "{:?} got an answer",
        &bytes[..bytes.len().min(64)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused() {
    let (server, neighbour, _site) = served().await;
    let before = resident_bytes(server.pid());
    for bytes in [
        &[0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef][..],
        &[0; 64],
        &[0xff; 64],
    ] {
        assert_refused(&server, bytes).await;
    }
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..200 {
        // A length that is refused, for with another the server would wait for the rest.
        let mut bytes: Vec<u8> = (0..4096).map(|_| random.random()).collect();
        bytes[0] |= 0x40;
        assert_refused(&server, &bytes).await;
    }
    assert_refused(
        &server,
        b"GET / HTTP/1.1\r\nHost: localhost:9092\r\nAccept: */*\r\n\r\n",
    )
    .await;
    assert_refused(
        &server,
        b"POST /topics/x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    )
    .await;
    // TLS, AMQP, and a shell's idea of a conversation.
    assert_refused(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert_refused(&server, b"AMQP\x00\x00\x09\x01").await;
    assert_refused(&server, b"hello, is anybody there?\n").await;
    neighbour.assert_served().await;
    assert!(resident_bytes(server.pid()) < before + REFUSING_BYTES_MAX);
    // The log says so without saying it two hundred times.
    let refusals = server.log().matches("connection refused").count();
    assert!(
        (1..100).contains(&refusals),
        "{refusals} refusals in the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_cannot_be_are_refused() {
    let (server, neighbour, _site) = served().await;
    let before = resident_bytes(server.pid());
    for _ in 0..100 {
        for length in [i32::MAX, i32::MIN, -1, 0, 7, (100 << 20) + 1] {
            assert_refused(&server, &header(length, 18, 0)).await;
        }
    }
    neighbour.assert_served().await;
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < REFUSING_BYTES_MAX, "grown by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_that_are_promised_and_never_come_cost_nothing() {
    let (server, neighbour, _site) = served().await;
    let before = resident_bytes(server.pid());
    let mut liars = Vec::new();
    for _ in 0..100 {
        let mut liar = Peer::connect(server.address()).await;
        // A produce request of 100 MiB, of which not even the topic comes.
        let mut bytes = header(100 << 20, 0, 9);
        bytes.extend([0; 300_000]);
        let _ = tokio::time::timeout(
            std::time::Duration::from_millis(20),
            liar.socket.write_all(&bytes),
        )
        .await;
        liars.push(liar);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    println!("100 promises of 100 MiB: {} KiB", grown >> 10);
    neighbour.assert_served().await;
    assert!(grown < 160 << 20, "grown by {grown} bytes");
}

/// Requests of every API and version whose counts are as large as can be, at every place where there might be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn array_counts_that_cannot_be_are_refused() {
    let (server, neighbour, _site) = served().await;
    let before = resident_bytes(server.pid());
    let mut random = StdRng::seed_from_u64(seed());
    let mut sent = 0;
    for &api in ApiKey::ALL {
        for version in api.versions().iter() {
            for body in bodies(api.request_header_version(version) == 2, &mut random) {
                let mut frame = header((10 + body.len()) as i32, api.number(), version);
                frame.extend(&body);
                let mut peer = Peer::connect(server.address()).await;
                peer.send_bytes(&frame).await;
                sent += 1;
            }
        }
    }
    neighbour.assert_served().await;
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    println!("{sent} requests: grown by {} KiB", grown >> 10);
    assert!(grown < REFUSING_BYTES_MAX, "grown by {grown} bytes");
}

/// Bodies of zeros with one huge count, at each of the first places; and mixtures of small and huge numbers.
fn bodies(flexible: bool, random: &mut StdRng) -> Vec<Vec<u8>> {
    const BODY_BYTES: usize = 48;
    let huge: &[u8] = if flexible {
        &[0xff, 0xff, 0xff, 0xff, 0x07]
    } else {
        &[0x7f, 0xff, 0xff, 0xff]
    };
    let mut bodies = Vec::new();
    for at in (0..24).step_by(if flexible { 1 } else { 2 }) {
        let mut body = vec![0; BODY_BYTES];
        body[at..at + huge.len()].copy_from_slice(huge);
        bodies.push(body);
    }
    for _ in 0..6 {
        let pieces: [&[u8]; 5] = [&[0], &[0, 0, 0, 1], &[1], &[2], huge];
        let mut body: Vec<u8> = Vec::new();
        while body.len() < BODY_BYTES {
            body.extend(*pieces.choose(random).expect("there are pieces"));
        }
        bodies.push(body);
    }
    bodies
}
