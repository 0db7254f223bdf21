//! Drives one run: life after life of a broker on one simulated disk.

use std::sync::Arc;
use std::time::Duration;

use millstream_broker::queues::machine::Answers;
use millstream_broker::queues::{NewQueue, QueueError, QueueHandle, Receipt, Received, StartAt};
use millstream_broker::topics::{NewTopic, TopicHandle};
use millstream_broker::{Broker, BrokerError, BrokerSettings, SlotSettings};
use millstream_env::sim::{Faults, SimDisk};
use millstream_env::{Env, SeededRng, SystemClock};

use crate::fate::Fate;
use crate::model::{Model, Seen};
use crate::plan::{Plan, Trouble};

const DIR: &str = "/broker";
const DISK_BYTES: u64 = 256 << 20;
pub(crate) const CONSUMERS: u64 = 3;

/// Whatever takes longer is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message in somebody's hands.
pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) receipt: Receipt,
    /// Received in this life.
    pub(crate) fresh: bool,
}

pub struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: SeededRng,
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    pub(crate) held: Vec<Held>,
    pub(crate) fate: Fate,
}

/// One life's handles.
pub(crate) struct Life {
    pub(crate) broker: Broker,
    pub(crate) topic: Arc<TopicHandle>,
    pub(crate) queue: QueueHandle,
    /// When it began, by the wall clock.
    began: i64,
}

impl Life {
    pub(crate) fn now(&self) -> i64 {
        self.broker.env().clock.wall_ms()
    }
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
            if !self.rng.one_in(3) {
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

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.traced {
            println!("{}", what());
        }
    }

    /// Whether nothing explains an error.
    fn is_healthy(&self) -> bool {
        let excuses = [
            Trouble::Syncs,
            Trouble::Writes,
            Trouble::Reads,
            Trouble::Room,
        ];
        !self.disk.is_off() && !excuses.contains(&self.plan.trouble)
    }

    /// The process has died, and maybe the machine with it.
    fn restart(&mut self) {
        if self.plan.is(Trouble::Kills) || self.rng.one_in(2) {
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

    pub(crate) async fn begin(&self) -> Result<Life, String> {
        let env = Env {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SeededRng::new(self.rng.below(u64::MAX))),
            disk: self.disk.mount(),
        };
        let began = env.clock.wall_ms();
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
                        policy: self.plan.policy(),
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
            began,
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
            self.fate.expired += totals.expired;
            self.fate.behind_keys += stats.depth.behind_key;
            let gone = totals.lost + totals.skipped + totals.damaged + totals.discarded;
            if gone > 0 {
                return Err(format!("messages went without an end: {totals:?}"));
            }
        }
        let failed = life.broker.failed().is_some();
        self.fate.failures += u64::from(failed && !self.disk.is_off());
        self.fate.cut_off += u64::from(self.disk.is_off());
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

    pub(crate) fn answered(
        &mut self,
        life: &Life,
        answers: Result<Answers, QueueError>,
    ) -> Result<Answers, String> {
        answers.or_else(|error| self.refused(life, error).map(|_| Answers::new()))
    }

    /// Whether nothing has happened; if it is not a refusal that a failing disk explains, that is an error.
    pub(crate) fn refused(&mut self, life: &Life, error: QueueError) -> Result<bool, String> {
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
            QueueError::Broker(_) if self.plan.is(Trouble::Reads) => Ok(false),
            _ if self.disk.is_off() || life.broker.failed().is_some() => Ok(false),
            error => Err(format!("refused for no reason: {error}")),
        }
    }
}

pub(crate) fn id_of(one: &Received) -> Result<u64, String> {
    number(one.message.value.as_deref().unwrap_or_default())
}

pub(crate) fn seen(id: u64, one: &Received, life: &Life) -> Seen {
    Seen {
        id,
        attempts: one.attempts,
        place: (one.message.partition, one.message.offset.get()),
        now: life.now(),
        began: life.began,
    }
}

pub(crate) fn number(value: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(value);
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().map_err(|_| format!("not a message: {first}"))
}

pub(crate) async fn in_time<T>(what: &str, doing: impl Future<Output = T>) -> Result<T, String> {
    let done = tokio::time::timeout(PATIENCE, doing).await;
    done.map_err(|_| format!("{what} never ends"))
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
