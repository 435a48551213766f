//! `tidegate fence`: the memory of writes, looked at and corrected.

use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::admin::fence::{Question, made_of};
use crate::cli::fence::{Explain, Fence, List, Open, Resolve};
use crate::cli::{FAILED, Output};
use crate::client;
use crate::explain;
use crate::fence::text;
use crate::say::{self, Trouble};

/// Largest body of a request that is explained, in bytes.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Carries out a verb.
pub(crate) fn carry_out(verb: &Fence, output: Output) -> Result<ExitCode, Trouble> {
    let get = |admin: &str, path: &str| client::send(admin, "GET", path, "")?.allowed();
    let print = |answer: &Json, text: fn(&Json) -> String| {
        say::result(&match output {
            Output::Json => answer.to_string(),
            Output::Text => text(answer),
        });
        Ok(ExitCode::SUCCESS)
    };
    match verb {
        Fence::Status(of) => print(&get(&of.admin, "/v1/fence")?, text::status),
        Fence::Warm(of) => {
            let answer = get(&of.admin, "/v1/fence/warm")?;
            print(&answer, text::warm)?;
            let is_warm = answer.get("warm").and_then(Json::as_bool) == Some(true);
            Ok(if is_warm { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
        Fence::Init { anew, operator } => {
            let body = json!({ "anew": anew, "who": user()? }).to_string();
            let begun =
                client::send(&operator.admin, "POST", "/v1/fence/init", &body)?.allowed()?;
            print(&begun, text::begun)
        }
        Fence::Ls(list) => print(&get(&list.admin.admin, &path_of(list))?, text::list),
        Fence::Show { key, admin } => print(&get(&admin.admin, &page_of(key)?)?, text::record),
        Fence::Resolve(resolve) => print(&self::resolve(resolve)?, text::resolved),
        Fence::Audit { limit, admin } => {
            print(&get(&admin.admin, &format!("/v1/fence/audit?limit={limit}"))?, text::audit)
        }
        Fence::Explain(asked) => print(&made(asked)?, text::explained),
    }
}

fn path_of(list: &List) -> String {
    let state = match list.state {
        Open::InDoubt => "in_doubt",
        Open::InFlight => "in_flight",
    };
    let older = list.older.map(|it| format!("&older={}ms", it.as_millis())).unwrap_or_default();
    format!("/v1/fence/keys?state={state}&limit={}{older}", list.limit)
}

/// The page of a key, which is no path that somebody has typed.
fn page_of(key: &str) -> Result<String, Trouble> {
    let is_key = !key.is_empty() && key.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_key {
        let why = format!("`{key}` is not a key, which has 64 hexadecimal digits");
        return Err(Trouble::Doing("read the key", why));
    }
    Ok(format!("/v1/fence/keys/{}", key.to_ascii_lowercase()))
}

/// Ends a doubt about the claim that is there now, and about no later one.
fn resolve(asked: &Resolve) -> Result<Json, Trouble> {
    let page = page_of(&asked.key)?;
    let record = client::send(&asked.operator.admin, "GET", &page, "")?.allowed()?;
    let who = match &asked.by {
        Some(who) => who.clone(),
        None => user()?,
    };
    let said = json!({
        "executed": asked.executed, "who": who, "reason": asked.reason,
        "owner": record.get("owner"),
    });
    client::send(&asked.operator.admin, "POST", &format!("{page}/resolve"), &said.to_string())?
        .allowed()
}

/// The user who runs this program; the system says who, and not the user.
pub(crate) fn user() -> Result<String, Trouble> {
    let process = std::fs::metadata("/proc/self");
    let process = process.map_err(|error| Trouble::doing("find out who asks")(&error))?;
    Ok(format!("uid {}", process.uid()))
}

fn made(asked: &Explain) -> Result<Json, Trouble> {
    let explain::Question { method, path, headers, client } = explain::question(&asked.ask)?;
    let body = match &asked.body {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or('0');
    let body: String = body.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect();
    let question = Question { method, path, headers, client, body };
    if let Some(path) = &asked.ask.policy {
        let policy = tidegate_policy::load_file(path)?;
        let made = made_of(&policy, &question);
        return made.map(|it| it.json).map_err(|why| Trouble::Doing("read the request", why));
    }
    let question = json!(question).to_string();
    client::send(&asked.ask.admin.admin, "POST", "/v1/fence/explain", &question)?.allowed()
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Trouble> {
    let trouble =
        |why: String| Trouble::Doing("read the body", format!("{}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| trouble(error.to_string()))?.len();
    if BODY_BYTES_MAX < length {
        return Err(trouble(format!("it has more than {BODY_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| trouble(error.to_string()))
}
