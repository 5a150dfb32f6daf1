//! The macro behind every numeric newtype of this crate.

/// Defines a `Copy` newtype over a signed integer that is never negative.
///
/// Kafka's wire uses negative sentinels (-1 "none", -2 "earliest"); here an absent value is an
/// `Option`, so the types themselves can promise "zero or more".
macro_rules! non_negative {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Zero, the smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$int>::MAX);

            /// Wraps a number that the caller knows to be zero or more.
            ///
            /// # Panics
            /// If `value` is negative. Numbers from a socket, a disk or a user go through
            /// `TryFrom` instead.
            #[inline]
            pub const fn new(value: $int) -> Self {
                assert!(value >= 0, concat!(stringify!($name), " must not be negative"));
                Self(value)
            }

            /// The number as Kafka's formats write it.
            #[inline]
            pub const fn get(self) -> $int {
                self.0
            }

            /// Reads a field in which every negative number means "none".
            #[inline]
            pub const fn from_sentinel(value: $int) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value)) }
            }

            /// Writes a field in which -1 means "none".
            #[inline]
            pub const fn to_sentinel(value: Option<Self>) -> $int {
                match value {
                    Some(value) => value.0,
                    None => -1,
                }
            }
        }

        impl TryFrom<$int> for $name {
            type Error = $crate::NegativeNumber;

            #[inline]
            fn try_from(value: $int) -> Result<Self, Self::Error> {
                Self::from_sentinel(value).ok_or($crate::NegativeNumber {
                    type_name: stringify!($name),
                    value: value as i64,
                })
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use non_negative;

/// A number that must be zero or more was negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{type_name} must not be negative, found {value}")]
pub struct NegativeNumber {
    /// The type that refused the number.
    pub type_name: &'static str,
    /// The number found.
    pub value: i64,
}
