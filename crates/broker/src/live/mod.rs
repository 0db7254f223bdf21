//! The live cursor: records pushed to subscribers as they come, with nothing kept of a subscription but its buffer.
//!
//! A [`Subscription`] is to topics by name or pattern, with a filter, from a place of its choice, and has a policy for
//! when its reader is slow. While it is behind, it reads the log itself, at its reader's pace; once it has caught up, it
//! joins the *hub* of each partition: the one reader that decodes a batch once and offers the same
//! [`LiveMessage`]s to all. Hubs exist only while somebody is subscribed.
//!
//! What a subscriber's buffer, credit and policy do is a pure state machine (`machine`); `subscription` drives it for the
//! reader, `hub` for the log, each under a short lock. `registry` knows hubs and subscriptions, so that topics created
//! later join in. `memory` is what all that readers have not taken counts against. Start with [`SubscribeSpec`] and
//! [`Subscription::next`].

mod decode;
mod error;
mod hub;
mod latest;
mod machine;
mod memory;
mod message;
mod registry;
mod shared;
mod spec;
mod subscription;
mod token;

pub use error::{Disconnected, LiveError};
pub use message::{LiveItem, LiveMessage, Lost, LostReason};
pub(crate) use registry::Live;
pub use registry::LiveStats;
pub use spec::{SlowPolicy, Start, SubscribeSpec, Topics};
pub use subscription::Subscription;
pub use token::{ResumeToken, TokenError};
