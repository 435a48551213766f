//! The failover window, as it goes over the line.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tidegate_core::id::REGIONS_MAX;
use tidegate_core::window::{Cause, Open, Standing, WindowState};

use super::{Away, Clock};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WindowText {
    standings: BTreeMap<String, String>,
    asked: Option<String>,
    open: Option<OpenText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenText {
    since: Away,
    cause: CauseText,
    last: CauseText,
    at: Away,
    #[serde(default)]
    is_lasting: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct CauseText {
    word: String,
    region: String,
    endpoint: Option<SocketAddr>,
    reason: String,
}

impl Clock {
    pub(super) fn window_text(self, window: &WindowState) -> WindowText {
        let standings = window.standings.iter();
        WindowText {
            standings: standings.map(|(it, at)| (it.to_string(), at.word().to_owned())).collect(),
            asked: window.asked.as_deref().map(str::to_owned),
            open: window.open.as_ref().map(|open| OpenText {
                since: self.away(open.since),
                cause: cause_text(&open.cause),
                last: cause_text(&open.last),
                at: self.away(open.at),
                is_lasting: open.is_lasting,
            }),
        }
    }

    /// A window. A region whose standing is not known here takes its traffic for the first time.
    pub(super) fn window(self, text: WindowText) -> WindowState {
        let standing = |(name, word): (String, String)| {
            let standing = Standing::ALL.into_iter().find(|it| it.word() == word)?;
            Some((name.into(), standing))
        };
        WindowState {
            standings: text.standings.into_iter().take(REGIONS_MAX).filter_map(standing).collect(),
            asked: text.asked.map(Into::into),
            open: text.open.map(|open| Open {
                since: self.moment(open.since),
                cause: cause(open.cause),
                last: cause(open.last),
                at: self.moment(open.at),
                is_lasting: open.is_lasting,
            }),
        }
    }
}

fn cause_text(cause: &Cause) -> CauseText {
    let text = CauseText { word: cause.word().to_owned(), ..CauseText::default() };
    match cause {
        Cause::Operator { reason } => CauseText { reason: reason.to_string(), ..text },
        Cause::Drain { region, endpoint } => {
            CauseText { region: region.to_string(), endpoint: *endpoint, ..text }
        }
        Cause::Loss { region } | Cause::Return { region } => {
            CauseText { region: region.to_string(), ..text }
        }
    }
}

/// A cause, which only tells why. One with a word that is not known here tells that word, and the
/// window is as open as before.
fn cause(text: CauseText) -> Cause {
    let CauseText { word, region, endpoint, reason } = text;
    let region = region.into();
    match word.as_str() {
        "operator" => Cause::Operator { reason: reason.into() },
        "drain" => Cause::Drain { region, endpoint },
        "loss" => Cause::Loss { region },
        "return" => Cause::Return { region },
        _ => Cause::Operator { reason: word.into() },
    }
}
