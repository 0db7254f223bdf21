//! `millstream group reset-offsets`.

use std::collections::BTreeMap;

use clap::Args;
use millstream_client::{Client, CommittedOffset, TopicPartition};
use millstream_record::Offset;
use serde::Serialize;

use crate::output::{Table, or_dash, print_json};
use crate::point::{FORMS, Point};

const EXAMPLES: &str = "\
Examples:
  millstream group reset-offsets billing --topic orders --to earliest            shows what would change
  millstream group reset-offsets billing --topic orders --to 2h --execute        does it
  millstream group reset-offsets billing --topic orders:0,2 --shift -100 --execute";

/// Arguments of `millstream group reset-offsets`.
#[derive(Debug, Args)]
#[command(
    after_help = format!("{FORMS}\n\n{EXAMPLES}"),
    group = clap::ArgGroup::new("where").required(true),
    group = clap::ArgGroup::new("what").required(true).multiple(true)
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct ResetOffsets {
    /// The group, which must have no members.
    group: String,
    /// A topic, or some of its partitions; may be given more than once.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITION,...]", group = "what")]
    topics: Vec<String>,
    /// Every partition in which the group has committed something.
    #[arg(long, group = "what")]
    all_topics: bool,
    /// The place to go on from.
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        group = "where"
    )]
    to: Option<Point>,
    /// Go so many records forth, or with a minus sign back.
    #[arg(long, value_name = "N", allow_hyphen_values = true, group = "where")]
    shift: Option<i64>,
    /// Do it.
    #[arg(long)]
    execute: bool,
    /// Only show what would change, which is the default.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Move {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
}

impl ResetOffsets {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let group = client.describe_group(&self.group).await?;
        if !group.members.is_empty() {
            anyhow::bail!(
                "group '{}' has {} members; stop them first, or they will commit over it",
                self.group,
                group.members.len()
            );
        }
        let committed = client.group_offsets(&self.group, None).await?;
        let partitions = self.partitions(client, &committed).await?;
        let targets = self.targets(client, &partitions, &committed).await?;
        if self.execute {
            let offsets = targets
                .iter()
                .map(|(partition, &to)| (partition.clone(), CommittedOffset::new(to)));
            client
                .commit_group_offsets(&self.group, &offsets.collect())
                .await?;
        }
        let moves: Vec<_> = targets
            .iter()
            .map(|(partition, to)| Move {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                from: committed.get(partition).map(|committed| committed.offset.0),
                to: to.0,
            })
            .collect();
        self.report(&moves)
    }

    async fn partitions(
        &self,
        client: &Client,
        committed: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> anyhow::Result<Vec<TopicPartition>> {
        let mut partitions = Vec::new();
        for named in &self.topics {
            let (name, numbers) = parse_topic(named)?;
            let topic = client.topic(name).await?;
            if numbers.is_empty() {
                partitions.extend(
                    topic
                        .partitions
                        .iter()
                        .map(|it| TopicPartition::new(name, it.number)),
                );
            }
            for number in numbers {
                topic.partition(number)?;
                partitions.push(TopicPartition::new(name, number));
            }
        }
        if self.all_topics {
            partitions.extend(committed.keys().cloned());
        }
        partitions.sort();
        partitions.dedup();
        Ok(partitions)
    }

    async fn targets(
        &self,
        client: &Client,
        partitions: &[TopicPartition],
        committed: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
        if let Some(point) = self.to {
            return point.resolve(client, partitions).await;
        }
        let shift = self.shift.unwrap_or(0);
        let start = Point::Earliest.resolve(client, partitions).await?;
        let end = Point::Latest.resolve(client, partitions).await?;
        partitions
            .iter()
            .map(|partition| {
                let Some(committed) = committed.get(partition) else {
                    anyhow::bail!("group '{}' has committed nothing in {partition} that could be moved; use --to", self.group);
                };
                let moved = committed.offset.0.saturating_add(shift);
                Ok((partition.clone(), Offset(moved).clamp(start[partition], end[partition].max(start[partition]))))
            })
            .collect()
    }

    fn report(&self, moves: &[Move]) -> anyhow::Result<()> {
        if self.json {
            print_json(&moves)?;
        } else {
            let mut table = Table::new(&["TOPIC", ">PARTITION", ">FROM", ">TO"]);
            for it in moves {
                table.row([
                    it.topic.clone(),
                    it.partition.to_string(),
                    or_dash(it.from),
                    it.to.to_string(),
                ]);
            }
            table.print()?;
        }
        if !self.execute {
            eprintln!("nothing was changed; add --execute to do it");
        }
        Ok(())
    }
}

/// A topic's name, and the partitions after a colon if there are any.
fn parse_topic(named: &str) -> anyhow::Result<(&str, Vec<i32>)> {
    let Some((name, numbers)) = named.split_once(':') else {
        return Ok((named, Vec::new()));
    };
    let number = |text: &str| {
        text.parse().map_err(|_| {
            anyhow::anyhow!("'{text}' in '{named}' is not a partition; write TOPIC:0,1")
        })
    };
    Ok((
        name,
        numbers.split(',').map(number).collect::<Result<_, _>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_may_name_partitions() {
        assert_eq!(parse_topic("t").unwrap(), ("t", vec![]));
        assert_eq!(parse_topic("t:0,12").unwrap(), ("t", vec![0, 12]));
        assert!(parse_topic("t:x").is_err());
        assert!(parse_topic("t:").is_err());
    }
}
