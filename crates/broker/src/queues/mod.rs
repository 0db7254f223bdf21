//! Queues: any number of consumers share a topic's records, and each record is somebody's to finish.
//!
//! A queue is a cursor with a state for each record instead of one offset. [`machine`] is one queue as a pure state
//! machine, the place to start; [`policy`] is what a queue can be told to do; [`wheel`] keeps its timers; [`record`] says
//! how its state is written down.
//!
//! What is around it, reading batches, committing what is to be written, waking who waits, will lie beside it. None of
//! this knows a protocol, and the machine knows neither topics nor records' bytes.

mod ids;
pub mod machine;
pub mod policy;
pub mod record;
pub mod wheel;

pub use ids::{
    ConsumerId, Incarnation, JobId, LeaseNumber, PartitionIndex, QueueId, Receipt, RequestToken,
};
pub use machine::{Effects, Queue};
pub use policy::QueuePolicy;
