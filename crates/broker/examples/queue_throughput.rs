//! What queues do over a real store in one process: messages a second, how well delayed ones keep their time, and what ten
//! million outstanding ones take.
//!
//! `cargo run --release -p millstream-broker --example queue_throughput -- [--json] [memory|durable|compressed|delayed|outstanding|idle]...`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_broker::produce::NewMessage;
use millstream_broker::queues::{
    ConsumerId, NewQueue, QueueHandle, QueuePolicy, Receipt, ReceiveSpec, StartAt,
};
use millstream_broker::topics::{NewTopic, PartitionHandle, TopicHandle};
use millstream_broker::{Broker, BrokerSettings, headers};
use millstream_env::Env;
use millstream_record::{BatchBuilder, Codec, NewRecord, TimestampMs};

type Failure = Box<dyn std::error::Error>;

/// Records in a batch, as producers make them.
const BATCH: usize = 1_000;

/// Delayed messages are due within this time.
const DUE_WITHIN_MS: usize = 60_000;

/// Messages in a receive.
const RECEIVE: u32 = 100;

const ALL: [&str; 6] = [
    "memory",
    "durable",
    "compressed",
    "delayed",
    "outstanding",
    "idle",
];

/// A figure: what of, what it is, in what.
struct Figure(String, f64, &'static str);

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    arguments.retain(|argument| !argument.starts_with("--"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let [what, directory] = &arguments[..]
        && what == "reopen"
    {
        return runtime.block_on(reopen(directory));
    }
    let mut figures = Vec::new();
    for what in ALL {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == what) {
            continue;
        }
        let fsync = [("millstream.durability", "fsync")];
        let memory = [
            ("millstream.durability", "memory"),
            ("millstream.memory.bytes", "2000000000"),
        ];
        figures.extend(runtime.block_on(async {
            match what {
                "memory" => throughput(what, &memory, Codec::None, 3_000_000).await,
                "durable" => throughput(what, &fsync, Codec::None, 2_000_000).await,
                "compressed" => throughput(what, &fsync, Codec::Lz4, 1_000_000).await,
                "delayed" => delayed(1_000_000).await,
                "outstanding" => outstanding(10_000_000).await,
                _ => idle(10_000).await,
            }
        })?);
    }
    for Figure(what, value, unit) in figures {
        if json {
            println!("{{\"what\":\"{what}\",\"value\":{value:.3},\"unit\":\"{unit}\"}}");
        } else {
            println!("{what:<52} {value:>14.1} {unit}");
        }
    }
    Ok(())
}

async fn open(directory: &str) -> Result<Broker, Failure> {
    let mut settings = BrokerSettings::new(directory);
    settings.slot.memory_budget_bytes = 3 << 30;
    Ok(Broker::open(settings, Env::real()).await?)
}

async fn topic(broker: &Broker, settings: &[(&str, &str)]) -> Result<Arc<TopicHandle>, Failure> {
    let mut new = NewTopic::named("jobs");
    new.partitions = Some(1);
    for (key, value) in settings {
        new.settings.insert((*key).to_owned(), (*value).to_owned());
    }
    Ok(broker.create_topic(new).await?)
}

async fn queue(
    broker: &Broker,
    topic: &Arc<TopicHandle>,
    policy: QueuePolicy,
) -> Result<QueueHandle, Failure> {
    let new = NewQueue {
        name: "work".to_owned(),
        topic: Arc::clone(topic),
        start: StartAt::Earliest,
        policy,
        filter: None,
        dead_letter_topic: None,
    };
    Ok(broker.create_queue(new).await?)
}

/// Appends so many messages of `bytes`, in batches.
async fn fill(
    broker: &Broker,
    partition: &PartitionHandle,
    messages: usize,
    bytes: usize,
    codec: Codec,
) -> Result<(), Failure> {
    let value = vec![b'x'; bytes];
    let now = TimestampMs(broker.env().clock.wall_ms());
    let batch = batch_of(&value, codec, now)?;
    let mut last = None;
    for _ in 0..messages / BATCH {
        let _admission = broker.admit(batch.len()).await;
        last = Some(broker.append(partition, Bytes::copy_from_slice(&batch))?);
    }
    if let Some(last) = last {
        last.durable().await?;
    }
    Ok(())
}

fn batch_of(value: &[u8], codec: Codec, timestamp: TimestampMs) -> Result<Bytes, Failure> {
    let mut builder = BatchBuilder::new(codec);
    for _ in 0..BATCH {
        builder.append(&NewRecord {
            timestamp,
            key: None,
            value: Some(value),
            headers: &[],
        });
    }
    Ok(builder.build().ok_or("no records")?.bytes)
}

fn spec(consumer: u64, wait_ms: u64) -> ReceiveSpec {
    ReceiveSpec {
        consumer: ConsumerId(consumer),
        max: RECEIVE,
        visibility_ms: 3_600_000,
        wait: Duration::from_millis(wait_ms),
    }
}

/// A backlog is received and acknowledged in hundreds by a few consumers.
async fn throughput(
    what: &str,
    settings: &[(&str, &str)],
    codec: Codec,
    messages: usize,
) -> Result<Vec<Figure>, Failure> {
    let directory = tempfile::tempdir()?;
    let broker = open(directory.path().to_str().ok_or("not a path")?).await?;
    let topic = topic(&broker, settings).await?;
    let partition = topic.partition(0).ok_or("no partition")?;
    let queue = queue(&broker, &topic, QueuePolicy::default()).await?;
    queue.pause().await?;
    fill(&broker, &partition, messages, 100, codec).await?;
    queue.resume().await?;
    let begun = Instant::now();
    let consumers = (0..16).map(|consumer| {
        let queue = queue.clone();
        tokio::spawn(async move {
            loop {
                let (received, _held) = queue.receive(spec(consumer, 20)).await?;
                if received.is_empty() {
                    return Ok::<_, millstream_broker::queues::QueueError>(());
                }
                let receipts: Vec<Receipt> = received.iter().map(|one| one.receipt).collect();
                queue.ack(&receipts).await?;
            }
        })
    });
    for consumer in consumers.collect::<Vec<_>>() {
        consumer.await??;
    }
    // Each consumer has waited for nothing in the end.
    let took = begun.elapsed().saturating_sub(Duration::from_millis(20));
    let totals = queue.describe()?.totals;
    if totals.acknowledged != messages as u64 {
        return Err(format!("{totals:?} of {messages}").into());
    }
    let rate = messages as f64 / took.as_secs_f64();
    Ok(vec![Figure(
        format!("{what}: received and acknowledged in hundreds"),
        rate,
        "messages/s",
    )])
}

/// Messages that are due within a minute are received as they fall due.
async fn delayed(messages: usize) -> Result<Vec<Figure>, Failure> {
    let directory = tempfile::tempdir()?;
    let broker = open(directory.path().to_str().ok_or("not a path")?).await?;
    let topic = topic(&broker, &[("millstream.durability", "memory")]).await?;
    let policy = QueuePolicy {
        delays: true,
        ..QueuePolicy::default()
    };
    let queue = queue(&broker, &topic, policy).await?;
    let empty = queue.describe()?.memory_bytes;
    let begin = broker.env().clock.wall_ms() + 20_000;
    for first in (0..messages).step_by(BATCH) {
        let due = |n: usize| begin + (n.wrapping_mul(7_919) % DUE_WITHIN_MS) as i64;
        let message = |n: usize| NewMessage {
            value: Some(Bytes::copy_from_slice(&due(n).to_be_bytes())),
            headers: vec![(
                Bytes::from_static(headers::DELIVER_AT.as_bytes()),
                Some(Bytes::from(due(n).to_string())),
            )],
            ..NewMessage::default()
        };
        let messages: Vec<_> = (first..first + BATCH).map(message).collect();
        broker.publish(&topic, &messages).await?;
    }
    while queue.describe()?.depth.parked < messages as u64 {
        if broker.env().clock.wall_ms() > begin {
            return Err("not all were there in time".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let memory = queue.describe()?.memory_bytes - empty;
    let mut late = Vec::with_capacity(messages);
    let consumers: Vec<_> = (0..4)
        .map(|consumer| tokio::spawn(keep_time(broker.clone(), queue.clone(), consumer)))
        .collect();
    for consumer in consumers {
        late.extend(consumer.await??);
    }
    if late.len() != messages {
        return Err(format!("{} of {messages} came", late.len()).into());
    }
    late.sort_unstable();
    let percentile = |part: usize| late[(late.len() * part / 1_000).min(late.len() - 1)] as f64;
    Ok(vec![
        Figure("delayed: late, median".to_owned(), percentile(500), "ms"),
        Figure("delayed: late, 99 of 100".to_owned(), percentile(990), "ms"),
        Figure(
            "delayed: late, the last".to_owned(),
            percentile(1_000),
            "ms",
        ),
        Figure(
            "delayed: memory of each".to_owned(),
            memory as f64 / messages as f64,
            "bytes",
        ),
    ])
}

/// How late each message is that this consumer gets.
async fn keep_time(
    broker: Broker,
    queue: QueueHandle,
    consumer: u64,
) -> Result<Vec<i64>, millstream_broker::queues::QueueError> {
    let mut late = Vec::new();
    loop {
        let (received, _held) = queue.receive(spec(consumer, 30_000)).await?;
        if received.is_empty() {
            return Ok(late);
        }
        let now = broker.env().clock.wall_ms();
        for one in &received {
            let due = one.message.value.as_deref().unwrap_or_default();
            late.push(now - due.try_into().map_or(i64::MIN, i64::from_be_bytes));
        }
        let receipts: Vec<Receipt> = received.iter().map(|one| one.receipt).collect();
        queue.ack(&receipts).await?;
    }
}

/// A backlog, then all of it leased in hundreds, half of that acknowledged at random; and a start with each.
async fn outstanding(messages: usize) -> Result<Vec<Figure>, Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().ok_or("not a path")?;
    let mut figures = Vec::new();
    {
        let broker = open(path).await?;
        let topic = topic(&broker, &[]).await?;
        queue(&broker, &topic, QueuePolicy::default()).await?;
        broker.shutdown().await?;
    }
    let empty = start(path, "empty", &mut figures)?;
    {
        let broker = open(path).await?;
        let topic = broker.topic("jobs").ok_or("no topic")?;
        let partition = topic.partition(0).ok_or("no partition")?;
        broker.queue("work")?.pause().await?;
        fill(&broker, &partition, messages, 10, Codec::None).await?;
        broker.shutdown().await?;
    }
    let backlog = start(path, "a backlog that nobody has looked at", &mut figures)?;
    figures.push(over("a backlog that nobody has looked at", backlog, empty));
    {
        let broker = open(path).await?;
        let queue = broker.queue("work")?;
        queue.resume().await?;
        let mut receipts = Vec::with_capacity(messages);
        let begun = Instant::now();
        while receipts.len() < messages {
            let (received, _held) = queue.receive(spec(1, 1_000)).await?;
            receipts.extend(received.iter().map(|one| one.receipt));
        }
        let rate = messages as f64 / begun.elapsed().as_secs_f64();
        figures.push(Figure(
            "outstanding: leased in hundreds".to_owned(),
            rate,
            "messages/s",
        ));
        shuffle(&mut receipts);
        for many in receipts[..messages / 2].chunks(100 * RECEIVE as usize) {
            let ack = |some: &[Receipt]| {
                let (queue, some) = (queue.clone(), some.to_vec());
                tokio::spawn(async move { queue.ack(&some).await })
            };
            let acks: Vec<_> = many.chunks(RECEIVE as usize).map(ack).collect();
            for acked in acks {
                acked.await??;
            }
        }
        let bytes = queue.describe()?.memory_bytes as f64;
        let what = "outstanding: state of all leased, half acknowledged".to_owned();
        figures.push(Figure(what, bytes / 1e6, "MB"));
        broker.shutdown().await?;
    }
    let outstanding = start(path, "outstanding", &mut figures)?;
    figures.push(over("outstanding", outstanding, empty));
    Ok(figures)
}

/// Many queues on one topic that nobody uses.
async fn idle(queues: usize) -> Result<Vec<Figure>, Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().ok_or("not a path")?;
    let mut figures = Vec::new();
    {
        let broker = open(path).await?;
        let topic = topic(&broker, &[]).await?;
        queue(&broker, &topic, QueuePolicy::default()).await?;
        broker.shutdown().await?;
    }
    let empty = start(path, "one queue", &mut figures)?;
    {
        let broker = open(path).await?;
        for number in 0..queues {
            // A topic has some of them.
            if number % 100 == 0 {
                broker
                    .create_topic(NewTopic::named(format!("jobs-{}", number / 100)))
                    .await?;
            }
            let topic = broker
                .topic(&format!("jobs-{}", number / 100))
                .ok_or("no topic")?;
            let new = NewQueue {
                name: format!("work-{number}"),
                topic,
                start: StartAt::Earliest,
                policy: QueuePolicy::default(),
                filter: None,
                dead_letter_topic: None,
            };
            broker.create_queue(new).await?;
        }
        broker.shutdown().await?;
    }
    let what = format!("{queues} idle queues");
    let bytes = start(path, &what, &mut figures)?;
    figures.push(Figure(
        format!("{what}: memory of each"),
        (bytes - empty) / queues as f64,
        "bytes",
    ));
    Ok(figures)
}

fn over(what: &str, bytes: f64, empty: f64) -> Figure {
    let what = format!("{what}: above an empty queue, after a start");
    Figure(what, (bytes - empty) / 1e6, "MB")
}

fn shuffle(receipts: &mut [Receipt]) {
    let mut seed = 7_u64;
    for at in (1..receipts.len()).rev() {
        seed = seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        receipts.swap(at, (seed >> 33) as usize % (at + 1));
    }
}

/// Starts a process of its own on the directory; says how long that took, and returns the memory that it holds.
fn start(directory: &str, what: &str, figures: &mut Vec<Figure>) -> Result<f64, Failure> {
    let process = std::process::Command::new(std::env::current_exe()?)
        .args(["reopen", directory])
        .output()?;
    let said = String::from_utf8(process.stdout)?;
    let mut numbers = said.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().ok_or_else(|| format!("it said {said}"));
    let (seconds, bytes, busy) = (next()??, next()??, next()??);
    figures.push(Figure(format!("{what}: start"), seconds, "s"));
    figures.push(Figure(
        format!("{what}: processor while idle"),
        busy * 100.0,
        "%",
    ));
    Ok(bytes)
}

async fn reopen(directory: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let broker = open(directory).await?;
    let queue = broker.queue("work")?;
    queue.describe()?;
    let took = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let busy = busy_seconds()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "{took} {} {}",
        resident_bytes()?,
        (busy_seconds()? - busy) / 2.0
    );
    Ok(())
}

/// The processor's time that this process has used.
fn busy_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().ok_or("no stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(str::parse::<f64>).sum::<Result<_, _>>()?;
    // The kernel counts in hundredths for programs.
    Ok(ticks / 100.0)
}

fn resident_bytes() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<f64>()? * 1024.0)
}
