//! Consumer groups: who reads what, and how far behind.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use millstream_broker::groups::{CommittedOffset, GroupId, MemberDescription, OffsetKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::topics::page_size;
use crate::app::App;
use crate::extract::{InPath, InQuery};
use crate::json::Json;
use crate::problem::{Kind, Problem};

/// Which groups to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListGroups {
    /// Only groups whose ids begin with this.
    #[serde(default)]
    prefix: String,
    /// Only groups whose ids come after this one: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// A page of groups, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupList {
    /// The groups.
    groups: Vec<GroupSummary>,
    /// What to ask for the next page with, as `after`; null on the last.
    next: Option<String>,
}

/// A group in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupSummary {
    /// Its id.
    id: String,
    /// `Empty`, `Stable`, `PreparingRebalance` or `CompletingRebalance`.
    state: &'static str,
    /// `consumer`, `connect`, …; null if it never had members.
    protocol_type: Option<String>,
}

/// A group in full.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupView {
    /// Its id.
    id: String,
    /// `Empty`, `Stable`, `PreparingRebalance` or `CompletingRebalance`.
    state: &'static str,
    /// How its members share the partitions; null while it has none.
    protocol: Option<String>,
    /// Its members.
    members: Vec<MemberView>,
    /// How far it is, by topic and partition.
    offsets: Vec<OffsetView>,
    /// Records it has not read yet, all together.
    lag: i64,
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberView {
    /// Its id.
    id: String,
    /// Given by a static member.
    instance_id: Option<String>,
    /// What its client calls itself.
    client_id: String,
    /// From where it joined.
    client_host: String,
}

/// How far a group is in one partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffsetView {
    /// The topic.
    topic: String,
    /// The partition.
    partition: u32,
    /// The next record it reads.
    offset: i64,
    /// Where the partition ends.
    latest: i64,
    /// How many records lie between.
    lag: i64,
    /// What the reader wanted to remember with it.
    metadata: String,
    /// When it was committed, in milliseconds since the epoch.
    committed_at: i64,
}

/// List groups.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", operation_id = "list_groups", params(ListGroups),
    responses((status = 200, description = "A page of them.", body = GroupList)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<ListGroups>,
) -> Result<Json<GroupList>, Problem> {
    let max = page_size(query.max)?;
    let mut groups = app.broker.groups().list();
    groups.retain(|group| {
        let id = group.id.as_str();
        id.starts_with(&query.prefix) && query.after.as_deref().is_none_or(|after| id > after)
    });
    let is_last = groups.len() <= max;
    groups.truncate(max);
    let next = groups
        .last()
        .filter(|_| !is_last)
        .map(|group| group.id.to_string());
    let groups = groups
        .into_iter()
        .map(|group| GroupSummary {
            id: group.id.to_string(),
            state: group.state.as_str(),
            protocol_type: group.protocol_type.map(|kind| kind.to_string()),
        })
        .collect();
    Ok(Json(GroupList { groups, next }))
}

/// Describe a group: its members, its offsets and its lag.
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "groups", operation_id = "describe_group",
    params(("group" = String, Path, description = "The group's id.")),
    responses((status = 200, description = "The group.", body = GroupView)))]
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<Json<GroupView>, Problem> {
    let id = GroupId::new(&name);
    let groups = app.broker.groups();
    let described = groups.describe(&id).ok_or_else(|| {
        Problem::new(
            Kind::UNKNOWN_GROUP,
            format!("there is no group {name:?}; GET /v1/groups lists those there are"),
        )
    })?;
    let kept = groups.all_offsets(&id).await?;
    let offsets: Vec<OffsetView> = kept
        .into_iter()
        .filter_map(|(at, committed)| offset(&app, at, &committed))
        .collect();
    Ok(Json(GroupView {
        id: name,
        state: described.state.as_str(),
        protocol: described.protocol.map(|protocol| protocol.to_string()),
        members: described.members.iter().map(member).collect(),
        lag: offsets.iter().map(|offset| offset.lag).sum(),
        offsets,
    }))
}

fn member(member: &MemberDescription) -> MemberView {
    MemberView {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
    }
}

/// One offset; none for a topic that is gone.
fn offset(app: &App, at: OffsetKey, committed: &CommittedOffset) -> Option<OffsetView> {
    let topic = app.broker.topic_by_id(at.topic)?;
    let latest = topic.partition(at.partition)?.offsets().high_watermark;
    Some(OffsetView {
        topic: topic.name().as_str().to_owned(),
        partition: at.partition,
        offset: committed.offset.get(),
        latest: latest.get(),
        lag: (latest.get() - committed.offset.get()).max(0),
        metadata: committed.metadata.to_string(),
        committed_at: committed.committed.get(),
    })
}

/// Delete a group and its offsets. It must have no members.
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "groups", operation_id = "delete_group",
    params(("group" = String, Path, description = "The group's id.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    app.broker.groups().delete(&GroupId::new(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
