//! `tidegate window`: opening the failover window, closing it again, and looking at it.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cli::{Output, Window, WindowAct};
use crate::client;
use crate::say::{self, Trouble};

/// Carries out what is asked, and prints the window as it is then.
pub(crate) fn window(asked: &Window, output: Output) -> Result<ExitCode, Trouble> {
    let admin = &asked.operator.admin;
    let post = |verb: &str| {
        let body = json!({ "reason": asked.reason }).to_string();
        client::send(admin, "POST", &format!("/v1/window/{verb}"), &body)?.allowed()
    };
    let window = match asked.act {
        WindowAct::Open => post("open")?,
        WindowAct::Close => post("close")?,
        WindowAct::Status => client::send(admin, "GET", "/v1/window", "")?.allowed()?,
    };
    say::result(&match output {
        Output::Json => window.to_string(),
        Output::Text => in_words(&window),
    });
    Ok(ExitCode::SUCCESS)
}

/// The window for people.
fn in_words(window: &Json) -> String {
    let is = |key: &str| window.get(key).and_then(Json::as_bool) == Some(true);
    let span = |key: &str| {
        let millis = window.get(key).and_then(Json::as_u64);
        millis.map(|it| format!("{:?}", Duration::from_secs(it.div_ceil(1000))))
    };
    let detail = |cause: &Json| {
        cause.get("detail").and_then(Json::as_str).unwrap_or("nobody knows why").to_owned()
    };
    if !is("fence") {
        return "the policy has no fence, so there is no failover window".to_owned();
    }
    if !is("open") {
        return "shut".to_owned();
    }
    let mut lines = vec![format!(
        "open for {}, because of: {}",
        span("open_for_ms").unwrap_or_default(),
        window.get("opened_by").map(detail).unwrap_or_default()
    )];
    let lasting = window.get("lasting").and_then(Json::as_array).map(Vec::as_slice);
    lines.extend(lasting.unwrap_or_default().iter().map(|it| format!("  lasts: {}", detail(it))));
    let last = window.get("last").map(detail).unwrap_or_default();
    lines.push(match (span("closes_in_ms"), span("failover_window_ms")) {
        (Some(left), _) => format!("closes in {left}, if nothing follows on: {last}"),
        (None, Some(length)) => format!("closes {length} after that has ended"),
        (None, None) => String::new(),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_told_in_words() {
        let check = |window: &Json, words: &str| assert_eq!(in_words(window), words);
        check(
            &json!({ "fence": false, "open": false }),
            "the policy has no fence, so there is no failover window",
        );
        check(&json!({ "fence": true, "open": false, "failover_window_ms": 900_000 }), "shut");
        let loss = json!({ "cause": "loss", "detail": "eu lost traffic", "region": "eu" });
        let mut window = json!({
            "fence": true, "open": true, "failover_window_ms": 900_000, "open_for_ms": 60_000,
            "opened_by": loss, "lasting": [], "last": loss, "closes_in_ms": 839_001,
        });
        check(
            &window,
            "open for 60s, because of: eu lost traffic\n\
             closes in 840s, if nothing follows on: eu lost traffic",
        );
        let drain = json!({ "cause": "drain", "detail": "us is being drained" });
        window["lasting"] = json!([drain]);
        window["closes_in_ms"] = Json::Null;
        check(
            &window,
            "open for 60s, because of: eu lost traffic\n  lasts: us is being drained\n\
             closes 900s after that has ended",
        );
    }
}
