//! What is asked of a queue while its broker lives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::headers;
use millstream_broker::produce::NewMessage;
use millstream_broker::queues::machine::Retry;
use millstream_broker::queues::{ConsumerId, ReceiveSpec, Redrive, Redriven};

use crate::model::{End, Item};
use crate::world::{CONSUMERS, Held, Life, World, id_of, in_time, seen};

impl World {
    pub(crate) async fn step(&mut self, life: &Life) -> Result<(), String> {
        match self.rng.below(20) {
            0..=4 => self.publish(life).await,
            5..=9 => self.receive(life).await,
            10..=12 => self.ack(life).await,
            13 => self.ack_and_publish(life).await,
            14..=15 => self.nack(life).await,
            16 => self.reject(life).await,
            17 => self.extend(life).await,
            18 => self.redrive(life).await,
            _ => {
                tokio::time::sleep(Duration::from_millis(self.rng.below(15))).await;
                Ok(())
            }
        }
    }

    async fn publish(&mut self, life: &Life) -> Result<(), String> {
        let ids: Vec<u64> = (0..1 + self.rng.below(5))
            .map(|_| self.make(life, None))
            .collect();
        let messages: Vec<_> = ids.iter().map(|id| self.message(*id)).collect();
        match in_time("publishing", life.broker.publish(&life.topic, &messages)).await? {
            Ok(published) => {
                self.fate.published += ids.len() as u64;
                for (id, at) in ids.into_iter().zip(&published) {
                    self.say(|| format!("{id} published at {}-{}", at.partition, at.offset));
                    let place = (at.partition, at.offset.get());
                    self.model.published(id, place)?;
                }
                Ok(())
            }
            Err(error) => self.refused(life, error.into()).map(drop),
        }
    }

    fn make(&mut self, life: &Life, instead_of: Option<u64>) -> u64 {
        let there = self.model.repeatable();
        let item = self.plan.item(&self.rng, life.now(), &there);
        let repeats = item.repeats.filter(|_| instead_of.is_none());
        self.fate.repeated += u64::from(repeats.is_some());
        self.model.make(Item {
            instead_of,
            repeats,
            ..item
        })
    }

    fn message(&mut self, id: u64) -> NewMessage {
        let item = self.model.item(id).clone();
        let message_id = item.has_id.then(|| item.repeats.unwrap_or(id) as i64);
        let headers = [
            (headers::ID, message_id),
            (headers::PRIORITY, Some(item.priority.into())),
            (headers::DELIVER_AT, item.due),
            (headers::EXPIRES_AT, item.expires),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| {
            let value = Bytes::from(value?.to_string());
            Some((Bytes::from_static(name.as_bytes()), Some(value)))
        });
        let filler = "x".repeat(self.rng.below(3_000) as usize);
        NewMessage {
            key: item.key.map(|key| Bytes::from(key.to_string())),
            value: Some(Bytes::from(format!("{id} {filler}"))),
            headers: headers.collect(),
            ..NewMessage::default()
        }
    }

    async fn receive(&mut self, life: &Life) -> Result<(), String> {
        let short = self.rng.one_in(3);
        let spec = ReceiveSpec {
            consumer: ConsumerId(self.rng.below(CONSUMERS)),
            max: 1 + self.rng.below(8) as u32,
            visibility_ms: if short {
                5 + self.rng.below(30)
            } else {
                60_000
            },
            wait: Duration::from_millis(self.rng.below(5)),
        };
        let received = in_time("receiving", life.queue.receive(spec)).await?;
        if self.disk.is_off() || life.broker.failed().is_some() {
            // It may have been given more than could still be read.
            self.model.receives_unclear += 1;
        }
        let received = match received {
            Ok((received, _)) => received,
            Err(error) => {
                self.model.receives_unclear += 1;
                return self.refused(life, error).map(drop);
            }
        };
        let mut last: Option<u8> = None;
        for one in received {
            let id = id_of(&one)?;
            self.say(|| {
                format!(
                    "{id} delivered x{} at {}-{}",
                    one.attempts, one.message.partition, one.message.offset
                )
            });
            self.fate.delivered += 1;
            self.model.delivered(seen(id, &one, life))?;
            let item = self.model.item(id);
            self.fate.delayed += u64::from(item.due.is_some());
            if last.is_some_and(|last| last < item.priority) {
                return Err(format!("{id} is behind what is less urgent: {item:?}"));
            }
            self.fate.preferred += u64::from(last.is_some_and(|last| last > item.priority));
            last = Some(item.priority);
            self.held.push(Held {
                id,
                receipt: one.receipt,
                fresh: true,
            });
        }
        Ok(())
    }

    /// Some of what is held, which is then not held any more.
    fn take_some(&mut self) -> Vec<Held> {
        let count = self.rng.below(6).min(self.held.len() as u64);
        (0..count)
            .map(|_| {
                let at = self.rng.below(self.held.len() as u64) as usize;
                self.held.swap_remove(at)
            })
            .collect()
    }

    async fn ack(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let before: Vec<End> = some
            .iter()
            .map(|held| self.model.item(held.id).end)
            .collect();
        for held in &some {
            let item = self.model.item(held.id);
            item.acks_asked += 1;
            if item.end == End::Open {
                item.end = End::Unclear;
            }
        }
        let acked = in_time("acknowledging", life.queue.ack(&receipts)).await?;
        let answers = match acked {
            Ok(answers) => answers,
            Err(error) => {
                self.fate.unclear += some.len() as u64;
                return self.refused(life, error).map(drop);
            }
        };
        for ((held, answer), before) in some.iter().zip(answers).zip(before) {
            self.say(|| {
                format!(
                    "{} acknowledged {}-{}: {answer:?}",
                    held.id, held.receipt.partition, held.receipt.offset
                )
            });
            if answer.is_ok() {
                self.fate.acknowledged += 1;
                self.fate.old_receipts += u64::from(!held.fresh);
                self.model.item(held.id).end = End::Acknowledged;
            } else if self.model.item(held.id).end == End::Unclear {
                self.model.item(held.id).end = before;
            }
        }
        Ok(())
    }

    async fn ack_and_publish(&mut self, life: &Life) -> Result<(), String> {
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.held.len() as u64) as usize;
        let held = self.held.swap_remove(at);
        let before = self.model.item(held.id).end;
        let id = self.make(life, Some(held.id));
        self.model.item(held.id).end = match before {
            End::Open => End::Unclear,
            end => end,
        };
        let publishing = [(Arc::clone(&life.topic), vec![self.message(id)])];
        let receipts = [held.receipt];
        let composing = life.queue.ack_and_publish(&receipts, &publishing);
        match in_time("composing", composing).await? {
            Ok(_) => {
                self.fate.composed += 1;
                self.say(|| {
                    format!(
                        "composed {} {}-{}",
                        held.id, held.receipt.partition, held.receipt.offset
                    )
                });
                self.model.item(held.id).end = End::Acknowledged;
                self.model.exists(id)
            }
            Err(error) => {
                let nothing_happened = self.refused(life, error)?;
                if nothing_happened {
                    self.model.item(held.id).end = before;
                    self.model.item(id).instead_of = None;
                }
                Ok(())
            }
        }
    }

    async fn nack(&mut self, life: &Life) -> Result<(), String> {
        let retry = match self.rng.below(3) {
            0 => Retry::Now,
            1 => Retry::After(self.rng.below(20)),
            _ => Retry::AsPolicySays,
        };
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let nacked = in_time("giving back", life.queue.nack(&receipts, retry)).await?;
        self.answered(life, nacked).map(drop)
    }

    async fn reject(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        for held in &some {
            self.model.item(held.id).rejected = true;
        }
        let rejected = in_time("rejecting", life.queue.reject(&receipts)).await?;
        let answers = self.answered(life, rejected)?;
        self.say(|| format!("rejected {receipts:?}: {answers:?}"));
        self.fate.rejected += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        Ok(())
    }

    async fn extend(&mut self, life: &Life) -> Result<(), String> {
        let some = self.take_some();
        let receipts: Vec<_> = some.iter().map(|held| held.receipt).collect();
        let visibility_ms = self.rng.below(100);
        let extended = in_time("extending", life.queue.extend(&receipts, visibility_ms)).await?;
        self.held.extend(some);
        self.answered(life, extended).map(drop)
    }

    async fn redrive(&mut self, life: &Life) -> Result<(), String> {
        let redrive = Redrive {
            max: Some(self.rng.below(4)),
            to: None,
        };
        match in_time("redriving", life.queue.redrive(&redrive)).await? {
            Ok(Redriven {
                moved,
                refused: 0,
                stopped: None,
            }) => {
                self.say(|| format!("redriven {moved}"));
                self.fate.redriven += moved;
            }
            Ok(redriven) => return Err(format!("refused letters: {redriven:?}")),
            Err(error) => drop(self.refused(life, error)?),
        }
        Ok(())
    }
}
