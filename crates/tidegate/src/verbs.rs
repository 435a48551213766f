//! The verbs that are one question to a running balancer, or none at all.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cli::{Admin, FAILED, OfRegion, Operator, Output, Reload};
use crate::client;
use crate::say::{self, Trouble};

/// The version of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an answer may take beyond the time that a successor has.
const UPGRADE_SLACK: Duration = Duration::from_secs(10);

/// Prints the world of a running balancer.
pub(crate) fn state(admin: &Admin) -> Result<ExitCode, Trouble> {
    let state = client::send(&admin.admin, "GET", "/v1/state", "")?.json()?;
    say::result(&format!("{state:#}"));
    Ok(ExitCode::SUCCESS)
}

/// Prints the JSON Schema of policies.
pub(crate) fn schema() {
    say::result(tidegate_policy::schema().trim_end());
}

/// Changes something about a region.
pub(crate) fn change(of: &OfRegion, verb: &str, output: Output) -> Result<ExitCode, Trouble> {
    let path = format!("/v1/regions/{}/{verb}", of.region);
    let answer = client::send(&of.admin, "POST", &path, "")?.json()?;
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => format!("{}: {verb} done", of.region),
    });
    Ok(ExitCode::SUCCESS)
}

/// Lets a running balancer load its policy again.
pub(crate) fn reload(reload: &Reload, output: Output) -> Result<ExitCode, Trouble> {
    let within = reload.confirm_within.map(|it| format!("{}ms", it.as_millis()));
    let options = within.map_or_else(|| json!({}), |it| json!({ "confirm_within": it }));
    let admin = &reload.operator.admin;
    let answer = client::send(admin, "POST", "/v1/reload", &options.to_string())?.allowed()?;
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => in_force(&answer),
    });
    Ok(ExitCode::SUCCESS)
}

/// Settles what becomes of a policy that waits for its confirmation.
pub(crate) fn settle(of: &Operator, verb: &str, output: Output) -> Result<ExitCode, Trouble> {
    let path = format!("/v1/policy/{verb}");
    let answer = client::send(&of.admin, "POST", &path, "")?.allowed()?;
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => in_force(&answer),
    });
    Ok(ExitCode::SUCCESS)
}

/// What came of an order about the policy, for people.
fn in_force(answer: &Json) -> String {
    let at = |pointer: &str| answer.pointer(pointer).unwrap_or(&Json::Null);
    let result = at("/result").as_str().unwrap_or("done").replace('_', " ");
    let mut text = format!("{result}: generation {} is in force", at("/policy/generation"));
    for line in at("/changes").as_array().into_iter().flatten().filter_map(Json::as_str) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    if let Some(until) = at("/policy/confirm_until").as_str() {
        text.push_str("\nit is rolled back at ");
        text.push_str(until);
        text.push_str(" unless `tidegate confirm` comes before");
    }
    text
}

/// Lets a new process take over from a running balancer.
pub(crate) fn upgrade(
    admin: &str,
    (binary, within, force): (Option<&Path>, Duration, bool),
    output: Output,
) -> Result<ExitCode, Trouble> {
    let binary = binary.map(std::path::absolute).transpose();
    let binary = binary.map_err(|error| Trouble::doing("find the program")(&error))?;
    let millis = format!("{}ms", within.as_millis());
    let body = json!({ "binary": binary, "within": millis, "force": force }).to_string();
    let reply = client::listen((admin, "/v1/upgrade", &body), within + UPGRADE_SLACK, |line| {
        let line = serde_json::from_str::<Json>(line).unwrap_or_default();
        if let (Output::Text, Some(step)) = (output, line.get("step").and_then(Json::as_str)) {
            say::result(step);
        }
    })?;
    let came = reply.json()?;
    let is_ok = came.get("ok").and_then(Json::as_bool) == Some(true);
    match output {
        Output::Json => say::result(&reply.body),
        Output::Text if is_ok => {
            let pid = came.get("pid").and_then(Json::as_u64).unwrap_or_default();
            say::result(&format!("process {pid} serves, the one before it drains"));
        }
        Output::Text => {
            let why = came.get("error").and_then(Json::as_str).unwrap_or("the answer broke off");
            let why = format!("{why}; the running process goes on");
            return Err(Trouble::Doing("upgrade", why));
        }
    }
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Exits with 0 when a running balancer is ready.
pub(crate) fn healthcheck(admin: &Admin) -> Result<ExitCode, Trouble> {
    let reply = client::send(&admin.admin, "GET", "/readyz", "")?;
    if reply.status == 200 {
        return Ok(ExitCode::SUCCESS);
    }
    say::result(reply.body.trim_end());
    Ok(ExitCode::from(FAILED))
}

/// Prints the version.
pub(crate) fn version(output: Output) {
    say::result(&match output {
        Output::Text => format!("tidegate {VERSION}"),
        Output::Json => json!({ "version": VERSION }).to_string(),
    });
}
