//! Lowers what the policy says about ownership: the partitions, their homes, and where the partition
//! of a request stands.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::id::{Name, PartitionId, RegionId};
use tidegate_core::partition::pointer;
use tidegate_core::policy::owning::{
    Crossing, Mode, OwnershipRules, PARTITION_BODY_BYTES_MAX, PARTITION_BYTES_MAX, PARTITIONS_MAX,
    PartitionPolicy, PartitionSource, RouteOwnership, TokenRules, TokenSecret,
};
use tidegate_core::sticky::SECRET_BYTES_MIN;

use super::Lowering;
use crate::flaws::Flaw;
use crate::place::Place;
use crate::units;
use crate::yaml::{self, OwnershipMode};

/// Bounds of a lease.
const LEASE_MIN: Duration = Duration::from_secs(2);
const LEASE_MAX: Duration = Duration::from_mins(5);
/// Deepest segment of a path.
const SEGMENT_MAX: u64 = 32;
/// Most secrets that a token may be signed with.
const SECRETS_MAX: usize = 8;
/// What the names of partitions begin with that share the rest.
const REST: &str = "rest@";
/// The one partition, where there is only one.
const ONLY: &str = "all";

const STORE_HELP: &str = "who owns what is kept there: add `fence: { store: { embedded: { path: \
                          /var/lib/tidegate/fence.db } } }`, or a Redis for several balancers";
const OWNERSHIP_HELP: &str = "add `ownership: { mode: active_active, partitions: { map: { tenant-a: \
                              eu-west-1 }, rest: { hash: [us-east-1, eu-west-1] } } }`";

impl Lowering<'_> {
    pub(super) fn ownership(&self, file: &yaml::File) -> Option<OwnershipRules> {
        let ownership = file.ownership.as_ref()?;
        let root = Place::Root;
        let place = root.key("ownership");
        if file.fence.is_none() {
            let flaw = Flaw::key(&place, "there is no `fence`, and so no store of ownership");
            self.flaws.push(flaw.help(STORE_HELP));
        }
        let mut rules = OwnershipRules {
            mode: mode(ownership.mode),
            version: self.whole(&place.key("version"), ownership.version, 1..=u32::MAX.into()),
            partitions: Vec::new(),
            named: Vec::new(),
            rest: Vec::new(),
            lease: self.lease(&place.key("lease"), &ownership.lease),
        };
        match ownership.mode {
            OwnershipMode::ActivePassive => self.primary(&place, ownership, file, &mut rules),
            OwnershipMode::ActiveActive | OwnershipMode::GeoPartitioned => {
                self.partitions(&place, ownership, file, &mut rules);
            }
        }
        Some(rules)
    }

    fn lease(&self, place: &Place<'_>, text: &yaml::DurationText) -> Duration {
        let lease = self.time(place, &text.0);
        let is_read = units::duration(&text.0).is_ok_and(|it| !it.is_zero());
        if is_read && !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
            let (low, high) = (units::written(&LEASE_MIN), units::written(&LEASE_MAX));
            let help = format!("write a time from `{low}` to `{high}`");
            self.wrong(place, format!("`{}` is out of bounds", text.0), help);
        }
        lease
    }

    fn primary(
        &self,
        place: &Place<'_>,
        ownership: &yaml::Ownership,
        file: &yaml::File,
        rules: &mut OwnershipRules,
    ) {
        if ownership.partitions.is_some() {
            let flaw = Flaw::key(&place.key("partitions"), "one region takes all writes");
            self.flaws.push(flaw.help("remove `partitions`, or write `mode: active_active`"));
        }
        let Some(primary) = &ownership.primary else {
            let flaw = Flaw::key(&place.key("mode"), "`primary` is missing");
            self.flaws
                .push(flaw.help("name the region that takes all writes: `primary: us-east-1`"));
            return;
        };
        let home = self.region_of(&place.key("primary"), primary, file);
        rules.partitions.push(PartitionPolicy { name: ONLY.into(), home });
        rules.rest.push(PartitionId(0));
    }

    fn partitions(
        &self,
        place: &Place<'_>,
        ownership: &yaml::Ownership,
        file: &yaml::File,
        rules: &mut OwnershipRules,
    ) {
        if ownership.primary.is_some() {
            let flaw = Flaw::key(&place.key("primary"), "each partition has an owner of its own");
            self.flaws.push(flaw.help("remove `primary`, or write `mode: active_passive`"));
        }
        let Some(partitions) = &ownership.partitions else {
            let flaw = Flaw::key(&place.key("mode"), "`partitions` is missing");
            self.flaws.push(flaw.help(OWNERSHIP_HELP));
            return;
        };
        let place = place.key("partitions");
        let map = place.key("map");
        for (value, region) in &partitions.map.0 {
            let item = map.key(value);
            self.partition_name(&item, value);
            let home = self.region_of(&item, region, file);
            if let Some(id) = add(rules, value.as_str().into(), home) {
                rules.named.push((value.as_str().into(), id));
            }
        }
        rules.named.sort();
        let rest = place.key("rest");
        let hash = rest.key("hash");
        let shared = partitions.rest.as_ref().map(|it| &*it.hash).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for (index, region) in shared.iter().enumerate() {
            let item = hash.item(index);
            let home = self.region_of(&item, region, file);
            if !seen.insert(region) {
                self.wrong(&item, format!("`{region}` is listed twice"), "remove one");
            }
            if let Some(id) = add(rules, format!("{REST}{region}").into(), home) {
                rules.rest.push(id);
            }
        }
        let count = partitions.map.0.len() + shared.len();
        if count == 0 || PARTITIONS_MAX < count {
            let message = format!("there are {count} partitions");
            let help = format!("name 1 to {PARTITIONS_MAX}, in `map` or in `rest`");
            self.flaws.push(Flaw::key(&place, message).help(help));
        }
        if file.routes.iter().all(|it| it.partition.is_none()) {
            let flaw = Flaw::key(&place, "no route says where the partition of a request stands");
            self.flaws.push(flaw.help("add `partition: { header: X-Tenant }` to the routes"));
        }
    }

    fn partition_name(&self, place: &Place<'_>, value: &str) {
        let is_plain = |it: char| !it.is_control();
        let fits = (1..=PARTITION_BYTES_MAX).contains(&value.len()) && value.chars().all(is_plain);
        if !fits || value.starts_with(REST) {
            let message = format!("`{value}` cannot be the value of a partition");
            let help =
                format!("write 1 to {PARTITION_BYTES_MAX} bytes, not beginning with `{REST}`");
            self.flaws.push(Flaw::key(place, message).help(help));
        }
    }

    fn region_of(&self, place: &Place<'_>, name: &str, file: &yaml::File) -> RegionId {
        let found = file.regions.0.iter().position(|(it, _)| it == name);
        let found = found.and_then(|it| u8::try_from(it).ok());
        found.map_or_else(
            || {
                let known: Vec<&str> = file.regions.0.iter().map(|(it, _)| it.as_str()).collect();
                self.unknown(place, "region", name, &known);
                RegionId(0)
            },
            RegionId,
        )
    }

    /// How the requests of a route are owned.
    pub(super) fn route_ownership(
        &self,
        place: &Place<'_>,
        route: &yaml::Route,
        file: &yaml::File,
    ) -> Option<RouteOwnership> {
        let of_route = place.key("partition");
        let reads_only = matches!(route.intent, Some(yaml::Intent::Read));
        let mode = file.ownership.as_ref().map(|it| it.mode);
        if let Some(crossing) = &route.crossing {
            self.crossing_fits(&place.key("crossing"), crossing, (mode, route));
        }
        match (mode, &route.partition) {
            (None, Some(_)) => {
                let flaw = Flaw::key(&of_route, "nobody owns partitions");
                self.flaws.push(flaw.help(OWNERSHIP_HELP));
                None
            }
            (Some(OwnershipMode::ActivePassive), Some(_)) => {
                let flaw = Flaw::key(&of_route, "one region takes all writes");
                self.flaws.push(flaw.help("remove `partition`, or write `mode: active_active`"));
                None
            }
            (Some(OwnershipMode::ActivePassive), None) => (!reads_only)
                .then_some(RouteOwnership { source: PartitionSource::Only, crossing: None }),
            (Some(OwnershipMode::ActiveActive), Some(_)) if reads_only => {
                let flaw = Flaw::key(&of_route, "the route only reads, and reads go anywhere");
                let help = "remove `partition`, or write `mode: geo_partitioned`";
                self.flaws.push(flaw.help(help));
                None
            }
            (Some(mode), Some(partition)) => {
                let source = self.partition_source(&of_route, partition, (mode, route));
                let crossing = route.crossing.as_ref().map(lower_crossing);
                Some(RouteOwnership { source, crossing })
            }
            (_, None) => None,
        }
    }

    fn crossing_fits(
        &self,
        place: &Place<'_>,
        crossing: &yaml::Crossing,
        (mode, route): (Option<OwnershipMode>, &yaml::Route),
    ) {
        let yaml::Crossing { schema_rev, index_hash, model_tag } = crossing;
        let wanted = [schema_rev, index_hash, model_tag];
        if mode != Some(OwnershipMode::GeoPartitioned) || route.partition.is_none() {
            let flaw = Flaw::key(place, "no read of this route is bound to a region");
            let help = "`crossing` is for routes with `partition` under `mode: geo_partitioned`";
            self.flaws.push(flaw.help(help));
        } else if wanted.iter().all(|it| it.is_none()) {
            let help = "name what another region has to report: `crossing: { index_hash: a1b2c3 }`";
            self.wrong(place, "it names no contract", help);
        }
    }

    fn partition_source(
        &self,
        place: &Place<'_>,
        partition: &yaml::RoutePartition,
        (mode, route): (OwnershipMode, &yaml::Route),
    ) -> PartitionSource {
        match partition {
            yaml::RoutePartition::Header(name) => {
                PartitionSource::Header(self.header(&place.key("header"), name))
            }
            yaml::RoutePartition::PathSegment(segment) => {
                let place = place.key("path_segment");
                PartitionSource::PathSegment(self.whole(&place, *segment, 1..=SEGMENT_MAX))
            }
            yaml::RoutePartition::Body(body) => {
                let place = place.key("body");
                if !has_keys(route) {
                    let message =
                        "a body is read before it is sent on only where every write has a key";
                    let help = "add `fence: { preset: api, required: true }` to the route, or take the \
                                partition from elsewhere";
                    self.flaws.push(Flaw::key(&place, message).help(help));
                } else if mode == OwnershipMode::GeoPartitioned {
                    let message = "reads have no body, and their partition decides as well";
                    let help = "take the partition from a header, the path or a token";
                    self.flaws.push(Flaw::key(&place, message).help(help));
                }
                self.body(&place, body)
            }
            yaml::RoutePartition::Token(token) => {
                PartitionSource::Token(self.token(&place.key("token"), token))
            }
        }
    }

    fn body(&self, place: &Place<'_>, body: &yaml::BodyPartition) -> PartitionSource {
        if pointer::names(&body.pointer).is_none() {
            let message = format!("`{}` is no pointer to a part of a document", body.pointer);
            self.wrong(&place.key("pointer"), message, "write it as RFC 6901 has it: `/tenant/id`");
        }
        let size = place.key("max_size");
        let read = units::size(&body.max_size.0);
        let most = u64::try_from(PARTITION_BODY_BYTES_MAX).unwrap_or(u64::MAX);
        if read.as_ref().is_ok_and(|it| !(1..=most).contains(it)) {
            let message = format!("`{}` is out of bounds", body.max_size.0);
            self.wrong(&size, message, "write a size from `1B` to `64KiB`");
        }
        let bytes_max = usize::try_from(self.unit(&size, read)).unwrap_or(usize::MAX);
        PartitionSource::Body { pointer: body.pointer.as_str().into(), bytes_max }
    }

    fn token(&self, place: &Place<'_>, token: &yaml::TokenPartition) -> TokenRules {
        let secrets = place.key("secrets");
        let count = token.secrets.len();
        if count == 0 || SECRETS_MAX < count {
            let help = format!("write 1 to {SECRETS_MAX}; several while they rotate");
            self.wrong(&secrets, format!("there are {count} secrets"), help);
        }
        for (index, secret) in token.secrets.iter().enumerate() {
            let length = secret.reveal().len();
            if length < SECRET_BYTES_MIN {
                let message = format!("it has {length} bytes, fewer than {SECRET_BYTES_MIN}");
                let help = "`openssl rand -hex 32` writes one; refer to its file";
                self.wrong(&secrets.item(index), message, help);
            }
        }
        if token.claim.is_empty() {
            self.wrong(&place.key("claim"), "it is empty", "name the claim, such as `tenant`");
        }
        TokenRules {
            header: self.header(&place.key("header"), &token.header),
            claim: token.claim.as_str().into(),
            secrets: token.secrets.iter().map(|it| TokenSecret(it.reveal().into())).collect(),
        }
    }
}

fn mode(mode: OwnershipMode) -> Mode {
    match mode {
        OwnershipMode::ActiveActive => Mode::ActiveActive,
        OwnershipMode::ActivePassive => Mode::ActivePassive,
        OwnershipMode::GeoPartitioned => Mode::GeoPartitioned,
    }
}

/// Adds a partition, while there may be more.
fn add(rules: &mut OwnershipRules, name: Name, home: RegionId) -> Option<PartitionId> {
    let id = u16::try_from(rules.partitions.len()).ok()?;
    rules.partitions.push(PartitionPolicy { name, home });
    Some(PartitionId(id))
}

/// Whether every write of a route is fenced.
fn has_keys(route: &yaml::Route) -> bool {
    match &route.fence {
        Some(yaml::RouteFence::Rules(rules)) => {
            rules.required.unwrap_or(!matches!(rules.preset, yaml::Preset::Api))
        }
        Some(yaml::RouteFence::Preset(preset)) => !matches!(preset, yaml::Preset::Api),
        None => false,
    }
}

fn lower_crossing(crossing: &yaml::Crossing) -> Crossing {
    let name = |text: &Option<String>| text.as_deref().map(Into::into);
    Crossing {
        schema_rev: name(&crossing.schema_rev),
        index_hash: name(&crossing.index_hash),
        model_tag: name(&crossing.model_tag),
    }
}
