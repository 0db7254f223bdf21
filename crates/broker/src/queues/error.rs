//! Why something about a queue is refused.

use std::borrow::Cow;
use std::sync::Arc;

use millstream_catalog::TopicName;
use millstream_record::Offset;

use crate::error::BrokerError;
use crate::queues::machine::{ReceiptError, ReceiveRefused};

/// Why something about a queue is refused. Nothing of what was asked has happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no such queue, or no longer.
    #[error("there is no such queue; create it first")]
    UnknownQueue,
    /// A queue of that name is there.
    #[error("queue {0} exists already")]
    QueueExists(Arc<str>),
    /// The name cannot be a queue's.
    #[error(
        "'{0}' cannot be a queue's name: use 1 to 255 letters, digits, dots, underscores, hyphens or other text without control characters"
    )]
    InvalidName(Arc<str>),
    /// The policy asks for something that cannot be.
    #[error("{0}")]
    InvalidPolicy(Cow<'static, str>),
    /// Too many queues.
    #[error("there are {0} queues, as many as may be; delete some first")]
    TooManyQueues(usize),
    /// The receive is refused.
    #[error(transparent)]
    Receive(#[from] ReceiveRefused),
    /// The queue has one consumer at a time, and who asks does not say who it is.
    #[error(
        "the queue has one consumer at a time, so a receive has to say who asks: send `consumer`, a name of your choice, the same with each request of one consumer"
    )]
    ConsumerNeeded,
    /// A receipt is refused, and with it everything that was to happen together.
    #[error("receipt {index} is refused: {error}; nothing was published or acknowledged")]
    Receipt {
        /// Which of the receipts.
        index: usize,
        /// Why.
        error: ReceiptError,
    },
    /// The queue has no dead letters.
    #[error("the queue keeps no dead letters; turn dead_letters on in its policy")]
    NoDeadLetters,
    /// Dead letters were to be published where they lie. They would leave what is said of their death behind, and not be found
    /// again.
    #[error(
        "{0} is where the queue's dead letters lie; redrive them to another topic, or to where each came from by leaving `to` out"
    )]
    RedriveToDeadLetters(TopicName),
    /// Dead letters are damaged where they are stored, or their file is not there. They stay: it may come back.
    #[error(
        "dead letters from offset {from} up to {upto} in partition {partition} of topic {topic} cannot be read: {why}; bring them back, or delete the records of that partition before {upto} if they are to be given up, and ask again"
    )]
    DamagedLetters {
        /// Their topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Where they begin.
        from: Offset,
        /// Where what can be read begins again.
        upto: Offset,
        /// What is wrong with them.
        why: Arc<str>,
    },
    /// What lies below the queue refuses.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
