//! `DescribeCluster`: the brokers, without any topic (KIP-700).

use crate::{EndpointType, ErrorCode, Str};

message! {
    /// Asks for the brokers.
    message DescribeClusterRequest [0-2, flexible 0+] {
        include_cluster_authorized_operations: bool [0+],
        endpoint_type: EndpointType [1+] = EndpointType::BROKER,
        include_fenced_brokers: bool [2+],
    }

    /// The brokers.
    message DescribeClusterResponse [0-2, flexible 0+] {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [0+],
        error_message: Option<Str> [0+] = None,
        endpoint_type: EndpointType [1+] = EndpointType::BROKER,
        cluster_id: Str [0+],
        controller_id: i32 [0+] = -1,
        brokers: Vec<DescribeClusterBroker> [0+],
        cluster_authorized_operations: i32 [0+] = i32::MIN,
    }

    /// One broker.
    struct DescribeClusterBroker {
        broker_id: i32 [0+],
        host: Str [0+],
        port: i32 [0+],
        rack: Option<Str> [0+] = None,
        is_fenced: bool [2+],
    }
}
