//! Settings of topics and brokers.

use millstream_kafka_wire::messages::describe_configs::DescribeConfigsResource;
use millstream_kafka_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig,
};
use millstream_kafka_wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use millstream_kafka_wire::{ConfigOperation, ConfigSource, ConfigType, ResourceType};

use crate::client::Client;
use crate::error::{ClientError, check_with};

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by its name.
    Topic(String),
    /// A broker, by its id.
    Broker(i32),
}

impl Resource {
    fn kind(&self) -> ResourceType {
        match self {
            Self::Topic(_) => ResourceType::TOPIC,
            Self::Broker(_) => ResourceType::BROKER,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(name) => name.clone(),
            Self::Broker(id) => id.to_string(),
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic '{name}'"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}

/// A setting as the server describes it.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none if it is secret or unset.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// What kind of value it has.
    pub kind: ConfigType,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// What it means, if the server tells.
    pub documentation: Option<String>,
}

impl ConfigEntry {
    /// Whether it was set on the topic itself.
    pub fn is_set_on_topic(&self) -> bool {
        self.source == ConfigSource::TOPIC_CONFIG
    }
}

/// A change to a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Give it this value.
    Set(String, String),
    /// Take it back to its default.
    Unset(String),
}

impl Client {
    /// All settings of `resource`, by name.
    pub async fn describe_configs(
        &self,
        resource: &Resource,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: true,
        };
        // A broker's settings are known to itself.
        let response = match resource {
            Resource::Topic(_) => self.call_any(&request).await?,
            Resource::Broker(id) => self.call_broker(*id, &request).await?,
        };
        let result = response
            .results
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("DescribeConfigs"))?;
        check_with(
            result.error_code,
            format!("describe the settings of {resource}"),
            result.error_message,
        )?;
        let mut entries: Vec<_> = result
            .configs
            .into_iter()
            .map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                source: config.config_source,
                kind: config.config_type,
                read_only: config.read_only,
                documentation: config.documentation.map(|text| text.to_string()),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes all of `changes` to the settings of `resource`, or none. With `validate_only` it is only checked whether they
    /// could be made.
    pub async fn alter_configs(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configs: changes.iter().map(to_wire).collect(),
            }],
            validate_only,
        };
        let response = match resource {
            Resource::Topic(_) => self.call_any(&request).await?,
            Resource::Broker(id) => self.call_broker(*id, &request).await?,
        };
        let result = response.responses.into_iter().next();
        let result = result.ok_or(ClientError::Incomplete("IncrementalAlterConfigs"))?;
        check_with(
            result.error_code,
            format!("change the settings of {resource}"),
            result.error_message,
        )
    }
}

fn to_wire(change: &ConfigChange) -> AlterableConfig {
    match change {
        ConfigChange::Set(name, value) => AlterableConfig {
            name: name.as_str().into(),
            config_operation: ConfigOperation::SET,
            value: Some(value.as_str().into()),
        },
        ConfigChange::Unset(name) => AlterableConfig {
            name: name.as_str().into(),
            config_operation: ConfigOperation::DELETE,
            value: None,
        },
    }
}
