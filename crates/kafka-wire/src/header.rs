//! What stands before the body of each request and response.

use crate::Str;
use crate::api::ApiKey;
use crate::error::DecodeError;
use crate::reader::Reader;
use crate::wire::{At, Nullable, Wire};
use crate::writer::Writer;

/// The header of a request: version 1, or version 2, which ends in tagged fields. (Version 0 belongs to a request
/// between brokers that no longer exists.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API, as a number: it may be one that this codec does not know.
    pub api_key: i16,
    /// The version of the body.
    pub api_version: i16,
    /// Repeated in the response; responses come in the order of their requests.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

/// The client id is never compact, so that a header can be read before its version is known to be supported.
const CLIENT_ID_AT: At = At {
    version: 1,
    flexible: false,
    nullable: true,
};

impl RequestHeader {
    /// The API, if this codec knows it.
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_number(self.api_key)
    }

    /// Reads a header. It succeeds for an API or a version that is not supported too, so that the request can be
    /// answered; what follows the header is then not readable.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read(reader).map_err(|error| error.within("RequestHeader", "-"))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let api_key = reader.int16()?;
        let api_version = reader.int16()?;
        let correlation_id = reader.int32()?;
        let client_id = Str::read_nullable(reader, CLIENT_ID_AT)?;
        let header = Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        };
        if header.is_flexible() {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(header)
    }

    /// Writes the header.
    pub fn encode(&self, writer: &mut Writer) {
        writer.put(&self.api_key.to_be_bytes());
        writer.put(&self.api_version.to_be_bytes());
        writer.put(&self.correlation_id.to_be_bytes());
        self.client_id.write(writer, CLIENT_ID_AT);
        if self.is_flexible() {
            writer.put_uvarint(0);
        }
    }

    fn is_flexible(&self) -> bool {
        self.api()
            .is_some_and(|api| api.request_header_version(self.api_version) == 2)
    }
}

/// The header of a response: version 0, or version 1, which ends in tagged fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The request's.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of a response to `api` at the request's `api_version`.
    pub fn decode(
        reader: &mut Reader<'_>,
        api: ApiKey,
        api_version: i16,
    ) -> Result<Self, DecodeError> {
        Self::read(reader, api.response_header_version(api_version))
            .map_err(|error| error.within("ResponseHeader", "-"))
    }

    fn read(reader: &mut Reader<'_>, header_version: i16) -> Result<Self, DecodeError> {
        let correlation_id = reader.int32()?;
        if header_version >= 1 {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header of a response to `api` at the request's `api_version`.
    pub fn encode(&self, writer: &mut Writer, api: ApiKey, api_version: i16) {
        writer.put(&self.correlation_id.to_be_bytes());
        if api.response_header_version(api_version) >= 1 {
            writer.put_uvarint(0);
        }
    }
}
