//! The broker itself: opening and closing it, and what concerns the whole of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_catalog::settings::ServerSettings;
use millstream_catalog::{Catalog, entry};
use millstream_env::{Env, SteadyTime};
use millstream_record::TimestampMs;
use millstream_store::{BackupError, BackupSummary, Slot, SlotFailure, SlotStats, StoreError};
use parking_lot::{Mutex, RwLock};

use crate::blocking::Blocking;
use crate::error::OpenError;
use crate::groups::{self, Groups};
use crate::identity;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::produce::{
    Idempotency, KeyIndexTrim, ProducerIds, Rotor, forget_old_keys, keep_key_indexes,
};

use crate::queues::{self, QueueHolders, Queues};
use crate::routes::RouteSet;
use crate::server_settings;
use crate::settings::BrokerSettings;
use crate::streams::ReadBudget;
use crate::topics::Registry;

/// A handle on an open broker; cloning it is cheap.
///
/// All methods may be called from any task of a tokio runtime. What a method has changed is durable when it returns.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: BrokerSettings,
    pub(crate) env: Env,
    time: SteadyTime,
    pub(crate) slot: Slot,
    pub(crate) blocking: Blocking,
    pub(crate) unpacking: Blocking,
    pub(crate) read_budget: ReadBudget,
    /// What topics there are, for those who change them: held from the check of a change until it is sequenced.
    pub(crate) catalog: Mutex<Catalog>,
    /// What topics there are, for everyone else. Written with the catalogue held.
    pub(crate) registry: Arc<RwLock<Registry>>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) rotor: Rotor,
    /// What clients have changed of the server's settings: held from the check of a change until it is sequenced.
    pub(crate) server_settings: Mutex<ServerSettings>,
    pub(crate) groups: Groups,
    pub(crate) live: Live,
    pub(crate) routes: RouteSet,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) key_index_trim: KeyIndexTrim,
    pub(crate) idempotency: Idempotency,

    pub(crate) queues: Arc<Queues>,
    cluster_id: String,
}

impl Broker {
    /// Opens the broker on its data directory, recovering what is there, or starts a new one.
    pub async fn open(settings: BrokerSettings, env: Env) -> Result<Self, OpenError> {
        if settings.default_partitions == 0 {
            return Err(OpenError::Setting {
                setting: "default_partitions",
                reason: "a topic has at least 1 partition".to_owned(),
            });
        }
        let blocking = Blocking::reads();
        let slot_settings = settings.slot.clone();
        let slot_env = env.clone();
        let group_settings = settings.groups;
        let (slot, catalog, registry, groups, routes, queues) = blocking
            .run(move || {
                let slot = Slot::open(slot_settings, slot_env.clone())?;
                let catalog = load_catalog(&slot)?;
                let registry = Registry::open(&slot, &catalog)?;
                let queues = queues::open(&slot, &slot_env, &registry)?;
                let groups = Groups::open(slot.clone(), slot_env, group_settings)?;
                let routes = RouteSet::open(&slot)?;
                Ok::<_, OpenError>((slot, catalog, registry, groups, routes, queues))
            })
            .await?;
        let cluster_id = identity::cluster_id(&slot, &*env.rng).await?;
        let producer_ids = ProducerIds::open(&slot)?;
        let now = TimestampMs(env.clock.wall_ms());
        let idempotency = Idempotency::open(&slot, env.rng.next_u64(), now)?;
        let server_settings = Mutex::new(server_settings::load(&slot)?);
        let (queues, queue_tasks) = queues.split();
        let live_memory_bytes = settings.read_memory_bytes;
        let inner = Arc::new(Inner {
            read_budget: ReadBudget::new(settings.read_memory_bytes),
            settings,
            slot,
            blocking,
            unpacking: Blocking::unpacking(),
            catalog: Mutex::new(catalog),
            registry: Arc::new(RwLock::new(registry)),
            producer_ids,
            rotor: Rotor::default(),
            server_settings,
            groups,
            live: Live::new(live_memory_bytes),
            routes,
            metrics: Metrics::new(Arc::clone(&env.clock)),
            env,
            time: SteadyTime::default(),
            key_index_trim: KeyIndexTrim::default(),
            idempotency,
            queues: Arc::new(queues),
            cluster_id,
        });
        tokio::spawn(groups::keep_time(Arc::downgrade(&inner)));
        tokio::spawn(keep_key_indexes(Arc::downgrade(&inner)));
        tokio::spawn(forget_old_keys(Arc::downgrade(&inner)));
        inner.slot.set_holders(Arc::new(QueueHolders {
            queues: Arc::downgrade(&inner.queues),
            topics: Arc::downgrade(&inner.registry),
        }));
        let broker = Self { inner };
        queue_tasks.start(&broker);
        Ok(broker)
    }

    /// How this broker was told to behave.
    pub fn settings(&self) -> &BrokerSettings {
        &self.inner.settings
    }

    /// The clock, randomness and disk it uses.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// The id of the cluster, made up at the first start and kept: 22 characters, as Kafka writes a UUID.
    pub fn cluster_id(&self) -> &str {
        &self.inner.cluster_id
    }

    /// Where the data is.
    pub fn data_dir(&self) -> &Path {
        &self.inner.settings.slot.data_dir
    }

    /// The groups that read its topics.
    pub fn groups(&self) -> &Groups {
        &self.inner.groups
    }

    /// How the store is doing.
    pub fn stats(&self) -> SlotStats {
        self.inner.slot.stats()
    }

    /// Memory that answers to readers hold at present, and what they may hold, in bytes.
    pub fn read_memory(&self) -> (usize, usize) {
        self.inner.read_budget.use_bytes()
    }

    /// Why the broker cannot go on, if so: nothing is acknowledged any more, and the process should end.
    pub fn failed(&self) -> Option<SlotFailure> {
        self.inner.slot.failed()
    }

    /// Resolves when the broker cannot go on.
    pub async fn failure(&self) -> SlotFailure {
        self.inner.slot.failure().await
    }

    /// Makes `target`, which is empty or does not exist, a data directory with everything acknowledged so far, while the
    /// broker goes on.
    pub async fn backup(&self, target: PathBuf) -> Result<BackupSummary, BackupError> {
        let slot = self.inner.slot.clone();
        self.inner.blocking.run(move || slot.backup(&target)).await
    }

    /// Takes nothing more, finishes what was begun, and leaves the data directory so that the next start is quick.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.inner.groups.close();
        self.inner.queues.close();
        self.inner.live.close();
        self.inner.slot.shutdown().await
    }

    /// The time by the wall clock, which goes back only where that had been quite wrong.
    pub fn now(&self) -> TimestampMs {
        TimestampMs(self.inner.time.now_ms(&*self.inner.env.clock))
    }
}

fn load_catalog(slot: &Slot) -> Result<Catalog, OpenError> {
    let entries: Vec<_> = slot
        .state()
        .scan(entry::KEY_PREFIX)?
        .collect::<Result<_, _>>()?;
    Ok(Catalog::load(entries)?)
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("data_dir", &self.data_dir())
            .finish_non_exhaustive()
    }
}
