//! The numbers that must not be mixed up: a newtype for each.
//!
//! The inner value is public because these are names, not invariants: Kafka gives some negative values a meaning
//! (`NONE` below), and a number from the wire has to be representable before it can be refused.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

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
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

newtype! {
    /// A record's place in its partition, counted from 0 and never reused.
    Offset(i64)
}

impl Offset {
    /// The first offset of a partition.
    pub const ZERO: Self = Self(0);
    /// Kafka's value for an offset that is not known.
    pub const NONE: Self = Self(-1);

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Add<i64> for Offset {
    type Output = Self;
    fn add(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, count: i64) {
        self.0 += count;
    }
}

impl Sub<i64> for Offset {
    type Output = Self;
    fn sub(self, count: i64) -> Self {
        Self(self.0 - count)
    }
}

impl Sub for Offset {
    type Output = i64;
    /// How many offsets lie from `other` up to this one.
    fn sub(self, other: Self) -> i64 {
        self.0 - other.0
    }
}

newtype! {
    /// A point in time: milliseconds since 1970-01-01 UTC.
    TimestampMs(i64)
}

impl TimestampMs {
    /// Kafka's value for a record without a timestamp.
    pub const NONE: Self = Self(-1);

    /// This time moved later by `duration_ms`, stopping at the end of time.
    #[must_use]
    pub const fn saturating_add(self, duration_ms: i64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }

    /// This time moved earlier by `duration_ms`, stopping at the beginning of time.
    #[must_use]
    pub const fn saturating_sub(self, duration_ms: i64) -> Self {
        Self(self.0.saturating_sub(duration_ms))
    }
}

newtype! {
    /// Which leadership of a partition wrote a batch. It rises whenever what followers or readers saw may have been
    /// lost (KIP-101, KIP-320).
    LeaderEpoch(i32)
}

impl LeaderEpoch {
    /// Kafka's value for an epoch that is not known.
    pub const NONE: Self = Self(-1);
}

newtype! {
    /// Names one producer session for idempotence and transactions (KIP-98).
    ProducerId(i64)
}

impl ProducerId {
    /// The batch came from a producer without idempotence.
    pub const NONE: Self = Self(-1);
}

newtype! {
    /// Fences an older session that holds the same producer id.
    ProducerEpoch(i16)
}

impl ProducerEpoch {
    /// The epoch that goes with [`ProducerId::NONE`].
    pub const NONE: Self = Self(-1);
}

newtype! {
    /// A record's number within its producer session and partition.
    ///
    /// Numbers run from 0 to `i32::MAX` and then start again at 0, so they have an order only together with the
    /// distance between them: use [`Sequence::advance`] and [`Sequence::distance_from`].
    Sequence(i32)
}

impl Sequence {
    /// The sequence that goes with [`ProducerId::NONE`].
    pub const NONE: Self = Self(-1);
    /// Where every producer session starts.
    pub const ZERO: Self = Self(0);

    /// The number `count` records later; `i32::MAX` is followed by 0.
    #[must_use]
    pub const fn advance(self, count: i32) -> Self {
        Self(self.0.wrapping_add(count) & i32::MAX)
    }

    /// How many records later this number is than `earlier`, from 0 to `i32::MAX`.
    pub const fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) & i32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero() {
        assert_eq!(Sequence(5).advance(3), Sequence(8));
        assert_eq!(Sequence(i32::MAX).advance(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).advance(4), Sequence(2));
        assert_eq!(Sequence(2).distance_from(Sequence(i32::MAX - 1)), 4);
        assert_eq!(Sequence(0).distance_from(Sequence(i32::MAX)), 1);
        assert_eq!(Sequence(7).distance_from(Sequence(7)), 0);
    }

    #[test]
    fn offsets_add_and_subtract() {
        assert_eq!(Offset(7).next(), Offset(8));
        assert_eq!(Offset(7) + 3 - Offset(4), 6);
        assert_eq!(Offset(7) - 3, Offset(4));
        assert_eq!(Offset(7).to_string(), "7");
    }
}
