//! A generation of a group.
//!
//! ```text
//! u8   format, 1
//! u8   1 the group is empty, 2 its leader is assigning, 3 it is stable
//! i32  generation
//! i64  when the group became empty, milliseconds since 1970; what it says of any other group means nothing
//!      optional strings: protocol type, protocol, leader
//! u32  number of members, for each
//!      strings: member id, optional instance id, client id, client host
//!      u32 session timeout, u32 rebalance timeout, in milliseconds
//!      u32 number of protocols, for each: string name, u32 length and metadata,
//!          u8 0, or u8 1, u32 number of topics subscribed to and their names
//!      u32 length and assignment
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_record::TimestampMs;

use super::KEY_PREFIX;
use crate::fields::RecordError;
use crate::fields::{Fields, put_bytes, put_optional, utf8};
use crate::groups::ids::{Generation, GroupId, InstanceId, MemberId};
use crate::groups::machine::{GroupImage, ImagePhase, MemberProfile};
use crate::groups::request::MemberProtocol;

/// The second byte of the keys.
const KIND: u8 = 0x01;
const FORMAT: u8 = 1;

/// What is written down of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupRecord {
    pub(crate) image: GroupImage,
    pub(crate) emptied: TimestampMs,
}

/// What the keys of all groups start with.
pub(crate) fn prefix() -> Bytes {
    [KEY_PREFIX, &[KIND]].concat().into()
}

/// The key of a group's record.
pub(crate) fn key(group: &GroupId) -> Bytes {
    [KEY_PREFIX, &[KIND], group.as_str().as_bytes()]
        .concat()
        .into()
}

/// The group that a key names.
pub(crate) fn decode_key(key: &[u8]) -> Result<GroupId, RecordError> {
    let id = key
        .strip_prefix(&*prefix())
        .ok_or(RecordError::Damaged("not a group's key"))?;
    Ok(GroupId::new(utf8(id)?))
}

/// The value for a group.
pub(crate) fn encode(record: &GroupRecord) -> Bytes {
    let image = &record.image;
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    out.put_u8(match image.phase {
        ImagePhase::Empty => 1,
        ImagePhase::Completing => 2,
        ImagePhase::Stable => 3,
    });
    out.put_i32(image.generation.0);
    out.put_i64(record.emptied.get());
    put_optional(&mut out, image.protocol_type.as_deref());
    put_optional(&mut out, image.protocol.as_deref());
    put_optional(&mut out, image.leader.as_ref().map(MemberId::as_str));
    out.put_u32(image.members.len() as u32);
    for member in &image.members {
        put_member(&mut out, member);
    }
    out.freeze()
}

/// What [`encode`] wrote.
pub(crate) fn decode(value: &[u8]) -> Result<GroupRecord, RecordError> {
    let mut fields = Fields::of_value(value, FORMAT)?;
    let phase = match fields.u8()? {
        1 => ImagePhase::Empty,
        2 => ImagePhase::Completing,
        3 => ImagePhase::Stable,
        _ => return Err(RecordError::Damaged("a phase that does not exist")),
    };
    let generation = Generation(fields.i32()?);
    let emptied = TimestampMs(fields.i64()?);
    let image = GroupImage {
        generation,
        phase,
        protocol_type: fields.optional()?.map(Arc::from),
        protocol: fields.optional()?.map(Arc::from),
        leader: fields.optional()?.map(MemberId::new),
        members: fields.several(member)?,
    };
    fields.end()?;
    Ok(GroupRecord { image, emptied })
}

fn put_member(out: &mut BytesMut, member: &MemberProfile) {
    put_bytes(out, member.id.as_str().as_bytes());
    put_optional(out, member.instance_id.as_ref().map(InstanceId::as_str));
    put_bytes(out, member.client_id.as_bytes());
    put_bytes(out, member.client_host.as_bytes());
    out.put_u32(member.session_timeout_ms);
    out.put_u32(member.rebalance_timeout_ms);
    out.put_u32(member.protocols.len() as u32);
    for protocol in &member.protocols {
        put_bytes(out, protocol.name.as_bytes());
        put_bytes(out, &protocol.metadata);
        out.put_u8(protocol.topics.is_some().into());
        if let Some(topics) = &protocol.topics {
            out.put_u32(topics.len() as u32);
            for topic in topics {
                put_bytes(out, topic.as_bytes());
            }
        }
    }
    put_bytes(out, &member.assignment);
}

fn member(fields: &mut Fields<'_>) -> Result<MemberProfile, RecordError> {
    Ok(MemberProfile {
        id: MemberId::new(fields.text()?),
        instance_id: fields.optional()?.map(InstanceId::new),
        client_id: fields.shared_text()?,
        client_host: fields.shared_text()?,
        session_timeout_ms: fields.u32()?,
        rebalance_timeout_ms: fields.u32()?,
        protocols: fields.several(protocol)?,
        assignment: fields.bytes()?,
    })
}

fn protocol(fields: &mut Fields<'_>) -> Result<MemberProtocol, RecordError> {
    Ok(MemberProtocol {
        name: fields.shared_text()?,
        metadata: fields.bytes()?,
        topics: match fields.u8()? {
            0 => None,
            1 => Some(fields.several(Fields::shared_text)?),
            _ => return Err(RecordError::Damaged("topics neither there nor not there")),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "\\PC{0,12}"
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn protocols() -> impl Strategy<Value = Vec<MemberProtocol>> {
        let topics = option::of(vec(text().prop_map(|topic| Arc::from(&*topic)), 0..4));
        let protocol =
            (text(), bytes(), topics).prop_map(|(name, metadata, topics)| MemberProtocol {
                name: (&*name).into(),
                metadata,
                topics,
            });
        vec(protocol, 0..3)
    }

    fn members() -> impl Strategy<Value = Vec<MemberProfile>> {
        let member = (
            text(),
            option::of(text()),
            text(),
            text(),
            any::<(u32, u32)>(),
            protocols(),
            bytes(),
        );
        let member = member.prop_map(
            |(id, instance, client, host, (session, rebalance), protocols, assignment)| {
                MemberProfile {
                    id: MemberId::new(&id),
                    instance_id: instance.map(|instance| InstanceId::new(&instance)),
                    client_id: (&*client).into(),
                    client_host: (&*host).into(),
                    session_timeout_ms: session,
                    rebalance_timeout_ms: rebalance,
                    protocols,
                    assignment,
                }
            },
        );
        vec(member, 0..4)
    }

    prop_compose! {
        fn records()(
            phase in prop_oneof![Just(ImagePhase::Empty), Just(ImagePhase::Completing), Just(ImagePhase::Stable)],
            (generation, emptied) in any::<(i32, i64)>(),
            protocol_type in option::of(text()),
            protocol in option::of(text()),
            leader in option::of(text()),
            members in members(),
        ) -> GroupRecord {
            GroupRecord {
                image: GroupImage {
                    generation: Generation(generation),
                    phase,
                    protocol_type: protocol_type.as_deref().map(Arc::from),
                    protocol: protocol.as_deref().map(Arc::from),
                    leader: leader.as_deref().map(MemberId::new),
                    members,
                },
                emptied: TimestampMs(emptied),
            }
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(record in records(), id in text()) {
            let value = encode(&record);
            prop_assert_eq!(decode(&value), Ok(record));
            let group = GroupId::new(&id);
            prop_assert_eq!(decode_key(&key(&group)), Ok(group));
        }

        #[test]
        fn damage_is_refused_not_trusted(record in records(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut value = encode(&record).to_vec();
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
}
