//! Which partitions are not read to the end yet.

use std::collections::BTreeMap;

use millstream_client::TopicPartition;
use millstream_record::Offset;

/// The ends that are still ahead. Without any from the start, there is no end.
#[derive(Debug, Default)]
pub(super) struct Range {
    ends: Option<BTreeMap<TopicPartition, Offset>>,
    finished: BTreeMap<TopicPartition, Offset>,
}

impl Range {
    /// From `starts` to `ends`.
    pub(super) fn new(
        starts: &BTreeMap<TopicPartition, Offset>,
        ends: BTreeMap<TopicPartition, Offset>,
    ) -> Self {
        let mut range = Self {
            ends: Some(ends),
            finished: BTreeMap::new(),
        };
        for (partition, &start) in starts {
            range.reached(partition, start);
        }
        range
    }

    /// Where to stop in `partition`, if anywhere.
    pub(super) fn end(&self, partition: &TopicPartition) -> Option<Offset> {
        let ahead = self.ends.as_ref()?.get(partition);
        ahead.or_else(|| self.finished.get(partition)).copied()
    }

    /// Everything below `next` has been dealt with.
    pub(super) fn reached(&mut self, partition: &TopicPartition, next: Offset) {
        if let Some(ends) = &mut self.ends
            && ends.get(partition).is_some_and(|&end| next >= end)
            && let Some((partition, end)) = ends.remove_entry(partition)
        {
            self.finished.insert(partition, end);
        }
    }

    /// Whether every end is reached.
    pub(super) fn is_over(&self) -> bool {
        self.ends.as_ref().is_some_and(BTreeMap::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(of: &[(i32, i64)]) -> BTreeMap<TopicPartition, Offset> {
        of.iter()
            .map(|&(partition, offset)| (TopicPartition::new("t", partition), Offset(offset)))
            .collect()
    }

    #[test]
    fn it_is_over_when_every_partition_is() {
        let mut range = Range::new(&offsets(&[(0, 5), (1, 0)]), offsets(&[(0, 5), (1, 3)]));
        let second = TopicPartition::new("t", 1);
        assert!(!range.is_over());
        range.reached(&second, Offset(2));
        assert!(!range.is_over());
        range.reached(&second, Offset(3));
        assert!(range.is_over());
        assert_eq!(range.end(&second), Some(Offset(3)));
    }

    #[test]
    fn without_ends_it_goes_on() {
        let mut range = Range::default();
        range.reached(&TopicPartition::new("t", 0), Offset(100));
        assert!(!range.is_over());
        assert_eq!(range.end(&TopicPartition::new("t", 0)), None);
    }
}
