//! The truth: what every endpoint really is, whatever the board believes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Moment;
use tidegate_core::contract::{Accepts, Contract, Found, Key, Report, STANDARD_KEYS, Weight};
use tidegate_core::ejection::Tally;
use tidegate_core::health::ProbeFailure;
use tidegate_core::policy::Policy;

use crate::contract::differences;
use crate::dice::{METRIC, NAMES, millis, once_in, pick};
use crate::sample;

/// One endpoint as it is.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) is_up: bool,
    pub(crate) is_ready: bool,
    /// What it says at each key that anybody may read, by the key's name.
    pub(crate) says: BTreeMap<&'static str, Found>,
    pub(crate) release: Option<&'static str>,
    /// How long one of its answers takes.
    pub(crate) took: Duration,
    /// Until when nobody comes to probe it.
    pub(crate) unprobed_until: Moment,
    pub(crate) tally: Tally,
    /// When it last was up and matched the contract of that time, or differed in its shadow.
    pub(crate) last_good: Option<Moment>,
}

/// Every endpoint that could ever be listed.
#[derive(Debug)]
pub(crate) struct Town(BTreeMap<SocketAddr, House>);

impl Town {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut houses = BTreeMap::new();
        for region in (0..).zip(NAMES).map(|(place, _)| place) {
            let took = millis(rng, 2, 60);
            let index = pick(rng, &["a1", "a1", "b2"]);
            for place in 0..5 {
                houses.insert(sample::address(region, place), House::new(index, took));
            }
        }
        Self(houses)
    }

    pub(crate) fn house(&mut self, address: SocketAddr) -> &mut House {
        self.0.get_mut(&address).expect("every address has its house")
    }

    pub(crate) fn look(&self, address: SocketAddr) -> &House {
        self.0.get(&address).expect("every address has its house")
    }

    /// Notes who is good at this moment.
    pub(crate) fn mark(&mut self, now: Moment, policy: &Policy) {
        for house in self.0.values_mut() {
            if house.is_good(policy, now) {
                house.last_good = Some(now);
            }
        }
    }

    /// Puts everybody in order, as the policy demands it.
    pub(crate) fn heal(&mut self, policy: &Policy) {
        for house in self.0.values_mut() {
            (house.is_up, house.is_ready, house.unprobed_until) = (true, true, Moment(0));
            house.release = Some("r1");
            house.says = says("a1");
            for key in &policy.contract.keys {
                let Some(expect) = &key.expect else { continue };
                let right = match &expect.accepts {
                    Accepts::Exactly(value) | Accepts::Either { new: value, .. } => value.clone(),
                    Accepts::Agreed => continue,
                };
                if let Some(said) = house.says.get_mut(&*key.name) {
                    *said = Found::Value(right);
                }
            }
        }
    }
}

impl House {
    fn new(index: &'static str, took: Duration) -> Self {
        Self {
            is_up: true,
            is_ready: true,
            says: says(index),
            release: Some("r1"),
            took,
            unprobed_until: Moment(0),
            tally: Tally::default(),
            last_good: None,
        }
    }

    /// What it says at a key; nothing at one that it has never heard of.
    fn says(&self, key: &Key) -> Found {
        self.says.get(&*key.name).cloned().unwrap_or_default()
    }

    fn is_good(&self, policy: &Policy, now: Moment) -> bool {
        let matches = || {
            let differs = differences(&policy.contract, |key| self.says(key), now);
            differs.iter().all(|(_, weight)| *weight != Weight::Veto)
        };
        self.is_up && self.is_ready && (policy.probing.shadow || matches())
    }

    /// What comes of a probe that begins now.
    pub(crate) fn answer(
        &self,
        rng: &mut Rng,
        contract: &Contract,
    ) -> Result<Report, ProbeFailure> {
        if !self.is_up {
            let failures =
                [ProbeFailure::Connect, ProbeFailure::Timeout, ProbeFailure::Status(503)];
            return Err(pick(rng, &failures));
        }
        Ok(Report {
            found: contract.keys.iter().map(|key| self.says(key)).collect(),
            release_id: self.release.map(Into::into),
            ready: (!self.is_ready || once_in(rng, 2)).then_some(self.is_ready),
            ..Report::default()
        })
    }

    /// Counts some requests, which went as the house is.
    pub(crate) fn serve(&mut self, rng: &mut Rng, is_broken: bool) -> Tally {
        let count = rng.u64(0..10) + if is_broken { 20 } else { 0 };
        if self.is_up {
            self.tally.connected += u64::from(rng.bool());
            self.tally.answered += count;
            self.tally.failed += if is_broken { count } else { rng.u64(0..=count / 4) };
            let slow = if once_in(rng, 4) { 10 } else { 1 };
            self.tally.first_byte_us += count * slow * rng.u64(5_000..6_000);
        } else {
            self.tally.unconnected += count;
        }
        self.tally
    }
}

fn says(index: &'static str) -> BTreeMap<&'static str, Found> {
    let values = ["s1", index, "m1", "k1"];
    let mut says: BTreeMap<_, _> = STANDARD_KEYS.into_iter().zip(values).collect();
    says.insert(METRIC, "cosine");
    says.into_iter().map(|(name, value)| (name, Found::Value(value.into()))).collect()
}
