//! How the server's own settings are written down: one state entry.
//!
//! ```text
//! value  u8 format, 1
//!        u16 number of settings that were set, for each: u16 length and key, u32 length and value
//! ```
//!
//! Big-endian, as in [`crate::entry`]. A newer format is refused, never guessed at.

use bytes::{BufMut, Bytes, BytesMut};

use crate::entry::{EntryError, Input, put_settings};
use crate::settings::ServerSettings;

const FORMAT: u8 = 1;

/// The value that records `settings`.
pub fn encode(settings: &ServerSettings) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    put_settings(&mut out, settings.set());
    out.freeze()
}

/// Reads an entry.
pub fn decode(value: &[u8]) -> Result<ServerSettings, EntryError> {
    let mut input = Input(value);
    match input.u8()? {
        FORMAT => {}
        newer => return Err(EntryError::Newer(newer)),
    }
    let set = input.settings()?;
    input.end()?;
    ServerSettings::new(set).map_err(EntryError::ServerSetting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ServerSettings {
        ServerSettings::new([
            ("log.flush.interval.messages", "7"),
            ("sasl.kerberos.min.time.before.relogin", "58000"),
        ])
        .unwrap()
    }

    #[test]
    fn settings_come_back_as_they_were() {
        assert_eq!(decode(&encode(&settings())), Ok(settings()));
        let none = ServerSettings::default();
        assert_eq!(decode(&encode(&none)), Ok(none));
    }

    #[test]
    fn every_cut_and_a_newer_format_are_noticed() {
        let mut value = encode(&settings()).to_vec();
        for length in 0..value.len() {
            assert!(decode(&value[..length]).is_err(), "cut at {length}");
        }
        value[0] = 2;
        assert_eq!(decode(&value), Err(EntryError::Newer(2)));
    }
}
