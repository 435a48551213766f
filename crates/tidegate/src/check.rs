//! `tidegate check`: whether a policy is right, and what it would change.

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use tidegate_policy::Facts;

use crate::cli::{Against, Check, Output};
use crate::client;
use crate::say::{self, Trouble};

/// Loads a policy and says what is in it, and perhaps what it would change.
pub(crate) fn check(check: &Check, output: Output) -> Result<ExitCode, Trouble> {
    let policy = tidegate_policy::load_file(&check.policy)?;
    let (regions, routes) = (policy.regions.len(), policy.routes.len());
    let keys = policy.contract.keys.iter().filter(|it| it.expect.is_some()).count();
    let compared = match check.against {
        Some(Against::Running) => Some(compare(&check.admin.admin, &Facts::of(&policy))?),
        None => None,
    };
    say::result(&match output {
        Output::Text => {
            let path = check.policy.display();
            let right =
                format!("{path}: right ({regions} regions, {routes} routes, {keys} contract keys)");
            compared.map_or_else(|| right.clone(), |it| format!("{right}\n{}", in_words(&it)))
        }
        Output::Json => {
            let mut json = json!({
                "ok": true, "regions": regions, "routes": routes, "contract_keys": keys
            });
            if let (Some(compared), Some(json)) = (compared, json.as_object_mut()) {
                json.insert("against_running".to_owned(), compared);
            }
            json.to_string()
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Lets a running balancer say what these facts would change.
fn compare(admin: &str, facts: &Facts) -> Result<Json, Trouble> {
    let facts = serde_json::to_string(facts);
    let facts = facts.map_err(|error| Trouble::doing("write the policy's facts")(&error))?;
    client::send(admin, "POST", "/v1/policy/diff", &facts)?.json()
}

fn in_words(compared: &Json) -> String {
    let texts = |member: &str| {
        let list = compared.get(member).and_then(Json::as_array).into_iter().flatten();
        list.filter_map(Json::as_str).collect::<Vec<_>>()
    };
    let (changes, fixed) = (texts("changes"), texts("needs_upgrade"));
    let generation = compared.get("generation").unwrap_or(&Json::Null);
    if changes.is_empty() {
        return format!("nothing differs from the running policy (generation {generation})");
    }
    let lines = changes.iter().map(|it| {
        let mark = if fixed.contains(it) { " (needs an upgrade or a restart)" } else { "" };
        format!("  {it}{mark}")
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("against the running policy (generation {generation}):\n{lines}")
}
