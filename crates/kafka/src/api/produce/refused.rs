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
use millstream_record::{Batch, BatchError, Record, TimestampBounds};

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
            BrokerError::InvalidBatch(error) => match fault_of_one(error) {
                Some(fault) => broker.unpack(move || records_at_fault(batch, &fault)).await,
                None => {
                    let index = error.record_index().into_iter();
                    index.map(|index| named_record(index, error)).collect()
                }
            },
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

/// What is wrong with one record, if anything.
type Fault = Box<dyn Fn(i32, &Record) -> Option<BatchError> + Send>;

/// What has to be asked of every record, where the first that was found may not be the only one.
fn fault_of_one(first: &BatchError) -> Option<Fault> {
    match *first {
        BatchError::MissingKey { .. } => Some(Box::new(|index, record| {
            let is_missing = record.key.is_none();
            is_missing.then_some(BatchError::MissingKey { index })
        })),
        BatchError::TimestampOutOfRange {
            earliest, latest, ..
        } => Some(Box::new(move |index, record| {
            let bounds = TimestampBounds { earliest, latest };
            bounds.check(record.timestamp, Some(index)).err()
        })),
        _ => None,
    }
}

fn records_at_fault(batch: Bytes, fault: &Fault) -> Vec<BatchIndexAndErrorMessage> {
    let Ok(batch) = Batch::parse(batch) else {
        return Vec::new();
    };
    let records = batch
        .records(BATCH_DECOMPRESSED_BYTES_MAX)
        .map_while(Result::ok);
    let named = (0..).zip(records).filter_map(|(index, record)| {
        let error = fault(index, &record)?;
        Some(named_record(index, &error))
    });
    named.take(RECORD_ERRORS_MAX).collect()
}
