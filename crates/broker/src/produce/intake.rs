//! Taking a batch in: what a commit appends for it, to its own topic and to those that routes lead to.

use std::sync::Arc;

use bytes::Bytes;
use millstream_catalog::Topic;
use millstream_record::TimestampMs;
use millstream_store::{Append, CommitError, PartitionId};
use smallvec::{SmallVec, smallvec};

use super::accept::{accept, takes_long, unpacking_takes_long};
use super::key_index;
use super::publish::append_of;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::routes::{Plan, Spread};
use crate::topics::PartitionHandle;

/// What is needed to take a batch in, so that another thread can.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    topic: Arc<Topic>,
    index: u32,
    partition: PartitionId,
    plan: Option<Arc<Plan>>,
    gone: Gone,
    now: TimestampMs,
}

/// Partitions of targets that turned out to be deleted when the commit came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone(SmallVec<[PartitionId; 1]>);

impl Gone {
    /// Notes what a commit was refused for, if it is only that a target is gone: it is to be tried again without that one.
    /// `own` are partitions that records are published to, not led to.
    pub(crate) fn note(&mut self, error: &CommitError, own: &[PartitionId]) -> bool {
        let CommitError::UnknownPartition(id) = error else {
            return false;
        };
        let is_target = !own.contains(id) && !self.0.contains(id);
        if is_target {
            self.0.push(*id);
        }
        is_target
    }
}

impl Broker {
    /// What is needed to take a batch in for `partition`.
    pub(super) fn intake(
        &self,
        partition: &PartitionHandle,
        gone: Gone,
        now: TimestampMs,
    ) -> Result<Intake, BrokerError> {
        Ok(Intake {
            topic: partition.topic().current(),
            index: partition.index(),
            partition: partition.log.id(),
            plan: self.routes_from(partition.topic())?,
            gone,
            now,
        })
    }
}

impl Intake {
    /// Whether taking `batch` means unpacking records for so long that it should not hold up a thread that serves others.
    pub(super) fn takes_long(&self, batch: &Bytes) -> bool {
        let spread = self.spread();
        let looks_inside = self.topic.settings.values().key_index
            || self.plan.as_ref().is_some_and(|plan| {
                let mut targets = plan.targets();
                targets.any(|topic| topic.current().settings.values().key_index)
            });
        (looks_inside && unpacking_takes_long(batch))
            || takes_long(batch, self.topic.settings.values())
            || spread.is_some_and(|spread| spread.takes_long(batch))
    }

    /// The appends for `batch`: first the one to the topic itself.
    pub(super) fn appends(&self, batch: Bytes) -> Result<SmallVec<[Append; 1]>, BrokerError> {
        let mut appends = match self.spread() {
            Some(spread) => spread.appends(&batch)?,
            None => {
                let accepted = accept(batch, self.topic.settings.values(), self.now)?;
                smallvec![append_of(accepted, self.partition)]
            }
        };
        let own = self.topic.settings.values().key_index;
        let targets = self.plan.iter().flat_map(|plan| plan.targets());
        let indexed: Vec<_> = targets
            .map(|topic| topic.current())
            .filter(|topic| topic.settings.values().key_index)
            .collect();
        if own || !indexed.is_empty() {
            let is_indexed = |id: PartitionId| {
                (own && id == self.partition)
                    || indexed.iter().any(|topic| topic.partitions.contains(&id))
            };
            for append in &mut appends {
                key_index::mark(append, is_indexed)?;
            }
        }
        Ok(appends)
    }

    /// The batch, which stays with the caller only if it may be needed again: what nobody else holds is stamped in place.
    pub(super) fn hand_out(&self, batch: &mut Bytes) -> Bytes {
        match self.plan {
            Some(_) => batch.clone(),
            None => std::mem::take(batch),
        }
    }

    /// Notes that a target is gone, if that is why a commit was refused.
    pub(super) fn leave_out(&mut self, error: &CommitError) -> bool {
        self.gone.note(error, &[self.partition])
    }

    fn spread(&self) -> Option<Spread<'_>> {
        Some(Spread {
            plan: self.plan.as_deref()?,
            topic: &self.topic,
            index: self.index,
            partition: self.partition,
            gone: &self.gone.0,
            now: self.now,
        })
    }
}
