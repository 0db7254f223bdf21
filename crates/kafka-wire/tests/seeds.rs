//! The fuzzer's seeds, replayed: requests of every API, in `fuzz/seeds/kafka_request`, without their length prefix.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use millstream_kafka_wire::testing::{Entropy, check_request_frame};
use millstream_kafka_wire::wire::At;
use millstream_kafka_wire::{ApiKey, Message, RequestHeader, Writer, decode_any_request, messages};

fn seeds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/kafka_request")
}

#[test]
fn seeds_survive_the_codec() {
    let mut apis = BTreeSet::new();
    for seed in fs::read_dir(seeds()).unwrap() {
        let frame = Bytes::from(fs::read(seed.unwrap().path()).unwrap());
        check_request_frame(&frame);
        apis.extend(decode_any_request(&frame).map(|(_, request)| request.api()));
    }
    let without: Vec<_> = ApiKey::ALL
        .iter()
        .filter(|api| !apis.contains(api))
        .collect();
    assert!(
        without.is_empty(),
        "no seed for {without:?}: run `cargo test -p millstream-kafka-wire -- --ignored`"
    );
}

#[test]
#[ignore = "writes the seeds: for after an API or a version was added"]
fn write_seeds() {
    macro_rules! write {
        ($($api:ident = $number:literal, $request:ident, $response:ident;)*) => {
            $(write_request::<messages::$request>(ApiKey::$api);)*
        };
    }
    millstream_kafka_wire::each_api!(write);
}

/// A request at its oldest, its newest and its first flexible version.
fn write_request<M: Message>(api: ApiKey) {
    let versions = [M::VERSIONS.min, M::FLEXIBLE_FROM, M::VERSIONS.max];
    for version in versions
        .into_iter()
        .filter(|&version| M::VERSIONS.contains(version))
    {
        // No run of zeros and no short cycle, so that arrays have elements and strings differ.
        let entropy: Vec<u8> = (1..400_u32)
            .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8 | 1)
            .collect();
        let mut writer = Writer::new();
        let header = RequestHeader {
            api_key: api.number(),
            api_version: version,
            correlation_id: 1,
            client_id: Some("rdkafka".into()),
        };
        header.encode(&mut writer);
        M::generate(&mut Entropy::new(&entropy), At::new::<M>(version))
            .encode(&mut writer, version);
        let frame = writer.finish().unwrap().to_body();
        fs::write(seeds().join(format!("{}_v{version}", api.name())), frame).unwrap();
    }
}
