//! Requests in flight on one connection: answers leave in order, appends share the way to the log.

mod support;

use millstream_kafka_wire::messages::create_topics::CreatableTopic;
use millstream_kafka_wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use millstream_kafka_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_kafka_wire::messages::produce::PartitionProduceResponse;
use millstream_kafka_wire::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteRecordsRequest, FetchRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest,
};
use millstream_kafka_wire::{ConfigOperation, ErrorCode, ResourceType};
use support::{Client, Served, batch, fetch_request, produce_request};

#[tokio::test]
async fn answers_leave_in_the_order_of_their_requests() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;

    // The fetch waits for the batch that comes behind it on the same connection.
    let fetch = client.send(&fetch_request("t", 0), 11).await;
    let produce = client
        .send(&produce_request("t", 0, batch(&["a", "b"]), -1), 9)
        .await;
    let versions = client.send(&ApiVersionsRequest::default(), 2).await;
    let producer = client
        .send(
            &InitProducerIdRequest {
                transactional_id: None,
                ..Default::default()
            },
            4,
        )
        .await;
    let offsets = client.send(&ListOffsetsRequest::default(), 7).await;

    let (answered, fetched) = client.receive::<FetchRequest>(11).await;
    assert_eq!(answered, fetch);
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 2);
    assert_eq!(client.receive::<ProduceRequest>(9).await.0, produce);
    assert_eq!(client.receive::<ApiVersionsRequest>(2).await.0, versions);
    assert_eq!(client.receive::<InitProducerIdRequest>(4).await.0, producer);
    assert_eq!(client.receive::<ListOffsetsRequest>(7).await.0, offsets);
}

/// A Produce that is begun before what a client sent earlier is done would be acknowledged and then deleted, or go by
/// settings that are no longer there.
#[tokio::test]
async fn an_append_overtakes_nothing_that_changes_its_topic() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    client.produce("t", 0, batch(&["old"])).await;

    // The fetch finds nothing for a while, and what is behind it waits.
    let fetch = FetchRequest {
        max_wait_ms: 300,
        ..fetch_request("t", 1)
    };
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset: -1,
            }],
        }],
        timeout_ms: 1_000,
    };
    client.send(&fetch, 11).await;
    client.send(&delete, 2).await;
    client
        .send(&produce_request("t", 0, batch(&["new"]), -1), 9)
        .await;
    client.receive::<FetchRequest>(11).await;
    let (_, deleted) = client.receive::<DeleteRecordsRequest>(2).await;
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, 1);
    let after = produced(&mut client).await;
    assert_eq!((after.base_offset, after.log_start_offset), (1, 1));

    client.send(&fetch, 11).await;
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "later".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    client.send(&create, 7).await;
    client
        .send(&produce_request("later", 0, batch(&["first"]), -1), 9)
        .await;
    client.receive::<FetchRequest>(11).await;
    let (_, created) = client.receive::<CreateTopicsRequest>(7).await;
    assert_eq!(created.topics[0].error_code, ErrorCode::NONE);
    assert_eq!(produced(&mut client).await.base_offset, 0);

    let alter = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: ResourceType::TOPIC,
            resource_name: "t".into(),
            configs: vec![AlterableConfig {
                name: "max.message.bytes".into(),
                config_operation: ConfigOperation::SET,
                value: Some("10".into()),
            }],
        }],
        ..Default::default()
    };
    client.send(&alter, 1).await;
    client
        .send(&produce_request("t", 0, batch(&["too large"]), -1), 9)
        .await;
    let (_, altered) = client.receive::<IncrementalAlterConfigsRequest>(1).await;
    assert_eq!(altered.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(
        produced(&mut client).await.error_code,
        ErrorCode::MESSAGE_TOO_LARGE
    );
}

async fn produced(client: &mut Client) -> PartitionProduceResponse {
    let (_, mut response) = client.receive::<ProduceRequest>(9).await;
    response.responses.remove(0).partition_responses.remove(0)
}

#[tokio::test]
async fn a_thousand_appends_in_flight_get_offsets_in_order() {
    let served = Served::start().await;
    served.topic("durable", 1, &[]).await;
    let mut client = served.client().await;
    let mut sent = Vec::new();
    for index in 0..1_000 {
        let value = index.to_string();
        sent.push(
            client
                .send(&produce_request("durable", 0, batch(&[&value]), -1), 9)
                .await,
        );
    }
    for (offset, sent) in (0..).zip(sent) {
        let (answered, response) = client.receive::<ProduceRequest>(9).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(
            (answered, partition.error_code, partition.base_offset),
            (sent, ErrorCode::NONE, offset)
        );
    }
}

#[tokio::test]
async fn acks_0_is_not_answered_and_does_not_disturb_the_order() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    for _ in 0..10 {
        client
            .send(&produce_request("t", 0, batch(&["silent"]), 0), 9)
            .await;
    }
    let versions = client.send(&ApiVersionsRequest::default(), 2).await;
    assert_eq!(client.receive::<ApiVersionsRequest>(2).await.0, versions);
    let told = client.produce("t", 0, batch(&["told"])).await;
    assert_eq!(told.base_offset, 10);
}

#[tokio::test]
async fn what_a_client_sent_before_it_closed_is_done() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let mut client = served.client().await;
    client
        .send(&produce_request("t", 0, batch(&["a"]), 0), 9)
        .await;
    client.send(&MetadataRequest::default(), 12).await;
    client
        .send(&produce_request("t", 0, batch(&["b"]), 1), 9)
        .await;
    drop(client);
    let mut reader = served.client().await;
    loop {
        let told = reader.produce("t", 0, batch(&["c"])).await;
        if told.base_offset >= 2 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn shutting_down_answers_what_is_under_way_and_closes() {
    let served = Served::start().await;
    served.topic("durable", 1, &[]).await;
    let mut client = served.client().await;
    let mut waiting = served.client().await;
    client.call(&ApiVersionsRequest::default(), 2).await;
    waiting.send(&fetch_request("durable", 0), 11).await;
    let produce = client
        .send(&produce_request("durable", 0, batch(&["last"]), -1), 9)
        .await;
    let (answered, response) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(answered, produce);
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        ErrorCode::NONE
    );
    waiting.receive::<FetchRequest>(11).await;
    served.stop().await;
    assert_eq!(support::closed(&mut client.socket).await, b"");
}
