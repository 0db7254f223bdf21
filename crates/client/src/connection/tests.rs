//! A connection against servers that behave and servers that do not.

use millstream_kafka_wire::messages::api_versions::ApiVersion;
use millstream_kafka_wire::messages::{ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse};
use millstream_kafka_wire::{ErrorCode, Reader, RequestHeader, Response, api};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The server's side of a connection.
struct Peer {
    stream: TcpStream,
}

impl Peer {
    async fn request(&mut self) -> RequestHeader {
        let length = self.stream.read_u32().await.unwrap() as usize;
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).await.unwrap();
        RequestHeader::decode(&mut Reader::new(&frame.into())).unwrap()
    }

    async fn answer<R: Response>(&mut self, response: &R, correlation_id: i32, version: i16) {
        let frame = api::encode_response(response, correlation_id, version).unwrap();
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
    }

    /// Answers the first request with versions of heartbeats up to 2.
    async fn greet(&mut self) {
        let request = self.request().await;
        self.answer(
            &versions(ErrorCode::NONE),
            request.correlation_id,
            request.api_version,
        )
        .await;
    }
}

fn versions(error_code: ErrorCode) -> ApiVersionsResponse {
    let api = |api: ApiKey, max_version| ApiVersion {
        api_key: api.number(),
        min_version: 0,
        max_version,
    };
    ApiVersionsResponse {
        error_code,
        api_keys: vec![api(ApiKey::ApiVersions, 2), api(ApiKey::Heartbeat, 2)],
        ..Default::default()
    }
}

/// Opens a connection to what `serve` does with the other side.
async fn open<F: Future<Output = Peer> + Send + 'static>(
    serve: impl FnOnce(Peer) -> F + Send + 'static,
) -> (
    Result<Connection, ClientError>,
    tokio::task::JoinHandle<Peer>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(Peer { stream }).await
    });
    let config = ClientConfig {
        request_timeout: Duration::from_millis(300),
        ..ClientConfig::new(&address)
    };
    (Connection::open(&address, &config).await, peer)
}

async fn open_greeted() -> (Connection, Peer) {
    let (connection, peer) = open(async |mut peer| {
        peer.greet().await;
        peer
    })
    .await;
    (connection.unwrap(), peer.await.unwrap())
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest::default()
}

#[tokio::test]
async fn the_newest_common_version_is_used() {
    let (connection, mut peer) = open_greeted().await;
    assert_eq!(connection.version(ApiKey::Heartbeat).unwrap(), 2);
    let missing = connection.version(ApiKey::Produce).unwrap_err();
    assert!(matches!(
        missing,
        ClientError::UnsupportedApi { api: "Produce", .. }
    ));
    let answer = connection.submit(&heartbeat()).unwrap();
    assert_eq!(peer.request().await.api_version, 2);
    peer.answer(&HeartbeatResponse::default(), 0, 2).await;
    assert!(answer.wait().await.is_ok());
}

#[tokio::test]
async fn an_old_server_is_asked_again_in_its_own_version() {
    let (connection, peer) = open(async |mut peer| {
        assert_eq!(peer.request().await.api_version, 4);
        peer.answer(&versions(ErrorCode::UNSUPPORTED_VERSION), 0, 0)
            .await;
        assert_eq!(peer.request().await.api_version, 2);
        peer.answer(&versions(ErrorCode::NONE), 0, 2).await;
        peer
    })
    .await;
    assert!(connection.is_ok());
    peer.await.unwrap();
}

#[tokio::test]
async fn many_requests_are_in_flight_and_answered_in_order() {
    let (connection, mut peer) = open_greeted().await;
    let answers: Vec<_> = (0..50)
        .map(|_| connection.submit(&heartbeat()).unwrap())
        .collect();
    for expected in 0..50 {
        assert_eq!(peer.request().await.correlation_id, expected);
    }
    for id in 0..50 {
        let response = HeartbeatResponse {
            throttle_time_ms: id,
            ..Default::default()
        };
        peer.answer(&response, id, 2).await;
    }
    for (at, answer) in (0..).zip(answers) {
        assert_eq!(answer.wait().await.unwrap().throttle_time_ms, at);
    }
}

#[tokio::test]
async fn silence_ends_the_connection_for_all() {
    let (connection, peer) = open_greeted().await;
    let other = connection.submit(&heartbeat()).unwrap();
    let error = connection.call(&heartbeat()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TimedOut {
                what: "Heartbeat",
                ..
            }
        ),
        "{error}"
    );
    assert!(connection.is_closed());
    assert!(other.wait().await.is_err());
    assert!(connection.submit(&heartbeat()).is_err());
    drop(peer);
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_to_everyone_waiting() {
    let (connection, peer) = open_greeted().await;
    let answers = [
        connection.submit(&heartbeat()).unwrap(),
        connection.submit(&heartbeat()).unwrap(),
    ];
    drop(peer);
    for answer in answers {
        let error = answer.wait().await.unwrap_err();
        assert!(
            matches!(error, ClientError::Disconnected { .. }) && error.is_retriable(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_nobody_asked_for_ends_the_connection() {
    let (connection, mut peer) = open_greeted().await;
    let answer = connection.submit(&heartbeat()).unwrap();
    peer.answer(&HeartbeatResponse::default(), 77, 2).await;
    assert!(matches!(
        answer.wait().await,
        Err(ClientError::Disconnected { .. })
    ));
}

#[tokio::test]
async fn an_answer_of_gigabytes_ends_the_connection() {
    let (connection, mut peer) = open_greeted().await;
    let answer = connection.submit(&heartbeat()).unwrap();
    peer.stream
        .write_all(&[0x7f, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    let error = answer.wait().await.unwrap_err();
    assert!(error.to_string().contains("over the limit"), "{error}");
}

#[tokio::test]
async fn what_is_no_kafka_server_is_told_so() {
    let (connection, _) = open(async |mut peer| {
        peer.stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        peer
    })
    .await;
    let error = connection.unwrap_err();
    assert!(
        error.to_string().contains("may not be a Kafka port"),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_the_last_handle_closes_it() {
    let (connection, mut peer) = open_greeted().await;
    let copy = connection.clone();
    drop(connection);
    assert!(!copy.is_closed());
    drop(copy);
    assert_eq!(peer.stream.read(&mut [0]).await.unwrap(), 0);
}
