//! A broker in this process, served over TCP on loopback, and a client that speaks the protocol frame by frame.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::{Broker, BrokerSettings};
use millstream_env::Env;
use millstream_kafka::KafkaSettings;
use millstream_kafka_wire::api::{decode_response, encode_request};
use millstream_kafka_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use millstream_kafka_wire::messages::fetch::{FetchPartition, FetchTopic};
use millstream_kafka_wire::messages::metadata::MetadataRequestTopic;
use millstream_kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use millstream_kafka_wire::messages::{
    CreateTopicsRequest, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use millstream_kafka_wire::{ErrorCode, Records, Request};
use millstream_record::{BatchBuilder, Codec, NewRecord, TimestampMs};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A served broker; all of it goes when this is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub broker: Broker,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _data_dir: TempDir,
}

impl Served {
    pub async fn start() -> Served {
        Served::start_with(KafkaSettings::default()).await
    }

    pub async fn start_with(settings: KafkaSettings) -> Served {
        Served::start_on(settings, |_| {}).await
    }

    /// Starts over a broker with other settings than the defaults.
    pub async fn start_on(
        settings: KafkaSettings,
        change: impl FnOnce(&mut BrokerSettings),
    ) -> Served {
        let data_dir = tempfile::tempdir().unwrap();
        let mut broker = BrokerSettings::new(data_dir.path());
        change(&mut broker);
        let broker = Broker::open(broker, Env::real()).await.unwrap();
        let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(millstream_kafka::serve(
            socket,
            broker.clone(),
            settings,
            async {
                let _ = stopped.await;
            },
        ));
        Served {
            address,
            broker,
            stop: Some(stop),
            serving,
            _data_dir: data_dir,
        }
    }

    pub async fn client(&self) -> Client {
        Client::over(self.raw().await)
    }

    /// A bare connection.
    pub async fn raw(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// Creates a topic that lives in memory, so that tests do not wait for the disk.
    pub async fn memory_topic(&self, name: &str, partitions: i32) {
        self.topic(name, partitions, &[("millstream.durability", "memory")])
            .await;
    }

    pub async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.client().await.call(&request, 7).await;
        assert_eq!(
            response.topics[0].error_code,
            ErrorCode::NONE,
            "{:?}",
            response.topics[0]
        );
    }

    /// Shuts the listener down as the server does.
    pub async fn stop(mut self) {
        self.stop.take();
        tokio::time::timeout(PATIENCE, &mut self.serving)
            .await
            .expect("serving ends")
            .unwrap();
    }
}

/// A connection that sends requests and reads responses.
pub struct Client {
    pub socket: TcpStream,
    next_correlation_id: i32,
}

impl Client {
    /// A client on a connection that is open already.
    pub fn over(socket: TcpStream) -> Client {
        Client {
            socket,
            next_correlation_id: 1,
        }
    }

    /// Sends a request; returns its correlation id.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = encode_request(request, correlation_id, Some("test".into()), version).unwrap();
        self.socket.write_all(&frame.to_bytes()).await.unwrap();
        correlation_id
    }

    /// The next frame, without its length.
    pub async fn frame(&mut self) -> Bytes {
        tokio::time::timeout(PATIENCE, read_frame(&mut self.socket))
            .await
            .expect("an answer in time")
    }

    /// Reads the response to a request of `version`; returns its correlation id too.
    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.frame().await;
        let (header, response) = decode_response::<R::Response>(&frame, version).unwrap();
        (header.correlation_id, response)
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version).await;
        let (correlation_id, response) = self.receive::<R>(version).await;
        assert_eq!(correlation_id, sent);
        response
    }

    pub async fn metadata(&mut self, topic: &str) -> MetadataResponse {
        let topic = MetadataRequestTopic {
            name: Some(topic.into()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            ..Default::default()
        };
        self.call(&request, 12).await
    }

    /// Produces one batch and returns what became of it.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let response: ProduceResponse = self
            .call(&produce_request(topic, partition, batch, -1), 9)
            .await;
        response.responses[0].partition_responses[0].clone()
    }
}

async fn read_frame(socket: &mut TcpStream) -> Bytes {
    let length = socket.read_i32().await.unwrap();
    let mut frame = vec![0; length as usize];
    socket.read_exact(&mut frame).await.unwrap();
    frame.into()
}

/// Waits until the server has closed the connection; returns what it sent before.
pub async fn closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is a close too: the server does not read what it has refused.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest))
        .await
        .expect("a close in time");
    rest
}

pub fn produce_request(topic: &str, partition: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData {
        index: partition,
        records: Some(Records::from(batch)),
    };
    let topic = TopicProduceData {
        name: topic.into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

pub fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition: 0,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 10_000,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A batch of records with these values and no keys.
pub fn batch(values: &[&str]) -> Bytes {
    compressed_batch(Codec::None, values)
}

pub fn compressed_batch(codec: Codec, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for value in values {
        builder.append(&NewRecord {
            timestamp: TimestampMs(1_700_000_000_000),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build().expect("values were given").bytes
}
