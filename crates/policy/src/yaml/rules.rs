//! The sections of the file that set rules for everything: releases, failback, ejection, measuring,
//! retries and deadlines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeadlineText, DurationText, Entries, HashBy, PercentText};

/// Releases by other names, and how traffic is split among them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Releases {
    /// Other names of releases: `{ canary: r2 }`.
    #[serde(default)]
    pub(crate) aliases: Entries<String>,
    /// Releases, or their other names, with their weights: `{ r1: 95, r2: 5 }`.
    #[serde(default)]
    pub(crate) split: Entries<u64>,
    /// What keeps a client on one side of the split.
    #[serde(default)]
    pub(crate) by: HashBy,
}

/// When a region that was lost takes its traffic back: `manual: true`, or `after` a time.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("not" = { "required": ["manual", "after"] }))]
pub(crate) struct Failback {
    /// The operator decides.
    pub(crate) manual: bool,
    /// So long after the region turned green again; `30s` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<DurationText>,
    /// How long a region must have been green without a break, in either case.
    pub(crate) hysteresis: DurationText,
    /// Losses within `within` that freeze a region.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) flips: u64,
    /// The span in which losses are counted.
    pub(crate) within: DurationText,
    /// How long a frozen region stays the last resort.
    pub(crate) freeze: DurationText,
}

impl Default for Failback {
    fn default() -> Self {
        Self {
            manual: false,
            after: None,
            hysteresis: "30s".into(),
            flips: 4,
            within: "10m".into(),
            freeze: "30m".into(),
        }
    }
}

/// When traffic itself takes an endpoint out.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Ejection {
    /// Never.
    #[serde(rename = "$scalar")]
    Off(Off),
    /// By these rules.
    #[serde(rename = "$mapping")]
    Rules(EjectionRules),
}

/// The word that turns something off.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Off {
    /// Off.
    Off,
}

/// When traffic itself takes an endpoint out: made for few endpoints, so by budgets.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EjectionRules {
    /// Whether anything is ejected.
    pub(crate) enabled: bool,
    /// Connection attempts in a row that may fail.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connect_failures: u64,
    /// The window over which answers are judged.
    pub(crate) window: DurationText,
    /// Answers that a window needs before it is judged.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) volume_min: u64,
    /// Share of failed answers that a window may have, from 1% to 100%.
    pub(crate) budget: PercentText,
    /// Length of the first ejection; each further one in a row doubles it.
    pub(crate) base: DurationText,
    /// Longest ejection.
    pub(crate) max: DurationText,
}

impl Default for EjectionRules {
    fn default() -> Self {
        Self {
            enabled: true,
            connect_failures: 5,
            window: "10s".into(),
            volume_min: 20,
            budget: "50%".into(),
            base: "10s".into(),
            max: "5m".into(),
        }
    }
}

/// How measured distances are steadied.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Measured {
    /// A change smaller than this is no change, from 0% to 100%.
    pub(crate) band: PercentText,
    /// A larger one counts once it has lasted this long.
    pub(crate) hold: DurationText,
    /// Age at which a measurement stops counting and the configured distance takes over.
    pub(crate) stale_after: DurationText,
}

impl Default for Measured {
    fn default() -> Self {
        Self { band: "20%".into(), hold: "30s".into(), stale_after: "60s".into() }
    }
}

/// How often a request may be tried again.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retries {
    /// Attempts in all, the first one included.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: u64,
    /// Retries allowed, in percent of the requests of the last seconds, from 0% to 100%.
    pub(crate) budget: PercentText,
    /// Retries a second that are always allowed.
    #[schemars(range(max = 1_000_000))]
    pub(crate) budget_min: u64,
    /// Age of a request beyond which it is not tried again.
    pub(crate) deadline: DurationText,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 3, budget: "20%".into(), budget_min: 10, deadline: "10s".into() }
    }
}

/// Deadlines.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// For one connection attempt; `2s` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<DurationText>,
    /// From the request's end to the first byte of the answer; `120s` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte: Option<DurationText>,
    /// Between two pieces of an answer; `300s` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<DurationText>,
    /// Between two pieces in either direction of a WebSocket; as `idle` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) websocket_idle: Option<DurationText>,
    /// Between two pieces of a gRPC answer; as `idle` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_idle: Option<DurationText>,
    /// From the end of a request's head to the end of its body, or `none`; `60s` if nothing says
    /// otherwise, and none for streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<DeadlineText>,
    /// For the whole exchange, or `none`; `60s` if nothing says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<DeadlineText>,
}

/// How a region or an endpoint is emptied.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    /// Time after which a drain that has not ended is told to be overdue.
    pub(crate) overdue_after: DurationText,
    /// Time after which what is still open is closed, or `none`: then it goes on to its own end.
    pub(crate) hard_deadline: DeadlineText,
}

impl Default for Drain {
    fn default() -> Self {
        Self { overdue_after: "90s".into(), hard_deadline: "none".into() }
    }
}

/// How the process ends when it is told to.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stop {
    /// Time in which it is not ready and still takes connections, so that whoever sends them can
    /// notice.
    pub(crate) lame_duck: DurationText,
    /// Longest time that open requests and streams are waited for after that, or `none`.
    pub(crate) within: DeadlineText,
}

impl Default for Stop {
    fn default() -> Self {
        Self { lame_duck: "0s".into(), within: "none".into() }
    }
}
