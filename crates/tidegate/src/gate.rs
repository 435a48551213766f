//! `tidegate gate`: whether traffic may be moved, on what grounds, and why not.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cli::gate::{Asked, Gate};
use crate::cli::{FAILED, Output};
use crate::client;
use crate::say::{self, Trouble};

/// The two gates, in the order in which they are told.
const GATES: [&str; 2] = ["planned", "emergency"];

/// Carries out a verb.
pub(crate) fn carry_out(verb: &Gate, output: Output) -> Result<ExitCode, Trouble> {
    match verb {
        Gate::Status(asked) => {
            let answer = ask(asked)?;
            say::result(&match output {
                Output::Json => answer.to_string(),
                Output::Text => status(&answer),
            });
            let is_open = answer.pointer("/planned/open").and_then(Json::as_bool) == Some(true);
            Ok(if is_open { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
        Gate::Explain { condition, asked } => {
            let mut answer = ask(asked)?;
            for gate in GATES {
                keep(&mut answer, gate, condition.as_deref())?;
            }
            say::result(&match output {
                Output::Json => answer.to_string(),
                Output::Text => explain(&answer),
            });
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks a running balancer for both gates.
pub(crate) fn ask(asked: &Asked) -> Result<Json, Trouble> {
    let named = [("from", &asked.from), ("to", &asked.to)];
    let named = named.iter().filter_map(|(name, it)| Some(format!("{name}={}", it.as_ref()?)));
    let query = named.collect::<Vec<_>>().join("&");
    client::send(&asked.admin.admin, "GET", &format!("/v1/gates?{query}"), "")?.allowed()
}

/// Keeps the evidence of one condition, or all that is not green.
fn keep(answer: &mut Json, gate: &str, condition: Option<&str>) -> Result<(), Trouble> {
    let place = format!("/{gate}/evidence");
    let Some(Json::Array(evidence)) = answer.pointer_mut(&place) else { return Ok(()) };
    let is = |it: &Json, name: &str, word: &str| it.get(name).and_then(Json::as_str) == Some(word);
    if let Some(condition) = condition
        && gate == "planned"
        && tidegate_core::gate::evidence::Condition::ALL.iter().all(|it| it.word() != condition)
    {
        let why = format!("`{condition}` is no condition of a gate");
        return Err(Trouble::Doing("explain the gate", why));
    }
    evidence.retain(|it| match condition {
        Some(condition) => is(it, "condition", condition),
        None => !is(it, "light", "green"),
    });
    Ok(())
}

/// One line for each gate and each condition.
fn status(answer: &Json) -> String {
    let mut lines = Vec::new();
    for gate in GATES {
        lines.push(heading(answer, gate));
        for it in evidence(answer, gate) {
            let said = |name: &str| it.get(name).and_then(Json::as_str).unwrap_or("-");
            lines.push(format!(
                "  {:<14} {:<11} {:<20} {:<8} {}",
                said("light"),
                said("condition"),
                said("owner"),
                age(it),
                said("code")
            ));
        }
    }
    lines.join("\n")
}

/// The same with reasons and sources.
fn explain(answer: &Json) -> String {
    let mut lines = Vec::new();
    for gate in GATES {
        lines.push(heading(answer, gate));
        for it in evidence(answer, gate) {
            let said = |name: &str| it.get(name).and_then(Json::as_str).unwrap_or("-");
            let (condition, owner, light) = (said("condition"), said("owner"), said("light"));
            lines.push(format!("  {condition} of {owner} is {light}: {}", said("reason")));
            lines.push(match it.get("age_ms").and_then(Json::as_u64) {
                Some(_) => format!("    from {}, seen {} ago", said("source"), age(it)),
                None => format!("    from {}", said("source")),
            });
        }
    }
    lines.join("\n")
}

fn heading(answer: &Json, gate: &str) -> String {
    let opens = |what: &str| answer.pointer(&format!("/{gate}/{what}")).and_then(Json::as_bool);
    let is = |what| if opens(what) == Some(true) { "open" } else { "shut" };
    match gate {
        "planned" => format!("{gate}: {}", is("open")),
        _ => format!("{gate}: reads {}, writes {}", is("reads"), is("writes")),
    }
}

fn evidence<'a>(answer: &'a Json, gate: &str) -> impl Iterator<Item = &'a Json> {
    let evidence = answer.pointer(&format!("/{gate}/evidence")).and_then(Json::as_array);
    evidence.into_iter().flatten()
}

/// How old evidence is, for people.
fn age(evidence: &Json) -> String {
    let age = evidence.get("age_ms").and_then(Json::as_u64).map(Duration::from_millis);
    age.map_or_else(|| "-".to_owned(), |it| format!("{:.1}s", it.as_secs_f64()))
}

/// What a promotion would find, without moving anything.
pub(crate) fn promote(
    asked: &Asked,
    is_emergency: bool,
    output: Output,
) -> Result<ExitCode, Trouble> {
    let answer = ask(asked)?;
    let gate = if is_emergency { "emergency" } else { "planned" };
    let opens = |what: &str| {
        answer.pointer(&format!("/{gate}/{what}")).and_then(Json::as_bool) == Some(true)
    };
    let (reads, writes) = (opens("reads"), opens("writes"));
    say::result(&match output {
        Output::Json => json!({
            "dry_run": true, "gate": gate, "from": asked.from, "to": asked.to,
            "reads": reads, "writes": writes,
            "evidence": answer.pointer(&format!("/{gate}/evidence")),
        })
        .to_string(),
        Output::Text => {
            let mut lines = vec![heading(&answer, gate)];
            for it in evidence(&answer, gate) {
                let said = |name: &str| it.get(name).and_then(Json::as_str).unwrap_or("-");
                let (condition, owner, light) = (said("condition"), said("owner"), said("light"));
                let reason = said("reason");
                lines.push(format!("  {light} {condition} of {owner}: {reason}"));
            }
            lines.push("nothing was moved".to_owned());
            lines.join("\n")
        }
    });
    Ok(if writes { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
