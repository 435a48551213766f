//! Evidence: what is known of one condition, from whom, since when, and whether that will do.

use std::fmt;
use std::time::Duration;

use crate::id::Name;
use crate::moment::Moment;

/// What a gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The master switch of the policy.
    Switch,
    /// Enough regions stay on.
    RegionsOn,
    /// The region that is given up is lost, and does not answer.
    Lost,
    /// A region is what the contract demands.
    Contract,
    /// Its index is the same as everywhere.
    IndexHash,
    /// What it stores is the same as everywhere.
    Blobs,
    /// The tail of its queue is clean.
    Queue,
    /// Its answers to the probe set are as good as anybody's.
    Probes,
    /// The memory of writes is warm.
    Fence,
    /// What the lost region had still to do may be lost.
    Loss,
}

impl Condition {
    /// Every condition there is.
    pub const ALL: [Self; 10] = [
        Self::Switch,
        Self::RegionsOn,
        Self::Lost,
        Self::Contract,
        Self::IndexHash,
        Self::Blobs,
        Self::Queue,
        Self::Probes,
        Self::Fence,
        Self::Loss,
    ];

    /// The condition as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::RegionsOn => "regions_on",
            Self::Lost => "lost",
            Self::Contract => "contract",
            Self::IndexHash => "index_hash",
            Self::Blobs => "blobs",
            Self::Queue => "queue",
            Self::Probes => "probes",
            Self::Fence => "fence",
            Self::Loss => "loss",
        }
    }

    /// Whether reads may go on without it when a region was lost.
    pub fn is_for_writes(self) -> bool {
        matches!(self, Self::Lost | Self::Fence | Self::Loss)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether evidence will do. Only [`Light::Green`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Light {
    /// The condition holds.
    Green,
    /// It does not.
    Red,
    /// It was looked at too long ago.
    Stale,
    /// Nobody has looked at it yet.
    Missing,
    /// Two sources say different things.
    Contradictory,
}

impl Light {
    /// Every light there is.
    pub const ALL: [Self; 5] =
        [Self::Green, Self::Red, Self::Stale, Self::Missing, Self::Contradictory];

    /// The light as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Red => "red",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Contradictory => "contradictory",
        }
    }
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that somebody said at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// When.
    pub at: Moment,
    /// Who, or by which way.
    pub source: Name,
    /// What.
    pub what: T,
}

/// What a condition came to, without its age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it will do, fresh as it is.
    pub light: Light,
    /// What it came to as a stable word.
    pub code: &'static str,
    /// The same in words, with figures.
    pub reason: String,
}

/// What is known of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which condition.
    pub condition: Condition,
    /// Who can change it: a region, the fence, the policy.
    pub owner: Name,
    /// Where it comes from.
    pub source: Name,
    /// When it was seen; `None` where it was not, or where it cannot age.
    pub seen: Option<Moment>,
    /// How old it may be.
    pub age_max: Option<Duration>,
    /// Whether it will do.
    pub light: Light,
    /// What it came to as a stable word.
    pub code: &'static str,
    /// The same in words, with figures.
    pub reason: String,
}

impl Finding {
    /// The condition holds.
    pub fn green(reason: impl Into<String>) -> Self {
        Self { light: Light::Green, code: "ok", reason: reason.into() }
    }

    /// It does not.
    pub fn red(code: &'static str, reason: impl Into<String>) -> Self {
        Self { light: Light::Red, code, reason: reason.into() }
    }

    /// Two sources say different things.
    pub fn contradictory(code: &'static str, reason: impl Into<String>) -> Self {
        Self { light: Light::Contradictory, code, reason: reason.into() }
    }
}

impl Evidence {
    /// What the policy or the world of this moment says, which has no age.
    pub fn ageless(condition: Condition, owner: &str, source: &str, finding: Finding) -> Self {
        let Finding { light, code, reason } = finding;
        let (owner, source) = (owner.into(), source.into());
        Self { condition, owner, source, seen: None, age_max: None, light, code, reason }
    }

    /// Something that nobody has looked at yet.
    pub fn missing(condition: Condition, owner: &Name, source: &str, age_max: Duration) -> Self {
        Self {
            condition,
            owner: Name::clone(owner),
            source: source.into(),
            seen: None,
            age_max: Some(age_max),
            light: Light::Missing,
            code: "missing",
            reason: "nothing is known of it yet".to_owned(),
        }
    }

    /// What was seen. A green finding that is too old is stale; a red one stays red and says so.
    pub fn aged<T>(
        condition: Condition,
        owner: &Name,
        (seen, age_max): (&Seen<T>, Duration),
        now: Moment,
        finding: Finding,
    ) -> Self {
        let Finding { mut light, mut code, mut reason } = finding;
        let age = now.since(seen.at);
        if age_max < age {
            if light == Light::Green {
                (light, code) = (Light::Stale, "stale");
            }
            reason = format!(
                "{reason}; that was {} s ago, and {} s are allowed",
                age.as_secs(),
                age_max.as_secs()
            );
        }
        Self {
            condition,
            owner: Name::clone(owner),
            source: Name::clone(&seen.source),
            seen: Some(seen.at),
            age_max: Some(age_max),
            light,
            code,
            reason,
        }
    }

    /// Whether the condition holds.
    pub fn is_green(&self) -> bool {
        self.light == Light::Green
    }
}
