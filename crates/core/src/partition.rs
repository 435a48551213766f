//! Which partition a value belongs to, and where a request says which value is its own.

use crate::id::{Name, PartitionId};
use crate::policy::Policy;
use crate::policy::owning::{OwnershipRules, PARTITION_BYTES_MAX, TokenRules};

pub mod pointer;
mod token;

#[cfg(test)]
mod tests;

pub use token::claim;

/// Why a request has no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoPartition {
    /// It does not say.
    #[error("the request does not name its partition")]
    Missing,
    /// It says so twice, or in a way that is not understood, or that can be understood in two ways.
    #[error("the partition of the request cannot be read")]
    Unreadable,
    /// Its token is not signed by anybody who is known, or its time is over.
    #[error("the token that names the partition is not valid")]
    BadToken,
    /// The body is longer than what is read to find it.
    #[error("the body is too long to find the partition in it")]
    TooLong,
    /// Nobody owns such a partition.
    #[error("the policy has no such partition")]
    Unknown,
}

impl NoPartition {
    /// The reason as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "partition_missing",
            Self::Unreadable => "partition_unreadable",
            Self::BadToken => "partition_token_invalid",
            Self::TooLong => "partition_body_too_long",
            Self::Unknown => "partition_unknown",
        }
    }
}

impl OwnershipRules {
    /// The partition of a value: the one that is named for it, or else, of those that share the
    /// rest, the one that the value and the partition's name together hash highest with.
    ///
    /// So each value stays where it is when a partition is added, unless it goes to the new one.
    ///
    /// # Errors
    /// Why it has none.
    pub fn place(&self, value: &str) -> Result<PartitionId, NoPartition> {
        if value.is_empty() {
            return Err(NoPartition::Missing);
        }
        if PARTITION_BYTES_MAX < value.len() {
            return Err(NoPartition::Unreadable);
        }
        if let Ok(at) = self.named.binary_search_by(|(name, _)| (**name).cmp(value)) {
            return self.named.get(at).map(|(_, it)| *it).ok_or(NoPartition::Unknown);
        }
        let score = |id: &PartitionId| {
            let name = self.partitions.get(id.index()).map(|it| &*it.name).unwrap_or_default();
            // Two that are equal are told apart by their names, so that the order does not matter.
            (score(name, value), name)
        };
        self.rest.iter().copied().max_by_key(score).ok_or(NoPartition::Unknown)
    }

    /// The place of a partition, by its name.
    pub fn partition(&self, name: &str) -> Option<PartitionId> {
        let places = (0..=u16::MAX).map(PartitionId);
        places.zip(&self.partitions).find(|(_, it)| *it.name == *name).map(|(id, _)| id)
    }

    /// What makes this division into partitions what it is, as a number that any other one has only
    /// by chance.
    pub fn digest(&self) -> u64 {
        let mut digest = FNV_BASIS;
        let mut write = |text: &str| digest = fnv(fnv(digest, text.as_bytes()), &[0]);
        write(self.mode.word());
        for partition in &self.partitions {
            write(&partition.name);
        }
        write("");
        for (value, id) in &self.named {
            write(value);
            write(self.partitions.get(id.index()).map(|it| &*it.name).unwrap_or_default());
        }
        write("");
        for id in &self.rest {
            write(self.partitions.get(id.index()).map(|it| &*it.name).unwrap_or_default());
        }
        mix(digest)
    }
}

/// What a partition is called at home, in the policy.
pub(crate) fn homes(policy: &Policy) -> Vec<(Name, Name)> {
    let rules = policy.ownership.iter().flat_map(|it| &it.partitions);
    rules
        .filter_map(|it| {
            let home = policy.regions.get(it.home.index())?;
            Some((Name::clone(&it.name), Name::clone(&home.name)))
        })
        .collect()
}

/// The segment of a path at this place, counted from 1, without escapes.
///
/// # Errors
/// There is none, or it is escaped: two texts could then mean one partition.
pub fn path_segment(path: &str, place: u8) -> Result<&str, NoPartition> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let segment = segments.nth(usize::from(place).saturating_sub(1));
    let segment = segment.filter(|it| !it.is_empty()).ok_or(NoPartition::Missing)?;
    // `..` would mean another path to whoever resolves it.
    let is_plain = !segment.contains('%') && !matches!(segment, "." | "..");
    if is_plain { Ok(segment) } else { Err(NoPartition::Unreadable) }
}

/// The token in the value of a header, without the scheme before it.
pub fn bearer(value: &str) -> &str {
    value.trim().rsplit(' ').next().unwrap_or_default()
}

impl TokenRules {
    /// The partition that a token names.
    ///
    /// # Errors
    /// Why it names none.
    pub fn read(&self, token: &str, now: crate::Moment) -> Result<String, NoPartition> {
        claim(token, self, now)
    }
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;

fn fnv(begun: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    bytes.iter().fold(begun, step)
}

/// Lets every bit of the result depend on all of the input.
fn mix(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^ (mixed >> 33)
}

fn score(partition: &str, value: &str) -> u64 {
    let begun = fnv(fnv(FNV_BASIS, partition.as_bytes()), &[0]);
    mix(fnv(begun, value.as_bytes()))
}
