//! What the store's tests share: making batches and driving a slot by hand.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_env::Env;
use millstream_record::{
    BatchHeader, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, header,
};
use millstream_store::{
    Append, Commit, Drive, Durability, Partition, PartitionId, PartitionOpen, PartitionPolicy,
    Read, Slot, SlotSettings,
};
use smallvec::smallvec;

/// A batch of `records` records whose payload is `payload`, from no producer.
pub fn batch(records: i32, payload: &[u8]) -> Bytes {
    batch_from(
        records,
        payload,
        ProducerId::NONE,
        ProducerEpoch::NONE,
        Sequence::NONE,
    )
}

/// A batch of an idempotent producer. The records are not decodable; the store looks at the header only.
pub fn batch_from(
    records: i32,
    payload: &[u8],
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: Sequence,
) -> Bytes {
    let header = BatchHeader {
        base_offset: Offset(0),
        size_bytes: (header::HEADER_BYTES + payload.len()) as u32,
        leader_epoch: LeaderEpoch::NONE,
        crc: 0,
        codec: millstream_record::Codec::None,
        timestamp_type: millstream_record::TimestampType::CreateTime,
        transactional: false,
        control: false,
        delete_horizon: None,
        last_offset_delta: records - 1,
        base_timestamp: TimestampMs(1000),
        max_timestamp: TimestampMs(1000),
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: records,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(payload);
    header::seal(&mut bytes);
    bytes.into()
}

/// The append of `batch` to `targets`.
pub fn append(targets: &[PartitionId], batch: Bytes) -> Append {
    let header = BatchHeader::parse(&batch).unwrap();
    Append::new(targets.iter().copied(), batch, header)
}

/// A commit of one batch for one partition.
pub fn one(target: PartitionId, batch: Bytes) -> Commit {
    Commit {
        appends: smallvec![append(&[target], batch)],
        ..Commit::default()
    }
}

/// Small files and a small budget, driven by hand.
pub fn manual(dir: &Path) -> SlotSettings {
    SlotSettings {
        drive: Drive::Manual,
        memory_budget_bytes: 4 << 20,
        journal_file_bytes: 256 << 10,
        settle_after_bytes: 512 << 10,
        ..SlotSettings::new(dir)
    }
}

/// Opens a slot on the machine's disk.
pub fn open(settings: SlotSettings) -> Slot {
    Slot::open(settings, Env::real()).unwrap()
}

/// Opens a partition and makes that durable.
pub fn open_partition(slot: &Slot, durability: Durability) -> PartitionId {
    open_partition_with(slot, durability, PartitionPolicy::default())
}

/// Opens a partition with a policy and makes that durable.
pub fn open_partition_with(
    slot: &Slot,
    durability: Durability,
    policy: PartitionPolicy,
) -> PartitionId {
    let id = slot.next_partition_id();
    let opened = slot
        .commit(Commit {
            opens: vec![PartitionOpen {
                id,
                durability,
                policy,
            }],
            ..Commit::default()
        })
        .unwrap();
    slot.step_journal();
    opened.durable.wait().unwrap();
    id
}

/// Everything readers see of a partition from `from` on: base offset and payload of each batch.
pub fn read_all(partition: &Arc<Partition>, from: Offset) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = from;
    let end = partition.offsets().high_watermark;
    while at < end {
        let slices = match partition.read(at, 1 << 20, end).unwrap() {
            Read::Memory(slices) => slices,
            Read::Disk(read) => read.run().unwrap(),
        };
        assert!(!slices.is_empty(), "nothing at {at} before {end}");
        for slice in slices {
            for batch in millstream_record::Batches::new(slice) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                found.push((batch.header.base_offset.0, batch.payload().to_vec()));
                at = batch.header.next_offset();
            }
        }
    }
    found
}
