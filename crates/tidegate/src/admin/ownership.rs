//! Ownership at the admin address: who owns what, and an operator who moves it.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tidegate_control::clock;
use tidegate_control::ownership::{NotMoved, Owners, Picture};
use tidegate_control::permits::Permits;
use tidegate_core::Moment;
use tidegate_core::id::Name;
use tidegate_core::ownership::{Move, MoveError, Owned, WORDS_BYTES_MAX};
use tidegate_core::policy::Policy;

use super::{Admin, Answer};

/// What an operator wants to be owned by somebody else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The partitions; all that `from` owns without them.
    #[serde(default)]
    partitions: Vec<String>,
    #[serde(default)]
    from: Option<String>,
    to: String,
    who: String,
    reason: String,
}

/// Who owns what, as this balancer knows it.
fn told(policy: &Policy, picture: &Picture, permits: &Permits, now: Moment) -> Json {
    let Some(rules) = &policy.ownership else { return json!({ "ownership": false }) };
    let Picture { table, owned, balancers, failure } = picture;
    let partition = |it: &Owned| {
        let holding = table.as_ref().and_then(|table| table.holding(&it.partition));
        json!({
            "partition": &*it.partition, "region": &*it.region, "epoch": it.epoch.0,
            "standing": it.standing.word(),
            "home": holding.map(|it| &*it.home), "since_ms": holding.map(|it| it.since.0),
            "by": holding.map(|it| &*it.by), "reason": holding.map(|it| &*it.reason),
        })
    };
    json!({
        "ownership": true,
        "mode": rules.mode.word(),
        "version": rules.version,
        "epoch": table.as_ref().map(|it| it.epoch.0),
        "balancers": balancers,
        "leased": permits.is_leased(now),
        "lease_left_ms": millis(permits.until().since(now)),
        "failure": failure.map(|it| it.to_string()),
        "partitions": owned.iter().map(partition).collect::<Vec<_>>(),
    })
}

impl Admin {
    /// Answers a page about ownership.
    pub(super) async fn ownership(&self, method: &Method, page: &[&str], body: &[u8]) -> Answer {
        match (method.as_str(), page) {
            ("GET" | "HEAD", []) => {
                let policy = &self.handle.world().snapshot.policy;
                let picture = self.owners.as_ref().map(Owners::picture).unwrap_or_default();
                Answer::json(&told(policy, &picture, self.handle.permits(), clock::now()))
            }
            ("POST", ["move"]) => self.move_owner(body).await,
            _ => {
                let title = "nothing here; try /v1/ownership and /v1/ownership/move";
                Answer::problem(StatusCode::NOT_FOUND, "no_such_page", title)
            }
        }
    }

    async fn move_owner(&self, body: &[u8]) -> Answer {
        if let Some(refused) = self.refuses_change() {
            return refused;
        }
        let wanted: Wanted = match serde_json::from_slice(body) {
            Ok(wanted) => wanted,
            Err(error) => {
                let title = format!("a move is wanted: {error}");
                return Answer::problem(StatusCode::BAD_REQUEST, "bad_move", &title);
            }
        };
        let policy = std::sync::Arc::clone(&self.handle.world().snapshot.policy);
        let Some(owners) = self.owners.as_ref().filter(|_| policy.ownership.is_some()) else {
            let title = "the policy has no ownership, so there is nothing to move";
            return Answer::problem(StatusCode::CONFLICT, "no_ownership", title);
        };
        let wish = match wish(wanted, &policy) {
            Ok(wish) => wish,
            Err(answer) => return answer,
        };
        match owners.change(wish.clone()).await {
            Ok(table) => {
                let moved = table.holdings.iter().filter(|it| it.epoch == table.epoch);
                let moved: Vec<&str> = moved.map(|it| &*it.partition).collect();
                Answer::json(&json!({
                    "ok": true, "to": &*wish.to, "epoch": table.epoch.0, "moved": moved,
                }))
            }
            Err(not_moved) => refused(&not_moved),
        }
    }
}

fn wish(wanted: Wanted, policy: &Policy) -> Result<Move, Answer> {
    let Wanted { partitions, from, to, who, reason } = wanted;
    let bad = |title: &str| Answer::problem(StatusCode::BAD_REQUEST, "bad_move", title);
    for region in [Some(&to), from.as_ref()].into_iter().flatten() {
        if policy.region(region).is_none() {
            let title = format!("the policy has no region `{region}`");
            return Err(Answer::problem(StatusCode::NOT_FOUND, "no_such_region", &title));
        }
    }
    if partitions.is_empty() && from.is_none() {
        return Err(bad("name partitions, or the region that all of them are taken from"));
    }
    for text in [&who, &reason] {
        let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
        if !is_line || WORDS_BYTES_MAX < text.len() {
            let title =
                format!("a reason, and who gives it, is one line of 1 to {WORDS_BYTES_MAX} bytes");
            return Err(bad(&title));
        }
    }
    let name = |text: &str| -> Name { text.trim().into() };
    Ok(Move {
        partitions: partitions.iter().map(|it| it.as_str().into()).collect(),
        from: from.as_deref().map(Into::into),
        to: to.as_str().into(),
        by: name(&who),
        reason: name(&reason),
    })
}

fn refused(why: &NotMoved) -> Answer {
    let (status, code) = match why {
        NotMoved::Wrong(MoveError::NoPartition(_)) => (StatusCode::NOT_FOUND, "no_such_partition"),
        NotMoved::Wrong(MoveError::OtherOwner(..)) => (StatusCode::CONFLICT, "other_owner"),
        NotMoved::Wrong(MoveError::Already(_)) => (StatusCode::CONFLICT, "nothing_to_move"),
        NotMoved::Wrong(MoveError::Unknown) => {
            (StatusCode::SERVICE_UNAVAILABLE, "ownership_unsure")
        }
        NotMoved::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        NotMoved::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
    };
    Answer::problem(status, code, &why.to_string())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
