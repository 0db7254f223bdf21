//! A committed offset.
//!
//! ```text
//! u8   format, 1
//! i64  offset of the next record to read
//! i32  leader epoch of the last record read, -1 if it is not known
//! i64  when it was committed, milliseconds since 1970
//! u8   0, or u8 1 and i64 when it expires
//!      string: what the reader wants to remember with it
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use millstream_catalog::TopicId;
use millstream_record::{LeaderEpoch, Offset, TimestampMs};
use uuid::Uuid;

use super::KEY_PREFIX;
use crate::fields::RecordError;
use crate::fields::{Fields, put_bytes, utf8};
use crate::groups::ids::GroupId;
use crate::groups::offsets::{CommittedOffset, OffsetKey};

/// The second byte of the keys.
const KIND: u8 = 0x02;
const FORMAT: u8 = 1;

/// What the keys of all offsets start with.
pub(crate) fn prefix() -> Bytes {
    [KEY_PREFIX, &[KIND]].concat().into()
}

/// The key of a group's offset in one partition.
pub(crate) fn key(group: &GroupId, partition: OffsetKey) -> Bytes {
    let group = group.as_str().as_bytes();
    let mut out = BytesMut::with_capacity(2 + 2 + group.len() + 20);
    out.put_slice(KEY_PREFIX);
    out.put_u8(KIND);
    out.put_u16(group.len() as u16);
    out.put_slice(group);
    out.put_slice(partition.topic.0.as_bytes());
    out.put_u32(partition.partition);
    out.freeze()
}

/// The group and partition that a key names.
pub(crate) fn decode_key(key: &[u8]) -> Result<(GroupId, OffsetKey), RecordError> {
    let mut fields = Fields(
        key.strip_prefix(&*prefix())
            .ok_or(RecordError::Damaged("not an offset's key"))?,
    );
    let length = fields.u16()?.into();
    let group = GroupId::new(utf8(fields.take(length)?)?);
    let mut topic = [0; 16];
    topic.copy_from_slice(fields.take(16)?);
    let partition = fields.u32()?;
    fields.end()?;
    Ok((
        group,
        OffsetKey {
            topic: TopicId(Uuid::from_bytes(topic)),
            partition,
        },
    ))
}

/// The value for an offset.
pub(crate) fn encode(committed: &CommittedOffset) -> Bytes {
    let mut out = BytesMut::with_capacity(40 + committed.metadata.len());
    out.put_u8(FORMAT);
    out.put_i64(committed.offset.get());
    out.put_i32(committed.leader_epoch.unwrap_or(LeaderEpoch::NONE).get());
    out.put_i64(committed.committed.get());
    out.put_u8(committed.expires.is_some().into());
    if let Some(expires) = committed.expires {
        out.put_i64(expires.get());
    }
    put_bytes(&mut out, committed.metadata.as_bytes());
    out.freeze()
}

/// What [`encode`] wrote.
pub(crate) fn decode(value: &[u8]) -> Result<CommittedOffset, RecordError> {
    let mut fields = Fields::of_value(value, FORMAT)?;
    let committed = CommittedOffset {
        offset: Offset(fields.i64()?),
        leader_epoch: Some(LeaderEpoch(fields.i32()?)).filter(|epoch| *epoch >= LeaderEpoch(0)),
        committed: TimestampMs(fields.i64()?),
        expires: match fields.u8()? {
            0 => None,
            1 => Some(TimestampMs(fields.i64()?)),
            _ => {
                return Err(RecordError::Damaged(
                    "an expiry neither there nor not there",
                ));
            }
        },
        metadata: fields.shared_text()?,
    };
    fields.end()?;
    Ok(committed)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn offsets()(
            (offset, committed) in any::<(i64, i64)>(),
            leader_epoch in option::of(0..i32::MAX),
            expires in option::of(any::<i64>()),
            metadata in "\\PC{0,20}",
        ) -> CommittedOffset {
            CommittedOffset {
                offset: Offset(offset),
                leader_epoch: leader_epoch.map(LeaderEpoch),
                committed: TimestampMs(committed),
                expires: expires.map(TimestampMs),
                metadata: (&*metadata).into(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            committed in offsets(), group in "\\PC{0,20}", topic in any::<[u8; 16]>(), partition in any::<u32>(),
        ) {
            prop_assert_eq!(decode(&encode(&committed)), Ok(committed));
            let named = (GroupId::new(&group), OffsetKey { topic: TopicId(Uuid::from_bytes(topic)), partition });
            prop_assert_eq!(decode_key(&key(&named.0, named.1)), Ok(named));
        }

        #[test]
        fn damage_is_refused_not_trusted(committed in offsets(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut value = encode(&committed).to_vec();
            let at = at.index(value.len());
            value[at] = byte;
            let _ = decode(&value);
            prop_assert!(decode(&value[..at]).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        assert_eq!(decode(&[2]), Err(RecordError::Newer(2)));
    }

    #[test]
    fn a_group_is_no_prefix_of_another() {
        let at = OffsetKey {
            topic: TopicId(Uuid::nil()),
            partition: 0,
        };
        let short = key(&GroupId::new("g"), at);
        assert!(!key(&GroupId::new("g\0"), at).starts_with(&short[..4]));
    }
}
