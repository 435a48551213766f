//! The fence as it is meant to be, and with one rule broken at a time.

use crate::model::{Fence, Flaw, Guard};
use crate::world::Faults;

/// Processes die and leases end, and nothing else goes wrong.
const CALM: Faults =
    Faults { crashes: 2, failovers: 0, wipes: 0, bypasses: 0, resolutions: 0, ticks: 2 };
const FAILOVER: Faults = Faults { failovers: 1, ..CALM };
const WIPE: Faults = Faults { wipes: 1, ..CALM };
const OPERATOR: Faults = Faults { resolutions: 2, ticks: 4, crashes: 1, ..CALM };

const fn one(flaw: Option<Flaw>, faults: Faults) -> Fence {
    Fence { guard: Guard::Copies, flaw, faults }
}

const fn reasserting(crashes: u8) -> Fence {
    Fence { guard: Guard::Reasserts, flaw: None, faults: Faults { crashes, ..FAILOVER } }
}

/// Where at most one effect is promised.
pub(crate) const SOUND: &[(&str, Fence)] = &[
    ("doubts are resolved, after a quarantine", one(None, OPERATOR)),
    ("claims are copied before delivery, and the copy takes over", one(None, FAILOVER)),
    (
        "the copy takes over while doubts are resolved",
        one(None, Faults { crashes: 1, resolutions: 1, ticks: 3, ..FAILOVER }),
    ),
    ("the store loses everything, and its marker is missed", one(None, WIPE)),
    ("claims are not copied, and nothing fails", one(Some(Flaw::DeliversBeforeCopy), CALM)),
    ("lost claims are written again by processes that live", reasserting(0)),
    (
        "claims in two stores, one of which fails over and is wiped",
        Fence {
            guard: Guard::TwoStores,
            flaw: None,
            faults: Faults { failovers: 1, wipes: 1, ticks: 1, ..CALM },
        },
    ),
];

/// Where it is not, and what is wrong.
pub(crate) const BROKEN: &[(&str, Fence)] = &[
    ("the end of a lease frees the key", one(Some(Flaw::RerunsAfterLease), CALM)),
    (
        "the end of a lease frees the key, and nobody even dies",
        one(Some(Flaw::RerunsAfterLease), Faults { crashes: 0, ..CALM }),
    ),
    ("any error frees the key", one(Some(Flaw::ReleasesOnError), CALM)),
    (
        "a release that is sent again frees the key of another owner",
        one(Some(Flaw::ForgetsOwners), CALM),
    ),
    (
        "a claim is delivered before it is copied, and the copy takes over",
        one(Some(Flaw::DeliversBeforeCopy), FAILOVER),
    ),
    ("lost claims are written again, but one of the processes died too", reasserting(1)),
    (
        "the store loses everything, and nobody misses its marker",
        one(Some(Flaw::MissesNoMarker), WIPE),
    ),
    (
        "who does not reach the store goes on without it",
        one(Some(Flaw::PassesWithoutStore), Faults { bypasses: 1, ..CALM }),
    ),
    (
        "one of two stores may be left out",
        Fence {
            guard: Guard::TwoStores,
            flaw: Some(Flaw::SkipsOneStore),
            faults: Faults { bypasses: 2, ..CALM },
        },
    ),
    (
        "\"not executed\" is believed as soon as the lease is over",
        one(Some(Flaw::KeepsNoQuarantine), OPERATOR),
    ),
    (
        "a paused process begins however long ago it claimed",
        one(Some(Flaw::KeepsNoStartWindow), OPERATOR),
    ),
];
