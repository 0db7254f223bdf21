//! What is served, and what every request goes through on its way.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use millstream_broker::Broker;
use millstream_broker::queues::ConsumerId;
use tokio::sync::watch;
use tower_service::Service;

use crate::api::queues::{ack_and_publish, admin, messages, settle};
use crate::api::{groups, health, live, records, routes, socket, topics};
use crate::body::BodyBudget;
use crate::guard::Guard;
use crate::metrics::{Metrics, Operation};
use crate::openapi;
use crate::problem::{Kind, Problem};
use crate::settings::HttpSettings;

/// What all requests of a listener share.
pub(crate) struct App {
    pub(crate) broker: Broker,
    pub(crate) settings: HttpSettings,
    pub(crate) bodies: BodyBudget,
    pub(crate) metrics: Metrics,
    guard: Guard,
    /// The last number that a socket was given as a consumer of queues.
    last_consumer: AtomicU64,
    stopping: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(broker: Broker, settings: HttpSettings) -> App {
        // Other numbers than before a restart, since queues remember who holds what.
        let before_consumers = (broker.env().clock.wall_ms() as u64) << 20;
        App {
            bodies: BodyBudget::new(settings.receive_bytes_max),
            metrics: Metrics::new(&broker),
            broker,
            guard: Guard::new(&settings),
            last_consumer: AtomicU64::new(before_consumers),
            stopping: watch::Sender::new(false),
            settings,
        }
    }

    /// Tells everyone that the listener shuts down.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether it does.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Resolves when the listener shuts down: whoever waits for something then answers with what there is.
    pub(crate) async fn stopped(&self) {
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// Whether readers wait for memory that others hold, so that those who take nothing are in the way.
    pub(crate) fn readers_wait(&self) -> bool {
        self.broker.readers_wait() || self.broker.live_readers_wait()
    }

    /// A number for a consumer of queues that nobody else has.
    pub(crate) fn next_consumer(&self) -> ConsumerId {
        ConsumerId::of_connection(self.last_consumer.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The broker's time, in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.broker.now().get()
    }

    /// Answers one request that came in at `local`.
    pub(crate) async fn answer(
        &self,
        mut router: Router,
        local: IpAddr,
        request: Request<Incoming>,
    ) -> Response {
        let began = Instant::now();
        let operation = Operation::of(request.method(), request.uri().path());
        let pass = match self.guard.check(&request, local) {
            Ok(pass) => pass,
            Err(problem) => {
                self.metrics.foreign.count();
                return problem.into_response();
            }
        };
        if let Some(answer) = pass.preflight(&request) {
            return answer;
        }
        let answering = router.call(request.map(Body::new));
        let mut response = match AssertUnwindSafe(answering).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                tracing::error!("a request made the server panic");
                Problem::new(
                    Kind::INTERNAL,
                    "the server made a mistake with this request; its log says more",
                )
                .into_response()
            }
        };
        pass.permit(&mut response);
        response.headers_mut().insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        self.metrics
            .answered(operation, response.status(), began.elapsed());
        response
    }
}

/// Every path and what answers it.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/v1/topics", get(topics::list).post(topics::create))
        .route(
            "/v1/topics/{topic}",
            get(topics::describe)
                .put(topics::put)
                .patch(topics::alter)
                .delete(topics::delete),
        )
        .route(
            "/v1/topics/{topic}/records",
            get(records::by_key).post(records::publish),
        )
        .route(
            "/v1/topics/{topic}/partitions/{partition}/records",
            get(records::read).delete(records::trim),
        )
        .route("/v1/groups", get(groups::list))
        .route(
            "/v1/groups/{group}",
            get(groups::describe).delete(groups::delete),
        )
        .route("/v1/routes", get(routes::list))
        .route(
            "/v1/routes/{route}",
            get(routes::describe)
                .put(routes::put)
                .delete(routes::delete),
        )
        .route("/v1/queues", get(admin::list).post(admin::create))
        .route(
            "/v1/queues/{queue}",
            get(admin::describe)
                .patch(admin::alter)
                .delete(admin::delete),
        )
        .route("/v1/queues/{queue}/purge", post(admin::purge))
        .route("/v1/queues/{queue}/pause", post(admin::pause))
        .route("/v1/queues/{queue}/resume", post(admin::resume))
        .route("/v1/queues/{queue}/redrive", post(admin::redrive))
        .route("/v1/queues/{queue}/receive", post(messages::receive))
        .route("/v1/queues/{queue}/peek", get(messages::peek))
        .route("/v1/queues/{queue}/ack", post(settle::ack))
        .route("/v1/queues/{queue}/nack", post(settle::nack))
        .route("/v1/queues/{queue}/reject", post(settle::reject))
        .route("/v1/queues/{queue}/extend", post(settle::extend))
        .route(
            "/v1/queues/{queue}/ack-and-publish",
            post(ack_and_publish::ack_and_publish),
        )
        .route("/v1/live", get(live::follow))
        .route("/v1/ws", get(socket::open))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::serve_document))
        .route("/docs", get(openapi::serve_page))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_that_method)
        .with_state(Arc::clone(app))
}

async fn nothing_here(request: Request<Body>) -> Problem {
    Problem::new(
        Kind::NOT_FOUND,
        format!(
            "there is nothing at {}; /docs lists what there is",
            request.uri().path()
        ),
    )
}

async fn not_that_method(method: Method, request: Request<Body>) -> Problem {
    Problem::new(
        Kind::METHOD_NOT_ALLOWED,
        format!(
            "{method} is not a method of {}; the Allow header names those that are",
            request.uri().path()
        ),
    )
}
