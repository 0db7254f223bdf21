//! DescribeCluster: the one node there is.

use std::sync::Arc;

use millstream_kafka_wire::messages::describe_cluster::DescribeClusterBroker;
use millstream_kafka_wire::messages::{DescribeClusterRequest, DescribeClusterResponse};
use millstream_kafka_wire::{EndpointType, ErrorCode, Str};

use super::OPERATIONS_NOT_ASKED;
use crate::dispatch::Call;

/// Everything one may do to a cluster, as a bit per operation of Kafka's ACLs: create (5), alter (7), describe (8),
/// cluster action (9), describe configs (10), alter configs (11), idempotent write (12).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Names this node as the cluster's broker and controller.
pub(crate) async fn describe_cluster(
    call: Arc<Call>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let server = &call.server;
    let mut response = DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: server.broker.cluster_id().into(),
        controller_id: server.settings.node_id,
        ..Default::default()
    };
    if request.endpoint_type != EndpointType::BROKER {
        response.error_code = ErrorCode::MISMATCHED_ENDPOINT_TYPE;
        response.error_message = Some(Str::from_static(
            "this port is a broker's, ask it for brokers",
        ));
        return response;
    }
    response.brokers = vec![DescribeClusterBroker {
        broker_id: server.settings.node_id,
        host: server.advertised.host.as_str().into(),
        port: server.advertised.port.into(),
        rack: None,
        is_fenced: false,
    }];
    response.cluster_authorized_operations = if request.include_cluster_authorized_operations {
        CLUSTER_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    response
}
