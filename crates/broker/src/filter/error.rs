//! Why a filter is refused.

use millstream_limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_NODES_MAX};
use thiserror::Error;

/// Why a text is not a filter. Each says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// It is too long.
    #[error("the filter is {0} bytes long; at most {FILTER_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It is nested too deeply.
    #[error("the filter is nested more than {FILTER_DEPTH_MAX} deep; make it flatter")]
    TooDeep,
    /// It has too many parts.
    #[error("the filter has more than {FILTER_NODES_MAX} conditions and values; use fewer")]
    TooManyNodes,
    /// It is not JSON.
    #[error("the filter is not JSON: {0}")]
    NotJson(String),
    /// An object was expected.
    #[error(
        "a filter is an object such as {{\"header\": \"region\", \"equals\": \"eu\"}}, not {0}"
    )]
    NotAnObject(&'static str),
    /// The object is none of the kinds there are.
    #[error("a filter has one of the fields all, any, not, header, key; this one has {0}")]
    NoKind(String),
    /// A field that means nothing there.
    #[error("unknown field {field:?} beside {beside:?}; allowed there: {allowed}")]
    UnknownField {
        /// The field.
        field: String,
        /// The field that says what kind of filter it is.
        beside: &'static str,
        /// What would be known.
        allowed: &'static str,
    },
    /// A field's value is of the wrong kind.
    #[error("field {field:?} takes {takes}")]
    WrongValue {
        /// The field.
        field: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// Something absent has no value to compare.
    #[error("\"exists\": false stands alone: what is absent has no value to compare")]
    AbsentWithValue,
}
