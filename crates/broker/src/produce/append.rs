//! Appending a batch to a partition.

use bytes::Bytes;
use millstream_record::{ProducerEpoch, ProducerId};
use millstream_store::{Admission, Append, Appended, Commit, CommitError, Ticket};
use smallvec::SmallVec;

use super::intake::Gone;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::metrics::Producing;
use crate::topics::PartitionHandle;

/// A batch that has its place, and is not yet as durable as its topic promises.
#[derive(Debug)]
#[must_use = "a batch counts as written only once it is durable"]
pub struct Appending {
    appended: Appended,
    durable: Ticket,
    producing: Producing,
}

impl Appending {
    /// Where the batch goes.
    pub fn appended(&self) -> Appended {
        self.appended
    }

    /// Waits until the batch is as durable as its topic promises; only then may it be acknowledged. Dropping the wait
    /// does not undo the append.
    pub async fn durable(self) -> Result<Appended, BrokerError> {
        self.durable.await?;
        self.producing.acknowledged();
        Ok(self.appended)
    }
}

impl Broker {
    /// Waits until there is memory for `bytes` more: how producers are slowed down. Hold what comes back until the
    /// append has returned.
    pub async fn admit(&self, bytes: usize) -> Admission {
        self.inner.slot.admit(bytes).await
    }

    /// Appends `batch`, exactly one record batch, to the partition. Never waits: batches get their offsets in the order
    /// of the calls, and become durable behind the caller's back.
    ///
    /// A batch that an idempotent producer sends again is not written again; it gets the offsets it had, and is durable
    /// when the first one is.
    ///
    /// Where a rule of the topic needs what is inside the batch, it is unpacked here and now, which may take a tenth of a
    /// second and more: see [`Broker::append_unpacked`].
    pub fn append(
        &self,
        partition: &PartitionHandle,
        mut batch: Bytes,
    ) -> Result<Appending, BrokerError> {
        let mut intake = self.intake(partition, Gone::default(), self.now())?;
        loop {
            let appends = intake.appends(intake.hand_out(&mut batch))?;
            let _room = self.room_for(&appends)?;
            match self.commit_appends(appends) {
                Err(error) if intake.leave_out(&error) => {}
                appending => return Ok(appending?),
            }
        }
    }

    /// The same for a batch of which nobody knows what unpacking it takes: if it has to be unpacked, that is done on one
    /// of a few threads that hold nobody up, and waited for. The next batch of the same producer has to wait as well.
    pub async fn append_unpacked(
        &self,
        partition: &PartitionHandle,
        mut batch: Bytes,
    ) -> Result<Appending, BrokerError> {
        let mut intake = self.intake(partition, Gone::default(), self.now())?;
        if !intake.takes_long(&batch) {
            return self.append(partition, batch);
        }
        loop {
            let (taking, sent) = (intake.clone(), intake.hand_out(&mut batch));
            let appends = self.unpack(move || taking.appends(sent)).await?;
            let _room = self.room_for(&appends)?;
            match self.commit_appends(appends) {
                Err(error) if intake.leave_out(&error) => {}
                appending => return Ok(appending?),
            }
        }
    }

    /// Runs `work`, which looks into a batch, where it holds nobody up.
    pub async fn unpack<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.inner.unpacking.run(work).await
    }

    fn commit_appends(&self, appends: SmallVec<[Append; 1]>) -> Result<Appending, CommitError> {
        let producing = self.inner.metrics.producing();
        let sequenced = self.inner.slot.commit(Commit {
            appends,
            ..Commit::default()
        })?;
        Ok(Appending {
            appended: sequenced.appends[0],
            durable: sequenced.durable,
            producing,
        })
    }

    /// A producer id that was never given out before, and the epoch to start with: for a producer without a
    /// transactional id (KIP-98).
    pub async fn init_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), BrokerError> {
        let id = self.inner.producer_ids.next(&self.inner.slot).await?;
        Ok((id, ProducerEpoch(0)))
    }
}
