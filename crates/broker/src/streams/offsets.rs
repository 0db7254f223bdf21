//! Finding places in a partition: by name, by time, by leadership.

use std::sync::Arc;

use millstream_record::{LeaderEpoch, Offset, TimestampMs};
use millstream_store::{Partition, ReadError};

use super::Isolation;
use super::gather::EpochEnd;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::topics::PartitionHandle;

/// Which place to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first record there is.
    Earliest,
    /// Where the next record that a reader sees will be.
    Latest,
    /// The record with the latest timestamp, the first of several (KIP-734).
    MaxTimestamp,
    /// The first record that is not earlier than this.
    Since(TimestampMs),
}

/// A place that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// Where it is.
    pub offset: Offset,
    /// The record's timestamp; [`TimestampMs::NONE`] where the query was not for a record.
    pub timestamp: TimestampMs,
    /// The leadership that wrote the record, or that is in force where none is there yet.
    pub leader_epoch: LeaderEpoch,
}

impl Broker {
    /// Finds a place in the partition; `None` where no record is what was asked for. A wrong `leader_epoch` is refused
    /// (KIP-320).
    pub async fn offset_at(
        &self,
        partition: &PartitionHandle,
        query: OffsetQuery,
        leader_epoch: Option<LeaderEpoch>,
        isolation: Isolation,
    ) -> Result<Option<FoundOffset>, BrokerError> {
        let log = Arc::clone(&partition.log);
        if log.is_dropped() {
            return Err(BrokerError::UnknownPartition);
        }
        let offsets = log.offsets();
        check_leader_epoch(leader_epoch, offsets.leader_epoch)?;
        let end = isolation.end(&offsets);
        let at_place = |offset, leader_epoch| {
            Ok(Some(FoundOffset {
                offset,
                timestamp: TimestampMs::NONE,
                leader_epoch,
            }))
        };
        let since = match query {
            OffsetQuery::Earliest => {
                return at_place(offsets.log_start, log.epoch_at(offsets.log_start));
            }
            OffsetQuery::Latest => return at_place(end, offsets.leader_epoch),
            OffsetQuery::MaxTimestamp => None,
            OffsetQuery::Since(timestamp) => Some(timestamp),
        };
        let search = move || {
            let found = match since {
                Some(timestamp) => log.offset_for_time(timestamp)?,
                None => log.max_timestamp()?,
            };
            Ok(found
                .filter(|&(_, offset)| offset < end)
                .map(|(timestamp, offset)| FoundOffset {
                    offset,
                    timestamp,
                    leader_epoch: log.epoch_at(offset),
                }))
        };
        self.inner.blocking.run(search).await
    }

    /// Where somebody begins to read who wants what is not earlier than `time`, up to `end`: at the first such record, or at
    /// damage that lies on the way to it, which he then comes across.
    pub(crate) async fn start_since(
        &self,
        partition: &PartitionHandle,
        time: TimestampMs,
        end: Offset,
    ) -> Result<Offset, BrokerError> {
        let log = Arc::clone(&partition.log);
        if log.is_dropped() {
            return Err(BrokerError::UnknownPartition);
        }
        let search = move || match log.offset_for_time(time) {
            Ok(found) => Ok(found.map_or(end, |(_, offset)| offset.min(end))),
            Err(ReadError::Damaged { offset, .. }) => {
                Ok(offset.max(log.offsets().log_start).min(end))
            }
            Err(error) => Err(BrokerError::from(error)),
        };
        self.inner.blocking.run(search).await
    }

    /// Where the leadership `epoch`, or the last one before it that wrote anything, ended: beyond that, a reader of that
    /// leadership has seen records that did not survive (KIP-101, KIP-320). `None` for a leadership still to come.
    pub fn epoch_end(
        &self,
        partition: &PartitionHandle,
        epoch: LeaderEpoch,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<EpochEnd>, BrokerError> {
        if partition.log.is_dropped() {
            return Err(BrokerError::UnknownPartition);
        }
        check_leader_epoch(leader_epoch, partition.offsets().leader_epoch)?;
        Ok(epoch_end(&partition.log, epoch))
    }
}

/// Refuses a reader that believes in another leadership than `current`.
pub(super) fn check_leader_epoch(
    believed: Option<LeaderEpoch>,
    current: LeaderEpoch,
) -> Result<(), BrokerError> {
    match believed {
        Some(believed) if believed < current => Err(BrokerError::FencedLeaderEpoch { current }),
        Some(believed) if believed > current => Err(BrokerError::UnknownLeaderEpoch { current }),
        _ => Ok(()),
    }
}

pub(super) fn epoch_end(log: &Partition, epoch: LeaderEpoch) -> Option<EpochEnd> {
    let offsets = log.offsets();
    if epoch < LeaderEpoch(0) || epoch > offsets.leader_epoch {
        return None;
    }
    let wrote = log
        .epoch_end(epoch)
        .map(|(epoch, end)| EpochEnd { epoch, end });
    // Nothing of so early a leadership is left: it ended where the first that is known begins.
    let before_all = || {
        let first = log
            .epochs()
            .first()
            .map_or(offsets.log_end, |&(_, first)| first);
        EpochEnd { epoch, end: first }
    };
    Some(wrote.unwrap_or_else(before_all))
}
