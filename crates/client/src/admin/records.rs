//! Deleting the oldest records.

use millstream_kafka_wire::messages::DeleteRecordsRequest;
use millstream_kafka_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use millstream_record::Offset;

use crate::admin::offsets::TopicPartition;
use crate::client::Client;
use crate::error::{ClientError, check};

impl Client {
    /// Deletes the records of a partition below `before`, or all there are with `None`. Returns the first offset that is
    /// left.
    pub async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let mut backoff = self.backoff();
        loop {
            match self.delete_records_once(partition, before).await {
                Err(error) => {
                    self.forget_topic(&partition.topic);
                    backoff.pause(error).await?;
                }
                deleted => return deleted,
            }
        }
    }

    async fn delete_records_once(
        &self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let topic = self.topic_of(&partition.topic, false).await?;
        let leader = topic.partition(partition.partition)?.leader.unwrap_or(-1);
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: partition.topic.clone(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition.partition,
                    offset: before.map_or(-1, Offset::get),
                }],
            }],
            timeout_ms: self.request_timeout().as_millis() as i32,
        };
        let response = self.call_broker(leader, &request).await?;
        let topic = response.topics.into_iter().next();
        let result = topic.and_then(|topic| topic.partitions.into_iter().next());
        let result = result.ok_or(ClientError::Incomplete("DeleteRecords"))?;
        check(result.error_code, format!("delete records of {partition}"))?;
        Ok(Offset(result.low_watermark))
    }
}
