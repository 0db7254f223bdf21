//! Requests in flight on one connection: answers leave in order, appends share the way to the log.

mod support;

use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::{
    ApiVersionsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest,
};
use support::{Served, batch, fetch_request, produce_request};

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
