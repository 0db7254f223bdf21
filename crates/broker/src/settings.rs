//! How a broker behaves. Plain data: nothing here opens or starts anything.

use std::path::PathBuf;

use millstream_limits::READ_MEMORY_BYTES_DEFAULT;
use millstream_store::SlotSettings;

use crate::groups::GroupSettings;

/// How a broker behaves.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Where the data is, and how it is kept.
    pub slot: SlotSettings,
    /// Partitions of a topic that is created without saying how many (`num.partitions`).
    pub default_partitions: u32,
    /// Whether protocols may create a topic because a client named it (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// How groups behave.
    pub groups: GroupSettings,
    /// Memory for what readers have fetched and not taken yet, all of them together.
    pub read_memory_bytes: usize,
}

impl BrokerSettings {
    /// The defaults, with the data in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            slot: SlotSettings::new(data_dir),
            default_partitions: 1,
            auto_create_topics: true,
            groups: GroupSettings::default(),
            read_memory_bytes: READ_MEMORY_BYTES_DEFAULT,
        }
    }
}
