//! The ring of consistent hashing: who comes after a hash, by weight.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_load_balancing::selection::consistent::{KetamaHashing, OwnedNodeIterator};
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Extensions};
use tidegate_core::snapshot::Region;

/// Largest sum of weights on a ring; each unit is 160 points of 8 bytes. Larger ones are rounded.
const WEIGHTS_MAX: u64 = 2048;

/// Where an endpoint stands on a ring: its address and its weight.
type Seat = (SocketAddr, usize);

/// The place of an endpoint in its region, as it is attached to its points.
#[derive(Clone, Copy)]
struct Place(usize);

/// A ring that is made once.
pub(super) struct Ring {
    seats: Vec<Seat>,
    points: Arc<KetamaHashing>,
}

/// A walk around a ring; it comes past the same endpoint again and again, and never ends.
pub(super) struct Walk(OwnedNodeIterator);

/// Who stands on the ring of a region.
///
/// Weights are whole units of an endpoint's own weight, so a slow start moves few keys, and those
/// step by step.
pub(super) fn seats(region: &Region) -> Vec<Seat> {
    let weights = || region.endpoints.iter().map(|it| u64::from(it.share / 100).max(1));
    let total: u64 = weights().sum();
    let fitted = |weight: u64| {
        let weight = if total <= WEIGHTS_MAX { weight } else { weight * WEIGHTS_MAX / total };
        usize::try_from(weight.max(1)).unwrap_or(1)
    };
    let addresses = region.endpoints.iter().map(|it| it.address);
    addresses.zip(weights().map(fitted)).collect()
}

impl Ring {
    /// The ring on which these stand.
    pub(super) fn new(seats: Vec<Seat>) -> Self {
        let backends: BTreeSet<Backend> = seats.iter().enumerate().map(backend).collect();
        Self { points: Arc::new(KetamaHashing::build(&backends)), seats }
    }

    /// Whether exactly these stand on it.
    pub(super) fn is_of(&self, seats: &[Seat]) -> bool {
        self.seats == seats
    }

    /// Walks from a hash onwards.
    pub(super) fn walk(&self, hash: u64) -> Walk {
        Walk(self.points.iter(&hash.to_le_bytes()))
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0.next()?.ext.get::<Place>().map(|it| it.0)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("seats", &self.seats).finish_non_exhaustive()
    }
}

fn backend((place, (address, weight)): (usize, &Seat)) -> Backend {
    let mut ext = Extensions::new();
    ext.insert(Place(place));
    Backend { addr: PeerAddress::Inet(*address), weight: *weight, ext }
}
