//! DescribeLogDirs: what the partitions take on the disk.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use millstream_broker::topics::TopicHandle;
use millstream_kafka_wire::Str;
use millstream_kafka_wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millstream_kafka_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::dispatch::Call;

/// Tells of the one data directory, and of the partitions asked for in it.
pub(crate) async fn describe_log_dirs(
    call: Arc<Call>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let broker = &call.server.broker;
    let topics: Vec<_> = match request.topics {
        None => broker
            .topics()
            .iter()
            .map(|topic| describe(topic, |_| true))
            .collect(),
        Some(asked) => by_name(asked)
            .into_iter()
            .filter_map(|(name, partitions)| {
                let topic = broker.topic(&name)?;
                Some(describe(&topic, |index| partitions.contains(&index)))
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

/// Which partitions of which topics are asked for, however often a request names them.
fn by_name(asked: Vec<DescribableLogDirTopic>) -> BTreeMap<Str, HashSet<i32>> {
    let mut topics = BTreeMap::<_, HashSet<_>>::new();
    for DescribableLogDirTopic { topic, partitions } in asked {
        topics.entry(topic).or_default().extend(partitions);
    }
    topics
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
