//! All routes, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use millstream_catalog::TopicName;
use millstream_store::Slot;
use parking_lot::{Mutex, RwLock};

use super::route::{Route, RouteSource};
use crate::error::OpenError;
use crate::keys;

/// All routes. Whoever publishes asks [`RouteSet::is_empty`] first, which costs one relaxed load.
#[derive(Debug, Default)]
pub(crate) struct RouteSet {
    count: AtomicUsize,
    /// Counts what can change where records go: routes and topics that come or go.
    generation: AtomicU64,
    routes: RwLock<Index>,
    /// Held from the check of a change until it is sequenced.
    pub(super) changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Index {
    by_name: BTreeMap<String, Arc<Routed>>,
    by_topic: HashMap<TopicName, Vec<Arc<Routed>>>,
    patterns: Vec<Arc<Routed>>,
}

/// A route in force, and what it has done since the server started.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) route: Arc<Route>,
    /// Records it took.
    pub(super) records: AtomicU64,
    /// Publishes refused because a target of it did not take a record.
    pub(super) refused: AtomicU64,
    /// Records that a target did not get because it has been deleted.
    pub(super) skipped: AtomicU64,
    /// A target that is missing has been logged.
    pub(super) logged: AtomicBool,
}

impl Routed {
    pub(super) fn new(route: Route) -> Arc<Self> {
        Arc::new(Self {
            route: Arc::new(route),
            records: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            logged: AtomicBool::new(false),
        })
    }
}

impl RouteSet {
    pub(crate) fn open(slot: &Slot) -> Result<Self, OpenError> {
        let set = Self::default();
        for entry in slot.state().scan(keys::ROUTES)? {
            let (key, value) = entry?;
            set.insert(Routed::new(Route::decode(&key, &value)?));
        }
        Ok(set)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// To be called when a topic has come or gone.
    pub(crate) fn topics_changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Routed>> {
        self.routes.read().by_name.get(name).cloned()
    }

    /// In the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<Routed>> {
        self.routes.read().by_name.values().cloned().collect()
    }

    /// The routes that take what is published to the topic of that name.
    pub(super) fn from(&self, topic: &TopicName) -> Vec<Arc<Routed>> {
        let index = self.routes.read();
        let named = index.by_topic.get(topic).into_iter().flatten();
        let matching = index
            .patterns
            .iter()
            .filter(|routed| routed.route.source.matches(topic.as_str()));
        named.chain(matching).cloned().collect()
    }

    pub(super) fn insert(&self, routed: Arc<Routed>) {
        let mut index = self.routes.write();
        match &routed.route.source {
            RouteSource::Topic(name) => index
                .by_topic
                .entry(name.clone())
                .or_default()
                .push(Arc::clone(&routed)),
            RouteSource::Pattern(_) => index.patterns.push(Arc::clone(&routed)),
        }
        index.by_name.insert(routed.route.name.clone(), routed);
        self.changed(&index);
    }

    pub(super) fn remove(&self, name: &str) {
        let mut index = self.routes.write();
        let Some(gone) = index.by_name.remove(name) else {
            return;
        };
        let others = |routed: &Arc<Routed>| !Arc::ptr_eq(routed, &gone);
        match &gone.route.source {
            RouteSource::Topic(name) => {
                if let Some(routes) = index.by_topic.get_mut(name) {
                    routes.retain(others);
                    if routes.is_empty() {
                        index.by_topic.remove(name);
                    }
                }
            }
            RouteSource::Pattern(_) => index.patterns.retain(others),
        }
        self.changed(&index);
    }

    fn changed(&self, index: &Index) {
        self.count.store(index.by_name.len(), Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }
}
