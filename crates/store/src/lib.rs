//! Slots: the journal, tails, packs and state table that records live in.
//!
//! A [`Slot`] takes [`Commit`]s, gives each its place in one order, writes them to its journal in groups, and shows
//! them to readers once they are as durable as their partitions promise. Recent batches are read from memory; older
//! ones have been settled into packs. Everything small and keyed is in the [`state`] table.
//!
//! Start with [`Slot`] and [`Partition`], the two handles that the layers above hold. Inside, a commit goes
//! `sequencer` → `journal` → `partition` (tail), and later `settle` → `pack`, `manifest` and `state`.
//!
//! The store knows partitions by number only. It must never learn what a topic, a group or a protocol is, and it looks
//! into a batch no further than its header, except where compaction or a search by time asks for more.

#![forbid(unsafe_code)]

mod backup;
mod budget;
mod commit;
pub mod doctor;
mod driver;
mod engine;
mod epochs;
mod error;
mod files;
pub mod format;
mod holders;
mod ids;
pub mod journal;
mod layout;
pub mod manifest;
pub mod media;
pub mod pack;
mod partition;
mod policy;
mod producers;
mod recovery;
mod replay;
mod room;
mod sequencer;
mod settings;
pub mod settle;
mod settler;
mod slot;
pub mod state;
mod stats;
mod tail;
mod ticket;
mod view;
mod wake;

pub use backup::{BackupError, BackupSummary, backup_closed, restore};
pub use budget::Admission;
pub use commit::{
    Append, Appended, Behind, Commit, Mark, PartitionOpen, Require, Sequenced, StateChanges, Trim,
};
pub use error::{CommitError, OpenError, ReadError, SlotFailure, StoreError};
pub use holders::Holders;
pub use ids::{JournalPosition, PackId, PartitionId};
pub use journal::scan::DamagedRange;
pub use layout::{Layout, SlotFormat};
pub use partition::{Appends, DiskRead, Offsets, Partition, ProducerSummary, Read};
pub use policy::{Cleanup, Durability, Overflow, PartitionPolicy};
pub use replay::RecoveryReport;
pub use room::Stay;
pub use sequencer::Prepared;
pub use settings::{Drive, SlotSettings};
pub use slot::Slot;
pub use state::State;
pub use stats::SlotStats;
pub use ticket::Ticket;
pub use wake::Wake;
