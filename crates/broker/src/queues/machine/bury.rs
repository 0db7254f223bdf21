//! The way to the dead letters: held until the caller has appended them, in one commit with their end here.

use millstream_record::{Offset, TimestampMs};

use super::Queue;
use super::effect::{DeadLetter, DeathReason, Effects};
use super::flow::Fate;
use super::receive::words_of_part;
use super::run::Part;
use crate::queues::ids::{JobId, LeaseNumber, PartitionIndex};

/// The deliveries of a record that is dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) attempts: u16,
    pub(super) first_delivered: TimestampMs,
    pub(super) last_delivered: TimestampMs,
}

impl Queue {
    /// The records of a job that lie before `before` are appended to the dead-letter topic, by the commit that these
    /// effects go into. Whether there was such a job; if not, nothing may be appended.
    pub fn buried(
        &mut self,
        job: JobId,
        before: Offset,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> bool {
        let Some(letter) = self.dying.get_mut(&job) else {
            return false;
        };
        let part = Part {
            run: letter.part.run.split_before(before),
            ..letter.part
        };
        if letter.part.run.is_empty() {
            self.dying.remove(&job);
        }
        self.finish_part(&part, Fate::Buried, now, effects);
        self.conclude(now, effects);
        true
    }

    /// Whether some of these records of a job are still to be buried.
    pub fn is_dying_in(&self, job: JobId, offsets: &[Offset]) -> bool {
        let letter = self.dying.get(&job);
        letter.is_some_and(|letter| {
            let mut offsets = offsets.iter();
            offsets.any(|offset| letter.part.run.contains(*offset))
        })
    }

    /// The jobs that were handed out and are not done. One that could not be done is to be tried again.
    pub fn burials(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dying.values()
    }

    /// Records were rejected: by the delivery that ends so, or, if that is none, after it had ended.
    pub(super) fn condemn_rejected(
        &mut self,
        part: &Part,
        delivery: Option<(LeaseNumber, TimestampMs)>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        let last_delivered = delivery.map_or(now, |(_, granted)| granted);
        for kin in self.kin(part, last_delivered) {
            let mut attempts = kin.attempts;
            match delivery {
                // Should a crash undo the rejection, this delivery still counts.
                Some((lease, _)) => self.remember(&kin, lease, now, effects),
                // The delivery that is meant was counted when it ended.
                None => attempts = attempts.saturating_sub(1).max(1),
            }
            let past = Past {
                attempts,
                first_delivered: kin.first_delivered,
                last_delivered,
            };
            self.condemn(kin.part, DeathReason::Rejected, Some(past), now, effects);
        }
    }

    /// Records are dead: they are held for their burial, or dropped if the queue has no dead letters.
    pub(super) fn condemn(
        &mut self,
        part: Part,
        reason: DeathReason,
        past: Option<Past>,
        now: TimestampMs,
        effects: &mut Effects,
    ) {
        if !self.policy.dead_letters {
            self.finish_part(&part, Fate::Discarded, now, effects);
            return;
        }
        if let Some(partition) = self.touch(part.partition) {
            for (chunk, word, mask) in words_of_part(&part) {
                // Held like a lease: nobody else may touch them meanwhile.
                partition.hold_dying(chunk, word, mask);
            }
            if self.policy.keys.is_some() {
                let partition = &mut self.partitions[part.partition as usize];
                part.run
                    .offsets()
                    .for_each(|offset| partition.keys.withdraw(offset));
            }
        }
        self.last_job = JobId(self.last_job.0 + 1);
        let letter = DeadLetter {
            job: self.last_job,
            part,
            reason,
            attempts: past.map_or(0, |past| past.attempts),
            first_delivered: past.map(|past| past.first_delivered),
            last_delivered: past.map(|past| past.last_delivered),
        };
        self.dying.insert(letter.job, letter.clone());
        effects.dead_letters.push(letter);
    }

    /// Records on their way to the dead letters.
    pub(super) fn dying(&self) -> u64 {
        self.partitions
            .iter()
            .map(|partition| partition.dying)
            .sum()
    }

    /// The queue has no dead letters any more: what was on its way there is dropped.
    pub(super) fn discard_dying(&mut self, now: TimestampMs, effects: &mut Effects) {
        while let Some((_, letter)) = self.dying.pop_first() {
            self.finish_part(&letter.part, Fate::Discarded, now, effects);
        }
    }

    pub(super) fn is_dying(&self, partition: PartitionIndex, offset: Offset) -> bool {
        let partition = self.partitions.get(partition as usize);
        partition.is_some_and(|partition| partition.is_dying(offset))
    }

    pub(super) fn finish_part(
        &mut self,
        part: &Part,
        fate: Fate,
        now: TimestampMs,
        effects: &mut Effects,
    ) -> u32 {
        words_of_part(part)
            .map(|word| self.finish(part.partition, word, fate, now, effects))
            .sum()
    }
}
