//! `tidegate check`: whether a policy is right.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::Output;
use crate::say::{self, Trouble};

/// Loads a policy and says what is in it.
pub(crate) fn check(path: &Path, output: Output) -> Result<ExitCode, Trouble> {
    let policy = tidegate_policy::load_file(path)?;
    let (regions, routes) = (policy.regions.len(), policy.routes.len());
    let keys = policy.contract.keys.iter().filter(|it| it.expect.is_some()).count();
    say::result(&match output {
        Output::Text => {
            let path = path.display();
            format!("{path}: right ({regions} regions, {routes} routes, {keys} contract keys)")
        }
        Output::Json => {
            json!({ "ok": true, "regions": regions, "routes": routes, "contract_keys": keys })
                .to_string()
        }
    });
    Ok(ExitCode::SUCCESS)
}
