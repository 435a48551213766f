//! From the file format to the model: every default filled in, every reference followed, every
//! bound checked.
//!
//! Each part gathers its flaws and goes on with some value in place of the wrong one. What comes
//! out is a policy only if there was no flaw.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_core::id::Name;
use tidegate_core::policy::{HashKey, Policy};

use crate::flaws::{Flaw, Flaws};
use crate::names;
use crate::place::Place;
use crate::units::{self, UnitError};
use crate::yaml;

mod contract;
mod doors;
mod fence;
mod fenced;
mod gates;
mod ownership;
mod regions;
mod routes;
mod rules;
mod sticky;

pub(crate) use regions::endpoint_address;

/// The policy that a file means, unless something is wrong with it.
pub(crate) fn lower(file: &yaml::File, folder: &Path, flaws: &Flaws) -> Policy {
    let lowering = Lowering { flaws, folder };
    let root = Place::Root;
    let regions = lowering.regions(file);
    let residencies = lowering.residencies(&file.residency, &regions);
    let contract = &file.contract;
    let probing = lowering.probing(contract);
    Policy {
        site: lowering.site(file.site.as_deref()),
        listeners: lowering.listeners(&file.listeners),
        admin: lowering.admin(&file.admin, &file.listeners),
        threads: lowering.whole(&root.key("threads"), file.threads, 1..=1024),
        access_log: file.access_log,
        contract: lowering.contract(contract),
        ejection: lowering.ejection(file.ejection.as_ref()),
        failback: lowering.failback(&file.failback),
        measuring: lowering.measuring(&file.measured),
        releases: lowering.releases(&file.releases),
        routes: lowering.routes(file, &residencies),
        pins_from: lowering.pins_from(file.pins_from.as_deref()),
        trusted_peers: lowering.trusted_peers(file.trusted_peers.as_deref()),
        retries: lowering.retries(&file.retries),
        sticky: lowering.sticky(&file.sticky),
        drain: lowering.drain(&file.drain),
        stop: lowering.stop(&file.stop),
        watch: lowering.watch(&file.watch),
        fence: lowering.fence(file.fence.as_ref()),
        gates: lowering.gates(file, &probing),
        probing,
        ownership: lowering.ownership(file),
        regions,
    }
}

/// What every part needs.
#[derive(Clone, Copy)]
struct Lowering<'a> {
    flaws: &'a Flaws,
    folder: &'a Path,
}

impl Lowering<'_> {
    /// Tells that the value at a place is wrong.
    fn wrong(&self, place: &Place<'_>, message: impl Into<String>, help: impl Into<String>) {
        self.flaws.push(Flaw::value(place, message).help(help));
    }

    /// Keeps a value with a unit, or tells what is wrong with it.
    fn unit<T: Default>(&self, place: &Place<'_>, read: Result<T, UnitError>) -> T {
        read.unwrap_or_else(|error| {
            self.flaws.push(Flaw::value(place, error.to_string()).maybe_help(error.help()));
            T::default()
        })
    }

    /// A duration, which may be zero.
    fn duration(&self, place: &Place<'_>, text: &yaml::DurationText) -> Duration {
        self.unit(place, units::duration(&text.0))
    }

    /// A duration that makes no sense when it is zero.
    fn time(&self, place: &Place<'_>, text: &str) -> Duration {
        let read = units::duration(text);
        if read == Ok(Duration::ZERO) {
            self.wrong(place, "must be longer than zero", "write a time such as `10s`");
        }
        self.unit(place, read)
    }

    /// A share in percent, within bounds.
    fn percent<T: TryFrom<u64> + Default>(
        &self,
        place: &Place<'_>,
        text: &yaml::PercentText,
        range: RangeInclusive<u64>,
    ) -> T {
        match units::percent(&text.0) {
            Ok(percent) if !range.contains(&percent) => {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{percent}%` is out of bounds");
                self.wrong(place, message, format!("write a share from {low}% to {high}%"));
                T::default()
            }
            Ok(percent) => T::try_from(percent).unwrap_or_default(),
            Err(error) => self.unit(place, Err(error)),
        }
    }

    /// A whole number within bounds.
    fn whole<T: TryFrom<u64> + Default>(
        &self,
        place: &Place<'_>,
        value: u64,
        range: RangeInclusive<u64>,
    ) -> T {
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            let help = format!("write a number from {low} to {high}");
            self.wrong(place, format!("{value} is out of bounds"), help);
        }
        T::try_from(value).unwrap_or_default()
    }

    /// An address with a port that others can find.
    fn address(&self, place: &Place<'_>, text: &yaml::AddressText) -> Option<SocketAddr> {
        let read = address(&text.0);
        read.map_err(|(message, help)| self.wrong(place, message, help)).ok()
    }

    /// Addresses and networks.
    fn networks(&self, place: &Place<'_>, texts: &[String]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let read = text.parse::<IpNet>().ok();
            let read = read.or_else(|| text.parse::<IpAddr>().map(IpNet::from).ok());
            match read {
                Some(network) => networks.push(network.trunc()),
                None => self.wrong(
                    &place.item(index),
                    format!("`{text}` is neither an address nor a network"),
                    "write `10.0.0.0/8`, `192.0.2.1` or `2001:db8::/32`",
                ),
            }
        }
        networks
    }

    /// The name of a header, in lower case.
    fn header(&self, place: &Place<'_>, name: &str) -> Name {
        if !names::is_token(name) {
            let message = format!("`{name}` cannot be the name of a header");
            self.wrong(place, message, "write a name such as `X-Schema-Rev`");
        }
        name.to_ascii_lowercase().into()
    }

    /// What a client is recognised by.
    fn hash_key(&self, place: &Place<'_>, by: &yaml::HashBy) -> HashKey {
        match by {
            yaml::HashBy::ClientAddress => HashKey::ClientAddress,
            yaml::HashBy::Path => HashKey::Path,
            yaml::HashBy::Header(name) => HashKey::Header(self.header(&place.key("header"), name)),
        }
    }
}

/// An address with a port, or what is wrong with it and what to do.
fn address(text: &str) -> Result<SocketAddr, (String, String)> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            let help = "port 0 is any free port, which nobody could find".to_owned();
            Err((format!("`{text}` has no fixed port"), help))
        }
        Ok(address) => Ok(address),
        Err(_) => {
            let help = "write an IP address and a port, such as `10.0.0.1:8000` or `[::1]:8000`";
            Err((format!("`{text}` is not an address"), help.to_owned()))
        }
    }
}
