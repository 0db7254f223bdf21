//! Reads a slot back into the model's terms.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use millstream_record::Offset;
use millstream_store::{Partition, Read, Slot};

use crate::model;

/// Everything that lasts in a slot.
pub fn state(slot: &Slot, is_compacted: impl Fn(u32) -> bool) -> Result<model::State, String> {
    let mut keys = BTreeMap::new();
    for entry in slot.state().scan(&[]).map_err(|error| error.to_string())? {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        if key.first() != Some(&0) {
            keys.insert(key.to_vec(), value.to_vec());
        }
    }
    let mut partitions = BTreeMap::new();
    for handle in slot.partitions() {
        let id = handle.id().0;
        partitions.insert(id, partition(&handle, is_compacted(id))?);
    }
    Ok(model::State { partitions, keys })
}

/// One partition up to its high watermark.
pub fn partition(handle: &Arc<Partition>, compacted: bool) -> Result<model::Partition, String> {
    let offsets = handle.offsets();
    let producers = handle.producers().into_iter().map(|producer| {
        let last = (producer.epoch.0, producer.last_sequence.0);
        (producer.producer_id.0, last)
    });
    Ok(model::Partition {
        durability: handle.durability(),
        compacted,
        log_start: offsets.log_start.0,
        next: offsets.high_watermark.0,
        batches: batches(handle, offsets.log_start, offsets.high_watermark, compacted)?,
        producers: producers.collect(),
    })
}

fn batches(
    handle: &Arc<Partition>,
    from: Offset,
    upto: Offset,
    compacted: bool,
) -> Result<Vec<model::Batch>, String> {
    let mut found = Vec::new();
    let mut at = from;
    while at < upto {
        let read = handle
            .read(at, 20_000, upto)
            .map_err(|error| error.to_string())?;
        let slices = match read {
            Read::Memory(slices) => slices,
            Read::Disk(read) => read.run().map_err(|error| error.to_string())?,
        };
        if slices.is_empty() {
            if compacted {
                break;
            }
            return Err(format!(
                "partition {} has nothing at {at} of {upto}",
                handle.id()
            ));
        }
        for slice in slices {
            for batch in millstream_record::Batches::new(slice) {
                let batch = batch.map_err(|error| error.to_string())?;
                batch.check_crc().map_err(|error| error.to_string())?;
                if batch.header.next_offset() <= at {
                    return Err(format!("partition {} goes back at {at}", handle.id()));
                }
                at = batch.header.next_offset();
                decode(&batch, compacted, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// A batch as the model has it: one with all its records, or one for each record that compaction has left.
fn decode(
    batch: &millstream_record::Batch,
    compacted: bool,
    found: &mut Vec<model::Batch>,
) -> Result<(), String> {
    let mut records = Vec::new();
    for record in batch.records(1 << 20) {
        let record = record.map_err(|error| error.to_string())?;
        let key = record
            .key
            .as_ref()
            .map(|key| key.to_vec())
            .unwrap_or_default();
        let value = record.value.as_ref().map(|value| value.to_vec());
        records.push((record.offset.0, (key, value)));
    }
    let epoch = batch.header.leader_epoch.0;
    if compacted {
        found.extend(records.into_iter().map(|(base, record)| model::Batch {
            base,
            epoch,
            records: Rc::new(vec![record]),
        }));
    } else {
        found.push(model::Batch {
            base: batch.header.base_offset.0,
            epoch,
            records: Rc::new(records.into_iter().map(|(_, record)| record).collect()),
        });
    }
    Ok(())
}
