//! The machine, by transcripts and by properties.

mod properties;
mod transcript;

use std::sync::Arc;

use bytes::Bytes;

use crate::groups::request::{JoinRequest, MemberProtocol};

/// A join without a member id, of a consumer that supports `protocols`, each `name:metadata`.
fn join_request(client_id: &str, protocols: &[(&str, &str)]) -> JoinRequest {
    JoinRequest {
        member_id: None,
        instance_id: None,
        client_id: client_id.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: protocols
            .iter()
            .map(|(name, metadata)| protocol(name, metadata))
            .collect(),
        two_step: true,
        may_skip_assignment: true,
    }
}

/// A protocol whose metadata is also the one topic it subscribes to.
fn protocol(name: &str, metadata: &str) -> MemberProtocol {
    MemberProtocol {
        name: name.into(),
        metadata: Bytes::copy_from_slice(metadata.as_bytes()),
        topics: Some(vec![Arc::from(metadata)]),
    }
}
