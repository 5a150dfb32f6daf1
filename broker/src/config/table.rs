//! One row per setting: the struct's field, its default, its allowed values and its explanation.

use super::Allowed;

/// One row of the table behind the settings `C`.
pub struct Key<C: 'static> {
    pub name: &'static str,
    /// The broker setting that gives this topic setting its default.
    pub broker_name: Option<&'static str>,
    pub allowed: Allowed,
    /// The explanation, one line of source text per item.
    pub doc: &'static [&'static str],
    pub(crate) set: fn(&mut C, &str) -> Option<()>,
    pub(crate) get: fn(&C) -> String,
}

/// A value outside what its key allows.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("`{key}` cannot be `{value}`: it must be {allowed}")]
pub struct InvalidValue {
    pub key: &'static str,
    pub value: String,
    pub allowed: Allowed,
}

impl<C> Key<C> {
    /// Changes the setting in `config`; a refusal leaves `config` as it was.
    pub fn set(&self, config: &mut C, value: &str) -> Result<(), InvalidValue> {
        self.set_as(self.name, config, value)
    }

    /// As [`Key::set`], for a setting that the user knows by another name.
    pub(crate) fn set_as(
        &self,
        key: &'static str,
        config: &mut C,
        value: &str,
    ) -> Result<(), InvalidValue> {
        (self.set)(config, value).ok_or_else(|| InvalidValue {
            key,
            value: value.to_owned(),
            allowed: self.allowed,
        })
    }

    /// The setting's value in the spelling that [`Key::set`] reads.
    pub fn get(&self, config: &C) -> String {
        (self.get)(config)
    }

    /// The explanation as one paragraph.
    pub fn explanation(&self) -> String {
        paragraph(self.doc)
    }
}

/// Lines of a doc comment as one paragraph.
pub(super) fn paragraph(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

/// Declares a struct of settings and its table of keys.
///
/// Each row reads `"key" => field: Type = default, allowed;`, with `"topic.key" as "broker.key"`
/// where a topic setting takes its default from the broker. A row's doc comment documents the
/// field and becomes the key's explanation.
macro_rules! config_table {
    (
        $(#[$meta:meta])*
        pub struct $config:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:literal $(as $broker_name:literal)? =>
                    $field:ident: $type:ty = $default:expr, $allowed:expr;
            )+
        }
        $(also { $($(#[$extra_meta:meta])* $extra:ident: $extra_type:ty = $extra_default:expr;)+ })?
    ) => {
        $(#[$meta])*
        pub struct $config {
            $(
                $(#[doc = $doc])+
                pub $field: $type,
            )+
            $($($(#[$extra_meta])* pub $extra: $extra_type,)+)?
        }

        impl Default for $config {
            fn default() -> Self {
                Self {
                    $($field: $default,)+
                    $($($extra: $extra_default,)+)?
                }
            }
        }

        impl $config {
            /// Every setting, in the order of the documentation.
            pub const KEYS: &'static [$crate::config::Key<Self>] = &[$(
                $crate::config::Key {
                    name: $name,
                    broker_name: {
                        const BROKER_NAMES: &[&str] = &[$($broker_name)?];
                        match BROKER_NAMES {
                            [] => None,
                            [name, ..] => Some(*name),
                        }
                    },
                    allowed: $allowed,
                    doc: &[$($doc),+],
                    set: |config, text| {
                        config.$field =
                            $crate::config::value::ConfigValue::parse(text, &$allowed)?;
                        Some(())
                    },
                    get: |config| {
                        $crate::config::value::ConfigValue::text(&config.$field, &$allowed)
                    },
                },
            )+];

            /// The row of the setting `name`.
            pub fn key(name: &str) -> Option<&'static $crate::config::Key<Self>> {
                Self::KEYS.iter().find(|key| key.name == name)
            }
        }
    };
}

pub(super) use config_table;
