//! Small numbers with names: what a field's number means. A number without a name here survives decoding and encoding,
//! so that a newer peer is understood as far as possible.

/// Defines a number type of the protocol and the names of its values.
macro_rules! codes {
    ($(
        $(#[$attribute:meta])*
        $name:ident($number:ty) { $($(#[$code_attribute:meta])* $code:ident = $value:literal),* $(,)? }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $number);

        impl $name {
            $($(#[$code_attribute])* pub const $code: Self = Self($value);)*

            /// The name of the value in Kafka, or `UNKNOWN` for one that has none here.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => stringify!($code),)*
                    _ => "UNKNOWN",
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(0)
            }
        }

        impl From<$number> for $name {
            fn from(number: $number) -> Self {
                Self(number)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", self.name(), self.0)
            }
        }

        impl $crate::wire::Wire for $name {
            fn initial() -> Self {
                Self::default()
            }

            fn bytes_min(at: $crate::wire::At) -> usize {
                <$number as $crate::wire::Wire>::bytes_min(at)
            }

            #[inline]
            fn read(reader: &mut $crate::Reader<'_>, at: $crate::wire::At) -> Result<Self, $crate::DecodeError> {
                $crate::wire::Wire::read(reader, at).map(Self)
            }

            #[inline]
            fn write(&self, writer: &mut $crate::Writer, at: $crate::wire::At) {
                self.0.write(writer, at);
            }

            #[cfg(feature = "testing")]
            fn generate(entropy: &mut $crate::testing::Entropy<'_>, at: $crate::wire::At) -> Self {
                Self($crate::wire::Wire::generate(entropy, at))
            }
        }
    )*};
}

codes! {
    /// What a `FindCoordinator` request asks the coordinator of.
    CoordinatorType(i8) {
        /// A consumer group.
        GROUP = 0,
        /// A transactional id.
        TRANSACTION = 1,
        /// A partition of a share group's state (KIP-932).
        SHARE = 2,
    }

    /// What a configuration belongs to.
    ResourceType(i8) {
        /// A topic, by name.
        TOPIC = 2,
        /// A broker by its id, or all of them by the empty name.
        BROKER = 4,
        /// A broker's log levels.
        BROKER_LOGGER = 8,
        /// A subscription to clients' metrics (KIP-714).
        CLIENT_METRICS = 16,
        /// A group, by its id (KIP-848).
        GROUP = 32,
    }

    /// Where the value of a configuration comes from.
    ConfigSource(i8) {
        /// Set on the topic.
        TOPIC_CONFIG = 1,
        /// Set at run time on one broker.
        DYNAMIC_BROKER_CONFIG = 2,
        /// Set at run time for all brokers.
        DYNAMIC_DEFAULT_BROKER_CONFIG = 3,
        /// From the configuration a broker started with.
        STATIC_BROKER_CONFIG = 4,
        /// Built in.
        DEFAULT_CONFIG = 5,
        /// Set at run time on a broker's loggers.
        DYNAMIC_BROKER_LOGGER_CONFIG = 6,
        /// Set on a client metrics subscription.
        CLIENT_METRICS_CONFIG = 7,
        /// Set on a group.
        GROUP_CONFIG = 8,
    }

    /// The type of a configuration's value, which is always sent as a string.
    ConfigType(i8) {
        /// `true` or `false`.
        BOOLEAN = 1,
        /// Text.
        STRING = 2,
        /// 32 bits.
        INT = 3,
        /// 16 bits.
        SHORT = 4,
        /// 64 bits.
        LONG = 5,
        /// A floating-point number.
        DOUBLE = 6,
        /// Texts separated by commas.
        LIST = 7,
        /// The name of a Java class.
        CLASS = 8,
        /// Text that is not shown.
        PASSWORD = 9,
    }

    /// What `IncrementalAlterConfigs` does to a configuration (KIP-339).
    ConfigOperation(i8) {
        /// Set the value.
        SET = 0,
        /// Back to the default.
        DELETE = 1,
        /// Add to a list.
        APPEND = 2,
        /// Take out of a list.
        SUBTRACT = 3,
    }

    /// Which records a reader sees (KIP-98).
    IsolationLevel(i8) {
        /// All below the high watermark.
        READ_UNCOMMITTED = 0,
        /// All below the last stable offset; the aborted ones are listed.
        READ_COMMITTED = 1,
    }

    /// Which nodes `DescribeCluster` lists (KIP-919).
    EndpointType(i8) {
        /// Brokers.
        BROKER = 1,
        /// Controllers.
        CONTROLLER = 2,
    }
}
