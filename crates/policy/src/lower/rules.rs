//! Lowers the sections that set rules for everything.

use std::time::Duration;

use tidegate_core::id::Name;
use tidegate_core::policy::{
    DrainRules, EjectionRules, Failback, FailbackRules, MeasuringRules, Releases, RetryRules,
    StopRules, Timeouts,
};

use super::Lowering;
use crate::flaws::Flaw;
use crate::names;
use crate::place::Place;
use crate::units;
use crate::yaml;

impl Lowering<'_> {
    pub(super) fn releases(&self, releases: &yaml::Releases) -> Releases {
        let root = Place::Root;
        let place = root.key("releases");
        let aliases = place.key("aliases");
        let known: Vec<(Name, Name)> = releases
            .aliases
            .0
            .iter()
            .map(|(a, b)| (a.as_str().into(), b.as_str().into()))
            .collect();
        for (alias, release) in &releases.aliases.0 {
            self.release_name(&aliases.key(alias), alias);
            self.release_name(&aliases.key(alias), release);
            if known.iter().any(|(it, _)| **it == **release) {
                let message = format!("`{release}` is another name itself");
                let help = "an alias names a release; it is looked up once";
                self.wrong(&aliases.key(alias), message, help);
            }
        }
        let mut lowered = Releases {
            aliases: known,
            split: Vec::new(),
            by: self.hash_key(&place.key("by"), &releases.by),
        };
        let split = place.key("split");
        for (name, weight) in &releases.split.0 {
            let at = split.key(name);
            self.release_name(&at, name);
            let release: Name = lowered.resolve(name).into();
            if lowered.split.iter().any(|(it, _)| *it == release) {
                let flaw = Flaw::key(&at, format!("`{release}` is in the split already"));
                self.flaws
                    .push(flaw.help("an alias and its release are the same; add their weights"));
            }
            lowered.split.push((release, self.whole(&at, *weight, 0..=1_000_000)));
        }
        if !lowered.split.is_empty() && releases.split.0.iter().all(|(_, weight)| *weight == 0) {
            self.flaws
                .push(Flaw::key(&split, "no release gets any traffic").help("raise a weight"));
        }
        lowered
    }

    fn release_name(&self, place: &Place<'_>, name: &str) {
        if !names::is_release(name) {
            let message = format!("`{name}` cannot be the name of a release");
            self.wrong(
                place,
                message,
                "use printable characters without `,`, `;`, quotes and spaces",
            );
        }
    }

    pub(super) fn failback(&self, failback: &yaml::Failback) -> FailbackRules {
        let root = Place::Root;
        let place = root.key("failback");
        if failback.manual && failback.after.is_some() {
            let flaw = Flaw::key(&place.key("manual"), "`manual` and `after` exclude each other");
            self.flaws.push(flaw.help("keep the one that you mean"));
        }
        let after = failback.after.as_ref();
        let after =
            after.map_or(Duration::from_secs(30), |it| self.duration(&place.key("after"), it));
        FailbackRules {
            mode: if failback.manual { Failback::Manual } else { Failback::After(after) },
            hysteresis: self.duration(&place.key("hysteresis"), &failback.hysteresis),
            flips: self.whole(&place.key("flips"), failback.flips, 1..=1000),
            within: self.time(&place.key("within"), &failback.within.0),
            freeze: self.duration(&place.key("freeze"), &failback.freeze),
        }
    }

    pub(super) fn ejection(&self, ejection: Option<&yaml::Ejection>) -> EjectionRules {
        let root = Place::Root;
        let place = root.key("ejection");
        let defaults = yaml::EjectionRules::default();
        let rules = match ejection {
            Some(yaml::Ejection::Rules(rules)) => rules,
            Some(yaml::Ejection::Off(yaml::Off::Off)) | None => &defaults,
        };
        let base = self.time(&place.key("base"), &rules.base.0);
        let max = self.time(&place.key("max"), &rules.max.0);
        if max < base && units::duration(&rules.max.0).is_ok_and(|it| !it.is_zero()) {
            let message =
                format!("`{}` is shorter than the first ejection, {}", rules.max.0, rules.base.0);
            self.wrong(&place.key("max"), message, "raise `max` or lower `base`");
        }
        EjectionRules {
            enabled: rules.enabled && !matches!(ejection, Some(yaml::Ejection::Off(_))),
            connect_failures: self.whole(
                &place.key("connect_failures"),
                rules.connect_failures,
                1..=1_000_000,
            ),
            window: self.time(&place.key("window"), &rules.window.0),
            volume_min: self.whole(&place.key("volume_min"), rules.volume_min, 1..=1_000_000),
            budget_percent: self.percent(&place.key("budget"), &rules.budget, 1..=100),
            base,
            max,
        }
    }

    pub(super) fn measuring(&self, measured: &yaml::Measured) -> MeasuringRules {
        let root = Place::Root;
        let place = root.key("measured");
        MeasuringRules {
            band_percent: self.percent(&place.key("band"), &measured.band, 0..=100),
            hold: self.duration(&place.key("hold"), &measured.hold),
            stale_after: self.time(&place.key("stale_after"), &measured.stale_after.0),
        }
    }

    pub(super) fn retries(&self, retries: &yaml::Retries) -> RetryRules {
        let root = Place::Root;
        let place = root.key("retries");
        RetryRules {
            attempts_max: self.whole(&place.key("attempts"), retries.attempts, 1..=100),
            budget_percent: self.percent(&place.key("budget"), &retries.budget, 0..=100),
            budget_min_per_second: self.whole(
                &place.key("budget_min"),
                retries.budget_min,
                0..=1_000_000,
            ),
            deadline: self.time(&place.key("deadline"), &retries.deadline.0),
        }
    }

    pub(super) fn drain(&self, drain: &yaml::Drain) -> DrainRules {
        let root = Place::Root;
        let place = root.key("drain");
        let hard_deadline = &drain.hard_deadline.0;
        let hard_deadline = (hard_deadline != "none").then_some(hard_deadline);
        DrainRules {
            overdue_after: self.time(&place.key("overdue_after"), &drain.overdue_after.0),
            hard_deadline: hard_deadline.map(|it| self.time(&place.key("hard_deadline"), it)),
        }
    }

    pub(super) fn stop(&self, stop: &yaml::Stop) -> StopRules {
        let root = Place::Root;
        let place = root.key("stop");
        let within = (stop.within.0 != "none").then_some(&stop.within.0);
        StopRules {
            lame_duck: self.duration(&place.key("lame_duck"), &stop.lame_duck),
            within: within.map(|it| self.time(&place.key("within"), it)),
        }
    }

    /// Deadlines at a place, with others where nothing is said.
    pub(super) fn timeouts(
        &self,
        place: &Place<'_>,
        own: &yaml::Timeouts,
        otherwise: &Timeouts,
    ) -> Timeouts {
        let time = |name: &str, text: &Option<yaml::DurationText>, otherwise| {
            text.as_ref().map_or(otherwise, |it| self.time(&place.key(name), &it.0))
        };
        let deadline = |name: &str, text: &Option<yaml::DeadlineText>, otherwise| match text {
            None => otherwise,
            Some(text) if text.0 == "none" => None,
            Some(text) => Some(self.time(&place.key(name), &text.0)),
        };
        // A kind of stream follows the idle limit that stands beside it before one further out.
        let idle = own.idle.as_ref().map(|_| time("idle", &own.idle, otherwise.idle));
        let idle_of = |name: &str, text, otherwise| time(name, text, idle.unwrap_or(otherwise));
        Timeouts {
            connect: time("connect", &own.connect, otherwise.connect),
            first_byte: time("first_byte", &own.first_byte, otherwise.first_byte),
            idle: idle.unwrap_or(otherwise.idle),
            websocket_idle: idle_of(
                "websocket_idle",
                &own.websocket_idle,
                otherwise.websocket_idle,
            ),
            grpc_idle: idle_of("grpc_idle", &own.grpc_idle, otherwise.grpc_idle),
            body: deadline("body", &own.body, otherwise.body),
            total: deadline("total", &own.total, otherwise.total),
        }
    }
}

/// The deadlines of a route where the policy says nothing.
pub(super) fn usual_timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_mins(2),
        idle: Duration::from_mins(5),
        websocket_idle: Duration::from_mins(5),
        grpc_idle: Duration::from_mins(5),
        body: Some(Duration::from_mins(1)),
        total: Some(Duration::from_mins(1)),
    }
}
