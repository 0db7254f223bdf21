//! The versions that the oracle does not know, byte by byte, as Kafka 3.9 (and for `ListOffsets` 11, Kafka 4.2) defines
//! them.

use bytes::{BufMut, Bytes};
use millstream_kafka_wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, create_topics, delete_topics, describe_configs,
    describe_log_dirs, list_offsets, offset_for_leader_epoch,
};
use millstream_kafka_wire::{ErrorCode, Message, Reader, ResourceType, Writer};

/// The wire form, written field by field.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn i8(mut self, value: i8) -> Self {
        self.0.put_i8(value);
        self
    }

    fn i16(mut self, value: i16) -> Self {
        self.0.put_i16(value);
        self
    }

    fn i32(mut self, value: i32) -> Self {
        self.0.put_i32(value);
        self
    }

    fn i64(mut self, value: i64) -> Self {
        self.0.put_i64(value);
        self
    }

    fn string(mut self, value: &str) -> Self {
        self.0.put_i16(value.len() as i16);
        self.0.put_slice(value.as_bytes());
        self
    }
}

fn check<M: Message + std::fmt::Debug>(version: i16, message: &M, wire: Wire) {
    let wire = Bytes::from(wire.0);
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    assert_eq!(writer.finish().unwrap().to_body(), wire);
    assert_eq!(
        M::decode(&mut Reader::new(&wire), version).as_ref(),
        Ok(message)
    );
}

#[test]
fn create_topics_0_and_1() {
    let mut request = CreateTopicsRequest {
        topics: vec![create_topics::CreatableTopic {
            name: "t".into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![create_topics::CreatableReplicaAssignment {
                partition_index: 0,
                broker_ids: vec![5],
            }],
            configs: vec![create_topics::CreatableTopicConfig {
                name: "k".into(),
                value: None,
            }],
        }],
        timeout_ms: 1000,
        validate_only: false,
    };
    let wire = || {
        Wire::default()
            .i32(1)
            .string("t")
            .i32(-1)
            .i16(-1)
            .i32(1)
            .i32(0)
            .i32(1)
            .i32(5)
            .i32(1)
            .string("k")
            .i16(-1)
            .i32(1000)
    };
    check(0, &request, wire());
    request.validate_only = true;
    check(1, &request, wire().i8(1));

    let mut response = CreateTopicsResponse {
        topics: vec![create_topics::CreatableTopicResult {
            name: "t".into(),
            error_code: ErrorCode::TOPIC_ALREADY_EXISTS,
            ..Default::default()
        }],
        ..Default::default()
    };
    check(0, &response, Wire::default().i32(1).string("t").i16(36));
    response.topics[0].error_message = Some("exists".into());
    check(
        1,
        &response,
        Wire::default().i32(1).string("t").i16(36).string("exists"),
    );
}

#[test]
fn delete_topics_0() {
    let request = DeleteTopicsRequest {
        topic_names: vec!["a".into(), "b".into()],
        timeout_ms: 9,
        ..Default::default()
    };
    check(
        0,
        &request,
        Wire::default().i32(2).string("a").string("b").i32(9),
    );

    let response = DeleteTopicsResponse {
        responses: vec![delete_topics::DeletableTopicResult {
            name: Some("a".into()),
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ..Default::default()
        }],
        ..Default::default()
    };
    check(0, &response, Wire::default().i32(1).string("a").i16(3));
}

#[test]
fn offset_for_leader_epoch_0_and_1() {
    let request = OffsetForLeaderEpochRequest {
        topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![offset_for_leader_epoch::OffsetForLeaderPartition {
                partition: 2,
                leader_epoch: 7,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    for version in 0..2 {
        check(
            version,
            &request,
            Wire::default().i32(1).string("t").i32(1).i32(2).i32(7),
        );
    }

    let mut response = OffsetForLeaderEpochResponse {
        topics: vec![offset_for_leader_epoch::OffsetForLeaderTopicResult {
            topic: "t".into(),
            partitions: vec![offset_for_leader_epoch::EpochEndOffset {
                partition: 2,
                end_offset: 40,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    check(
        0,
        &response,
        Wire::default()
            .i32(1)
            .string("t")
            .i32(1)
            .i16(0)
            .i32(2)
            .i64(40),
    );
    response.topics[0].partitions[0].leader_epoch = 6;
    check(
        1,
        &response,
        Wire::default()
            .i32(1)
            .string("t")
            .i32(1)
            .i16(0)
            .i32(2)
            .i32(6)
            .i64(40),
    );
}

#[test]
fn describe_configs_0() {
    let request = DescribeConfigsRequest {
        resources: vec![describe_configs::DescribeConfigsResource {
            resource_type: ResourceType::TOPIC,
            resource_name: "t".into(),
            configuration_keys: None,
        }],
        ..Default::default()
    };
    check(
        0,
        &request,
        Wire::default().i32(1).i8(2).string("t").i32(-1),
    );

    let response = DescribeConfigsResponse {
        results: vec![describe_configs::DescribeConfigsResult {
            resource_type: ResourceType::TOPIC,
            resource_name: "t".into(),
            error_message: None,
            configs: vec![describe_configs::DescribeConfigsResourceResult {
                name: "k".into(),
                value: Some("v".into()),
                is_default: true,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let wire = Wire::default()
        .i32(0)
        .i32(1)
        .i16(0)
        .i16(-1)
        .i8(2)
        .string("t");
    check(
        0,
        &response,
        wire.i32(1).string("k").string("v").i8(0).i8(1).i8(0),
    );
}

#[test]
fn describe_log_dirs_0() {
    check(
        0,
        &DescribeLogDirsRequest { topics: None },
        Wire::default().i32(-1),
    );

    let response = DescribeLogDirsResponse {
        results: vec![describe_log_dirs::DescribeLogDirsResult {
            log_dir: "/d".into(),
            topics: vec![describe_log_dirs::DescribeLogDirsTopic {
                name: "t".into(),
                partitions: vec![describe_log_dirs::DescribeLogDirsPartition {
                    partition_index: 1,
                    partition_size: 2,
                    offset_lag: 3,
                    is_future_key: false,
                }],
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let wire = Wire::default()
        .i32(0)
        .i32(1)
        .i16(0)
        .string("/d")
        .i32(1)
        .string("t");
    check(0, &response, wire.i32(1).i32(1).i64(2).i64(3).i8(0));
}

#[test]
fn list_offsets_11_is_as_10() {
    let request = ListOffsetsRequest {
        topics: vec![list_offsets::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![list_offsets::ListOffsetsPartition {
                timestamp: list_offsets::EARLIEST_PENDING_UPLOAD_TIMESTAMP,
                ..Default::default()
            }],
        }],
        timeout_ms: 5,
        ..Default::default()
    };
    let mut wire = Wire::default().i32(0).i8(0);
    wire.0.extend([2, 2, b't', 2]);
    let mut wire = wire.i32(0).i32(-1).i64(-6);
    wire.0.extend([0, 0]);
    let mut wire = wire.i32(5);
    wire.0.push(0);
    check(11, &request, wire);

    let mut wire = Wire::default().i32(0);
    wire.0.extend([1, 0]);
    check(11, &ListOffsetsResponse::default(), wire);
}
