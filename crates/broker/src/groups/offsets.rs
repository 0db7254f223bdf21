//! What one group has committed, and when that is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_catalog::TopicId;
use millstream_record::{LeaderEpoch, Offset, TimestampMs};

use super::machine::RetentionFrom;

/// Names a partition: by the topic's id, so that a topic made anew under an old name starts without offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index in it.
    pub partition: u32,
}

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the last record read, so that a reader can be told if that record was lost (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the reader wants to remember with it.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed: TimestampMs,
    /// When it expires, if that was said in the commit: only clients before Kafka 2.1 do.
    pub expires: Option<TimestampMs>,
}

/// The offsets of one group.
pub(crate) type Offsets = BTreeMap<OffsetKey, CommittedOffset>;

/// What decides which offsets of a group have expired.
pub(crate) struct Expiry {
    pub(crate) from: RetentionFrom,
    /// When the group lost its last member.
    pub(crate) emptied: TimestampMs,
    pub(crate) retention_ms: u64,
    pub(crate) now: TimestampMs,
}

impl Expiry {
    /// Whether `committed`, in a topic that the group does not read, is to be forgotten (KIP-211).
    pub(crate) fn has_expired(&self, committed: &CommittedOffset) -> bool {
        let since = match self.from {
            RetentionFrom::Never => return false,
            RetentionFrom::Emptied => self.emptied,
            RetentionFrom::Commit => committed.committed,
        };
        let expires = committed
            .expires
            .unwrap_or_else(|| since.saturating_add(self.retention_ms as i64));
        self.now >= expires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_expired(
        from: RetentionFrom,
        committed_ms: i64,
        expires_ms: Option<i64>,
        now_ms: i64,
    ) -> bool {
        let committed = CommittedOffset {
            offset: Offset(7),
            leader_epoch: None,
            metadata: "".into(),
            committed: TimestampMs(committed_ms),
            expires: expires_ms.map(TimestampMs),
        };
        Expiry {
            from,
            emptied: TimestampMs(500),
            retention_ms: 1_000,
            now: TimestampMs(now_ms),
        }
        .has_expired(&committed)
    }

    #[test]
    fn retention_runs_from_the_right_time() {
        assert!(!has_expired(RetentionFrom::Commit, 100, None, 1_099));
        assert!(has_expired(RetentionFrom::Commit, 100, None, 1_100));
        assert!(!has_expired(RetentionFrom::Emptied, 100, None, 1_499));
        assert!(has_expired(RetentionFrom::Emptied, 100, None, 1_500));
        assert!(!has_expired(RetentionFrom::Never, 100, None, i64::MAX));
    }

    #[test]
    fn what_the_commit_said_comes_first() {
        assert!(has_expired(RetentionFrom::Commit, 100, Some(200), 200));
        assert!(!has_expired(
            RetentionFrom::Emptied,
            100,
            Some(5_000),
            4_999
        ));
        assert!(!has_expired(RetentionFrom::Never, 100, Some(200), 200));
    }
}
