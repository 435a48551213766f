//! The part of a policy that is about ownership: which region takes which writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ask::Demand;
use crate::id::{Name, PartitionId, RegionId};

/// Most partitions that one policy may have.
pub const PARTITIONS_MAX: usize = 1024;
/// Longest name of a partition, in bytes.
pub const PARTITION_BYTES_MAX: usize = 128;
/// Most of a body that is read to find a partition in it, in bytes.
pub const PARTITION_BODY_BYTES_MAX: usize = 64 * 1024;

/// Who takes which writes. A policy without it lets any region take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipRules {
    /// The pattern.
    pub mode: Mode,
    /// Which division into partitions this is. A greater one replaces a smaller one everywhere.
    pub version: u32,
    /// Every partition there is, at the place of its [`PartitionId`]; at least one.
    pub partitions: Vec<PartitionPolicy>,
    /// The partition of each value that is named, sorted by the values.
    pub named: Vec<(Name, PartitionId)>,
    /// The partitions among which all other values are divided; with none they have no owner.
    pub rest: Vec<PartitionId>,
    /// For how long a balancer may rely on what it has read last.
    pub lease: Duration,
}

/// The pattern by which writes are owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every region takes the writes of its partitions; reads go anywhere.
    ActiveActive,
    /// One region takes all writes; reads go anywhere.
    ActivePassive,
    /// The partition decides for reads and writes alike.
    GeoPartitioned,
}

impl Mode {
    /// The pattern as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::ActiveActive => "active_active",
            Self::ActivePassive => "active_passive",
            Self::GeoPartitioned => "geo_partitioned",
        }
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPolicy {
    /// Its name: in the store, in logs and metrics.
    pub name: Name,
    /// Who owns it at first.
    pub home: RegionId,
}

/// How the requests of one route are owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOwnership {
    /// Where the partition of a request stands.
    pub source: PartitionSource,
    /// What a region has to report to answer reads of a partition that is not its own; with `None`
    /// no other region does. Only looked at where partitions decide for reads.
    pub crossing: Option<Crossing>,
}

/// Where the partition of a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionSource {
    /// Nowhere: there is only one.
    Only,
    /// In a header, by its lower-case name.
    Header(Name),
    /// In a segment of the path, counted from 1.
    PathSegment(u8),
    /// In the JSON body.
    Body {
        /// Where, as RFC 6901 has it.
        pointer: Name,
        /// Longest body that is read for it, in bytes.
        bytes_max: usize,
    },
    /// In a signed token.
    Token(TokenRules),
}

impl PartitionSource {
    /// Whether the whole body has to be read first.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Body { .. })
    }
}

/// A JSON web token, signed with HMAC-SHA256, and which claim of it is the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The header that carries it, in lower case; a scheme before it, as `Bearer`, is passed over.
    pub header: Name,
    /// The claim.
    pub claim: Name,
    /// What it may be signed with; at least one. Several while they rotate.
    pub secrets: Vec<TokenSecret>,
}

/// A secret that signs tokens, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(pub Arc<[u8]>);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSecret").finish_non_exhaustive()
    }
}

/// The versions that a region has to report to answer reads of a partition that is not its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Crossing {
    /// The revision of the schema.
    pub schema_rev: Option<Name>,
    /// The hash of the index.
    pub index_hash: Option<Name>,
    /// The tag of the model.
    pub model_tag: Option<Name>,
}

impl Crossing {
    /// The same as a demand.
    pub fn demand(&self) -> Demand<'_> {
        Demand {
            schema_rev: self.schema_rev.as_deref(),
            index_hash: self.index_hash.as_deref(),
            model_tag: self.model_tag.as_deref(),
            release: None,
        }
    }
}
