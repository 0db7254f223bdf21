//! A peer that speaks the protocol frame by frame, and can therefore speak it badly.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka_wire::api::{decode_response, encode_request};
use millstream_kafka_wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use millstream_kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use millstream_kafka_wire::messages::{FetchRequest, ProduceRequest};
use millstream_kafka_wire::{Records, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// The last versions that name topics instead of giving their ids.
const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 12;

/// One connection.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    next_correlation_id: i32,
}

impl Peer {
    /// Connects to a server.
    pub(crate) async fn connect(address: SocketAddr) -> Peer {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Peer {
            socket,
            next_correlation_id: 1,
        }
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version).await;
        self.receive::<R>(version).await
    }

    /// Sends a request.
    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16) {
        let frame = encode_request(
            request,
            self.next_correlation_id,
            Some("peer".into()),
            version,
        )
        .unwrap();
        self.next_correlation_id += 1;
        self.socket.write_all(&frame.to_bytes()).await.unwrap();
    }

    /// Reads the answer to a request of that version.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let frame = timeout(PATIENCE, read_frame(&mut self.socket))
            .await
            .expect("an answer in time");
        decode_response::<R::Response>(&frame, version).unwrap().1
    }

    /// Sends bytes as they are. An error is no failure: the server may have closed already.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Waits until the server closes the connection; returns what it sent before.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is a close too: the server does not read what it has refused.
        let _ = timeout(PATIENCE, self.socket.read_to_end(&mut rest))
            .await
            .expect("a close in time");
        rest
    }

    /// Produces what is to be one batch; returns what became of it.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let partition = PartitionProduceData {
            index: partition,
            records: Some(Records::from(batch)),
        };
        let topic = TopicProduceData {
            name: topic.into(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let response = self.call(&request, PRODUCE_VERSION).await;
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches from one partition without waiting for more.
    pub(crate) async fn fetch(&mut self, topic: &str, partition: FetchPartition) -> PartitionData {
        let request = fetch_request(topic, partition, Duration::ZERO);
        let mut response = self.call(&request, FETCH_VERSION).await;
        response.responses.remove(0).partitions.remove(0)
    }

    /// Asks for what is in a partition, again and again, without reading any answer, until the server stops taking
    /// requests or has taken `requests_max`.
    pub(crate) async fn fetch_without_reading(
        &mut self,
        topic: &str,
        partition: i32,
        requests_max: usize,
    ) {
        let partition = from_offset(partition, 0);
        let request = fetch_request(topic, partition, Duration::ZERO);
        let frame = encode_request(&request, 1, None, FETCH_VERSION)
            .unwrap()
            .to_bytes();
        for _ in 0..requests_max {
            let sent = timeout(Duration::from_millis(100), self.socket.write_all(&frame)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Waits until a partition has something at `offset`.
    pub(crate) async fn fetch_waiting(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> PartitionData {
        let request = fetch_request(topic, from_offset(partition, offset), wait);
        let mut response = self.call(&request, FETCH_VERSION).await;
        response.responses.remove(0).partitions.remove(0)
    }

    /// Starts a fetch that waits, and leaves its answer unread.
    pub(crate) async fn begin_waiting(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) {
        self.send(
            &fetch_request(topic, from_offset(partition, offset), wait),
            FETCH_VERSION,
        )
        .await;
    }
}

/// What to fetch: as much as the server gives from `offset` on.
pub(crate) fn from_offset(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: i32::MAX,
        ..Default::default()
    }
}

fn fetch_request(topic: &str, partition: FetchPartition, wait: Duration) -> FetchRequest {
    FetchRequest {
        max_wait_ms: wait.as_millis() as i32,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn read_frame(socket: &mut TcpStream) -> Bytes {
    let length = socket.read_i32().await.unwrap();
    let mut frame = vec![0; length as usize];
    socket.read_exact(&mut frame).await.unwrap();
    frame.into()
}

/// The start of a request: a length for what follows, the API, its version, a correlation id, no client id.
pub(crate) fn header(length: i32, api_key: i16, version: i16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(api_key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}
