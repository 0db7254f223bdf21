//! What consumers say of what was delivered to them.

use std::sync::Arc;

use millstream_record::TimestampMs;
use millstream_store::{Commit, CommitError, Durability, Stay, Ticket};

use super::QueueHandle;
use super::cell::{JointCommit, State};
use crate::error::BrokerError;
use crate::produce::{Composed, Gone, NewMessage, Published};
use crate::queues::error::QueueError;
use crate::queues::ids::Receipt;
use crate::queues::machine::{Answers, Effects, Queue, Retry};
use crate::topics::TopicHandle;

/// What was acknowledged and published in one commit.
struct Acked {
    published: Vec<Vec<Published>>,
    durable: Ticket,
}

impl QueueHandle {
    /// Records are done. Returns when that is as durable as the topic promises: one answer for each receipt, in order.
    pub async fn ack(&self, receipts: &[Receipt]) -> Result<Answers, QueueError> {
        self.settle(true, |machine, now, answers, effects| {
            machine.ack(receipts, now, answers, effects);
        })
        .await
    }

    /// Records are not done, and go back. That is found out again after a crash, so it is not waited for.
    pub async fn nack(&self, receipts: &[Receipt], retry: Retry) -> Result<Answers, QueueError> {
        self.settle(false, |machine, now, answers, effects| {
            machine.nack(receipts, retry, now, answers, effects);
        })
        .await
    }

    /// Records are hopeless: to the dead letters with them.
    pub async fn reject(&self, receipts: &[Receipt]) -> Result<Answers, QueueError> {
        self.settle(true, |machine, now, answers, effects| {
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
        self.settle(false, |machine, now, answers, effects| {
            machine.extend(receipts, visibility_ms, now, answers, effects);
        })
        .await
    }

    /// Records are done, and others are published: both or neither. If any receipt is refused, nothing happens. Says where
    /// the records went, topic by topic.
    pub async fn ack_and_publish(
        &self,
        receipts: &[Receipt],
        publishes: &[(Arc<TopicHandle>, Vec<NewMessage>)],
    ) -> Result<Vec<Vec<Published>>, QueueError> {
        let broker = &self.broker;
        let mut own = Vec::new();
        for (topic, _) in publishes {
            own.extend_from_slice(&topic.current().partitions);
        }
        let mut gone = Gone::default();
        loop {
            let mut composed = Vec::with_capacity(publishes.len());
            for (topic, messages) in publishes {
                composed.push(broker.compose_without(topic, messages, &gone).await?);
            }
            let bytes = composed.iter().map(Composed::size_bytes).sum();
            let _admission = broker.admit(bytes).await;
            let acked = {
                let appends = composed.iter().flat_map(|one| &one.appends);
                let _room = broker.room_for(appends)?;
                self.ack_beside(receipts, composed)?
            };
            match acked {
                Ok(acked) => {
                    acked.durable.await.map_err(BrokerError::from)?;
                    return Ok(acked.published);
                }
                Err(error) if gone.note(&error, &own) => {}
                Err(error) => return Err(BrokerError::from(error).into()),
            }
        }
    }

    /// Records are done in the commit that publishes. The inner error is the commit's.
    fn ack_beside(
        &self,
        receipts: &[Receipt],
        mut composed: Vec<Composed>,
    ) -> Result<Result<Acked, CommitError>, QueueError> {
        let slot = &self.broker.inner.slot;
        let appends = composed.iter_mut().flat_map(|one| one.appends.drain(..));
        let commit = Commit {
            appends: appends.collect(),
            ..Commit::default()
        };
        let check = |state: &State| {
            state.check_open()?;
            for (index, receipt) in receipts.iter().enumerate() {
                let checked = state.machine.check(receipt);
                checked.map_err(|error| QueueError::Receipt { index, error })?;
            }
            Ok::<_, QueueError>(())
        };
        // Whoever cannot acknowledge need not be told what else is wrong, nor have anything looked up.
        check(&self.cell.state.lock())?;
        if let Err(error) = slot.check_room(Stay::Passing) {
            return Ok(Err(error));
        }
        let joint = match JointCommit::prepare(slot, commit, self.cell.durability, receipts.len()) {
            Ok(joint) => joint,
            Err(error) => return Ok(Err(error)),
        };
        let mut state = self.cell.state.lock();
        check(&state)?;
        let now = self.broker.now();
        let acked = |machine: &mut Queue, effects: &mut Effects| {
            machine.ack(receipts, now, &mut Answers::new(), effects);
        };
        let sequenced = self.cell.perform_jointly(&mut state, slot, joint, acked);
        self.wake_in_time(&state);
        Ok(sequenced.map(|sequenced| {
            let mut rest = &sequenced.appends[..];
            let published = composed.iter().map(|one| {
                let (own, others) = rest.split_at(one.answers());
                rest = others;
                one.published(own)
            });
            Acked {
                published: published.collect(),
                durable: sequenced.durable,
            }
        }))
    }

    /// What is final is waited for until it is as durable as the topic promises.
    async fn settle(
        &self,
        is_final: bool,
        event: impl FnOnce(&mut Queue, TimestampMs, &mut Answers, &mut Effects),
    ) -> Result<Answers, QueueError> {
        self.check_disk(Stay::Passing)?;
        let (answers, durable) = {
            let mut state = self.cell.state.lock();
            state.check_open()?;
            let (mut answers, mut effects) = (Answers::new(), Effects::default());
            let now = self.broker.now();
            event(&mut state.machine, now, &mut answers, &mut effects);
            let promise = if is_final {
                self.cell.durability
            } else {
                self.cell.unsynced()
            };
            self.perform(&mut state, &mut effects, promise)?;
            (answers, state.durable.clone())
        };
        if is_final && let Some(durable) = durable {
            durable.await.map_err(BrokerError::from)?;
        }
        Ok(answers)
    }

    /// Refuses what somebody asks for if the disk has no room for it. Asked before the machine is, which cannot take back
    /// what it has said; what happens by itself does not ask.
    pub(super) fn check_disk(&self, stay: Stay) -> Result<(), QueueError> {
        let checked = self.broker.inner.slot.check_room(stay);
        Ok(checked.map_err(BrokerError::from)?)
    }

    /// An event whose outcome nobody waits for.
    pub(super) fn change(&self, event: impl FnOnce(&mut Queue, TimestampMs, &mut Effects)) {
        self.change_in(&mut self.cell.state.lock(), event);
    }

    /// The same with the cell's lock held.
    pub(super) fn change_in(
        &self,
        state: &mut State,
        event: impl FnOnce(&mut Queue, TimestampMs, &mut Effects),
    ) {
        if state.check_open().is_err() {
            return;
        }
        let mut effects = Effects::default();
        event(&mut state.machine, self.broker.now(), &mut effects);
        // Refused only when the store has ended, which everybody is told.
        let _ = self.perform(state, &mut effects, self.cell.unsynced());
    }

    /// The end of an event: does what the machine asked for, and sees to it that its next deadline is kept. Any event may
    /// have set one, since deliveries follow it.
    pub(super) fn perform(
        &self,
        state: &mut State,
        effects: &mut Effects,
        promise: Durability,
    ) -> Result<(), QueueError> {
        let slot = &self.broker.inner.slot;
        let performed = self.cell.perform(state, slot, effects, promise);
        performed.map_err(BrokerError::from)?;
        self.wake_in_time(state);
        Ok(())
    }
}
