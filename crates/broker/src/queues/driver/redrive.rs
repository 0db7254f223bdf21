//! The way back from the dead letters.

mod pace;
mod step;

use std::sync::Arc;

use millstream_record::{Offset, Record};
use millstream_store::{Append, Commit, Trim};

use self::pace::Pace;
use self::step::{Refusal, Step, letter_of, message_anew};
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
    /// Why it ended early, if some were moved before that: there was no room for more, or what comes next is damaged.
    pub stopped: Option<QueueError>,
}

impl Redriven {
    fn add(&mut self, more: &Self) {
        self.moved += more.moved;
        self.refused += more.refused;
    }

    fn is_nothing(&self) -> bool {
        self.moved == 0 && self.refused == 0
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
    /// that cannot be decoded goes there as one letter, with its bytes as the value.
    ///
    /// It ends early where there is no room for more, and in a partition where what is stored is damaged, which may be mended:
    /// what cannot be read is never taken out. That is an error if nothing has happened before, as is any failure whenever it happens.
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
        if let Some(to) = redrive.to.as_ref().filter(|to| to.id() == letters.id()) {
            return Err(QueueError::RedriveToDeadLetters(to.name().clone()));
        }
        let mut all = Redriven::default();
        let mut stopped = None;
        for partition in letters.partitions() {
            match self.redrive_from(&partition, redrive, &mut all).await {
                Ok(()) => {}
                // What lies in other partitions may be whole.
                Err(error @ QueueError::DamagedLetters { .. }) => {
                    stopped.get_or_insert(error);
                }
                Err(error) if is_of_room(&error) && !all.is_nothing() => {
                    stopped = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        match stopped {
            Some(error) if all.is_nothing() => Err(error),
            stopped => Ok(Redriven { stopped, ..all }),
        }
    }

    async fn redrive_from(
        &self,
        partition: &PartitionHandle,
        redrive: &Redrive,
        all: &mut Redriven,
    ) -> Result<(), QueueError> {
        let offsets = partition.offsets();
        let (mut from, end) = (offsets.log_start, offsets.last_stable);
        let max = redrive.max.unwrap_or(u64::MAX);
        let mut pace = Pace::new(max.saturating_sub(all.moved));
        let mut unfit = None;
        while from < end && pace.most() > 0 {
            let mut step = self
                .look(partition, (from, end), pace.most(), redrive, unfit.as_ref())
                .await?;
            match self.make(partition, &mut step).await {
                Ok(()) => {
                    unfit = None;
                    from = step.next;
                    pace.go_on(step.redriven.moved);
                    all.add(&step.redriven);
                    self.tell_refusals(&step.refusals);
                }
                Err(error) if is_of_room(&error) && pace.slow_down(step.going) => {}
                // However few go with it.
                Err(QueueError::Broker(error @ BrokerError::TooLarge { .. })) => {
                    let Some((topic, offset)) = step.last_going else {
                        return Err(error.into());
                    };
                    unfit = Some(Refusal {
                        topic,
                        offset,
                        error,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the next step is. The letter that is `unfit` stays.
    async fn look(
        &self,
        partition: &PartitionHandle,
        (from, end): (Offset, Offset),
        max: u64,
        redrive: &Redrive,
        unfit: Option<&Refusal>,
    ) -> Result<Step, QueueError> {
        // What comes behind it may be as unfit.
        let end = unfit.map_or(end, |unfit| end.min(unfit.offset.next()));
        let mut step = Step::beginning(from);
        let fetched = match fetch(&self.broker, partition, from).await {
            Err(BrokerError::Damaged(why)) => {
                let after = after_damage(&self.broker, partition, from, &why).await;
                let upto = after.ok_or_else(|| BrokerError::Damaged(Arc::clone(&why)))?;
                return Err(QueueError::DamagedLetters {
                    topic: partition.topic().name().clone(),
                    partition: partition.index(),
                    from,
                    upto: upto.min(end),
                    why,
                });
            }
            // What retention has taken meanwhile is no letter any more.
            Err(BrokerError::OffsetOutOfRange { log_start, .. }) if from < log_start => {
                step.next = log_start.min(end);
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
            let target = |record: &Record| match unfit {
                Some(unfit) if unfit.offset == record.offset => None,
                _ => {
                    let target = self.target(record, redrive);
                    target.filter(|target| target.id() != partition.topic().id())
                }
            };
            if step.take(&batch, (from, end), max, target) {
                break;
            }
        }
        if let Some(unfit) = unfit.filter(|unfit| (from..step.next).contains(&unfit.offset)) {
            step.redriven.refused += 1;
            step.refusals.push(unfit.clone());
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
                        step.stay.push(letter_of(record));
                        step.redriven.refused += 1;
                        step.refusals.push(Refusal {
                            topic: topic.name().clone(),
                            offset: record.offset,
                            error,
                        });
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

    /// Tells operators which letters stay, once they are where they stay.
    fn tell_refusals(&self, refusals: &[Refusal]) {
        for refusal in refusals {
            let Refusal {
                topic,
                offset,
                error,
            } = refusal;
            tracing::warn!(queue = %self.name(), %topic, %offset, %error, "dead letter is refused by its topic; it stays with the dead letters");
        }
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

/// Whether there is no room for what is to be published; for fewer there may be.
fn is_of_room(error: &QueueError) -> bool {
    matches!(
        error,
        QueueError::Broker(
            BrokerError::QueueFull { .. }
                | BrokerError::TooManyForQueue { .. }
                | BrokerError::MemoryFull { .. }
                | BrokerError::TooLarge { .. }
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_fails_at_is_no_want_of_room() {
        let queue = Arc::from("work");
        let full = BrokerError::QueueFull {
            queue,
            records_max: 1,
        };
        assert!(is_of_room(&full.into()));
        let disk_full = BrokerError::DiskFull {
            available_bytes: 1,
            reserve_bytes: 2,
        };
        let io = BrokerError::Io("refused".into());
        for error in [disk_full, io, BrokerError::ShuttingDown] {
            assert!(!is_of_room(&error.into()));
        }
    }
}
