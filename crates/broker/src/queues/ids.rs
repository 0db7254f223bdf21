//! What a queue's parts are called.

use std::fmt;
use std::str::FromStr;

use millstream_record::Offset;

/// A queue on this server, by the number that the catalogue gave it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// A partition of the queue's topic: its index, counted from 0.
pub type PartitionIndex = u32;

/// Somebody who receives: a connection, or a name that outlives connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

impl ConsumerId {
    /// Stands for all who do not say who they are. Queues that have one consumer at a time refuse them.
    pub const UNNAMED: Self = Self(u64::MAX);

    /// What the numbers of connections have, and hashes of names have not.
    const OF_CONNECTION: u64 = 1 << 63;

    /// A connection, by a number that no other has, nor had before a restart. It is gone when the server ends.
    pub const fn of_connection(number: u64) -> Self {
        Self(number | Self::OF_CONNECTION)
    }

    /// A name, by its hash.
    pub(crate) const fn of_name(hash: u64) -> Self {
        Self(hash & !Self::OF_CONNECTION)
    }

    /// Whether it is gone when the server ends.
    pub(crate) fn is_connection(self) -> bool {
        self.0 & Self::OF_CONNECTION != 0 && self != Self::UNNAMED
    }
}

/// Stands for a receive that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// Stands for records on their way to the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Which life of the queue this is: it rises with every load, so that no lease number is given out twice although the
/// last ones before a crash may not have been written down. The store's epoch serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// A lease: the incarnation in the upper 24 bits, a count in the lower 40, so that later leases have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseNumber(pub u64);

impl LeaseNumber {
    const COUNT_BITS: u32 = 40;

    /// The number before the first of an incarnation.
    pub(crate) const fn before_first(incarnation: Incarnation) -> Self {
        Self((incarnation.0 as u64) << Self::COUNT_BITS)
    }

    /// The number after this one.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Which life of the queue gave it out.
    pub const fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> Self::COUNT_BITS) as u32)
    }
}

impl fmt::Display for LeaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0 & ((1 << Self::COUNT_BITS) - 1);
        write!(f, "{}.{count}", self.incarnation().0)
    }
}

/// What a consumer shows to say which delivery of which record it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// The lease that the record was delivered under.
    pub lease: LeaseNumber,
    /// Where the record is.
    pub partition: PartitionIndex,
    /// Where the record is in there.
    pub offset: Offset,
}

/// A receipt together with its queue, as protocols hand it out: `queue-lease-partition-offset`, each a number in base 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptText {
    /// The queue.
    pub queue: QueueId,
    /// The receipt.
    pub receipt: Receipt,
}

/// What was handed in is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a receipt; hand in what came with the message, unchanged")]
pub struct NoReceipt;

impl fmt::Display for ReceiptText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let receipt = &self.receipt;
        let offset = receipt.offset.get() as u64;
        let numbers = [
            self.queue.0,
            receipt.lease.0,
            receipt.partition.into(),
            offset,
        ];
        for (at, number) in numbers.into_iter().enumerate() {
            if at > 0 {
                f.write_str("-")?;
            }
            let mut digits = [0; 13];
            f.write_str(base_36(number, &mut digits))?;
        }
        Ok(())
    }
}

impl FromStr for ReceiptText {
    type Err = NoReceipt;

    fn from_str(text: &str) -> Result<Self, NoReceipt> {
        let mut parts = text.split('-');
        let mut next = || {
            let part = parts.next().ok_or(NoReceipt)?;
            let is_plain =
                part.len() <= 13 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let number = is_plain.then(|| u64::from_str_radix(part, 36).ok());
            number.flatten().ok_or(NoReceipt)
        };
        let (queue, lease, partition, offset) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(NoReceipt);
        }
        Ok(Self {
            queue: QueueId(queue),
            receipt: Receipt {
                lease: LeaseNumber(lease),
                partition: partition.try_into().map_err(|_| NoReceipt)?,
                offset: Offset(offset.try_into().map_err(|_| NoReceipt)?),
            },
        })
    }
}

fn base_36(mut number: u64, digits: &mut [u8; 13]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_survive_being_text() {
        for (queue, lease, partition, offset) in [
            (0, 0, 0, 0),
            (7, (3 << 40) + 12, 5, 1_234_567),
            (u64::MAX, u64::MAX, u32::MAX, i64::MAX),
        ] {
            let text = ReceiptText {
                queue: QueueId(queue),
                receipt: Receipt::new(LeaseNumber(lease), partition, Offset(offset)),
            };
            assert_eq!(text.to_string().parse(), Ok(text));
        }
    }

    #[test]
    fn other_text_is_no_receipt() {
        for text in [
            "",
            "1-2-3",
            "1-2-3-4-5",
            "1-2-3-x y",
            "-1-2-3-4",
            "1-2-zzzzzzzz-4",
            "+1-2-3-4",
        ] {
            assert_eq!(text.parse::<ReceiptText>(), Err(NoReceipt), "{text}");
        }
    }
}
