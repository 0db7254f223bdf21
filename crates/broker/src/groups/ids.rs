//! What groups, members and generations are called.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Copies the name out of `text`.
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the peer gave no name at all.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// Names a group. Any UTF-8 text.
    GroupId
}

name! {
    /// Names one member of a group for as long as its membership lasts. The server gives it out: a member that joins
    /// for the first time has none, which Kafka writes as the empty string.
    MemberId
}

name! {
    /// The name a member chose for itself so that it stays the same member over its restarts (`group.instance.id`,
    /// KIP-345).
    InstanceId
}

impl MemberId {
    /// No member: a first join, or a reader that is in no group.
    pub fn none() -> Self {
        Self::new("")
    }
}

/// Counts a group's rebalances: every generation has one leader, one list of members and one assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// A reader that is in no group, or a refused join.
    pub const NONE: Self = Self(-1);

    /// The generation after this one. After two billion rebalances it starts over.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(if self.0 == i32::MAX { 0 } else { self.0 + 1 })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment on the monotonic clock, in milliseconds since the process's own beginning of time. Never written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// This moment moved later by `duration_ms`.
    #[must_use]
    pub(crate) const fn after(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }
}
