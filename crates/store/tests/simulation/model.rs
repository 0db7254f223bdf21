//! What a slot should hold: the sum of its commits, in the plainest way.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_store::Durability;

/// A key and a value, or the key's end.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// A producer's id and epoch, and the last sequence of its batch.
pub type Producer = (i64, i16, i32);

/// A batch where it ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub base: i64,
    pub epoch: i32,
    pub records: Rc<Vec<Record>>,
}

impl Batch {
    pub fn next(&self) -> i64 {
        self.base + self.records.len() as i64
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub durability: Durability,
    pub compacted: bool,
    pub log_start: i64,
    pub next: i64,
    pub batches: Vec<Batch>,
    /// Epoch and last sequence of each idempotent producer.
    pub producers: BTreeMap<i64, (i16, i32)>,
}

/// All that lasts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub partitions: BTreeMap<u32, Partition>,
    pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a commit does.
#[derive(Debug, Clone, Default)]
pub struct Effect {
    pub opens: Vec<(u32, Durability, bool)>,
    /// Partition, batch, and who sent it.
    pub appends: Vec<(u32, Batch, Option<Producer>)>,
    pub trims: Vec<(u32, i64)>,
    pub drops: Vec<u32>,
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    pub deletes: Vec<Vec<u8>>,
    /// Acknowledged means synced.
    pub fsynced: bool,
}

impl Effect {
    /// Whether nothing of it lasts.
    pub fn is_empty(&self) -> bool {
        self.opens.is_empty()
            && self.appends.is_empty()
            && self.trims.is_empty()
            && self.drops.is_empty()
            && self.puts.is_empty()
            && self.deletes.is_empty()
    }
}

impl State {
    pub fn apply(&mut self, effect: &Effect) {
        for (id, durability, compacted) in &effect.opens {
            let partition = Partition {
                durability: *durability,
                compacted: *compacted,
                log_start: 0,
                next: 0,
                batches: Vec::new(),
                producers: BTreeMap::new(),
            };
            self.partitions.insert(*id, partition);
        }
        for (id, batch, producer) in &effect.appends {
            let partition = self
                .partitions
                .get_mut(id)
                .expect("appends are to what exists");
            partition.next = batch.next();
            partition.batches.push(batch.clone());
            if let Some((producer, epoch, last)) = producer {
                partition.producers.insert(*producer, (*epoch, *last));
            }
        }
        for (id, log_start) in &effect.trims {
            let partition = self
                .partitions
                .get_mut(id)
                .expect("trims are of what exists");
            partition.log_start = partition.log_start.max(*log_start);
            let log_start = partition.log_start;
            partition.batches.retain(|batch| batch.next() > log_start);
        }
        for id in &effect.drops {
            self.partitions.remove(id);
        }
        for (key, value) in &effect.puts {
            self.keys.insert(key.clone(), value.clone());
        }
        for key in &effect.deletes {
            self.keys.remove(key);
        }
    }

    /// Why `found` is not what this is, if it is not. Compaction may have taken records out of `found`.
    pub fn difference(&self, found: &Self) -> Option<String> {
        if self.keys != found.keys {
            return Some(format!("keys {:?} instead of {:?}", found.keys, self.keys));
        }
        let ids = |state: &Self| state.partitions.keys().copied().collect::<Vec<_>>();
        if ids(self) != ids(found) {
            return Some(format!(
                "partitions {:?} instead of {:?}",
                ids(found),
                ids(self)
            ));
        }
        self.partitions.iter().find_map(|(id, partition)| {
            let why = partition.difference(&found.partitions[id])?;
            Some(format!("partition {id}: {why}"))
        })
    }
}

impl Partition {
    fn difference(&self, found: &Self) -> Option<String> {
        if self.durability != found.durability {
            return Some(format!(
                "is {:?} instead of {:?}",
                found.durability, self.durability
            ));
        }
        if self.durability == Durability::Memory {
            return None;
        }
        let bounds = |partition: &Self| (partition.log_start, partition.next);
        if bounds(self) != bounds(found) {
            return Some(format!(
                "goes {:?} instead of {:?}",
                bounds(found),
                bounds(self)
            ));
        }
        if self.producers != found.producers {
            return Some(format!(
                "producers {:?} instead of {:?}",
                found.producers, self.producers
            ));
        }
        if self.compacted {
            return self.compacted_difference(found);
        }
        (self.batches != found.batches).then(|| {
            let bases = |partition: &Self| {
                partition
                    .batches
                    .iter()
                    .map(|batch| batch.base)
                    .collect::<Vec<_>>()
            };
            format!("batches at {:?} instead of {:?}", bases(found), bases(self))
        })
    }

    /// Every record found is one that was written there, and the last one of each key is found.
    pub fn compacted_difference(&self, found: &Self) -> Option<String> {
        let written = self.records();
        let kept = found.records();
        for (offset, record) in &kept {
            if written.get(offset) != Some(record) {
                let at = (self.log_start, found.log_start);
                let expected = written.get(offset);
                return Some(format!(
                    "log start {at:?}: offset {offset} holds {record:?} instead of {expected:?}"
                ));
            }
        }
        let mut last = BTreeMap::new();
        for (offset, (key, value)) in &written {
            last.insert(key, (offset, value));
        }
        for (key, (offset, value)) in last {
            // A tombstone may go in the end.
            if *offset >= self.log_start && value.is_some() && !kept.contains_key(offset) {
                return Some(format!(
                    "the last record of key {key:?}, at {offset}, is gone"
                ));
            }
        }
        None
    }

    fn records(&self) -> BTreeMap<i64, Record> {
        let batches = self.batches.iter();
        batches
            .flat_map(|batch| (batch.base..).zip(batch.records.iter().cloned()))
            .collect()
    }
}
