//! What the board keeps of one region, and the conclusions that it draws from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{Contract, Found};
use crate::distance::Distance;
use crate::drain::{Cause, Drain, Reading};
use crate::ejection::{Ejection, Tally};
use crate::health::Health;
use crate::hold::Hold;
use crate::id::{ENDPOINTS_PER_REGION_MAX, EndpointId, KeyId, KeySet, Name};
use crate::moment::Moment;
use crate::policy::{EndpointAddress, Policy, RegionPolicy};
use crate::snapshot::{Endpoint, Held, Region, Verdict};

use super::{Effect, Target};

/// Steps in which slow start raises a share; few, because each is a new world.
const SLOW_START_STEPS: u32 = 10;

#[derive(Debug)]
pub(super) struct RegionState {
    pub(super) name: Name,
    pub(super) endpoints: Vec<EndpointState>,
    pub(super) drained: bool,
    pub(super) drain: Option<Drain>,
    pub(super) hold: Hold,
    pub(super) distance: Distance,
    pub(super) verdict: Verdict,
    pub(super) since: Moment,
    pub(super) disputed: KeySet,
    pub(super) held: Option<Held>,
    pub(super) measured_us: Option<u64>,
    /// Whether it serves requests without demands of their own.
    pub(super) serves: bool,
    /// Whether it ever did.
    pub(super) has_served: bool,
}

#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) id: EndpointId,
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
    pub(super) health: Health,
    pub(super) ejection: Ejection,
    pub(super) tally: Tally,
    /// Whether the operator takes it out.
    pub(super) drained: bool,
    pub(super) drain: Option<Drain>,
    /// What the ledger said of it last.
    pub(super) reading: Reading,
    /// Its last probe, if that found it routable.
    pub(super) proven: Option<Moment>,
    /// Since when it is routable, whatever it differs on.
    pub(super) serving: Option<Moment>,
    pub(super) share: u32,
    /// Whether it was ever routable.
    pub(super) has_served: bool,
}

impl EndpointState {
    pub(super) fn unknown(now: Moment, id: EndpointId, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            weight: 1,
            health: Health::unknown(now),
            ejection: Ejection::default(),
            tally: Tally::default(),
            drained: false,
            drain: None,
            reading: Reading::default(),
            proven: None,
            serving: None,
            share: 0,
            has_served: false,
        }
    }

    pub(super) fn turned(&self, region: &Name, from: Verdict) -> Effect {
        Effect::EndpointTurned {
            region: Arc::clone(region),
            address: self.address,
            from,
            to: self.health.verdict,
            mismatches: Arc::clone(&self.health.mismatches),
            failure: self.health.failure,
        }
    }

    /// Why it is to be emptied, if it is. Whoever never served has nothing to empty.
    pub(super) fn why_empty(&self) -> Option<Cause> {
        if self.drained {
            return Some(Cause::Operator);
        }
        let verdict = self.health.verdict;
        (self.has_served && !verdict.is_routable()).then(|| Cause::of(verdict))
    }

    /// Its share at this moment: full, or a step on the way there; answers whether it changed.
    fn settle_share(&mut self, now: Moment, slow_start: Duration) -> bool {
        let full = u32::from(self.weight) * 100;
        let is_serving = self.health.verdict.is_routable();
        self.serving = is_serving.then(|| self.serving.unwrap_or(now));
        self.has_served |= is_serving;
        let running = now.since(self.serving.unwrap_or_default());
        let share = if is_serving && running < slow_start {
            let passed = running.as_millis() * u128::from(SLOW_START_STEPS);
            let step = passed.checked_div(slow_start.as_millis()).unwrap_or_default() + 1;
            full / SLOW_START_STEPS * u32::try_from(step).unwrap_or(SLOW_START_STEPS)
        } else {
            full
        };
        std::mem::replace(&mut self.share, share) != share
    }
}

impl RegionState {
    pub(super) fn unknown(now: Moment, name: &Name) -> Self {
        Self {
            name: Arc::clone(name),
            endpoints: Vec::new(),
            drained: false,
            drain: None,
            hold: Hold::default(),
            distance: Distance::default(),
            verdict: Verdict::Unknown,
            since: now,
            disputed: KeySet::EMPTY,
            held: None,
            measured_us: None,
            serves: false,
            has_served: false,
        }
    }

    /// Why it is to be emptied, if it is. Whoever never served has nothing to empty.
    pub(super) fn why_empty(&self) -> Option<Cause> {
        if self.drained {
            return Some(Cause::Operator);
        }
        (self.has_served && !self.serves).then(|| Cause::of(self.verdict))
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        self.endpoints.iter().map(|it| Target {
            endpoint: it.id,
            address: it.address,
            region: Arc::clone(&self.name),
        })
    }

    /// Whether these are its endpoints already.
    pub(super) fn lists(&self, endpoints: &[EndpointAddress]) -> bool {
        let own = self.endpoints.iter().map(|it| (it.address, it.weight));
        let listed = endpoints.iter().take(ENDPOINTS_PER_REGION_MAX);
        own.eq(listed.map(|it| (it.address, it.weight)))
    }

    /// Draws the conclusions of this moment; answers whether any that has no effect changed.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        (policy, own): (&Policy, &RegionPolicy),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let measured = self.distance.settle(now, &policy.measuring);
        let disputed = self.disputed(&policy.contract);
        let mut changed = measured != self.measured_us || disputed != self.disputed;
        (self.measured_us, self.disputed) = (measured, disputed);
        for endpoint in &mut self.endpoints {
            changed |= endpoint.settle_share(now, own.slow_start);
            if endpoint.ejection.settle(now, endpoint.proven) {
                let (region, address) = (Arc::clone(&self.name), endpoint.address);
                effects.push(Effect::Returned { region, address });
            }
        }
        let verdict = self.concluded(own.green_share_percent);
        if verdict != self.verdict {
            let from = std::mem::replace(&mut self.verdict, verdict);
            self.since = now;
            let region = Arc::clone(&self.name);
            effects.push(Effect::RegionTurned { region, from, to: verdict });
        }
        self.serves = verdict.is_routable()
            || (verdict == Verdict::Mixed && policy.probing.routes_to_mixed());
        self.has_served |= self.serves;
        self.hold.observe(now, self.serves, &policy.failback);
        let held = self.hold.held(&policy.failback).or_else(|| self.all_ejected());
        if held != self.held {
            self.held = held;
            effects.push(Effect::RegionHeld { region: Arc::clone(&self.name), held });
        }
        changed
    }

    pub(super) fn picture(&self) -> Region {
        Region {
            name: Arc::clone(&self.name),
            verdict: self.verdict,
            since: self.since,
            drained: self.drained,
            held: self.held,
            measured_us: self.measured_us,
            disputed: self.disputed,
            endpoints: self.endpoints.iter().map(picture_of).collect(),
        }
    }

    fn routable(&self) -> impl Iterator<Item = &EndpointState> {
        self.endpoints.iter().filter(|it| it.health.verdict.is_routable())
    }

    fn concluded(&self, green_share_percent: u8) -> Verdict {
        let verdicts = || self.endpoints.iter().map(|it| it.health.verdict);
        let any = |verdict| verdicts().any(|it| it == verdict);
        let routable = self.routable().count();
        let enough = routable.saturating_mul(100)
            >= self.endpoints.len().saturating_mul(green_share_percent.into());
        match () {
            () if routable > 0 && enough && !self.disputed.is_empty() => Verdict::Mixed,
            () if routable > 0 && enough && any(Verdict::Green) => Verdict::Green,
            () if routable > 0 && enough => Verdict::Degraded,
            () if any(Verdict::Mismatched) => Verdict::Mismatched,
            () if any(Verdict::Unknown) || self.endpoints.is_empty() => Verdict::Unknown,
            () => Verdict::Dark,
        }
    }

    /// The keys on which its routable endpoints must agree and do not.
    fn disputed(&self, contract: &Contract) -> KeySet {
        contract.agreed().filter(|key| self.is_disputed(*key)).collect()
    }

    fn is_disputed(&self, key: KeyId) -> bool {
        // Whoever is drained serves nobody, so it may differ: it is about to be changed.
        let agreeing = self.routable().filter(|it| !it.drained);
        let reports = agreeing.filter(|it| it.health.vetoes.is_empty());
        let mut found = reports
            .filter_map(|it| it.health.report.as_ref())
            .map(|report| report.found(key))
            .filter(|found| matches!(found, Found::Value(_)));
        let Some(first) = found.next() else { return false };
        found.any(|it| it != first)
    }

    fn all_ejected(&self) -> Option<Held> {
        let mut routable = self.routable().peekable();
        routable.peek()?;
        routable.all(|it| it.ejection.is_out()).then_some(Held::Ejected)
    }
}

fn picture_of(endpoint: &EndpointState) -> Endpoint {
    let health = &endpoint.health;
    Endpoint {
        id: endpoint.id,
        address: endpoint.address,
        share: endpoint.share,
        verdict: health.verdict,
        since: health.since,
        ejected: endpoint.ejection.is_out(),
        drained: endpoint.drained,
        report: health.report.clone(),
        mismatches: Arc::clone(&health.mismatches),
        vetoes: health.vetoes,
        failure: health.failure,
    }
}
