//! What became of a batch, shared by everyone whose record is in it.

use std::sync::{Arc, OnceLock};

use millstream_record::Offset;
use tokio::sync::Notify;

use crate::admin::offsets::TopicPartition;
use crate::error::ClientError;

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: TopicPartition,
    /// Its offset; none if the server does not say, as without acknowledgements.
    pub offset: Option<Offset>,
}

/// A batch's fate, once it is known.
#[derive(Debug)]
pub(crate) struct Outcome {
    partition: TopicPartition,
    /// The first record's offset.
    result: OnceLock<Result<Option<Offset>, ClientError>>,
    known: Notify,
}

impl Outcome {
    pub(crate) fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            result: OnceLock::new(),
            known: Notify::new(),
        }
    }

    /// Tells everyone; only the first call counts.
    pub(crate) fn set(&self, result: Result<Option<Offset>, ClientError>) {
        if self.result.set(result).is_ok() {
            self.known.notify_waiters();
        }
    }

    fn is_known(&self) -> bool {
        self.result.get().is_some()
    }

    /// The first record's offset.
    pub(crate) async fn wait(&self) -> Result<Option<Offset>, ClientError> {
        loop {
            let known = self.known.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            known.await;
        }
    }
}

/// A record on its way; or, for a batch that was handed over whole, its first record.
#[derive(Debug)]
pub struct Delivery {
    pub(crate) outcome: Arc<Outcome>,
    /// The record's place in its batch.
    pub(crate) index: i32,
}

impl Delivery {
    /// Whether it is known what became of it, so that waiting takes no time.
    pub fn is_done(&self) -> bool {
        self.outcome.is_known()
    }

    /// Waits until it is written, or will not be.
    pub async fn wait(self) -> Result<Delivered, ClientError> {
        let base_offset = self.outcome.wait().await?;
        Ok(Delivered {
            partition: self.outcome.partition.clone(),
            offset: base_offset.map(|offset| offset + i64::from(self.index)),
        })
    }
}
