//! The failover window on the board: how regions stand, and what the operator empties.

use crate::drain::{Cause, Drain};
use crate::id::Name;
use crate::moment::Moment;
use crate::window::{self, Scene, Standing};

use super::region::RegionState;
use super::{Board, Effect};

impl Board {
    /// Draws what follows for the window, from what the same event has done to everything else: no
    /// snapshot shows a region without its traffic and a window that is still shut.
    pub(super) fn settle_window(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let scene = Scene {
            standings: self
                .regions
                .iter()
                .map(|it| (Name::clone(&it.name), it.standing()))
                .collect(),
            drains: self.regions.iter().flat_map(RegionState::emptied).collect(),
            length: self.policy.fence.as_ref().map(|it| it.failover_window),
        };
        effects.extend(self.window.settle(now, &scene).map(Effect::WindowTurned));
        let picture = self.window.picture(&scene);
        if picture != self.shown_window {
            self.shown_window = picture;
            self.changed = true;
        }
    }
}

impl RegionState {
    /// How much of its traffic it takes.
    fn standing(&self) -> Standing {
        let is_left =
            || self.endpoints.iter().any(|it| !it.drained && it.health.verdict.is_routable());
        let is_whole = || self.endpoints.iter().all(|it| !it.drained);
        match () {
            () if !self.serves || self.drained || !(is_whole() || is_left()) => Standing::Out,
            () if self.held.is_some() => Standing::LastResort,
            () if !self.verdict.is_preferred() => Standing::Behind,
            () => Standing::Full,
        }
    }

    /// What of it the operator takes out and is not empty yet.
    fn emptied(&self) -> impl Iterator<Item = window::Cause> {
        let is_emptied = |drain: &Option<Drain>| {
            drain.is_some_and(|it| it.cause == Cause::Operator && !it.is_drained())
        };
        let whole = is_emptied(&self.drain).then_some(None);
        let parts = self.endpoints.iter().filter(move |it| is_emptied(&it.drain));
        let all = whole.into_iter().chain(parts.map(|it| Some(it.address)));
        all.map(|endpoint| window::Cause::Drain { region: Name::clone(&self.name), endpoint })
    }
}
