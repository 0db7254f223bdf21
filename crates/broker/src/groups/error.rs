//! Why a group refuses.

/// Why a group refused a request. What to do about it is for the client's library to decide, which is why each is as
/// fine as Kafka's own error codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group id is empty where a member needs one.
    #[error("the group id is empty: set group.id")]
    InvalidGroupId,
    /// The session timeout is outside the server's bounds.
    #[error(
        "the session timeout is outside the server's bounds (group.min.session.timeout.ms, group.max.session.timeout.ms)"
    )]
    InvalidSessionTimeout,
    /// The member is not in the group: it was expelled, left or never joined. It joins again under a new id.
    #[error("the member is not in the group: join again")]
    UnknownMember,
    /// The member's generation has passed. It joins again under its old id.
    #[error("the generation has passed: join again")]
    IllegalGeneration,
    /// The group is between generations.
    #[error("the group is rebalancing: join again")]
    RebalanceInProgress,
    /// The member and the group have no protocol in common, or are of different types.
    #[error("no protocol of this member is supported by every other member of the group")]
    InconsistentProtocol,
    /// Another process took over the member's instance id.
    #[error("another member with the same group.instance.id has taken over")]
    FencedInstance,
    /// The first half of a two-step join: the member shall join again with the id it was given (KIP-394).
    #[error("join again with the member id of this answer")]
    MemberIdRequired,
    /// The group has as many members as it may.
    #[error("the group is full (group.max.size)")]
    GroupFull,
    /// There is no such group.
    #[error("there is no such group")]
    GroupNotFound,
    /// The group has members, and what was asked needs one without.
    #[error("the group has members: stop them first")]
    NonEmptyGroup,
    /// The group's members read the topic whose offsets were to be deleted.
    #[error("members of the group are subscribed to the topic: stop them first")]
    SubscribedToTopic,
    /// The text stored with an offset is too long.
    #[error(
        "the metadata of the offset is longer than {} characters",
        millstream_limits::OFFSET_METADATA_CHARACTERS_MAX
    )]
    OffsetMetadataTooLarge,
    /// A request carries more than a group can hold.
    #[error("the group's metadata or assignment is too large")]
    TooLarge,
    /// The disk has no room for what would be written down. To be tried again once there is.
    #[error("the disk is full; delete records or topics, or free space, and try again")]
    DiskFull,
    /// The server is stopping, or could not make the change durable. To be tried again.
    #[error("the group is not available now: try again")]
    Unavailable,
}
