//! Moving a partition's start.

use millstream_record::Offset;
use millstream_store::{Commit, Trim};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::topics::PartitionHandle;

/// Which records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteBefore {
    /// Those before this offset.
    Offset(Offset),
    /// All that readers can see.
    HighWatermark,
}

impl Broker {
    /// Deletes a partition's first records, and returns the first offset that is left (KIP-107). Offsets before it are
    /// out of range from then on; the disk is given back by and by.
    pub async fn delete_records(
        &self,
        partition: &PartitionHandle,
        before: DeleteBefore,
    ) -> Result<Offset, BrokerError> {
        let cleanup = partition.topic().current().settings.values().cleanup;
        if cleanup.compact && !cleanup.delete {
            return Err(BrokerError::CompactedTopic);
        }
        if partition.is_deleted() {
            return Err(BrokerError::UnknownPartition);
        }
        let offsets = partition.offsets();
        let log_start = match before {
            DeleteBefore::HighWatermark => offsets.high_watermark,
            DeleteBefore::Offset(offset)
                if offset < Offset::ZERO || offset > offsets.high_watermark =>
            {
                return Err(BrokerError::OffsetOutOfRange {
                    log_start: offsets.log_start,
                    high_watermark: offsets.high_watermark,
                });
            }
            DeleteBefore::Offset(offset) => offset,
        };
        let commit = Commit {
            trims: vec![Trim {
                partition: partition.log.id(),
                log_start,
            }],
            ..Commit::default()
        };
        self.inner.slot.commit(commit)?.durable.await?;
        Ok(partition.offsets().log_start)
    }
}
