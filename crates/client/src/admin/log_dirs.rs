//! How much room partitions take on the brokers' disks.

use std::collections::BTreeMap;

use millstream_kafka_wire::messages::DescribeLogDirsRequest;

use crate::admin::offsets::TopicPartition;
use crate::client::Client;
use crate::error::{ClientError, check};

/// A directory in which a broker keeps partitions.
#[derive(Debug, Clone)]
pub struct LogDir {
    /// The broker.
    pub broker: i32,
    /// Its path on that broker.
    pub path: String,
    /// The size of its volume in bytes, if the broker tells.
    pub total_bytes: Option<i64>,
    /// What is free of that.
    pub usable_bytes: Option<i64>,
    /// What each partition takes, in bytes.
    pub partitions: BTreeMap<TopicPartition, i64>,
}

impl Client {
    /// The directories of all brokers.
    pub async fn log_dirs(&self) -> Result<Vec<LogDir>, ClientError> {
        let mut dirs = Vec::new();
        for broker in self.brokers() {
            let request = DescribeLogDirsRequest { topics: None };
            let response = self.call_broker(broker.id, &request).await?;
            check(
                response.error_code,
                format!("describe the log directories of broker {}", broker.id),
            )?;
            for dir in response.results {
                check(
                    dir.error_code,
                    format!(
                        "describe log directory '{}' of broker {}",
                        dir.log_dir, broker.id
                    ),
                )?;
                let partitions = dir.topics.into_iter().flat_map(|topic| {
                    let name = topic.name;
                    topic.partitions.into_iter().map(move |partition| {
                        (
                            TopicPartition::new(name.clone(), partition.partition_index),
                            partition.partition_size,
                        )
                    })
                });
                dirs.push(LogDir {
                    broker: broker.id,
                    path: dir.log_dir.to_string(),
                    total_bytes: (dir.total_bytes >= 0).then_some(dir.total_bytes),
                    usable_bytes: (dir.usable_bytes >= 0).then_some(dir.usable_bytes),
                    partitions: partitions.collect(),
                });
            }
        }
        Ok(dirs)
    }
}
