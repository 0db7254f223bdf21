//! Every message and version against the `kafka-protocol` crate: what one writes the other reads, to the same bytes.

use bytes::BytesMut;
use kafka_protocol::protocol::{Decodable, Encodable, Message as OracleMessage};
use millstream_kafka_wire::testing::Entropy;
use millstream_kafka_wire::wire::At;
use millstream_kafka_wire::{Message, Reader, Writer, consumer_protocol, messages};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};

/// Values tried of each message and version.
const CASES: u32 = 64;

/// Checks each version that both codecs know, and that there is one.
fn check<Ours, Oracle>()
where
    Ours: Message + std::fmt::Debug,
    Oracle: OracleMessage + Encodable + Decodable + Default,
{
    let common = Ours::VERSIONS
        .iter()
        .filter(|version| (Oracle::VERSIONS.min..=Oracle::VERSIONS.max).contains(version));
    let mut checked = 0;
    for version in common {
        checked += 1;
        check_default::<Ours, Oracle>(version);
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&vec(any::<u8>(), 0..600), |bytes| {
            check_value::<Ours, Oracle>(version, &bytes)
        });
        if let Err(failure) = outcome {
            panic!("{} version {version}: {failure}", Ours::NAME);
        }
    }
    assert!(checked > 0, "{}: no version in common", Ours::NAME);
}

/// One value through both codecs and back.
fn check_value<Ours, Oracle>(version: i16, bytes: &[u8]) -> Result<(), TestCaseError>
where
    Ours: Message + std::fmt::Debug,
    Oracle: Encodable + Decodable,
{
    let fail = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let value = Ours::generate(&mut Entropy::new(bytes), At::new::<Ours>(version));
    let encoded = encode(&value, version);

    let mut input = encoded.clone();
    let oracle = Oracle::decode(&mut input, version).map_err(|error| fail(&error))?;
    prop_assert!(
        input.is_empty(),
        "the oracle left {} bytes of {value:?}",
        input.len()
    );
    let mut output = BytesMut::new();
    oracle
        .encode(&mut output, version)
        .map_err(|error| fail(&error))?;
    prop_assert_eq!(&encoded, &output, "{:?}", value);

    let mut reader = Reader::new(&encoded);
    let decoded = Ours::decode(&mut reader, version).map_err(|error| fail(&error))?;
    prop_assert_eq!(reader.remaining(), 0);
    prop_assert_eq!(decoded, value);
    Ok(())
}

/// The defaults of both codecs have the same bytes, where the oracle's default can be encoded at all.
fn check_default<Ours: Message, Oracle: Encodable + Default>(version: i16) {
    let mut output = BytesMut::new();
    if Oracle::default().encode(&mut output, version).is_ok() {
        assert_eq!(
            encode(&Ours::default(), version),
            output,
            "default {} version {version}",
            Ours::NAME
        );
    }
}

fn encode<M: Message>(message: &M, version: i16) -> bytes::Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer
        .finish()
        .expect("generated values can be encoded")
        .to_body()
}

macro_rules! oracle_tests {
    ($($api:ident = $number:literal, $request:ident, $response:ident;)*) => {$(
        #[allow(non_snake_case)]
        mod $api {
            use super::{check, messages};

            #[test]
            fn request() {
                check::<messages::$request, kafka_protocol::messages::$request>();
            }

            #[test]
            fn response() {
                check::<messages::$response, kafka_protocol::messages::$response>();
            }
        }
    )*};
}

millstream_kafka_wire::each_api!(oracle_tests);

#[test]
fn consumer_protocol_subscription() {
    check::<
        consumer_protocol::ConsumerProtocolSubscription,
        kafka_protocol::messages::ConsumerProtocolSubscription,
    >();
}

#[test]
fn consumer_protocol_assignment() {
    check::<
        consumer_protocol::ConsumerProtocolAssignment,
        kafka_protocol::messages::ConsumerProtocolAssignment,
    >();
}

#[test]
fn headers() {
    use kafka_protocol::messages::ApiKey as OracleKey;
    use kafka_protocol::messages::{
        RequestHeader as OracleRequestHeader, ResponseHeader as OracleResponseHeader,
    };
    use millstream_kafka_wire::{ApiKey, RequestHeader, ResponseHeader};

    for &api in ApiKey::ALL {
        let oracle = OracleKey::try_from(api.number()).expect("the oracle knows all APIs");
        for version in api.versions().iter() {
            assert_eq!(
                api.request_header_version(version),
                oracle.request_header_version(version),
                "{api:?}"
            );
            assert_eq!(
                api.response_header_version(version),
                oracle.response_header_version(version),
                "{api:?}"
            );
            for client_id in [None, Some(""), Some("kcat")] {
                let header = RequestHeader {
                    api_key: api.number(),
                    api_version: version,
                    correlation_id: 7,
                    client_id: client_id.map(Into::into),
                };
                let mut writer = Writer::new();
                header.encode(&mut writer);
                let encoded = writer.finish().unwrap().to_body();
                let mut output = BytesMut::new();
                OracleRequestHeader::decode(
                    &mut encoded.clone(),
                    oracle.request_header_version(version),
                )
                .and_then(|header| {
                    header.encode(&mut output, oracle.request_header_version(version))
                })
                .unwrap();
                assert_eq!(encoded, output);
                assert_eq!(
                    RequestHeader::decode(&mut Reader::new(&encoded)),
                    Ok(header)
                );
            }

            let header = ResponseHeader { correlation_id: -5 };
            let mut writer = Writer::new();
            header.encode(&mut writer, api, version);
            let encoded = writer.finish().unwrap().to_body();
            let mut output = BytesMut::new();
            OracleResponseHeader::decode(
                &mut encoded.clone(),
                oracle.response_header_version(version),
            )
            .and_then(|header| header.encode(&mut output, oracle.response_header_version(version)))
            .unwrap();
            assert_eq!(encoded, output);
            assert_eq!(
                ResponseHeader::decode(&mut Reader::new(&encoded), api, version),
                Ok(header)
            );
        }
    }
}
