//! DescribeLogDirs: what the partitions take on the disk.

use std::sync::Arc;

use millstream_broker::topics::TopicHandle;
use millstream_kafka_wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millstream_kafka_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::dispatch::Call;

/// Tells of the one data directory, and of the partitions asked for in it.
pub(crate) async fn describe_log_dirs(
    call: Arc<Call>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let broker = &call.server.broker;
    let topics: Vec<_> = match &request.topics {
        None => broker
            .topics()
            .iter()
            .map(|topic| describe(topic, |_| true))
            .collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                let topic = broker.topic(&asked.topic)?;
                Some(describe(&topic, |index| asked.partitions.contains(&index)))
            })
            .collect(),
    };
    let space = broker.env().disk.space(broker.data_dir());
    let (total_bytes, usable_bytes) = space.map_or((-1, -1), |space| {
        (space.total_bytes as i64, space.available_bytes as i64)
    });
    let data_dir = DescribeLogDirsResult {
        log_dir: broker.data_dir().display().to_string().into(),
        topics,
        total_bytes,
        usable_bytes,
        ..Default::default()
    };
    DescribeLogDirsResponse {
        results: vec![data_dir],
        ..Default::default()
    }
}

fn describe(topic: &Arc<TopicHandle>, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = topic
        .partitions()
        .into_iter()
        .filter(|partition| wanted(partition.index() as i32));
    let partitions = partitions.map(|partition| DescribeLogDirsPartition {
        partition_index: partition.index() as i32,
        partition_size: partition.size_bytes() as i64,
        offset_lag: 0,
        is_future_key: false,
    });
    DescribeLogDirsTopic {
        name: topic.name().as_str().into(),
        partitions: partitions.collect(),
    }
}
