//! What the codec promises beside the messages' layout, on messages that show it.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_kafka_wire::api::{decode_response, encode_request, encode_response};
use millstream_kafka_wire::consumer_protocol::{
    ConsumerProtocolSubscription, decode_blob, encode_blob,
};
use millstream_kafka_wire::messages::{
    ApiVersionsResponse, DescribeTopicPartitionsRequest, FetchResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupResponse, MetadataRequest, ProduceRequest, fetch, produce,
};
use millstream_kafka_wire::{
    AnyRequest, ApiKey, DecodeReason, EncodeError, ErrorCode, Frame, Message, Reader, Records,
    RequestHeader, Str, Writer, decode_any_request,
};

fn body<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    Ok(writer.finish()?.to_body())
}

fn decode<M: Message>(body: &Bytes, version: i16) -> Result<M, String> {
    M::decode(&mut Reader::new(body), version).map_err(|error| error.to_string())
}

fn fetch_response(records: Records) -> FetchResponse {
    FetchResponse {
        responses: vec![fetch::FetchableTopicResponse {
            topic: "flights".into(),
            partitions: vec![
                fetch::PartitionData {
                    records: Some(records),
                    ..Default::default()
                },
                fetch::PartitionData {
                    partition_index: 1,
                    ..Default::default()
                },
            ],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn assert_length_prefix(frame: &Frame) {
    let whole = frame.to_bytes();
    assert_eq!(whole.len(), frame.len());
    assert_eq!(whole[..4], (frame.len() as u32 - 4).to_be_bytes());
    assert!(frame.segments().iter().all(|segment| !segment.is_empty()));
}

#[test]
fn large_records_are_attached_and_small_ones_copied() {
    let header = Bytes::from(vec![1; 61]);
    let batch = Bytes::from(vec![2; 100_000]);
    let frame = encode_response(
        &fetch_response([header, batch.clone()].into_iter().collect()),
        9,
        4,
    )
    .unwrap();

    assert_length_prefix(&frame);
    assert_eq!(frame.segments().len(), 3);
    assert_eq!(frame.segments()[1].as_ptr(), batch.as_ptr());

    let (_, decoded) = decode_response::<FetchResponse>(&frame.to_body(), 4).unwrap();
    let records = decoded.responses[0].partitions[0]
        .records
        .clone()
        .unwrap()
        .into_bytes();
    assert_eq!(records[..61], [1; 61]);
    assert_eq!(records[61..], batch);
}

#[test]
fn a_frame_may_end_in_an_attached_payload() {
    let mut response = fetch_response(Bytes::from(vec![2; 5000]).into());
    response.responses[0].partitions.truncate(1);
    let frame = encode_response(&response, 1, 4).unwrap();
    assert_length_prefix(&frame);
    assert_eq!(frame.segments().len(), 2);
}

#[test]
fn decoded_payloads_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 3000]);
    let request = ProduceRequest {
        topic_data: vec![produce::TopicProduceData {
            name: "flights".into(),
            partition_data: vec![produce::PartitionProduceData {
                index: 3,
                records: Some(records.into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_request(&request, 1, Some("test".into()), 9)
        .unwrap()
        .to_body();
    let (_, AnyRequest::Produce(decoded)) = decode_any_request(&frame).unwrap() else {
        panic!("a produce request was encoded");
    };
    assert_eq!(decoded, request);

    let inside = frame.as_ptr_range();
    let topic = &decoded.topic_data[0];
    let records = topic.partition_data[0]
        .records
        .clone()
        .unwrap()
        .into_bytes();
    assert!(inside.contains(&topic.name.as_ptr()));
    assert!(inside.contains(&records.as_ptr()));
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let mut body = BytesMut::from(&*body(&HeartbeatResponse::default(), 4).unwrap());
    body.truncate(body.len() - 1);
    body.put_slice(&[2, 5, 3, b'a', b'b', b'c', 90, 0]);
    assert_eq!(decode(&body.freeze(), 4), Ok(HeartbeatResponse::default()));
}

#[test]
fn a_tagged_field_ends_where_its_size_says() {
    let mut response = ApiVersionsResponse {
        finalized_features_epoch: 8,
        ..Default::default()
    };
    let encoded = body(&response, 3).unwrap();
    assert_eq!(
        encoded[encoded.len() - 11..],
        [1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 8]
    );

    let mut longer = BytesMut::from(&encoded[..encoded.len() - 9]);
    longer.put_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
    assert_eq!(
        decode::<ApiVersionsResponse>(&longer.freeze(), 3),
        Err("ApiVersionsResponse.tagged fields: has 1 bytes after its value".into())
    );

    // A tagged field whose own size takes two bytes.
    response.supported_features = (0..40)
        .map(
            |_| millstream_kafka_wire::messages::api_versions::SupportedFeatureKey {
                name: "group.version".into(),
                ..Default::default()
            },
        )
        .collect();
    assert_eq!(decode(&body(&response, 3).unwrap(), 3), Ok(response));
}

#[test]
fn bytes_after_a_request_are_ignored_as_kafka_does() {
    let mut frame = BytesMut::from(
        &*encode_request(&HeartbeatRequest::default(), 1, None, 4)
            .unwrap()
            .to_body(),
    );
    frame.put_slice(b"more");
    assert!(decode_any_request(&frame.freeze()).is_ok());
}

#[test]
fn errors_name_the_message_the_field_and_the_reason() {
    let null_group = Bytes::from_static(&[0xff, 0xff]);
    assert_eq!(
        decode::<HeartbeatRequest>(&null_group, 0),
        Err("HeartbeatRequest.group_id: is null, which this version does not allow".into())
    );
    let nested = Bytes::from_static(&[0, 0, 0, 1, 0, 5, b'a']);
    assert_eq!(
        decode::<MetadataRequest>(&nested, 0),
        Err("MetadataRequestTopic.name: needs 5 bytes, 1 are left".into())
    );
    let not_utf8 = Bytes::from_static(&[0, 0, 0, 1, 0, 1, 0xff]);
    assert_eq!(
        decode::<MetadataRequest>(&not_utf8, 0),
        Err("MetadataRequestTopic.name: is not valid UTF-8".into())
    );
    let many = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    assert_eq!(
        decode::<MetadataRequest>(&many, 0),
        Err("MetadataRequest.topics: has 2147483647 elements, for which the 2 bytes left are too few".into())
    );
    assert_eq!(
        decode::<HeartbeatRequest>(&Bytes::new(), 9),
        Err("HeartbeatRequest.-: version 9 is not supported".into())
    );
}

#[test]
fn a_none_that_the_version_cannot_express_is_empty() {
    let response = JoinGroupResponse {
        protocol_name: None,
        ..Default::default()
    };
    let decoded: JoinGroupResponse = decode(&body(&response, 6).unwrap(), 6).unwrap();
    assert_eq!(decoded.protocol_name, Some(Str::new()));
    let decoded: JoinGroupResponse = decode(&body(&response, 7).unwrap(), 7).unwrap();
    assert_eq!(decoded.protocol_name, None);

    let all_topics = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(body(&all_topics, 0).unwrap()[..], [0; 4]);
}

#[test]
fn what_cannot_be_encoded_is_reported() {
    let long = HeartbeatRequest {
        group_id: "g".repeat(32_768).into(),
        ..Default::default()
    };
    assert_eq!(body(&long, 0), Err(EncodeError::StringTooLong(32_768)));
    assert_eq!(body(&long, 4), Err(EncodeError::StringTooLong(32_768)));
    assert_eq!(
        body(&HeartbeatRequest::default(), 5),
        Err(EncodeError::UnsupportedVersion {
            message: "HeartbeatRequest",
            version: 5
        })
    );
}

#[test]
fn a_struct_that_may_be_null_has_a_marker() {
    let request = DescribeTopicPartitionsRequest::default();
    let encoded = body(&request, 0).unwrap();
    assert_eq!(encoded[..], [1, 0, 0, 0x07, 0xd0, 0xff, 0]);
    assert_eq!(decode(&encoded, 0), Ok(request));
}

#[test]
fn a_request_of_an_unknown_api_or_version_still_has_a_header() {
    // ApiVersions at version 99, as a client newer than this codec sends it.
    let newer = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0, 2, b'm', b'e', 0, 1, 2, 3]);
    let header = RequestHeader::decode(&mut Reader::new(&newer)).unwrap();
    assert_eq!(
        (header.api(), header.api_version, header.correlation_id),
        (Some(ApiKey::ApiVersions), 99, 5)
    );
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert_eq!(
        decode_any_request(&newer).unwrap_err().reason,
        DecodeReason::UnsupportedVersion(99)
    );

    let unknown = Bytes::from_static(&[3, 231, 0, 0, 0, 0, 0, 5, 0xff, 0xff]);
    let header = RequestHeader::decode(&mut Reader::new(&unknown)).unwrap();
    assert_eq!(
        (header.api(), header.api_key, header.client_id),
        (None, 999, None)
    );
    assert_eq!(
        decode_any_request(&unknown).unwrap_err().reason,
        DecodeReason::UnsupportedApi(999)
    );
}

#[test]
fn apis_agree_with_their_messages() {
    macro_rules! check {
        ($($api:ident = $number:literal, $request:ident, $response:ident;)*) => {$({
            use millstream_kafka_wire::messages::{$request, $response};
            assert_eq!(ApiKey::from_number($number), Some(ApiKey::$api));
            assert_eq!(ApiKey::$api.number(), $number);
            assert_eq!($request::NAME, concat!(stringify!($api), "Request"));
            assert_eq!($request::VERSIONS, $response::VERSIONS);
            assert_eq!($request::FLEXIBLE_FROM, $response::FLEXIBLE_FROM);
        })*};
    }
    millstream_kafka_wire::each_api!(check);
    assert!(ApiKey::ALL.is_sorted());
}

#[test]
fn codes_have_kafkas_names_and_survive_being_unknown() {
    assert_eq!(ErrorCode::UNKNOWN_TOPIC_ID.to_string(), "UNKNOWN_TOPIC_ID");
    assert_eq!(format!("{:?}", ErrorCode(4000)), "UNKNOWN(4000)");
    assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
    assert!(!ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.is_retriable());
    assert!(!ErrorCode::NONE.is_error());

    let response = HeartbeatResponse {
        error_code: ErrorCode(4000),
        ..Default::default()
    };
    assert_eq!(decode(&body(&response, 0).unwrap(), 0), Ok(response));
}

#[test]
fn a_newer_consumer_protocol_is_read_as_far_as_it_is_known() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["flights".into()],
        generation_id: 4,
        ..Default::default()
    };
    let mut blob = BytesMut::from(&*encode_blob(&subscription, 3).unwrap());
    blob[1] = 7;
    blob.put_slice(b"what version 7 adds");
    assert_eq!(decode_blob(&blob.freeze()), Ok(subscription.clone()));

    let negative = Bytes::from_static(&[0xff, 0xff, 0, 0]);
    let error = decode_blob::<ConsumerProtocolSubscription>(&negative).unwrap_err();
    assert_eq!(error.reason, DecodeReason::UnsupportedVersion(-1));
    assert!(encode_blob(&subscription, 4).is_err());
}

#[test]
fn records_are_equal_by_content() {
    let cut: Records = [&b"ab"[..], b"", b"c"]
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    assert_eq!(cut, Records::from(Bytes::from_static(b"abc")));
    assert_ne!(cut, Records::from(Bytes::from_static(b"abd")));
    assert_eq!(cut.segments().count(), 2);
    assert_eq!(
        (cut.len(), cut.clone().into_bytes()),
        (3, Bytes::from_static(b"abc"))
    );
    assert_eq!(format!("{cut:?}"), "Records(3 bytes in 2 segments)");
    assert!(Records::new().is_empty());
}
