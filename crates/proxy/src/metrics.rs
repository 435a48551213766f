//! What the traffic's door counts, beyond what each endpoint counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tidegate_core::id::Name;
use tidegate_core::route::{PinOutcome, Refusal, SessionOutcome};
use tidegate_core::sticky::TokenError;

pub mod fence;

/// The word for a token that was put on an answer.
pub const ISSUED: &str = "issued";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FencedLabel {
    route: Name,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Counters of the door. The ones of the ordinary path are made before the first request.
#[derive(Debug)]
pub struct Metrics {
    answers: Family<CodeLabel, Counter>,
    retries_denied: Counter,
    pins: Vec<(PinOutcome, Counter)>,
    sessions: Vec<(&'static str, Counter)>,
    aborted: Counter,
    fenced: Family<FencedLabel, Counter>,
    other_index: Counter,
    /// Access lines that were lost because the log could not take them in time.
    pub access_lines_lost: Counter,
}

impl Metrics {
    /// Registers every family.
    pub fn register(registry: &mut Registry) -> Self {
        let answers = Family::<CodeLabel, Counter>::default();
        for refusal in Refusal::ALL {
            drop(answers.get_or_create(&CodeLabel { code: refusal.code() }));
        }
        registry.register(
            "tidegate_own_answers",
            "Answers made by tidegate itself",
            answers.clone(),
        );
        let denied = Counter::default();
        let help = "Retries that the budget did not allow";
        registry.register("tidegate_retries_denied", help, denied.clone());
        let pins = Family::<OutcomeLabel, Counter>::default();
        registry.register("tidegate_pins", "Requests with a pin", pins.clone());
        let sessions = sessions(registry);
        let aborted = Counter::default();
        let help = "Requests whose client went away before the answer ended";
        registry.register("tidegate_client_aborts", help, aborted.clone());
        let fenced = Family::<FencedLabel, Counter>::default();
        let help = "Writes on fenced routes, by what the fence made of them";
        registry.register("tidegate_fence_requests", help, fenced.clone());
        let other_index = Counter::default();
        let help = "Events that came again under another index hash";
        registry.register("tidegate_fence_other_index", help, other_index.clone());
        let lost = Counter::default();
        let help = "Access lines that the log could not take in time";
        registry.register("tidegate_access_lines_lost", help, lost.clone());
        let outcomes = [PinOutcome::Honoured, PinOutcome::Unknown, PinOutcome::Unavailable];
        let pin = |outcome: PinOutcome| {
            let label = OutcomeLabel { outcome: outcome.word() };
            (outcome, pins.get_or_create_owned(&label))
        };
        Self {
            answers,
            retries_denied: denied,
            pins: outcomes.into_iter().map(pin).collect(),
            sessions,
            aborted,
            fenced,
            other_index,
            access_lines_lost: lost,
        }
    }

    /// A request had a pin.
    pub fn pinned(&self, outcome: PinOutcome) {
        if let Some((_, counter)) = self.pins.iter().find(|(it, _)| *it == outcome) {
            counter.inc();
        }
    }

    /// Something became of a session, if it did.
    pub fn visited(&self, outcome: Option<&'static str>) {
        let counter = self.sessions.iter().find(|(it, _)| Some(*it) == outcome);
        if let Some((_, counter)) = counter {
            counter.inc();
        }
    }

    /// We answered ourselves.
    pub fn answered(&self, code: &'static str) {
        self.answers.get_or_create(&CodeLabel { code }).inc();
    }

    /// The budget did not allow a retry.
    pub fn retry_denied(&self) {
        self.retries_denied.inc();
    }

    /// The fence made this of a write.
    pub fn fenced(&self, route: &Name, outcome: &'static str) {
        self.fenced.get_or_create(&FencedLabel { route: route.clone(), outcome }).inc();
    }

    /// An event came again under another index hash.
    pub fn came_under_other_index(&self) {
        self.other_index.inc();
    }

    /// A client went away.
    pub fn aborted(&self) {
        self.aborted.inc();
    }
}

/// A counter for everything that may become of a session.
fn sessions(registry: &mut Registry) -> Vec<(&'static str, Counter)> {
    let sessions = Family::<OutcomeLabel, Counter>::default();
    let help = "Tokens of sessions, by what became of them";
    registry.register("tidegate_sessions", help, sessions.clone());
    let routed = [SessionOutcome::Honoured, SessionOutcome::Moved, SessionOutcome::Orphaned];
    let words = routed.map(SessionOutcome::word).into_iter();
    let words = words.chain(TokenError::ALL.map(TokenError::word)).chain([ISSUED]);
    words
        .map(|outcome| (outcome, sessions.get_or_create_owned(&OutcomeLabel { outcome })))
        .collect()
}
