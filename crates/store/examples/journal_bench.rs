//! What the journal gets out of a device, beside what the device does with the same writes and syncs alone.
//!
//! `cargo run --release -p millstream-store --example journal_bench -- DIR [SECONDS]`
//!
//! For each size of batch, groups of one batch are written and synced: by a bare loop to a file that has been written
//! before, and by a slot with one producer that waits for each batch, so that the groups are the same. The two take turns,
//! and shown are the medians of their rates. The slot's records are trimmed away as they come, so that nothing has to be
//! settled: that is the journal alone. Then the same with many batches in flight, and once more with settling.

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
use smallvec::smallvec;

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
    println!("   batch  device/s  journal/s  part | in flight/s   MB/s | settling/s   MB/s");
    for bytes in BATCHES {
        let batch = batch(bytes);
        let run = |in_flight, trim| run_slot(&slot, partition, &batch, in_flight, trim, time);
        // Until files and memory are warm.
        run(IN_FLIGHT, true);
        let [mut device, mut alone, mut many, mut settling] = [(); 4].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            device.push(raw.run(batch.len(), time));
            alone.push(run(1, true));
            many.push(run(IN_FLIGHT, true));
        }
        for _ in 0..ROUNDS {
            settling.push(run(IN_FLIGHT, false));
        }
        let [device, alone, many, settling] = [device, alone, many, settling].map(median);
        let mb = |rate: f64| rate * batch.len() as f64 / 1e6;
        println!(
            "{:>8} {device:>9.0} {alone:>10.0} {:>4.0}% | {many:>11.0} {:>6.0} | {settling:>10.0} {:>6.0}",
            batch.len(),
            100.0 * alone / device,
            mb(many),
            mb(settling),
        );
    }
    let stats = slot.stats();
    println!(
        "longest group {} us, {:?}",
        stats.journal_group_us_max, stats
    );
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

/// Keeps `in_flight` batches under way for some time. Returns batches a second.
fn run_slot(
    slot: &Slot,
    partition: PartitionId,
    batch: &Bytes,
    in_flight: usize,
    trim: bool,
    time: Duration,
) -> f64 {
    let header = BatchHeader::parse(batch).expect("it is a batch");
    let log = slot.partition(partition).expect("it is open");
    let mut waiting: VecDeque<Ticket> = VecDeque::new();
    let mut count = 0;
    let start = Instant::now();
    while start.elapsed() < time {
        let mut commit = Commit::append(Append {
            targets: smallvec![partition],
            batch: batch.clone(),
            header,
            stamp: None,
        });
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
    count as f64 / start.elapsed().as_secs_f64()
}

/// A file that has been written once, as the journal's are.
struct RawFile {
    file: std::sync::Arc<dyn millstream_env::DiskFile>,
}

impl RawFile {
    const BYTES: usize = 64 << 20;

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
        Self { file }
    }

    /// Writes and syncs groups as large as a batch makes them. Returns groups a second.
    fn run(&self, batch_bytes: usize, time: Duration) -> f64 {
        let bytes = (batch_bytes + 128).next_multiple_of(4096);
        let mut group = aligned_buffer(bytes);
        group.resize(bytes, 1);
        let (mut at, mut count) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < time {
            if at + bytes > Self::BYTES {
                at = 0;
            }
            self.file
                .write_direct(&group, at as u64)
                .expect("it can be written");
            self.file.sync_data().expect("it can be synced");
            at += bytes;
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }
}
