//! What hubs meet that subscriptions hardly ever come across first.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use millstream_env::Env;
use tokio::time::timeout;

use super::super::machine::{Machine, Step};
use super::super::message::LiveItem;
use super::super::shared::Watch;
use super::super::spec::SlowPolicy;
use super::*;
use crate::BrokerSettings;
use crate::produce::NewMessage;
use crate::topics::NewTopic;

#[path = "../../tests/broker/damage.rs"]
mod damage;

const RECORDS: i64 = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// A hub is so far behind only when what it has not read yet is settled, and damaged, in between.
#[tokio::test]
async fn a_hub_goes_on_behind_what_is_damaged_and_tells() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let settings = BrokerSettings::new(directory.path());
        Broker::open(settings, Env::real()).await.unwrap()
    };
    let broker = open().await;
    let topic = NewTopic {
        name: "t".into(),
        partitions: Some(1),
        ..NewTopic::default()
    };
    let topic = broker.create_topic(topic).await.unwrap();
    for _ in 0..RECORDS {
        let message = NewMessage {
            value: Some(Bytes::from(vec![b'x'; 5_000])),
            ..NewMessage::default()
        };
        broker.publish(&topic, &[message]).await.unwrap();
    }
    broker.shutdown().await.unwrap();
    drop((topic, broker));
    damage::damage_packs(directory.path());

    let broker = open().await;
    let partition = broker.topic("t").unwrap().partition(0).unwrap();
    let machine = Machine::new(SlowPolicy::Block, 1_024, 1 << 20, u64::MAX);
    let entered = broker.inner.live.enter(Watch::default(), None, machine);
    let subscriber = entered.unwrap();
    subscriber.add(&partition, Offset::ZERO);
    let memory = Arc::clone(&broker.inner.live.memory);
    let hub = Hub::new(partition, Offset::ZERO, memory);
    assert!(hub.join(&subscriber, Offset::ZERO));
    let running = {
        let (hub, broker) = (Arc::clone(&hub), broker.clone());
        tokio::spawn(async move { hub.run(&broker).await })
    };
    let (mut next, mut told) = (Offset::ZERO, None);
    while next < Offset(RECORDS) {
        let step = poll_fn(|context| subscriber.poll_step(context));
        match timeout(PATIENCE, step).await.expect("the hub goes on") {
            Step::Deliver(LiveItem::Record(message)) => {
                assert_eq!(message.offset, next);
                next = message.offset.next();
            }
            Step::Deliver(LiveItem::Lost(lost)) => {
                assert_eq!((lost.from, lost.reason), (next, LostReason::Damaged));
                assert_eq!(told.replace(lost.to), None, "it is told once");
                next = lost.to;
            }
            other => panic!("{other:?}"),
        }
    }
    let after = told.expect("something is damaged");
    assert!(after < Offset(RECORDS));

    // Who was before the damage has to look at the log for himself, to be told too; who is behind it need not.
    let machine = Machine::new(SlowPolicy::Block, 1_024, 1 << 20, u64::MAX);
    let later = broker.inner.live.enter(Watch::default(), None, machine);
    let later = later.unwrap();
    assert!(!hub.join(&later, Offset::ZERO));
    assert!(hub.join(&later, after));
    hub.stop();
    running.await.unwrap();
}

/// A subscription may still be looking for where to begin in the partitions that were there before.
#[tokio::test]
async fn partitions_that_are_added_bring_no_older_ones_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let settings = BrokerSettings::new(directory.path());
    let broker = Broker::open(settings, Env::real()).await.unwrap();
    let topic = NewTopic {
        name: "t".into(),
        partitions: Some(3),
        ..NewTopic::default()
    };
    let topic = broker.create_topic(topic).await.unwrap();
    let watch = Watch {
        topics: vec![topic.id()],
        ..Watch::default()
    };
    let machine = Machine::new(SlowPolicy::Block, 1_024, 1 << 20, u64::MAX);
    let subscriber = broker.inner.live.enter(watch, None, machine).unwrap();
    broker.add_partitions(topic.id(), 5).await.unwrap();
    let added = subscriber.partitions();
    let added: Vec<_> = added.iter().map(PartitionHandle::index).collect();
    assert_eq!(added, [3, 4]);
}
