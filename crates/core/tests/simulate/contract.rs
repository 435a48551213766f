//! Contracts compared once more, in the plainest way.

use tidegate_core::Moment;
use tidegate_core::contract::{Accepts, Contract, Expectation, Found, Key, Weight};
use tidegate_core::id::KeyId;

/// The keys of a contract on which somebody differs, with what that means.
pub(crate) fn differences(
    contract: &Contract,
    says: impl Fn(&Key) -> Found,
    now: Moment,
) -> Vec<(KeyId, Weight)> {
    let mut differences = Vec::new();
    for (place, key) in (0..).zip(&contract.keys) {
        if let Some(expect) = &key.expect
            && !accepts(expect, &says(key), now)
        {
            differences.push((KeyId(place), expect.weight));
        }
    }
    differences
}

fn accepts(expect: &Expectation, found: &Found, now: Moment) -> bool {
    let Found::Value(value) = found else { return false };
    match &expect.accepts {
        Accepts::Agreed => true,
        Accepts::Exactly(expected) => value == expected,
        Accepts::Either { new, .. } if value == new => true,
        Accepts::Either { old, until, .. } => value == old && now < *until,
    }
}
