//! What operators ask of the policy: what is in force, what would change, and another one, please.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tidegate_policy::{Change, Facts};

use super::{Admin, Answer, Rights};
use crate::reload::{Done, Options, Order, Refused};

/// What the body of a reload may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// A time such as `60s`.
    confirm_within: Option<String>,
}

impl Admin {
    /// What would change if the policy of these facts were put in force; nothing is.
    pub(super) fn compare(&self, body: &[u8]) -> Answer {
        let facts = match serde_json::from_slice::<Facts>(body) {
            Ok(facts) => facts,
            Err(error) => {
                let title = format!("the facts of the policy cannot be read: {error}");
                return Answer::problem(StatusCode::BAD_REQUEST, "bad_facts", &title);
            }
        };
        let present = Facts::of(&self.handle.world().snapshot.policy);
        let changes = present.changes_to(&facts);
        let fixed = changes.iter().filter(|it| it.needs_upgrade());
        Answer::json(&json!({
            "generation": self.reloads.status().generation(),
            "changes": lines(&changes),
            "needs_upgrade": fixed.map(ToString::to_string).collect::<Vec<_>>(),
        }))
    }

    /// Carries out an order about the policy.
    pub(super) async fn order(&self, verb: &str, if_match: Option<&str>, body: &[u8]) -> Answer {
        if self.rights == Rights::Read {
            return Answer::read_only();
        }
        let order = match verb {
            "confirm" => Order::Confirm,
            "rollback" => Order::RollBack,
            _ => match options(if_match, body) {
                Ok(options) => Order::Reload(options),
                Err(title) => {
                    return Answer::problem(StatusCode::BAD_REQUEST, "bad_options", &title);
                }
            },
        };
        tracing::info!(verb, "operator acts");
        match self.reloads.ask(order).await {
            Ok(done) => Answer::json(&told(&done)),
            Err(refused) => refusal(&refused),
        }
    }
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

fn told(done: &Done) -> Json {
    json!({
        "ok": true,
        "result": done.result.word(),
        "changes": lines(&done.changes),
        "policy": done.status.json(),
    })
}

/// How a reload is wanted, or what is wrong with how it is said.
fn options(if_match: Option<&str>, body: &[u8]) -> Result<Options, String> {
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    let read = |it: Map<String, Json>| serde_json::from_value::<Wanted>(Json::Object(it));
    let wanted =
        if is_empty { Ok(Wanted::default()) } else { serde_json::from_slice(body).and_then(read) };
    let wanted = wanted.map_err(|error| format!("the options cannot be read: {error}"))?;
    let within = wanted.confirm_within.as_deref().map(tidegate_policy::duration).transpose();
    let confirm_within = within.map_err(|error| format!("confirm_within: {error}"))?;
    if confirm_within == Some(Duration::ZERO) {
        return Err("confirm_within: a time of zero leaves none to confirm".to_owned());
    }
    let generation = if_match.map(str::trim).filter(|it| *it != "*").map(|it| {
        let number = it.trim_matches('"').parse::<u64>();
        number
            .map_err(|_not_a_number| format!("If-Match: `{it}` is not a generation of the policy"))
    });
    Ok(Options { confirm_within, if_generation: generation.transpose()? })
}

fn refusal(refused: &Refused) -> Answer {
    let status = match refused {
        Refused::Policy(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Fixed(_)
        | Refused::Division(_)
        | Refused::Listener(_)
        | Refused::Pending(_)
        | Refused::NothingPending
        | Refused::NoFile => StatusCode::CONFLICT,
        Refused::Stale { .. } => StatusCode::PRECONDITION_FAILED,
        Refused::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let answer = Answer::problem(status, refused.code(), &title(refused));
    if let Refused::Policy(report) = refused {
        let problem = |it: &tidegate_policy::Problem| json!({ "line": it.line, "column": it.column, "message": it.message, "help": it.help });
        let problems: Vec<_> = report.problems().iter().map(problem).collect();
        return answer
            .with("file", json!(report.file()))
            .with("report", json!(report.render(false)))
            .with("problems", json!(problems));
    }
    answer
}

fn title(refused: &Refused) -> String {
    match refused {
        Refused::Policy(_) => "the policy is not right; the one in force stays".to_owned(),
        Refused::Fixed(_)
        | Refused::Division(_)
        | Refused::Listener(_)
        | Refused::Pending(_)
        | Refused::Stale { .. }
        | Refused::NothingPending
        | Refused::NoFile
        | Refused::Busy => refused.to_string(),
    }
}
