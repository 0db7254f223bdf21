//! What a socket is subscribed to: topics, and queues that it consumes. Each is a task that hands over what comes.
//!
//! They hand it over through one short line, bounded in items and in bytes, so what a client that reads slowly holds is what
//! its subscriptions buffer and a few items here. Records are shared, and count as memory of live readers until they are
//! written; messages of queues are on loan until then, and go back if they are never written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::live::{LiveItem, LiveMessage, Lost, Subscription};
use millstream_broker::queues::{
    QueueHandle, QueueSubscription, Receipt, Received, SubscriptionLink,
};
use millstream_broker::streams::Held;
use millstream_limits::{
    HTTP_SOCKET_LINE_BYTES, HTTP_SOCKET_LINE_ITEMS, HTTP_SOCKET_SUBSCRIPTIONS_MAX,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::api::live::standing::Standing;
use crate::problem::{Kind, Problem};

/// All subscriptions of a socket, by the names that the client gave them.
pub(super) struct Channels {
    by_name: HashMap<Arc<str>, Channel>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Arrival>,
    line: mpsc::Receiver<Arrival>,
    /// For the bytes of what is in the line.
    room: Arc<Semaphore>,
    last_number: u64,
}

struct Channel {
    /// Tells it from others that had the same name before.
    number: u64,
    /// None while it is being opened.
    open: Option<Open>,
}

struct Open {
    credit: Credit,
    task: AbortHandle,
}

/// How a subscription is told that more may come.
enum Credit {
    /// All credit there ever was.
    Records(watch::Sender<u64>),
    Messages(SubscriptionLink),
}

/// Something that came for a subscription.
pub(super) struct Arrival {
    number: u64,
    pub(super) name: Arc<str>,
    pub(super) came: Came,
    _room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Came {
    /// A record, and where the subscription stands after it.
    Record(Arc<LiveMessage>, Option<String>),
    /// So many records were dropped here.
    Dropped(u64),
    /// What is lost, and where the subscription stands after it.
    Lost(Lost, Option<String>),
    /// Where a subscription stands that has had nothing to bring for a while.
    Position(String),
    Messages(Loan),
    Ended(Problem),
}

/// Messages of a queue that the client has not got yet.
pub(super) struct Loan {
    link: SubscriptionLink,
    left: std::vec::IntoIter<Received>,
    _held: Held,
}

impl Channels {
    pub(super) fn new() -> Self {
        let (sender, line) = mpsc::channel(HTTP_SOCKET_LINE_ITEMS);
        Self {
            by_name: HashMap::new(),
            tasks: JoinSet::new(),
            sender,
            line,
            room: Arc::new(Semaphore::new(HTTP_SOCKET_LINE_BYTES)),
            last_number: 0,
        }
    }

    /// Takes a name for a subscription that is being opened.
    pub(super) fn reserve(&mut self, name: &str) -> Result<Arc<str>, Problem> {
        if self.by_name.len() >= HTTP_SOCKET_SUBSCRIPTIONS_MAX {
            return Err(Problem::new(
                Kind::CONFLICT,
                format!(
                    "a socket has at most {HTTP_SOCKET_SUBSCRIPTIONS_MAX} subscriptions; unsubscribe from some, or open another"
                ),
            ));
        }
        let name: Arc<str> = name.into();
        match self.by_name.entry(Arc::clone(&name)) {
            Entry::Occupied(_) => Err(Problem::new(
                Kind::EXISTS,
                format!("there is a subscription {name:?} on this socket; use another name"),
            )),
            Entry::Vacant(place) => {
                self.last_number += 1;
                place.insert(Channel {
                    number: self.last_number,
                    open: None,
                });
                Ok(name)
            }
        }
    }

    /// Gives a reserved name back.
    pub(super) fn release(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Hands over what comes out of `subscription`, and so often where it stands when nothing does. The client was told where
    /// it begins.
    pub(super) fn follow(&mut self, name: &Arc<str>, subscription: Subscription, every: Duration) {
        let (credit, credits) = watch::channel(0);
        let standing = Standing::new(subscription.position(), every);
        self.start(name, Credit::Records(credit), |giver| {
            follow(giver, credits, subscription, standing)
        });
    }

    /// Hands over what comes out of `subscription`.
    pub(super) fn consume(&mut self, name: &Arc<str>, subscription: QueueSubscription) {
        let credit = Credit::Messages(subscription.link().clone());
        self.start(name, credit, |giver| consume(giver, subscription));
    }

    fn start<F>(&mut self, name: &Arc<str>, credit: Credit, work: impl FnOnce(Giver) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Those that have ended are forgotten by and by.
        while self.tasks.try_join_next().is_some() {}
        let Some(channel) = self.by_name.get_mut(name) else {
            return;
        };
        let giver = Giver {
            number: channel.number,
            name: Arc::clone(name),
            sender: self.sender.clone(),
            room: Arc::clone(&self.room),
        };
        let task = self.tasks.spawn(work(giver));
        channel.open = Some(Open { credit, task });
    }

    /// Lets so many more records come.
    pub(super) fn add_credit(&self, name: &str, credit: u64) -> Result<(), Problem> {
        let channel = self.by_name.get(name);
        let open = channel.and_then(|channel| channel.open.as_ref());
        let open = open.ok_or_else(|| unknown(name))?;
        match &open.credit {
            Credit::Records(total) => {
                total.send_modify(|total| *total = total.saturating_add(credit));
            }
            Credit::Messages(link) => {
                link.add_credit(u32::try_from(credit).unwrap_or(u32::MAX))?;
            }
        }
        Ok(())
    }

    /// Ends a subscription: nothing that came for it is given out any more.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Problem> {
        let channel = self.by_name.get(name);
        let open = channel.and_then(|channel| channel.open.as_ref());
        open.ok_or_else(|| unknown(name))?.task.abort();
        self.by_name.remove(name);
        Ok(())
    }

    /// What comes next, for any of them.
    pub(super) async fn next(&mut self) -> Arrival {
        loop {
            let arrival = self.line.recv().await;
            let arrival = arrival.expect("a sender is kept here");
            if self.is_current(&arrival) {
                return arrival;
            }
        }
    }

    /// The same if it is there already.
    pub(super) fn try_next(&mut self) -> Option<Arrival> {
        loop {
            let arrival = self.line.try_recv().ok()?;
            if self.is_current(&arrival) {
                return Some(arrival);
            }
        }
    }

    fn is_current(&self, arrival: &Arrival) -> bool {
        let channel = self.by_name.get(&arrival.name);
        channel.is_some_and(|channel| channel.number == arrival.number)
    }

    /// Ends all of them. Once it returns, messages that came and were never written have gone back to their queues.
    pub(super) async fn close(&mut self) {
        self.tasks.shutdown().await;
        self.line.close();
        while self.line.try_recv().is_ok() {}
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(
        Kind::UNKNOWN_SUBSCRIPTION,
        format!("there is no subscription {name:?} on this socket"),
    )
}

/// A task's end of the line.
struct Giver {
    number: u64,
    name: Arc<str>,
    sender: mpsc::Sender<Arrival>,
    room: Arc<Semaphore>,
}

impl Giver {
    /// Waits for room.
    async fn give(&self, came: Came) {
        let bytes = match &came {
            Came::Messages(loan) => loan.size_bytes(),
            Came::Record(message, _) => message.size_bytes(),
            Came::Dropped(_) | Came::Lost(..) | Came::Position(_) | Came::Ended(_) => 0,
        };
        let bytes = bytes.min(HTTP_SOCKET_LINE_BYTES) as u32;
        let room = match bytes {
            0 => None,
            bytes => Arc::clone(&self.room).acquire_many_owned(bytes).await.ok(),
        };
        let arrival = Arrival {
            number: self.number,
            name: Arc::clone(&self.name),
            came,
            _room: room,
        };
        // If nobody is there any more, this task is about to be ended.
        let _ = self.sender.send(arrival).await;
    }
}

/// Waits for more credit, and says how much.
async fn more(credits: &mut watch::Receiver<u64>, seen: &mut u64) -> Option<u64> {
    credits.changed().await.ok()?;
    let total = *credits.borrow_and_update();
    Some(total - std::mem::replace(seen, total))
}

async fn follow(
    giver: Giver,
    mut credits: watch::Receiver<u64>,
    mut subscription: Subscription,
    mut standing: Standing,
) {
    let mut seen = 0;
    loop {
        let item = tokio::select! {
            more = more(&mut credits, &mut seen) => match more {
                Some(credit) => {
                    subscription.add_credit(credit);
                    continue;
                }
                None => return,
            },
            item = subscription.next() => item,
            () = standing.silence() => {
                if let Some(position) = standing.news(subscription.position()) {
                    giver.give(Came::Position(position.to_string())).await;
                }
                continue;
            }
        };
        standing.spoke();
        let came = match item {
            LiveItem::Disconnected(reason) => return giver.give(Came::Ended(reason.into())).await,
            // It is in the place of what was dropped, and tells no other.
            LiveItem::Dropped { count } => Came::Dropped(count),
            LiveItem::Record(message) => Came::Record(message, stand(&subscription, &mut standing)),
            LiveItem::Lost(lost) => Came::Lost(lost, stand(&subscription, &mut standing)),
        };
        giver.give(came).await;
    }
}

/// Where the subscription stands now, which the client is about to be told.
fn stand(subscription: &Subscription, standing: &mut Standing) -> Option<String> {
    let position = subscription.position();
    let at = position.as_ref().map(ToString::to_string);
    standing.tell(position);
    at
}

async fn consume(giver: Giver, mut subscription: QueueSubscription) {
    loop {
        let came = match subscription.next().await {
            Some(Ok((received, held))) => Came::Messages(Loan {
                link: subscription.link().clone(),
                left: received.into_iter(),
                _held: held,
            }),
            Some(Err(error)) => return giver.give(Came::Ended(error.into())).await,
            None => {
                let problem = Problem::new(
                    Kind::UNKNOWN_QUEUE,
                    "the queue delivers nothing more here: it was deleted, or has to be consumed anew",
                );
                return giver.give(Came::Ended(problem)).await;
            }
        };
        giver.give(came).await;
    }
}

impl Loan {
    /// The client gets its messages from here on. Whether it may: their time may be over.
    pub(super) fn hand_over(&self) -> bool {
        let first = self.left.as_slice().first();
        first.is_some_and(|first| self.link.handed(first.receipt.lease))
    }

    /// The next message; none if there is none, or no time left for it.
    pub(super) fn next(&self) -> Option<&Received> {
        let next = self.left.as_slice().first()?;
        (!self.link.is_late(next.deadline)).then_some(next)
    }

    /// The next message is the client's business from here on.
    pub(super) fn hand_out(&mut self) {
        self.left.next();
    }

    pub(super) fn queue(&self) -> &QueueHandle {
        self.link.queue()
    }

    /// What its messages take.
    fn size_bytes(&self) -> usize {
        let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let sizes = self.left.as_slice().iter().map(|one| {
            let message = &one.message;
            part(&message.key) + part(&message.value) + message.headers.size_bytes()
        });
        sizes.sum()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let left = self.left.as_slice().iter();
        let receipts: Vec<Receipt> = left.map(|one| one.receipt).collect();
        if !receipts.is_empty() {
            self.link.undelivered(&receipts);
        }
    }
}
