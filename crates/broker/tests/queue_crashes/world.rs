//! Drives one run: life after life of a broker on one simulated disk.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::produce::NewMessage;
use millstream_broker::queues::machine::{Answers, Retry};
use millstream_broker::queues::policy::{Backoff, RetryPolicy};
use millstream_broker::queues::{
    ConsumerId, NewQueue, QueueError, QueueHandle, QueuePolicy, Receipt, ReceiveSpec, Received,
    Redrive, Redriven, StartAt,
};
use millstream_broker::streams::FetchSpec;
use millstream_broker::topics::{NewTopic, TopicHandle};
use millstream_broker::{Broker, BrokerError, BrokerSettings, SlotSettings, headers};
use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Env, SeededRng, SystemClock};

use crate::model::{End, Model};

const DIR: &str = "/broker";
const DISK_BYTES: u64 = 256 << 20;
const CONSUMERS: u64 = 3;

/// Whatever takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Plan {
    seed: u64,
    trouble: Trouble,
    traced: bool,
}

/// What goes wrong, beside that the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The power goes.
    Power,
    /// The power goes, and syncs fail.
    Syncs,
    /// The power goes, and writes fail.
    Writes,
    /// The power goes, and the disk fills up at times.
    Room,
    /// Nothing: the topic promises the page cache only.
    Kills,
    /// The power goes, and once the broker has started, syncs do nothing.
    Lies,
}

impl Plan {
    pub fn for_seed(seed: u64) -> Self {
        let trouble = match seed % 6 {
            2 => Trouble::Syncs,
            3 => Trouble::Writes,
            4 => Trouble::Room,
            5 => Trouble::Kills,
            _ => Trouble::Power,
        };
        Self {
            seed,
            trouble,
            traced: false,
        }
    }

    pub fn traced(self) -> Self {
        Self {
            traced: true,
            ..self
        }
    }

    /// On a disk whose fsync does nothing.
    pub fn lying(seed: u64) -> Self {
        Self {
            trouble: Trouble::Lies,
            ..Self::for_seed(seed)
        }
    }

    /// What the disk does wrong while a broker lives, or while it begins.
    fn faults(&self, begins: bool) -> Faults {
        match self.trouble {
            Trouble::Syncs => Faults {
                sync_error_one_in: 80,
                ..Faults::default()
            },
            Trouble::Writes => Faults {
                write_error_one_in: 100,
                ..Faults::default()
            },
            Trouble::Lies if !begins => Faults {
                fsync_is_a_lie: true,
                ..Faults::default()
            },
            _ => Faults::default(),
        }
    }

    fn is(&self, trouble: Trouble) -> bool {
        self.trouble == trouble
    }
}

/// What happened, counted: to tell that a test tests something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    published: u64,
    delivered: u64,
    acknowledged: u64,
    composed: u64,
    rejected: u64,
    redriven: u64,
    dead: u64,
    drained: u64,
    unclear: u64,
    refused_full: u64,
    failures: u64,
    power_failures: u64,
    kills: u64,
    clean: u64,
    old_receipts: u64,
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.acknowledged += other.acknowledged;
        self.composed += other.composed;
        self.rejected += other.rejected;
        self.redriven += other.redriven;
        self.dead += other.dead;
        self.drained += other.drained;
        self.unclear += other.unclear;
        self.refused_full += other.refused_full;
        self.failures += other.failures;
        self.power_failures += other.power_failures;
        self.kills += other.kills;
        self.clean += other.clean;
        self.old_receipts += other.old_receipts;
    }
}

impl Fate {
    /// That the seeds between them saw everything they are there for.
    pub fn check_coverage(&self) {
        let seen = [
            ("acknowledged messages", self.acknowledged),
            ("acknowledgements with a publish", self.composed),
            ("redriven messages", self.redriven),
            ("dead letters", self.dead),
            ("messages left over", self.drained),
            ("requests without an answer", self.unclear),
            ("refusals for want of room", self.refused_full),
            ("failures of the store", self.failures),
            ("power failures", self.power_failures),
            ("kills", self.kills),
            ("stops in order", self.clean),
            ("receipts of an earlier life", self.old_receipts),
        ];
        for (what, count) in seen {
            assert!(count > 0, "no seed saw any {what}");
        }
    }
}

/// A message in somebody's hands.
struct Held {
    id: u64,
    receipt: Receipt,
    /// Received in this life.
    fresh: bool,
}

pub struct World {
    plan: Plan,
    rng: SeededRng,
    disk: SimDisk,
    model: Model,
    held: Vec<Held>,
    fate: Fate,
}

/// One life's handles.
struct Life {
    broker: Broker,
    topic: Arc<TopicHandle>,
    queue: QueueHandle,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let disk = SimDisk::new(plan.seed, DISK_BYTES);
        Self {
            rng: SeededRng::new(plan.seed ^ 0x51ed),
            disk,
            model: Model::default(),
            held: Vec::new(),
            fate: Fate::default(),
            plan,
        }
    }

    pub async fn run(mut self) -> Result<Fate, String> {
        for life in 0..2 + self.plan.seed % 4 {
            self.say(|| format!("life {life}"));
            self.disk.set_faults(self.plan.faults(true));
            let powered = !self.plan.is(Trouble::Kills) && !self.rng.one_in(3);
            if powered {
                self.disk.fail_power_after(200 + self.rng.below(1_500));
            }
            match self.begin().await {
                Ok(life) => {
                    self.disk.set_faults(self.plan.faults(false));
                    self.live(&life).await?;
                    self.end(life).await?;
                }
                Err(error) if !self.is_healthy() => self.say(|| format!("cannot begin: {error}")),
                Err(error) => return Err(format!("cannot begin: {error}")),
            }
            self.restart();
        }
        self.disk.set_faults(Faults::default());
        self.disk.set_capacity(DISK_BYTES);
        self.drain().await?;
        Ok(self.fate)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.traced {
            println!("{}", what());
        }
    }

    /// Whether nothing explains an error.
    fn is_healthy(&self) -> bool {
        let excuses = [Trouble::Syncs, Trouble::Writes, Trouble::Room];
        !self.disk.is_off() && !excuses.contains(&self.plan.trouble)
    }

    fn restart(&mut self) {
        if self.plan.is(Trouble::Kills) || !(self.disk.is_off() || self.rng.one_in(2)) {
            self.disk.kill();
        } else {
            self.disk.restart();
        }
        for held in &mut self.held {
            held.fresh = false;
        }
    }

    fn settings() -> BrokerSettings {
        let mut settings = BrokerSettings::new(DIR);
        settings.slot = SlotSettings {
            memory_budget_bytes: 4 << 20,
            journal_file_bytes: 256 << 10,
            settle_after_bytes: 64 << 10,
            settle_after: Duration::from_millis(30),
            housekeeping_interval: Duration::from_millis(30),
            disk_reserve_bytes: 1 << 20,
            ..SlotSettings::new(DIR)
        };
        settings
    }

    fn policy() -> QueuePolicy {
        QueuePolicy {
            retry: RetryPolicy {
                attempts_max: std::num::NonZeroU32::new(4),
                backoff: Backoff::Fixed { delay_ms: 3 },
                ..RetryPolicy::default()
            },
            dead_letters: true,
            ..QueuePolicy::default()
        }
    }

    async fn begin(&self) -> Result<Life, String> {
        let env = Env {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SeededRng::new(self.rng.below(u64::MAX))),
            disk: self.disk.mount(),
        };
        let broker = Broker::open(Self::settings(), env).await.map_err(text)?;
        let begun = async {
            let durability = if self.plan.is(Trouble::Kills) {
                "os"
            } else {
                "fsync"
            };
            let settings = [
                ("millstream.durability", durability),
                ("millstream.retention", "consumed"),
                ("retention.bytes", "100000000"),
            ];
            let new = NewTopic {
                name: "jobs".to_owned(),
                partitions: Some(2),
                settings: settings
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            };
            let topic = match broker.topic("jobs") {
                Some(topic) => topic,
                None => broker.create_topic(new).await.map_err(text)?,
            };
            let queue = match broker.queue("work") {
                Ok(queue) => queue,
                Err(_) => {
                    let new = NewQueue {
                        name: "work".to_owned(),
                        topic: Arc::clone(&topic),
                        start: StartAt::Earliest,
                        policy: Self::policy(),
                        filter: None,
                        dead_letter_topic: None,
                    };
                    broker.create_queue(new).await.map_err(text)?
                }
            };
            Ok::<_, String>((topic, queue))
        };
        let (topic, queue) = in_time("beginning", begun).await??;
        Ok(Life {
            broker,
            topic,
            queue,
        })
    }

    async fn live(&mut self, life: &Life) -> Result<(), String> {
        for _ in 0..30 + self.rng.below(200) {
            if self.disk.is_off() || life.broker.failed().is_some() {
                return Ok(());
            }
            if self.plan.is(Trouble::Room) && self.rng.one_in(15) {
                let room = self.rng.below(4) << 20;
                self.disk.set_capacity(self.disk.used_bytes() + room);
                let disk = self.disk.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    disk.set_capacity(DISK_BYTES);
                });
            }
            self.step(life).await?;
        }
        Ok(())
    }

    async fn end(&mut self, life: Life) -> Result<(), String> {
        if let Some((_, _, stats)) = life.broker.queue_stats().first() {
            let totals = &stats.totals;
            let gone = totals.lost + totals.skipped + totals.damaged + totals.discarded;
            if gone > 0 {
                return Err(format!("messages went without an end: {totals:?}"));
            }
        }
        let failed = life.broker.failed().is_some();
        self.fate.failures += u64::from(failed && !self.disk.is_off());
        self.fate.power_failures += u64::from(self.disk.is_off());
        if !failed && !self.disk.is_off() {
            if self.rng.one_in(3) {
                let stopped = in_time("stopping", life.broker.shutdown()).await?;
                self.fate.clean += u64::from(stopped.is_ok());
            } else {
                self.fate.kills += 1;
            }
        }
        // Whatever it has still under way finds that the disk is gone.
        self.disk.kill();
        Ok(())
    }

    async fn step(&mut self, life: &Life) -> Result<(), String> {
        match self.rng.below(20) {
            0..=4 => self.publish(life).await,
            5..=9 => self.receive(life).await,
            10..=12 => self.ack(life).await,
            13 => self.ack_and_publish(life).await,
            14..=15 => self.nack(life).await,
            16 => self.reject(life).await,
            17 => self.extend(life).await,
            18 => self.redrive(life).await,
            _ => {
                tokio::time::sleep(Duration::from_millis(self.rng.below(15))).await;
                Ok(())
            }
        }
    }

    async fn publish(&mut self, life: &Life) -> Result<(), String> {
        let ids: Vec<u64> = (0..1 + self.rng.below(5))
            .map(|_| self.model.make(None))
            .collect();
        let messages: Vec<_> = ids.iter().map(|id| self.message(*id)).collect();
        match in_time("publishing", life.broker.publish(&life.topic, &messages)).await? {
            Ok(published) => {
                for (id, at) in ids.iter().zip(&published) {
                    self.say(|| format!("{id} published at {}-{}", at.partition, at.offset));
                }
                self.fate.published += ids.len() as u64;
                ids.into_iter().try_for_each(|id| self.model.exists(id))
            }
            Err(error) => self.refused(life, error.into()).map(drop),
        }
    }

    fn message(&self, id: u64) -> NewMessage {
        let filler = "x".repeat(self.rng.below(3_000) as usize);
        NewMessage {
            value: Some(Bytes::from(format!("{id} {filler}"))),
            ..NewMessage::default()
        }
    }

    async fn receive(&mut self, life: &Life) -> Result<(), String> {
        let short = self.rng.one_in(3);
        let spec = ReceiveSpec {
            consumer: ConsumerId(self.rng.below(CONSUMERS)),
            max: 1 + self.rng.below(8) as u32,
            visibility_ms: if short {
                5 + self.rng.below(30)
            } else {
                60_000
            },
            wait: Duration::from_millis(self.rng.below(5)),
        };
        let received = in_time("receiving", life.queue.receive(spec)).await?;
        if self.disk.is_off() || life.broker.failed().is_some() {
            // It may have been given more than could still be read.
            self.model.receives_unclear += 1;
        }
        let received = match received {
            Ok((received, _)) => received,
            Err(error) => {
                self.model.receives_unclear += 1;
                return self.refused(life, error).map(drop);
            }
        };
        for one in received {
            let id = id_of(&one)?;
            self.say(|| {
                format!(
                    "{id} delivered x{} at {}-{}",
                    one.attempts, one.message.partition, one.message.offset
                )
            });
            self.fate.delivered += 1;
            self.model.delivered(id, one.attempts)?;
            self.held.push(Held {
                id,
                receipt: one.receipt,
                fresh: true,
            });
        }
        Ok(())
    }

    /// Some of what is held, which is then not held any more.
    fn take_some(&mut self) -> Vec<Held> {
        let count = self.rng.below(6).min(self.held.len() as u64);
        (0..count)
            .map(|_| {
                let at = self.rng.below(self.held.len() as u64) as usize;
                self.held.swap_remove(at)
            })
            .collect()
    }

    async fn ack(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let before: Vec<End> = some
            .iter()
            .map(|held| self.model.item(held.id).end)
            .collect();
        for held in &some {
            let item = self.model.item(held.id);
            item.acks_asked += 1;
            if item.end == End::Open {
                item.end = End::Unclear;
            }
        }
        let acked = in_time("acknowledging", life.queue.ack(&receipts)).await?;
        let answers = match acked {
            Ok(answers) => answers,
            Err(error) => {
                self.fate.unclear += some.len() as u64;
                return self.refused(life, error).map(drop);
            }
        };
        for ((held, answer), before) in some.iter().zip(answers).zip(before) {
            self.say(|| {
                format!(
                    "{} acknowledged {}-{}: {answer:?}",
                    held.id, held.receipt.partition, held.receipt.offset
                )
            });
            if answer.is_ok() {
                self.fate.acknowledged += 1;
                self.fate.old_receipts += u64::from(!held.fresh);
                self.model.item(held.id).end = End::Acknowledged;
            } else if self.model.item(held.id).end == End::Unclear {
                self.model.item(held.id).end = before;
            }
        }
        Ok(())
    }

    async fn ack_and_publish(&mut self, life: &Life) -> Result<(), String> {
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.held.len() as u64) as usize;
        let held = self.held.swap_remove(at);
        let before = self.model.item(held.id).end;
        let id = self.model.make(Some(held.id));
        self.model.item(held.id).end = match before {
            End::Open => End::Unclear,
            end => end,
        };
        let publishing = [(Arc::clone(&life.topic), vec![self.message(id)])];
        let receipts = [held.receipt];
        let composing = life.queue.ack_and_publish(&receipts, &publishing);
        match in_time("composing", composing).await? {
            Ok(_) => {
                self.fate.composed += 1;
                self.say(|| {
                    format!(
                        "composed {} {}-{}",
                        held.id, held.receipt.partition, held.receipt.offset
                    )
                });
                self.model.item(held.id).end = End::Acknowledged;
                self.model.exists(id)
            }
            Err(error) => {
                let nothing_happened = self.refused(life, error)?;
                if nothing_happened {
                    self.model.item(held.id).end = before;
                    self.model.item(id).instead_of = None;
                }
                Ok(())
            }
        }
    }

    async fn nack(&mut self, life: &Life) -> Result<(), String> {
        let retry = match self.rng.below(3) {
            0 => Retry::Now,
            1 => Retry::After(self.rng.below(20)),
            _ => Retry::AsPolicySays,
        };
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let nacked = in_time("giving back", life.queue.nack(&receipts, retry)).await?;
        self.answered(life, nacked).map(drop)
    }

    async fn reject(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let rejected = in_time("rejecting", life.queue.reject(&receipts)).await?;
        let answers = self.answered(life, rejected)?;
        self.say(|| format!("rejected {receipts:?}: {answers:?}"));
        self.fate.rejected += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        Ok(())
    }

    async fn extend(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let visibility_ms = self.rng.below(100);
        let extended = in_time("extending", life.queue.extend(&receipts, visibility_ms)).await?;
        self.held.extend(some);
        self.answered(life, extended).map(drop)
    }

    async fn redrive(&mut self, life: &Life) -> Result<(), String> {
        let redrive = Redrive {
            max: Some(self.rng.below(4)),
            to: None,
        };
        match in_time("redriving", life.queue.redrive(&redrive)).await? {
            Ok(Redriven {
                moved,
                refused: 0,
                damaged: 0,
                stopped: None,
            }) => {
                self.say(|| format!("redriven {moved}"));
                self.fate.redriven += moved;
            }
            Ok(redriven) => return Err(format!("refused letters: {redriven:?}")),
            Err(error) => drop(self.refused(life, error)?),
        }
        Ok(())
    }

    fn answered(
        &mut self,
        life: &Life,
        answers: Result<Answers, QueueError>,
    ) -> Result<Answers, String> {
        answers.or_else(|error| self.refused(life, error).map(|_| Answers::new()))
    }

    /// Whether nothing has happened; if it is not a refusal that a failing disk explains, that is an error.
    fn refused(&mut self, life: &Life, error: QueueError) -> Result<bool, String> {
        self.say(|| format!("refused: {error}"));
        match error {
            QueueError::Receipt { .. } => Ok(true),
            QueueError::Broker(BrokerError::DiskFull {
                available_bytes,
                reserve_bytes,
            }) if self.plan.is(Trouble::Room) => {
                self.fate.refused_full += 1;
                if reserve_bytes == 0 && available_bytes == 0 {
                    return Err("a full disk has figures".to_owned());
                }
                Ok(true)
            }
            _ if self.disk.is_off() || life.broker.failed().is_some() => Ok(false),
            error => Err(format!("refused for no reason: {error}")),
        }
    }

    /// Starts on a disk that works, and takes all that is left.
    async fn drain(&mut self) -> Result<(), String> {
        let life = self.begin().await;
        let life = life.map_err(|error| format!("cannot begin: {error}"))?;
        for consumer in 0..CONSUMERS {
            life.queue.consumer_gone(ConsumerId(consumer));
        }
        let mut drained = Vec::new();
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let spec = ReceiveSpec {
                consumer: ConsumerId(77),
                max: 50,
                visibility_ms: 60_000,
                wait: Duration::from_millis(20),
            };
            let (received, _) = in_time("draining", life.queue.receive(spec))
                .await?
                .map_err(text)?;
            for one in &received {
                let id = id_of(one)?;
                self.model.delivered(id, one.attempts)?;
                drained.push(id);
            }
            let receipts: Vec<_> = received.iter().map(|one| one.receipt).collect();
            let answers = in_time("draining", life.queue.ack(&receipts))
                .await?
                .map_err(text)?;
            if answers.iter().any(Result::is_err) {
                return Err(format!("what was just received is refused: {answers:?}"));
            }
            let depth = life.queue.describe().map_err(text)?.depth;
            if depth.open == 0 {
                break;
            }
            if tokio::time::Instant::now() > patience {
                return Err(format!("stuck with {depth:?}"));
            }
        }
        // The last letters are certain once they are durable.
        in_time("stopping", life.broker.shutdown())
            .await?
            .map_err(text)?;
        drop(life);
        self.disk.kill();
        let life = self.begin().await?;
        let dead = dead_letters(&life.broker).await?;
        self.fate.drained += drained.len() as u64;
        self.fate.dead += dead.len() as u64;
        self.say(|| format!("{drained:?} were left, {dead:?} are dead"));
        self.model.settle(&drained, &dead)?;
        match life.queue.describe().map_err(text)?.depth.open {
            0 => Ok(()),
            open => Err(format!("{open} messages came back after all were done")),
        }
    }
}

/// The numbers of the messages in the dead-letter topic, each with all that has to be said of it.
async fn dead_letters(broker: &Broker) -> Result<Vec<u64>, String> {
    let topic = broker
        .topic("work.dead")
        .ok_or("there is no dead-letter topic")?;
    let partition = topic.partition(0).ok_or("it has no partition")?;
    let offsets = partition.offsets();
    let (mut at, mut ids) = (offsets.log_start, Vec::new());
    while at < offsets.last_stable {
        let fetched = broker.fetch(FetchSpec::of(&partition, at)).await.remove(0);
        for batch in fetched.result.map_err(text)?.batches() {
            let batch = batch.map_err(text)?;
            for record in batch.records(1 << 24) {
                let record = record.map_err(text)?;
                at = record.offset.next();
                if record.offset < offsets.log_start {
                    continue;
                }
                let value = record.value.as_deref().unwrap_or_default();
                let said = |name: &str| {
                    let mut all = record.headers.iter();
                    let header = all.find(|header| header.key == name.as_bytes());
                    let value = header.and_then(|header| header.value).unwrap_or_default();
                    String::from_utf8_lossy(value).into_owned()
                };
                let attempts: u32 = said(headers::DEAD_LETTER_ATTEMPTS).parse().unwrap_or(0);
                let is_told = said(headers::DEAD_LETTER_QUEUE) == "work"
                    && ["attempts", "rejected"].contains(&&*said(headers::DEAD_LETTER_REASON))
                    && (1..=4).contains(&attempts);
                let id = number(value)?;
                if !is_told {
                    return Err(format!("the dead letter of {id} says too little"));
                }
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

fn id_of(one: &Received) -> Result<u64, String> {
    number(one.message.value.as_deref().unwrap_or_default())
}

fn number(value: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(value);
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().map_err(|_| format!("not a message: {first}"))
}

async fn in_time<T>(what: &str, doing: impl Future<Output = T>) -> Result<T, String> {
    let done = tokio::time::timeout(PATIENCE, doing).await;
    done.map_err(|_| format!("{what} never ends"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
