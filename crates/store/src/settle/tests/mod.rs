//! Settling and housekeeping on a simulated disk, against plain lists of batches.

mod compaction;
mod consumed;
mod crashes;
mod packs;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use millstream_env::sim::SimDisk;
use millstream_record::{
    Batch, BatchBuilder, Codec, LeaderEpoch, NewRecord, Offset, ProducerEpoch, ProducerId,
    Sequence, TimestampMs,
};

use super::bounds::Sizes;
use super::*;
use crate::ids::JournalPosition;
use crate::manifest::Manifests;
use crate::media::LocalBlobs;
use crate::policy::Cleanup;

/// Small enough that a few batches make every decision.
const SIZES: Sizes = Sizes {
    own_pack_min: 6 << 10,
    own_pack_target: 24 << 10,
    shared_pack_max: 96 << 10,
    small_pack: 1 << 10,
    reclaim_min: 8 << 10,
    compaction_target: 16 << 10,
    compaction_keys_max: 1000,
};

/// What the slot would say.
#[derive(Debug, Clone, Default)]
struct View {
    facts: BTreeMap<PartitionId, PartitionFacts>,
    dropped: BTreeSet<PartitionId>,
    last_batches: HashMap<ProducerId, Offset>,
    finished: BTreeMap<PartitionId, Finished>,
}

impl SlotView for View {
    fn facts(&self, partition: PartitionId) -> Option<PartitionFacts> {
        self.facts.get(&partition).copied()
    }

    fn is_dropped(&self, partition: PartitionId) -> bool {
        self.dropped.contains(&partition)
    }

    fn last_batches(&self, _: PartitionId) -> HashMap<ProducerId, Offset> {
        self.last_batches.clone()
    }

    fn finished(&self, partition: PartitionId) -> Option<Finished> {
        self.finished.get(&partition).cloned()
    }

    /// Nothing is cached here.
    fn compacted(&self, _: PartitionId, _: Offset) {}
}

/// A partition as a list: all batches ever settled, and where it ends.
#[derive(Debug, Clone, Default)]
struct Model {
    batches: Vec<Batch>,
    end: i64,
}

/// Packs and manifests on a simulated disk, with what they should hold.
struct World {
    disk: SimDisk,
    manifests: Manifests,
    housekeeper: Housekeeper,
    sizes: Sizes,
    view: View,
    models: BTreeMap<PartitionId, Model>,
    /// Batches that are not settled yet.
    tails: BTreeMap<PartitionId, Vec<Batch>>,
    settled: u64,
    now: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with_sizes(seed, SIZES)
    }

    fn with_sizes(seed: u64, sizes: Sizes) -> Self {
        let disk = SimDisk::new(seed, 1 << 30);
        let manifests = open(&disk).unwrap();
        Self {
            disk,
            manifests,
            housekeeper: Housekeeper::new((seed, 1), sizes),
            sizes,
            view: View::default(),
            models: BTreeMap::new(),
            tails: BTreeMap::new(),
            settled: 0,
            now: 1_000_000,
        }
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(self.now)
    }

    /// Makes a partition known.
    fn create(&mut self, partition: u32, policy: PartitionPolicy) {
        let facts = PartitionFacts {
            policy,
            log_start: Offset(0),
            last_stable: Offset(i64::MAX),
            tail_bytes: 0,
        };
        self.view.facts.insert(PartitionId(partition), facts);
        self.models.insert(PartitionId(partition), Model::default());
    }

    fn facts(&mut self, partition: u32) -> &mut PartitionFacts {
        self.view.facts.get_mut(&PartitionId(partition)).unwrap()
    }

    /// The offset after everything in the partition, the tail included.
    fn log_end(&self, partition: u32) -> i64 {
        let partition = PartitionId(partition);
        let tail = self.tails.get(&partition).and_then(|tail| tail.last());
        tail.map_or(self.models[&partition].end, |batch| {
            batch.header.next_offset().0
        })
    }

    /// Appends a batch to the tail.
    fn append(&mut self, partition: u32, make: impl FnOnce(BatchBuilder) -> Batch) -> Batch {
        let base = Offset(self.log_end(partition));
        let batch = make(BatchBuilder::new(Codec::None).at(base, LeaderEpoch(3)));
        self.tails
            .entry(PartitionId(partition))
            .or_default()
            .push(batch.clone());
        batch
    }

    /// Appends a batch of one record of this size.
    fn append_bytes(&mut self, partition: u32, bytes: usize) -> Batch {
        let now = self.now;
        let value = vec![b'x'; bytes];
        self.append(partition, |builder| {
            with_records(builder, &[(b"key".to_vec(), Some(value), now)])
        })
    }

    /// The tails as a job to settle them.
    fn sealed(&self) -> Vec<SealedPartition> {
        let sealed = self
            .tails
            .iter()
            .map(|(partition, batches)| SealedPartition {
                partition: *partition,
                first: Offset(self.models[partition].end),
                end: batches.last().unwrap().header.next_offset(),
                policy: self.view.facts[partition].policy,
                batches: batches
                    .iter()
                    .map(|batch| SealedBatch {
                        base_offset: batch.header.base_offset,
                        bytes: batch.bytes.clone(),
                    })
                    .collect(),
            });
        sealed.collect()
    }

    /// Settles all tails, `budget` bytes a step, with housekeeping in between.
    fn settle(&mut self, budget: u64) -> Result<(), SettleError> {
        let settled = JournalPosition(self.settled + 1);
        let (sealed, now) = (self.sealed(), self.now());
        let mut job = SettleJob::new(&self.manifests, sealed, settled, now, self.sizes);
        while job.step(&mut self.manifests, budget)? == Progress::More {
            self.housekeep(1)?;
        }
        self.note_settled();
        Ok(())
    }

    fn note_settled(&mut self) {
        self.settled += 1;
        for (partition, batches) in std::mem::take(&mut self.tails) {
            let model = self.models.get_mut(&partition).unwrap();
            model.end = batches.last().unwrap().header.next_offset().0;
            model.batches.extend(batches);
        }
    }

    fn housekeep(&mut self, steps: usize) -> Result<(), SettleError> {
        for _ in 0..steps {
            let now = self.now();
            let activity =
                self.housekeeper
                    .step(&mut self.manifests, &self.view, now, Space::AMPLE, 2000)?;
            if activity == Activity::Idle {
                break;
            }
        }
        Ok(())
    }

    /// Housekeeping until nothing is left to do, which has to happen.
    fn tidy(&mut self) {
        for _ in 0..20_000 {
            let now = self.now();
            let activity =
                self.housekeeper
                    .step(&mut self.manifests, &self.view, now, Space::AMPLE, 20_000);
            if activity.unwrap() == Activity::Idle {
                return;
            }
        }
        panic!("housekeeping finds no end: {:?}", self.manifests.current());
    }

    /// All settled batches from the log start on, as readers see them.
    fn read(&self, partition: u32) -> Vec<Batch> {
        let mut from = self.view.facts[&PartitionId(partition)].log_start;
        let packs = self.manifests.packs();
        let mut found = Vec::new();
        while let Some(read) = packs.read(PartitionId(partition), from, 1, Offset(i64::MAX)) {
            let read = read.run().unwrap().unwrap();
            let batch = Batch::parse(read).unwrap();
            assert!(batch.header.last_offset() >= from);
            from = batch.header.next_offset();
            found.push(batch);
        }
        found
    }

    /// The batches that readers should see.
    fn wanted(&self, partition: u32) -> Vec<Batch> {
        let log_start = self.view.facts[&PartitionId(partition)].log_start;
        let model = &self.models[&PartitionId(partition)];
        let wanted = model
            .batches
            .iter()
            .filter(|batch| batch.header.last_offset() >= log_start);
        wanted.cloned().collect()
    }

    /// Checks that nothing of an uncompacted partition is missing or changed.
    fn check(&self, partition: u32) {
        assert_eq!(
            self.read(partition),
            self.wanted(partition),
            "partition {partition}"
        );
        let id = PartitionId(partition);
        let end = self.manifests.packs().end(id).unwrap_or(Offset(0));
        let model_end = Offset(self.models[&id].end);
        let known_end = end.max(self.view.facts[&id].log_start);
        assert_eq!(known_end, model_end, "the end of partition {partition}");
    }

    /// Opens everything again, as after a clean stop.
    fn reopen(&mut self) {
        self.housekeeper.abandon(&mut self.manifests);
        self.manifests = open(&self.disk).unwrap();
        self.housekeeper = Housekeeper::new((5, 6), self.sizes);
    }
}

fn open(disk: &SimDisk) -> Result<Manifests, ManifestError> {
    let mount = disk.mount();
    let (packs, manifests) = (Path::new("/data/packs"), Path::new("/data/manifest"));
    mount.create_dir(packs)?;
    mount.create_dir(manifests)?;
    for dir in ["/", "/data"] {
        mount.sync_dir(Path::new(dir))?;
    }
    let medium = LocalBlobs::open(Arc::clone(&mount), packs)?;
    let (mut manifests, report) = Manifests::open(mount, manifests, Arc::new(medium))?;
    manifests.sweep();
    assert!(
        report.missing.is_empty(),
        "missing packs: {:?}",
        report.missing
    );
    assert!(report.orphans.is_empty(), "orphans: {:?}", report.orphans);
    Ok(manifests)
}

/// Key, value and time of each record.
type Plain = (Vec<u8>, Option<Vec<u8>>, i64);

fn with_records(mut builder: BatchBuilder, records: &[Plain]) -> Batch {
    for (key, value, timestamp) in records {
        builder.append(&NewRecord {
            timestamp: TimestampMs(*timestamp),
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
        });
    }
    builder.build().unwrap()
}
