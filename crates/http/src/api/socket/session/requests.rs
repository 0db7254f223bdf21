//! What a client asks for, carried out.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::ws::Message;
use millstream_broker::queues::{QueueHandle, Receipt, Subscribe};

use super::publisher::{ToPublish, broke_off};
use super::{Done, Id, Session};
use crate::api::live::{self, wanted::Wanted};
use crate::api::queues::{self, ack_and_publish, settle::of_queue};
use crate::api::socket::answers;
use crate::api::socket::frames::{Consume, How, Request};
use crate::api::topics;
use crate::metrics::Operation;
use crate::problem::Problem;

impl Session {
    /// Does what is asked for, or begins to. An answer that is ready at once is returned.
    pub(super) fn carry_out(
        &mut self,
        id: Id,
        request: Request,
        bytes: usize,
    ) -> Result<Option<Message>, Problem> {
        match request {
            Request::Publish {
                topic,
                messages,
                several,
                key,
            } => {
                let records = ToPublish {
                    topic: topics::find(&self.app.broker, &topic)?,
                    messages,
                    key,
                };
                return Ok(self.publish(id, topic, records, several, bytes));
            }
            Request::AckAndPublish {
                queue,
                receipts,
                parts,
            } => {
                let queue = queues::find(&self.app.broker, &queue)?;
                let waiting = self.publisher.waiting(bytes);
                let app = Arc::clone(&self.app);
                // What it holds is given back as soon as it is durable, whether or not the socket looks for it.
                let publishing = tokio::spawn(async move {
                    let _room = waiting.room(&app).await?;
                    ack_and_publish::carry_out(&app.broker, &queue, &receipts, parts).await
                });
                self.later(Operation::Settle, Instant::now(), async move {
                    let published = publishing.await.unwrap_or_else(|_| Err(broke_off()));
                    done(&id, published, |published| {
                        answers::acked_and_published(id.as_deref(), &published)
                    })
                });
            }
            Request::Subscribe {
                channel,
                wanted,
                credit,
            } => self.subscribe(id, &channel, *wanted, credit)?,
            Request::Consume(wanted) => return self.consume(&id, &wanted).map(Some),
            Request::Credit { channel, credit } => {
                self.channels.add_credit(&channel, credit)?;
                return Ok(id.map(|id| answers::plain("ok", Some(&id))));
            }
            Request::Unsubscribe { channel } => {
                self.channels.remove(&channel)?;
                let answer = answers::of_channel("unsubscribed", id.as_deref(), &channel);
                return Ok(Some(answer));
            }
            Request::Settle {
                queue,
                receipts,
                how,
            } => {
                let queue = queues::find(&self.app.broker, &queue)?;
                let receipts = of_queue(&queue, &receipts)?;
                let settling = async move { settle(id, &queue, &receipts, how).await };
                self.later(Operation::Settle, Instant::now(), settling);
            }
            Request::Ping => return Ok(Some(answers::plain("pong", id.as_deref()))),
        }
        Ok(None)
    }

    /// Publishes records after those that came before, and answers when they are durable.
    fn publish(
        &mut self,
        id: Id,
        topic: String,
        records: ToPublish,
        several: bool,
        bytes: usize,
    ) -> Option<Message> {
        if records.messages.is_empty() && records.key.is_none() {
            return Some(answers::published(id.as_deref(), &topic, &[], false));
        }
        let began = Instant::now();
        let publishing = self.publisher.publish(&self.app, records, bytes);
        let pointer = move |record| {
            if several {
                format!("#/records/{record}/expected")
            } else {
                "#/record/expected".to_owned()
            }
        };
        self.later(Operation::Publish, began, async move {
            let published = publishing.await;
            let published = published.map_err(|problem| problem.at_record(pointer));
            done(&id, published, |published| {
                answers::published(
                    id.as_deref(),
                    &topic,
                    &published.records,
                    published.replayed,
                )
            })
        });
        None
    }

    fn subscribe(
        &mut self,
        id: Id,
        channel: &str,
        wanted: Wanted,
        credit: u64,
    ) -> Result<(), Problem> {
        let name = self.channels.reserve(channel)?;
        let app = Arc::clone(&self.app);
        self.requests.push(Box::pin(async move {
            let subscribed = live::subscribe(&app.broker, wanted, credit).await;
            Done::Opened(id, name, subscribed)
        }));
        Ok(())
    }

    fn consume(&mut self, id: &Id, wanted: &Consume) -> Result<Message, Problem> {
        let queue = queues::find(&self.app.broker, &wanted.queue)?;
        let name = self.channels.reserve(&wanted.channel)?;
        let spec = Subscribe {
            consumer: self.consumer.id,
            max: wanted.together,
            visibility_ms: wanted.visibility_ms,
            credit: wanted.credit,
        };
        match queue.subscribe(spec) {
            Ok(subscription) => self.channels.consume(&name, subscription),
            Err(error) => {
                self.channels.release(&name);
                return Err(error.into());
            }
        }
        self.consumer.remember(queue);
        let answer = answers::of_channel("consuming", id.as_deref(), &wanted.channel);
        Ok(answer)
    }

    /// Goes on with a request beside others.
    fn later(
        &mut self,
        operation: Operation,
        began: Instant,
        request: impl Future<Output = Message> + Send + 'static,
    ) {
        let app = Arc::clone(&self.app);
        self.requests.push(Box::pin(async move {
            let answer = request.await;
            let counted = app.metrics.protocol.operation(operation as usize);
            counted.answered(began.elapsed());
            Done::Answer(answer)
        }));
    }
}

async fn settle(id: Id, queue: &QueueHandle, receipts: &[Option<Receipt>], how: How) -> Message {
    let known: Vec<Receipt> = receipts.iter().flatten().copied().collect();
    let answers = match how {
        How::Ack => queue.ack(&known).await,
        How::Nack(retry) => queue.nack(&known, retry).await,
        How::Reject => queue.reject(&known).await,
        How::Extend { visibility_ms } => queue.extend(&known, visibility_ms).await,
    };
    done(&id, answers.map_err(Problem::from), |answers| {
        answers::settled(id.as_deref(), receipts, answers)
    })
}

fn done<T>(id: &Id, outcome: Result<T, Problem>, answer: impl FnOnce(T) -> Message) -> Message {
    match outcome {
        Ok(value) => answer(value),
        Err(problem) => answers::error(id.as_deref(), &problem),
    }
}
