//! What the fence says, for people.

use serde_json::Value as Json;

/// How the fence is.
pub(super) fn status(answer: &Json) -> String {
    let yes = |pointer: &str| at(answer, pointer).as_bool() == Some(true);
    let up = if yes("/up") { "up" } else { "down" };
    let warm = if yes("/warm") { "warm" } else { "not warm (tidegate fence warm)" };
    let place = [word(answer, "/store/path"), word(answer, "/store/prefix")];
    let place = place.into_iter().find(|it| *it != "-").unwrap_or("-");
    let store = format!("{} {place}, {up}, {warm}", word(answer, "/store/kind"));
    let window = if yes("/window_open") { "open" } else { "shut" };
    let of = |key: &str| number(answer, &format!("/counts/{key}"));
    let mut lines = vec![line("store", &store)];
    if let Some(failure) = at(answer, "/failure").as_str() {
        lines.push(line("failure", failure));
    }
    if !at(answer, "/records").is_null() {
        let open = |key: &str| number(answer, &format!("/records/{key}"));
        let oldest = at(answer, "/records/oldest_open_ms").as_u64();
        let oldest = oldest.map_or_else(|| "none".to_owned(), age);
        let told = format!("{} in flight, {} in doubt", open("in_flight"), open("in_doubt"));
        lines.push(line("open", &format!("{told}, the oldest for {oldest}")));
        let told = format!("{} of {} bytes", open("bytes"), open("bytes_max"));
        lines.push(line("room", &format!("{told}, since {}", word(answer, "/records/since"))));
    }
    lines.push(line("window", window));
    let told =
        format!("{} won, {} answered before, {} under way", of("won"), of("done"), of("busy"));
    let rest = format!(
        "{} in doubt, {} clashes, {} refused",
        of("in_doubt"),
        of("clashes"),
        of("refused")
    );
    lines.push(line("claims", &format!("{told}, {rest}")));
    let told = format!(
        "{} answers, {} doubts, {} given back",
        of("completed"),
        of("doubted"),
        of("released")
    );
    let rest = format!("{} postponed, {} lost", of("postponed"), of("lost"));
    lines.push(line("outcomes", &format!("{told}, {rest}")));
    let told = format!("{} escapes, {} unsafe expiries", of("escapes"), of("unsafe_expiries"));
    lines.push(line("alarms", &format!("{told}, {} resurrected", of("resurrected"))));
    lines.join("\n")
}

/// Every check, and whether all of them hold.
pub(super) fn warm(answer: &Json) -> String {
    let is = |json: &Json, key: &str| json.get(key).and_then(Json::as_bool) == Some(true);
    let mut lines = vec![if is(answer, "warm") { "warm" } else { "not warm" }.to_owned()];
    lines.extend(list_of(answer, "/checks").map(|check| {
        let mark = if is(check, "ok") { "ok  " } else { "FAIL" };
        let (name, detail) = (word(check, "/check"), word(check, "/detail"));
        format!("  {mark} {name:<12} {detail}")
    }));
    lines.join("\n")
}

/// Whether a store has begun to remember.
pub(super) fn begun(answer: &Json) -> String {
    let is_new = at(answer, "/begun").as_bool() == Some(true);
    if is_new { "it remembers from now on" } else { "it was begun before; nothing is changed" }
        .to_owned()
}

/// Records, one a line.
pub(super) fn list(answer: &Json) -> String {
    let mut lines = vec![format!("{:<64} {:<10} {:>9}  {}", "KEY", "STATE", "AGE", "WHY")];
    lines.extend(list_of(answer, "/keys").map(|it| {
        let (key, state) = (word(it, "/key"), word(it, "/state"));
        let told = format!("{key:<64} {state:<10} {:>9}", age(number(it, "/age_ms")));
        format!("{told}  {}", word(it, "/doubt"))
    }));
    let more = at(answer, "/more").as_bool() == Some(true);
    lines.push(format!("{} listed{}", lines.len() - 1, if more { ", and more" } else { "" }));
    lines.join("\n")
}

/// One record.
pub(super) fn record(answer: &Json) -> String {
    format!("{}\n{}", word(answer, "/key"), remembered(answer).join("\n"))
}

fn remembered(record: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    let state = word(record, "/state").replace('_', " ");
    let state = match at(record, "/doubt").as_str() {
        Some(doubt) => format!("{state}: {}", doubt.replace('_', " ")),
        None => state,
    };
    lines.push(line("state", &state));
    for (label, pointer) in [
        ("claimed", "/claimed"),
        ("owner", "/owner"),
        ("epoch", "/epoch"),
        ("attempt", "/attempt"),
        ("request", "/fingerprint"),
        ("lease", "/lease_until"),
        ("expires", "/expires"),
    ] {
        if !at(record, pointer).is_null() {
            lines.push(line(label, &plain(at(record, pointer))));
        }
    }
    if let Some(from) = at(record, "/not_executed_from").as_str() {
        lines.push(line("resolve", &format!("--executed now, --not-executed from {from}")));
    }
    if !at(record, "/answer").is_null() {
        let status = number(record, "/answer/status");
        let status =
            if status == 0 { "said to be executed".to_owned() } else { status.to_string() };
        let kept = word(record, "/answer/kept");
        lines.push(line("answer", &format!("{status}, of its body {kept} is kept")));
    }
    lines
}

/// What became of a resolution.
pub(super) fn resolved(answer: &Json) -> String {
    let executed = at(answer, "/executed").as_bool() == Some(true);
    let told = if executed { "executed; it stays known" } else { "not executed; the key is free" };
    format!("{}: {told}", word(answer, "/key"))
}

/// What was resolved, one a line.
pub(super) fn audit(answer: &Json) -> String {
    let lines = list_of(answer, "/audit").map(|it| {
        let executed = at(it, "/executed").as_bool() == Some(true);
        let said = if executed { "executed" } else { "not executed" };
        let (when, key) = (word(it, "/at"), word(it, "/key"));
        format!("{when} {key} {said}, says {}: {}", word(it, "/who"), word(it, "/reason"))
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { "nothing was resolved".to_owned() } else { lines.join("\n") }
}

/// What the fence makes of a request.
pub(super) fn explained(answer: &Json) -> String {
    let route = word(answer, "/route");
    match word(answer, "/outcome") {
        "no_route" => return "no route takes it".to_owned(),
        "unfenced" => {
            return format!("{route}: it is not fenced, because {}", word(answer, "/why"));
        }
        "refused" => {
            let (code, title) = (word(answer, "/code"), word(answer, "/title"));
            return format!("{route}: refused with {} {code}: {title}", number(answer, "/status"));
        }
        _ => {}
    }
    let tenant = at(answer, "/scope/tenant").as_str().map(|it| format!(", tenant {it}"));
    let has_principal = at(answer, "/scope/principal").as_bool() == Some(true);
    let principal = if has_principal { "its principal" } else { "no principal" };
    let scope = format!("route {route}{}, {principal}", tenant.unwrap_or_default());
    let mut lines = vec![
        word(answer, "/key").to_owned(),
        line("scope", &scope),
        line("request", word(answer, "/fingerprint")),
    ];
    match at(answer, "/record/state").as_str() {
        None => {}
        Some("absent") => lines.push(line("state", "nothing is remembered")),
        Some("unknown") => lines.push(line("state", word(answer, "/record/failure"))),
        Some(_) => lines.extend(remembered(at(answer, "/record"))),
    }
    lines.join("\n")
}

fn line(label: &str, told: &str) -> String {
    format!("  {label:<10} {told}")
}

fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn age(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

fn at<'a>(json: &'a Json, pointer: &str) -> &'a Json {
    json.pointer(pointer).unwrap_or(&Json::Null)
}

fn word<'a>(json: &'a Json, pointer: &str) -> &'a str {
    at(json, pointer).as_str().unwrap_or("-")
}

fn number(json: &Json, pointer: &str) -> u64 {
    at(json, pointer).as_u64().unwrap_or_default()
}

fn list_of<'a>(json: &'a Json, pointer: &str) -> impl Iterator<Item = &'a Json> {
    at(json, pointer).as_array().into_iter().flatten()
}
