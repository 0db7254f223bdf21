//! Writing records: what a topic takes, and where a batch goes.
//!
//! [`Broker::append`](crate::Broker::append) is the hot path. It reads a batch's bytes once, for the checksum, and hands
//! them on as they are; only a topic that asks for more (its own codec or timestamps, keys, an earliest timestamp) has
//! them decoded or copied. [`Broker::publish`](crate::Broker::publish) is for protocols that bring records one by one: it
//! chooses partitions and makes the batches. [`Broker::publish_once`](crate::Broker::publish_once) does the same for what may
//! be sent again.

mod accept;
mod append;
mod buckets;
mod idempotency;
mod intake;
mod key_index;
mod producer_ids;
mod publish;
mod publish_once;
mod trim;

pub(crate) use accept::{accept, takes_long, unpacking_takes_long};
pub use append::Appending;
pub use idempotency::IdempotencyKey;
pub(crate) use intake::Gone;
pub use key_index::{Expectation, ExpectedPosition, KeyRecords};
pub(crate) use producer_ids::ProducerIds;
pub(crate) use publish::{Composed, Rotor, append_of};
pub use publish::{NewMessage, Published, Publishing};
pub(crate) use publish_once::{Idempotency, forget_old_keys};
pub use publish_once::{PublishedOnce, PublishingOnce};
pub(crate) use trim::{KeyIndexTrim, keep_key_indexes};
