//! A client of a cluster: finds who answers for what, keeps the connections, and tries again what may pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_kafka_wire::messages::find_coordinator::Coordinator;
use millstream_kafka_wire::messages::metadata::MetadataRequestTopic;
use millstream_kafka_wire::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use millstream_kafka_wire::{ApiKey, CoordinatorType, ErrorCode, Request, Str};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::cluster::{Broker, Cluster, Topic, address};
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::{ClientError, check, check_with};

/// Which connection to a broker a request goes over. A server answers the requests of a connection in order, so what may
/// wait long on purpose gets one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Everything that is answered at once.
    Control,
    /// Produce requests, whose order matters.
    Produce,
    /// Fetches, which wait for records.
    Fetch,
    /// A group's coordinator, where joining waits for the other members.
    Group,
}

/// A client; clones share its connections and what it knows.
///
/// A consumer or a producer makes its own with [`Client::separate`], so that neither waits behind the other.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// A place for a connection. The lock is held while connecting, so that one attempt serves all who wait for it.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    cluster: Mutex<Cluster>,
    /// By address.
    connections: Mutex<HashMap<(String, Lane), Slot>>,
    coordinators: Mutex<HashMap<Str, String>>,
}

impl Client {
    /// Connects to one of the configured servers and learns the cluster's brokers.
    ///
    /// Unlike the calls that follow, this is not tried again: a wrong address should be told at once.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let client = Self::unconnected(config);
        client.refresh(Some(&[])).await?;
        Ok(client)
    }

    /// A client of the same cluster with connections of its own.
    #[must_use]
    pub fn separate(&self) -> Self {
        let client = Self::unconnected(self.inner.config.clone());
        client
            .inner
            .cluster
            .lock()
            .brokers
            .clone_from(&self.inner.cluster.lock().brokers);
        client
    }

    fn unconnected(config: ClientConfig) -> Self {
        let inner = Inner {
            config,
            cluster: Mutex::default(),
            connections: Mutex::default(),
            coordinators: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Its settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The brokers, as of the last answer.
    pub fn brokers(&self) -> Vec<Broker> {
        self.inner.cluster.lock().brokers.clone()
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.config.retry_timeout)
    }

    /// Sends `request` to any broker.
    pub(crate) async fn call_any<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let mut backoff = self.backoff();
        loop {
            let outcome = match self.any_connection().await {
                Ok(connection) => connection.call(request).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) => backoff.pause(error).await?,
                answered => return answered,
            }
        }
    }

    /// Sends `request` once to the broker `id`.
    pub(crate) async fn call_broker<R: Request>(
        &self,
        id: i32,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.connection(id, Lane::Control)
            .await?
            .call(request)
            .await
    }

    /// Sends `request` to the coordinator of `group` until it is answered without an error that may pass. `code` finds
    /// that error in the answer.
    pub(crate) async fn call_coordinator<R: Request>(
        &self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let mut backoff = self.backoff();
        loop {
            let error = match self.call_coordinator_once(group, request).await {
                Ok(response) => match check(code(&response), R::API.name()) {
                    Err(error) if error.is_retriable() => error,
                    _ => return Ok(response),
                },
                Err(error) => error,
            };
            self.forget_coordinator(group);
            backoff.pause(error).await?;
        }
    }

    async fn call_coordinator_once<R: Request>(
        &self,
        group: &str,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.coordinator(group, Lane::Control)
            .await?
            .call(request)
            .await
    }

    /// A connection to the coordinator of `group`.
    pub(crate) async fn coordinator(
        &self,
        group: &str,
        lane: Lane,
    ) -> Result<Connection, ClientError> {
        let known = self.inner.coordinators.lock().get(group).cloned();
        let address = match known {
            Some(address) => address,
            None => self.find_coordinator(group).await?,
        };
        self.connection_to(&address, lane).await
    }

    /// Looks for the coordinator of `group` anew the next time.
    pub(crate) fn forget_coordinator(&self, group: &str) {
        self.inner.coordinators.lock().remove(group);
    }

    async fn find_coordinator(&self, group: &str) -> Result<String, ClientError> {
        let group = Str::from(group);
        let request = FindCoordinatorRequest {
            key: group.clone(),
            key_type: CoordinatorType::GROUP,
            coordinator_keys: vec![group.clone()],
        };
        let response = self.any_connection().await?.call(&request).await?;
        let found = response
            .coordinators
            .into_iter()
            .next()
            .unwrap_or(Coordinator {
                key: group.clone(),
                node_id: response.node_id,
                host: response.host,
                port: response.port,
                error_code: response.error_code,
                error_message: response.error_message,
            });
        check_with(
            found.error_code,
            format!("find the coordinator of group '{group}'"),
            found.error_message,
        )?;
        let address = address(&found.host, found.port);
        self.inner
            .coordinators
            .lock()
            .insert(group, address.clone());
        Ok(address)
    }

    /// The topic as it is known, asked for if it is not. With `create`, a server that creates topics on first use does so.
    pub(crate) async fn topic_of(&self, name: &str, create: bool) -> Result<Topic, ClientError> {
        if let Some(topic) = self.inner.cluster.lock().topics.get(name) {
            return Ok(topic.clone());
        }
        let mut backoff = self.backoff();
        loop {
            match self.fetch_topic(name, create).await {
                // Without creation there is nothing to wait for.
                Err(error)
                    if !create && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) =>
                {
                    return Err(ClientError::NoSuchTopic(name.to_owned()));
                }
                Err(error) => backoff.pause(error).await?,
                found => return found,
            }
        }
    }

    async fn fetch_topic(&self, name: &str, create: bool) -> Result<Topic, ClientError> {
        let response = self.metadata(Some(&[name]), create).await?;
        let action = || format!("look up topic '{name}'");
        if let Some(topic) = response
            .topics
            .iter()
            .find(|topic| topic.name.as_deref() == Some(name))
        {
            check(topic.error_code, action())?;
        }
        let cluster = self.inner.cluster.lock();
        let topic = cluster
            .topics
            .get(name)
            .ok_or(ClientError::Incomplete("Metadata"))?;
        if topic
            .partitions
            .iter()
            .any(|partition| partition.leader.is_none())
        {
            return Err(ClientError::refused(
                ErrorCode::LEADER_NOT_AVAILABLE,
                action(),
                None::<&str>,
            ));
        }
        Ok(topic.clone())
    }

    /// Asks again about `topics` (none means all), and who the brokers are.
    pub(crate) async fn refresh(&self, topics: Option<&[&str]>) -> Result<(), ClientError> {
        self.metadata(topics, false).await.map(drop)
    }

    /// All topics.
    pub(crate) async fn all_topics(&self) -> Result<Vec<Topic>, ClientError> {
        let mut backoff = self.backoff();
        let response = loop {
            match self.metadata(None, false).await {
                Err(error) => backoff.pause(error).await?,
                Ok(response) => break response,
            }
        };
        let cluster = self.inner.cluster.lock();
        let names = response
            .topics
            .iter()
            .filter_map(|topic| topic.name.as_ref());
        Ok(names
            .filter_map(|name| cluster.topics.get(name))
            .cloned()
            .collect())
    }

    async fn metadata(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let connection = self.any_connection().await?;
        let named = |name: &&str| MetadataRequestTopic {
            name: Some((*name).into()),
            ..Default::default()
        };
        let mut topics: Option<Vec<_>> = topics.map(|names| names.iter().map(named).collect());
        if connection.version(ApiKey::Metadata)? == 0 && topics.is_none() {
            topics = Some(Vec::new());
        }
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let response = connection.call(&request).await?;
        check(response.error_code, "ask for metadata")?;
        self.inner.cluster.lock().absorb(&response);
        Ok(response)
    }

    /// The same for `topics`; tells which of them are not there.
    pub(crate) async fn refresh_topics(&self, topics: &[&str]) -> Result<Vec<Str>, ClientError> {
        let response = self.metadata(Some(topics), false).await?;
        let is_missing = |code| code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let missing = response
            .topics
            .into_iter()
            .filter(|topic| is_missing(topic.error_code));
        // Copied, or they would keep the answer alive.
        Ok(missing
            .filter_map(|topic| topic.name.as_deref().map(Str::from))
            .collect())
    }

    /// A topic, as far as is known.
    pub(crate) fn known_topic(&self, topic: &str) -> Option<Topic> {
        self.inner.cluster.lock().topics.get(topic).cloned()
    }

    /// The id of a topic, as far as is known.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        let cluster = self.inner.cluster.lock();
        cluster.topics.get(topic).map(|topic| topic.id)
    }

    /// The broker that leads a partition, as far as is known.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let cluster = self.inner.cluster.lock();
        cluster.topics.get(topic)?.partition(partition).ok()?.leader
    }

    /// Forgets what is known of `topic`, so that the next use asks.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.inner.cluster.lock().topics.remove(topic);
    }

    /// A connection to the broker `id`.
    pub(crate) async fn connection(&self, id: i32, lane: Lane) -> Result<Connection, ClientError> {
        let address = self.inner.cluster.lock().address(id).map(str::to_owned);
        match address {
            Some(address) => self.connection_to(&address, lane).await,
            None => Err(ClientError::refused(
                ErrorCode::LEADER_NOT_AVAILABLE,
                format!("connect to broker {id}"),
                Some("its address is not known"),
            )),
        }
    }

    /// A connection to a broker or a configured server: one that is there, else the first that can be made.
    pub(crate) async fn any_connection(&self) -> Result<Connection, ClientError> {
        let mut addresses: Vec<_> = self
            .inner
            .cluster
            .lock()
            .brokers
            .iter()
            .map(|broker| broker.address.clone())
            .collect();
        addresses.extend(self.inner.config.servers.iter().cloned());
        let mut failure = ClientError::Connect {
            address: "any server".to_owned(),
            reason: "no address is configured".to_owned(),
        };
        for address in addresses {
            match self.connection_to(&address, Lane::Control).await {
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    async fn connection_to(&self, address: &str, lane: Lane) -> Result<Connection, ClientError> {
        let slot = Arc::clone(
            self.inner
                .connections
                .lock()
                .entry((address.to_owned(), lane))
                .or_default(),
        );
        let mut slot = slot.lock().await;
        match &*slot {
            Some(connection) if !connection.is_closed() => Ok(connection.clone()),
            _ => {
                let connection = Connection::open(address, &self.inner.config).await?;
                *slot = Some(connection.clone());
                Ok(connection)
            }
        }
    }

    /// The time a server may take for an answer.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.config.request_timeout
    }
}
