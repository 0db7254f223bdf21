//! A subscription's position as text.

use std::fmt;
use std::str::FromStr;

use millstream_catalog::TopicId;
use millstream_limits::LIVE_TOKEN_POSITIONS_MAX;
use millstream_record::{LeaderEpoch, Offset};
use smallvec::SmallVec;
use thiserror::Error;

/// The position of a subscription to nothing that exists.
const NOWHERE: &str = "-";

/// Where a subscription stands: in each partition the next record it has not delivered.
///
/// As text it is, for each topic, the first 16 hex digits of its id, the leader epoch in which it was made, and
/// `partition:offset` pairs: `5f0c27d3a9b14e60@3/0:17,1:4`, several topics separated by `;`. A topic that was created again
/// under its old name is another one, and is read from its first record. The epoch tells what was seen and did not survive
/// from what was written in its place; it may be missing. Where there is no partition yet it is `-`: clients take an empty id
/// for none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResumeToken {
    /// In the order of topic and partition. Of one partition, as is common, it costs no memory of its own.
    positions: SmallVec<[Position; 1]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    topic: u64,
    partition: u32,
    next: i64,
    epoch: Option<i32>,
}

/// Where a subscription stood in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stand {
    /// The next record that it had not delivered.
    pub(super) next: Offset,
    /// The leadership that it read under, if it says so.
    pub(super) epoch: Option<LeaderEpoch>,
}

/// Why a text is not a position.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It has another form.
    #[error("a position looks like 5f0c27d3a9b14e60@3/0:17,1:4, as it was given out with a record")]
    Malformed,
    /// It is longer than any that was given out.
    #[error("a position has at most {LIVE_TOKEN_POSITIONS_MAX} partitions")]
    TooLong,
}

impl ResumeToken {
    /// Of positions in any order.
    pub(super) fn new(positions: impl Iterator<Item = (TopicId, u32, Stand)>) -> Self {
        let mut positions: SmallVec<_> = positions
            .map(|(topic, partition, stand)| Position {
                topic: short(topic),
                partition,
                next: stand.next.get(),
                epoch: stand.epoch.map(|epoch| epoch.0),
            })
            .collect();
        positions.sort_unstable();
        Self { positions }
    }

    /// The position in a partition, if it was there.
    pub(super) fn get(&self, topic: TopicId, partition: u32) -> Option<Stand> {
        let wanted = (short(topic), partition);
        let found = self
            .positions
            .binary_search_by_key(&wanted, |position| (position.topic, position.partition));
        let position = &self.positions[found.ok()?];
        Some(Stand {
            next: Offset(position.next),
            epoch: position.epoch.map(LeaderEpoch),
        })
    }
}

/// Enough of the id to tell topics apart.
fn short(topic: TopicId) -> u64 {
    topic.0.as_u64_pair().0
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.positions.is_empty() {
            return f.write_str(NOWHERE);
        }
        let mut before = None;
        for position in &self.positions {
            let group = Some((position.topic, position.epoch));
            if group == before {
                f.write_str(",")?;
            } else {
                let separator = if before.is_some() { ";" } else { "" };
                write!(f, "{separator}{:016x}", position.topic)?;
                if let Some(epoch) = position.epoch {
                    write!(f, "@{epoch}")?;
                }
                f.write_str("/")?;
            }
            write!(f, "{}:{}", position.partition, position.next)?;
            before = group;
        }
        Ok(())
    }
}

impl FromStr for ResumeToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        /// A partition, an offset and what is between them, at most.
        const POSITION_BYTES_MAX: usize = 64;
        if text.len() > LIVE_TOKEN_POSITIONS_MAX * POSITION_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        if text == NOWHERE {
            return Ok(Self::default());
        }
        let mut positions = SmallVec::new();
        for group in text.split(';').filter(|group| !group.is_empty()) {
            let (topic, places) = group.split_once('/').ok_or(TokenError::Malformed)?;
            let (topic, epoch) = match topic.split_once('@') {
                Some((topic, epoch)) => (topic, Some(number(epoch).ok_or(TokenError::Malformed)?)),
                None => (topic, None),
            };
            let topic = u64::from_str_radix(topic, 16).map_err(|_| TokenError::Malformed)?;
            for place in places.split(',') {
                positions.push(position(topic, epoch, place).ok_or(TokenError::Malformed)?);
            }
        }
        if positions.len() > LIVE_TOKEN_POSITIONS_MAX {
            return Err(TokenError::TooLong);
        }
        positions.sort_unstable();
        Ok(Self { positions })
    }
}

fn position(topic: u64, epoch: Option<i32>, text: &str) -> Option<Position> {
    let (partition, next) = text.split_once(':')?;
    Some(Position {
        topic,
        partition: partition.parse().ok()?,
        next: number(next)?,
        epoch,
    })
}

/// A number that is not negative.
fn number<N: FromStr + PartialOrd + Default>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number| *number >= N::default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(number: u64) -> TopicId {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        TopicId::from_random(bytes)
    }

    fn stand(next: i64, epoch: Option<i32>) -> Stand {
        Stand {
            next: Offset(next),
            epoch: epoch.map(LeaderEpoch),
        }
    }

    #[test]
    fn a_position_is_short_text() {
        let stands = [
            (topic(1), 1, stand(4, Some(3))),
            (topic(1), 0, stand(17, Some(3))),
        ];
        let token = ResumeToken::new(stands.into_iter());
        let text = token.to_string();
        assert!(text.ends_with("@3/0:17,1:4"), "{text}");
        assert_eq!(text.parse(), Ok(token.clone()));
        let older: ResumeToken = text.replace("@3", "").parse().unwrap();
        assert_eq!(older.get(topic(1), 1), Some(stand(4, None)));
        assert_eq!(token.get(topic(1), 1), Some(stand(4, Some(3))));
        assert_eq!(token.get(topic(1), 2), None);
        assert_eq!(token.get(topic(2), 1), None);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "1",
            "1/",
            "1/0",
            "1/0:",
            "1/0:-1",
            "1/-1:0",
            "x/0:1",
            "1/0:1,",
            "1/0:1;2",
            "1@/0:1",
            "1@-1/0:1",
            "1@x/0:1",
            "@1/0:1",
            "1@1@1/0:1",
        ] {
            assert_eq!(
                text.parse::<ResumeToken>(),
                Err(TokenError::Malformed),
                "{text}"
            );
        }
        assert_eq!("".parse(), Ok(ResumeToken::default()));
        assert_eq!(ResumeToken::default().to_string(), "-");
        assert_eq!("-".parse(), Ok(ResumeToken::default()));
        let long = format!("1/{}0:0", "0:0,".repeat(LIVE_TOKEN_POSITIONS_MAX));
        assert_eq!(long.parse::<ResumeToken>(), Err(TokenError::TooLong));
        assert_eq!(
            "9".repeat(1 << 20).parse::<ResumeToken>(),
            Err(TokenError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn positions_survive_as_text(
            positions in proptest::collection::btree_map(
                (0u64..4, 0u32..100),
                (0i64..i64::MAX, proptest::option::of(0..3)),
                0..20,
            )
        ) {
            let positions = positions.into_iter();
            let positions = positions.map(|((t, p), (next, epoch))| (topic(t), p, stand(next, epoch)));
            let token = ResumeToken::new(positions);
            prop_assert_eq!(token.to_string().parse::<ResumeToken>(), Ok(token));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<ResumeToken>();
        }
    }
}
