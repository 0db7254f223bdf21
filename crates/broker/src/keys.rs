//! Where in the state table each layer's entries lie.
//!
//! A key starts with a byte that says whose it is. The store keeps `00` to itself.
//!
//! ```text
//! 01 | topic id            the catalogue: a topic, or the tombstone of one    millstream-catalog, entry.rs
//! 02 01                    the cluster id, as text                            identity.rs
//! 02 02                    the next producer id to give out, u64 big-endian   produce/producer_ids.rs
//! 02 04                    the last queue id given out, u64 big-endian         queues/driver
//! 02 05                    the last life of queues, u64 big-endian            queues/driver
//! 02 03                    what clients changed of the server's settings      millstream-catalog, server_entry.rs
//! 03 ..                    groups and their offsets                           groups/record
//! 04 | queue id            a queue's state                                    queues/record
//! 05 | queue id            what a queue is                                    queues/definition
//! 06 | name                a route                                            routes/route.rs
//! 07 | partition ..        where records with a key are                       produce/key_index.rs
//! 08 | bucket ..           publishes with an idempotency key                  produce/idempotency.rs
//! ```

/// The cluster id.
pub(crate) const CLUSTER_ID: &[u8] = &[0x02, 0x01];

/// The first producer id that no block has been taken from yet.
pub(crate) const NEXT_PRODUCER_ID: &[u8] = &[0x02, 0x02];

/// Routes.
pub(crate) const ROUTES: &[u8] = &[0x06];

/// Where records with a key are.
pub(crate) const KEY_INDEX: u8 = 0x07;

/// What is remembered of publishes with an idempotency key.
pub(crate) const IDEMPOTENCY: u8 = 0x08;

/// The last queue id that was given out.
pub(crate) const LAST_QUEUE_ID: &[u8] = &[0x02, 0x04];

/// The last life that queues have begun.
pub(crate) const QUEUE_INCARNATION: &[u8] = &[0x02, 0x05];

/// What clients have changed of the server's settings.
pub(crate) const SERVER_SETTINGS: &[u8] = &[0x02, 0x03];
