//! Groups: readers that share a topic's partitions among them, and how far each group has read.
//!
//! Two halves. [`machine`] is one group's membership as a pure state machine, Kafka's classic group protocol with all
//! its rules. [`driver`] is everything around it: all groups of a broker, the requests that wait for answers, the
//! commits that make a generation or an offset durable before anyone hears of it, the clock. [`record`] says how both
//! are written down.
//!
//! [`Groups`] is what protocols use. It knows members, generations and offsets, and the words of Kafka's group
//! protocol, as that is what it implements; it must never know a request's layout, a version or an error code. What
//! members tell each other is opaque here: whoever can read it hands in the topics it subscribes to.
//!
//! The next generation of the group protocol (KIP-848), share groups and offsets committed by a transaction will each
//! be another machine or another record beside these.

mod driver;
mod error;
mod ids;
mod machine;
mod offsets;
mod record;
mod request;
mod settings;

pub use crate::fields::RecordError;
pub use driver::{
    GroupDescription, GroupListing, Groups, GroupsLoadError, MemberDescription, OffsetCommit,
    PartitionCommit,
};
pub use error::GroupError;
pub use ids::{Generation, GroupId, InstanceId, MemberId};
pub use machine::GroupState;
pub use offsets::{CommittedOffset, OffsetKey};
pub use request::{
    JoinRefused, JoinRequest, Joined, JoinedMember, Leaving, MemberProtocol, MemberRef,
    SyncRequest, Synced,
};
pub use settings::GroupSettings;

pub(crate) use driver::keep_time;
