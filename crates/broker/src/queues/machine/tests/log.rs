//! A topic's log as far as a queue sees it, and the answers to what the queue asks of it.

use millstream_record::Offset;

use crate::queues::machine::{
    Content, Effects, PartitionBounds, Queue, ScanRequest, ScannedBatch, ScannedRecord,
};

use super::{bounds, ms};
use crate::queues::policy::Look;

/// What there is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Record(ScannedRecord),
    /// A control batch of one.
    Control,
    /// A batch of one that cannot be decoded.
    Damaged,
    /// Nothing.
    Gap,
}

/// One partition's entries, by offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) start: i64,
    pub(super) entries: Vec<Entry>,
}

/// Answers all that a queue asks of its logs, with up to `most` offsets at a time.
pub(super) fn answer_all(
    logs: &[Log],
    queue: &mut Queue,
    effects: &mut Effects,
    most: usize,
    now: i64,
) {
    while let Some(request) = effects.scans.pop() {
        let log = &logs[request.partition as usize];
        log.answer(queue, &request, most, now, effects);
    }
}

impl Log {
    pub(super) fn end(&self) -> Offset {
        Offset(self.entries.len() as i64)
    }

    pub(super) fn bounds(&self) -> PartitionBounds {
        bounds(self.start, self.entries.len() as i64)
    }

    fn answer(
        &self,
        queue: &mut Queue,
        request: &ScanRequest,
        most: usize,
        now: i64,
        effects: &mut Effects,
    ) {
        let from = request.from.get().max(self.start) as usize;
        let to = self
            .entries
            .len()
            .min(from + most.min(request.records).max(1));
        let mut records: Vec<ScannedRecord> = Vec::new();
        for entry in &self.entries[from..to] {
            if let Entry::Record(record) = entry {
                records.push(*record);
            }
        }
        let mut rest = &records[..];
        let mut batches = Vec::new();
        for (offset, entry) in (from as i64..).zip(&self.entries[from..to]) {
            let content = match entry {
                Entry::Gap => continue,
                Entry::Control => Content::Nothing,
                Entry::Damaged => Content::Undecodable,
                Entry::Record(_) => {
                    let (first, others) = rest.split_at(1);
                    rest = others;
                    match request.look {
                        Look::ForIds if first[0].id.is_some() => Content::Records(first),
                        Look::Inside => Content::Records(first),
                        Look::Past | Look::ForIds => Content::Whole {
                            newest: first[0].timestamp,
                        },
                    }
                }
            };
            batches.push(ScannedBatch {
                first: Offset(offset),
                last: Offset(offset),
                content,
            });
        }
        queue.scanned(request, Offset(to as i64), &batches, ms(now), effects);
    }
}
