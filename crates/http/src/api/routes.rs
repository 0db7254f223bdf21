//! Routes: what is published to one topic goes to others too, in the same commit.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use millstream_broker::filter::{Filter, TopicPattern};
use millstream_broker::routes::{NewRoute, Route, RouteSource, RouteStats};
use millstream_broker::{Broker, BrokerError, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::api::topics;
use crate::app::App;
use crate::body::Payload;
use crate::extract::{InPath, InQuery};
use crate::json::Json;
use crate::problem::{Kind, Problem};

/// What a route shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"source_topic": "orders", "targets": ["orders-eu"], "filter": {"header": "region", "equals": "eu"}}))]
pub(crate) struct PutRoute {
    /// The topic that it leads from.
    #[schema(min_length = 1, max_length = 255)]
    source_topic: Option<String>,
    /// Or every topic whose name matches, those that are created later too: words between dots, `*` for one word, `#` for
    /// any number of them.
    source_pattern: Option<String>,
    /// The topics that it leads to.
    #[schema(min_items = 1, max_items = 1000)]
    targets: Vec<String>,
    /// Which records it takes; all if left out.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
}

/// Which routes to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRoutes {
    /// Only routes whose names come after this one: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// A page of routes, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouteList {
    /// The routes.
    routes: Vec<RouteView>,
    /// What to ask for the next page with, as `after`; null on the last.
    next: Option<String>,
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Route)]
pub(crate) struct RouteView {
    /// Its name.
    name: String,
    /// The topic that it leads from, if it leads from one.
    source_topic: Option<String>,
    /// The pattern of the names of the topics that it leads from, if it leads from all of them.
    source_pattern: Option<String>,
    /// The topics that it leads to.
    targets: Vec<String>,
    /// Which records it takes; null if all.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// When it was made, in milliseconds since the epoch.
    created_at: i64,
    /// What it has done since the server started.
    stats: StatsView,
    /// The topics that it leads from at present; only told of one route.
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<String>>,
    /// Targets that have been deleted, and get nothing; only told of one route.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<String>>,
}

/// What a route has done since the server started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RouteStats)]
pub(crate) struct StatsView {
    /// Records it took, once for all its targets.
    records: u64,
    /// Publishes that were refused because a target did not take a record.
    refused: u64,
    /// Records that a deleted target did not get: one for each record and target.
    skipped: u64,
}

/// List routes.
#[utoipa::path(get, path = "/v1/routes", tag = "routes", operation_id = "list_routes", params(ListRoutes),
    responses((status = 200, description = "A page of them.", body = RouteList)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<ListRoutes>,
) -> Result<Json<RouteList>, Problem> {
    let max = topics::page_size(query.max)?;
    let mut all = app.broker.routes().list();
    all.retain(|route| {
        let after = query.after.as_deref();
        after.is_none_or(|after| route.name.as_str() > after)
    });
    let is_last = all.len() <= max;
    all.truncate(max);
    let last = all.last().filter(|_| !is_last);
    let next = last.map(|route| route.name.clone());
    let routes = all.iter().map(|route| {
        let stats = app.broker.routes().stats(&route.name);
        view(route, stats.unwrap_or_default())
    });
    Ok(Json(RouteList {
        routes: routes.collect(),
        next,
    }))
}

/// Make sure that a route exists, and is what it should be.
///
/// Creates the route if there is none. One that exists is left alone if it is the same, and refused if not: a route is
/// changed by deleting it and creating it again. A route that would close a loop is refused.
#[utoipa::path(put, path = "/v1/routes/{route}", tag = "routes", operation_id = "put_route",
    params(("route" = String, Path, description = "The route's name.")), request_body = PutRoute,
    responses((status = 200, description = "It existed.", body = RouteView),
        (status = 201, description = "It was created.", body = RouteView)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    payload: Payload,
) -> Result<Response, Problem> {
    let new = new_route(name, payload.json()?)?;
    match app.broker.routes().create(new.clone()).await {
        Ok(route) => {
            let location = format!("/v1/routes/{}", topics::in_path(&route.name));
            let answer = Json(described(&app.broker, &route.name)?);
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
        }
        Err(BrokerError::RouteExists(name)) => {
            let existing = app.broker.routes().get(&name);
            if existing.is_some_and(|existing| is_same(&existing, &new)) {
                return Ok(Json(described(&app.broker, &name)?).into_response());
            }
            Err(BrokerError::RouteExists(name).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Describe a route.
#[utoipa::path(get, path = "/v1/routes/{route}", tag = "routes", operation_id = "describe_route",
    params(("route" = String, Path, description = "The route's name.")),
    responses((status = 200, description = "The route.", body = RouteView)))]
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<Json<RouteView>, Problem> {
    Ok(Json(described(&app.broker, &name)?))
}

/// Delete a route. What it has led to its targets stays there.
#[utoipa::path(delete, path = "/v1/routes/{route}", tag = "routes", operation_id = "delete_route",
    params(("route" = String, Path, description = "The route's name.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    app.broker.routes().delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn new_route(name: String, asked: PutRoute) -> Result<NewRoute, Problem> {
    let refused = |why: String| Problem::new(Kind::INVALID_ROUTE, why);
    let source = match (asked.source_topic, asked.source_pattern) {
        (Some(topic), None) => RouteSource::Topic(
            TopicName::new(&topic)
                .map_err(|error| Problem::from(BrokerError::InvalidTopicName(error)))?,
        ),
        (None, Some(pattern)) => RouteSource::Pattern(
            TopicPattern::new(&pattern)
                .map_err(|error| refused(format!("source_pattern: {error}")))?,
        ),
        _ => {
            return Err(refused(
                "a route has one source: give source_topic or source_pattern".to_owned(),
            ));
        }
    };
    let filter = asked.filter.as_ref().map(Filter::from_json).transpose();
    Ok(NewRoute {
        name,
        source,
        filter: filter.map_err(|error| refused(format!("filter: {error}")))?,
        targets: asked.targets,
    })
}

/// Whether making `new` would make what is there already.
fn is_same(existing: &Route, new: &NewRoute) -> bool {
    let is_named = |target: &TopicName| new.targets.iter().any(|name| name == target.as_str());
    let is_there = |name: &String| {
        existing
            .targets
            .iter()
            .any(|target| target.as_str() == name)
    };
    existing.source == new.source
        && existing.filter == new.filter
        && existing.targets.iter().all(is_named)
        && new.targets.iter().all(is_there)
}

fn described(broker: &Broker, name: &str) -> Result<RouteView, Problem> {
    let routes = broker.routes();
    let description = routes
        .describe(name)
        .ok_or_else(|| Problem::from(BrokerError::UnknownRoute(name.into())))?;
    Ok(RouteView {
        sources: Some(names(&description.sources)),
        missing: Some(names(&description.missing)),
        ..view(&description.route, description.stats)
    })
}

fn view(route: &Route, stats: RouteStats) -> RouteView {
    let (source_topic, source_pattern) = match &route.source {
        RouteSource::Topic(name) => (Some(name.to_string()), None),
        RouteSource::Pattern(pattern) => (None, Some(pattern.to_string())),
    };
    RouteView {
        name: route.name.clone(),
        source_topic,
        source_pattern,
        targets: names(&route.targets),
        filter: route.filter.as_ref().map(Filter::to_json),
        created_at: route.created.get(),
        stats: StatsView {
            records: stats.records,
            refused: stats.refused,
            skipped: stats.skipped,
        },
        sources: None,
        missing: None,
    }
}

fn names(topics: &[TopicName]) -> Vec<String> {
    topics.iter().map(ToString::to_string).collect()
}
