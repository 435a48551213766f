//! What the admin address tells of everything that is open, and of drains.

use serde_json::{Value as Json, json};
use tidegate_control::ledger::{Exchange, Kind, Ledger};
use tidegate_core::Moment;
use tidegate_core::drain::{Flip, Outcome, Outcomes, Stage};

/// Exchanges that one answer lists unless it is asked for more.
const LISTED: usize = 1_000;
/// Most exchanges that one answer lists.
const LISTED_MAX: usize = 100_000;

/// Every drain there is.
pub(crate) fn drains(ledger: &Ledger, now: Moment) -> Json {
    let drains: Vec<Json> = ledger.drains().iter().map(|it| drain(it, now)).collect();
    json!({ "drains": drains })
}

/// One drain.
pub(crate) fn drain(flip: &Flip, now: Moment) -> Json {
    let Flip { region, endpoint, drain } = flip;
    let (state, took) = match drain.stage {
        Stage::Beginning | Stage::Draining => ("draining", now.since(drain.since)),
        Stage::Drained { took } => ("drained", took),
    };
    let mut told = json!({
        "region": &**region,
        "cause": drain.cause.word(),
        "state": state,
        "since_ms": drain.since.0,
        "took_ms": millis(took),
        "overdue": drain.is_overdue,
        "forced": drain.is_forced,
        "open_at_start": drain.open_at_start,
        "joined": drain.joined,
        "open": drain.open,
        "moved": drain.moved,
        "outcomes": outcomes(&drain.outcomes),
        "clean": drain.outcomes.is_clean(),
    });
    if let (Some(endpoint), Json::Object(told)) = (endpoint, &mut told) {
        told.insert("endpoint".to_owned(), json!(endpoint));
    }
    told
}

/// What is open, oldest first: by default all of it, and at most [`LISTED`] of it one by one.
///
/// # Errors
/// What is wrong with the query.
pub(crate) fn streams(ledger: &Ledger, query: &str, now: Moment) -> Result<Json, String> {
    let wanted = Wanted::read(query)?;
    let mut found = ledger.exchanges(|region, kind| {
        wanted.region.is_none_or(|it| *it == **region) && wanted.kind.is_none_or(|it| it == kind)
    });
    found.sort_by_key(|it| it.began);
    let matching = found.len();
    let listed: Vec<Json> = found.iter().take(wanted.limit).map(|it| stream(it, now)).collect();
    Ok(json!({ "open": ledger.open(), "matching": matching, "streams": listed }))
}

fn stream(exchange: &Exchange, now: Moment) -> Json {
    json!({
        "region": &*exchange.region,
        "endpoint": exchange.endpoint,
        "release": exchange.release.as_deref(),
        "route": exchange.route.as_deref(),
        "kind": exchange.kind.word(),
        "age_ms": millis(now.since(exchange.began)),
        "idle_ms": millis(now.since(exchange.active)),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
    })
}

fn outcomes(outcomes: &Outcomes) -> Json {
    let counts = Outcome::ALL.into_iter().map(|it| (it.word().to_owned(), outcomes.of(it).into()));
    Json::Object(counts.collect())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What somebody wants to see.
struct Wanted<'a> {
    region: Option<&'a str>,
    kind: Option<Kind>,
    limit: usize,
}

impl<'a> Wanted<'a> {
    fn read(query: &'a str) -> Result<Self, String> {
        let mut wanted = Self { region: None, kind: None, limit: LISTED };
        for pair in query.split('&').filter(|it| !it.is_empty()) {
            match pair.split_once('=') {
                Some(("region", name)) => wanted.region = Some(name),
                Some(("kind", word)) => {
                    let kind = Kind::from_word(word);
                    wanted.kind = Some(kind.ok_or_else(|| format!("`{word}` is no kind"))?);
                }
                Some(("limit", number)) => {
                    let limit: Result<usize, _> = number.parse();
                    let limit = limit.map_err(|error| format!("`{number}`: {error}"))?;
                    wanted.limit = limit.min(LISTED_MAX);
                }
                Some(_) | None => {
                    return Err(format!("`{pair}` is unknown; try region, kind or limit"));
                }
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused() {
        let wanted = Wanted::read("region=eu&kind=grpc&limit=7").unwrap();
        assert_eq!((wanted.region, wanted.kind, wanted.limit), (Some("eu"), Some(Kind::Grpc), 7));
        assert_eq!(Wanted::read("").unwrap().limit, LISTED);
        assert_eq!(Wanted::read("limit=999999999").unwrap().limit, LISTED_MAX);
        for query in ["kind=odd", "limit=-1", "limit", "age=3", "region"] {
            assert!(Wanted::read(query).is_err(), "{query}");
        }
    }
}
