//! In which leader epoch each part of a partition was written.

use std::sync::atomic::{AtomicI32, Ordering};

use millstream_record::{LeaderEpoch, Offset};

/// The leader epoch of a slot: one for all its partitions, settled by recovery and fixed from then on.
#[derive(Debug, Default)]
pub(crate) struct SlotEpoch(AtomicI32);

impl SlotEpoch {
    /// The epoch in force.
    pub(crate) fn get(&self) -> LeaderEpoch {
        LeaderEpoch(self.0.load(Ordering::Relaxed))
    }

    /// Puts `epoch` in force.
    pub(crate) fn set(&self, epoch: LeaderEpoch) {
        self.0.store(epoch.0, Ordering::Relaxed);
    }
}

/// Leader epochs and their first offsets, both rising. Epochs in which nothing was appended are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    list: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    /// What a checkpoint held.
    pub(crate) fn new(list: Vec<(LeaderEpoch, Offset)>) -> Self {
        Self { list }
    }

    /// All of them.
    pub(crate) fn list(&self) -> &[(LeaderEpoch, Offset)] {
        &self.list
    }

    /// Notes that something was appended at `base` in `epoch`.
    pub(crate) fn note(&mut self, epoch: LeaderEpoch, base: Offset) {
        if self.list.last().is_none_or(|last| last.0 < epoch) {
            self.list.push((epoch, base));
        }
    }

    /// The latest epoch up to `epoch`, and where the next one starts: `log_end` for the last.
    pub(crate) fn end(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.list.partition_point(|known| known.0 <= epoch);
        let found = self.list.get(after.checked_sub(1)?)?.0;
        Some((found, self.list.get(after).map_or(log_end, |next| next.1)))
    }

    /// The epoch that wrote the record at `offset`.
    pub(crate) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.list.partition_point(|known| known.1 <= offset);
        Some(self.list.get(after.checked_sub(1)?)?.0)
    }

    /// Forgets epochs that ended before `log_start`.
    pub(crate) fn trim(&mut self, log_start: Offset) {
        let started = self.list.partition_point(|known| known.1 <= log_start);
        self.list.drain(..started.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, base) in [(0, 0), (0, 10), (2, 50), (5, 50), (5, 70)] {
            epochs.note(LeaderEpoch(epoch), Offset(base));
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let end = |epoch| {
            let found = epochs().end(LeaderEpoch(epoch), Offset(90));
            found.map(|(epoch, end)| (epoch.0, end.0))
        };
        assert_eq!(end(-1), None);
        assert_eq!(end(0), Some((0, 50)));
        assert_eq!(end(1), Some((0, 50)));
        assert_eq!(end(2), Some((2, 50)));
        assert_eq!(end(5), Some((5, 90)));
        assert_eq!(end(9), Some((5, 90)));
    }

    #[test]
    fn a_record_belongs_to_the_last_epoch_before_it() {
        assert_eq!(epochs().at(Offset(49)), Some(LeaderEpoch(0)));
        assert_eq!(epochs().at(Offset(50)), Some(LeaderEpoch(5)));
        assert_eq!(Epochs::default().at(Offset(50)), None);
    }

    #[test]
    fn trimming_keeps_the_epoch_that_the_log_starts_in() {
        let mut trimmed = epochs();
        trimmed.trim(Offset(49));
        assert_eq!(trimmed.list().len(), 3);
        trimmed.trim(Offset(60));
        assert_eq!(trimmed.list(), [(LeaderEpoch(5), Offset(50))]);
        trimmed.trim(Offset(100));
        assert_eq!(trimmed.list().len(), 1);
    }
}
