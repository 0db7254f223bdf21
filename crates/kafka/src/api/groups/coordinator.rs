//! FindCoordinator: who looks after a group or a transactional id. There is one node, and it does.

use std::sync::Arc;

use millstream_kafka_wire::messages::find_coordinator::Coordinator;
use millstream_kafka_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use millstream_kafka_wire::{CoordinatorType, ErrorCode, Str};

use crate::api::without_repeats;
use crate::dispatch::Call;
use crate::settings::HostPort;

/// From this version on a request has several keys (KIP-699).
const SEVERAL_FROM: i16 = 4;

/// Names this node. A transactional id is refused where it is used, by InitProducerId.
pub(crate) async fn find_coordinator(
    call: Arc<Call>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let server = &call.server;
    let node_id = server.settings.node_id;
    let find = |key| coordinator(key, request.key_type, node_id, &server.advertised);
    if call.version >= SEVERAL_FROM {
        let mut coordinators = Vec::new();
        for key in without_repeats(request.coordinator_keys, Str::clone) {
            let host = server.advertised.host.len();
            if !call.has_room(size_of::<Coordinator>() + host).await {
                break;
            }
            coordinators.push(find(key));
        }
        return FindCoordinatorResponse {
            coordinators,
            ..Default::default()
        };
    }
    let found = find(request.key);
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

fn coordinator(
    key: Str,
    key_type: CoordinatorType,
    node_id: i32,
    address: &HostPort,
) -> Coordinator {
    match key_type {
        CoordinatorType::GROUP | CoordinatorType::TRANSACTION => Coordinator {
            key,
            node_id,
            host: address.host.as_str().into(),
            port: address.port.into(),
            ..Default::default()
        },
        // As Kafka without share groups, and for a type that does not exist: no node, and nothing to try again.
        _ => Coordinator {
            key,
            node_id: -1,
            host: Str::default(),
            port: -1,
            error_code: ErrorCode::INVALID_REQUEST,
            error_message: Some(Str::from_static(
                "only groups and transactional ids have a coordinator here",
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_and_transactional_ids_have_one() {
        let here = HostPort {
            host: "broker".to_owned(),
            port: 9092,
        };
        for key_type in [CoordinatorType::GROUP, CoordinatorType::TRANSACTION] {
            let found = coordinator("k".into(), key_type, 3, &here);
            assert_eq!(
                (&*found.host, found.port, found.node_id),
                ("broker", 9092, 3)
            );
            assert_eq!(found.error_code, ErrorCode::NONE);
        }
        for key_type in [CoordinatorType::SHARE, CoordinatorType(7)] {
            let found = coordinator("k".into(), key_type, 3, &here);
            assert_eq!(
                (found.node_id, found.error_code),
                (-1, ErrorCode::INVALID_REQUEST)
            );
        }
    }
}
