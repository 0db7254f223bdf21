//! Peers that ask for what is theirs, but too much of it, too slowly, or too many of them at once.

use std::time::{Duration, Instant};

use millstream_client::{NewTopic, Producer, ProducerConfig};
use millstream_kafka_wire::api::encode_request;
use millstream_kafka_wire::messages::{ApiVersionsRequest, DescribeGroupsRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::peer::Peer;
use crate::common::process::{
    allow_open_files, open_files, peak_resident_bytes, resident_bytes, threads,
};
use crate::common::records::value;
use crate::common::{Server, eventually};
use crate::neighbour::{READ_MEMORY_BYTES, served, served_with};

/// Fills a new `topic` with `bytes` of records that do not compress to nothing.
async fn fill(server: &Server, topic: &str, bytes: usize) {
    server
        .client()
        .await
        .create_topic(&NewTopic::new(topic), false)
        .await
        .unwrap();
    append(server, topic, bytes).await;
}

async fn append(server: &Server, topic: &str, bytes: usize) {
    let client = server.client().await;
    let config = ProducerConfig {
        batch_bytes: 900_000,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(&client, config).await.unwrap();
    let record: Vec<u8> = (0..100_000)
        .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for _ in 0..bytes / record.len() {
        producer
            .send(topic, Some(0), &value(&record))
            .await
            .unwrap();
    }
    producer.flush().await.unwrap();
}

/// Peers that ask for all of `topic`, again and again, and read nothing.
async fn deaf_peers(server: &Server, topic: &str, count: usize) -> Vec<Peer> {
    let mut deaf = tokio::task::JoinSet::new();
    for _ in 0..count {
        let mut peer = Peer::connect(server.address()).await;
        let topic = topic.to_owned();
        deaf.spawn(async move {
            peer.fetch_without_reading(&topic, 0, 300).await;
            peer
        });
    }
    deaf.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_fetch_a_lot_and_read_nothing_are_held_in_bounded_memory() {
    let (server, neighbour, _site) = served().await;
    fill(&server, "large", 200 << 20).await;
    let before = resident_bytes(server.pid());
    let deaf = deaf_peers(&server, "large", 60).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    neighbour.assert_served().await;
    let grown = peak_resident_bytes(server.pid()).saturating_sub(before);
    println!(
        "60 deaf peers: {} MiB before, {} more at the peak",
        before >> 20,
        grown >> 20
    );
    // The readers' memory, what reads under way take beside it, and what the allocator keeps. Each peer asks for 50 MiB.
    assert!(grown < 4 * READ_MEMORY_BYTES, "grown by {grown} bytes");
    drop(deaf);
    eventually("the memory is given back", async || {
        (open_files(server.pid()) < 60).then_some(())
    })
    .await;
}

/// Each of the requests is 122 KB on the wire, and many times that once it is decoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_their_turn_take_no_more_than_they_took_to_send() {
    const REQUESTS: usize = 256;
    let (server, neighbour, _site) = served().await;
    fill(&server, "quiet", 0).await;
    let before = resident_bytes(server.pid());
    let mut peer = Peer::connect(server.address()).await;
    peer.begin_waiting("quiet", 0, 0, Duration::from_secs(60))
        .await;
    let many_names = DescribeGroupsRequest {
        groups: vec!["".into(); 61_000],
        ..Default::default()
    };
    let frame = encode_request(&many_names, 1, None, 0).unwrap().to_bytes();
    for _ in 0..REQUESTS {
        let sent = timeout(Duration::from_secs(1), peer.socket.write_all(&frame)).await;
        if sent.is_err() {
            // The server reads no more: the peer has as many requests under way as it may have.
            break;
        }
    }
    neighbour.assert_served().await;
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    println!("requests that wait: {} MiB", grown >> 20);
    assert!(grown < 128 << 20, "grown by {grown} bytes");
}

/// The tail of a log is shared with those who read it, so what they have not taken is memory that appends lack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_do_not_read_the_tail_do_not_hold_up_producers() {
    // Enough for all of them: nobody is cut off to make room for another.
    let (server, neighbour, _site) = served_with(1 << 30).await;
    let mut deaf = Vec::new();
    for round in 0..16 {
        let topic = format!("tail-{round}");
        let started = Instant::now();
        fill(&server, &topic, 8 << 20).await;
        let took = started.elapsed();
        println!("8 MiB after {} deaf peers took {took:?}", deaf.len());
        assert!(took < Duration::from_secs(8), "appends are held up");
        deaf.extend(deaf_peers(&server, &topic, 2).await);
    }
    neighbour.assert_served().await;
}

/// A request that takes 14 seconds to arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_a_byte_a_second_is_served_in_the_end() {
    let (server, neighbour, _site) = served().await;
    let frame = encode_request(&ApiVersionsRequest::default(), 7, None, 0)
        .unwrap()
        .to_bytes();
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &frame {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(slow.read_i32().await.unwrap() > 4, "patience is answered");
    assert_eq!(slow.read_i32().await.unwrap(), 7);
    neighbour.assert_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_cost_little() {
    const CONNECTIONS: u64 = 2_000;
    allow_open_files(CONNECTIONS + 200);
    let (server, neighbour, _site) = served().await;
    let threads_before = threads(server.pid());
    let before = resident_bytes(server.pid());
    let mut idle = Vec::new();
    let frame = encode_request(&ApiVersionsRequest::default(), 1, Some("idle".into()), 3)
        .unwrap()
        .to_bytes();
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        // Idle as clients are: after a first exchange.
        socket.write_all(&frame).await.unwrap();
        let length = socket.read_i32().await.unwrap();
        socket
            .read_exact(&mut vec![0; length as usize])
            .await
            .unwrap();
        idle.push(socket);
    }
    let each = resident_bytes(server.pid()).saturating_sub(before) / CONNECTIONS;
    println!("an idle connection takes {each} bytes");
    assert!(each < 64 << 10, "{each} bytes for each idle connection");
    assert!(
        threads(server.pid()) <= threads_before + 2,
        "threads for idle connections"
    );
    neighbour.assert_served().await;

    // Each of them still is one.
    let started = Instant::now();
    for socket in &mut idle {
        socket.write_all(&frame).await.unwrap();
        assert!(socket.read_i32().await.unwrap() > 0);
    }
    println!("all of them answered within {:?}", started.elapsed());
}
