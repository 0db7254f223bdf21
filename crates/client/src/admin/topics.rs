//! Creating, describing, enlarging and deleting topics.

use millstream_kafka_wire::messages::create_partitions::CreatePartitionsTopic;
use millstream_kafka_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use millstream_kafka_wire::messages::delete_topics::DeleteTopicState;
use millstream_kafka_wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
};

use millstream_kafka_wire::ErrorCode;

use crate::client::Client;
use crate::cluster::Topic;
use crate::error::{ClientError, check_with};

/// How long a server may take to carry out a change to topics.
const CHANGE_TIMEOUT_MS: i32 = 20_000;

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the server's default.
    pub partitions: Option<i32>,
    /// How many brokers have a copy; `None` for the server's default.
    pub replication_factor: Option<i16>,
    /// Settings that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the server's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication_factor: None,
            configs: Vec::new(),
        }
    }

    /// The same with so many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// The same with a setting.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }
}

impl Client {
    /// Creates a topic. With `validate_only` it is only checked whether that would succeed.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.as_str().into(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                assignments: Vec::new(),
                configs: topic.configs.iter().map(config).collect(),
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only,
        };
        let response = self.call_any(&request).await?;
        let result = response
            .topics
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("CreateTopics"))?;
        // Even if it is refused: a request that was tried again may have been carried out the first time.
        self.forget_topic(&topic.name);
        check_with(
            result.error_code,
            format!("create topic '{}'", topic.name),
            result.error_message,
        )?;
        if validate_only {
            return Ok(());
        }
        self.await_topic(&topic.name, 1).await
    }

    /// Deletes a topic and what is in it.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(name.into()),
                ..Default::default()
            }],
            topic_names: vec![name.into()],
            timeout_ms: CHANGE_TIMEOUT_MS,
        };
        let response = self.call_any(&request).await?;
        let result = response
            .responses
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("DeleteTopics"))?;
        self.forget_topic(name);
        check_with(
            result.error_code,
            format!("delete topic '{name}'"),
            result.error_message,
        )
    }

    /// Gives a topic more partitions: `count` in all.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.into(),
                count,
                assignments: None,
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only: false,
        };
        let response = self.call_any(&request).await?;
        let result = response
            .results
            .into_iter()
            .next()
            .ok_or(ClientError::Incomplete("CreatePartitions"))?;
        // Even if it is refused: a request that was tried again may have been carried out the first time.
        self.forget_topic(name);
        check_with(
            result.error_code,
            format!("give topic '{name}' {count} partitions"),
            result.error_message,
        )?;
        self.await_topic(name, count).await
    }

    /// Waits until the brokers have heard of a change that one of them has made.
    async fn await_topic(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        let mut backoff = self.backoff();
        loop {
            match self.topic(name).await {
                Ok(topic) if topic.partitions.len() as i32 >= partitions => return Ok(()),
                Ok(_) | Err(ClientError::NoSuchTopic(_)) => {
                    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    backoff
                        .pause(ClientError::refused(
                            unknown,
                            "wait for the brokers",
                            None::<&str>,
                        ))
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>, ClientError> {
        let mut topics = self.all_topics().await?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, as it is now. It is never created by this.
    pub async fn topic(&self, name: &str) -> Result<Topic, ClientError> {
        self.forget_topic(name);
        self.topic_of(name, false).await
    }
}
