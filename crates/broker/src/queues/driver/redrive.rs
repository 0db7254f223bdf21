//! The way back from the dead letters.

mod step;

use std::sync::Arc;

use millstream_record::{Offset, Record};
use millstream_store::{Append, Commit, Trim};

use self::step::{Step, letter_of, message_anew};
use super::QueueHandle;
use super::read::{after_damage, fetch};
use crate::error::BrokerError;
use crate::headers;
use crate::produce::NewMessage;
use crate::queues::error::QueueError;
use crate::topics::{PartitionHandle, TopicHandle};

/// Which dead letters go where.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// How many at most; all if left out.
    pub max: Option<u64>,
    /// Where to; where each came from if left out.
    pub to: Option<Arc<TopicHandle>>,
}

/// What became of dead letters.
#[derive(Clone, Debug, Default)]
pub struct Redriven {
    /// Published anew.
    pub moved: u64,
    /// Their topic does not take them, or they cannot be decoded: they went to the end of the dead letters.
    pub refused: u64,
    /// Stored where the dead letters are damaged, so that they are lost.
    pub damaged: u64,
    /// Why no more were moved, if that was refused after some were.
    pub stopped: Option<QueueError>,
}

impl Redriven {
    fn add(&mut self, more: &Self) {
        self.moved += more.moved;
        self.refused += more.refused;
        self.damaged += more.damaged;
    }

    fn is_nothing(&self) -> bool {
        self.moved == 0 && self.refused == 0 && self.damaged == 0
    }
}

impl QueueHandle {
    /// Moves the queue's dead letters back, each exactly once: they are appended there and leave the dead-letter topic in
    /// one commit. Says how many were moved. Those that arrive meanwhile stay.
    ///
    /// Each is published anew: as of now, and without its id and the times at which it was to be delivered and to expire.
    ///
    /// A dead letter that its topic refuses stops none of the others. It goes to the end of the dead letters, as does one of
    /// another queue in the same topic, or one whose topic is gone: only from the front can letters be taken out. A batch
    /// that cannot be decoded goes there as one letter, with its bytes as the value. What is stored there and damaged is
    /// passed over.
    ///
    /// Into a queue that refuses what would make it too long go as many as it has room for. What is refused before anything
    /// has happened is an error.
    pub async fn redrive(&self, redrive: &Redrive) -> Result<Redriven, QueueError> {
        let _redriving = self.broker.inner.queues.redrives.lock().await;
        let definition = self.definition();
        let Some(letters) = self.broker.topic(&definition.dead_letter_topic) else {
            return if definition.policy.dead_letters {
                Ok(Redriven::default())
            } else {
                Err(QueueError::NoDeadLetters)
            };
        };
        let mut all = Redriven::default();
        for partition in letters.partitions() {
            match self.redrive_from(&partition, redrive, &mut all).await {
                Err(error) if all.is_nothing() => return Err(error),
                Err(error) => {
                    all.stopped = Some(error);
                    break;
                }
                Ok(()) => {}
            }
        }
        Ok(all)
    }

    async fn redrive_from(
        &self,
        partition: &PartitionHandle,
        redrive: &Redrive,
        all: &mut Redriven,
    ) -> Result<(), QueueError> {
        let offsets = partition.offsets();
        let (mut from, end) = (offsets.log_start, offsets.last_stable);
        let mut left = redrive.max.unwrap_or(u64::MAX);
        left -= all.moved.min(left);
        let mut most = left;
        while from < end && left > 0 {
            let mut step = self.look(partition, (from, end), most, redrive).await?;
            match self.make(partition, &mut step).await {
                // Fewer may fit.
                Err(QueueError::Broker(error)) if is_of_room(&error) && step.going > 1 => {
                    most = step.going / 2;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    from = step.next;
                    left -= step.redriven.moved;
                    most = most.min(left);
                    all.add(&step.redriven);
                }
            }
        }
        Ok(())
    }

    /// What the next step is.
    async fn look(
        &self,
        partition: &PartitionHandle,
        (from, end): (Offset, Offset),
        max: u64,
        redrive: &Redrive,
    ) -> Result<Step, QueueError> {
        let mut step = Step::beginning(from);
        let fetched = match fetch(&self.broker, partition, from).await {
            Err(BrokerError::Damaged(why)) => {
                let after = after_damage(&self.broker, partition, from, &why).await;
                step.next = after.ok_or(BrokerError::Damaged(why))?.min(end);
                step.redriven.damaged = (step.next - from).max(0) as u64;
                return Ok(step);
            }
            fetched => fetched?,
        };
        if fetched.slices.is_empty() {
            // Nothing is left up to the end.
            step.next = end;
        }
        for batch in fetched.batches() {
            let batch = batch.map_err(BrokerError::from)?;
            let target = |record: &Record| self.target(record, redrive);
            if step.take(&batch, (from, end), max, target) {
                break;
            }
        }
        Ok(step)
    }

    /// Makes a step in one commit.
    async fn make(&self, partition: &PartitionHandle, step: &mut Step) -> Result<(), QueueError> {
        let mut commit = Commit {
            trims: vec![Trim {
                partition: partition.log.id(),
                log_start: step.next,
            }],
            ..Commit::default()
        };
        for (topic, records) in std::mem::take(&mut step.by_topic).into_values() {
            let appends = self.publish_anew(&topic, records, step).await?;
            commit.appends.extend(appends);
        }
        let moving = commit.appends.len();
        if !step.stay.is_empty() {
            let stay = std::mem::take(&mut step.stay);
            commit
                .appends
                .extend(self.broker.put_back(partition, stay)?);
        }
        let bytes = commit.appends.iter().map(|append| append.batch.len()).sum();
        let _admission = self.broker.admit(bytes).await;
        let sequenced = {
            let _room = self.broker.room_for(&commit.appends[..moving])?;
            self.broker.inner.slot.commit(commit)
        };
        let sequenced = sequenced.map_err(BrokerError::from)?;
        sequenced.durable.await.map_err(BrokerError::from)?;
        Ok(())
    }

    /// What is appended for the records that a topic takes. The others stay.
    async fn publish_anew(
        &self,
        topic: &Arc<TopicHandle>,
        records: Vec<Record>,
        step: &mut Step,
    ) -> Result<Vec<Append>, BrokerError> {
        let mut messages: Vec<NewMessage> = records.iter().map(message_anew).collect();
        let mut composed = self.broker.compose(topic, &messages).await;
        if composed.as_ref().is_err_and(is_of_the_letters) {
            let mut taken = Vec::new();
            for (message, record) in messages.into_iter().zip(&records) {
                match self
                    .broker
                    .compose(topic, std::slice::from_ref(&message))
                    .await
                {
                    Ok(_) => taken.push(message),
                    Err(error) if is_of_the_letters(&error) => {
                        let offset = record.offset;
                        tracing::warn!(queue = %self.name(), topic = %topic.name(), %offset, %error, "dead letter is refused by its topic; it stays with the dead letters");
                        step.stay.push(letter_of(record));
                        step.redriven.refused += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            messages = taken;
            if messages.is_empty() {
                return Ok(Vec::new());
            }
            composed = self.broker.compose(topic, &messages).await;
        }
        step.redriven.moved += messages.len() as u64;
        Ok(composed?.appends.into_iter().collect())
    }

    /// Where a dead letter goes; none if it is not this queue's, or has nowhere to go.
    fn target(&self, record: &Record, redrive: &Redrive) -> Option<Arc<TopicHandle>> {
        let said = |name: &str| {
            let mut all = record.headers.iter();
            let header = all.find(|header| header.key == name.as_bytes())?;
            std::str::from_utf8(header.value?).ok()
        };
        if said(headers::DEAD_LETTER_QUEUE) != Some(&**self.name()) {
            return None;
        }
        match &redrive.to {
            Some(topic) => Some(Arc::clone(topic)),
            None => self.broker.topic(said(headers::DEAD_LETTER_TOPIC)?),
        }
    }
}

/// Whether a refusal is about what is to be published, and not about the moment.
fn is_of_the_letters(error: &BrokerError) -> bool {
    !matches!(
        error,
        BrokerError::Io(_)
            | BrokerError::Failed(_)
            | BrokerError::ShuttingDown
            | BrokerError::Internal(_)
    )
}

/// Whether a queue has no room for what is to be published.
fn is_of_room(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::QueueFull { .. } | BrokerError::TooManyForQueue { .. }
    )
}
