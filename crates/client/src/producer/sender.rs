//! The task that sends batches and deals with the answers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::accumulator::{Accumulator, QueueIndex};
use super::lane::{Lane, Outgoing};
use super::request::{Answers, Fate, Load, Passenger};
use super::{Acks, Identity, ProducerConfig};
use crate::admin::offsets::TopicPartition;
use crate::client::{Client, Lane as ConnectionLane};
use crate::connection::Connection;
use crate::error::ClientError;

/// How long a partition rests after a failure that may pass.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

type BoxedAnswers = Pin<Box<dyn Future<Output = Answers> + Send>>;

/// The sending task's state.
pub(super) struct Sender {
    client: Client,
    config: ProducerConfig,
    identity: Option<Identity>,
    accumulator: Arc<Accumulator>,
    lanes: HashMap<QueueIndex, (TopicPartition, Lane)>,
    /// Queues that have, or may have, a batch to send: each at most once.
    due: VecDeque<QueueIndex>,
    is_due: HashSet<QueueIndex>,
    /// Queues that rest after a failure, in the order in which they go on.
    resting: VecDeque<(Instant, QueueIndex)>,
    is_resting: HashSet<QueueIndex>,
    /// Topics whose leaders have to be asked for again.
    stale: HashSet<String>,
    brokers: HashMap<i32, Broker>,
    /// The tasks behind `brokers`.
    collectors: JoinSet<()>,
    collected: mpsc::UnboundedSender<(i32, Answers)>,
    answers: mpsc::UnboundedReceiver<(i32, Answers)>,
}

/// What is in flight to one broker.
struct Broker {
    requests: usize,
    /// The connection over which the last request went.
    connection: Connection,
    /// To the task that collects the answers in the order of the requests. An answer that overtook the one before it
    /// could not be understood: whether a sequence number is out of order depends on what became of those before.
    collector: mpsc::UnboundedSender<BoxedAnswers>,
}

impl Sender {
    pub(super) fn new(
        client: Client,
        config: ProducerConfig,
        identity: Option<Identity>,
        accumulator: Arc<Accumulator>,
    ) -> Self {
        let (collected, answers) = mpsc::unbounded_channel();
        Self {
            client,
            config,
            identity,
            accumulator,
            lanes: HashMap::new(),
            due: VecDeque::new(),
            is_due: HashSet::new(),
            resting: VecDeque::new(),
            is_resting: HashSet::new(),
            stale: HashSet::new(),
            brokers: HashMap::new(),
            collectors: JoinSet::new(),
            collected,
            answers,
        }
    }

    pub(super) async fn run(mut self) {
        let accumulator = Arc::clone(&self.accumulator);
        loop {
            let lingers_until = self.collect_due();
            self.refresh_stale().await;
            self.send_due().await;
            // Only now, for what could not be sent rests as well.
            let rests_until = self.resting.front().map(|&(at, _)| at);
            let wake_at = [lingers_until, rests_until].into_iter().flatten().min();
            let timer = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = accumulator.work.notified() => {}
                Some((broker, answers)) = self.answers.recv() => {
                    if let Some(broker) = self.brokers.get_mut(&broker) {
                        broker.requests -= 1;
                    }
                    self.settle(answers);
                }
                () = timer => {}
            }
        }
    }

    /// Brings together what is due; tells when the next batch will have lingered.
    fn collect_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut due = Vec::new();
        let lingers_until = self.accumulator.collect_due(now, &mut due);
        while let Some(&(at, queue)) = self.resting.front() {
            if at > now {
                break;
            }
            self.resting.pop_front();
            self.is_resting.remove(&queue);
            due.push(queue);
        }
        for queue in due {
            self.mark_due(queue);
        }
        lingers_until
    }

    fn mark_due(&mut self, queue: QueueIndex) {
        if self.is_due.insert(queue) {
            self.due.push_back(queue);
        }
    }

    fn rest(&mut self, queue: QueueIndex) {
        if self.is_resting.insert(queue) {
            self.resting
                .push_back((Instant::now() + RETRY_PAUSE, queue));
        }
    }

    async fn refresh_stale(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let topics: Vec<&str> = self.stale.iter().map(String::as_str).collect();
        // If it fails, the sends that need it fail as well and ask again.
        if let Err(error) = self.client.refresh(Some(&topics)).await {
            tracing::debug!(%error, "metadata not refreshed");
        }
        self.stale.clear();
    }

    /// Sends requests until nothing is due or every broker has as many in flight as it may.
    async fn send_due(&mut self) {
        loop {
            let loads = self.load();
            if loads.is_empty() {
                return;
            }
            for (broker, load) in loads {
                self.send(broker, load).await;
            }
        }
    }

    /// Puts together one request for each broker that may get one.
    fn load(&mut self) -> BTreeMap<i32, Load> {
        let mut loads = BTreeMap::<i32, Load>::new();
        for _ in 0..self.due.len() {
            let full = |broker: &Broker| broker.requests >= self.config.in_flight_max;
            if !self.brokers.is_empty() && self.brokers.values().all(full) {
                break;
            }
            let Some(queue) = self.due.pop_front() else {
                break;
            };
            if self.load_next(queue, &mut loads) {
                self.due.push_back(queue);
            } else {
                self.is_due.remove(&queue);
            }
        }
        loads
    }

    /// Adds the next batch of `queue` to its broker's request. Whether the queue is still due.
    fn load_next(&mut self, queue: QueueIndex, loads: &mut BTreeMap<i32, Load>) -> bool {
        let accumulator = Arc::clone(&self.accumulator);
        let identity = self.identity;
        let (partition, lane) = self
            .lanes
            .entry(queue)
            .or_insert_with(|| (accumulator.partition(queue), Lane::new(identity)));
        if lane.broken().is_some() {
            self.give_up(queue);
            return false;
        }
        // The end of the rest makes the queue due again, and so does the answer that opens the lane.
        if self.is_resting.contains(&queue) || !lane.is_open() {
            return false;
        }
        let Some(broker) = self.client.leader(&partition.topic, partition.partition) else {
            self.stale.insert(partition.topic.to_string());
            self.rest(queue);
            return false;
        };
        let load = loads.entry(broker).or_default();
        let requests = self
            .brokers
            .get(&broker)
            .map_or(0, |broker| broker.requests);
        if requests >= self.config.in_flight_max || load.is_full(self.config.request_bytes_max) {
            if load.passengers.is_empty() {
                loads.remove(&broker);
            }
            return true;
        }
        let fresh = || accumulator.take(queue).and_then(Outgoing::encode);
        let Some(outgoing) = lane.next(fresh) else {
            if load.passengers.is_empty() {
                loads.remove(&broker);
            }
            return false;
        };
        load.add(Passenger {
            queue,
            partition: partition.clone(),
            outgoing,
        });
        true
    }

    async fn send(&mut self, broker: i32, load: Load) {
        let submitted = match self
            .client
            .connection(broker, ConnectionLane::Produce)
            .await
        {
            Ok(connection) => match self.awaited_connection(broker) {
                // What is in flight has failed with its connection, although that is still to be dealt with: what goes
                // out now would overtake it.
                Some(earlier) if !earlier.is(&connection) => Err((load, earlier.lost())),
                _ => self.submit(&connection, broker, load),
            },
            Err(error) => Err((load, error)),
        };
        if let Err((load, error)) = submitted {
            self.settle(load.answer_all(&Err(error)));
        }
    }

    /// The connection that answers are to come from, if any are.
    fn awaited_connection(&self, broker: i32) -> Option<&Connection> {
        let broker = self.brokers.get(&broker)?;
        (broker.requests > 0).then_some(&broker.connection)
    }

    fn submit(
        &mut self,
        connection: &Connection,
        broker: i32,
        load: Load,
    ) -> Result<(), (Load, ClientError)> {
        let timeout_ms = self.client.request_timeout().as_millis() as i32;
        let request = load.to_request(self.config.acks.on_wire(), timeout_ms);
        let fates: BoxedAnswers = if self.config.acks == Acks::None {
            match connection.submit_unanswered(&request) {
                Err(error) => return Err((load, error)),
                Ok(written) => {
                    Box::pin(async move { load.answer_all(&written.wait().await.map(|()| None)) })
                }
            }
        } else {
            match connection.submit(&request) {
                Err(error) => return Err((load, error)),
                Ok(answer) => {
                    // The request itself allows the server a timeout, too.
                    let answer = answer.allow(self.client.request_timeout());
                    Box::pin(async move {
                        match answer.wait().await {
                            Ok(response) => load.answer_each(response),
                            Err(error) => load.answer_all(&Err(error)),
                        }
                    })
                }
            }
        };
        self.expect(broker, connection, fates);
        Ok(())
    }

    fn expect(&mut self, id: i32, connection: &Connection, fates: BoxedAnswers) {
        let broker = self.brokers.entry(id).or_insert_with(|| {
            let (collector, mut expected) = mpsc::unbounded_channel::<BoxedAnswers>();
            let collected = self.collected.clone();
            self.collectors.spawn(async move {
                while let Some(fates) = expected.recv().await {
                    if collected.send((id, fates.await)).is_err() {
                        return;
                    }
                }
            });
            Broker {
                requests: 0,
                connection: connection.clone(),
                collector,
            }
        });
        broker.connection = connection.clone();
        broker.requests += 1;
        // The task ends only with this one.
        let _ = broker.collector.send(fates);
    }

    /// Deals with what became of batches.
    fn settle(&mut self, answers: Answers) {
        for (passenger, answer) in answers {
            let Passenger {
                queue,
                partition,
                outgoing,
            } = passenger;
            let Some((_, lane)) = self.lanes.get_mut(&queue) else {
                continue;
            };
            let expired = expiry(&outgoing, &answer, self.config.delivery_timeout);
            if let Some((outgoing, fate)) = lane.answered(outgoing, answer, expired) {
                finish(&self.accumulator, &outgoing, fate);
                if lane.is_open() {
                    self.mark_due(queue);
                }
            } else {
                self.stale.insert(partition.topic.to_string());
                self.rest(queue);
            }
        }
    }

    /// Fails everything that waits in a queue whose partition can no longer be written to with certainty.
    fn give_up(&mut self, queue: QueueIndex) {
        let Some((_, lane)) = self.lanes.get_mut(&queue) else {
            return;
        };
        let Some(error) = lane.broken().cloned() else {
            return;
        };
        for outgoing in lane.drain() {
            finish(&self.accumulator, &outgoing, Err(error.clone()));
        }
        while let Some(waiting) = self.accumulator.take(queue) {
            self.accumulator
                .finish(waiting.id, waiting.reserved_bytes, Some(&error));
            waiting.outcome.set(Err(error.clone()));
        }
    }
}

/// Tells those who wait, after the books are right.
fn finish(accumulator: &Accumulator, outgoing: &Outgoing, fate: Fate) {
    accumulator.finish(outgoing.id, outgoing.reserved_bytes, fate.as_ref().err());
    outgoing.outcome.set(fate);
}

/// The error to give up with, if the batch failed and its time is up.
fn expiry(outgoing: &Outgoing, answer: &Fate, limit: Duration) -> Option<ClientError> {
    let error = answer.as_ref().err()?;
    let expired = outgoing.since.elapsed() >= limit;
    expired.then(|| ClientError::DeliveryTimedOut {
        after: limit,
        last: error.to_string(),
    })
}
