//! AlterConfigs and IncrementalAlterConfigs. Both change topics, and the few settings of the server itself that can
//! change while it runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use millstream_broker::topic_settings::ServerSettings;
use millstream_broker::topics::TopicHandle;
use millstream_broker::{SettingChange, SettingOp};
use millstream_kafka_wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use millstream_kafka_wire::messages::{
    alter_configs as full, incremental_alter_configs as incremental,
};
use millstream_kafka_wire::{ConfigOperation, ErrorCode, ResourceType, Str};

use super::{Resource, resource};
use crate::api::{named_once, resolve};
use crate::dispatch::Call;
use crate::errors::Refusal;

/// Gives resources exactly the settings named; all others go back to their defaults.
pub(crate) async fn alter_configs(
    call: Arc<Call>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in named_once(request.resources, |asked| {
        (asked.resource_type, asked.resource_name.clone())
    }) {
        let (resource_type, resource_name, altered) = match asked {
            Ok(asked) => {
                let altered = replace(&call, &asked, request.validate_only).await;
                (asked.resource_type, asked.resource_name, altered)
            }
            Err((kind, name)) => (kind, name, Err(named_twice())),
        };
        let (error_code, error_message) = outcome(altered);
        let text = error_message.as_ref().map_or(0, |text| text.len());
        if !call
            .has_room(size_of::<full::AlterConfigsResourceResponse>() + text)
            .await
        {
            break;
        }
        responses.push(full::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        });
    }
    AlterConfigsResponse {
        responses,
        ..Default::default()
    }
}

/// Makes the changes named, all of a resource or none (KIP-339).
pub(crate) async fn incremental_alter_configs(
    call: Arc<Call>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in named_once(request.resources, |asked| {
        (asked.resource_type, asked.resource_name.clone())
    }) {
        let (resource_type, resource_name, altered) = match asked {
            Ok(asked) => {
                let altered = change(&call, &asked, request.validate_only).await;
                (asked.resource_type, asked.resource_name, altered)
            }
            Err((kind, name)) => (kind, name, Err(named_twice())),
        };
        let (error_code, error_message) = outcome(altered);
        let text = error_message.as_ref().map_or(0, |text| text.len());
        if !call
            .has_room(size_of::<incremental::AlterConfigsResourceResponse>() + text)
            .await
        {
            break;
        }
        responses.push(incremental::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        });
    }
    IncrementalAlterConfigsResponse {
        responses,
        ..Default::default()
    }
}

fn named_twice() -> Refusal {
    Refusal::new(
        ErrorCode::INVALID_REQUEST,
        "the resource is named more than once",
    )
}

fn outcome(altered: Result<(), Refusal>) -> (ErrorCode, Option<Str>) {
    match altered {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, refusal.text()),
    }
}

async fn replace(
    call: &Call,
    asked: &full::AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let keys: Vec<&str> = asked.configs.iter().map(|config| &*config.name).collect();
    let altered = altered(call, asked.resource_type, &asked.resource_name, &keys)?;
    let mut settings = BTreeMap::new();
    for full::AlterableConfig { name, value } in &asked.configs {
        settings.insert(name.to_string(), required(name, value.as_ref())?);
    }
    let broker = &call.server.broker;
    match (altered, validate_only) {
        (Altered::Topic(topic), true) => {
            broker.check_replace(topic.id(), settings)?;
        }
        (Altered::Topic(topic), false) => {
            broker.replace_topic_settings(topic.id(), settings).await?;
        }
        (Altered::Server, true) => {
            broker.check_server_settings(|_| ServerSettings::new(settings))?;
        }
        (Altered::Server, false) => {
            let replaced = broker.change_server_settings(|_| ServerSettings::new(settings));
            replaced.await?;
        }
    }
    Ok(())
}

async fn change(
    call: &Call,
    asked: &incremental::AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let keys: Vec<&str> = asked.configs.iter().map(|config| &*config.name).collect();
    let altered = altered(call, asked.resource_type, &asked.resource_name, &keys)?;
    let changes = asked
        .configs
        .iter()
        .map(setting_change)
        .collect::<Result<Vec<_>, _>>()?;
    let broker = &call.server.broker;
    match (altered, validate_only) {
        (Altered::Topic(topic), true) => {
            broker.check_alter(topic.id(), &changes)?;
        }
        (Altered::Topic(topic), false) => broker.alter_topic(topic.id(), &changes).await?,
        (Altered::Server, true) => {
            broker.check_server_settings(|settings| settings.changed(&changes))?;
        }
        (Altered::Server, false) => {
            let changed = broker.change_server_settings(|settings| settings.changed(&changes));
            changed.await?;
        }
    }
    Ok(())
}

/// What has settings that a request can alter.
enum Altered {
    Topic(Arc<TopicHandle>),
    Server,
}

/// What a request alters, if it alters each setting once.
fn altered(call: &Call, kind: ResourceType, name: &str, keys: &[&str]) -> Result<Altered, Refusal> {
    let mut seen = HashSet::new();
    if let Some(key) = keys.iter().find(|key| !seen.insert(**key)) {
        return Err(Refusal::new(
            ErrorCode::INVALID_REQUEST,
            format!("{key} is named more than once"),
        ));
    }
    match resource(kind, name, call.server.settings.node_id)? {
        Resource::Topic(name) => {
            let topic = resolve::administered(&call.server.broker, name)?;
            Ok(Altered::Topic(topic))
        }
        Resource::WithoutSettings => Err(Refusal::new(
            ErrorCode::INVALID_CONFIG,
            format!(
                "{kind:?} resources have no settings here, so not {} either",
                keys.join(", ")
            ),
        )),
        Resource::Broker(_) => Ok(Altered::Server),
    }
}

fn setting_change(config: &incremental::AlterableConfig) -> Result<SettingChange, Refusal> {
    let value = || required(&config.name, config.value.as_ref());
    let op = match config.config_operation {
        ConfigOperation::SET => SettingOp::Set(value()?),
        ConfigOperation::DELETE => SettingOp::Delete,
        ConfigOperation::APPEND => SettingOp::Append(value()?),
        ConfigOperation::SUBTRACT => SettingOp::Subtract(value()?),
        other => {
            let message = format!("{} has the unknown operation {}", config.name, other.0);
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        }
    };
    Ok(SettingChange {
        key: config.name.to_string(),
        op,
    })
}

fn required(name: &str, value: Option<&Str>) -> Result<String, Refusal> {
    let value = value.map(ToString::to_string);
    value.ok_or_else(|| {
        Refusal::new(
            ErrorCode::INVALID_REQUEST,
            format!("{name} has no value: give one or delete it"),
        )
    })
}
