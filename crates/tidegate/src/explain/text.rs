//! An explanation for people.

use serde_json::Value as Json;

use super::Question;

/// The answer to a question, one thing a line.
pub(super) fn of(question: &Question, answer: &Json) -> String {
    let mut lines = vec![headline(question, answer)];
    lines.push(line("route", &format!("{}, {}", word(answer, "route"), word(answer, "intent"))));
    if let Some(pin) = answer.get("pin") {
        lines.push(line("pin", &format!("{} is {}", word(pin, "region"), word(pin, "outcome"))));
    }
    if let Some(session) = answer.get("session") {
        let told = word(session, "outcome");
        let told = match session.get("region").and_then(Json::as_str) {
            Some(region) => format!("{region} is {told}"),
            None => format!("the token is {told}"),
        };
        lines.push(line("session", &told));
    }
    if answer.get("assigned_release").is_some() {
        let release = word(answer, "assigned_release");
        lines.push(line("release", &format!("{release}, by the {}", word(answer, "assigned_by"))));
    }
    let endpoints: Vec<_> = list(answer, "endpoints").filter_map(Json::as_str).collect();
    if !endpoints.is_empty() {
        lines.push(line("endpoints", &endpoints.join(", ")));
    }
    for passed in list(answer, "passed") {
        let told = format!("{}: {}", word(passed, "region"), word(passed, "cause"));
        lines.push(line("not", &told));
        lines.extend(list(passed, "detail").filter_map(Json::as_str).map(|it| line("", it)));
    }
    lines.extend(list(answer, "differences").map(|it| {
        let of = |key| word(it, key);
        let told = format!("{} {} is {}", of("region"), of("key"), of("found"));
        line("differs", &format!("{told}, asked {}", of("asked")))
    }));
    lines.join("\n")
}

fn headline(question: &Question, answer: &Json) -> String {
    let Question { method, path, .. } = question;
    if word(answer, "outcome") == "routed" {
        let (region, reason) = (word(answer, "region"), word(answer, "reason"));
        return format!("{method} {path} goes to {region} ({reason})");
    }
    let status = answer.get("status").and_then(Json::as_u64).unwrap_or_default();
    let (code, title) = (word(answer, "code"), word(answer, "title"));
    format!("{method} {path} is refused with {status} {code}: {title}")
}

fn line(label: &str, told: &str) -> String {
    format!("  {label:<10} {told}")
}

fn word<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or("-")
}

fn list<'a>(json: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    json.get(key).and_then(Json::as_array).into_iter().flatten()
}
