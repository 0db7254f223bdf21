//! The one table of the server's settings.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use millstream_env::DIRECT_ALIGNMENT;
use millstream_limits as limits;
use millstream_store::media::local_journal_file_size_is_valid;

use super::ServeSettings;
use super::values::{
    bytes, bytes_from, flag, list, milliseconds, milliseconds_from, number, parsed, show_bytes,
    show_list,
};

/// What an address can be instead, for a port that is not served.
const OFF: &str = "off";

/// One setting.
pub struct Setting {
    /// The key: the flag without its dashes, the key in the file, and the environment variable's name in other letters.
    pub key: &'static str,
    /// What a value looks like, for the help: `HOST:PORT`, `BYTES`.
    pub takes: &'static str,
    /// The heading it stands under.
    pub group: Group,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
    /// Reads a value, or says what would be taken.
    pub(super) set: fn(&mut ServeSettings, &str) -> Result<(), String>,
    /// The value in force, as it would be written; `None` for none.
    pub(super) get: fn(&ServeSettings) -> Option<String>,
}

/// What settings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where things are.
    Places,
    /// What clients may do with topics.
    Topics,
    /// Consumer groups.
    Groups,
    /// Connections.
    Connections,
    /// Memory and disk.
    Storage,
    /// What the operator sees.
    Logging,
}

impl Group {
    /// All groups, in the order in which they are shown.
    pub const ALL: [Group; 6] = [
        Group::Places,
        Group::Topics,
        Group::Groups,
        Group::Connections,
        Group::Storage,
        Group::Logging,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Places => "Places and ports",
            Group::Topics => "Topics",
            Group::Groups => "Consumer groups",
            Group::Connections => "Connections",
            Group::Storage => "Memory and disk",
            Group::Logging => "Logging",
        }
    }
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!(
        "{VARIABLE_PREFIX}{}",
        key.replace('-', "_").to_ascii_uppercase()
    )
}

/// What the environment variables of settings begin with.
pub const VARIABLE_PREFIX: &str = "MILLSTREAM_";

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        variable(self.key)
    }

    /// The value by default, as it would be written; `None` for none.
    pub fn default(&self) -> Option<String> {
        (self.get)(&ServeSettings::default())
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Setting").field(&self.key).finish()
    }
}

/// Every setting, in the order in which they are shown.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "data-dir",
        takes: "DIR",
        group: Group::Places,
        doc: "The directory that holds everything. It is made if it is missing, and locked: one server has it at a time.",
        set: |settings, text| {
            if text.is_empty() {
                return Err("it takes a directory".to_owned());
            }
            settings.broker.slot.data_dir = PathBuf::from(text);
            Ok(())
        },
        get: |settings| Some(settings.broker.slot.data_dir.display().to_string()),
    },
    Setting {
        key: "kafka-addr",
        takes: "HOST:PORT",
        group: Group::Places,
        doc: "Where Kafka clients connect. Port 0 picks a free one and prints it. Clients are not asked who they are, so \
              leave it on loopback unless the network is yours.",
        set: |settings, text| address(text).map(|address| settings.kafka_addr = address),
        get: |settings| Some(settings.kafka_addr.to_string()),
    },
    Setting {
        key: "kafka-advertised",
        takes: "HOST:PORT",
        group: Group::Places,
        doc: "The address Kafka clients are told to connect to after the first contact, where it differs from \
              `kafka-addr`: behind a NAT, in a container, or when that listens on all addresses.",
        set: |settings, text| parsed(text).map(|address| settings.kafka.advertised = Some(address)),
        get: |settings| settings.kafka.advertised.as_ref().map(ToString::to_string),
    },
    Setting {
        key: "node-id",
        takes: "N",
        group: Group::Places,
        doc: "The id of this server as a Kafka node, broker and controller, as clients and tools see it.",
        set: |settings, text| number(text, 0..=i32::MAX).map(|id| settings.kafka.node_id = id),
        get: |settings| Some(settings.kafka.node_id.to_string()),
    },
    Setting {
        key: "http-addr",
        takes: "HOST:PORT",
        group: Group::Places,
        doc: "Where HTTP clients connect. Port 0 picks a free one and prints it; `off` serves no HTTP. Clients are not asked \
              who they are, so an address beyond loopback takes `http-allow-unauthenticated`.",
        set: |settings, text| {
            settings.http_addr = match text {
                OFF => None,
                text => Some(address(text)?),
            };
            Ok(())
        },
        get: |settings| {
            let address = settings.http_addr.as_ref();
            Some(address.map_or_else(|| OFF.to_owned(), ToString::to_string))
        },
    },
    Setting {
        key: "http-allow-unauthenticated",
        takes: "BOOL",
        group: Group::Places,
        doc: "Whether HTTP may be served on an address that other machines reach, although nobody is asked who they are.",
        set: |settings, text| flag(text).map(|on| settings.http_allow_unauthenticated = on),
        get: |settings| Some(settings.http_allow_unauthenticated.to_string()),
    },
    Setting {
        key: "http-allowed-origins",
        takes: "ORIGINS",
        group: Group::Places,
        doc: "Web pages that may use the HTTP API beside those served by this machine, such as `https://app.example.com`; \
              several with commas between, `*` for any. Browsers say which page a request is from, and other pages are \
              refused.",
        set: |settings, text| list(text).map(|origins| settings.http.allowed_origins = origins),
        get: |settings| show_list(&settings.http.allowed_origins),
    },
    Setting {
        key: "http-allowed-hosts",
        takes: "NAMES",
        group: Group::Places,
        doc: "Names by which HTTP clients may call this server beside its address and `localhost`, without a port; several \
              with commas between, `*` for any. Other names are refused, for a web page could have made them up to get at \
              a server on its reader's machine.",
        set: |settings, text| list(text).map(|hosts| settings.http.allowed_hosts = hosts),
        get: |settings| show_list(&settings.http.allowed_hosts),
    },
    Setting {
        key: "default-partitions",
        takes: "N",
        group: Group::Topics,
        doc: "Partitions of a topic that is created without saying how many.",
        set: |settings, text| {
            number(text, 1..=limits::TOPIC_PARTITIONS_MAX)
                .map(|count| settings.broker.default_partitions = count)
        },
        get: |settings| Some(settings.broker.default_partitions.to_string()),
    },
    Setting {
        key: "auto-create-topics",
        takes: "BOOL",
        group: Group::Topics,
        doc: "Whether a topic is created when a client names it and its protocol's users expect that.",
        set: |settings, text| flag(text).map(|on| settings.broker.auto_create_topics = on),
        get: |settings| Some(settings.broker.auto_create_topics.to_string()),
    },
    Setting {
        key: "any-replication-factor",
        takes: "BOOL",
        group: Group::Topics,
        doc: "Whether a topic may be created with a replication factor above 1. It gets 1 all the same; without this \
              such a request is refused, because one server cannot keep its promise.",
        set: |settings, text| flag(text).map(|on| settings.kafka.any_replication_factor = on),
        get: |settings| Some(settings.kafka.any_replication_factor.to_string()),
    },
    Setting {
        key: "group-initial-rebalance-delay-ms",
        takes: "MS",
        group: Group::Groups,
        doc: "How long a new consumer group waits for more members after the first one has joined.",
        set: |settings, text| {
            number(text, 0..=u32::MAX)
                .map(|ms| settings.broker.groups.initial_rebalance_delay_ms = ms)
        },
        get: |settings| {
            Some(
                settings
                    .broker
                    .groups
                    .initial_rebalance_delay_ms
                    .to_string(),
            )
        },
    },
    Setting {
        key: "group-min-session-timeout-ms",
        takes: "MS",
        group: Group::Groups,
        doc: "The shortest session timeout that a group's member may ask for.",
        set: |settings, text| {
            number(text, 1..=u32::MAX).map(|ms| settings.broker.groups.session_timeout_min_ms = ms)
        },
        get: |settings| Some(settings.broker.groups.session_timeout_min_ms.to_string()),
    },
    Setting {
        key: "group-max-session-timeout-ms",
        takes: "MS",
        group: Group::Groups,
        doc: "The longest session timeout that a group's member may ask for.",
        set: |settings, text| {
            number(text, 1..=u32::MAX).map(|ms| settings.broker.groups.session_timeout_max_ms = ms)
        },
        get: |settings| Some(settings.broker.groups.session_timeout_max_ms.to_string()),
    },
    Setting {
        key: "group-max-size",
        takes: "N",
        group: Group::Groups,
        doc: "How many members a group may have.",
        set: |settings, text| {
            number(text, 1..=limits::GROUP_MEMBERS_MAX)
                .map(|count| settings.broker.groups.members_max = count)
        },
        get: |settings| Some(settings.broker.groups.members_max.to_string()),
    },
    Setting {
        key: "offsets-retention-ms",
        takes: "MS",
        group: Group::Groups,
        doc: "How long a group's committed offsets are kept after its last member has left.",
        set: |settings, text| {
            number(text, 1..=u64::MAX).map(|ms| settings.broker.groups.offsets_retention_ms = ms)
        },
        get: |settings| Some(settings.broker.groups.offsets_retention_ms.to_string()),
    },
    Setting {
        key: "kafka-connections-max",
        takes: "N",
        group: Group::Connections,
        doc: "Kafka connections beyond this number are refused. Fewer are taken where the limit on open files is lower.",
        set: |settings, text| {
            number(text, 1..=1_000_000).map(|count| settings.kafka.connections_max = count)
        },
        get: |settings| Some(settings.kafka.connections_max.to_string()),
    },
    Setting {
        key: "kafka-connection-idle-ms",
        takes: "MS",
        group: Group::Connections,
        doc: "A Kafka connection on which nothing has happened for this long is closed.",
        set: |settings, text| {
            milliseconds_from(text, 1).map(|idle| settings.kafka.connection_idle = idle)
        },
        get: |settings| Some(settings.kafka.connection_idle.as_millis().to_string()),
    },
    Setting {
        key: "kafka-receive-memory",
        takes: "BYTES",
        group: Group::Connections,
        doc: "Memory that large Kafka requests of all connections may take together until they are answered; beyond it \
              connections wait their turn. At least 2MiB.",
        set: |settings, text| {
            bytes_from(text, limits::SHARED_MEMORY_BYTES_MIN as u64)
                .map(|bytes| settings.kafka.receive_bytes_max = bytes as usize)
        },
        get: |settings| Some(show_bytes(settings.kafka.receive_bytes_max as u64)),
    },
    Setting {
        key: "http-connections-max",
        takes: "N",
        group: Group::Connections,
        doc: "HTTP connections beyond this number are refused. Fewer are taken where the limit on open files is lower.",
        set: |settings, text| {
            number(text, 1..=1_000_000).map(|count| settings.http.connections_max = count)
        },
        get: |settings| Some(settings.http.connections_max.to_string()),
    },
    Setting {
        key: "http-connection-idle-ms",
        takes: "MS",
        group: Group::Connections,
        doc: "An HTTP connection that has no request under way is closed when no whole request head has come for so long.",
        set: |settings, text| {
            milliseconds_from(text, 1).map(|idle| settings.http.connection_idle = idle)
        },
        get: |settings| Some(settings.http.connection_idle.as_millis().to_string()),
    },
    Setting {
        key: "http-receive-memory",
        takes: "BYTES",
        group: Group::Connections,
        doc: "Memory that the bodies of HTTP requests may take together until they are answered; beyond it requests wait \
              their turn, and are told to come back if it does not come soon. At least 32MiB: the largest body.",
        set: |settings, text| {
            bytes_from(text, limits::HTTP_BODY_BYTES_MAX as u64)
                .map(|bytes| settings.http.receive_bytes_max = bytes as usize)
        },
        get: |settings| Some(show_bytes(settings.http.receive_bytes_max as u64)),
    },
    Setting {
        key: "memory-budget",
        takes: "BYTES",
        group: Group::Storage,
        doc: "Memory for recent records: what is not settled yet, and what is kept for readers after it. Producers wait \
              while it is full. At least 64MiB: twice the largest commit.",
        set: |settings, text| {
            bytes_from(text, limits::MEMORY_BUDGET_BYTES_MIN as u64)
                .map(|bytes| settings.broker.slot.memory_budget_bytes = bytes as usize)
        },
        get: |settings| Some(show_bytes(settings.broker.slot.memory_budget_bytes as u64)),
    },
    Setting {
        key: "read-memory",
        takes: "BYTES",
        group: Group::Storage,
        doc: "Memory for records that readers have fetched and not taken yet, all readers together. As it runs low answers \
              get smaller, then wait, and a client that does not read its answers is cut off. Live feeds have as much again. At least \
              2MiB.",
        set: |settings, text| {
            bytes_from(text, limits::SHARED_MEMORY_BYTES_MIN as u64)
                .map(|bytes| settings.broker.read_memory_bytes = bytes as usize)
        },
        get: |settings| Some(show_bytes(settings.broker.read_memory_bytes as u64)),
    },
    Setting {
        key: "journal-file-size",
        takes: "BYTES",
        group: Group::Storage,
        doc: "Size of one journal file: a multiple of 4KiB, at least 2MiB. Files are allocated whole and used again. A commit \
              has to fit into one, so files below 32MiB bound the size of batches. It holds for data directories that are \
              made with it.",
        set: |settings, text| {
            let bytes = bytes_from(text, limits::JOURNAL_FILE_BYTES_MIN)?;
            if !local_journal_file_size_is_valid(bytes) {
                return Err(format!(
                    "it takes a multiple of {}",
                    show_bytes(DIRECT_ALIGNMENT as u64)
                ));
            }
            settings.broker.slot.journal_file_bytes = bytes;
            Ok(())
        },
        get: |settings| Some(show_bytes(settings.broker.slot.journal_file_bytes)),
    },
    Setting {
        key: "journal-max",
        takes: "BYTES",
        group: Group::Storage,
        doc: "The most that the journal holds before it is settled and trimmed. It bounds the time that recovery takes.",
        set: |settings, text| {
            bytes(text).map(|bytes| settings.broker.slot.journal_bytes_max = bytes)
        },
        get: |settings| Some(show_bytes(settings.broker.slot.journal_bytes_max)),
    },
    Setting {
        key: "settle-after",
        takes: "BYTES",
        group: Group::Storage,
        doc: "Records are settled from the journal into packs when this much has come together.",
        set: |settings, text| {
            bytes(text).map(|bytes| settings.broker.slot.settle_after_bytes = bytes)
        },
        get: |settings| Some(show_bytes(settings.broker.slot.settle_after_bytes)),
    },
    Setting {
        key: "settle-after-ms",
        takes: "MS",
        group: Group::Storage,
        doc: "And when something has waited for so long.",
        set: |settings, text| {
            milliseconds(text).map(|time| settings.broker.slot.settle_after = time)
        },
        get: |settings| Some(settings.broker.slot.settle_after.as_millis().to_string()),
    },
    Setting {
        key: "disk-reserve",
        takes: "BYTES",
        group: Group::Storage,
        doc: "New records are refused while less than this (at most a sixteenth of the disk), and what settling still \
              needs, is free: what makes room has to go on.",
        set: |settings, text| {
            bytes(text).map(|bytes| settings.broker.slot.disk_reserve_bytes = bytes)
        },
        get: |settings| Some(show_bytes(settings.broker.slot.disk_reserve_bytes)),
    },
    Setting {
        key: "producer-expiry-ms",
        takes: "MS",
        group: Group::Storage,
        doc: "After this long without a record an idempotent producer is forgotten, and with it what tells a repeated \
              batch from a new one.",
        set: |settings, text| {
            milliseconds(text).map(|time| settings.broker.slot.producer_expiry = time)
        },
        get: |settings| Some(settings.broker.slot.producer_expiry.as_millis().to_string()),
    },
    Setting {
        key: "log",
        takes: "FILTER",
        group: Group::Logging,
        doc: "What is logged to stderr: error, warn, info, debug or trace, for everything or by module, as in \
              `info,millstream_kafka=debug`.",
        set: |settings, text| {
            text.parse::<tracing_subscriber::EnvFilter>()
                .map(|_| text.clone_into(&mut settings.log))
                .map_err(|error| {
                    format!(
                        "it takes a level such as info or debug, or a filter by module ({error})"
                    )
                })
        },
        get: |settings| Some(settings.log.clone()),
    },
];

/// An address to listen on. A name stands for the first of its addresses.
fn address(text: &str) -> Result<SocketAddr, String> {
    let refused =
        || "it takes HOST:PORT, for example 127.0.0.1:9092, [::1]:9092 or localhost:0".to_owned();
    text.to_socket_addrs()
        .map_err(|_| refused())?
        .next()
        .ok_or_else(refused)
}
