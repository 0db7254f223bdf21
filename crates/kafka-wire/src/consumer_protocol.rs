//! What the members of a classic consumer group tell each other through `JoinGroup` and `SyncGroup`. A broker carries it
//! as opaque bytes; tools that describe a group, and clients, read it.
//!
//! Such a blob is a 2-byte version and the message. A version newer than this codec is read as the newest it knows:
//! later versions only add fields at the end.

use bytes::Bytes;

use crate::Str;
use crate::error::{DecodeError, DecodeReason, EncodeError};
use crate::reader::Reader;
use crate::wire::Message;
use crate::writer::Writer;

message! {
    /// What a member wants to read: the metadata of its protocols in `JoinGroup`.
    message ConsumerProtocolSubscription [0-3] {
        topics: Vec<Str> [0+],
        /// The assignor's own data.
        user_data: Option<Bytes> [0+] = None,
        /// What the member reads now, for cooperative rebalancing (KIP-429).
        owned_partitions: Vec<TopicPartition> [1+],
        /// The generation in which it owned them (KIP-792); -1 for none.
        generation_id: i32 [2+] = -1,
        /// Where the member is, to read from near replicas (KIP-881).
        rack_id: Option<Str> [3+] = None,
    }

    /// What a member is to read: its assignment in `SyncGroup`.
    message ConsumerProtocolAssignment [0-3] {
        assigned_partitions: Vec<TopicPartition> [0+],
        /// The assignor's own data.
        user_data: Option<Bytes> [0+] = None,
    }

    /// Partitions of one topic.
    struct TopicPartition {
        topic: Str [0+],
        partitions: Vec<i32> [0+],
    }
}

/// Reads a versioned blob of a group member.
pub fn decode_blob<M: Message>(blob: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(blob);
    let version = reader
        .int16()
        .map_err(|error| error.within(M::NAME, "version"))?;
    if version < M::VERSIONS.min {
        return Err(DecodeError::in_message(
            M::NAME,
            DecodeReason::UnsupportedVersion(version),
        ));
    }
    M::decode(&mut reader, version.min(M::VERSIONS.max))
}

/// Writes a versioned blob of a group member.
pub fn encode_blob<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.put(&version.to_be_bytes());
    message.encode(&mut writer, version);
    Ok(writer.finish()?.to_body())
}
