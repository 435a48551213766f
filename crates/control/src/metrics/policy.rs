//! The metrics of the policy in force, and of the attempts to put another one in force.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tidegate_core::Moment;

/// What can come of an attempt to put a policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// Another policy is in force.
    Applied,
    /// The policy says what the one in force says.
    Unchanged,
    /// A policy that waited for its confirmation has it.
    Confirmed,
    /// The policy before is in force again: a confirmation did not come, or was refused.
    RolledBack,
    /// The file cannot be read, or is no policy.
    BadPolicy,
    /// Something changed that a running process cannot change.
    NeedsUpgrade,
    /// A listener cannot be opened.
    BadListener,
    /// Another policy waits for its confirmation.
    Pending,
    /// The policy in force is not the one that the caller meant.
    Stale,
    /// The process has more to do than it can take in, or is ending.
    Busy,
}

impl ReloadResult {
    /// Every result.
    pub const ALL: [Self; 10] = [
        Self::Applied,
        Self::Unchanged,
        Self::Confirmed,
        Self::RolledBack,
        Self::BadPolicy,
        Self::NeedsUpgrade,
        Self::BadListener,
        Self::Pending,
        Self::Stale,
        Self::Busy,
    ];

    /// The result as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled_back",
            Self::BadPolicy => "bad_policy",
            Self::NeedsUpgrade => "needs_upgrade",
            Self::BadListener => "bad_listener",
            Self::Pending => "confirmation_pending",
            Self::Stale => "stale",
            Self::Busy => "busy",
        }
    }
}

/// What is said about the policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyFacts<'a> {
    /// How many policies were in force in this process, this one included.
    pub generation: u64,
    /// The beginning of a digest of its text.
    pub digest: &'a str,
    /// When it came in force.
    pub loaded: Moment,
    /// Whether it is what was read last.
    pub is_last_read: bool,
    /// When it is rolled back unless it is confirmed.
    pub confirm_until: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DigestLabel {
    digest: String,
}

/// The families.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyMetrics {
    last_load_ok: Gauge,
    reloads: Family<ResultLabel, Counter>,
    loaded: Gauge,
    generation: Gauge,
    info: Family<DigestLabel, Gauge>,
    confirm_until: Gauge,
}

impl PolicyMetrics {
    /// All families; the policy counts as loaded, for without one nothing starts.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.last_load_ok.set(1);
        for result in ReloadResult::ALL {
            drop(metrics.reloads.get_or_create(&ResultLabel { result: result.word() }));
        }
        let it = metrics.clone();
        let help = "Whether the policy that was last read is in force";
        registry.register("tidegate_policy_last_load_ok", help, it.last_load_ok);
        let help = "Attempts to put a policy in force, by what came of them";
        registry.register("tidegate_policy_reloads", help, it.reloads);
        let help = "When the policy in force came in force, in seconds since 1970";
        let name = "tidegate_policy_loaded_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, it.loaded);
        let help = "Policies that were in force in this process, the present one included";
        registry.register("tidegate_policy_generation", help, it.generation);
        let help = "The policy in force, by a digest of its text";
        registry.register("tidegate_policy_info", help, it.info);
        let help = "When the policy is rolled back unless it is confirmed; 0 when it need not be";
        let name = "tidegate_policy_confirm_until_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, it.confirm_until);
        metrics
    }

    pub(super) fn reloaded(&self, result: ReloadResult) {
        self.reloads.get_or_create(&ResultLabel { result: result.word() }).inc();
    }

    pub(super) fn in_force(&self, facts: &PolicyFacts<'_>) {
        let seconds = |it: Moment| i64::try_from(it.0 / 1000).unwrap_or(i64::MAX);
        self.last_load_ok.set(facts.is_last_read.into());
        self.loaded.set(seconds(facts.loaded));
        self.generation.set(i64::try_from(facts.generation).unwrap_or(i64::MAX));
        self.confirm_until.set(facts.confirm_until.map_or(0, seconds));
        let labels = DigestLabel { digest: facts.digest.to_owned() };
        if self.info.get(&labels).is_none() {
            self.info.clear();
            self.info.get_or_create(&labels).set(1);
        }
    }
}
