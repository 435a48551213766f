//! Lowers the regions, their endpoints, and the residency rules that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tidegate_core::id::{ENDPOINTS_PER_REGION_MAX, Name, REGIONS_MAX, RegionId, RegionSet};
use tidegate_core::policy::{
    Balance, EndpointAddress, EndpointSource, Protocol, RegionPolicy, WEIGHT_MAX,
};

use super::{Lowering, address};
use crate::absent;
use crate::flaws::Flaw;
use crate::names;
use crate::place::Place;
use crate::yaml::{self, Endpoint, Endpoints, Entries};

/// The regions of each residency rule, by its name.
pub(super) type Residencies = BTreeMap<Name, RegionSet>;

impl Lowering<'_> {
    pub(super) fn regions(&self, file: &yaml::File) -> Vec<RegionPolicy> {
        let root = Place::Root;
        let place = root.key("regions");
        let count = file.regions.0.len();
        if count == 0 || count > REGIONS_MAX {
            let message = format!("there are {count} regions");
            self.flaws.push(Flaw::key(&place, message).help(format!("name 1 to {REGIONS_MAX}")));
        }
        let balance = self.balance(&root.key("balance"), &file.balance);
        let slow_start = self.duration(&root.key("slow_start"), &file.slow_start);
        let lower = |(name, region): &(String, yaml::Region)| {
            let place = place.key(name);
            self.region_name(&place, name);
            let own_balance = region.balance.as_ref();
            let own_slow_start = region.slow_start.as_ref();
            RegionPolicy {
                name: name.as_str().into(),
                distance: self.whole(&place.key("distance"), region.distance, 0..=u32::MAX.into()),
                capacity: region
                    .capacity
                    .map(|it| self.whole(&place.key("capacity"), it, 1..=u32::MAX.into())),
                endpoints: self.endpoints(&place.key("endpoints"), &region.endpoints),
                protocol: match region.protocol {
                    yaml::Protocol::Http1 => Protocol::Http1,
                    yaml::Protocol::H2c => Protocol::H2c,
                },
                balance: own_balance
                    .map_or_else(|| balance.clone(), |it| self.balance(&place.key("balance"), it)),
                slow_start: own_slow_start
                    .map_or(slow_start, |it| self.duration(&place.key("slow_start"), it)),
                green_share_percent: self.percent(
                    &place.key("green_share"),
                    &region.green_share,
                    1..=100,
                ),
            }
        };
        file.regions.0.iter().map(lower).collect()
    }

    fn region_name(&self, place: &Place<'_>, name: &str) {
        if !names::is_region(name) {
            let flaw = Flaw::field(place, format!("`{name}` cannot be the name of a region"));
            let max = names::NAME_BYTES_MAX;
            let help = format!("use lower-case letters, digits and `-`, at most {max} of them");
            self.flaws.push(flaw.help(help));
        }
    }

    fn balance(&self, place: &Place<'_>, balance: &yaml::Balance) -> Balance {
        match balance {
            yaml::Balance::RoundRobin => Balance::RoundRobin,
            yaml::Balance::LeastRequests => Balance::LeastRequests,
            yaml::Balance::PeakEwma => Balance::PeakEwma,
            yaml::Balance::Hash(hash) => {
                let place = place.key("hash");
                Balance::Hash {
                    by: self.hash_key(&place.key("by"), &hash.by),
                    bound_percent: self.percent(&place.key("bound"), &hash.bound, 101..=10_000),
                }
            }
        }
    }

    fn endpoints(&self, place: &Place<'_>, endpoints: &Endpoints) -> EndpointSource {
        match endpoints {
            Endpoints::File(source) => {
                if source.file.is_empty() {
                    self.wrong(&place.key("file"), "there is no file name", "write a path");
                }
                EndpointSource::File {
                    path: self.folder.join(&source.file),
                    every: self.time(&place.key("every"), &source.every.0),
                }
            }
            Endpoints::Listed(listed) => {
                if listed.is_empty() || listed.len() > ENDPOINTS_PER_REGION_MAX {
                    let message = format!("there are {} endpoints", listed.len());
                    self.wrong(place, message, format!("list 1 to {ENDPOINTS_PER_REGION_MAX}"));
                }
                EndpointSource::Listed(self.listed(place, listed))
            }
        }
    }

    fn listed(&self, place: &Place<'_>, listed: &[Endpoint]) -> Vec<EndpointAddress> {
        let mut addresses: Vec<EndpointAddress> = Vec::new();
        let mut seen: BTreeSet<SocketAddr> = BTreeSet::new();
        for (index, endpoint) in listed.iter().enumerate() {
            let item = place.item(index);
            let key = item.key("address");
            let (at, text, weight) = match endpoint {
                Endpoint::Plain(text) => (&item, text, 1),
                Endpoint::Weighted(it) => (
                    &key,
                    &it.address,
                    self.whole(&item.key("weight"), it.weight, 1..=WEIGHT_MAX.into()),
                ),
            };
            let Some(address) = self.address(at, text) else { continue };
            if address.ip().is_unspecified() {
                let help = "write the address at which the endpoint is reached";
                self.wrong(at, format!("`{address}` is no address of an endpoint"), help);
            }
            if !seen.insert(address) {
                let help = "remove one of the two, or use a weight";
                self.wrong(at, format!("`{address}` is listed twice in this region"), help);
            }
            addresses.push(EndpointAddress { address, weight });
        }
        addresses
    }

    pub(super) fn residencies(
        &self,
        residency: &Entries<Vec<String>>,
        regions: &[RegionPolicy],
    ) -> Residencies {
        let root = Place::Root;
        let place = root.key("residency");
        let known: Vec<&str> = regions.iter().map(|it| &*it.name).collect();
        let ids: BTreeMap<&str, RegionId> =
            known.iter().copied().zip((0..=u8::MAX).map(RegionId)).collect();
        let mut residencies = Residencies::new();
        for (name, members) in &residency.0 {
            let place = place.key(name);
            if !names::is_label(name) {
                let flaw = Flaw::field(&place, format!("`{name}` cannot be the name of a rule"));
                self.flaws.push(flaw.help("use letters, digits, `_`, `.` and `-`"));
            }
            if members.is_empty() {
                self.wrong(&place, "no region is left", "name at least one region");
            }
            let mut set = RegionSet::EMPTY;
            for (index, member) in members.iter().enumerate() {
                match ids.get(member.as_str()) {
                    Some(region) => set.insert(*region),
                    None => self.unknown(&place.item(index), "region", member, &known),
                }
            }
            residencies.insert(name.as_str().into(), set);
        }
        residencies
    }

    /// Tells that a reference points at nothing, and what it may have meant.
    pub(super) fn unknown(&self, place: &Place<'_>, what: &str, name: &str, known: &[&str]) {
        let help = match (absent::nearest(name, known), known) {
            (Some(nearest), _) => format!("did you mean `{nearest}`?"),
            (None, []) => format!("this policy has no {what}"),
            (None, _) => {
                let quoted: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
                format!("this policy has {}", quoted.join(", "))
            }
        };
        self.wrong(place, format!("there is no {what} `{name}`"), help);
    }
}

/// One line of an endpoints file, without its comment: an address and perhaps a weight.
pub(crate) fn endpoint_address(line: &str) -> Result<EndpointAddress, (String, String)> {
    let mut words = line.split_whitespace();
    let address = address(words.next().unwrap_or_default())?;
    let weight = words.next().map_or(Ok(1), |word| {
        let weight = word.parse::<u16>().ok().filter(|it| (1..=WEIGHT_MAX).contains(it));
        weight.ok_or_else(|| {
            let help = format!("write a number from 1 to {WEIGHT_MAX}");
            (format!("`{word}` is not a weight"), help)
        })
    })?;
    match words.next() {
        Some(word) => {
            let help = "one line holds an address and perhaps a weight".to_owned();
            Err((format!("`{word}` is one word too many"), help))
        }
        None => Ok(EndpointAddress { address, weight }),
    }
}
