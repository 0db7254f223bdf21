//! What consumers say of what was delivered to them.

use std::sync::Arc;

use millstream_record::TimestampMs;
use millstream_store::{Commit, Durability};

use super::QueueHandle;
use super::cell::State;
use crate::error::BrokerError;
use crate::produce::{NewMessage, Published};
use crate::queues::error::QueueError;
use crate::queues::ids::Receipt;
use crate::queues::machine::{Answers, Effects, Queue, Retry};
use crate::topics::TopicHandle;

impl QueueHandle {
    /// Records are done. Returns when that is as durable as the topic promises: one answer for each receipt, in order.
    pub async fn ack(&self, receipts: &[Receipt]) -> Result<Answers, QueueError> {
        self.settle(self.cell.durability, |machine, now, answers, effects| {
            machine.ack(receipts, now, answers, effects);
        })
        .await
    }

    /// Records are not done, and go back. That is found out again after a crash, so it is not waited for.
    pub async fn nack(&self, receipts: &[Receipt], retry: Retry) -> Result<Answers, QueueError> {
        self.settle(self.cell.unsynced(), |machine, now, answers, effects| {
            machine.nack(receipts, retry, now, answers, effects);
        })
        .await
    }

    /// Records are hopeless: to the dead letters with them.
    pub async fn reject(&self, receipts: &[Receipt]) -> Result<Answers, QueueError> {
        self.settle(self.cell.durability, |machine, now, answers, effects| {
            machine.reject(receipts, now, answers, effects);
        })
        .await
    }

    /// Work goes on: the records are held for so much longer, counted from now.
    pub async fn extend(
        &self,
        receipts: &[Receipt],
        visibility_ms: u64,
    ) -> Result<Answers, QueueError> {
        self.settle(self.cell.unsynced(), |machine, now, answers, effects| {
            machine.extend(receipts, visibility_ms, now, answers, effects);
        })
        .await
    }

    /// Records are done, and others are published: both or neither. If any receipt is refused, nothing happens.
    pub async fn ack_and_publish(
        &self,
        receipts: &[Receipt],
        topic: &Arc<TopicHandle>,
        messages: &[NewMessage],
    ) -> Result<Vec<Published>, QueueError> {
        let mut composed = self.broker.compose(topic, messages).await?;
        let _admission = self.broker.admit(composed.size_bytes()).await;
        let (published, durable) = {
            let mut state = self.cell.state.lock();
            state.check_open()?;
            self.check_disk()?;
            for (index, receipt) in receipts.iter().enumerate() {
                let checked = state.machine.check(receipt);
                checked.map_err(|error| QueueError::Receipt { index, error })?;
            }
            let mut effects = Effects::default();
            let now = self.broker.now();
            state
                .machine
                .ack(receipts, now, &mut Answers::new(), &mut effects);
            let commit = Commit {
                appends: std::mem::take(&mut composed.appends),
                ..Commit::default()
            };
            let sequenced = self.cell.perform_with(
                &mut state,
                &self.broker.inner.slot,
                &mut effects,
                self.cell.durability,
                commit,
            )?;
            (composed.published(&sequenced), state.durable.clone())
        };
        if let Some(durable) = durable {
            durable.await.map_err(BrokerError::from)?;
        }
        Ok(published)
    }

    /// What is appended beside a queue's state is refused before the queue moves on, as far as that can be foreseen.
    pub(super) fn check_disk(&self) -> Result<(), QueueError> {
        if self.broker.inner.slot.stats().disk_full {
            return Err(BrokerError::DiskFull {
                available_bytes: 0,
                reserve_bytes: 0,
            }
            .into());
        }
        Ok(())
    }

    async fn settle(
        &self,
        promise: Durability,
        event: impl FnOnce(&mut Queue, TimestampMs, &mut Answers, &mut Effects),
    ) -> Result<Answers, QueueError> {
        let (answers, durable) = {
            let mut state = self.cell.state.lock();
            state.check_open()?;
            let (mut answers, mut effects) = (Answers::new(), Effects::default());
            event(
                &mut state.machine,
                self.broker.now(),
                &mut answers,
                &mut effects,
            );
            self.cell.perform(
                &mut state,
                &self.broker.inner.slot,
                &mut effects,
                promise,
                Commit::default(),
            )?;
            self.cell.work.notify_one();
            (answers, state.durable.clone())
        };
        if promise == Durability::Fsync
            && let Some(durable) = durable
        {
            durable.await.map_err(BrokerError::from)?;
        }
        Ok(answers)
    }

    /// An event whose outcome nobody waits for.
    pub(super) fn change(&self, event: impl FnOnce(&mut Queue, TimestampMs, &mut Effects)) {
        let mut state = self.cell.state.lock();
        if state.check_open().is_err() {
            return;
        }
        let mut effects = Effects::default();
        event(&mut state.machine, self.broker.now(), &mut effects);
        // A refusal has been told, and is dealt with by the queue's task.
        let _ = self.perform(&mut state, &mut effects);
    }

    pub(super) fn perform(
        &self,
        state: &mut State,
        effects: &mut Effects,
    ) -> Result<(), QueueError> {
        self.cell.perform(
            state,
            &self.broker.inner.slot,
            effects,
            self.cell.unsynced(),
            Commit::default(),
        )
    }
}
