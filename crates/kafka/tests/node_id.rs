//! The server's id as a Kafka node: every answer that names a node names the one that the settings say.

mod support;

use millstream_kafka::KafkaSettings;
use millstream_kafka_wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use millstream_kafka_wire::messages::describe_configs::DescribeConfigsResource;
use millstream_kafka_wire::messages::{
    CreatePartitionsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, ListConfigResourcesRequest,
};
use millstream_kafka_wire::{CoordinatorType, EndpointType, ErrorCode, ResourceType};
use support::{Client, Served};

const NODE_ID: i32 = 7;

async fn served() -> (Served, Client) {
    let settings = KafkaSettings {
        node_id: NODE_ID,
        ..Default::default()
    };
    let served = Served::start_with(settings).await;
    served.memory_topic("t", 1).await;
    let client = served.client().await;
    (served, client)
}

#[tokio::test]
async fn the_cluster_and_the_partitions_are_of_the_node() {
    let (_served, mut client) = served().await;
    let metadata = client.metadata("t").await;
    assert_eq!(metadata.brokers[0].node_id, NODE_ID);
    assert_eq!(metadata.controller_id, NODE_ID);
    let partition = &metadata.topics[0].partitions[0];
    assert_eq!(partition.leader_id, NODE_ID);
    assert_eq!(partition.replica_nodes, [NODE_ID]);
    assert_eq!(partition.isr_nodes, [NODE_ID]);

    let described = client
        .call(&DescribeTopicPartitionsRequest::default(), 0)
        .await;
    let partition = &described.topics[0].partitions[0];
    assert_eq!(partition.leader_id, NODE_ID);
    assert_eq!(partition.replica_nodes, [NODE_ID]);
    assert_eq!(partition.isr_nodes, [NODE_ID]);

    let request = DescribeClusterRequest {
        endpoint_type: EndpointType::BROKER,
        ..Default::default()
    };
    let cluster = client.call(&request, 1).await;
    assert_eq!(cluster.controller_id, NODE_ID);
    assert_eq!(cluster.brokers[0].broker_id, NODE_ID);
}

#[tokio::test]
async fn groups_are_coordinated_by_the_node() {
    let (_served, mut client) = served().await;
    let request = FindCoordinatorRequest {
        key: "g".into(),
        key_type: CoordinatorType::GROUP,
        coordinator_keys: vec!["g".into()],
    };
    assert_eq!(client.call(&request, 3).await.node_id, NODE_ID);
    assert_eq!(
        client.call(&request, 4).await.coordinators[0].node_id,
        NODE_ID
    );
}

#[tokio::test]
async fn the_broker_is_configured_under_the_id_of_the_node() {
    let (_served, mut client) = served().await;
    let request = ListConfigResourcesRequest {
        resource_types: vec![ResourceType::BROKER],
    };
    let listed = client.call(&request, 1).await.config_resources;
    assert_eq!(&*listed[0].resource_name, NODE_ID.to_string());

    for (name, code) in [("7", ErrorCode::NONE), ("0", ErrorCode::INVALID_REQUEST)] {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: ResourceType::BROKER,
                resource_name: name.into(),
                configuration_keys: Some(vec!["node.id".into()]),
            }],
            ..Default::default()
        };
        let result = client.call(&request, 4).await.results.remove(0);
        assert_eq!(result.error_code, code, "broker {name}");
        let values = result.configs.iter().map(|config| config.value.as_deref());
        assert!(values.eq((code == ErrorCode::NONE).then_some(Some("7"))));
    }
}

#[tokio::test]
async fn replicas_are_assigned_to_the_node_and_to_no_other() {
    let (_served, mut client) = served().await;
    for (node, code) in [
        (0, ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (NODE_ID, ErrorCode::NONE),
    ] {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: "t".into(),
                count: 2,
                assignments: Some(vec![CreatePartitionsAssignment {
                    broker_ids: vec![node],
                }]),
            }],
            ..Default::default()
        };
        let result = client.call(&request, 3).await.results.remove(0);
        assert_eq!(result.error_code, code, "assigned to {node}");
    }
}
