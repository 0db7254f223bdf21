//! DescribeGroups, ListGroups and DeleteGroups: what an operator sees and does.

use std::collections::HashSet;
use std::sync::Arc;

use millstream_broker::groups::{
    GroupDescription, GroupId, GroupListing, GroupState, MemberDescription,
};
use millstream_kafka_wire::messages::delete_groups::DeletableGroupResult;
use millstream_kafka_wire::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use millstream_kafka_wire::messages::list_groups::ListedGroup;
use millstream_kafka_wire::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use millstream_kafka_wire::{ErrorCode, Str};

use super::code;
use crate::api::{OPERATIONS_NOT_ASKED, without_repeats};
use crate::dispatch::Call;

/// Everything one may do to a group, as a bit per operation of Kafka's ACLs: read (3), delete (6), describe (8).
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

/// From this version on a group that does not exist is an error; before, it is described as dead.
const DESCRIBE_NOT_FOUND_FROM: i16 = 6;

/// The type of all groups so far.
const CLASSIC: &str = "classic";

/// Describes groups with their members, each once.
pub(crate) async fn describe_groups(
    call: Arc<Call>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let describe = |group: Str| match call.server.broker.groups().describe(&GroupId::new(&group)) {
        Some(description) => described(group, description, operations),
        None => not_found(group, call.version),
    };
    let mut groups = Vec::new();
    for group in without_repeats(request.groups, Str::clone).map(describe) {
        if !call.has_room(memory_bytes(&group)).await {
            break;
        }
        groups.push(group);
    }
    DescribeGroupsResponse {
        groups,
        ..Default::default()
    }
}

fn memory_bytes(group: &DescribedGroup) -> usize {
    let members = group.members.iter().map(|member| {
        size_of::<DescribedGroupMember>()
            + member.member_metadata.len()
            + member.member_assignment.len()
    });
    size_of::<DescribedGroup>() + members.sum::<usize>()
}

fn described(
    group_id: Str,
    description: GroupDescription,
    authorized_operations: i32,
) -> DescribedGroup {
    let member = |member: MemberDescription| DescribedGroupMember {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.instance_id.map(|instance| instance.as_str().into()),
        client_id: (*member.client_id).into(),
        client_host: (*member.client_host).into(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    // The protocol is that of a generation whose assignment is known.
    let protocol = description
        .protocol
        .filter(|_| description.state == GroupState::Stable);
    DescribedGroup {
        group_id,
        group_state: Str::from_static(description.state.as_str()),
        protocol_type: description
            .protocol_type
            .as_deref()
            .unwrap_or_default()
            .into(),
        protocol_data: protocol.as_deref().unwrap_or_default().into(),
        members: description.members.into_iter().map(member).collect(),
        authorized_operations,
        ..Default::default()
    }
}

fn not_found(group_id: Str, version: i16) -> DescribedGroup {
    let is_error = version >= DESCRIBE_NOT_FOUND_FROM;
    DescribedGroup {
        error_code: if is_error {
            ErrorCode::GROUP_ID_NOT_FOUND
        } else {
            ErrorCode::NONE
        },
        error_message: is_error.then(|| format!("Group {} not found.", &*group_id).into()),
        group_id,
        group_state: Str::from_static(GroupState::Dead.as_str()),
        ..Default::default()
    }
}

/// Lists the groups whose state and type the request asks for, in any case of letters; an empty filter asks for all.
pub(crate) async fn list_groups(call: Arc<Call>, request: ListGroupsRequest) -> ListGroupsResponse {
    let filter = |asked: &[Str]| -> HashSet<String> {
        let values = asked.iter();
        values
            .map(|value| value.trim().to_ascii_lowercase())
            .collect()
    };
    let states = filter(&request.states_filter);
    let types = filter(&request.types_filter);
    let is_asked = |filter: &HashSet<String>, value: &str| {
        filter.is_empty() || filter.contains(&value.to_ascii_lowercase())
    };
    let listed = |group: GroupListing| ListedGroup {
        group_id: group.id.as_str().into(),
        protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
        group_state: Str::from_static(group.state.as_str()),
        group_type: Str::from_static(CLASSIC),
    };
    let mut groups = call.server.broker.groups().list();
    groups.retain(|group| is_asked(&states, group.state.as_str()) && is_asked(&types, CLASSIC));
    ListGroupsResponse {
        groups: groups.into_iter().map(listed).collect(),
        ..Default::default()
    }
}

/// Deletes groups without members, each named one once.
pub(crate) async fn delete_groups(
    call: Arc<Call>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in without_repeats(request.groups_names, Str::clone) {
        if !call.has_room(size_of::<DeletableGroupResult>()).await {
            break;
        }
        let deleted = call
            .server
            .broker
            .groups()
            .delete(&GroupId::new(&group_id))
            .await;
        results.push(DeletableGroupResult {
            group_id,
            error_code: code(deleted),
        });
    }
    DeleteGroupsResponse {
        results,
        ..Default::default()
    }
}
