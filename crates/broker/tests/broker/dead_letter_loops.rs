//! Dead letters that would come back to their queue are refused: what dies there would be received again, and die again.

use millstream_broker::queues::policy::QueuePolicy;
use millstream_broker::queues::{NewQueue, QueueError, QueueHandle};
use millstream_broker::routes::RouteProblem;

use super::queues::{new_queue, retrying};
use super::routes::from_topic;
use super::*;

/// A queue whose dead letters go to `dead`.
fn dying_to(name: &str, topic: &Arc<TopicHandle>, dead: &str) -> NewQueue {
    NewQueue {
        dead_letter_topic: Some(dead.to_owned()),
        ..new_queue(name, topic, retrying(1))
    }
}

/// The same, but for now it keeps none.
fn later(new: NewQueue) -> NewQueue {
    NewQueue {
        policy: QueuePolicy::default(),
        dead_letter_topic: None,
        ..new
    }
}

#[track_caller]
fn is_loop<T>(result: Result<T, QueueError>, steps: &[&str]) {
    let Err(QueueError::InvalidPolicy(why)) = result else {
        panic!("it is not refused, or not for its policy");
    };
    let told = steps.join(", ");
    assert!(why.contains(&told), "{why}");
}

async fn create(server: &Server, new: NewQueue) -> QueueHandle {
    server.broker.create_queue(new).await.unwrap()
}

#[tokio::test]
async fn to_the_topic_that_the_queue_reads() {
    let server = Server::start().await;
    let orders = server.topic("orders", 1, &[]).await;
    let dead = server.topic("work.dead", 1, &[]).await;
    let named = dying_to("named", &orders, "orders");
    let named_for_later = NewQueue {
        policy: QueuePolicy::default(),
        ..named.clone()
    };
    for new in [named, named_for_later] {
        let step = "orders leads to orders (dead letters of queue named)";
        is_loop(server.broker.create_queue(new).await, &[step]);
    }
    let step = "work.dead leads to work.dead (dead letters of queue work)";
    let by_default = new_queue("work", &dead, retrying(1));
    is_loop(
        server.broker.create_queue(by_default.clone()).await,
        &[step],
    );
    let queue = create(&server, later(by_default)).await;
    is_loop(queue.alter(retrying(1)).await, &[step]);
}

#[tokio::test]
async fn to_topics_whose_queues_dead_letters_lead_back() {
    let server = Server::start().await;
    let x = server.topic("x", 1, &[]).await;
    let dead = server.topic("b.dead", 1, &[]).await;
    let z = server.topic("z", 1, &[]).await;
    create(&server, dying_to("a", &x, "b.dead")).await;
    let first = create(&server, dying_to("b", &dead, "z")).await;
    let steps = [
        "z leads to x (dead letters of queue c)",
        "x leads to b.dead (dead letters of queue a)",
        "b.dead leads to z (dead letters of queue b)",
    ];
    let closing = dying_to("c", &z, "x");
    is_loop(server.broker.create_queue(closing.clone()).await, &steps);
    create(&server, dying_to("aside", &z, "elsewhere")).await;
    // By default its letters would go to `x`, which may be in the way later.
    let x_by_default = server.topic("x.dead", 1, &[]).await;
    create(&server, dying_to("d", &x_by_default, "x")).await;
    let queue = create(&server, later(new_queue("x", &x, retrying(1)))).await;
    let back = "x.dead leads to x (dead letters of queue d)";
    is_loop(queue.alter(retrying(1)).await, &[back]);
    // Whoever takes one step out may close it elsewhere.
    first.alter(QueuePolicy::default()).await.unwrap();
    create(&server, closing).await;
    let reason = first.alter(retrying(1)).await;
    is_loop(reason, &["b.dead leads to z (dead letters of queue b)"]);
}

#[tokio::test]
async fn to_topics_from_which_routes_lead_back() {
    let server = Server::start().await;
    let x = server.topic("x", 1, &[]).await;
    server.topic("y", 1, &[]).await;
    let back = from_topic("back", "y", &["x"]);
    let routes = server.broker.routes();
    routes.create(back.clone()).await.unwrap();
    let steps = [
        "x leads to y (dead letters of queue a)",
        "y leads to x (route back)",
    ];
    let new = dying_to("a", &x, "y");
    is_loop(server.broker.create_queue(new.clone()).await, &steps);
    routes.delete("back").await.unwrap();
    let queue = create(&server, new).await;
    let refused = routes.create(back.clone()).await.unwrap_err();
    let BrokerError::InvalidRoute(RouteProblem::Loop(told)) = refused else {
        panic!("{refused}");
    };
    assert_eq!(told, [steps[1], steps[0]]);
    queue.alter(QueuePolicy::default()).await.unwrap();
    routes.create(back).await.unwrap();
}

#[tokio::test]
async fn of_two_at_the_same_time_that_cross_one_is_refused() {
    let server = Server::start().await;
    for round in 0..20 {
        let x = server.topic(&format!("x{round}"), 1, &[]).await;
        let y = server.topic(&format!("y{round}"), 1, &[]).await;
        let forth = dying_to(&format!("a{round}"), &x, y.name().as_str());
        let back = dying_to(&format!("b{round}"), &y, x.name().as_str());
        let route = from_topic(
            &format!("r{round}"),
            y.name().as_str(),
            &[x.name().as_str()],
        );
        let routes = server.broker.routes();
        let made = if round % 2 == 0 {
            let (forth, back) = tokio::join!(
                server.broker.create_queue(forth),
                server.broker.create_queue(back)
            );
            [forth.is_ok(), back.is_ok()]
        } else {
            let (forth, back) =
                tokio::join!(server.broker.create_queue(forth), routes.create(route));
            [forth.is_ok(), back.is_ok()]
        };
        assert_eq!(
            made.iter().filter(|made| **made).count(),
            1,
            "round {round}"
        );
    }
}
