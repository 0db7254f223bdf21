//! The store's own numbers that must not be mixed up. Offsets, epochs and times are [`millstream_record`]'s.

use std::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// One log of a slot. Dense, given out by the slot, never reused.
    PartitionId(u32)
}

newtype! {
    /// One pack of a slot. Rising, never reused.
    PackId(u64)
}

newtype! {
    /// A place in the slot's journal, in bytes since the slot was made.
    JournalPosition(u64)
}

impl JournalPosition {
    /// Where a new slot's journal starts.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` further on.
    #[must_use]
    pub const fn advance(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}
