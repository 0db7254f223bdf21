//! Topics: listing, creating, describing, altering and deleting them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use millstream_broker::topic_settings::table::SETTINGS;
use millstream_broker::topics::{NewTopic, TopicHandle};
use millstream_broker::{Broker, BrokerError, SettingChange, SettingOp};
use millstream_limits::HTTP_PAGE_MAX;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::Json;
use crate::problem::{Kind, Problem};

/// The setting that says what an acknowledgement promises.
const DURABILITY: &str = "millstream.durability";

/// Which topics to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTopics {
    /// Only topics whose names begin with this.
    #[serde(default)]
    prefix: String,
    /// Only topics whose names come after this one: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// A page of topics, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicList {
    /// The topics.
    topics: Vec<TopicSummary>,
    /// What to ask for the next page with, as `after`; null on the last.
    next: Option<String>,
}

/// A topic in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicSummary {
    /// Its name.
    name: String,
    /// How many partitions it has.
    partitions: u32,
    /// What an acknowledgement promises: `fsync`, `os` or `memory`.
    durability: String,
}

/// A topic in full.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicDescription {
    /// Its name.
    name: String,
    /// Its id; a topic that is deleted and created again has another.
    id: String,
    /// When it was created, in milliseconds since the epoch.
    created_at: i64,
    /// What an acknowledgement promises: `fsync`, `os` or `memory`.
    durability: String,
    /// Its partitions.
    partitions: Vec<PartitionDescription>,
    /// Every setting in force, by key.
    settings: BTreeMap<&'static str, String>,
    /// The keys of those that were set; the others have their defaults.
    changed: Vec<&'static str>,
}

/// A partition of a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionDescription {
    /// Its index, from 0.
    partition: u32,
    /// The offset of the first record there is.
    earliest: i64,
    /// The offset that the next record will have.
    latest: i64,
    /// Bytes of its batches.
    size_bytes: u64,
}

/// A topic to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "orders", "partitions": 4, "settings": {"retention.ms": 604_800_000}}))]
pub(crate) struct CreateTopic {
    /// Its name: 1 to 255 bytes of text.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// How many partitions; the server's default if left out.
    #[schema(minimum = 1)]
    partitions: Option<u32>,
    /// Settings by key.
    #[serde(default)]
    settings: BTreeMap<String, SettingValue>,
}

/// What a topic shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutTopic {
    /// How many partitions; the server's default if left out.
    #[schema(minimum = 1)]
    partitions: Option<u32>,
    /// Settings by key.
    #[serde(default)]
    settings: BTreeMap<String, SettingValue>,
}

/// What to change of a topic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"partitions": 8, "settings": {"retention.ms": 86_400_000, "cleanup.policy": null}}))]
pub(crate) struct AlterTopic {
    /// Give it partitions until it has so many.
    #[schema(minimum = 1)]
    partitions: Option<u32>,
    /// Settings by key; null goes back to the default.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    settings: BTreeMap<String, Option<SettingValue>>,
}

/// A setting's value.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a setting is text, a number, true or false; leave out one that is to have its default"
)]
pub(crate) enum SettingValue {
    /// As text.
    Text(String),
    /// As a whole number.
    Number(i64),
    /// As a fraction.
    Fraction(f64),
    /// As true or false.
    Flag(bool),
}

impl From<SettingValue> for String {
    fn from(value: SettingValue) -> String {
        match value {
            SettingValue::Text(text) => text,
            SettingValue::Number(number) => number.to_string(),
            SettingValue::Fraction(number) => number.to_string(),
            SettingValue::Flag(flag) => flag.to_string(),
        }
    }
}

/// The topic of that name.
pub(crate) fn find(broker: &Broker, name: &str) -> Result<Arc<TopicHandle>, Problem> {
    broker.topic(name).ok_or_else(|| {
        Problem::new(
            Kind::UNKNOWN_TOPIC,
            format!("there is no topic {name:?}; create it with PUT /v1/topics/{{topic}}"),
        )
    })
}

/// List topics.
#[utoipa::path(get, path = "/v1/topics", tag = "topics", operation_id = "list_topics", params(ListTopics),
    responses((status = 200, description = "A page of them.", body = TopicList)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<ListTopics>,
) -> Result<Json<TopicList>, Problem> {
    let max = page_size(query.max)?;
    let is_wanted = |topic: &Arc<TopicHandle>| {
        let name = topic.name().as_str();
        name.starts_with(&query.prefix) && query.after.as_deref().is_none_or(|after| name > after)
    };
    let mut topics: Vec<_> = app.broker.topics().into_iter().filter(is_wanted).collect();
    let is_last = topics.len() <= max;
    topics.truncate(max);
    let next = topics
        .last()
        .filter(|_| !is_last)
        .map(|topic| topic.name().as_str().to_owned());
    let topics = topics.iter().map(|topic| summary(topic)).collect();
    Ok(Json(TopicList { topics, next }))
}

/// The size of a page, checked.
pub(crate) fn page_size(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(HTTP_PAGE_MAX),
        Some(max) if (1..=HTTP_PAGE_MAX).contains(&max) => Ok(max),
        Some(max) => Err(Problem::new(
            Kind::BAD_QUERY,
            format!("max is {max}; it goes from 1 to {HTTP_PAGE_MAX}"),
        )),
    }
}

fn summary(topic: &TopicHandle) -> TopicSummary {
    TopicSummary {
        name: topic.name().as_str().to_owned(),
        partitions: topic.partition_count(),
        durability: durability(topic),
    }
}

fn durability(topic: &TopicHandle) -> String {
    let current = topic.current();
    let setting = SETTINGS.iter().find(|setting| setting.key == DURABILITY);
    setting.map_or_else(String::new, |setting| {
        current.settings.get(setting).0.to_owned()
    })
}

fn description(topic: &Arc<TopicHandle>) -> TopicDescription {
    let current = topic.current();
    let partition = |partition: millstream_broker::topics::PartitionHandle| {
        let offsets = partition.offsets();
        PartitionDescription {
            partition: partition.index(),
            earliest: offsets.log_start.get(),
            latest: offsets.high_watermark.get(),
            size_bytes: partition.size_bytes(),
        }
    };
    let shown = SETTINGS.iter().filter(|setting| setting.is_shown());
    TopicDescription {
        name: topic.name().as_str().to_owned(),
        id: topic.id().to_string(),
        created_at: topic.created_ms().get(),
        durability: durability(topic),
        partitions: topic.partitions().into_iter().map(partition).collect(),
        settings: shown
            .map(|setting| (setting.key, current.settings.get(setting).0.to_owned()))
            .collect(),
        changed: current.settings.set().map(|(key, _)| key).collect(),
    }
}

/// Create a topic.
#[utoipa::path(post, path = "/v1/topics", tag = "topics", operation_id = "create_topic", request_body = CreateTopic,
    responses((status = 201, description = "It was created.", body = TopicDescription)))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let asked: CreateTopic = payload.json()?;
    let topic = app
        .broker
        .create_topic(new_topic(asked.name, asked.partitions, asked.settings))
        .await?;
    Ok(created(&topic))
}

fn new_topic(
    name: String,
    partitions: Option<u32>,
    settings: BTreeMap<String, SettingValue>,
) -> NewTopic {
    let text = |(key, value): (String, SettingValue)| (key, String::from(value));
    NewTopic {
        name,
        partitions,
        settings: settings.into_iter().map(text).collect(),
    }
}

fn created(topic: &Arc<TopicHandle>) -> Response {
    let location = format!("/v1/topics/{}", in_path(topic.name().as_str()));
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(description(topic)),
    )
        .into_response()
}

/// The name as it stands in a path.
pub(crate) fn in_path(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes all text");
        }
    }
    escaped
}

/// Make sure that a topic exists, and is what it should be.
///
/// Creates the topic if there is none. One that exists is left alone if it has the partitions and settings named here,
/// and refused if not: PATCH changes it.
#[utoipa::path(put, path = "/v1/topics/{topic}", tag = "topics", operation_id = "put_topic",
    params(("topic" = String, Path, description = "The topic's name.")),
    request_body(content = inline(Option<PutTopic>)),
    responses((status = 200, description = "It existed.", body = TopicDescription),
        (status = 201, description = "It was created.", body = TopicDescription)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    let asked: PutTopic = payload.json_or_default()?;
    let new = new_topic(name, asked.partitions, asked.settings);
    match app.broker.create_topic(new.clone()).await {
        Ok(topic) => Ok(created(&topic)),
        Err(BrokerError::TopicExists(_)) => {
            let topic = find(&app.broker, &new.name)?;
            check_same(&app.broker, &topic, &new)?;
            Ok(Json(description(&topic)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses if the topic is not what it was asked to be.
fn check_same(broker: &Broker, topic: &TopicHandle, wanted: &NewTopic) -> Result<(), Problem> {
    let differs = |what: String| {
        Err(Problem::new(
            Kind::EXISTS,
            format!(
                "topic {} exists, and {what}; change it with PATCH",
                topic.name()
            ),
        ))
    };
    let count = topic.partition_count();
    if let Some(partitions) = wanted.partitions.filter(|wanted| *wanted != count) {
        return differs(format!("has {count} partitions, not {partitions}"));
    }
    let changes = wanted.settings.iter().map(|(key, value)| SettingChange {
        key: key.clone(),
        op: SettingOp::Set(value.clone()),
    });
    let changed = broker.check_alter(topic.id(), &changes.collect::<Vec<_>>())?;
    let current = topic.current();
    let other = SETTINGS
        .iter()
        .find(|setting| changed.get(setting).0 != current.settings.get(setting).0);
    match other {
        Some(setting) => differs(format!(
            "its {} is {}",
            setting.key,
            current.settings.get(setting).0
        )),
        None => Ok(()),
    }
}

/// Describe a topic.
#[utoipa::path(get, path = "/v1/topics/{topic}", tag = "topics", operation_id = "describe_topic",
    params(("topic" = String, Path, description = "The topic's name.")),
    responses((status = 200, description = "The topic.", body = TopicDescription)))]
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<Json<TopicDescription>, Problem> {
    Ok(Json(description(&find(&app.broker, &name)?)))
}

/// Change a topic's settings, or give it more partitions.
#[utoipa::path(patch, path = "/v1/topics/{topic}", tag = "topics", operation_id = "alter_topic",
    params(("topic" = String, Path, description = "The topic's name.")), request_body = AlterTopic,
    responses((status = 200, description = "The topic as it is now.", body = TopicDescription)))]
pub(crate) async fn alter(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Json<TopicDescription>, Problem> {
    let asked: AlterTopic = payload.json()?;
    let topic = find(&app.broker, &name)?;
    let change = |(key, value): (String, Option<SettingValue>)| SettingChange {
        key,
        op: value.map_or(SettingOp::Delete, |value| SettingOp::Set(value.into())),
    };
    let changes: Vec<_> = asked.settings.into_iter().map(change).collect();
    // Both are checked before either is done.
    app.broker.check_alter(topic.id(), &changes)?;
    if let Some(total) = asked
        .partitions
        .filter(|total| *total != topic.partition_count())
    {
        app.broker.check_add_partitions(topic.id(), total)?;
        app.broker.add_partitions(topic.id(), total).await?;
    }
    if !changes.is_empty() {
        app.broker.alter_topic(topic.id(), &changes).await?;
    }
    Ok(Json(description(&topic)))
}

/// Delete a topic with everything in it.
#[utoipa::path(delete, path = "/v1/topics/{topic}", tag = "topics", operation_id = "delete_topic",
    params(("topic" = String, Path, description = "The topic's name.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    let topic = find(&app.broker, &name)?;
    app.broker.delete_topic(topic.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}
