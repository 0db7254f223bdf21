//! What tests from outside do not come across: they cannot stop where it would happen.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use millstream_env::Env;

use super::{NewQueue, QueueHandle, StartAt};
use crate::broker::Broker;
use crate::produce::NewMessage;
use crate::queues::definition::{self, QueueDefinition};
use crate::queues::policy::{LengthPolicy, Overflow, QueuePolicy};
use crate::topics::{NewTopic, TopicHandle};
use crate::{BrokerSettings, queues::QueueError};

struct Server {
    broker: Broker,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = BrokerSettings::new(directory.path());
        Self {
            broker: Broker::open(settings, Env::real()).await.unwrap(),
            _directory: directory,
        }
    }

    async fn topic(&self, name: &str) -> Arc<TopicHandle> {
        let new = NewTopic {
            name: name.into(),
            partitions: Some(1),
            ..NewTopic::default()
        };
        self.broker.create_topic(new).await.unwrap()
    }

    async fn queue(
        &self,
        name: &str,
        topic: &Arc<TopicHandle>,
        policy: QueuePolicy,
    ) -> QueueHandle {
        let new = NewQueue {
            name: name.to_owned(),
            topic: Arc::clone(topic),
            start: StartAt::Earliest,
            policy,
            filter: None,
            dead_letter_topic: None,
        };
        self.broker.create_queue(new).await.unwrap()
    }
}

fn dying() -> QueuePolicy {
    QueuePolicy {
        dead_letters: true,
        ..QueuePolicy::default()
    }
}

/// Loops could be made before they were refused.
#[tokio::test]
async fn a_queue_whose_dead_letters_go_round_may_be_told_to_do_otherwise() {
    let server = Server::start().await;
    let topic = server.topic("work.dead").await;
    let queue = server.queue("work", &topic, QueuePolicy::default()).await;
    {
        let mut state = queue.cell.state.lock();
        state.definition = Arc::new(QueueDefinition {
            policy: dying(),
            ..(*state.definition).clone()
        });
    }
    let slower = QueuePolicy {
        in_flight_max: Some(1),
        ..dying()
    };
    queue.alter(slower.clone()).await.unwrap();
    assert_eq!(queue.definition().policy, slower);
    queue.alter(QueuePolicy::default()).await.unwrap();
    let closed = queue.alter(dying()).await;
    assert!(
        matches!(&closed, Err(QueueError::InvalidPolicy(why)) if why.contains("retry.backoff")),
        "{closed:?}"
    );
}

/// Publishing may read the disk while it has room: that is nobody's concern but the topic's.
#[tokio::test]
async fn who_has_room_in_one_topic_keeps_nobody_from_another() {
    let server = Server::start().await;
    let refusing = QueuePolicy {
        length: Some(LengthPolicy {
            records_max: 10,
            overflow: Overflow::Refuse,
        }),
        ..QueuePolicy::default()
    };
    let (slow, other) = (server.topic("slow").await, server.topic("other").await);
    server.queue("slow", &slow, refusing.clone()).await;
    server.queue("other", &other, refusing).await;
    let message = NewMessage {
        value: Some(Bytes::from_static(b"x")),
        ..NewMessage::default()
    };
    let fill = async |topic: &Arc<TopicHandle>| {
        let composed = server
            .broker
            .compose(topic, std::slice::from_ref(&message))
            .await;
        let (broker, composed) = (server.broker.clone(), composed.unwrap());
        let ((begin, begun), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        std::thread::spawn(move || {
            let _room = broker.room_for(&composed.appends).unwrap();
            begin.send(()).unwrap();
            let _ = ended.recv();
        });
        (begun, end)
    };
    let soon = Duration::from_secs(5);
    let (begun, end) = fill(&slow).await;
    begun.recv_timeout(soon).unwrap();
    let (of_other, _end) = fill(&other).await;
    of_other.recv_timeout(soon).expect("the other topic waits");
    let (next, _end) = fill(&slow).await;
    let early = next.recv_timeout(Duration::from_millis(50));
    assert!(early.is_err(), "two have the same room");
    drop(end);
    next.recv_timeout(soon).unwrap();
}

#[tokio::test]
async fn a_queue_whose_deleter_went_away_leaves_nothing() {
    let server = Server::start().await;
    let topic = server.topic("orders").await;
    for polls in 0..8 {
        let queue = server.queue("work", &topic, QueuePolicy::default()).await;
        let patience = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = queue.delete() => {}
            () = patience => {}
        }
        let state = server.broker.inner.slot.state();
        let gone = async {
            while state.get(&definition::key(queue.id())).unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
        assert!(gone.is_ok(), "after {polls} polls");
        assert!(server.broker.queue("work").is_err());
    }
}
