//! A batch that is refused, with the records that are the reason (KIP-467).
//!
//! Producers fail the records that are named with their own error and all others of the batch with a milder one, so
//! every record at fault has to be named, not only the first that was found.

use bytes::Bytes;
use millstream_broker::{Broker, BrokerError};
use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse,
};
use millstream_limits::{BATCH_DECOMPRESSED_BYTES_MAX, RECORD_ERRORS_MAX};
use millstream_record::{Batch, BatchError};

use crate::errors::Refusal;

/// A refused batch.
#[derive(Debug)]
pub(super) struct RefusedBatch {
    pub(super) refusal: Refusal,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl RefusedBatch {
    /// What the broker's refusal of `batch` comes to.
    pub(super) async fn new(broker: &Broker, error: BrokerError, batch: Bytes) -> RefusedBatch {
        let records = match &error {
            BrokerError::InvalidBatch(BatchError::MissingKey { .. }) => {
                let indexes = broker.unpack(|| without_key(batch)).await.into_iter();
                let named = indexes.map(|index| (index, BatchError::MissingKey { index }));
                named
                    .map(|(index, error)| named_record(index, &error))
                    .collect()
            }
            BrokerError::InvalidBatch(error) => {
                let index = error.record_index();
                index
                    .map(|index| named_record(index, error))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        };
        RefusedBatch {
            refusal: error.into(),
            records,
        }
    }

    /// What the producer is told.
    pub(super) fn response(self, index: i32) -> PartitionProduceResponse {
        PartitionProduceResponse {
            index,
            error_code: self.refusal.code,
            error_message: self.refusal.text(),
            base_offset: -1,
            record_errors: self.records,
            ..Default::default()
        }
    }
}

impl From<Refusal> for RefusedBatch {
    fn from(refusal: Refusal) -> RefusedBatch {
        RefusedBatch {
            refusal,
            records: Vec::new(),
        }
    }
}

impl From<ErrorCode> for RefusedBatch {
    fn from(code: ErrorCode) -> RefusedBatch {
        Refusal::from(code).into()
    }
}

fn named_record(batch_index: i32, error: &BatchError) -> BatchIndexAndErrorMessage {
    let batch_index_error_message = Some(error.to_string().into());
    BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message,
    }
}

/// The places of the records without a key, which a compacted topic does not take.
fn without_key(batch: Bytes) -> Vec<i32> {
    let Ok(batch) = Batch::parse(batch) else {
        return Vec::new();
    };
    let records = batch
        .records(BATCH_DECOMPRESSED_BYTES_MAX)
        .map_while(Result::ok);
    let keyless = (0..)
        .zip(records)
        .filter(|(_, record)| record.key.is_none());
    keyless
        .map(|(index, _)| index)
        .take(RECORD_ERRORS_MAX)
        .collect()
}
