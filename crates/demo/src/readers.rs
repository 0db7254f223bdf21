//! Consumer groups: members that read until the group has seen as many flights as it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use millstream_client::{Client, ConsumerConfig, GroupConfig, GroupConsumer, GroupEvent};
use tokio::task::JoinSet;

use crate::TOPIC;
use crate::ledger::Ledger;

/// What a group read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) ledger: Ledger,
    /// How many flights each member read.
    members: Vec<usize>,
}

impl Reading {
    /// Adds what the group read later.
    pub(crate) fn absorb(&mut self, later: Reading) {
        self.ledger.absorb(later.ledger);
        self.members = later.members;
    }

    /// Who read how many, for people.
    pub(crate) fn shares(&self) -> String {
        let shares: Vec<_> = self.members.iter().map(ToString::to_string).collect();
        let members = if shares.len() == 1 {
            "one member"
        } else {
            "two members"
        };
        format!(
            "{} flights, by {members}: {}",
            self.members.iter().sum::<usize>(),
            shares.join(" + ")
        )
    }
}

/// Reads `flights` more as a group of two members.
pub(crate) async fn share(client: &Client, group: &str, flights: usize) -> anyhow::Result<Reading> {
    read(client, group, flights, 2).await
}

/// Reads all `flights` as a group of one member.
pub(crate) async fn replay(
    client: &Client,
    group: &str,
    flights: usize,
) -> anyhow::Result<Reading> {
    read(client, group, flights, 1).await
}

async fn read(
    client: &Client,
    group: &str,
    flights: usize,
    members: usize,
) -> anyhow::Result<Reading> {
    let missing = Arc::new(AtomicUsize::new(flights));
    let mut tasks = JoinSet::new();
    for _ in 0..members {
        tasks.spawn(member(
            client.clone(),
            group.to_owned(),
            Arc::clone(&missing),
            members,
        ));
    }
    let mut reading = Reading::default();
    while let Some(ledger) = tasks.join_next().await {
        let ledger = ledger.context("a member panicked")??;
        reading.members.push(ledger.len());
        reading.ledger.absorb(ledger);
    }
    Ok(reading)
}

/// Reads until the group misses nothing, then commits and leaves.
async fn member(
    client: Client,
    group: String,
    missing: Arc<AtomicUsize>,
    members: usize,
) -> anyhow::Result<Ledger> {
    let config = GroupConfig {
        heartbeat_interval: Duration::from_millis(200),
        // Whatever is read before both are in the group is given back uncommitted, so that none is read twice.
        commit_interval: None,
        ..GroupConfig::new(group, vec![TOPIC.to_owned()])
    };
    let share_max = (crate::PARTITIONS as usize).div_ceil(members);
    let mut consumer = GroupConsumer::new(&client, config, ConsumerConfig::default());
    let mut ledger = Ledger::default();
    let mut everyone_is_here = false;
    while missing.load(Ordering::SeqCst) > 0 {
        let Ok(event) = tokio::time::timeout(Duration::from_millis(100), consumer.next()).await
        else {
            continue;
        };
        match event? {
            GroupEvent::Assigned(partitions) => everyone_is_here = partitions.len() <= share_max,
            GroupEvent::Records(chunk) if everyone_is_here => {
                for record in chunk.records() {
                    ledger.enter(&record?)?;
                    missing.fetch_sub(1, Ordering::SeqCst);
                }
            }
            _ => {}
        }
    }
    consumer.commit().await?;
    consumer.close().await?;
    Ok(ledger)
}
