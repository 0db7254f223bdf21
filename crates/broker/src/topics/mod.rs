//! Topics: what there is of them, and how they come, change and go.
//!
//! A change is checked by the catalogue and becomes one commit, catalogue entry and partitions together. It can be seen
//! as soon as it is sequenced: whoever builds on it commits after it, so nothing durable ever rests on a topic that is
//! not. The one who asked is answered once it is durable.

mod admin;
mod handle;
mod registry;

pub use admin::{NewTopic, PlannedTopic};
pub use handle::{PartitionHandle, TopicHandle};
pub(crate) use registry::Registry;
