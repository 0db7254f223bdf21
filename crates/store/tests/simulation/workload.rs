//! Makes commits up.

use std::rc::Rc;

use bytes::Bytes;
use millstream_env::SeededRng;
use millstream_record::{
    BatchBuilder, Codec, NewRecord, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use millstream_store::{
    Append, Behind, Cleanup, Commit, Durability, Mark, Partition, PartitionId, PartitionOpen,
    PartitionPolicy, Slot, Trim,
};

use crate::model::{self, Effect};

/// Partitions at a time.
const PARTITIONS_MAX: usize = 6;

const STATE_KEYS: u64 = 6;

const RECORD_KEYS: u64 = 8;

/// A commit, and what it does if it is taken.
pub struct Made {
    pub commit: Commit,
    pub effect: Effect,
    /// Batches for memory partitions, which no crash survives.
    pub memory: Vec<(u32, model::Batch)>,
    /// For each batch and target in order: the base offset it must get, and whether it is one sent again.
    pub expected: Vec<(i64, bool)>,
}

/// What the next commit depends on.
pub struct Maker<'a> {
    pub rng: &'a SeededRng,
    pub slot: &'a Slot,
    pub state: &'a model::State,
    /// The next offset of each memory partition.
    pub memory_next: &'a dyn Fn(u32) -> i64,
    pub epoch: i32,
    pub now_ms: i64,
    pub serial: u64,
}

impl Maker<'_> {
    pub fn make(&self) -> Made {
        let mut made = Made {
            commit: Commit::default(),
            effect: Effect::default(),
            memory: Vec::new(),
            expected: Vec::new(),
        };
        let rng = self.rng;
        let count = self.state.partitions.len();
        if count < 2 || (count < PARTITIONS_MAX && rng.one_in(12)) {
            self.open(&mut made);
            if rng.one_in(2) {
                return self.promise(made);
            }
        }
        if count > 0 && !rng.one_in(5) {
            self.append(&mut made);
        }
        if rng.one_in(3) {
            self.change_keys(&mut made);
        }
        if count > 0 && rng.one_in(12) {
            self.trim(&mut made);
        }
        if count > 3
            && rng.one_in(40)
            && made.commit.appends.is_empty()
            && made.commit.trims.is_empty()
        {
            let id = self.pick();
            made.commit.drops.push(PartitionId(id));
            made.effect.drops.push(id);
        }
        self.promise(made)
    }

    fn pick(&self) -> u32 {
        let at = self.rng.below(self.state.partitions.len() as u64) as usize;
        *self.state.partitions.keys().nth(at).expect("there is one")
    }

    fn open(&self, made: &mut Made) {
        let id = self.slot.next_partition_id();
        let (durability, compacted) = match self.rng.below(8) {
            0 => (Durability::Memory, false),
            1 | 2 => (Durability::Os, false),
            3 => (Durability::Fsync, true),
            _ => (Durability::Fsync, false),
        };
        made.commit.opens.push(PartitionOpen {
            id,
            durability,
            policy: policy(compacted),
        });
        made.effect.opens.push((id.0, durability, compacted));
    }

    fn append(&self, made: &mut Made) {
        let mut used = Vec::new();
        for _ in 0..1 + self.rng.below(8) / 6 {
            let mut targets = vec![self.pick()];
            if self.rng.one_in(4) {
                targets.push(self.pick());
            }
            targets.dedup();
            if targets.iter().any(|id| used.contains(id)) {
                continue;
            }
            used.extend(&targets);
            self.append_to(made, &targets);
        }
    }

    fn append_to(&self, made: &mut Made, targets: &[u32]) {
        let rng = self.rng;
        let large = rng.one_in(10);
        let records: Vec<model::Record> = (0..1 + rng.below(4))
            .map(|n| {
                let key = vec![b'k', rng.below(RECORD_KEYS) as u8];
                let len = if large {
                    rng.below(3500)
                } else {
                    rng.below(300)
                };
                let mut value = vec![(self.serial + n) as u8; len as usize];
                value.extend(self.serial.to_be_bytes());
                (key, (!rng.one_in(10)).then_some(value))
            })
            .collect();
        let known = &self.state.partitions[&targets[0]];
        let producer = rng.one_in(2).then(|| {
            if known.durability == Durability::Memory {
                // The other targets share the batch, and know nothing of who sent it.
                return (1000 + self.serial as i64, 0, 0);
            }
            let id = 1 + rng.below(2) as i64;
            let (epoch, next) = match known.producers.get(&id) {
                Some((epoch, last)) if !rng.one_in(15) => (*epoch, last + 1),
                Some((epoch, _)) => (epoch + 1, 0),
                None => (0, 0),
            };
            (id, epoch, next)
        });
        let batch = encode(&records, producer, self.now_ms);
        let records = Rc::new(records);
        let mut bases = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let partition = &self.state.partitions[target];
            let in_memory = partition.durability == Durability::Memory;
            let base = if in_memory {
                (self.memory_next)(*target)
            } else {
                partition.next
            };
            let placed = model::Batch {
                base,
                epoch: self.epoch,
                records: Rc::clone(&records),
            };
            made.expected.push((base, false));
            bases.push(base);
            if in_memory {
                made.memory.push((*target, placed));
            } else {
                let last = producer
                    .filter(|_| at == 0)
                    .map(|(id, epoch, next)| (id, epoch, next + records.len() as i32 - 1));
                made.effect.appends.push((*target, placed, last));
            }
        }
        let ids: Vec<_> = targets.iter().map(|id| PartitionId(*id)).collect();
        let mut append = Append::new(ids.clone(), batch.bytes, batch.header);
        if rng.one_in(3) {
            append.marks = marks(&ids);
            for (mark, base) in append.marks.iter().zip(bases.iter().cycle()) {
                made.effect.puts.push(marked(mark, *base));
            }
        }
        // Nothing is sent again here, so that it depends on another changes nothing.
        let others = made.commit.appends.len();
        append.after = others.checked_sub(1).filter(|_| rng.one_in(2));
        made.commit.appends.push(append);
    }

    fn change_keys(&self, made: &mut Made) {
        for _ in 0..1 + self.rng.below(3) {
            let key = vec![1, self.rng.below(STATE_KEYS) as u8];
            if self.rng.one_in(4) {
                made.commit.deletes.push(Bytes::from(key.clone()));
                made.effect.deletes.push(key);
            } else {
                let value = self.serial.to_be_bytes().to_vec();
                made.commit
                    .puts
                    .push((Bytes::from(key.clone()), Bytes::from(value.clone())));
                made.effect.puts.push((key, value));
            }
        }
    }

    fn trim(&self, made: &mut Made) {
        let id = self.pick();
        let partition = &self.state.partitions[&id];
        let span = partition.next - partition.log_start;
        if partition.durability == Durability::Memory || span == 0 {
            return;
        }
        let log_start = partition.log_start + 1 + self.rng.below(span as u64) as i64;
        made.commit.trims.push(Trim {
            partition: PartitionId(id),
            log_start: Offset(log_start),
        });
        made.effect.trims.push((id, log_start));
    }

    fn promise(&self, mut made: Made) -> Made {
        made.commit.promise = match self.rng.below(8) {
            0 => Some(Durability::Fsync),
            1 => Some(Durability::Os),
            _ => None,
        };
        let effect = &made.effect;
        let appended = effect.appends.iter().map(|(id, ..)| *id);
        let memory = made.memory.iter().map(|(id, _)| *id);
        let strongest = appended
            .chain(memory)
            .filter_map(|id| Some(self.state.partitions.get(&id)?.durability))
            .max()
            .or(made.commit.promise)
            .unwrap_or(Durability::Fsync);
        let promised = strongest.max(made.commit.promise.unwrap_or(Durability::Memory));
        let shape =
            !(effect.opens.is_empty() && effect.drops.is_empty() && effect.trims.is_empty());
        made.effect.fsynced = shape || promised == Durability::Fsync;
        made
    }
}

/// A commit of one key with a large value.
pub fn large_value(rng: &SeededRng, serial: u64) -> Made {
    let key = vec![1, rng.below(STATE_KEYS) as u8];
    let mut value = vec![0; rng.below(4000) as usize];
    value.extend(serial.to_be_bytes());
    Made {
        commit: Commit {
            puts: vec![(Bytes::from(key.clone()), Bytes::from(value.clone()))],
            ..Commit::default()
        },
        effect: Effect {
            puts: vec![(key, value)],
            fsynced: true,
            ..Effect::default()
        },
        memory: Vec::new(),
        expected: Vec::new(),
    }
}

/// The policy of the simulation's partitions. Also to be set after a restart.
pub fn policy(compacted: bool) -> PartitionPolicy {
    PartitionPolicy {
        cleanup: if compacted {
            Cleanup::Compact
        } else {
            Cleanup::Delete
        },
        min_cleanable_dirty_ratio: 0.1,
        delete_retention_ms: 1000,
        segment_bytes: 32 << 10,
        memory_bytes: 64 << 10,
        ..PartitionPolicy::default()
    }
}

/// A batch that was sent before, as the producer would send it again.
pub fn again(
    batch: &model::Batch,
    producer: model::Producer,
    now_ms: i64,
) -> millstream_record::Batch {
    let (id, epoch, last) = producer;
    let first = last + 1 - batch.records.len() as i32;
    encode(&batch.records, Some((id, epoch, first)), now_ms)
}

/// The same records from nobody in particular, for `targets`.
pub fn unsent(batch: &model::Batch, targets: &[PartitionId]) -> Append {
    let batch = encode(&batch.records, None, 0);
    Append::new(targets.iter().copied(), batch.bytes, batch.header)
}

/// A mark of the first record in each target, in an entry's value and in its key in turn.
pub fn marks(targets: &[PartitionId]) -> Vec<Mark> {
    let mark = |(target, id): (usize, &PartitionId)| Mark {
        delta: 0,
        target,
        key: Bytes::from(vec![2, id.0 as u8]),
        value: Bytes::from_static(b"at"),
        behind: if target == 0 {
            Behind::Value
        } else {
            Behind::Key
        },
    };
    targets.iter().enumerate().map(mark).collect()
}

/// The entry that a mark sets.
fn marked(mark: &Mark, offset: i64) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (mark.key.to_vec(), mark.value.to_vec());
    match mark.behind {
        Behind::Key => key.extend(offset.to_be_bytes()),
        Behind::Value => value.extend(offset.to_be_bytes()),
    }
    (key, value)
}

fn encode(
    records: &[model::Record],
    producer: Option<(i64, i16, i32)>,
    now_ms: i64,
) -> millstream_record::Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    }
    for (key, value) in records {
        builder.append(&NewRecord {
            timestamp: TimestampMs(now_ms),
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
        });
    }
    builder.build().expect("there are records")
}

/// The handle of a partition that the model knows.
pub fn handle(slot: &Slot, id: u32) -> Result<std::sync::Arc<Partition>, String> {
    slot.partition(PartitionId(id))
        .ok_or_else(|| format!("partition {id} is not there"))
}
