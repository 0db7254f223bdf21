//! What happened to the records that were delivered and came back.
//!
//! Neighbours that came back together share one span, so a lease of a hundred that runs out costs one entry. A span may
//! cover offsets that are finished; what it says of them means nothing.

use std::collections::BTreeMap;

use millstream_record::{Offset, TimestampMs};

use super::run::Run;
use super::write::Write;
use crate::queues::ids::{LeaseNumber, PartitionIndex};

/// Records from one offset on that have the same past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How many offsets.
    pub length: u32,
    /// How often they were delivered.
    pub attempts: u16,
    /// The records' priority.
    pub priority: u8,
    /// The last lease they came back from.
    pub lease: LeaseNumber,
    /// When they were first delivered.
    pub first_delivered: TimestampMs,
    /// When they are to be delivered again at the earliest.
    pub due: TimestampMs,
}

/// The spans of a partition, by their first offset. They do not overlap.
#[derive(Debug, Default)]
pub(crate) struct History {
    spans: BTreeMap<Offset, Span>,
}

impl History {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The span that covers `offset`.
    pub(crate) fn at(&self, offset: Offset) -> Option<&Span> {
        let (start, span) = self.spans.range(..=offset).next_back()?;
        (offset < *start + i64::from(span.length)).then_some(span)
    }

    /// The spans that share an offset with `from..to`.
    pub(crate) fn within(&self, from: Offset, to: Offset) -> impl Iterator<Item = (Offset, &Span)> {
        let before = self.spans.range(..from).next_back();
        let before = before.filter(move |(start, span)| **start + i64::from(span.length) > from);
        before
            .into_iter()
            .chain(self.spans.range(from..to.max(from)))
            .map(|(start, span)| (*start, span))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Offset, &Span)> {
        self.spans.iter().map(|(start, span)| (*start, span))
    }

    /// Writes a span over what was known of its offsets.
    pub(crate) fn set(
        &mut self,
        partition: PartitionIndex,
        start: Offset,
        span: Span,
        writes: &mut Vec<Write>,
    ) {
        let end = start + i64::from(span.length);
        let covered: Vec<(Offset, Span)> = self
            .within(start, end)
            .map(|(start, span)| (start, *span))
            .collect();
        for (old_start, old) in covered {
            let old_end = old_start + i64::from(old.length);
            if old_start < start {
                let length = (start - old_start) as u32;
                self.put(partition, old_start, Span { length, ..old }, writes);
            } else if old_start > start {
                self.drop(partition, old_start, writes);
            }
            if old_end > end {
                let length = (old_end - end) as u32;
                self.put(partition, end, Span { length, ..old }, writes);
            }
        }
        self.put(partition, start, span, writes);
    }

    /// Takes over a span that was written down.
    pub(crate) fn load(&mut self, start: Offset, span: Span) {
        self.spans.insert(start, span);
    }

    /// Forgets the spans around `run` of which nothing is open any more.
    pub(crate) fn forget_finished(
        &mut self,
        partition: PartitionIndex,
        run: &Run,
        is_finished: impl Fn(Offset, Offset) -> bool,
        writes: &mut Vec<Write>,
    ) {
        if self.spans.is_empty() {
            return;
        }
        let Some((first, last)) = run.ends() else {
            return;
        };
        let finished: Vec<Offset> = self
            .within(first, last.next())
            .filter(|(start, span)| is_finished(*start, *start + i64::from(span.length)))
            .map(|(start, _)| start)
            .collect();
        for start in finished {
            self.drop(partition, start, writes);
        }
    }

    /// Forgets the spans that lie whole below `low`.
    pub(crate) fn forget_below(
        &mut self,
        partition: PartitionIndex,
        low: Offset,
        writes: &mut Vec<Write>,
    ) {
        while let Some((start, span)) = self.spans.first_key_value()
            && *start + i64::from(span.length) <= low
        {
            let start = *start;
            self.drop(partition, start, writes);
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        self.spans.len() * (size_of::<Offset>() + size_of::<Span>()) * 3 / 2
    }

    fn put(
        &mut self,
        partition: PartitionIndex,
        start: Offset,
        span: Span,
        writes: &mut Vec<Write>,
    ) {
        self.spans.insert(start, span);
        writes.push(Write::History {
            partition,
            start,
            span,
        });
    }

    fn drop(&mut self, partition: PartitionIndex, start: Offset, writes: &mut Vec<Write>) {
        if self.spans.remove(&start).is_some() {
            writes.push(Write::DropHistory { partition, start });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(length: u32, attempts: u16) -> Span {
        Span {
            length,
            attempts,
            priority: 0,
            lease: LeaseNumber(1),
            first_delivered: TimestampMs(0),
            due: TimestampMs(0),
        }
    }

    proptest! {
        /// Against one entry an offset; and what is written down is what is there.
        #[test]
        fn the_last_word_counts(sets in proptest::collection::vec((0..60_i64, 1..20_u32), 0..40)) {
            let mut history = History::default();
            let mut model = [0; 80];
            let mut stored = BTreeMap::new();
            for (number, (start, length)) in sets.into_iter().enumerate() {
                let attempts = number as u16 + 1;
                let mut writes = Vec::new();
                history.set(0, Offset(start), span(length, attempts), &mut writes);
                model[start as usize..][..length as usize].fill(attempts);
                for write in writes {
                    match write {
                        Write::History { start, span, .. } => stored.insert(start, span),
                        Write::DropHistory { start, .. } => stored.remove(&start),
                        other => panic!("{other:?}"),
                    };
                }
                prop_assert_eq!(&stored, &history.spans);
                for (offset, attempts) in model.iter().enumerate() {
                    let known = history.at(Offset(offset as i64)).map_or(0, |span| span.attempts);
                    prop_assert_eq!(known, *attempts);
                }
            }
        }
    }
}
