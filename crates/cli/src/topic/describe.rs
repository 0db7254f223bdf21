//! `millstream topic describe`.

use std::collections::BTreeMap;

use clap::Args;
use millstream_client::{Client, ConfigEntry, OffsetSpec, Resource};
use serde::Serialize;

use crate::output::{HEAD, Table, bytes, or_dash, print_json, print_line};

/// Arguments of `millstream topic describe`.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The topic's name.
    name: String,
    /// Show all settings, not only those set on the topic.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    internal: bool,
    records: i64,
    size_bytes: i64,
    partitions: Vec<DescribedPartition>,
    settings: Vec<DescribedSetting>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    earliest: Option<i64>,
    latest: Option<i64>,
    size_bytes: Option<i64>,
}

#[derive(Serialize)]
struct DescribedSetting {
    name: String,
    value: Option<String>,
    set_on_topic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
}

impl Describe {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let described = Described::of(client, &self.name, self.all).await?;
        if self.json {
            print_json(&described)
        } else {
            described.print()
        }
    }
}

/// Prints a topic as JSON, with the settings that are set on it.
pub(super) async fn print_topic(client: &Client, name: &str) -> anyhow::Result<()> {
    print_json(&Described::of(client, name, false).await?)
}

impl Described {
    /// The topic of that name, with all settings or only those set on it.
    async fn of(client: &Client, name: &str, all: bool) -> anyhow::Result<Self> {
        let topic = client.topic(name).await?;
        let offsets = async |spec| {
            let found = client.topic_offsets(name, spec).await?;
            let offsets = found
                .into_iter()
                .filter_map(|(partition, found)| Some((partition, found.offset?.0)));
            anyhow::Ok(offsets.collect::<BTreeMap<i32, i64>>())
        };
        let (earliest, latest) = (
            offsets(OffsetSpec::Earliest).await?,
            offsets(OffsetSpec::Latest).await?,
        );
        let sizes = sizes(client, name).await?;
        let partitions: Vec<_> = topic
            .partitions
            .into_iter()
            .map(|partition| DescribedPartition {
                partition: partition.number,
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replicas,
                in_sync: partition.in_sync,
                earliest: earliest.get(&partition.number).copied(),
                latest: latest.get(&partition.number).copied(),
                size_bytes: sizes.get(&partition.number).copied(),
            })
            .collect();
        let configs = client
            .describe_configs(&Resource::Topic(name.to_owned()))
            .await?;
        let shown = configs
            .into_iter()
            .filter(|config| all || config.is_set_on_topic());
        Ok(Self {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            internal: topic.internal,
            records: partitions
                .iter()
                .filter_map(|it| Some(it.latest? - it.earliest?))
                .sum(),
            size_bytes: sizes.values().sum(),
            partitions,
            settings: shown.map(DescribedSetting::from).collect(),
        })
    }
}

/// What each partition takes on the disk.
async fn sizes(client: &Client, topic: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let dirs = client.log_dirs().await?;
    let partitions = dirs.into_iter().flat_map(|dir| dir.partitions);
    Ok(partitions
        .filter(|(partition, _)| partition.topic == topic)
        .map(|(partition, bytes)| (partition.partition, bytes))
        .collect())
}

impl From<ConfigEntry> for DescribedSetting {
    fn from(entry: ConfigEntry) -> Self {
        Self {
            set_on_topic: entry.is_set_on_topic(),
            name: entry.name,
            value: entry.value,
            documentation: entry.documentation,
        }
    }
}

impl Described {
    fn print(&self) -> anyhow::Result<()> {
        print_line(format_args!("{HEAD}Topic{HEAD:#}    {}", self.name))?;
        print_line(format_args!("{HEAD}Id{HEAD:#}       {}", self.id))?;
        print_line(format_args!(
            "{HEAD}Records{HEAD:#}  about {}",
            self.records
        ))?;
        print_line(format_args!(
            "{HEAD}Size{HEAD:#}     {}",
            bytes(self.size_bytes as u64)
        ))?;
        print_line("")?;
        let mut table = Table::new(&[
            ">PARTITION",
            ">EARLIEST",
            ">LATEST",
            ">SIZE",
            ">LEADER",
            ">EPOCH",
            "REPLICAS",
            "IN SYNC",
        ]);
        for it in &self.partitions {
            table.row([
                it.partition.to_string(),
                or_dash(it.earliest),
                or_dash(it.latest),
                or_dash(it.size_bytes.map(|size| bytes(size as u64))),
                or_dash(it.leader),
                it.leader_epoch.to_string(),
                join(&it.replicas),
                join(&it.in_sync),
            ]);
        }
        table.print()?;
        if !self.settings.is_empty() {
            print_line("")?;
            let mut table = Table::new(&["SETTING", "VALUE", "SET ON"]);
            for setting in &self.settings {
                let origin = if setting.set_on_topic {
                    "topic"
                } else {
                    "default"
                };
                table.row([
                    setting.name.clone(),
                    or_dash(setting.value.as_ref()),
                    origin.to_owned(),
                ]);
            }
            table.print()?;
        }
        Ok(())
    }
}

fn join(ids: &[i32]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
