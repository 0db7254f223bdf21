//! What the journal gets out of a device, beside what the device does with the same writes and syncs alone.
//!
//! `cargo run --release -p millstream-store --example journal_bench -- DIR [SECONDS]`
//!
//! For each size of batch, a slot writes for a while with one batch under way at a time, and with many, when groups grow
//! and are composed while others are written. A bare loop then writes and syncs groups of the same mean size to a file
//! that has been written before. They take turns, and shown are the medians. The slot's records are trimmed away as they
//! come, so that nothing has to be settled: that is the journal alone. Then with settling, many under way.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_env::{Access, Disk, Env, RealDisk, aligned_buffer};
use millstream_record::{BatchBuilder, BatchHeader, Codec, NewRecord, TimestampMs};
use millstream_store::{
    Append, Commit, Durability, PartitionId, PartitionOpen, PartitionPolicy, Slot, SlotSettings,
    Ticket, Trim,
};

const RECORD_BYTES: usize = 1024;
const BATCHES: [usize; 4] = [4 << 10, 16 << 10, 128 << 10, 1 << 20];
const IN_FLIGHT: usize = 16;
const ROUNDS: usize = 7;
/// Records are trimmed away so often.
const TRIM_EVERY: u64 = 8;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .expect("the first argument is a directory on the device");
    let seconds = args.next().map_or(0.5, |seconds| {
        seconds.parse().expect("the second is a number")
    });
    let dir = Path::new(&dir);
    let time = Duration::from_secs_f64(seconds);
    std::fs::create_dir_all(dir).expect("the directory can be made");

    let slot =
        Slot::open(SlotSettings::new(dir.join("slot")), Env::real()).expect("the slot opens");
    let partition = open_partition(&slot);
    let raw = RawFile::new(&dir.join("raw"));
    println!(
        "   batch | one at a time: journal/s  device/s  part | {IN_FLIGHT} under way: group  journal/s  device/s  part   MB/s | settling   MB/s"
    );
    for bytes in BATCHES {
        let batch = batch(bytes);
        let run = |in_flight, trim| run_slot(&slot, partition, &batch, in_flight, trim, time);
        // Until files and memory are warm.
        run(IN_FLIGHT, true);
        let (mut one, mut many, mut settling) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            one.push(Pair::take(&raw, run(1, true), time));
            many.push(Pair::take(&raw, run(IN_FLIGHT, true), time));
        }
        for _ in 0..ROUNDS {
            settling.push(run(IN_FLIGHT, false).batches);
        }
        let mb = |rate: f64| rate * batch.len() as f64 / 1e6;
        let [one_journal, one_device, one_part, _, _] = Pair::medians(&one);
        let [journal, device, part, group, batches] = Pair::medians(&many);
        println!(
            "{:>8} | {one_journal:>24.0} {one_device:>9.0} {one_part:>4.0}% | {group:>19.0} {journal:>10.0} {device:>9.0} {part:>4.0}% {:>6.0} | {:>15.0}",
            batch.len(),
            mb(batches),
            mb(median(settling)),
        );
    }
    let stats = slot.stats();
    println!(
        "longest group {} us, {:?}",
        stats.journal_group_us_max, stats
    );
}

/// What a slot got done in a second.
struct Rates {
    batches: f64,
    groups: f64,
    /// The mean size of a group.
    group_bytes: f64,
}

/// A slot's rates, and how many groups of the same size the device takes in a second.
struct Pair {
    journal: Rates,
    device: f64,
}

impl Pair {
    fn take(raw: &RawFile, journal: Rates, time: Duration) -> Self {
        let device = raw.run(journal.group_bytes as usize, time);
        Self { journal, device }
    }

    /// Of the journal's groups, the device's, their ratio in percent, the size of a group, and batches.
    fn medians(pairs: &[Self]) -> [f64; 5] {
        let figures: [fn(&Self) -> f64; 5] = [
            |pair| pair.journal.groups,
            |pair| pair.device,
            |pair| 100.0 * pair.journal.groups / pair.device,
            |pair| pair.journal.group_bytes,
            |pair| pair.journal.batches,
        ];
        figures.map(|figure| median(pairs.iter().map(figure).collect()))
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![7; RECORD_BYTES];
    while builder.record_count() == 0 || builder.size_bytes() + RECORD_BYTES <= bytes {
        builder.append(&NewRecord {
            timestamp: TimestampMs(1000),
            key: None,
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().expect("there are records").bytes
}

fn open_partition(slot: &Slot) -> PartitionId {
    let id = slot.next_partition_id();
    let opened = slot.commit(Commit {
        opens: vec![PartitionOpen {
            id,
            durability: Durability::Fsync,
            policy: PartitionPolicy::default(),
        }],
        ..Commit::default()
    });
    opened
        .expect("it can be opened")
        .durable
        .wait()
        .expect("it is written");
    id
}

/// Keeps `in_flight` batches under way for some time.
fn run_slot(
    slot: &Slot,
    partition: PartitionId,
    batch: &Bytes,
    in_flight: usize,
    trim: bool,
    time: Duration,
) -> Rates {
    let header = BatchHeader::parse(batch).expect("it is a batch");
    let log = slot.partition(partition).expect("it is open");
    let mut waiting: VecDeque<Ticket> = VecDeque::new();
    let mut count = 0;
    let before = slot.stats();
    let start = Instant::now();
    while start.elapsed() < time {
        let mut commit = Commit::append(Append::new([partition], batch.clone(), header));
        if trim && count % TRIM_EVERY == 0 {
            let log_start = log.offsets().high_watermark;
            commit.trims.push(Trim {
                partition,
                log_start,
            });
        }
        waiting.push_back(slot.commit(commit).expect("it is taken").durable);
        if waiting.len() >= in_flight {
            let oldest = waiting.pop_front().expect("there is one");
            oldest.wait().expect("it is written");
            count += 1;
        }
    }
    for ticket in waiting {
        ticket.wait().expect("it is written");
        count += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = slot.stats();
    let groups = (after.journal_groups - before.journal_groups) as f64;
    Rates {
        batches: count as f64 / seconds,
        groups: groups / seconds,
        group_bytes: (after.journal_bytes - before.journal_bytes) as f64 / groups,
    }
}

/// A file that has been written once, as the journal's are.
struct RawFile {
    file: std::sync::Arc<dyn millstream_env::DiskFile>,
    /// As much memory: what is written is not in the processor's cache, as it is not in the journal's case.
    memory: bytes::BytesMut,
}

impl RawFile {
    const BYTES: usize = 256 << 20;

    fn new(path: &Path) -> Self {
        let file = RealDisk
            .open(path, Access::Create)
            .expect("the file can be made");
        file.allocate(Self::BYTES as u64).expect("there is room");
        let mut zeros = aligned_buffer(1 << 20);
        zeros.resize(1 << 20, 0);
        for at in (0..Self::BYTES).step_by(1 << 20) {
            file.write_direct(&zeros, at as u64)
                .expect("it can be written");
        }
        file.sync_data().expect("it can be synced");
        let mut memory = aligned_buffer(Self::BYTES);
        memory.resize(Self::BYTES, 1);
        Self { file, memory }
    }

    /// Writes and syncs groups of about that size. Returns groups a second.
    fn run(&self, group_bytes: usize, time: Duration) -> f64 {
        let bytes = group_bytes.next_multiple_of(4096);
        let (mut at, mut count) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < time {
            if at + bytes > Self::BYTES {
                at = 0;
            }
            self.file
                .write_direct(&self.memory[at..at + bytes], at as u64)
                .expect("it can be written");
            self.file.sync_data().expect("it can be synced");
            at += bytes;
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }
}
