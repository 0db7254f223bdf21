//! The appends for one batch: to the topic that it is published to, and to all that routes lead to.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use millstream_catalog::Topic;
use millstream_limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millstream_record::partitioner::partition_of_key;
use millstream_record::{
    Batch, BatchBuilder, BatchHeader, Codec, Header, NewRecord, ProducerEpoch, ProducerId, Record,
    Sequence, TimestampMs, header,
};
use millstream_store::{Append, PartitionId};
use smallvec::{SmallVec, smallvec};

use super::plan::{Node, Plan};
use crate::error::BrokerError;
use crate::produce::{accept, append_of, takes_long, unpacking_takes_long};

/// What goes into the spreading of one batch.
pub(crate) struct Spread<'a> {
    pub(crate) plan: &'a Plan,
    /// The topic that it is published to, and the partition's index and number.
    pub(crate) topic: &'a Topic,
    pub(crate) index: u32,
    pub(crate) partition: PartitionId,
    /// Partitions of targets that turned out to be deleted.
    pub(crate) gone: &'a [PartitionId],
    pub(crate) now: TimestampMs,
}

/// One of the plan's nodes, and the partition there.
type Place = (usize, PartitionId);

/// The places that some records go to: in the order of nodes.
type Places = SmallVec<[Place; 4]>;

/// Where the records of a batch go in one node.
#[derive(Clone, Copy, PartialEq)]
enum Whither {
    /// Nothing has been seen yet.
    Unknown,
    /// All of them to one partition.
    Whole(PartitionId),
    /// None.
    Nowhere,
    /// Some here, some there.
    Apart,
}

/// Records that go to the same places.
struct Group {
    places: Places,
    records: Vec<u32>,
}

impl Spread<'_> {
    /// Whether it takes so long that it should not hold up a thread that serves others.
    pub(crate) fn takes_long(&self, batch: &Bytes) -> bool {
        let mut targets = self.plan.targets();
        (self.plan.looks_inside() && unpacking_takes_long(batch))
            || targets.any(|topic| takes_long(batch, topic.current().settings.values()))
    }

    /// The appends for `batch`, which a client sent: first the one to the topic itself.
    pub(crate) fn appends(&self, batch: &Bytes) -> Result<SmallVec<[Append; 1]>, BrokerError> {
        let accepted = accept(batch.clone(), self.topic.settings.values(), self.now)?;
        let mut appends = smallvec![append_of(accepted, self.partition)];
        let sent = Batch::parse(batch.clone())?;
        let mut counts = vec![0u64; self.plan.steps.len()];
        if self.plan.looks_inside() {
            self.spread_records(&sent, &mut appends, &mut counts)?;
        } else {
            counts.fill(sent.header.record_count as u64);
            for (at, node) in self.plan.nodes.iter().enumerate() {
                if let Some(partition) = self.partition_in(node, None) {
                    self.share(&mut appends, 0, &sent, &[(at, partition)])?;
                }
            }
        }
        for (step, count) in self.plan.steps.iter().zip(counts) {
            step.routed.records.fetch_add(count, Ordering::Relaxed);
            let skipped = count * step.missing;
            step.routed.skipped.fetch_add(skipped, Ordering::Relaxed);
        }
        Ok(appends)
    }

    fn spread_records(
        &self,
        sent: &Batch,
        appends: &mut SmallVec<[Append; 1]>,
        counts: &mut [u64],
    ) -> Result<(), BrokerError> {
        let records = sent
            .records(BATCH_DECOMPRESSED_BYTES_MAX)
            .collect::<Result<Vec<_>, _>>()?;
        let mut whither = vec![Whither::Unknown; self.plan.nodes.len()];
        let mut walk = Walk::new(self.plan);
        for record in &records {
            walk.go(record);
            for (count, taken) in counts.iter_mut().zip(&walk.taken) {
                *count += u64::from(*taken);
            }
            for (at, node) in self.plan.nodes.iter().enumerate() {
                let found = walk.reached[at]
                    .then(|| self.partition_in(node, record.key.as_deref()))
                    .flatten()
                    .map_or(Whither::Nowhere, Whither::Whole);
                let before = whither[at];
                whither[at] = match before {
                    Whither::Unknown => found,
                    _ if before == found => before,
                    _ => Whither::Apart,
                };
            }
        }
        let mut apart = Vec::new();
        for (at, whither) in whither.into_iter().enumerate() {
            match whither {
                Whither::Whole(partition) => self.share(appends, 0, sent, &[(at, partition)])?,
                Whither::Apart => apart.push(at),
                Whither::Unknown | Whither::Nowhere => {}
            }
        }
        for group in self.groups(&records, &apart) {
            let batch = build(&records, &group.records, sent.header.codec);
            let first = appends.len();
            self.share(appends, first, &batch, &group.places)?;
        }
        Ok(())
    }

    /// The records of each new batch for the nodes in `apart`. In every partition records stay in order. If sharing
    /// batches among nodes would cut them into many small ones, each node gets its own.
    fn groups(&self, records: &[Record], apart: &[usize]) -> Vec<Group> {
        if apart.is_empty() {
            return Vec::new();
        }
        self.grouped(records, apart, 2).unwrap_or_else(|| {
            let alone = |node: &usize| self.grouped(records, &[*node], usize::MAX);
            apart.iter().filter_map(alone).flatten().collect()
        })
    }

    /// `None` if there are more than `groups_max` batches for each partition.
    fn grouped(
        &self,
        records: &[Record],
        apart: &[usize],
        groups_max: usize,
    ) -> Option<Vec<Group>> {
        let mut walk = Walk::new(self.plan);
        let mut groups: Vec<Group> = Vec::new();
        let mut open: HashMap<Places, usize> = HashMap::new();
        // The last group that holds a record for a partition: no earlier one may get another.
        let mut last: HashMap<PartitionId, usize> = HashMap::new();
        for (number, record) in (0..).zip(records) {
            walk.go(record);
            let reached = apart.iter().filter(|at| walk.reached[**at]);
            let places: Places = reached
                .filter_map(|&at| {
                    let node = &self.plan.nodes[at];
                    Some((at, self.partition_in(node, record.key.as_deref())?))
                })
                .collect();
            if places.is_empty() {
                continue;
            }
            let in_order = |group: &usize| places.iter().all(|(_, id)| last.get(id) == Some(group));
            let group = open.get(&places).copied().filter(in_order);
            let group = group.unwrap_or_else(|| {
                groups.push(Group {
                    places: places.clone(),
                    records: Vec::new(),
                });
                groups.len() - 1
            });
            groups[group].records.push(number);
            last.extend(places.iter().map(|(_, id)| (*id, group)));
            open.insert(places, group);
            if groups.len() > last.len().saturating_mul(groups_max) {
                return None;
            }
        }
        Some(groups)
    }

    /// Where a record with that key goes in `node`; `None` if the topic is gone.
    fn partition_in(&self, node: &Node, key: Option<&[u8]>) -> Option<PartitionId> {
        let topic = node.topic.current();
        let count = topic.partitions.len() as u32;
        let index = match key {
            Some(key) if count > 1 => partition_of_key(key, count as i32) as u32,
            _ => self.index.checked_rem(count)?,
        };
        let partition = topic.partitions[index as usize];
        (!self.gone.contains(&partition)).then_some(partition)
    }

    /// Appends `batch` to `places`, together with one of the appends from `first` on that has the same bytes, if there is one.
    fn share(
        &self,
        appends: &mut SmallVec<[Append; 1]>,
        first: usize,
        batch: &Batch,
        places: &[Place],
    ) -> Result<(), BrokerError> {
        for &(at, partition) in places {
            let node = &self.plan.nodes[at];
            let topic = node.topic.current();
            let accepted = accept(batch.bytes.clone(), topic.settings.values(), self.now)
                .map_err(|error| self.refusal(node, error))?;
            let mut append = append_of(accepted, partition);
            let same = |known: &&mut Append| {
                known.stamp == append.stamp && is_same(&known.batch, &append.batch)
            };
            if let Some(known) = appends[first..].iter_mut().find(same) {
                known.targets.push(partition);
                continue;
            }
            if append.header.has_producer() {
                append = without_producer(append);
                let same = |known: &&mut Append| {
                    known.stamp == append.stamp && is_same(&known.batch, &append.batch)
                };
                if let Some(known) = appends[first..].iter_mut().find(same) {
                    known.targets.push(partition);
                    continue;
                }
            }
            append.after = appends[0].header.has_producer().then_some(0);
            appends.push(append);
        }
        Ok(())
    }

    fn refusal(&self, node: &Node, error: BrokerError) -> BrokerError {
        // One of the routes that lead there: the first, as good as any.
        let routed = &self.plan.steps[node.arrivals[0]].routed;
        routed.refused.fetch_add(1, Ordering::Relaxed);
        BrokerError::RefusedByTarget {
            route: routed.route.name.as_str().into(),
            target: node.topic.name().clone(),
            error: Box::new(error),
        }
    }
}

/// Which nodes a record reaches.
struct Walk<'a> {
    plan: &'a Plan,
    /// Steps that take the record.
    taken: Vec<bool>,
    reached: Vec<bool>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            taken: vec![false; plan.steps.len()],
            reached: vec![false; plan.nodes.len()],
        }
    }

    fn go(&mut self, record: &Record) {
        self.taken.fill(false);
        self.take(&self.plan.first, record);
        for (at, node) in self.plan.nodes.iter().enumerate() {
            self.reached[at] = node.arrivals.iter().any(|step| self.taken[*step]);
            if self.reached[at] {
                self.take(&node.departures, record);
            }
        }
    }

    fn take(&mut self, steps: &[usize], record: &Record) {
        for &step in steps {
            let filter = &self.plan.steps[step].routed.route.filter;
            self.taken[step] = filter
                .as_ref()
                .is_none_or(|filter| filter.matches_record(record));
        }
    }
}

fn is_same(one: &Bytes, other: &Bytes) -> bool {
    one.len() == other.len() && (one.as_ptr() == other.as_ptr() || one == other)
}

/// The same batch as nobody's in particular: its producer is known in the topic that it was sent to.
fn without_producer(append: Append) -> Append {
    let header = BatchHeader {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
        ..append.header
    };
    let mut bytes = BytesMut::from(&append.batch[..]);
    bytes[..header::HEADER_BYTES].copy_from_slice(&header.encode());
    header::seal(&mut bytes);
    let batch = bytes.freeze();
    Append {
        header: BatchHeader::parse(&batch).expect("it was a batch and is one"),
        batch,
        ..append
    }
}

fn build(records: &[Record], chosen: &[u32], codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for &number in chosen {
        let record = &records[number as usize];
        let headers: SmallVec<[Header<'_>; 8]> = record.headers.iter().collect();
        builder.append(&NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        });
    }
    builder.build().expect("a group has records")
}
