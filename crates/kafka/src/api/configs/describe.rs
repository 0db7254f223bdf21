//! DescribeConfigs.

use std::sync::Arc;

use millstream_broker::TopicSettings;
use millstream_broker::topic_settings::table::SETTINGS;
use millstream_broker::topic_settings::{Kind, SERVER_SETTINGS, Setting, Standing};
use millstream_kafka_wire::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use millstream_kafka_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millstream_kafka_wire::{ConfigSource, ConfigType, Str};

use super::{Resource, resource};
use crate::api::{broker_configs, resolve, without_repeats};
use crate::dispatch::Call;
use crate::errors::Refusal;
use crate::server::Server;

/// Tells how topics and this broker are configured, and where each value comes from. A question that a request repeats is
/// answered once.
pub(crate) async fn describe_configs(
    call: Arc<Call>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let questions = without_repeats(request.resources, |asked| {
        let keys = asked.configuration_keys.clone();
        (asked.resource_type, asked.resource_name.clone(), keys)
    });
    let mut results = Vec::new();
    for asked in questions {
        let described = describe(&call, &asked, detail);
        let result = DescribeConfigsResult {
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
            ..Default::default()
        };
        let result = match described {
            Ok(configs) => DescribeConfigsResult {
                configs,
                error_message: None,
                ..result
            },
            Err(refusal) => DescribeConfigsResult {
                error_code: refusal.code,
                error_message: refusal.text(),
                ..result
            },
        };
        if !call.has_room(memory_bytes(&result)).await {
            break;
        }
        results.push(result);
    }
    DescribeConfigsResponse {
        results,
        ..Default::default()
    }
}

fn memory_bytes(result: &DescribeConfigsResult) -> usize {
    let configs = result.configs.iter().map(|config| {
        size_of::<DescribeConfigsResourceResult>()
            + config.synonyms.len() * size_of::<DescribeConfigsSynonym>()
            + config.documentation.as_ref().map_or(0, |text| text.len())
    });
    let message = result.error_message.as_ref().map_or(0, |text| text.len());
    size_of::<DescribeConfigsResult>() + message + configs.sum::<usize>()
}

/// What a request wants to know beside the values.
#[derive(Clone, Copy, Default)]
pub(crate) struct Detail {
    pub(crate) synonyms: bool,
    pub(crate) documentation: bool,
}

fn describe(
    call: &Call,
    asked: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let node_id = call.server.settings.node_id;
    let all: Vec<_> = match resource(asked.resource_type, &asked.resource_name, node_id)? {
        Resource::Topic(name) => {
            let topic = resolve::administered(&call.server.broker, name)?;
            topic_configs(&topic.current().settings, detail).collect()
        }
        Resource::Broker(source) => server_configs(&call.server, source, detail),
        Resource::WithoutSettings => Vec::new(),
    };
    let wanted = |config: &DescribeConfigsResourceResult| match &asked.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.contains(&config.name),
        _ => true,
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Every setting of a topic as DescribeConfigs tells it.
pub(crate) fn topic_configs(
    settings: &TopicSettings,
    detail: Detail,
) -> impl Iterator<Item = DescribeConfigsResourceResult> {
    SETTINGS
        .iter()
        .filter(|setting| setting.is_shown())
        .map(move |setting| {
            let value = settings.get(setting);
            config(setting, value, ConfigSource::TOPIC_CONFIG, detail)
        })
}

/// Everything there is to tell of this server: what it was told at its start, and what clients may set, which is told
/// as coming from `source`.
fn server_configs(
    server: &Server,
    source: ConfigSource,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult> {
    let set = server.broker.server_settings();
    let settable = SERVER_SETTINGS.iter();
    let mut configs = broker_configs::broker_configs(server, detail);
    configs.extend(settable.map(|setting| config(setting, set.get(setting), source, detail)));
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    configs
}

/// A setting with the value in force, which was set or is the default; what is set comes from `source`.
fn config(
    setting: &Setting,
    (value, is_set): (&str, bool),
    source: ConfigSource,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let name = Str::from_static(setting.key);
    let default = (
        Str::from_static(setting.default),
        ConfigSource::DEFAULT_CONFIG,
    );
    let set = is_set.then(|| (Str::from(value), source));
    let (value, config_source) = set.clone().unwrap_or_else(|| default.clone());
    let synonyms = set.into_iter().chain([default]);
    let synonyms = synonyms.map(|(value, source)| DescribeConfigsSynonym {
        name: name.clone(),
        value: Some(value),
        source,
    });
    DescribeConfigsResourceResult {
        value: Some(value),
        read_only: setting.fixed,
        is_default: !is_set,
        config_source,
        is_sensitive: false,
        config_type: config_type(setting.kind),
        documentation: detail.documentation.then(|| documentation(setting)),
        synonyms: if detail.synonyms {
            synonyms.collect()
        } else {
            Vec::new()
        },
        name,
    }
}

fn config_type(kind: Kind) -> ConfigType {
    match kind {
        Kind::Boolean => ConfigType::BOOLEAN,
        Kind::Int { .. } | Kind::IntOr { .. } => ConfigType::INT,
        Kind::Long { .. } => ConfigType::LONG,
        Kind::Double { .. } => ConfigType::DOUBLE,
        Kind::OneOf(_) | Kind::Text => ConfigType::STRING,
        Kind::List(_) => ConfigType::LIST,
    }
}

/// What a setting means and, where it is not acted on, why any value of it is satisfied.
fn documentation(setting: &Setting) -> Str {
    match setting.standing {
        Standing::Acted => Str::from_static(setting.doc),
        Standing::Accepted(reason) => format!(
            "{} Accepted, and nothing depends on it: {reason}.",
            setting.doc
        )
        .into(),
        Standing::DefaultOnly(reason) | Standing::Refused(reason) => {
            format!("{} Only the default is taken: {reason}.", setting.doc).into()
        }
    }
}
