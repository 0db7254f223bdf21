//! `millstream group describe`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use millstream_client::{Client, GroupDescription, GroupMember, OffsetSpec, TopicPartition};
use serde::Serialize;

use crate::output::{HEAD, Table, or_dash, print_json, print_line};

/// Arguments of `millstream group describe`.
#[derive(Debug, Args)]
#[command(after_help = "\
The lag is how many offsets lie between what the group has committed and the end of the partition. It is not known where the
group has committed nothing yet.")]
pub(super) struct Describe {
    /// The group.
    group: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Described {
    group: String,
    state: String,
    assignor: String,
    /// None if it cannot be known.
    lag: Option<i64>,
    members: Vec<DescribedMember>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: usize,
}

#[derive(Serialize)]
struct DescribedPartition {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
    client: Option<String>,
    host: Option<String>,
}

impl Describe {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let group = client.describe_group(&self.group).await?;
        if group.state == "Dead" {
            anyhow::bail!(
                "there is no group '{}'; `millstream group list` shows those there are",
                self.group
            );
        }
        let described = describe(client, group).await?;
        if self.json {
            print_json(&described)
        } else {
            described.print()
        }
    }
}

async fn describe(client: &Client, group: GroupDescription) -> anyhow::Result<Described> {
    let committed = client.group_offsets(&group.id, None).await?;
    let readers: BTreeMap<_, _> = group
        .members
        .iter()
        .flat_map(|member| {
            member
                .assignment
                .iter()
                .map(move |partition| (partition, member))
        })
        .collect();
    let partitions: BTreeSet<_> = committed
        .keys()
        .chain(readers.keys().copied())
        .cloned()
        .collect();
    let ends = ends(client, &partitions).await?;
    let partition = |it: &TopicPartition| {
        let committed = committed.get(it).map(|committed| committed.offset.0);
        let end = ends.get(it).copied();
        let reader: Option<&&GroupMember> = readers.get(it);
        DescribedPartition {
            topic: it.topic.to_string(),
            partition: it.partition,
            committed,
            end,
            lag: lag(committed, end),
            member: reader.map(|member| member.member_id.clone()),
            client: reader.map(|member| member.client_id.clone()),
            host: reader.map(|member| member.host.clone()),
        }
    };
    let partitions: Vec<_> = partitions.iter().map(partition).collect();
    Ok(Described {
        lag: total_lag(&partitions),
        partitions,
        members: group.members.iter().map(DescribedMember::from).collect(),
        group: group.id,
        state: group.state,
        assignor: group.assignor,
    })
}

/// How far the group is behind. Where it has committed nothing that depends on where its members begin, unless there is
/// nothing yet.
fn lag(committed: Option<i64>, end: Option<i64>) -> Option<i64> {
    match (committed, end?) {
        (Some(committed), end) => Some((end - committed).max(0)),
        (None, 0) => Some(0),
        (None, _) => None,
    }
}

/// The lag in all partitions, if it is known in all. Of topics that are gone nothing is left to read.
fn total_lag(partitions: &[DescribedPartition]) -> Option<i64> {
    if partitions.is_empty() {
        return None;
    }
    let there = partitions.iter().filter(|it| it.end.is_some());
    there.map(|it| it.lag).sum()
}

/// The end of each partition that is still there: a group may have read topics that are gone.
async fn ends(
    client: &Client,
    partitions: &BTreeSet<TopicPartition>,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let topics: BTreeSet<_> = client
        .topics()
        .await?
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    let asked: Vec<_> = partitions
        .iter()
        .filter(|partition| topics.contains(&partition.topic))
        .map(|partition| (partition.clone(), OffsetSpec::Latest))
        .collect();
    let found = client.list_offsets(&asked).await?;
    Ok(found
        .into_iter()
        .filter_map(|(partition, found)| Some((partition, found.offset?.0)))
        .collect())
}

impl From<&GroupMember> for DescribedMember {
    fn from(member: &GroupMember) -> Self {
        Self {
            member: member.member_id.clone(),
            instance: member.instance_id.clone(),
            client: member.client_id.clone(),
            host: member.host.clone(),
            partitions: member.assignment.len(),
        }
    }
}

impl Described {
    fn print(&self) -> anyhow::Result<()> {
        print_line(format_args!("{HEAD}Group{HEAD:#}     {}", self.group))?;
        print_line(format_args!("{HEAD}State{HEAD:#}     {}", self.state))?;
        print_line(format_args!(
            "{HEAD}Assignor{HEAD:#}  {}",
            or_dash(Some(&self.assignor).filter(|it| !it.is_empty()))
        ))?;
        print_line(format_args!(
            "{HEAD}Lag{HEAD:#}       {}",
            or_dash(self.lag)
        ))?;
        if !self.partitions.is_empty() {
            print_line("")?;
            let mut table = Table::new(&[
                "TOPIC",
                ">PARTITION",
                ">COMMITTED",
                ">END",
                ">LAG",
                "MEMBER",
                "HOST",
            ]);
            for it in &self.partitions {
                table.row([
                    it.topic.clone(),
                    it.partition.to_string(),
                    or_dash(it.committed),
                    or_dash(it.end),
                    or_dash(it.lag),
                    or_dash(it.member.as_ref()),
                    or_dash(it.host.as_ref()),
                ]);
            }
            table.print()?;
        }
        if !self.members.is_empty() {
            print_line("")?;
            let mut table = Table::new(&["MEMBER", "INSTANCE", "CLIENT", "HOST", ">PARTITIONS"]);
            for it in &self.members {
                table.row([
                    it.member.clone(),
                    or_dash(it.instance.as_ref()),
                    it.client.clone(),
                    it.host.clone(),
                    it.partitions.to_string(),
                ]);
            }
            table.print()?;
        }
        Ok(())
    }
}
