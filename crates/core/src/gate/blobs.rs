//! Whether regions store the same, as findings.

use super::book::Known;
use super::evidence::{Condition, Evidence, Finding, Seen};
use super::facts::{CONTRACT_SOURCE, Spoken};
use super::manifest::{Inventory, is_same_digest};
use super::rules::BlobRules;
use crate::contract::BlobManifest;
use crate::id::Name;
use crate::moment::Moment;

/// Where a list of what is stored comes from, as evidence names it.
const LIST_SOURCE: &str = "manifest";

/// What is known of what one region stores.
struct Stored<'k> {
    summary: Result<BlobManifest, Finding>,
    list: Option<&'k Inventory>,
}

/// Evidence for every region; all are compared with the first.
pub(super) fn evidence(
    rules: &BlobRules,
    regions: &[(Name, Option<&Known>)],
    now: Moment,
) -> Vec<Evidence> {
    let first = regions.first().map(|(name, known)| (name, stored(rules, *known)));
    let of_region = |(name, known): &(Name, Option<&Known>)| {
        let judge = |stored: Stored<'_>| match &first {
            Some((reference, Some(other))) if *reference != name => {
                compared(&stored, (reference, other))
            }
            Some((reference, None)) if *reference != name => incomparable(reference),
            Some(_) | None => match stored.summary {
                Ok(own) => Finding::green(format!("{} blobs, {}", own.count, own.digest)),
                Err(finding) => finding,
            },
        };
        let missing = |source| Evidence::missing(Condition::Blobs, name, source, rules.age_max);
        let Some(stored) = stored(rules, *known) else {
            let source = if rules.asking.is_some() { LIST_SOURCE } else { CONTRACT_SOURCE };
            return missing(source);
        };
        let finding = judge(stored);
        let aged = |seen: &Seen<()>| {
            Evidence::aged(Condition::Blobs, name, (seen, rules.age_max), now, finding.clone())
        };
        seen(rules, *known).map_or_else(|| missing(CONTRACT_SOURCE), |it| aged(&it))
    };
    regions.iter().map(of_region).collect()
}

/// When and how a region told what it stores.
fn seen(rules: &BlobRules, known: Option<&Known>) -> Option<Seen<()>> {
    let known = known?;
    if rules.asking.is_some() {
        let Seen { at, source, .. } = known.manifest.as_ref()?;
        return Some(Seen { at: *at, source: Name::clone(source), what: () });
    }
    let Seen { at, source, .. } = known.spoken.as_ref()?;
    Some(Seen { at: *at, source: Name::clone(source), what: () })
}

fn stored<'k>(rules: &BlobRules, known: Option<&'k Known>) -> Option<Stored<'k>> {
    let known = known?;
    let spoken = known.spoken.as_ref().map(|it| &it.what);
    if rules.asking.is_none() {
        return Some(Stored { summary: told(spoken?), list: None });
    }
    let list = match &known.manifest.as_ref()?.what {
        Ok(list) => list,
        Err(why) => {
            let summary = Err(Finding::red("no_manifest", why.to_string()));
            return Some(Stored { summary, list: None });
        }
    };
    let own = list.summary();
    let other = spoken.and_then(|it| it.manifests.iter().find(|it| !is_same(it, &own)));
    let summary = match other {
        None => Ok(own),
        Some(told) => Err(Finding::contradictory(
            "contradictory",
            format!(
                "its list has {} blobs, {}, and its contract says {}, {}",
                own.count, own.digest, told.count, told.digest
            ),
        )),
    };
    Some(Stored { summary, list: Some(list) })
}

/// What a region's contract says of its blobs.
fn told(spoken: &Spoken) -> Result<BlobManifest, Finding> {
    match spoken.manifests.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Finding::red("unreported", "no endpoint that serves reports a blob_manifest")),
        [one, other, ..] => Err(Finding::contradictory(
            "contradictory",
            format!("its endpoints report {} and {}", one.digest, other.digest),
        )),
    }
}

fn compared(own: &Stored<'_>, (reference, other): (&Name, &Stored<'_>)) -> Finding {
    let summary = match &own.summary {
        Ok(summary) => summary,
        Err(finding) => return finding.clone(),
    };
    let Ok(others) = &other.summary else { return incomparable(reference) };
    if is_same(summary, others) {
        return Finding::green(format!("{} blobs, {}", summary.count, summary.digest));
    }
    let lists = own.list.zip(other.list);
    let keys = lists.map(|(own, other)| format!("; {}", own.differences(other)));
    let reason = format!(
        "{} blobs, {}, and {reference} has {}, {}{}",
        summary.count,
        summary.digest,
        others.count,
        others.digest,
        keys.unwrap_or_default()
    );
    Finding::red("different", reason)
}

fn incomparable(reference: &Name) -> Finding {
    Finding::red("incomparable", format!("nobody knows what {reference} stores"))
}

fn is_same(a: &BlobManifest, b: &BlobManifest) -> bool {
    a.count == b.count && is_same_digest(&a.digest, &b.digest)
}
