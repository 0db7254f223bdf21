//! The macro that turns a message's table into code.
//!
//! ```text
//! message! {
//!     /// What it is for.
//!     message FooRequest [2-7, flexible 5+] {     versions 2 to 7, compact and tagged from 5 on
//!         group_id: Str [0+],                     on the wire in all versions
//!         bars: Vec<Bar> [0+],                    Bar is the next table
//!         rack: Option<Str> [3+] = None,          from 3 on, may be null in all of them, null by default
//!         reason: Option<Str> [2+, nullable 4+],  may be null from 4 on
//!         epoch: i32 [6+, tag 0] = -1,            a tagged field
//!         old: i8 [0-3],                          gone after 3
//!     }
//!
//!     /// A part of the message above; it shares its version.
//!     struct Bar { ... }
//! }
//! ```
//!
//! Fields are in wire order. A default other than zero or empty follows `=`; it is also the value of a field that
//! the version at hand does not carry. Kafka's names are kept, in Rust's case.

/// Defines messages and their parts from tables, see the module's documentation.
macro_rules! message {
    () => {};

    (
        $(#[$attribute:meta])*
        message $name:ident [$min:literal - $max:literal $(, flexible $flexible:literal +)?] { $($rows:tt)* }
        $($rest:tt)*
    ) => {
        message! { @struct $(#[$attribute])* $name { $($rows)* } }

        impl $crate::wire::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::VersionRange = $crate::wire::VersionRange { min: $min, max: $max };
            const FLEXIBLE_FROM: i16 = message!(@or $($flexible)?, i16::MAX);
        }

        message! { $($rest)* }
    };

    (
        $(#[$attribute:meta])*
        struct $name:ident { $($rows:tt)* }
        $($rest:tt)*
    ) => {
        message! { @struct $(#[$attribute])* $name { $($rows)* } }
        message! { $($rest)* }
    };

    (
        @struct
        $(#[$attribute:meta])*
        $name:ident {
            $(
                $(#[$field_attribute:meta])*
                $field:ident: $type:ty [
                    $from:literal $(+)? $(- $to:literal)?
                    $(, nullable $null_from:literal $(+)? $(- $null_to:literal)?)?
                    $(, tag $tag:literal)?
                ] $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        // A row says what there is to say of most fields: name, type, versions and default.
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: message!(@or $($default)?, <$type as $crate::wire::Wire>::initial()),)* }
            }
        }

        // Some tables have no tagged field, no field at all, or one version.
        #[allow(unused_mut, unused_variables, clippy::match_single_binding)]
        impl $crate::wire::Wire for $name {
            fn initial() -> Self {
                Self::default()
            }

            fn bytes_min(at: $crate::wire::At) -> usize {
                let mut bytes = usize::from(at.flexible);
                $(
                    if message!(@plain $($tag)?) && message!(@within at $from $($to)?) {
                        bytes += <$type as $crate::wire::Wire>::bytes_min(at);
                    }
                )*
                bytes
            }

            fn read(
                reader: &mut $crate::Reader<'_>,
                at: $crate::wire::At,
            ) -> Result<Self, $crate::DecodeError> {
                $(
                    let mut $field = if message!(@plain $($tag)?) && message!(@within at $from $($to)?) {
                        let nullable = message!(@within at $($null_from $($null_to)?)?);
                        <$type as $crate::wire::Wire>::read(reader, at.nullable(nullable))
                            .map_err(|error| error.within(stringify!($name), stringify!($field)))?
                    } else {
                        message!(@or $($default)?, <$type as $crate::wire::Wire>::initial())
                    };
                )*
                if at.flexible {
                    reader
                        .tagged_fields(|reader, tag| {
                            match tag {
                                $($(
                                    $tag if at.version >= $from => {
                                        $field = <$type as $crate::wire::Wire>::read(reader, at.nullable(true))
                                            .map_err(|error| error.within(stringify!($name), stringify!($field)))?;
                                        Ok(true)
                                    }
                                )?)*
                                _ => Ok(false),
                            }
                        })
                        .map_err(|error| error.within(stringify!($name), "tagged fields"))?;
                }
                Ok(Self { $($field),* })
            }

            fn write(&self, writer: &mut $crate::Writer, at: $crate::wire::At) {
                $(
                    if message!(@plain $($tag)?) && message!(@within at $from $($to)?) {
                        let nullable = message!(@within at $($null_from $($null_to)?)?);
                        self.$field.write(writer, at.nullable(nullable));
                    }
                )*
                if at.flexible {
                    let mut tagged_fields = 0;
                    $(message!(@if_tagged [$($tag)?] {
                        let $field = message!(@within at $from $($to)?)
                            && self.$field != message!(@or $($default)?, <$type as $crate::wire::Wire>::initial());
                        tagged_fields += u32::from($field);
                    });)*
                    writer.put_uvarint(tagged_fields);
                    $(message!(@if_tagged [$($tag)?] {
                        if $field {
                            writer.put_tagged($($tag)?, |writer| self.$field.write(writer, at.nullable(true)));
                        }
                    });)*
                }
            }

            #[cfg(feature = "testing")]
            fn generate(entropy: &mut $crate::testing::Entropy<'_>, at: $crate::wire::At) -> Self {
                $(
                    let $field = if message!(@within at $from $($to)?) {
                        let nullable = message!(@within at $($null_from $($null_to)?)?);
                        <$type as $crate::wire::Wire>::generate(entropy, at.nullable(nullable))
                    } else {
                        message!(@or $($default)?, <$type as $crate::wire::Wire>::initial())
                    };
                )*
                Self { $($field),* }
            }
        }
    };

    // The first expression if there is one.
    (@or , $fallback:expr) => { $fallback };
    (@or $given:expr, $fallback:expr) => { $given };

    // Whether the version at hand is in a range; all are if there is none.
    (@within $at:ident) => { true };
    (@within $at:ident $from:literal) => { $at.is_within($from, i16::MAX) };
    (@within $at:ident $from:literal $to:literal) => { $at.is_within($from, $to) };

    // Whether a field is without a tag.
    (@plain) => { true };
    (@plain $tag:literal) => { false };

    // Code for a tagged field only.
    (@if_tagged [] { $($code:tt)* }) => {};
    (@if_tagged [$tag:literal] { $($code:tt)* }) => { $($code)* };
}

/// Lets a part of a message be null: a byte before it tells, 1 for a value and -1 for none.
macro_rules! nullable_struct {
    ($name:ident) => {
        impl $crate::wire::Nullable for $name {
            fn read_nullable(
                reader: &mut $crate::Reader<'_>,
                at: $crate::wire::At,
            ) -> Result<Option<Self>, $crate::DecodeError> {
                let marker: i8 = $crate::wire::Wire::read(reader, at)?;
                if marker < 0 {
                    Ok(None)
                } else {
                    $crate::wire::Wire::read(reader, at).map(Some)
                }
            }

            fn write_some(&self, writer: &mut $crate::Writer, at: $crate::wire::At) {
                writer.put(&[1]);
                $crate::wire::Wire::write(self, writer, at);
            }

            fn write_null(writer: &mut $crate::Writer, _: $crate::wire::At) {
                writer.put(&[0xff]);
            }
        }
    };
}
