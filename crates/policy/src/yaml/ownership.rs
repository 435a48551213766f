//! The sections of the file about ownership: which region takes which writes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Entries, SizeText};
use crate::secrets::Secret;

/// Which region takes which writes. Who owns what is kept in the store of `fence`, where it can be
/// changed while the balancers run; the policy says where everything is at home.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ownership {
    /// The pattern.
    pub(crate) mode: OwnershipMode,
    /// The region that takes all writes at first; with `active_passive`, and only there.
    pub(crate) primary: Option<String>,
    /// Which division into partitions this is. Every change of `partitions` has to raise it: of two
    /// balancers, the one with the smaller version refuses writes.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub(crate) version: u64,
    /// How writes are divided; not with `active_passive`.
    pub(crate) partitions: Option<Partitions>,
    /// For how long a balancer may write without hearing from the store. A balancer that is cut off
    /// is waited for as long before anybody else may write elsewhere.
    #[serde(default = "ten_seconds")]
    pub(crate) lease: DurationText,
}

fn one() -> u64 {
    1
}

fn ten_seconds() -> DurationText {
    "10s".into()
}

/// The pattern of ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnershipMode {
    /// Every region takes the writes of its partitions; reads go as their route says.
    ActiveActive,
    /// One region takes all writes; reads go as their route says.
    ActivePassive,
    /// The partition decides for reads and writes alike.
    GeoPartitioned,
}

/// How writes are divided.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partitions {
    /// Partitions by their value, for instance a tenant, each with the region where it is at home.
    #[serde(default)]
    pub(crate) map: Entries<String>,
    /// Who takes all other values; without this key they are refused.
    pub(crate) rest: Option<Rest>,
}

/// Who takes the values that are not in the map.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rest {
    /// Regions that share them, each value by a hash of its own.
    #[schemars(length(min = 1, max = 128))]
    pub(crate) hash: Vec<String>,
}

/// Where the partition of a request stands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoutePartition {
    /// In this header.
    Header(#[schemars(length(min = 1))] String),
    /// In this segment of the path, counted from 1.
    PathSegment(#[schemars(range(min = 1, max = 32))] u64),
    /// In the JSON body of a fenced write.
    Body(BodyPartition),
    /// In a signed token.
    Token(TokenPartition),
}

/// A partition that stands in a JSON body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyPartition {
    /// Where, as RFC 6901 has it: `/tenant/id`.
    #[schemars(regex(pattern = "^/"))]
    pub(crate) pointer: String,
    /// Longest body; a longer one is refused with 413. At most `64KiB`.
    #[serde(default = "sixteen_kib")]
    pub(crate) max_size: SizeText,
}

fn sixteen_kib() -> SizeText {
    "16KiB".into()
}

/// A partition that stands in a JSON web token, signed with HS256.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenPartition {
    /// The header that carries it, with or without `Bearer`.
    #[serde(default = "authorization")]
    pub(crate) header: String,
    /// The claim that is the partition.
    #[schemars(length(min = 1))]
    pub(crate) claim: String,
    /// What it may be signed with, of at least 32 bytes each: better `file:` or `${NAME}` than
    /// literally. Several while they rotate.
    #[schemars(length(min = 1, max = 8))]
    pub(crate) secrets: Vec<Secret>,
}

fn authorization() -> String {
    "Authorization".to_owned()
}

/// What another region has to report to answer reads that are not its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct Crossing {
    /// This revision of the schema.
    pub(crate) schema_rev: Option<String>,
    /// This hash of the index.
    pub(crate) index_hash: Option<String>,
    /// This tag of the model.
    pub(crate) model_tag: Option<String>,
}
