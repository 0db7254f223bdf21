//! Finding records by their time.

use millstream_record::{Batch, Offset, TimestampMs};

use super::Partition;
use crate::error::ReadError;
use crate::pack::{first_record_since, latest_record};
use crate::tail::TailBatch;

impl Partition {
    /// The first record at or after the log start whose timestamp is at least `at`. Blocks when it has to look in packs.
    pub fn offset_for_time(
        &self,
        at: TimestampMs,
    ) -> Result<Option<(TimestampMs, Offset)>, ReadError> {
        let log_start = self.visible.lock().log_start;
        // Once more after looking into the tail: what is missing there may just have been settled.
        for _ in 0..2 {
            if let Some(found) = self.packs.offset_for_time(self.id, at, log_start)? {
                return Ok(Some(found));
            }
            let candidates = self.tail_batches(|batch| batch.max_timestamp >= at);
            for batch in &candidates {
                let found = Batch::parse(batch.bytes())
                    .and_then(|batch| first_record_since(&batch, at, log_start))
                    .map_err(|error| self.damaged(batch.base, &error))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The record with the latest timestamp, the first of several. Blocks when it has to look in packs.
    pub fn max_timestamp(&self) -> Result<Option<(TimestampMs, Offset)>, ReadError> {
        let log_start = self.visible.lock().log_start;
        // Before the packs: a batch that is settled in between is then found twice rather than never.
        let tail = self.tail_batches(|_| true);
        let settled = self.packs.max_timestamp(self.id, log_start)?;
        let mut best = settled;
        let mut latest: Vec<&TailBatch> = tail.iter().collect();
        latest.sort_by_key(|batch| (std::cmp::Reverse(batch.max_timestamp), batch.base));
        for batch in latest {
            if best.is_some_and(|(time, _)| batch.max_timestamp < time) {
                break;
            }
            let found = Batch::parse(batch.bytes())
                .and_then(|batch| latest_record(&batch, log_start))
                .map_err(|error| self.damaged(batch.base, &error))?;
            best = match (best, found) {
                (Some(best), Some(found)) => {
                    let earlier = found.0 == best.0 && found.1 < best.1;
                    Some(if found.0 > best.0 || earlier {
                        found
                    } else {
                        best
                    })
                }
                (best, found) => best.or(found),
            };
        }
        Ok(best)
    }

    fn tail_batches(&self, wanted: impl Fn(&TailBatch) -> bool) -> Vec<TailBatch> {
        let visible = self.visible.lock();
        let batches = visible.tail.from(visible.log_start);
        batches.filter(|batch| wanted(batch)).cloned().collect()
    }
}
