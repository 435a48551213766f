//! What may happen to a world, and how it calms down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::board::Event;
use tidegate_core::contract::{Found, STANDARD_KEYS};
use tidegate_core::drain::Cause;
use tidegate_core::id::Name;
use tidegate_core::policy::{EndpointSource, Policy};

use crate::dice::{self, METRIC, once_in, pick};
use crate::simulation::Simulation;

impl Simulation<'_> {
    /// Something happens.
    pub(crate) fn happen(&mut self) -> Result<(), String> {
        match self.rng.u8(..24) {
            0..=3 => self.go_down_or_up(),
            4..=6 => self.speak_otherwise(),
            7..=10 => self.roll_out(),
            11 | 12 => return self.drain(),
            13 => return self.release(),
            14..=16 => return self.reload(),
            17 => return self.list_all(),
            18 | 19 => self.fall_silent(),
            20 if once_in(&mut self.rng, 2) => {
                let suspended = self.policy.probing.stale_after * self.rng.u32(1..=2);
                return self.suspend(suspended);
            }
            21 if once_in(&mut self.rng, 4) => return self.ask_for_a_window(),
            _ => return self.count_traffic(),
        }
        Ok(())
    }

    /// Somebody who is probed now.
    fn anybody(&mut self) -> Option<SocketAddr> {
        let addresses: Vec<SocketAddr> = self.targets.values().copied().collect();
        (!addresses.is_empty()).then(|| pick(&mut self.rng, &addresses))
    }

    /// Everybody in the region of somebody who is probed now, or only that one.
    fn some(&mut self) -> Vec<SocketAddr> {
        let Some(one) = self.anybody() else { return Vec::new() };
        if self.rng.bool() {
            return vec![one];
        }
        let regions = self.snapshot.regions.iter();
        let lists = regions.map(|it| it.endpoints.iter().map(|it| it.address).collect::<Vec<_>>());
        lists.into_iter().find(|it| it.contains(&one)).unwrap_or_default()
    }

    fn region(&mut self) -> Name {
        let names: Vec<Name> = self.policy.regions.iter().map(|it| Arc::clone(&it.name)).collect();
        pick(&mut self.rng, &names)
    }

    fn go_down_or_up(&mut self) {
        let is_up = self.rng.bool();
        for address in self.some() {
            self.town.house(address).is_up = is_up;
        }
    }

    /// Somebody is not ready, or says something else, or nothing, or nonsense.
    fn speak_otherwise(&mut self) {
        let key = pick(&mut self.rng, &[STANDARD_KEYS[0], STANDARD_KEYS[1], METRIC]);
        let found = match self.rng.u8(..8) {
            0 => Found::Missing,
            1 => Found::WrongType("array"),
            _ => Found::Value(pick(&mut self.rng, &["a1", "b2", "s1", "s2", "cosine"]).into()),
        };
        let is_ready = !once_in(&mut self.rng, 4);
        for address in self.some() {
            let house = self.town.house(address);
            house.is_ready = is_ready;
            house.says.insert(key, found.clone());
        }
    }

    /// One more endpoint, or a whole region, gets the new release with the new index, or the old.
    fn roll_out(&mut self) {
        let (release, index) = pick(&mut self.rng, &[("r1", "a1"), ("r2", "b2"), ("r2", "a1")]);
        for address in self.some() {
            let house = self.town.house(address);
            house.release = Some(release).filter(|_| !once_in(&mut self.rng, 10));
            house.says.insert(STANDARD_KEYS[1], Found::Value(index.into()));
        }
    }

    fn drain(&mut self) -> Result<(), String> {
        let (region, out) = (self.region(), self.rng.bool());
        if once_in(&mut self.rng, 8) {
            let causes = [None, Some(Cause::Stop), Some(Cause::Upgrade)];
            let cause = pick(&mut self.rng, &causes);
            return self.tell(&Event::Leaving(cause));
        }
        let of_region = self.snapshot.regions.iter().find(|it| it.name == region);
        let addresses = of_region.into_iter().flat_map(|it| &it.endpoints).map(|it| it.address);
        let addresses: Vec<SocketAddr> = addresses.collect();
        let is_one = self.rng.bool() && !addresses.is_empty();
        let endpoint = is_one.then(|| pick(&mut self.rng, &addresses));
        self.tell(&Event::Drained { region, endpoint, out })
    }

    fn ask_for_a_window(&mut self) -> Result<(), String> {
        let reason = pick(&mut self.rng, &["a move", "another move"]).into();
        let open = self.rng.bool();
        self.tell(&Event::WindowAsked { open, reason })
    }

    fn release(&mut self) -> Result<(), String> {
        let region = self.region();
        self.tell(&Event::Released(region))
    }

    /// A new policy: another contract, other numbers, other endpoints, other regions.
    fn reload(&mut self) -> Result<(), String> {
        let mut policy = Policy::clone(&self.policy);
        match self.rng.u8(..6) {
            0 => {}
            1 | 2 => policy.contract = dice::contract(&mut self.rng, self.now),
            3 => dice::numbers(&mut self.rng, &mut policy),
            4 => {
                let place = self.rng.usize(..policy.regions.len());
                let listed = dice::endpoints(&mut self.rng, u8::try_from(place).unwrap_or(0));
                if let Some(region) = policy.regions.get_mut(place) {
                    region.endpoints = EndpointSource::Listed(listed);
                }
            }
            _ => policy = dice::policy(&mut self.rng, self.now),
        }
        self.tell(&Event::Installed(Arc::new(policy)))
    }

    /// Every list that is a file is read, and what it says is mostly new.
    pub(crate) fn list_all(&mut self) -> Result<(), String> {
        let regions = self.policy.regions.iter().zip(0_u8..);
        let files = regions.filter(|(it, _)| matches!(it.endpoints, EndpointSource::File { .. }));
        let files: Vec<_> = files.map(|(it, place)| (Arc::clone(&it.name), place)).collect();
        for (region, place) in files {
            let listed = dice::endpoints(&mut self.rng, place);
            let is_empty = once_in(&mut self.rng, 4);
            let endpoints = if is_empty { Vec::new() } else { listed };
            self.tell(&Event::Listed { region, endpoints })?;
        }
        Ok(())
    }

    /// Nobody probes somebody for longer than any probe counts.
    fn fall_silent(&mut self) {
        let stale_after = self.policy.probing.stale_after;
        let until = self.now.plus(stale_after * self.rng.u32(100..=300) / 100);
        for address in self.some() {
            self.town.house(address).unprobed_until = until;
        }
    }

    /// Everybody counts requests, and for some of them all requests fail.
    fn count_traffic(&mut self) -> Result<(), String> {
        let broken = if self.rng.bool() { self.some() } else { Vec::new() };
        for (endpoint, address) in self.targets.clone() {
            if self.rng.bool() || broken.contains(&address) {
                let is_broken = broken.contains(&address);
                let tally = self.town.house(address).serve(&mut self.rng, is_broken);
                self.tell(&Event::Observed { endpoint, tally })?;
            }
        }
        Ok(())
    }

    /// Everybody gets well, most regions are put back, and those that wait are released or not.
    pub(crate) fn calm_down(&mut self) -> Result<(), String> {
        for (region, place) in self.policy.clone().regions.iter().zip(0_u8..) {
            let name = Arc::clone(&region.name);
            let endpoints = self.snapshot.region(tidegate_core::id::RegionId(place));
            if endpoints.is_some_and(|it| it.endpoints.is_empty()) {
                let endpoints = dice::endpoints(&mut self.rng, place);
                self.tell(&Event::Listed { region: Arc::clone(&name), endpoints })?;
            }
            let drained = self.snapshot.region(tidegate_core::id::RegionId(place));
            let drained = drained.into_iter().flat_map(|it| &it.endpoints).filter(|it| it.drained);
            for address in drained.map(|it| it.address).collect::<Vec<_>>() {
                let (region, endpoint) = (Arc::clone(&name), Some(address));
                self.tell(&Event::Drained { region, endpoint, out: false })?;
            }
            let out = once_in(&mut self.rng, 6);
            self.tell(&Event::Drained { region: Arc::clone(&name), endpoint: None, out })?;
            if self.rng.bool() {
                self.tell(&Event::Released(name))?;
            }
        }
        self.tell(&Event::WindowAsked { open: false, reason: "calm".into() })?;
        let policy = Arc::clone(&self.policy);
        self.town.heal(&policy);
        // A rotation may still be on; what is right after it is right before.
        self.suspend(Duration::ZERO)
    }
}
