//! Who may receive, where not everybody may.

use millstream_record::TimestampMs;

use super::effect::Effects;
use super::{Queue, Timer, later};
use crate::queues::ids::ConsumerId;
use crate::queues::policy::Access;

/// The one consumer that receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) consumer: ConsumerId,
    last_seen: TimestampMs,
}

impl Queue {
    /// The one consumer that receives, if only one may.
    pub fn active_consumer(&self) -> Option<ConsumerId> {
        self.active.map(|active| active.consumer)
    }

    /// Requests of a consumer that may not wait here any longer: there is nothing for them.
    pub fn dismiss(&mut self, consumer: ConsumerId, effects: &mut Effects) {
        for token in self.waiting.tokens_of(consumer) {
            if self.withdraw(token) {
                effects.unanswered.push(token);
            }
        }
    }

    /// A consumer shows that it is there. It becomes the active one if none is.
    pub(super) fn see(&mut self, consumer: ConsumerId, now: TimestampMs) {
        if self.policy.access == Access::Shared {
            return;
        }
        self.retire_idle(now);
        let active = self.active.get_or_insert(Active {
            consumer,
            last_seen: now,
        });
        if active.consumer == consumer {
            active.last_seen = now;
        }
    }

    /// Whether a consumer may be served.
    pub(super) fn may_receive(&self, consumer: ConsumerId) -> bool {
        self.policy.access == Access::Shared
            || self
                .active
                .is_some_and(|active| active.consumer == consumer)
    }

    /// If nobody is active, the first in line becomes it. If the one that is may be gone, a look at it is planned.
    pub(super) fn elect(&mut self, now: TimestampMs) {
        if self.policy.access == Access::Shared {
            return;
        }
        self.retire_idle(now);
        if self.active.is_none() {
            self.active = self.waiting.first_consumer().map(|consumer| Active {
                consumer,
                last_seen: now,
            });
        }
        // The end of what it holds is an event of its own.
        if let Some(active) = self.active
            && self.waiting.len() > 0
            && !self.is_busy(active)
        {
            let review = self.idle_from(active).max(now.saturating_add(1));
            self.set_once(review, Timer::Idle);
        }
    }

    /// The active consumer is gone.
    pub(super) fn retire(&mut self, consumer: ConsumerId) {
        if self
            .active
            .is_some_and(|active| active.consumer == consumer)
        {
            self.active = None;
        }
    }

    /// After a restart whoever holds something is the active one still. One who holds nothing is forgotten.
    pub(super) fn reinstate(&mut self, now: TimestampMs) {
        if self.policy.access == Access::Shared {
            return;
        }
        let holder = self.leases.last_holder();
        let holder = holder.filter(|holder| *holder != ConsumerId::UNNAMED);
        self.active = holder.map(|consumer| Active {
            consumer,
            last_seen: now,
        });
    }

    /// A consumer held something until now.
    pub(super) fn see_until(&mut self, consumer: ConsumerId, now: TimestampMs) {
        if let Some(active) = &mut self.active
            && active.consumer == consumer
        {
            active.last_seen = active.last_seen.max(now);
        }
    }

    fn retire_idle(&mut self, now: TimestampMs) {
        let Some(active) = self.active else { return };
        if !self.is_busy(active) && self.idle_from(active) <= now {
            self.active = None;
        }
    }

    /// Whether it waits for something or holds something.
    fn is_busy(&self, active: Active) -> bool {
        self.waiting.has(active.consumer) || self.leases.are_held_by(active.consumer)
    }

    fn idle_from(&self, active: Active) -> TimestampMs {
        later(active.last_seen, self.policy.consumer_idle_ms)
    }
}
