//! Which endpoint of a region takes the next request.
//!
//! Picking takes no lock and allocates nothing: tables and rings are made when a world is built,
//! and what changes from request to request are counters.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_core::Moment;
use tidegate_core::balance::{Load, is_busier, is_slower, is_within_bound, turns, two_of};
use tidegate_core::id::EndpointId;
use tidegate_core::policy::Balance;
use tidegate_core::snapshot::Region;

use crate::clock;
use crate::traffic::Traffic;
use ring::Ring;

mod ring;

#[cfg(test)]
mod tests;

/// Points of a ring that one request passes before it stops walking.
const RING_STEPS_MAX: usize = 256;

/// The endpoints of one region and the rule by which they take turns.
#[derive(Debug)]
pub struct Rotation {
    seats: Vec<Seat>,
    balance: Balance,
    way: Way,
    some_ejected: bool,
}

/// What a rotation knows of one endpoint.
#[derive(Debug)]
struct Seat {
    id: EndpointId,
    address: SocketAddr,
    share: u32,
    ejected: bool,
    traffic: Arc<Traffic>,
    salt: u64,
}

/// What each rule needs to keep.
#[derive(Clone, Debug)]
enum Way {
    Turns { table: Arc<[u16]>, cursor: Arc<AtomicUsize> },
    Busier { draws: Draws },
    Slower { draws: Draws },
    Hash { ring: Arc<Ring>, bound_percent: u16 },
}

/// How places are drawn: by a table of turns where shares differ, or else evenly.
type Draws = Option<Arc<[u16]>>;

impl Rotation {
    /// The rotation of a region's endpoints, whose counters come in the same order.
    pub fn new(region: &Region, balance: &Balance, traffic: Vec<Arc<Traffic>>) -> Self {
        let way = Way::new(region, balance, None);
        Self::on(way, region, balance, traffic)
    }

    /// The rotation that takes over from this one: what stays the same is not made again.
    pub(crate) fn next(
        &self,
        region: &Region,
        balance: &Balance,
        traffic: Vec<Arc<Traffic>>,
    ) -> Self {
        let way = Way::new(region, balance, Some(self));
        Self::on(way, region, balance, traffic)
    }

    /// Whether this rotation is still right for a region.
    pub(crate) fn fits(&self, region: &Region, balance: &Balance) -> bool {
        let seats = self.seats.iter().map(|it| (it.id, it.address, it.share, it.ejected));
        let endpoints = region.endpoints.iter();
        self.balance == *balance
            && seats.eq(endpoints.map(|it| (it.id, it.address, it.share, it.ejected)))
    }

    /// The place of the endpoint that takes the next request, among those that `admits` lets
    /// through; `None` when it lets nobody through.
    ///
    /// An ejected endpoint takes it only if nobody else can. Requests with equal hashes meet
    /// under [`Balance::Hash`]; the other rules do not look at the hash.
    pub fn pick(&self, request_hash: u64, admits: impl Fn(usize) -> bool) -> Option<usize> {
        let stays = |place: usize| !self.is_ejected(place) && admits(place);
        let picked = self.choose(request_hash, &stays);
        if picked.is_some() || !self.some_ejected {
            return picked;
        }
        self.choose(request_hash, &admits)
    }

    fn on(way: Way, region: &Region, balance: &Balance, traffic: Vec<Arc<Traffic>>) -> Self {
        debug_assert_eq!(region.endpoints.len(), traffic.len(), "each endpoint has its counters");
        let endpoints = region.endpoints.iter().zip(traffic);
        let seats: Vec<Seat> = endpoints
            .map(|(it, traffic)| Seat {
                id: it.id,
                address: it.address,
                share: it.share,
                ejected: it.ejected,
                traffic,
                salt: salt(it.address),
            })
            .collect();
        let some_ejected = seats.iter().any(|it| it.ejected);
        Self { seats, balance: balance.clone(), way, some_ejected }
    }

    fn choose(&self, request_hash: u64, admits: &impl Fn(usize) -> bool) -> Option<usize> {
        match &self.way {
            Way::Turns { table, cursor } => in_turn(table, cursor, admits),
            Way::Busier { draws } => {
                let (first, second) = self.draw_two(draws, admits)?;
                self.better(first, second, |a, b| is_busier(a.load(), b.load()))
            }
            Way::Slower { draws } => {
                let now = clock::now();
                let (first, second) = self.draw_two(draws, admits)?;
                self.better(first, second, |a, b| is_slower(a.load_at(now), b.load_at(now)))
            }
            Way::Hash { ring, bound_percent } => {
                self.by_hash(ring, *bound_percent, request_hash, admits)
            }
        }
    }

    /// Two places of endpoints that may serve, drawn by share; they may be the same.
    fn draw_two(&self, draws: &Draws, admits: &impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let two = match draws {
            Some(table) => Option::zip(drawn_from(table), drawn_from(table)),
            None => two_of(self.seats.len(), fastrand::u64(..)),
        };
        match two {
            Some((first, second)) if admits(first) && (first == second || admits(second)) => two,
            // New dice: the old ones are known to show somebody who may not serve.
            Some(_) | None => Option::zip(self.draw(admits), self.draw(admits)),
        }
    }

    /// One place, drawn by share among the endpoints that may serve.
    fn draw(&self, admits: &impl Fn(usize) -> bool) -> Option<usize> {
        let (_, total) = self.totals(admits);
        let mut left = fastrand::u64(..).checked_rem(total)?;
        self.seats.iter().enumerate().filter(|(place, _)| admits(*place)).find_map(|(place, it)| {
            match left.checked_sub(it.share.into()) {
                Some(rest) => {
                    left = rest;
                    None
                }
                None => Some(place),
            }
        })
    }

    fn better(
        &self,
        first: usize,
        second: usize,
        is_worse: impl Fn(&Seat, &Seat) -> bool,
    ) -> Option<usize> {
        let worse = first != second && is_worse(self.seats.get(first)?, self.seats.get(second)?);
        Some(if worse { second } else { first })
    }

    /// The first on the ring that has room; the first of all when nobody on the way has.
    fn by_hash(
        &self,
        ring: &Arc<Ring>,
        bound_percent: u16,
        request_hash: u64,
        admits: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut totals = None;
        let mut walk = ring.walk(request_hash);
        let mut nearest = None;
        for _ in 0..RING_STEPS_MAX {
            let Some(place) = walk.next() else { break };
            let Some(seat) = self.seats.get(place).filter(|_| admits(place)) else { continue };
            let load = seat.load();
            if load.open == 0 {
                return Some(place);
            }
            // Most requests find an idle endpoint first and never need the totals.
            let (open, share) = *totals.get_or_insert_with(|| self.totals(admits));
            if is_within_bound(load, open, share, bound_percent) {
                return Some(place);
            }
            nearest.get_or_insert(place);
        }
        nearest.or_else(|| self.by_salt(request_hash, admits))
    }

    /// Open requests and shares of everybody who may serve: what a bound is measured against.
    fn totals(&self, admits: &impl Fn(usize) -> bool) -> (u64, u64) {
        let admitted = self.seats.iter().enumerate().filter(|(place, _)| admits(*place));
        admitted.map(|(_, it)| it.load()).fold((0, 0), |(open, share), load| {
            (open.saturating_add(load.open), share + u64::from(load.share))
        })
    }

    /// Rendezvous hashing: as steady as the ring, and finds the one endpoint in a thousand that
    /// may serve, where the ring would have to be walked for too long.
    fn by_salt(&self, request_hash: u64, admits: &impl Fn(usize) -> bool) -> Option<usize> {
        let admitted = self.seats.iter().enumerate().filter(|(place, _)| admits(*place));
        admitted.max_by_key(|(_, seat)| mixed(request_hash ^ seat.salt)).map(|(place, _)| place)
    }

    fn is_ejected(&self, place: usize) -> bool {
        self.some_ejected && self.seats.get(place).is_some_and(|it| it.ejected)
    }
}

impl Seat {
    fn load(&self) -> Load {
        self.traffic.load(self.share)
    }

    fn load_at(&self, now: Moment) -> Load {
        self.traffic.load_at(self.share, now)
    }
}

impl Way {
    fn new(region: &Region, balance: &Balance, before: Option<&Rotation>) -> Self {
        match balance {
            Balance::RoundRobin => {
                // The cursor goes on where it was, or each new world would favour the first.
                let cursor = match before.map(|it| &it.way) {
                    Some(Self::Turns { cursor, .. }) => Arc::clone(cursor),
                    Some(Self::Busier { .. } | Self::Slower { .. } | Self::Hash { .. }) | None => {
                        Arc::default()
                    }
                };
                Self::Turns { table: turns(&shares_of(region)).into(), cursor }
            }
            Balance::LeastRequests => Self::Busier { draws: draws_of(region) },
            Balance::PeakEwma => Self::Slower { draws: draws_of(region) },
            Balance::Hash { bound_percent, .. } => {
                let seats = ring::seats(region);
                let ring = match before.map(|it| &it.way) {
                    Some(Self::Hash { ring, .. }) if ring.is_of(&seats) => Arc::clone(ring),
                    Some(_) | None => Arc::new(Ring::new(seats)),
                };
                Self::Hash { ring, bound_percent: *bound_percent }
            }
        }
    }
}

fn shares_of(region: &Region) -> Vec<u32> {
    region.endpoints.iter().map(|it| it.share).collect()
}

fn draws_of(region: &Region) -> Draws {
    let shares = shares_of(region);
    let is_even = shares.iter().all(|it| shares.first() == Some(it));
    (!is_even).then(|| turns(&shares).into())
}

fn drawn_from(table: &[u16]) -> Option<usize> {
    let turn = fastrand::usize(..).checked_rem(table.len())?;
    table.get(turn).map(|it| usize::from(*it))
}

/// The next turn of somebody who may serve.
fn in_turn(table: &[u16], cursor: &AtomicUsize, admits: &impl Fn(usize) -> bool) -> Option<usize> {
    let start = cursor.fetch_add(1, Ordering::Relaxed);
    let (skipped, place) = (0..table.len()).find_map(|step| {
        let turn = start.wrapping_add(step).checked_rem(table.len())?;
        let place = usize::from(*table.get(turn)?);
        admits(place).then_some((step, place))
    })?;
    if 0 < skipped {
        // Whoever is passed over gives its turn to all others alike, not to its neighbour.
        cursor.fetch_add(skipped, Ordering::Relaxed);
    }
    Some(place)
}

/// A number that looks random, always the same for the same one (the finaliser of splitmix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// What makes an address differ from others, the same in every process.
fn salt(address: SocketAddr) -> u64 {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let halves = [bytes >> 64, bytes & u128::from(u64::MAX), u128::from(address.port())];
    halves.into_iter().fold(0, |salt, it| mixed(salt ^ u64::try_from(it).unwrap_or_default()))
}
