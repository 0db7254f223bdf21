//! What clients have changed of the server itself while it ran.

use bytes::Bytes;
use millstream_catalog::settings::ServerSettings;
use millstream_catalog::{SettingError, server_entry};
use millstream_store::{Commit, Durability, Slot, Stay};

use crate::broker::Broker;
use crate::error::{BrokerError, OpenError};
use crate::keys;

/// Reads what was set before.
pub(crate) fn load(slot: &Slot) -> Result<ServerSettings, OpenError> {
    match slot.state().get(keys::SERVER_SETTINGS)? {
        Some(value) => Ok(server_entry::decode(&value)?),
        None => Ok(ServerSettings::default()),
    }
}

impl Broker {
    /// The settings of the server that clients may change.
    pub fn server_settings(&self) -> ServerSettings {
        self.inner.server_settings.lock().clone()
    }

    /// What [`Broker::change_server_settings`] would make of them, or why it would refuse. Changes nothing.
    pub fn check_server_settings(
        &self,
        change: impl FnOnce(&ServerSettings) -> Result<ServerSettings, SettingError>,
    ) -> Result<ServerSettings, BrokerError> {
        Ok(change(&self.inner.server_settings.lock())?)
    }

    /// Replaces the settings of the server by what `change` makes of them.
    pub async fn change_server_settings(
        &self,
        change: impl FnOnce(&ServerSettings) -> Result<ServerSettings, SettingError>,
    ) -> Result<(), BrokerError> {
        let durable = {
            let mut settings = self.inner.server_settings.lock();
            let changed = change(&settings)?;
            self.inner.slot.check_room(Stay::Passing)?;
            let commit = Commit {
                puts: vec![(
                    Bytes::from_static(keys::SERVER_SETTINGS),
                    server_entry::encode(&changed),
                )],
                promise: Some(Durability::Fsync),
                ..Commit::default()
            };
            let durable = self.inner.slot.commit(commit)?.durable;
            *settings = changed;
            durable
        };
        durable.await?;
        Ok(())
    }
}
