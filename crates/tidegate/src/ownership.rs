//! `tidegate ownership`: who owns what, and moving it.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::cli::Output;
use crate::cli::ownership::{Move, Ownership};
use crate::client;
use crate::fence::verbs::user;
use crate::say::{self, Trouble};

/// Carries out what is asked.
pub(crate) fn carry_out(verb: &Ownership, output: Output) -> Result<ExitCode, Trouble> {
    let (answer, text): (Json, fn(&Json) -> String) = match verb {
        Ownership::Status(of) => {
            (client::send(&of.admin, "GET", "/v1/ownership", "")?.allowed()?, status)
        }
        Ownership::Move(asked) => (moved(asked)?, told),
    };
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => text(&answer),
    });
    Ok(ExitCode::SUCCESS)
}

fn moved(asked: &Move) -> Result<Json, Trouble> {
    let who = match &asked.by {
        Some(who) => who.clone(),
        None => user()?,
    };
    let body = json!({
        "partitions": asked.partitions, "from": asked.from, "to": asked.to, "who": who,
        "reason": asked.reason,
    });
    client::send(&asked.operator.admin, "POST", "/v1/ownership/move", &body.to_string())?.allowed()
}

fn text<'j>(from: &'j Json, key: &str) -> &'j str {
    from.get(key).and_then(Json::as_str).unwrap_or("-")
}

fn number(from: &Json, key: &str) -> u64 {
    from.get(key).and_then(Json::as_u64).unwrap_or_default()
}

fn list<'j>(from: &'j Json, key: &str) -> &'j [Json] {
    from.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A move for people.
fn told(answer: &Json) -> String {
    let moved = list(answer, "moved").iter().filter_map(Json::as_str).collect::<Vec<_>>();
    let (to, epoch) = (text(answer, "to"), number(answer, "epoch"));
    let moved = moved.join(", ");
    format!("{moved}: owned by {to} since epoch {epoch}; written to once every balancer knows")
}

/// Ownership for people, one partition a line.
fn status(answer: &Json) -> String {
    if answer.get("ownership").and_then(Json::as_bool) != Some(true) {
        return "the policy has no ownership: any region takes writes".to_owned();
    }
    let is_leased = answer.get("leased").and_then(Json::as_bool) == Some(true);
    let left = number(answer, "lease_left_ms").div_ceil(1000);
    let mut lines = vec![format!(
        "{}, version {}, epoch {}, {} balancers; {}",
        text(answer, "mode"),
        number(answer, "version"),
        number(answer, "epoch"),
        number(answer, "balancers"),
        if is_leased {
            format!("this one may write for {left}s without hearing from the store")
        } else {
            "this one may not write: its lease is over".to_owned()
        }
    )];
    if let Some(failure) = answer.get("failure").and_then(Json::as_str) {
        lines.push(format!("the last renewal failed: {failure}"));
    }
    for it in list(answer, "partitions") {
        let home = match (text(it, "home"), text(it, "region")) {
            (home, region) if home == region => String::new(),
            (home, _) => format!(" (home {home})"),
        };
        lines.push(format!(
            "{:24} {:16} {:9} epoch {}{home}, by {}: {}",
            text(it, "partition"),
            text(it, "region"),
            text(it, "standing"),
            number(it, "epoch"),
            text(it, "by"),
            text(it, "reason"),
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_is_told_in_words() {
        let none = "the policy has no ownership: any region takes writes";
        assert_eq!(status(&json!({ "ownership": false })), none);
        let words = status(&json!({
            "ownership": true, "mode": "active_active", "version": 2, "epoch": 7, "balancers": 3,
            "leased": true, "lease_left_ms": 8_001, "failure": null,
            "partitions": [{
                "partition": "tenant-a", "region": "us", "epoch": 7, "standing": "opening",
                "home": "eu", "since_ms": 1, "by": "ann", "reason": "eu is being rebuilt",
            }],
        }));
        let lines: Vec<&str> = words.lines().collect();
        assert_eq!(
            lines[0],
            "active_active, version 2, epoch 7, 3 balancers; this one may write for 9s without \
             hearing from the store"
        );
        let line = lines[1].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "tenant-a us opening epoch 7 (home eu), by ann: eu is being rebuilt");
    }
}
