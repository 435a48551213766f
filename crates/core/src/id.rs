//! Names and numbers that must not be mistaken for each other.

use std::fmt;
use std::sync::Arc;

/// An interned name from the policy.
pub type Name = Arc<str>;

/// Most regions one policy may have; the width of [`RegionSet`].
pub const REGIONS_MAX: usize = 128;
/// Most endpoints one region may have.
pub const ENDPOINTS_PER_REGION_MAX: usize = 1024;
/// Most contract keys one policy may have; the width of [`KeySet`].
pub const KEYS_MAX: usize = 32;

/// The place of a region in its snapshot.
///
/// Valid within one generation only; whatever outlives a generation refers to a region by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u8);

impl RegionId {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One endpoint, never given to another one while the process lives.
///
/// A late probe of an endpoint that a reload removed names a number that nobody has any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// The place of a partition in its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Counts the snapshots that the board has given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the changes of ownership; stamped on every write that somebody owns. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of regions of one snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegionSet(u128);

impl RegionSet {
    /// The set without any region.
    pub const EMPTY: Self = Self(0);
    /// The set of every region there can be.
    pub const ALL: Self = Self(u128::MAX);

    /// The set of one region.
    pub fn only(region: RegionId) -> Self {
        Self(Self::bit(region))
    }

    /// Whether the region is in the set.
    pub fn contains(self, region: RegionId) -> bool {
        self.0 & Self::bit(region) != 0
    }

    /// Puts the region into the set.
    pub fn insert(&mut self, region: RegionId) {
        self.0 |= Self::bit(region);
    }

    /// The regions that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The regions that are in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The regions of this set that are not in the other one.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no region is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many regions are in the set.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The regions of the set, in the order of their places.
    pub fn iter(self) -> impl Iterator<Item = RegionId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = u8::try_from(left.trailing_zeros()).ok().filter(|_| left != 0)?;
            left &= left - 1;
            Some(RegionId(place))
        })
    }

    fn bit(region: RegionId) -> u128 {
        1_u128.checked_shl(u32::from(region.0)).unwrap_or(0)
    }
}

impl FromIterator<RegionId> for RegionSet {
    fn from_iter<I: IntoIterator<Item = RegionId>>(regions: I) -> Self {
        let mut set = Self::EMPTY;
        regions.into_iter().for_each(|region| set.insert(region));
        set
    }
}

/// The place of a contract key in its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

impl KeyId {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of contract keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeySet(u32);

impl KeySet {
    /// The set without any key.
    pub const EMPTY: Self = Self(0);

    /// Whether the key is in the set.
    pub fn contains(self, key: KeyId) -> bool {
        self.0 & Self::bit(key) != 0
    }

    /// Puts the key into the set.
    pub fn insert(&mut self, key: KeyId) {
        self.0 |= Self::bit(key);
    }

    /// The keys of this set that are not in the other one.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no key is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(key: KeyId) -> u32 {
        1_u32.checked_shl(u32::from(key.0)).unwrap_or(0)
    }
}

impl FromIterator<KeyId> for KeySet {
    fn from_iter<I: IntoIterator<Item = KeyId>>(keys: I) -> Self {
        let mut set = Self::EMPTY;
        keys.into_iter().for_each(|key| set.insert(key));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in_and_nothing_else() {
        let set: RegionSet = [RegionId(0), RegionId(127)].into_iter().collect();
        assert!(set.contains(RegionId(0)) && set.contains(RegionId(127)));
        assert!(!set.contains(RegionId(1)) && !set.contains(RegionId(200)));
        assert_eq!(set.without(RegionSet::only(RegionId(0))).count(), 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [RegionId(0), RegionId(127)]);
        assert_eq!(RegionSet::ALL.iter().count(), REGIONS_MAX);
        assert_eq!(RegionSet::EMPTY.iter().count(), 0);
        let keys: KeySet = [KeyId(3), KeyId(31)].into_iter().collect();
        assert!(keys.contains(KeyId(31)) && !keys.contains(KeyId(32)));
        assert!(keys.without(keys).is_empty());
    }
}
