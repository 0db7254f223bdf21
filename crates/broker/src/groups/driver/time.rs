//! What happens to groups by itself: deadlines, and now and then a look for expired offsets ([`super::expiry`]).
//!
//! Each group has at most one place in one queue, for its next deadline or an earlier moment. A heartbeat moves a
//! deadline later and leaves the queue alone: when the place comes up and nothing is due, the group gets a new one. So
//! a group without members costs nothing, and one with members a look per session timeout.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use millstream_catalog::{TopicId, TopicName};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Groups;
use super::cell::Cell;
use super::expiry::Look;
use crate::Broker;
use crate::broker::Inner;
use crate::groups::ids::{GroupId, Moment};

/// When which group wants to be looked at.
pub(super) struct Alarms {
    queue: Mutex<BTreeSet<(Moment, GroupId)>>,
    pub(super) look: Mutex<Look>,
    rung: Notify,
}

impl Alarms {
    pub(super) fn new(next_look: Moment) -> Self {
        Self {
            queue: Mutex::default(),
            look: Mutex::new(Look::new(next_look)),
            rung: Notify::new(),
        }
    }

    /// Makes sure that the group is looked at by its next deadline.
    pub(super) fn set(&self, cell: &mut Cell) {
        let Some(deadline) = cell.machine.next_deadline() else {
            return;
        };
        if cell.alarm.is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        let mut queue = self.queue.lock();
        if let Some(alarm) = cell.alarm.replace(deadline) {
            queue.remove(&(alarm, cell.id.clone()));
        }
        let is_next = queue.first().is_none_or(|(first, _)| deadline < *first);
        queue.insert((deadline, cell.id.clone()));
        drop(queue);
        if is_next {
            self.ring();
        }
    }

    /// Wakes the task that keeps the time.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Takes out the groups whose time has come.
    fn take_due(&self, now: Moment) -> Vec<GroupId> {
        let mut queue = self.queue.lock();
        let mut due = Vec::new();
        while let Some((deadline, _)) = queue.first()
            && *deadline <= now
        {
            due.extend(queue.pop_first().map(|(_, group)| group));
        }
        due
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.lock().len()
    }

    fn next(&self) -> Moment {
        let next_look = self.look.lock().next();
        self.queue
            .lock()
            .first()
            .map_or(next_look, |(deadline, _)| next_look.min(*deadline))
    }
}

/// Looks after the groups of a broker for as long as there is one.
pub(crate) async fn keep_time(broker: Weak<Inner>) {
    loop {
        let (wait_ms, alarms) = {
            let Some(inner) = broker.upgrade() else {
                return;
            };
            let broker = Broker { inner };
            let groups = broker.groups();
            if groups.check_open().is_err() {
                return;
            }
            groups.pass_time(|topic| Some(broker.topic_by_id(topic)?.name().clone()));
            (
                groups.alarms.next().0.saturating_sub(groups.now().0).max(1),
                Arc::clone(&groups.alarms),
            )
        };
        // Woken by an earlier deadline, by closing, or by the broker's end.
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), alarms.rung.notified()).await;
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.alarms.ring();
    }
}

impl Groups {
    /// Does everything that is due.
    pub(super) fn pass_time(&self, topic_name: impl Fn(TopicId) -> Option<TopicName>) {
        let now = self.now();
        for group in self.alarms.take_due(now) {
            let Some(cell) = self.get(&group) else {
                continue;
            };
            let mut cell = cell.lock();
            if cell.alarm.is_some_and(|alarm| alarm <= now) {
                cell.alarm = None;
                self.expire(&mut cell, now);
            }
        }
        self.expire_offsets(now, topic_name);
    }

    /// Does what is due in a group, also if its alarm is only about to ring.
    pub(super) fn expire(&self, cell: &mut Cell, now: Moment) {
        let effects = cell.machine.expire(now);
        // What could not be written is logged, and whoever waits has been told.
        let _ = self.perform(cell, effects);
    }
}
