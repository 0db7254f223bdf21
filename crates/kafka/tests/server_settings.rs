//! What clients may change of the server itself while it runs.

mod support;

use millstream_kafka_wire::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult,
};
use millstream_kafka_wire::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use millstream_kafka_wire::messages::{
    alter_configs as full, incremental_alter_configs as incremental,
};
use millstream_kafka_wire::{ConfigOperation, ConfigSource, ErrorCode, ResourceType};
use support::{Client, Served};

const SETTING: &str = "log.flush.interval.messages";
const DEFAULT: &str = "9223372036854775807";
/// The broker by its id, and the defaults of all brokers.
const NAMES: [&str; 2] = ["0", ""];

async fn change(
    client: &mut Client,
    broker: &str,
    key: &str,
    value: Option<&str>,
    validate_only: bool,
) -> ErrorCode {
    let config_operation = match value {
        Some(_) => ConfigOperation::SET,
        None => ConfigOperation::DELETE,
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![incremental::AlterConfigsResource {
            resource_type: ResourceType::BROKER,
            resource_name: broker.into(),
            configs: vec![incremental::AlterableConfig {
                name: key.into(),
                config_operation,
                value: value.map(Into::into),
            }],
        }],
        validate_only,
    };
    client.call(&request, 1).await.responses[0].error_code
}

async fn replace(client: &mut Client, configs: &[(&str, &str)]) -> ErrorCode {
    let configs = configs.iter().map(|(name, value)| full::AlterableConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    let request = AlterConfigsRequest {
        resources: vec![full::AlterConfigsResource {
            resource_type: ResourceType::BROKER,
            resource_name: "0".into(),
            configs: configs.collect(),
        }],
        ..Default::default()
    };
    client.call(&request, 2).await.responses[0].error_code
}

async fn described(client: &mut Client, broker: &str, key: &str) -> DescribeConfigsResourceResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: ResourceType::BROKER,
            resource_name: broker.into(),
            configuration_keys: Some(vec![key.into()]),
        }],
        include_documentation: true,
        ..Default::default()
    };
    let mut result = client.call(&request, 4).await.results.remove(0);
    assert_eq!(result.error_code, ErrorCode::NONE);
    result.configs.remove(0)
}

#[tokio::test]
async fn a_setting_is_changed_described_and_goes_back_to_its_default() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for name in NAMES {
        let code = change(&mut client, name, SETTING, Some("1234"), false).await;
        assert_eq!(code, ErrorCode::NONE);
        for (name, source) in [
            ("0", ConfigSource::DYNAMIC_BROKER_CONFIG),
            ("", ConfigSource::DYNAMIC_DEFAULT_BROKER_CONFIG),
        ] {
            let config = described(&mut client, name, SETTING).await;
            assert_eq!(config.value.as_deref(), Some("1234"));
            assert_eq!(config.config_source, source);
            assert!(!config.read_only && !config.is_default);
            let documentation = config.documentation.unwrap();
            assert!(documentation.contains("Accepted"), "{documentation}");
        }
        let code = change(&mut client, name, SETTING, None, false).await;
        assert_eq!(code, ErrorCode::NONE);
        let config = described(&mut client, name, SETTING).await;
        assert_eq!(config.value.as_deref(), Some(DEFAULT));
        assert_eq!(config.config_source, ConfigSource::DEFAULT_CONFIG);
    }
}

#[tokio::test]
async fn replacing_leaves_exactly_what_is_named() {
    let served = Served::start().await;
    let mut client = served.client().await;
    assert_eq!(
        replace(&mut client, &[(SETTING, "1234")]).await,
        ErrorCode::NONE
    );
    let other = "log.flush.interval.ms";
    assert_eq!(replace(&mut client, &[(other, "5")]).await, ErrorCode::NONE);
    let config = described(&mut client, "0", SETTING).await;
    assert_eq!(config.value.as_deref(), Some(DEFAULT));
    let config = described(&mut client, "0", other).await;
    assert_eq!(config.value.as_deref(), Some("5"));
}

#[tokio::test]
async fn what_is_refused_or_only_validated_changes_nothing() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for (key, value, validate_only, code) in [
        (SETTING, "1234", true, ErrorCode::NONE),
        (SETTING, "0", false, ErrorCode::INVALID_CONFIG),
        (SETTING, "0", true, ErrorCode::INVALID_CONFIG),
        ("num.partitions", "7", false, ErrorCode::INVALID_CONFIG),
        (
            "log.cleanup.policy",
            "compact",
            false,
            ErrorCode::INVALID_CONFIG,
        ),
    ] {
        let changed = change(&mut client, "0", key, Some(value), validate_only).await;
        assert_eq!(changed, code, "{key}={value}");
    }
    let config = described(&mut client, "0", SETTING).await;
    assert_eq!(config.value.as_deref(), Some(DEFAULT));
    let config = described(&mut client, "0", "num.partitions").await;
    assert_eq!(config.value.as_deref(), Some("1"));
    assert!(config.read_only);
}
