//! This server's own configuration under Kafka's names, for DescribeConfigs: what the server was told when it started,
//! or a bound that is built in. All of it is read-only; what clients may change is in the catalogue's table.

use millstream_kafka_wire::messages::describe_configs::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use millstream_kafka_wire::{ConfigSource, ConfigType, Str};
use millstream_limits as limits;

use super::REPLICATION_FACTOR;
use super::configs::Detail;
use crate::server::Server;

/// One row of the description.
struct Row {
    name: &'static str,
    value: String,
    kind: ConfigType,
    doc: &'static str,
}

fn row(name: &'static str, value: &dyn ToString, kind: ConfigType, doc: &'static str) -> Row {
    Row {
        name,
        value: value.to_string(),
        kind,
        doc,
    }
}

/// Everything there is to tell, by name.
pub(crate) fn broker_configs(
    server: &Server,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult> {
    let rows = rows(server).into_iter();
    rows.map(|row| describe(row, detail)).collect()
}

fn rows(server: &Server) -> Vec<Row> {
    let broker = server.broker.settings();
    let listener = format!("PLAINTEXT://{}", server.advertised);
    vec![
        row(
            "advertised.listeners",
            &listener,
            ConfigType::LIST,
            "Where clients are told to connect to.",
        ),
        row(
            "auto.create.topics.enable",
            &broker.auto_create_topics,
            ConfigType::BOOLEAN,
            "Whether a topic is created when a client names it.",
        ),
        row(
            "connections.max.idle.ms",
            &server.settings.connection_idle.as_millis(),
            ConfigType::LONG,
            "After how long without a request a connection is closed.",
        ),
        row(
            "default.replication.factor",
            &REPLICATION_FACTOR,
            ConfigType::INT,
            "The replication factor of every topic: this is one server.",
        ),
        row(
            "delete.topic.enable",
            &true,
            ConfigType::BOOLEAN,
            "Whether topics can be deleted.",
        ),
        row(
            "fetch.max.bytes",
            &limits::FETCH_BYTES_MAX,
            ConfigType::INT,
            "The most that one fetch response carries.",
        ),
        row(
            "log.dirs",
            &server.broker.data_dir().display(),
            ConfigType::LIST,
            "The data directory.",
        ),
        row(
            "max.connections",
            &server.settings.connections_max,
            ConfigType::INT,
            "Connections beyond this number are refused.",
        ),
        row(
            "max.incremental.fetch.session.cache.slots",
            &limits::FETCH_SESSIONS_MAX,
            ConfigType::INT,
            "How many fetch sessions are remembered.",
        ),
        row(
            "message.max.bytes",
            &limits::BATCH_BYTES_DEFAULT,
            ConfigType::INT,
            "The largest batch of a topic that does not set max.message.bytes.",
        ),
        row(
            "min.insync.replicas",
            &REPLICATION_FACTOR,
            ConfigType::INT,
            "How many replicas acks=all waits for.",
        ),
        row(
            "node.id",
            &server.settings.node_id,
            ConfigType::INT,
            "The id of this server as a Kafka node.",
        ),
        row(
            "num.partitions",
            &broker.default_partitions,
            ConfigType::INT,
            "Partitions of a topic that is created without saying how many.",
        ),
        row(
            "socket.request.max.bytes",
            &limits::KAFKA_FRAME_BYTES_MAX,
            ConfigType::INT,
            "The largest request that is read.",
        ),
    ]
}

fn describe(row: Row, detail: Detail) -> DescribeConfigsResourceResult {
    let name = Str::from_static(row.name);
    let value = Some(Str::from(row.value));
    DescribeConfigsResourceResult {
        synonyms: if detail.synonyms {
            vec![DescribeConfigsSynonym {
                name: name.clone(),
                value: value.clone(),
                source: ConfigSource::STATIC_BROKER_CONFIG,
            }]
        } else {
            Vec::new()
        },
        name,
        value,
        read_only: true,
        is_default: false,
        config_source: ConfigSource::STATIC_BROKER_CONFIG,
        is_sensitive: false,
        config_type: row.kind,
        documentation: detail.documentation.then(|| Str::from_static(row.doc)),
    }
}
