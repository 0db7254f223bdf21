//! What subscribers get.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millstream_catalog::TopicName;
use millstream_record::{Headers, Offset, Record, TimestampMs};

use super::error::Disconnected;
use super::memory::Counted;
use super::shared::source_of;
use crate::topics::PartitionHandle;

/// What a message costs beside its bytes: itself, and its place in a buffer.
const OVERHEAD_BYTES: usize = 256;

/// Which partition something comes from: its number in the store, which is never used again.
pub(super) type Source = u32;

/// A record on its way to subscribers, all of which share it.
#[derive(Debug)]
pub struct LiveMessage {
    /// The topic it is in.
    pub topic: TopicName,
    /// The partition it is in.
    pub partition: u32,
    /// Where it is there.
    pub offset: Offset,
    /// When the producer made it or the broker took it.
    pub timestamp: TimestampMs,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value, if it has one.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    pub(super) source: Source,
    rendered: OnceLock<Bytes>,
    counted: Counted,
}

/// A rendering, which may outlive its message.
struct Rendered {
    bytes: Bytes,
    _counted: Counted,
}

impl AsRef<[u8]> for Rendered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl LiveMessage {
    /// Takes `record`, whose memory should be its own: it may be kept for long. `count` says what its bytes count against.
    pub(super) fn new(
        topic: TopicName,
        partition: u32,
        source: Source,
        record: Record,
        count: impl FnOnce(usize) -> Counted,
    ) -> Self {
        let counted = count(size_bytes(
            record.key.as_ref(),
            record.value.as_ref(),
            &record.headers,
        ));
        Self {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
            source,
            rendered: OnceLock::new(),
            counted,
        }
    }

    /// The message in the form that a protocol sends, made by `render` for the first subscriber and shared by all. There
    /// is one such form: whoever wants another makes it anew.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.rendered.get_or_init(|| {
            let bytes = render(self);
            let counted = self.counted.beside(bytes.len());
            Bytes::from_owner(Rendered {
                bytes,
                _counted: counted,
            })
        })
    }

    /// The memory it takes, about.
    pub fn size_bytes(&self) -> usize {
        size_bytes(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

fn size_bytes(key: Option<&Bytes>, value: Option<&Bytes>, headers: &Headers) -> usize {
    let length = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
    OVERHEAD_BYTES + length(key) + length(value) + headers.size_bytes()
}

/// What comes out of a subscription.
#[derive(Debug, Clone)]
pub enum LiveItem {
    /// A record. Those of one partition come in order.
    Record(Arc<LiveMessage>),
    /// So many records were dropped here because the reader was slow.
    Dropped {
        /// How many.
        count: u64,
    },
    /// Records that cannot be delivered any more.
    Lost(Lost),
    /// There is nothing more to come.
    Disconnected(Disconnected),
}

/// Offsets that a subscriber did not see and that are not to be had any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: u32,
    /// The first one.
    pub from: Offset,
    /// The first one after them.
    pub to: Offset,
    /// Why.
    pub reason: LostReason,
    pub(super) source: Source,
}

impl Lost {
    pub(super) fn of(
        partition: &PartitionHandle,
        from: Offset,
        to: Offset,
        reason: LostReason,
    ) -> Self {
        Self {
            topic: partition.topic().name().clone(),
            partition: partition.index(),
            from,
            to,
            reason,
            source: source_of(partition),
        }
    }
}

/// Why records are lost to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// Retention, or a deletion of records, was faster.
    Retention,
    /// What is stored cannot be decoded.
    Undecodable,
    /// What is stored is damaged, and cannot be read.
    Damaged,
}
