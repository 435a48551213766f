//! Values with a form of their own: mappings in order, and texts with a unit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A mapping whose order counts.
#[derive(Debug)]
pub(crate) struct Entries<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

/// Defines a text with a unit or another form of its own, which is read when it is lowered.
macro_rules! text {
    ($(#[doc = $doc:literal])* $name:ident, $wanted:literal, $pattern:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Serialize)]
        pub(crate) struct $name(pub(crate) String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AsText($wanted)).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": concat!($($doc),*).trim(),
                    "pattern": $pattern,
                })
            }
        }
    };
}

text!(
    /// A duration with its unit: `500ms`, `10s`, `10m`, `1h`, `2d`.
    DurationText,
    "a duration such as `10s`",
    "^[0-9]+(ms|s|m|h|d)$"
);
text!(
    /// A size with its unit: `512B`, `16KiB`, `1MiB`.
    SizeText,
    "a size such as `16KiB`",
    "^[0-9]+(B|KiB|MiB|GiB)$"
);
text!(
    /// A share in percent: `20%`.
    PercentText,
    "a share such as `20%`",
    "^[0-9]+%$"
);
text!(
    /// An IP address and a port: `10.0.0.1:8000` or `[2001:db8::1]:8000`.
    AddressText,
    "an address such as `10.0.0.1:8000`",
    r"^([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]{1,5}$"
);
text!(
    /// A duration with its unit, or `none`.
    DeadlineText,
    "a duration such as `10s`, or `none`",
    "^([0-9]+(ms|s|m|h|d)|none)$"
);

text!(
    /// A duration with its unit, or `off`.
    WatchText,
    "a duration such as `2s`, or `off`",
    "^([0-9]+(ms|s|m|h|d)|off)$"
);

/// A figure from 0 to 1, as it is written: what it means is worked out from its digits.
#[derive(Clone, Debug)]
pub(crate) struct FigureText(pub(crate) String);

impl From<&str> for FigureText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for FigureText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsText("a figure such as `0.03`")).map(Self)
    }
}

impl Serialize for FigureText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.parse().unwrap_or_default())
    }
}

impl JsonSchema for FigureText {
    fn schema_name() -> Cow<'static, str> {
        "Figure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A figure from 0 to 1: `0.03`.",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
        })
    }
}

/// Takes any plain value as the text it is written with, so that a missing unit is told as such.
struct AsText(&'static str);

impl Visitor<'_> for AsText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }
}
