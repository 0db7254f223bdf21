//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources.

mod alter;
mod describe;
mod list;

pub(crate) use alter::{alter_configs, incremental_alter_configs};
pub(crate) use describe::{Detail, describe_configs, topic_configs};
pub(crate) use list::list_config_resources;

use millstream_kafka_wire::{ConfigSource, ErrorCode, ResourceType};

use crate::errors::Refusal;

/// What a request can configure here.
enum Resource<'a> {
    /// A topic, by name.
    Topic(&'a str),
    /// This server; what clients set of it is told as coming from this source.
    Broker(ConfigSource),
    /// What can be configured in Kafka and has no settings here.
    WithoutSettings,
}

/// Finds out what a request means; `node_id` is this server's.
fn resource(kind: ResourceType, name: &str, node_id: i32) -> Result<Resource<'_>, Refusal> {
    let refused = |message| Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
    match kind {
        ResourceType::TOPIC => Ok(Resource::Topic(name)),
        // The empty name stands for the defaults of all brokers: here those are the settings of the one.
        ResourceType::BROKER if name.is_empty() => Ok(Resource::Broker(
            ConfigSource::DYNAMIC_DEFAULT_BROKER_CONFIG,
        )),
        ResourceType::BROKER if name.parse() == Ok(node_id) => {
            Ok(Resource::Broker(ConfigSource::DYNAMIC_BROKER_CONFIG))
        }
        ResourceType::BROKER => refused(format!("there is no broker {name:?}, only {node_id}")),
        // Classic groups have no settings, and there are no metrics subscriptions.
        ResourceType::GROUP | ResourceType::CLIENT_METRICS => Ok(Resource::WithoutSettings),
        other => refused(format!(
            "resources of type {other:?} have no configuration here, topics and brokers have"
        )),
    }
}
