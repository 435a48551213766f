//! Takes apart what a policy says about ownership; secrets of tokens are compared and never told.

use tidegate_core::policy::Policy;
use tidegate_core::policy::owning::{
    Crossing, OwnershipRules, PartitionPolicy, PartitionSource, RouteOwnership, TokenRules,
    TokenSecret,
};

use super::facts::said;
use super::written::{NONE, list, or_none};
use super::{Facts, Value};
use crate::units::written as duration;

impl Facts {
    /// The division into partitions, and the home of each.
    pub(super) fn of_ownership(&mut self, ownership: &OwnershipRules, policy: &Policy) {
        let OwnershipRules { mode, version, partitions, named, rest, lease } = ownership;
        let name = |it: &PartitionPolicy| it.name.to_string();
        let shared = rest.iter().filter_map(|it| partitions.get(it.index())).map(name);
        let facts = [
            ("mode", mode.word().to_owned()),
            ("version", version.to_string()),
            ("rest", list(&shared.collect::<Vec<_>>(), NONE)),
            ("lease", duration(lease)),
        ];
        self.add("ownership", "", said(facts));
        for partition in partitions {
            let PartitionPolicy { name, home } = partition;
            let id = ownership.partition(name);
            let values = named.iter().filter(|(_, of)| Some(*of) == id).map(|(value, _)| value);
            let home = policy.regions.get(home.index()).map(|it| it.name.to_string());
            let facts = [
                ("home", or_none(home.as_ref())),
                ("takes", list(&values.collect::<Vec<_>>(), "its share")),
            ];
            self.add("partition", name, said(facts));
        }
    }

    /// How the requests of a route are owned.
    pub(super) fn of_owned(&mut self, route: &str, owned: &RouteOwnership) {
        let RouteOwnership { source, crossing } = owned;
        let mut secrets: &[TokenSecret] = &[];
        let source = match source {
            PartitionSource::Only => "nowhere: there is one".to_owned(),
            PartitionSource::Header(name) => format!("header {name}"),
            PartitionSource::PathSegment(place) => format!("segment {place} of the path"),
            PartitionSource::Body { pointer, bytes_max } => {
                format!("{pointer} in a body of at most {bytes_max}B")
            }
            PartitionSource::Token(TokenRules { header, claim, secrets: of_token }) => {
                secrets = of_token;
                format!("claim {claim} of the token in {header}")
            }
        };
        let crossing = crossing.as_ref().map(|it| {
            let Crossing { schema_rev, index_hash, model_tag } = it;
            let wanted =
                [("schema_rev", schema_rev), ("index_hash", index_hash), ("model_tag", model_tag)];
            let wanted = wanted.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
            wanted.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
        });
        let mut facts =
            said([("is read from", source), ("crosses to", or_none(crossing.as_ref()))]);
        for (place, TokenSecret(secret)) in secrets.iter().enumerate() {
            facts.push((format!("secret {place}"), Value::secret(secret)));
        }
        self.add("partition of route", route, facts);
    }
}
