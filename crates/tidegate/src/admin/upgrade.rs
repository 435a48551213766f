//! An upgrade as operators ask for it, and what they hear of it line by line.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Answer;
use crate::upgrade::{Progress, Upgrades, WITHIN, Wanted};

/// Shortest and longest time that a successor may be given.
const WITHIN_MIN: Duration = Duration::from_millis(1);
const WITHIN_MAX: Duration = Duration::from_hours(1);

/// What is asked for; nothing need be said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// The program.
    binary: Option<PathBuf>,
    /// How long it may take, as a policy writes durations.
    within: Option<String>,
    /// Whether it may serve also when it reaches fewer regions.
    force: bool,
}

/// Begins an upgrade.
pub(super) fn begin(
    upgrades: &Upgrades,
    body: &[u8],
) -> Result<UnboundedReceiver<Progress>, Answer> {
    let wanted = wanted(body)
        .map_err(|title| Answer::problem(StatusCode::BAD_REQUEST, "bad_question", &title))?;
    upgrades.begin(wanted).map_err(|refused| {
        Answer::problem(StatusCode::CONFLICT, "not_upgraded", &refused.to_string())
    })
}

fn wanted(body: &[u8]) -> Result<Wanted, String> {
    let asked: Asked = if body.is_empty() {
        Asked::default()
    } else {
        let read = serde_json::from_slice(body);
        read.map_err(|error| format!("the question cannot be read: {error}"))?
    };
    let within = asked.within.as_deref().map_or(Ok(WITHIN), tidegate_policy::duration);
    let within = within?;
    if !(WITHIN_MIN..=WITHIN_MAX).contains(&within) {
        return Err("a successor has between 1ms and 1h".to_owned());
    }
    if asked.binary.as_deref().is_some_and(|it| !it.is_absolute()) {
        return Err("the path of the program must be absolute".to_owned());
    }
    Ok(Wanted { binary: asked.binary, within, force: asked.force })
}

/// Writes one line for each thing that happens; the last one says what came of it.
pub(super) async fn write(
    session: &mut ServerSession,
    mut progress: UnboundedReceiver<Progress>,
) -> pingora::Result<()> {
    // The end of the connection is the end of the answer.
    session.set_keepalive(None);
    let mut header = ResponseHeader::build(StatusCode::OK, Some(2))?;
    header.insert_header(http::header::CONTENT_TYPE, "application/x-ndjson")?;
    header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
    session.write_response_header(Box::new(header)).await?;
    while let Some(progress) = progress.recv().await {
        let line = format!("{}\n", line(&progress));
        session.write_response_body(Bytes::from(line), false).await?;
    }
    session.write_response_body(Bytes::new(), true).await
}

fn line(progress: &Progress) -> Json {
    match progress {
        Progress::Step(step) => json!({ "step": step }),
        Progress::Done { pid, version } => json!({ "ok": true, "pid": pid, "version": version }),
        Progress::Failed(why) => json!({ "ok": false, "error": why }),
    }
}
