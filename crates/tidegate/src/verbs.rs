//! The verbs that are one question to a running balancer, or none at all.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::{Admin, FAILED, OfRegion, Output};
use crate::client;
use crate::say::{self, Trouble};

/// The version of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

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
