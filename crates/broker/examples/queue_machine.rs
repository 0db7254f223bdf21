//! What the queue machine costs, in time and in memory, without a store or a network around it.
//!
//! `cargo run --release -p millstream-broker --example queue_machine`

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_broker::queues::machine::{
    Answers, Content, Depth, Effects, PartitionBounds, Patience, Receive, ScannedBatch,
    ScannedRecord, Setup,
};
use millstream_broker::queues::policy::{KeyPolicy, Look, QueuePolicy};
use millstream_broker::queues::record::{self, Entries};
use millstream_broker::queues::{ConsumerId, Incarnation, Queue, QueueId, Receipt, RequestToken};
use millstream_record::{Offset, TimestampMs};

const ID: QueueId = QueueId(1);
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const BATCH: u32 = 100;

fn main() {
    throughput("plain", QueuePolicy::default(), 20_000_000);
    let priorities = QueuePolicy {
        priorities: true,
        ..QueuePolicy::default()
    };
    throughput("ten priorities", priorities, 5_000_000);
    let keys = QueuePolicy {
        keys: Some(KeyPolicy {
            in_flight_max: NonZeroU32::MIN,
            interval_ms: 0,
        }),
        ..QueuePolicy::default()
    };
    throughput("first in first out by key", keys, 2_000_000);
    outstanding(10_000_000);
    delayed(1_000_000);
}

/// Messages are added a thousand at a time, received and acknowledged a hundred at a time; each of these is a commit.
fn throughput(name: &str, policy: QueuePolicy, messages: i64) {
    let mut bench = Bench::new(policy, 0);
    let mut journal = Journal::default();
    let start = Instant::now();
    for thousand in 0..messages / 1_000 {
        bench.append((thousand + 1) * 1_000);
        journal.take(&mut bench.effects);
        for _ in 0..1_000 / BATCH {
            bench.receive();
            journal.take(&mut bench.effects);
            let receipts = std::mem::take(&mut bench.receipts);
            bench.ack(&receipts);
            journal.take(&mut bench.effects);
            bench.receipts = receipts;
            bench.receipts.clear();
        }
    }
    let whole = start.elapsed();
    assert_eq!(bench.queue.depth(None), Depth::default());
    let rate = |time: Duration| messages as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{name}: {:.1} M messages/s, received and acknowledged in hundreds; {:.1} M/s with encoding the {:.1} bytes that each adds to the journal",
        rate(whole.saturating_sub(journal.time)),
        rate(whole),
        journal.bytes as f64 / messages as f64,
    );
}

/// What the writes would take in a journal.
#[derive(Default)]
struct Journal {
    bytes: usize,
    time: Duration,
}

impl Journal {
    fn take(&mut self, effects: &mut Effects) {
        let start = Instant::now();
        let mut entries = Entries::new();
        record::add_entries(ID, &effects.writes, &mut entries);
        effects.writes.clear();
        for (key, value) in entries {
            self.bytes += key.len() + value.map_or(0, |value| value.len());
        }
        self.time += start.elapsed();
    }
}

/// A backlog that nobody looks at, then all of it leased and half of it acknowledged at random.
fn outstanding(messages: i64) {
    let mut bench = Bench::new(QueuePolicy::default(), messages);
    let empty = bench.queue.heap_bytes();
    println!("backlog of {messages}: {empty} bytes");
    let start = Instant::now();
    let mut random = 42_u64;
    let mut stored = BTreeMap::new();
    while bench.queue.depth(None).leased < messages as u64 {
        bench.receive();
        bench.store(&mut stored);
    }
    let leased = bench.queue.heap_bytes();
    let mut receipts = std::mem::take(&mut bench.receipts);
    receipts.retain(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.is_multiple_of(2)
    });
    // Acknowledged far apart from each other.
    receipts.sort_by_key(|receipt| {
        receipt
            .offset
            .get()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)
    });
    for batch in receipts.chunks(BATCH as usize) {
        bench.ack(batch);
        bench.store(&mut stored);
    }
    println!(
        "{messages} leased in hundreds: {:.1} MB; half of them acknowledged at random: {:.1} MB ({:.1} s)",
        (leased - empty) as f64 / 1e6,
        (bench.queue.heap_bytes() - empty) as f64 / 1e6,
        start.elapsed().as_secs_f64(),
    );
    let start = Instant::now();
    let size: usize = stored
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let writes: Vec<_> = stored
        .iter()
        .map(|(key, value)| record::decode(ID, key, value).expect("what was written is read"))
        .collect();
    let mut effects = Effects::default();
    let queue = Queue::restore(
        setup(QueuePolicy::default(), messages, 2),
        writes,
        NOW,
        &mut effects,
    );
    assert_eq!(queue.depth(None).leased, bench.queue.depth(None).leased);
    println!(
        "restored from {} entries, {:.1} MB, in {:.2} s",
        stored.len(),
        size as f64 / 1e6,
        start.elapsed().as_secs_f64(),
    );
}

fn delayed(messages: i64) {
    let policy = QueuePolicy {
        delays: true,
        ..QueuePolicy::default()
    };
    let mut bench = Bench::new(policy, 0);
    let empty = bench.queue.heap_bytes();
    bench.delay_ms_max = 3_600_000;
    let start = Instant::now();
    for thousand in 0..messages / 1_000 {
        bench.append((thousand + 1) * 1_000);
    }
    let bytes = bench.queue.heap_bytes() - empty;
    println!(
        "{messages} delayed: {:.1} bytes each, added in {:.2} s",
        bytes as f64 / messages as f64,
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let mut now = NOW;
    while let Some(next) = bench.queue.next_deadline() {
        now = now.max(next);
        bench.queue.expire(now, &mut bench.effects);
        bench.effects = Effects::default();
    }
    assert_eq!(bench.queue.depth(None).ready, messages as u64);
    println!(
        "all of them fired in {:.2} s",
        start.elapsed().as_secs_f64()
    );
}

struct Bench {
    queue: Queue,
    effects: Effects,
    receipts: Vec<Receipt>,
    answers: Answers,
    tokens: u64,
    /// Records get a delay of up to this.
    delay_ms_max: i64,
    end: i64,
}

fn setup(policy: QueuePolicy, end: i64, incarnation: u32) -> Setup {
    Setup {
        policy,
        partitions: vec![PartitionBounds {
            start: Offset(0),
            end: Offset(end),
        }],
        incarnation: Incarnation(incarnation),
        seed: 1,
        ids: Arc::default(),
    }
}

impl Bench {
    fn new(policy: QueuePolicy, end: i64) -> Self {
        let mut effects = Effects::default();
        let queue = Queue::create(setup(policy, end, 1), NOW, &mut effects);
        Self {
            queue,
            effects,
            receipts: Vec::new(),
            answers: Answers::new(),
            tokens: 0,
            delay_ms_max: 0,
            end,
        }
    }

    fn append(&mut self, end: i64) {
        self.end = end;
        self.queue.appended(0, Offset(end), NOW, &mut self.effects);
        self.scan();
    }

    /// Answers what the queue wants to look at.
    fn scan(&mut self) {
        let mut records = Vec::new();
        while let Some(request) = self.effects.scans.pop() {
            let from = request.from.get();
            let to = self.end.min(from + request.records as i64);
            let content = match request.look {
                Look::Inside => {
                    records.clear();
                    records.extend((from..to).map(|offset| self.record(offset)));
                    Content::Records(&records)
                }
                Look::Past | Look::ForIds => Content::Whole { newest: NOW },
            };
            let batch = ScannedBatch {
                first: Offset(from),
                last: Offset(to - 1),
                content,
            };
            self.queue
                .scanned(&request, Offset(to), &[batch], NOW, &mut self.effects);
        }
    }

    fn record(&self, offset: i64) -> ScannedRecord {
        let spread = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let mut record = ScannedRecord::new(Offset(offset), NOW);
        record.priority = (spread % 10) as u8;
        record.key = Some(spread % 1_000_000);
        if self.delay_ms_max > 0 {
            let delay_ms = 1 + spread as i64 % self.delay_ms_max;
            record.deliver_at = Some(NOW.saturating_add(delay_ms));
        }
        record
    }

    fn receive(&mut self) {
        self.tokens += 1;
        let request = Receive {
            token: RequestToken(self.tokens),
            consumer: ConsumerId(self.tokens % 16),
            max: BATCH,
            visibility_ms: 30_000,
            patience: Patience::Until(NOW),
        };
        let received = self.queue.receive(request, NOW, &mut self.effects);
        received.expect("there is room for one request");
        self.scan();
        for delivery in self.effects.deliveries.drain(..) {
            for part in &delivery.parts {
                let lease = delivery.lease;
                let receipt = |offset| Receipt::new(lease, part.partition, offset);
                self.receipts.extend(part.run.offsets().map(receipt));
            }
        }
        self.effects.unanswered.clear();
    }

    fn ack(&mut self, receipts: &[Receipt]) {
        self.answers.clear();
        self.queue
            .ack(receipts, NOW, &mut self.answers, &mut self.effects);
        assert!(self.answers.iter().all(Result::is_ok));
        self.scan();
    }

    fn store(&mut self, stored: &mut BTreeMap<bytes::Bytes, bytes::Bytes>) {
        let mut entries = Entries::new();
        record::add_entries(ID, &self.effects.writes, &mut entries);
        self.effects.writes.clear();
        for (key, value) in entries {
            match value {
                Some(value) => stored.insert(key, value),
                None => stored.remove(&key),
            };
        }
    }
}
