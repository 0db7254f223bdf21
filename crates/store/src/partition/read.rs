//! Reading batches in order, wherever they are.
//!
//! A reader chooses where to look under a lock, and looks after it. What lies there may meanwhile be settled, merged,
//! compacted or trimmed: whoever then finds nothing where he looks chooses again, and never takes it for the end.

use std::sync::Arc;

use millstream_record::Offset;

use super::Partition;
use crate::error::ReadError;
use crate::pack::PackRead;
use crate::tail::Slices;

/// What a read found.
#[derive(Debug)]
pub enum Read {
    /// Whole batches in order, the first of which contains the offset asked for, or is the next one after it when
    /// compaction left none there. None if there is nothing as far as was asked.
    Memory(Slices),
    /// The batches are on the disk: run this on a thread that may block.
    Disk(DiskRead),
}

/// A read that has to go to the disk.
#[derive(Debug)]
pub struct DiskRead {
    partition: Arc<Partition>,
    pack: PackRead,
    from: Offset,
    max_bytes: usize,
    upto: Offset,
}

impl Partition {
    /// Reads whole batches from the one that contains `from`, as many as fit `max_bytes` but at least one, as far as
    /// they start before `upto` and readers may see them.
    pub fn read(
        self: &Arc<Self>,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Result<Read, ReadError> {
        // Where the tail began when the packs were looked at, once they were.
        let mut looked = None;
        loop {
            let (upto, tail_start) = {
                let visible = self.visible.lock();
                self.check_range(&visible, from)?;
                let upto = upto.min(visible.high_watermark);
                let tail_start = visible.tail.first_offset();
                let in_memory = tail_start.is_some_and(|first| first <= from);
                // Compaction left nothing up to the tail, from which nothing has been settled since.
                let not_in_packs = looked == Some(tail_start);
                if in_memory || from >= upto || not_in_packs {
                    return Ok(Read::Memory(visible.tail.read(from, max_bytes, upto)));
                }
                (upto, tail_start)
            };
            if let Some(pack) = self.packs.read(self.id, from, max_bytes, upto) {
                return Ok(Read::Disk(DiskRead {
                    partition: Arc::clone(self),
                    pack,
                    from,
                    max_bytes,
                    upto,
                }));
            }
            looked = Some(tail_start);
        }
    }
}

impl DiskRead {
    /// Reads the batches: whole ones, in order, the first of which contains the offset asked for, or is the next one
    /// after it when compaction left none there. None if there is nothing as far as was asked. Blocks.
    pub fn run(self) -> Result<Slices, ReadError> {
        let Self {
            partition,
            mut pack,
            from,
            max_bytes,
            upto,
        } = self;
        loop {
            if let Some(batches) = pack.run()? {
                let batches = Some(batches).filter(|batches| !batches.is_empty());
                return Ok(batches.into_iter().collect());
            }
            // They are not in that pack any more: in another, in memory, or trimmed.
            pack = match partition.read(from, max_bytes, upto)? {
                Read::Memory(slices) => return Ok(slices),
                Read::Disk(read) => read.pack,
            };
        }
    }
}
