//! Which queues there are, by name and by topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_catalog::TopicId;

use super::cell::Cell;

/// All queues.
#[derive(Default)]
pub(super) struct Index {
    by_name: BTreeMap<Arc<str>, Arc<Cell>>,
    by_topic: HashMap<TopicId, Vec<Arc<Cell>>>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<Cell>> {
        self.by_name.get(name)
    }

    /// Whether this very queue is there, not another one of its name.
    pub(super) fn holds(&self, cell: &Cell) -> bool {
        let named = self.named(&cell.name);
        named.is_some_and(|named| named.id == cell.id)
    }

    /// In the order of their names.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.by_name.values()
    }

    /// The queues of a topic, in no order.
    pub(super) fn of(&self, topic: TopicId) -> &[Arc<Cell>] {
        self.by_topic.get(&topic).map_or(&[], Vec::as_slice)
    }

    pub(super) fn insert(&mut self, cell: Arc<Cell>) {
        let of_topic = self.by_topic.entry(cell.topic).or_default();
        of_topic.push(Arc::clone(&cell));
        self.by_name.insert(Arc::clone(&cell.name), cell);
    }

    pub(super) fn remove(&mut self, cell: &Cell) {
        self.by_name.remove(&cell.name);
        let Some(of_topic) = self.by_topic.get_mut(&cell.topic) else {
            return;
        };
        of_topic.retain(|other| other.id != cell.id);
        if of_topic.is_empty() {
            self.by_topic.remove(&cell.topic);
        }
    }
}

impl FromIterator<Arc<Cell>> for Index {
    fn from_iter<T: IntoIterator<Item = Arc<Cell>>>(cells: T) -> Self {
        let mut index = Self::default();
        for cell in cells {
            index.insert(cell);
        }
        index
    }
}
