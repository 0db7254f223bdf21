//! What is written down of a queue, and the queue that is made anew from it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::log::Log;
use super::{ms, setup};
use crate::queues::ids::QueueId;
use crate::queues::machine::{Effects, Queue, Write};
use crate::queues::policy::QueuePolicy;
use crate::queues::record::{self, Entries};

const QUEUE: QueueId = QueueId(9);

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    entries: BTreeMap<Bytes, Bytes>,
}

impl Disk {
    pub(super) fn write(&mut self, writes: &[Write]) {
        let mut entries = Entries::new();
        record::add_entries(QUEUE, writes, &mut entries);
        for (key, value) in entries {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }

    /// What a start finds, in the order in which it does.
    pub(super) fn found(&self) -> impl Iterator<Item = Write> {
        let decode = |(key, value): (&Bytes, &Bytes)| record::decode(QUEUE, key, value).unwrap();
        self.entries.iter().map(decode)
    }

    /// The queue's next life.
    pub(super) fn restore(
        &self,
        policy: &QueuePolicy,
        logs: &[Log],
        life: u32,
        now: i64,
    ) -> (Queue, Effects) {
        let bounds = logs.iter().map(Log::bounds).collect();
        let setup = setup(policy.clone(), bounds, life);
        let mut effects = Effects::default();
        let queue = Queue::restore(setup, self.found(), ms(now), &mut effects);
        (queue, effects)
    }
}

/// A queue on new, empty partitions, in its first life.
pub(super) fn create(policy: &QueuePolicy, partitions: usize) -> (Queue, Vec<Log>, Effects) {
    let logs = vec![Log::default(); partitions];
    let bounds = logs.iter().map(Log::bounds).collect();
    let mut effects = Effects::default();
    let queue = Queue::create(setup(policy.clone(), bounds, 1), ms(0), &mut effects);
    (queue, logs, effects)
}
