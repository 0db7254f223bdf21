//! A small client over the Kafka protocol and the HTTP API, for the command line, the benchmark and the tests.
//!
//! It works against Millstream and Apache Kafka alike, and knows nothing of either's inside. [`Client`] finds the
//! brokers and keeps connections; [`Producer`] and [`Consumer`] carry records; [`admin`] looks at a cluster and changes
//! it. Every error is a [`ClientError`] that says what to do.
//!
//! [`http`] is for what the Kafka protocol has no words for: queues, live feeds, routes.

#![forbid(unsafe_code)]

pub mod admin;
mod backoff;
mod client;
mod cluster;
mod config;
mod connection;
mod consumer;
mod error;
pub mod http;
mod producer;

pub use admin::configs::{ConfigChange, ConfigEntry, Resource};
pub use admin::groups::{CommittedOffset, GroupDescription, GroupListing, GroupMember};
pub use admin::log_dirs::LogDir;
pub use admin::offsets::{FoundOffset, OffsetSpec, TopicPartition};
pub use admin::topics::NewTopic;
pub use client::Client;
pub use cluster::{Broker, Partition, Topic};
pub use config::ClientConfig;
pub use connection::{Answer, Connection, Written};
pub use consumer::group::{GroupConfig, GroupConsumer, GroupEvent};
pub use consumer::{Chunk, Consumer, ConsumerConfig, ConsumerEvent, StartAt};
pub use error::ClientError;
pub use millstream_record::partitioner;
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerConfig};
