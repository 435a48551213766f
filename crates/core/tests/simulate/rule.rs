//! The rule that routes, and rules that are broken on purpose.

use std::sync::Arc;

use tidegate_core::ask::Ask;
use tidegate_core::explain::{Explanation, explain};
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{OnDrain, Policy};
use tidegate_core::route::{Choice, Refusal, route};
use tidegate_core::snapshot::{Region, Snapshot, Verdict};
use tidegate_core::window::{Opening, Window};

/// A way to route. A broken one routes rightly in a world that is not the one it was given.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// What is said of it: one of these stands in the complaint that it leads to.
    pub(crate) noticed_as: &'static [&'static str],
    bend: Option<Bend>,
    /// The window that is shown instead.
    pane: Option<Pane>,
    explains_honestly: bool,
}

type Pane = fn(Window) -> Window;
type Bend = fn(&mut Policy, &mut [Region], &mut Ask<'_>);

/// The rule as it is.
pub(crate) const HONEST: Rule =
    Rule { name: "honest", noticed_as: &[], bend: None, pane: None, explains_honestly: true };

const fn broken(name: &'static str, noticed_as: &'static [&'static str], bend: Bend) -> Rule {
    Rule { name, noticed_as, bend: Some(bend), pane: None, explains_honestly: false }
}

const fn tinted(name: &'static str, noticed_as: &'static [&'static str], pane: Pane) -> Rule {
    Rule { name, noticed_as, bend: None, pane: Some(pane), explains_honestly: true }
}

/// What is said of a region that is not fit for what it was chosen for.
const UNFIT: [&str; 3] = ["does not match", "does not answer", "has nobody to serve"];

/// Rules that a simulation must not let pass.
pub(crate) const MUTANTS: [Rule; 16] = [
    broken("a mismatched region counts as green", &UNFIT, |_, regions, _| {
        retitle(regions, Verdict::Mismatched, Verdict::Green);
    }),
    broken("an unknown region counts as green", &UNFIT, |_, regions, _| {
        retitle(regions, Verdict::Unknown, Verdict::Green);
    }),
    broken("a dark region counts as green", &UNFIT, |_, regions, _| {
        retitle(regions, Verdict::Dark, Verdict::Green);
    }),
    broken("a mixed region counts as green", &UNFIT, |_, regions, _| {
        retitle(regions, Verdict::Mixed, Verdict::Green);
    }),
    broken("a degraded region counts as dark", &["refused", "is held"], |_, regions, _| {
        retitle(regions, Verdict::Degraded, Verdict::Dark);
    }),
    broken("drains are ignored", &["is drained"], |_, regions, _| {
        for region in regions {
            region.drained = false;
        }
    }),
    broken("holds are ignored", &["is held"], |_, regions, _| {
        for region in regions {
            region.held = None;
        }
    }),
    broken("residency is ignored", &["outside"], |policy, _, _| {
        policy.routes.iter_mut().for_each(|it| it.residency = RegionSet::ALL);
    }),
    broken("what was tried is ignored", &["was tried"], |_, _, ask| ask.tried = RegionSet::EMPTY),
    broken("sessions are ignored", &["session"], |_, _, ask| ask.session = None),
    broken("sessions always stay", &["is drained"], |policy, _, _| {
        policy.sticky.on_drain = OnDrain::Stay;
    }),
    broken("the farthest region is the nearest", &["nearest"], |policy, _, _| {
        policy.regions.iter_mut().for_each(|it| it.distance = u32::MAX - it.distance);
    }),
    Rule {
        name: "the explanation is another one",
        noticed_as: &["explain"],
        bend: Some(|_, regions, _| regions.iter_mut().for_each(|it| it.drained = true)),
        pane: None,
        explains_honestly: true,
    },
    tinted("losses open no window", &["the window is shut"], |window| match window {
        Window::Open(opening) if opening.cause.word() == "loss" => Window::Shut,
        other @ (Window::Shut | Window::Open(_)) => other,
    }),
    tinted("drains open no window", &["the window is shut"], |window| match window {
        Window::Open(opening) if opening.cause.word() == "drain" => Window::Shut,
        other @ (Window::Shut | Window::Open(_)) => other,
    }),
    tinted("the window ends when it began", &["the window ends"], |window| match window {
        Window::Open(it) => Window::Open(Opening { until: Some(it.since), ..it }),
        Window::Shut => Window::Shut,
    }),
];

fn retitle(regions: &mut [Region], from: Verdict, to: Verdict) {
    for region in regions {
        let endpoints = region.endpoints.iter_mut().map(|it| &mut it.verdict);
        for verdict in endpoints.chain([&mut region.verdict]).filter(|it| **it == from) {
            *verdict = to;
        }
    }
}

impl Rule {
    pub(crate) fn route(&self, snapshot: &Snapshot, ask: &Ask<'_>) -> Result<Choice, Refusal> {
        match self.bend {
            None => route(snapshot, ask),
            Some(bend) => bent(bend, snapshot, ask, route),
        }
    }

    pub(crate) fn window(&self, snapshot: &Snapshot) -> Window {
        let window = snapshot.window.clone();
        self.pane.map_or_else(|| window.clone(), |pane| pane(window.clone()))
    }

    pub(crate) fn explain(&self, snapshot: &Snapshot, ask: &Ask<'_>) -> Explanation {
        match self.bend.filter(|_| !self.explains_honestly) {
            None => explain(snapshot, ask),
            Some(bend) => bent(bend, snapshot, ask, explain),
        }
    }
}

fn bent<T>(
    bend: Bend,
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    decide: impl Fn(&Snapshot, &Ask<'_>) -> T,
) -> T {
    let mut policy = Policy::clone(&snapshot.policy);
    let mut regions = snapshot.regions.clone();
    let mut ask = *ask;
    bend(&mut policy, &mut regions, &mut ask);
    decide(&Snapshot::new(snapshot.generation, Arc::new(policy), regions), &ask)
}
