//! What is no Kafka request, and clients that mean no good, are refused and harm no one.

mod support;

use std::time::Duration;

use millstream_kafka::KafkaSettings;
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::api::encode_request;
use millstream_kafka_wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, MetadataRequest,
};
use support::{Client, PATIENCE, Served, batch, closed, fetch_request, produce_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The header of a request: a length for what follows, the API, its version, a correlation id, no client id.
fn header(length: i32, api_key: i16, version: i16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(api_key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

async fn assert_refused(served: &Served, bytes: &[u8]) {
    let mut socket = served.raw().await;
    socket.write_all(bytes).await.unwrap();
    assert_eq!(closed(&mut socket).await, b"", "{bytes:?} got an answer");
}

async fn assert_works(served: &Served) {
    let response = served
        .client()
        .await
        .call(&ApiVersionsRequest::default(), 2)
        .await;
    assert_eq!(response.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn garbage_is_refused() {
    let served = Served::start().await;
    assert_refused(&served, b"\xde\xad\xbe\xef\xde\xad\xbe\xef").await;
    assert_refused(&served, &[0; 64]).await;
    assert_refused(&served, &[0xff; 64]).await;
    assert_works(&served).await;
}

#[tokio::test]
async fn other_protocols_are_refused() {
    let served = Served::start().await;
    assert_refused(&served, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_refused(&served, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert_refused(&served, b"AMQP\x00\x00\x09\x01").await;
    assert_works(&served).await;
}

#[tokio::test]
async fn lengths_beyond_the_limit_are_refused() {
    let served = Served::start().await;
    for length in [i32::MAX, i32::MIN, -1, 0, 7, (100 << 20) + 1] {
        assert_refused(&served, &header(length, 18, 0)).await;
    }
    assert_works(&served).await;
}

#[tokio::test]
async fn an_array_that_cannot_fit_its_frame_is_refused() {
    let served = Served::start().await;
    // Metadata 1 with 2^31 - 1 topics, and Metadata 12 with 2^32 - 2 of them, of which there is not one.
    let mut classic = header(14, 3, 1);
    classic.extend(i32::MAX.to_be_bytes());
    assert_refused(&served, &classic).await;
    let mut flexible = header(16, 3, 12);
    flexible.extend([0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_refused(&served, &flexible).await;
    assert_works(&served).await;
}

#[tokio::test]
async fn an_unknown_api_closes_the_connection_after_what_came_before() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let sent = client.send(&ApiVersionsRequest::default(), 2).await;
    client.socket.write_all(&header(10, 999, 0)).await.unwrap();
    let (answered, _) = client.receive::<ApiVersionsRequest>(2).await;
    assert_eq!(answered, sent);
    assert_eq!(closed(&mut client.socket).await, b"");
}

#[tokio::test]
async fn an_unknown_version_closes_the_connection_but_for_api_versions() {
    let served = Served::start().await;
    assert_refused(&served, &header(10, 3, 99)).await;
    assert_refused(&served, &header(10, 3, -1)).await;

    // KIP-511: the answer is version 0, whatever was asked for, and lists what can be.
    let mut client = served.client().await;
    let mut future = header(11, 18, 99);
    future.push(0);
    client.socket.write_all(&future).await.unwrap();
    let frame = client.frame().await;
    let (_, response): (_, ApiVersionsResponse) =
        millstream_kafka_wire::api::decode_response(&frame, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    let own = response
        .api_keys
        .iter()
        .find(|api| api.api_key == 18)
        .unwrap();
    assert_eq!((own.min_version, own.max_version), (0, 4));
    // And the connection goes on at a version that both know.
    assert_eq!(
        client
            .call(&ApiVersionsRequest::default(), 2)
            .await
            .error_code,
        ErrorCode::NONE
    );
}

#[tokio::test]
async fn a_client_that_sends_a_byte_at_a_time_holds_nobody_up() {
    let served = Served::start().await;
    let mut slow = served.raw().await;
    let request = MetadataRequest::default();
    let frame = encode_request(&request, 1, None, 12).unwrap().to_bytes();
    for byte in &frame[..frame.len() - 1] {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_works(&served).await;
    slow.write_all(&frame[frame.len() - 1..]).await.unwrap();
    assert!(slow.read_i32().await.unwrap() > 0, "patience is answered");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let served = Served::start().await;
    served.memory_topic("big", 1).await;
    let large = "x".repeat(900_000);
    for _ in 0..8 {
        let produced = served
            .client()
            .await
            .produce("big", 0, batch(&[&large]))
            .await;
        assert_eq!(produced.error_code, ErrorCode::NONE);
    }
    let mut deaf = served.client().await;
    for _ in 0..200 {
        let request = encode_request(&fetch_request("big", 0), 1, None, 11)
            .unwrap()
            .to_bytes();
        // When its answers fill the sockets' buffers, the server stops reading from it as well.
        let sending = deaf.socket.write_all(&request);
        if tokio::time::timeout(Duration::from_millis(50), sending)
            .await
            .is_err()
        {
            break;
        }
    }
    let produced = served
        .client()
        .await
        .produce("big", 0, batch(&["after"]))
        .await;
    assert_eq!(produced.error_code, ErrorCode::NONE);
    drop(deaf);
    assert_works(&served).await;
}

#[tokio::test]
async fn many_idle_connections_leave_room_for_the_busy_one() {
    let served = Served::start().await;
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..400 {
        idle.push(served.raw().await);
    }
    assert_works(&served).await;
    // And each of them still is one.
    let mut client = idle.pop().map(Client::over).unwrap();
    assert_eq!(
        client
            .call(&ApiVersionsRequest::default(), 2)
            .await
            .error_code,
        ErrorCode::NONE
    );
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_until_there_is_room() {
    let settings = millstream_kafka::KafkaSettings {
        connections_max: 2,
        ..Default::default()
    };
    let served = Served::start_with(settings).await;
    let mut first = served.client().await;
    let mut second = served.client().await;
    first.call(&ApiVersionsRequest::default(), 2).await;
    second.call(&ApiVersionsRequest::default(), 2).await;
    assert_eq!(closed(&mut served.raw().await).await, b"");
    drop(first);
    let mut tries = 0;
    loop {
        let mut third = served.raw().await;
        let frame = encode_request(&ApiVersionsRequest::default(), 1, None, 2)
            .unwrap()
            .to_bytes();
        let answered = third.write_all(&frame).await.is_ok() && third.read_i32().await.is_ok();
        if answered {
            return;
        }
        tries += 1;
        assert!(
            tries < 100,
            "the place of a closed connection is never free again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let settings = millstream_kafka::KafkaSettings {
        connection_idle: Duration::from_millis(200),
        ..Default::default()
    };
    let served = Served::start_with(settings).await;
    served.memory_topic("quiet", 1).await;
    let mut waiting = served.client().await;
    waiting.send(&fetch_request("quiet", 0), 11).await;
    let mut idle = served.raw().await;
    assert_eq!(closed(&mut idle).await, b"");
    // The fetch has waited longer than an idle connection lives.
    let produced = served
        .client()
        .await
        .produce("quiet", 0, batch(&["at last"]))
        .await;
    assert_eq!(produced.error_code, ErrorCode::NONE);
    let (_, response) = waiting
        .receive::<millstream_kafka_wire::messages::FetchRequest>(11)
        .await;
    assert_eq!(response.responses.len(), 1);
}

#[tokio::test]
async fn produce_requests_of_versions_that_are_advertised_but_gone_are_refused_by_name() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    let response = client
        .call(&produce_request("t", 0, batch(&["old"]), 1), 2)
        .await;
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::UNSUPPORTED_VERSION);
}

/// Its requests wait for a fetch that waits for a day, and it is not read while they do.
#[tokio::test]
async fn a_client_that_goes_while_its_connection_is_not_read_leaves_its_place() {
    let settings = KafkaSettings {
        connections_max: 1,
        ..KafkaSettings::default()
    };
    let served = Served::start_with(settings).await;
    let fetch = FetchRequest {
        max_wait_ms: 24 * 60 * 60 * 1_000,
        ..fetch_request("t", 0)
    };
    served.memory_topic("t", 1).await;

    let mut full = free_place(&served).await;
    full.send(&fetch, 11).await;
    // More than is read at a time, so that unread bytes lie before the end.
    for _ in 0..5_000 {
        full.send(&ApiVersionsRequest::default(), 2).await;
    }
    drop(full);

    let mut fenced = free_place(&served).await;
    fenced.send(&fetch, 11).await;
    fenced.send(&MetadataRequest::default(), 12).await;
    for _ in 0..2 {
        let produce = produce_request("t", 1, batch(&["too late"]), -1);
        fenced.send(&produce, 9).await;
    }
    drop(fenced);
    free_place(&served).await;
}

/// A client that is not refused for being one too many.
async fn free_place(served: &Served) -> Client {
    let frame = encode_request(&ApiVersionsRequest::default(), 1, None, 2).unwrap();
    let connect = async {
        loop {
            let mut socket = served.raw().await;
            let sent = socket.write_all(&frame.to_bytes()).await;
            if sent.is_ok()
                && let Ok(length) = socket.read_i32().await
            {
                let mut answer = vec![0; length as usize];
                socket.read_exact(&mut answer).await.unwrap();
                return Client::over(socket);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connect)
        .await
        .expect("a place in time")
}
