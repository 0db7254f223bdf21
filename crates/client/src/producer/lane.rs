//! One partition's batches on their way: their sequence numbers, and their order across retries.
//!
//! A pure state machine. Batches go out with consecutive sequence numbers, several in flight. As soon as one fails in a way
//! that may pass, nothing new goes out until all that were in flight have come back; what failed then goes out again, in
//! its order and one at a time. A batch that is refused for good leaves a gap, which would make the server refuse all
//! that follow: once nothing is in flight, what is left is numbered anew from after the last batch that was accepted.
//!
//! The first batch goes alone. A server that knows nothing of a producer takes any number for its first, so if the first
//! batch failed in passing and the second was taken, the first would be out of order for ever.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use millstream_kafka_wire::ErrorCode;
use millstream_record::{BatchHeader, Sequence};
use tokio::time::Instant;

use super::Identity;
use super::accumulator::{Content, WaitingBatch};
use super::outcome::Outcome;
use super::request::Fate;
use crate::error::ClientError;

/// A batch that is ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub id: u64,
    pub header: BatchHeader,
    /// Everything after the header.
    pub payload: Bytes,
    pub outcome: Arc<Outcome>,
    pub reserved_bytes: usize,
    pub since: Instant,
    /// Whether it has its sequence number.
    numbered: bool,
}

impl Outgoing {
    /// Encodes and compresses what was collected.
    pub(super) fn encode(waiting: WaitingBatch) -> Option<Self> {
        let batch = match waiting.content {
            Content::Records(builder) => builder.build()?,
            Content::Batch(batch) => batch,
        };
        Some(Self {
            id: waiting.id,
            header: batch.header,
            payload: batch.payload(),
            outcome: waiting.outcome,
            reserved_bytes: waiting.reserved_bytes,
            since: waiting.since,
            numbered: false,
        })
    }

    fn number(&mut self, identity: Identity, sequence: Sequence) {
        self.numbered = true;
        self.header.producer_id = identity.id;
        self.header.producer_epoch = identity.epoch;
        self.header.base_sequence = sequence;
    }
}

/// A batch whose fate is known, to be told to those who wait.
pub(super) type Finished = (Outgoing, Fate);

/// One partition's state.
#[derive(Debug)]
pub(super) struct Lane {
    identity: Option<Identity>,
    next_sequence: Sequence,
    /// The number after the last batch that is known to be accepted.
    accepted_to: Sequence,
    in_flight: usize,
    /// Whether the server has accepted a batch, and so knows the producer.
    known: bool,
    /// To be sent again, by ascending number.
    again: VecDeque<Outgoing>,
    /// A batch was refused for good, so the numbers after it are not the server's.
    gap: bool,
    /// Nothing more can be sent with certainty.
    broken: Option<ClientError>,
}

impl Lane {
    pub(super) fn new(identity: Option<Identity>) -> Self {
        Self {
            identity,
            next_sequence: Sequence::ZERO,
            accepted_to: Sequence::ZERO,
            in_flight: 0,
            known: identity.is_none(),
            again: VecDeque::new(),
            gap: false,
            broken: None,
        }
    }

    /// Whether a batch may go out now.
    pub(super) fn is_open(&self) -> bool {
        self.in_flight == 0 || (self.again.is_empty() && !self.gap && self.known)
    }

    /// Why no batch can be sent any more.
    pub(super) fn broken(&self) -> Option<&ClientError> {
        self.broken.as_ref()
    }

    /// The next batch to send: one that failed, or else what `fresh` has. Only while the lane is open.
    pub(super) fn next(&mut self, fresh: impl FnOnce() -> Option<Outgoing>) -> Option<Outgoing> {
        debug_assert!(self.is_open());
        if self.gap {
            self.renumber();
        }
        let mut outgoing = match self.again.pop_front() {
            Some(again) => again,
            None => fresh()?,
        };
        if !outgoing.numbered {
            self.assign(&mut outgoing);
        }
        self.in_flight += 1;
        Some(outgoing)
    }

    /// Takes the answer to a batch, which then is finished or stays here to go out again. `expired` tells that there is no
    /// time for that.
    pub(super) fn answered(
        &mut self,
        outgoing: Outgoing,
        answer: Fate,
        expired: Option<ClientError>,
    ) -> Option<Finished> {
        self.in_flight -= 1;
        let error = match answer {
            Err(error) if error.code() != Some(ErrorCode::DUPLICATE_SEQUENCE_NUMBER) => error,
            // Accepted before, so long ago that the server has forgotten where.
            answer => {
                self.known = true;
                self.accepted_to = after(&outgoing);
                return Some((outgoing, answer.or(Ok(None))));
            }
        };
        let follows_failure = self.gap || !self.again.is_empty();
        let out_of_order = error.code() == Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        if error.is_retriable() || (out_of_order && follows_failure) {
            if let Some(expired) = expired {
                self.broken = self.identity.map(|_| expired.clone());
                return Some((outgoing, Err(expired)));
            }
            self.keep(outgoing);
            return None;
        }
        if out_of_order {
            self.broken = Some(error.clone());
        }
        self.gap |= self.identity.is_some();
        Some((outgoing, Err(error)))
    }

    /// Everything that waits to be sent again, to be given up.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Outgoing> {
        std::mem::take(&mut self.again).into_iter()
    }

    fn keep(&mut self, outgoing: Outgoing) {
        // Ids rise with the sequence numbers, and do not wrap.
        let at = self.again.partition_point(|kept| kept.id < outgoing.id);
        self.again.insert(at, outgoing);
    }

    fn assign(&mut self, outgoing: &mut Outgoing) {
        if let Some(identity) = self.identity {
            outgoing.number(identity, self.next_sequence);
            self.next_sequence = after(outgoing);
        }
    }

    fn renumber(&mut self) {
        self.gap = false;
        self.next_sequence = self.accepted_to;
        let mut again = std::mem::take(&mut self.again);
        for outgoing in &mut again {
            self.assign(outgoing);
        }
        self.again = again;
    }
}

/// The number after the batch's last record.
fn after(outgoing: &Outgoing) -> Sequence {
    outgoing.header.last_sequence().advance(1)
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
