//! What effects tell, put together again: it must be what a snapshot shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tidegate_core::board::Effect;
use tidegate_core::id::Name;
use tidegate_core::snapshot::{Held, Snapshot, Verdict};
use tidegate_core::window::Turn;

/// The world as somebody knows it who only hears of effects.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    endpoints: BTreeMap<(Name, SocketAddr), (Verdict, bool)>,
    regions: BTreeMap<Name, (Verdict, Option<Held>)>,
    is_window_open: bool,
}

impl Mirror {
    /// Takes in effects, each of which must change what was known.
    pub(crate) fn follow(&mut self, effects: &[Effect]) -> Result<(), String> {
        effects.iter().try_for_each(|effect| {
            self.take_in(effect)
                .ok_or_else(|| format!("an effect that changes nothing: {effect:?}"))
        })
    }

    fn take_in(&mut self, effect: &Effect) -> Option<()> {
        match effect {
            Effect::EndpointTurned { region, address, from, to, .. } => {
                let (verdict, _) = self.endpoints.get_mut(&(region.clone(), *address))?;
                let before = std::mem::replace(verdict, *to);
                (before == *from && from != to).then_some(())
            }
            Effect::RegionTurned { region, from, to } => {
                let (verdict, _) = self.regions.get_mut(region)?;
                let before = std::mem::replace(verdict, *to);
                (before == *from && from != to).then_some(())
            }
            Effect::RegionHeld { region, held } => {
                let (_, known) = self.regions.get_mut(region)?;
                (std::mem::replace(known, *held) != *held).then_some(())
            }
            Effect::Ejected { region, address } => self.turn_out((region, *address), true),
            Effect::Returned { region, address } => self.turn_out((region, *address), false),
            Effect::WindowTurned(turn) => {
                let is_open = matches!(turn, Turn::Opened(_));
                (std::mem::replace(&mut self.is_window_open, is_open) != is_open).then_some(())
            }
            Effect::DrainTurned { .. } | Effect::Close(_) | Effect::Probe(_) => Some(()),
        }
    }

    fn turn_out(&mut self, (region, address): (&Name, SocketAddr), to: bool) -> Option<()> {
        let (_, ejected) = self.endpoints.get_mut(&(region.clone(), address))?;
        (std::mem::replace(ejected, to) != to).then_some(())
    }

    /// Compares with a snapshot. Whoever is new was told of by nobody, and is unknown.
    pub(crate) fn compare(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let (mut endpoints, mut regions) = (BTreeMap::new(), BTreeMap::new());
        for region in &snapshot.regions {
            for endpoint in &region.endpoints {
                let place = (region.name.clone(), endpoint.address);
                endpoints.insert(place, (endpoint.verdict, endpoint.ejected));
            }
            regions.insert(region.name.clone(), (region.verdict, region.held));
        }
        self.endpoints.retain(|place, _| endpoints.contains_key(place));
        self.regions.retain(|name, _| regions.contains_key(name));
        for place in endpoints.keys() {
            self.endpoints.entry(place.clone()).or_default();
        }
        for name in regions.keys() {
            self.regions.entry(name.clone()).or_default();
        }
        let is_open = snapshot.window.is_open();
        if self.endpoints == endpoints && self.regions == regions && self.is_window_open == is_open
        {
            return Ok(());
        }
        Err(format!("effects told {self:?}, and it is {endpoints:?} and {regions:?}"))
    }
}
