//! What a receipt is worth.

use millstream_record::{Offset, TimestampMs};

use super::Queue;
use super::effect::Effects;
use super::leases::Holding;
use super::partition::RecordState;
use crate::queues::ids::{LeaseNumber, PartitionIndex, Receipt};

/// Why a receipt is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The record is finished: acknowledged before, dead, expired, purged or dropped.
    #[error("the record is finished already; drop the receipt")]
    Finished,
    /// The record was delivered again since.
    #[error("the lease ended and the record was delivered again; drop the receipt")]
    Superseded,
    /// The lease has ended and the record was not delivered again yet: it can still be acknowledged or rejected.
    #[error("the lease has ended; acknowledge the record if it is done, else drop the receipt")]
    Lapsed,
    /// No such delivery.
    #[error("the receipt names no delivery of this queue")]
    Unknown,
}

/// What a receipt stands for.
#[derive(Clone, Copy)]
pub(super) enum Claim {
    /// A record that was held by a lease, and is no longer.
    Held(Holding),
    /// The lease is over, and nobody else has got the record since.
    Lapsed,
}

impl Queue {
    /// Takes a record out of its lease, or finds that it may be spoken for without one.
    pub(super) fn claim(
        &mut self,
        receipt: &Receipt,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> Result<Claim, ReceiptError> {
        match self.take_held(receipt) {
            Ok((slot, holding)) => {
                self.drop_if_empty(slot, now, effects);
                Ok(Claim::Held(holding))
            }
            Err(ReceiptError::Lapsed) if self.knows(receipt) => Ok(Claim::Lapsed),
            Err(refused) => Err(refused),
        }
    }

    /// Whether a record that is spoken for without a lease was looked at: whoever finishes it earlier, which a restart makes
    /// possible, keeps its id from being remembered.
    fn knows(&self, receipt: &Receipt) -> bool {
        let state = self.state(receipt.partition, receipt.offset);
        !self.policy.deduplicates() || state != Some(RecordState::Waiting)
    }

    /// Takes a record out of the piece of a lease that holds it.
    pub(super) fn take_held(&mut self, receipt: &Receipt) -> Result<(u32, Holding), ReceiptError> {
        let Some((slot, holding)) = self.leases.take(receipt) else {
            return Err(self.refusal(receipt));
        };
        if self.state(receipt.partition, receipt.offset) == Some(RecordState::Finished) {
            // Retention or compaction took it meanwhile. Should nothing be left of the lease, its deadline will end it.
            return Err(ReceiptError::Finished);
        }
        Ok((slot, holding))
    }

    /// Whether a record could be acknowledged with this receipt now.
    pub fn check(&self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let refusal = if self.leases.holds(receipt) {
            match self.state(receipt.partition, receipt.offset) {
                Some(RecordState::Finished) => ReceiptError::Finished,
                _ => return Ok(()),
            }
        } else {
            self.refusal(receipt)
        };
        match refusal {
            ReceiptError::Lapsed if self.knows(receipt) => Ok(()),
            refused => Err(refused),
        }
    }

    /// What is wrong with a receipt that no lease answers to.
    fn refusal(&self, receipt: &Receipt) -> ReceiptError {
        if receipt.lease > self.last_lease {
            return ReceiptError::Unknown;
        }
        match self.state(receipt.partition, receipt.offset) {
            None => ReceiptError::Unknown,
            Some(RecordState::Finished) => ReceiptError::Finished,
            Some(RecordState::Leased) if self.is_dying(receipt.partition, receipt.offset) => {
                ReceiptError::Finished
            }
            Some(RecordState::Leased) => ReceiptError::Superseded,
            Some(_) => self.refusal_of_open(receipt),
        }
    }

    /// The same for a record that nobody holds. That the receipt's lease is not known may also mean that it was granted
    /// before a crash and never written down.
    fn refusal_of_open(&self, receipt: &Receipt) -> ReceiptError {
        let history = &self.partitions[receipt.partition as usize].history;
        let last = history.at(receipt.offset).map(|span| span.lease);
        let is_of_earlier_life = receipt.lease.incarnation() < self.last_lease.incarnation();
        if last == Some(receipt.lease) {
            ReceiptError::Lapsed
        } else if last.is_some_and(|last| last > receipt.lease) {
            ReceiptError::Superseded
        } else if is_of_earlier_life {
            ReceiptError::Lapsed
        } else {
            ReceiptError::Unknown
        }
    }
}

impl Receipt {
    /// The receipt of a record that was delivered under `lease`.
    pub fn new(lease: LeaseNumber, partition: PartitionIndex, offset: Offset) -> Self {
        Self {
            lease,
            partition,
            offset,
        }
    }
}
