//! CreateTopics, DeleteTopics and CreatePartitions.

mod create;
mod delete;
mod enlarge;

pub(crate) use create::create_topics;
pub(crate) use delete::delete_topics;
pub(crate) use enlarge::create_partitions;

use crate::errors::Refusal;
use millstream_kafka_wire::ErrorCode;

/// Checks the brokers that a request assigns to a partition: there is one broker, so one replica.
fn check_assignment(broker_ids: &[i32], node_id: i32) -> Result<(), Refusal> {
    if broker_ids == [node_id] {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        format!("the replicas {broker_ids:?} cannot be: the only broker is {node_id}"),
    ))
}
