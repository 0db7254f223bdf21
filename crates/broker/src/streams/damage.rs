//! Going on behind stored records that are damaged.

use std::sync::Arc;

use millstream_record::Offset;

use crate::broker::Broker;
use crate::topics::PartitionHandle;

/// Where the log can be read again after a read at `at` has found damage, which is told to operators. `None` if nothing is
/// damaged there any more, or the disk refuses: then the read is to be tried again.
pub(crate) async fn after_damage(
    broker: &Broker,
    partition: &PartitionHandle,
    at: Offset,
    why: &str,
) -> Option<Offset> {
    let log = Arc::clone(&partition.log);
    let look = move || log.after_damage(at);
    let after = broker.inner.blocking.run(look).await?;
    tracing::error!(
        ?partition, from = %at, to = %after, why,
        "stored messages are damaged: queues and live feeds go on behind them; run `millstream doctor`"
    );
    Some(after)
}
