//! Queues: any number of consumers share a topic's records, and each record is somebody's to finish.
//!
//! A queue is a cursor with a state for each record instead of one offset. [`machine`] is one queue as a pure state
//! machine, the place to start; [`policy`] is what a queue can be told to do; [`wheel`] keeps its timers; [`record`] says
//! how its state is written down, and `definition` what the queue is.
//!
//! `driver` is what is around it: reading batches, committing what is to be written, waking who waits. None of this knows
//! a protocol, and the machine knows neither topics nor records' bytes.

mod definition;
mod driver;
mod error;
mod ids;
pub mod machine;
pub mod policy;
pub mod record;
pub mod wheel;

pub use definition::QueueDefinition;
pub use driver::{
    BrowsedMessage, Message, NewQueue, QueueDescription, QueueHandle, QueueStats,
    QueueSubscription, QueuesLoadError, ReceiveSpec, Received, Redrive, Redriven, StartAt,
    Subscribe, SubscriptionLink,
};
pub(crate) use driver::{QueueHolders, Queues, open};
pub use error::QueueError;
pub use ids::{
    ConsumerId, Incarnation, JobId, LeaseNumber, NoReceipt, PartitionIndex, QueueId, Receipt,
    ReceiptText, RequestToken,
};
pub use machine::{Effects, Queue};
pub use policy::QueuePolicy;
