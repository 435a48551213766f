//! The `contract` section of the file.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{DurationText, Entries, SizeText};

/// What a region must report to be routable, and how it is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contract {
    /// How endpoints are asked.
    pub(crate) probe: Probe,
    /// Report differences, act on none.
    #[serde(default)]
    pub(crate) shadow: bool,
    /// Whether a region is routable while its green endpoints disagree.
    #[serde(default)]
    pub(crate) mixed: Mixed,
    /// Where keys are read from that do not stand at the top of the JSON body.
    #[serde(default)]
    pub(crate) sources: Entries<KeySource>,
    /// What each key must be.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }))]
    pub(crate) expect: Entries<Expect>,
}

/// How endpoints are asked for their contract.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    /// The path that is asked for.
    #[schemars(regex(pattern = "^/"))]
    pub(crate) path: String,
    /// The Host header of a probe; the endpoint's address without this key.
    pub(crate) host: Option<String>,
    /// Time from one probe to the next.
    #[serde(default = "two_seconds")]
    pub(crate) interval: DurationText,
    /// Time that one whole probe may take.
    #[serde(default = "one_second")]
    pub(crate) timeout: DurationText,
    /// Good probes in a row that make an endpoint routable.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) rise: u64,
    /// Bad probes in a row that take an endpoint out.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) fall: u64,
    /// Age at which the last result stops counting; five intervals without this key, and never
    /// less than an interval and a timeout.
    pub(crate) stale_after: Option<DurationText>,
    /// Largest answer that is read.
    #[serde(default = "largest")]
    pub(crate) max_size: SizeText,
}

fn two_seconds() -> DurationText {
    "2s".into()
}

fn one_second() -> DurationText {
    "1s".into()
}

fn two() -> u64 {
    2
}

fn largest() -> SizeText {
    "64KiB".into()
}

/// What happens to a region whose green endpoints disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mixed {
    /// It is not routable.
    #[default]
    Refuse,
    /// It is routable.
    Allow,
}

/// Where a key is read from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeySource {
    /// A header of the answer.
    Header(#[schemars(length(min = 1))] String),
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(#[schemars(regex(pattern = "^(/.*)?$"))] String),
}

/// What a key must be: a value, or a rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Expect {
    /// This value.
    #[serde(rename = "$scalar")]
    Equals(Scalar),
    /// A rule.
    #[serde(rename = "$mapping")]
    Rule(ExpectRule),
}

/// A rule for a key: exactly one of `equals`, `accept`, `agree`, `degrade` and `observe`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [
        { "required": ["equals"] },
        { "required": ["accept", "until"] },
        { "required": ["agree"] },
        { "required": ["degrade"], "not": { "required": ["weight"] } },
        { "required": ["observe"], "not": { "required": ["weight"] } },
    ],
    "dependentRequired" = { "until": ["accept"], "accept": ["until"] },
))]
pub(crate) struct ExpectRule {
    /// This value.
    pub(crate) equals: Option<Scalar>,
    /// Two values, the old one and then the new one, which is the one that stays.
    #[schemars(length(min = 2, max = 2))]
    pub(crate) accept: Option<Vec<Scalar>>,
    /// When the old value of `accept` stops being right, as in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) until: Option<String>,
    /// Any value, as long as all green endpoints of a region report the same one.
    #[schemars(extend("const" = true))]
    pub(crate) agree: Option<bool>,
    /// This value; a difference makes the endpoint the last choice.
    pub(crate) degrade: Option<Scalar>,
    /// This value; a difference is only reported.
    pub(crate) observe: Option<Scalar>,
    /// What a difference means; `veto` without this key.
    pub(crate) weight: Option<Weight>,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weight {
    /// The endpoint gets no new requests.
    Veto,
    /// The endpoint is used after all others.
    Degrade,
    /// The difference is reported and nothing else.
    Observe,
}

/// A value that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Flag(bool),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl Visitor<'_> for AnyScalar {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a whole number, true or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(number))
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar, E> {
                Ok(Scalar::Flag(flag))
            }
        }
        deserializer.deserialize_any(AnyScalar)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value of a contract: a string, a whole number, true or false.",
            "type": ["string", "integer", "boolean"],
            "maxLength": 256,
        })
    }
}
