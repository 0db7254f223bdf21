use proptest::prelude::*;

use super::*;
use crate::settings::SettingOp;

fn topic(seed: u8, name: &str, partitions: u32) -> Topic {
    Topic {
        id: TopicId::from_random([seed; 16]),
        name: TopicName::new(name).unwrap(),
        partitions: (0..partitions).map(PartitionId).collect(),
        settings: TopicSettings::defaults(),
        created_ms: TimestampMs(1),
    }
}

/// A catalogue and the state table that its changes were committed to.
#[derive(Default)]
struct Committed {
    catalog: Catalog,
    state: BTreeMap<Bytes, Bytes>,
}

impl Committed {
    fn commit(&mut self, change: &Change) {
        self.state.extend(change.puts.iter().cloned());
        for key in &change.deletes {
            self.state.remove(key);
        }
        self.catalog.apply(change);
    }

    fn create(&mut self, topic: Topic) -> Result<(), CatalogError> {
        let change = self.catalog.create(topic)?;
        self.commit(&change);
        Ok(())
    }

    fn delete(&mut self, id: TopicId, now: i64) -> Result<(), CatalogError> {
        let change = self.catalog.delete(id, TimestampMs(now))?;
        self.commit(&change);
        Ok(())
    }

    fn reloaded(&self) -> Catalog {
        Catalog::load(&self.state).unwrap()
    }
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.topics().map(|topic| topic.name.as_str()).collect()
}

#[test]
fn a_name_is_taken_once() {
    let mut it = Committed::default();
    it.create(topic(1, "b", 1)).unwrap();
    it.create(topic(2, "a", 1)).unwrap();
    assert!(matches!(
        it.create(topic(3, "a", 1)),
        Err(CatalogError::Exists(_))
    ));
    assert_eq!(names(&it.catalog), ["a", "b"]);
    assert_eq!(names(&it.reloaded()), ["a", "b"]);
}

#[test]
fn a_deleted_topic_leaves_a_tombstone_and_frees_its_name() {
    let mut it = Committed::default();
    let id = topic(1, "a", 1).id;
    it.create(topic(1, "a", 1)).unwrap();
    it.delete(id, 10).unwrap();
    assert!(it.catalog.topic(id).is_none() && it.catalog.was_deleted(id));
    assert!(it.reloaded().was_deleted(id));
    assert_eq!(it.delete(id, 11), Err(CatalogError::Unknown(id)));

    it.create(topic(2, "a", 1)).unwrap();
    assert_ne!(it.catalog.topic_named("a").unwrap().id, id);
}

#[test]
fn old_tombstones_go_with_a_later_deletion() {
    let mut it = Committed::default();
    for (seed, deleted_ms) in [(1, 100), (2, 200), (3, 201 + TOPIC_TOMBSTONE_RETENTION_MS)] {
        let topic = topic(seed, "a", 1);
        let id = topic.id;
        it.create(topic).unwrap();
        it.delete(id, deleted_ms).unwrap();
    }
    let deleted = |catalog: &Catalog| {
        [1, 2, 3].map(|seed| catalog.was_deleted(TopicId::from_random([seed; 16])))
    };
    assert_eq!(deleted(&it.catalog), [false, false, true]);
    assert_eq!(deleted(&it.reloaded()), [false, false, true]);
}

#[test]
fn partitions_only_grow() {
    let mut it = Committed::default();
    let id = topic(1, "a", 2).id;
    it.create(topic(1, "a", 2)).unwrap();
    let fewer = CatalogError::FewerPartitions {
        current: 2,
        wanted: 2,
    };
    assert_eq!(it.catalog.check_grow(id, 2), Err(fewer));
    assert_eq!(it.catalog.check_grow(id, 5), Ok(3));
    let change = it
        .catalog
        .grow(id, &[PartitionId(7), PartitionId(9)])
        .unwrap();
    it.commit(&change);
    let places = [0, 1, 7, 9].map(PartitionId);
    assert_eq!(it.reloaded().topic(id).unwrap().partitions, places);
}

#[test]
fn the_number_of_partitions_is_bounded() {
    let it = Committed::default();
    let name = TopicName::new("a").unwrap();
    assert_eq!(
        it.catalog.check_create(&name, 0),
        Err(CatalogError::PartitionCount(0))
    );
    let many = TOPIC_PARTITIONS_MAX + 1;
    assert_eq!(
        it.catalog.check_create(&name, many),
        Err(CatalogError::PartitionCount(many))
    );

    let mut full = Committed::default();
    full.create(topic(1, "x", TOPIC_PARTITIONS_MAX)).unwrap();
    full.create(topic(2, "y", TOPIC_PARTITIONS_MAX)).unwrap();
    assert_eq!(
        full.catalog.check_create(&name, 1),
        Err(CatalogError::TooManyPartitions)
    );
    let id = topic(1, "x", 1).id;
    full.delete(id, 1).unwrap();
    assert_eq!(full.catalog.check_create(&name, 1), Ok(()));
}

#[test]
fn an_altered_topic_keeps_the_rest() {
    let mut it = Committed::default();
    let id = topic(1, "a", 2).id;
    it.create(topic(1, "a", 2)).unwrap();
    let set = SettingChange {
        key: "retention.ms".into(),
        op: SettingOp::Set("5".into()),
    };
    let change = it.catalog.alter(id, &[set]).unwrap();
    it.commit(&change);
    let catalog = it.reloaded();
    let topic = catalog.topic(id).unwrap();
    assert_eq!(topic.settings.values().retention_ms, Some(5));
    assert_eq!(topic.partitions.len(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Delete(u8),
    Grow(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..6_u8;
    prop_oneof![
        name.clone().prop_map(Step::Create),
        name.clone().prop_map(Step::Delete),
        name.prop_map(Step::Grow),
    ]
}

proptest! {
    /// Against a model that is just names and partition counts, and against what a restart would load.
    #[test]
    fn any_history_loads_as_it_was(steps in proptest::collection::vec(step(), 0..60)) {
        let mut it = Committed::default();
        let mut model: BTreeMap<String, usize> = BTreeMap::new();
        for (time, step) in steps.into_iter().enumerate() {
            match step {
                Step::Create(n) => {
                    let name = n.to_string();
                    let done = it.create(topic(time as u8, &name, 1)).is_ok();
                    prop_assert_eq!(done, !model.contains_key(&name));
                    model.entry(name).or_insert(1);
                }
                Step::Delete(n) => {
                    if let Some(id) = it.catalog.topic_named(&n.to_string()).map(|topic| topic.id) {
                        it.delete(id, time as i64).unwrap();
                        prop_assert!(model.remove(&n.to_string()).is_some());
                    }
                }
                Step::Grow(n) => {
                    if let Some(id) = it.catalog.topic_named(&n.to_string()).map(|topic| topic.id) {
                        let change = it.catalog.grow(id, &[PartitionId(time as u32)]).unwrap();
                        it.commit(&change);
                        *model.get_mut(&n.to_string()).unwrap() += 1;
                    }
                }
            }
        }
        for catalog in [&it.catalog, &it.reloaded()] {
            let found: BTreeMap<_, _> = catalog.topics().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect();
            prop_assert_eq!(&found, &model);
            prop_assert_eq!(catalog.partition_count, model.values().sum::<usize>());
        }
    }
}
