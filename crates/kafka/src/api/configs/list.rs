//! ListConfigResources: what has a configuration (KIP-1142).

use std::sync::Arc;

use millstream_kafka_wire::messages::list_config_resources::ConfigResource;
use millstream_kafka_wire::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use millstream_kafka_wire::{ErrorCode, ResourceType};

use crate::dispatch::Call;

/// The types there are, whether or not resources of them exist here.
const TYPES: [ResourceType; 5] = [
    ResourceType::TOPIC,
    ResourceType::BROKER,
    ResourceType::BROKER_LOGGER,
    ResourceType::CLIENT_METRICS,
    ResourceType::GROUP,
];

/// Lists the resources of the types asked for, of all where none is named. Version 0 asks for client metrics
/// subscriptions, of which there are none.
pub(crate) async fn list_config_resources(
    call: Arc<Call>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    if call.version == 0 {
        return ListConfigResourcesResponse::default();
    }
    let asked = &request.resource_types;
    if !asked.iter().all(|kind| TYPES.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..Default::default()
        };
    }
    let wants = |kind| asked.is_empty() || asked.contains(&kind);
    let mut config_resources = Vec::new();
    if wants(ResourceType::TOPIC) {
        let topics = call.server.broker.topics().into_iter();
        config_resources.extend(topics.map(|topic| ConfigResource {
            resource_name: topic.name().as_str().into(),
            resource_type: ResourceType::TOPIC,
        }));
    }
    if wants(ResourceType::BROKER) {
        let resource_name = call.server.settings.node_id.to_string().into();
        config_resources.push(ConfigResource {
            resource_name,
            resource_type: ResourceType::BROKER,
        });
    }
    ListConfigResourcesResponse {
        config_resources,
        ..Default::default()
    }
}
