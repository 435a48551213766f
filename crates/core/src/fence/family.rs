//! Families: the same event under another index hash, made visible.
//!
//! The index hash is part of an event's key, so after a reindex the same event is a new write. That
//! is right for what goes into an index, and wrong for a payment. The first hash of an event is
//! remembered beside its record, so that a repeat under another one is at least counted.

use std::fmt;

use super::key::{FenceKey, Scope, Unscoped};
use crate::moment::Moment;

/// The name of an event whatever the index: source, revision and partition, within its scope.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyKey(pub FenceKey);

impl FamilyKey {
    /// The family of an event.
    pub fn new(scope: &Scope<'_>, source: &[u8], revision: &[u8], partition: &[u8]) -> Self {
        // An event has four fields, so none has five that read like these.
        let name = Unscoped::of(&[b"family", source, revision, partition, b""]);
        Self(FenceKey::new(scope, &name))
    }
}

impl fmt::Debug for FamilyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FamilyKey({})", self.0)
    }
}

/// What is remembered of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// The key under which its event came first.
    pub first: FenceKey,
    /// When it is forgotten: never before the record of that key.
    pub expires: Moment,
}

/// What an event learns of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kin {
    /// It is the first.
    First,
    /// It comes under the same index hash as the first.
    Same,
    /// It comes under another one. Count it; a route whose writes do not depend on the index goes
    /// on with this key instead of its own, and so meets the record of the first.
    Other(FenceKey),
}

/// What an event with this key learns, and what to remember if that changes.
pub fn meet(held: Option<Family>, key: FenceKey, expires: Moment) -> (Kin, Option<Family>) {
    let Some(family) = held else {
        return (Kin::First, Some(Family { first: key, expires }));
    };
    // As long as somebody asks for a family, its record may still be needed.
    let kept = Family { expires: family.expires.max(expires), ..family };
    let changed = Some(kept).filter(|it| *it != family);
    (if family.first == key { Kin::Same } else { Kin::Other(family.first) }, changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::key::Encoding;

    #[test]
    fn a_repeat_under_another_index_hash_meets_the_first_key() {
        let scope = Scope { route: Some(b"ingest"), ..Scope::default() };
        let key = |hash: &[u8]| {
            let fields: [&[u8]; 4] = [b"evt-1", b"3", hash, b"p1"];
            FenceKey::new(&scope, &Unscoped::of_event(Encoding::Netstring, fields).unwrap())
        };
        let [old, new] = [key(b"a1"), key(b"b2")];
        let (kin, family) = meet(None, old, Moment(10));
        assert_eq!((kin, family), (Kin::First, Some(Family { first: old, expires: Moment(10) })));
        assert_eq!(meet(family, old, Moment(9)), (Kin::Same, None));
        let longer = Some(Family { first: old, expires: Moment(12) });
        assert_eq!(meet(family, new, Moment(12)), (Kin::Other(old), longer));
    }

    #[test]
    fn a_family_is_no_event_and_has_a_scope() {
        let scope = Scope::default();
        let family = FamilyKey::new(&scope, b"evt-1", b"3", b"p1");
        assert_ne!(family, FamilyKey::new(&scope, b"evt-1", b"3", b"p2"));
        let elsewhere = Scope { tenant: Some(b"t"), ..scope };
        assert_ne!(family, FamilyKey::new(&elsewhere, b"evt-1", b"3", b"p1"));
        let event = Unscoped::of(&[b"evt-1", b"3", b"", b"p1"]);
        assert_ne!(family.0, FenceKey::new(&scope, &event));
    }
}
