//! Giving out producer ids, none of them twice, across restarts too.

use bytes::Bytes;
use millstream_limits::PRODUCER_ID_BLOCK;
use millstream_record::ProducerId;
use millstream_store::{Commit, Slot, Stay};
use tokio::sync::Mutex;

use crate::error::{BrokerError, OpenError};
use crate::keys;

/// Ids are taken in blocks: the state table holds the first id beyond all blocks taken. What is left of a block when the
/// server stops is never given out.
pub(crate) struct ProducerIds {
    block: Mutex<Block>,
}

struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    pub(crate) fn open(slot: &Slot) -> Result<Self, OpenError> {
        let next = match slot.state().get(keys::NEXT_PRODUCER_ID)? {
            Some(value) => <[u8; 8]>::try_from(&value[..])
                .map(i64::from_be_bytes)
                .map_err(|_| OpenError::ProducerIds)?,
            None => 0,
        };
        Ok(Self {
            block: Mutex::new(Block { next, end: next }),
        })
    }

    pub(crate) async fn next(&self, slot: &Slot) -> Result<ProducerId, BrokerError> {
        let mut block = self.block.lock().await;
        if block.next == block.end {
            slot.check_room(Stay::Passing)?;
            let end = block.end + PRODUCER_ID_BLOCK;
            let commit = Commit {
                puts: vec![(
                    Bytes::from_static(keys::NEXT_PRODUCER_ID),
                    Bytes::copy_from_slice(&end.to_be_bytes()),
                )],
                ..Commit::default()
            };
            slot.commit(commit)?.durable.await?;
            block.end = end;
        }
        let id = ProducerId(block.next);
        block.next += 1;
        Ok(id)
    }
}
