//! What is known of the cluster: its brokers, and the topics that were asked about.

use std::collections::HashMap;

use millstream_kafka_wire::messages::MetadataResponse;
use millstream_kafka_wire::messages::metadata::MetadataResponseTopic;
use millstream_kafka_wire::{ErrorCode, Str};
use uuid::Uuid;

use crate::error::ClientError;

/// A topic as the cluster has it.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: Str,
    /// Its id; nil from a server before Kafka 2.8.
    pub id: Uuid,
    /// Whether the server keeps it for itself.
    pub internal: bool,
    /// Its partitions, by ascending number.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// The partition of that number.
    pub fn partition(&self, number: i32) -> Result<&Partition, ClientError> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
            .ok_or_else(|| ClientError::NoSuchPartition {
                topic: self.name.to_string(),
                partition: number,
                partitions: self.partitions.len() as i32,
            })
    }
}

/// A partition as the cluster has it.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Its number, from 0.
    pub number: i32,
    /// The broker that leads it; none while there is none.
    pub leader: Option<i32>,
    /// The leadership.
    pub leader_epoch: i32,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// `HOST:PORT` by which clients reach it.
    pub address: String,
}

/// Brokers and topics as of the last answers.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub brokers: Vec<Broker>,
    pub topics: HashMap<Str, Topic>,
}

impl Cluster {
    /// Takes in an answer: the brokers it has replace those known, its topics join them.
    pub(crate) fn absorb(&mut self, response: &MetadataResponse) {
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| Broker {
                id: broker.node_id,
                address: address(&broker.host, broker.port),
            })
            .collect();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code.is_error() {
                self.topics.remove(name);
            } else {
                self.topics
                    .insert(name.clone(), to_topic(name.clone(), topic));
            }
        }
    }

    pub(crate) fn address(&self, broker: i32) -> Option<&str> {
        self.brokers
            .iter()
            .find(|known| known.id == broker)
            .map(|broker| broker.address.as_str())
    }
}

/// `HOST:PORT`, with the brackets that an IPv6 address needs.
pub(crate) fn address(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn to_topic(name: Str, topic: &MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            number: partition.partition_index,
            leader: (partition.leader_id >= 0
                && partition.error_code != ErrorCode::LEADER_NOT_AVAILABLE)
                .then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    Topic {
        name,
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}
