//! The two gates: what a book of evidence comes to at a moment.

use std::fmt;
use std::time::Duration;

use super::book::{Book, Fence, Known};
use super::evidence::{Condition, Evidence, Finding, Seen};
use super::facts::{CONTRACT_SOURCE, Spoken, Wanted, spoken};
use super::rules::{GateRules, Loss, QueueRules, WARM_FOR};
use super::{blobs, quality};
use crate::id::Name;
use crate::moment::Moment;

#[cfg(test)]
mod tests;

/// Who evidence belongs to that is the policy's.
const POLICY: &str = "policy";
/// Where evidence comes from that is drawn from all regions together.
const WORLD: &str = "all regions";
/// Where evidence of a fence comes from.
const FENCE_SOURCE: &str = "fence checks";

/// Which of the two gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Everybody is there, and everything is compared as it is now.
    Planned,
    /// Somebody is lost, and the survivor is compared with what is written down.
    Emergency,
}

impl Kind {
    /// The gate as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is to be moved. With neither, all regions are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// The region that traffic leaves.
    pub from: Option<Name>,
    /// The region that it goes to.
    pub to: Option<Name>,
}

/// A gate at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Which of the two.
    pub kind: Kind,
    /// What is to be moved.
    pub of: Move,
    /// Every condition, in the order of [`Condition`] and then of the regions.
    pub evidence: Vec<Evidence>,
}

impl Gate {
    /// Whether reads may go there.
    pub fn opens_reads(&self) -> bool {
        let counts = |it: &&Evidence| self.kind == Kind::Planned || !it.condition.is_for_writes();
        self.evidence.iter().filter(counts).all(Evidence::is_green)
    }

    /// Whether writes may go there as well.
    pub fn opens_writes(&self) -> bool {
        self.evidence.iter().all(Evidence::is_green)
    }

    /// What keeps it shut.
    pub fn shut_by(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().filter(|it| !it.is_green())
    }
}

impl Book {
    /// The gate for what is planned: every comparison is of this moment.
    pub fn planned(&self, of: &Move, now: Moment) -> Gate {
        let rules = &*self.rules;
        let regions = self.taking_part(of);
        let mut evidence = vec![switch(rules), self.regions_on(of, now)];
        let contract_age = rules.contract_age_max;
        evidence.extend(regions.iter().map(|(name, known)| {
            let own = known.and_then(|it| it.spoken.as_ref());
            spoken(Condition::Contract, name, (own, contract_age), now, Spoken::contract)
        }));
        let wanted = Wanted::by(&self.contract);
        let wanted = wanted.unwrap_or_else(|| wanted_of_first(&regions));
        evidence.extend(regions.iter().map(|(name, known)| {
            let own = known.and_then(|it| it.spoken.as_ref());
            let judge = |it: &Spoken| it.index_is(&wanted);
            spoken(Condition::IndexHash, name, (own, contract_age), now, judge)
        }));
        if let Some(blobs) = &rules.blobs {
            evidence.extend(blobs::evidence(blobs, &regions, now));
        }
        if let Some(queue) = &rules.queue {
            evidence.extend(regions.iter().map(|it| queue_of(queue, it, now)));
        }
        if let Some(probes) = &rules.probes {
            let age_max = probes.age_max;
            evidence.extend(regions.iter().map(|it| self.probes(it, age_max, now)));
        }
        evidence.extend(self.fence(now));
        Gate { kind: Kind::Planned, of: of.clone(), evidence }
    }

    /// The gate for when a region was lost: the survivor against what is written down, and its
    /// last verdicts. Reads go on without what only writes need.
    pub fn emergency(&self, of: &Move, now: Moment) -> Gate {
        let rules = &*self.rules;
        let survivors: Vec<_> = match &of.to {
            Some(to) => vec![(Name::clone(to), self.known(to))],
            None => self.all().filter(|(_, it)| is_on(*it)).collect(),
        };
        let mut evidence = vec![switch(rules), self.regions_on(of, now)];
        evidence.extend(self.lost(of, now));
        if survivors.is_empty() {
            let finding = Finding::red("no_survivor", "no region is on");
            evidence.push(Evidence::ageless(Condition::Contract, POLICY, WORLD, finding));
        }
        let age_max = rules.emergency.age_max;
        for (name, known) in &survivors {
            let own = (known.and_then(|it| it.spoken.as_ref()), age_max);
            evidence.push(spoken(Condition::Contract, name, own, now, Spoken::contract));
            let wanted = Wanted::by(&self.contract).unwrap_or(Wanted::Any);
            let judge = |it: &Spoken| it.index_is(&wanted);
            evidence.push(spoken(Condition::IndexHash, name, own, now, judge));
        }
        if rules.probes.is_some() {
            let age_max = rules.emergency.probes_age_max;
            evidence.extend(survivors.iter().map(|it| self.probes(it, age_max, now)));
        }
        evidence.extend(self.fence(now));
        evidence.push(self.loss(of, now));
        Gate { kind: Kind::Emergency, of: of.clone(), evidence }
    }

    fn all(&self) -> impl Iterator<Item = (Name, Option<&Known>)> {
        self.regions.iter().map(|(name, known)| (Name::clone(name), Some(known)))
    }

    /// The regions that are compared, the one that traffic leaves first.
    fn taking_part(&self, of: &Move) -> Vec<(Name, Option<&Known>)> {
        match &of.from {
            None => {
                let is_other = |name: &Name| of.to.as_ref().is_none_or(|to| to != name);
                let others = self.all().filter(|(name, _)| is_other(name));
                others.chain(of.to.iter().map(|to| (Name::clone(to), self.known(to)))).collect()
            }
            Some(from) => {
                let named = std::iter::once(from).chain(&of.to);
                named.map(|name| (Name::clone(name), self.known(name))).collect()
            }
        }
    }

    fn regions_on(&self, of: &Move, now: Moment) -> Evidence {
        let age_max = self.rules.contract_age_max.max(self.rules.emergency.age_max);
        let is_fresh = |it: &Seen<Spoken>| now.since(it.at) <= age_max;
        let stay = self.regions.iter().filter(|(name, known)| {
            known.spoken.as_ref().is_some_and(|it| it.what.is_on() && is_fresh(it))
                && of.from.as_ref() != Some(name)
        });
        let (stay, wanted) = (stay.count(), self.rules.regions_min);
        let said = format!("{stay} regions stay on, and {wanted} are wanted");
        let finding =
            if wanted <= stay { Finding::green(said) } else { Finding::red("too_few", said) };
        Evidence::ageless(Condition::RegionsOn, POLICY, WORLD, finding)
    }

    /// Whether whoever is given up is really gone: a region that answers is moved by plan, and of
    /// one that nobody could ask nobody knows.
    fn lost(&self, of: &Move, now: Moment) -> Vec<Evidence> {
        let age_max = self.rules.emergency.age_max;
        let evidence: Vec<_> = self
            .given_up(of)
            .map(|(name, known)| {
                let own = (known.and_then(|it| it.spoken.as_ref()), age_max);
                spoken(Condition::Lost, &name, own, now, Spoken::lost)
            })
            .collect();
        if evidence.is_empty() {
            let finding = Finding::red("nobody_lost", "every region is on");
            return vec![Evidence::ageless(Condition::Lost, POLICY, WORLD, finding)];
        }
        evidence
    }

    /// The region that is given up, or every one that is not on.
    fn given_up(&self, of: &Move) -> impl Iterator<Item = (Name, Option<&Known>)> {
        let from = of.from.clone();
        self.all().filter(move |(name, known)| match &from {
            Some(from) => name == from,
            None => !is_on(*known),
        })
    }

    fn probes(
        &self,
        (name, known): &(Name, Option<&Known>),
        age_max: Duration,
        now: Moment,
    ) -> Evidence {
        let answers = known.and_then(|it| it.probes.as_ref());
        let (Some(seen), Some(rules)) = (answers, &self.rules.probes) else {
            return Evidence::missing(Condition::Probes, name, quality::PROBE_SOURCE, age_max);
        };
        let own = known.and_then(|it| it.spoken.as_ref()).map(|it| &it.what);
        let finding = quality::answers(rules, (&seen.what, own), self.reference());
        Evidence::aged(Condition::Probes, name, (seen, age_max), now, finding)
    }

    /// Whether every memory of writes is warm, and has been for a while.
    fn fence(&self, now: Moment) -> Vec<Evidence> {
        let Some(age_max) = self.rules.fence_age_max else { return Vec::new() };
        if self.fences.is_empty() {
            let owner = Name::from("fence");
            return vec![Evidence::missing(Condition::Fence, &owner, FENCE_SOURCE, age_max)];
        }
        let evidence = self.fences.iter().map(|(name, fence)| {
            let finding = warmth(fence, now);
            Evidence::aged(Condition::Fence, name, (&fence.seen, age_max), now, finding)
        });
        evidence.collect()
    }

    /// Whether writes may go on without what the lost region had still to do.
    fn loss(&self, of: &Move, now: Moment) -> Evidence {
        let last = self.given_up(of).map(|(name, known)| {
            let tail = known.and_then(|it| it.tail.as_ref());
            match tail.and_then(|it| it.what.last()) {
                None => format!("nothing is known of the queue of {name}"),
                Some((at, queue)) => format!(
                    "{} s ago the queue of {name} had {} entries, the oldest {} ms old{}",
                    now.since(*at).as_secs(),
                    queue.depth,
                    queue.oldest_age_ms,
                    queue
                        .watermark
                        .as_ref()
                        .map(|it| format!(", done up to {it}"))
                        .unwrap_or_default(),
                ),
            }
        });
        let last = last.collect::<Vec<_>>().join("; ");
        let finding = match self.rules.emergency.loss {
            Loss::Block => {
                Finding::red("loss_blocked", format!("the policy allows no loss; {last}"))
            }
            Loss::Allow => Finding::green(format!("the policy allows loss; {last}")),
        };
        Evidence::ageless(Condition::Loss, POLICY, "gates.emergency.loss", finding)
    }
}

/// Whether the tail of a region's queue is clean, as far as somebody could read it.
fn queue_of(rules: &QueueRules, (name, known): &(Name, Option<&Known>), now: Moment) -> Evidence {
    let age_max = rules.age_max;
    if let Some(seen) = known.and_then(|it| it.unread.as_ref()) {
        let finding = Finding::red("unread", seen.what.clone());
        return Evidence::aged(Condition::Queue, name, (seen, age_max), now, finding);
    }
    match known.and_then(|it| it.tail.as_ref()) {
        None => {
            let stream = rules.stream(name).map(|it| format!("stream {}", it.key));
            let source = stream.as_deref().unwrap_or(CONTRACT_SOURCE);
            Evidence::missing(Condition::Queue, name, source, age_max)
        }
        Some(seen) => {
            let finding = quality::tail(&seen.what, &rules.limits);
            Evidence::aged(Condition::Queue, name, (seen, age_max), now, finding)
        }
    }
}

fn is_on(known: Option<&Known>) -> bool {
    known.and_then(|it| it.spoken.as_ref()).is_some_and(|it| it.what.is_on())
}

fn switch(rules: &GateRules) -> Evidence {
    let finding = if rules.may_move {
        Finding::green("traffic may be moved")
    } else {
        Finding::red("off", "the master switch is off: nothing may be moved")
    };
    Evidence::ageless(Condition::Switch, POLICY, "gates.switch", finding)
}

/// The index of the first region is what the others are compared with, unless nobody has one:
/// then it is a service without an index.
fn wanted_of_first(regions: &[(Name, Option<&Known>)]) -> Wanted {
    let all = || {
        regions.iter().filter_map(|(name, known)| {
            let known: &Known = (*known)?;
            Some((name, &known.spoken.as_ref()?.what))
        })
    };
    if all().all(|(_, it)| it.has_no_index()) {
        return Wanted::Any;
    }
    all().next().map_or(Wanted::Nothing, |(name, spoken)| Wanted::as_in(name, spoken))
}

fn warmth(fence: &Fence, now: Moment) -> Finding {
    let failing = fence.seen.what.iter().find(|(_, holds, _)| !holds);
    match (failing, fence.warm_since) {
        (Some((name, _, detail)), _) => Finding::red("cold", format!("{name}: {detail}")),
        (None, Some(since)) if WARM_FOR <= now.since(since) => {
            Finding::green(format!("warm for {} s", now.since(since).as_secs()))
        }
        (None, since) => {
            let seconds = since.map_or(0, |it| now.since(it).as_secs());
            let wanted = WARM_FOR.as_secs();
            Finding::red("warming", format!("warm for {seconds} s, and {wanted} are wanted"))
        }
    }
}
