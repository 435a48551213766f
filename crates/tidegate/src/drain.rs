//! `tidegate drain`, `undrain`, `drains` and `streams`: taking something out, and watching it empty.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cli::{Admin, Drain, Listed, Output, Place, UNCLEAN};
use crate::client;
use crate::say::{self, Trouble};

/// Time from one look at a drain to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Takes a region or an endpoint out, and waits until it is empty if that is wanted.
pub(crate) fn drain(asked: &Drain, output: Output) -> Result<ExitCode, Trouble> {
    let verb = if asked.force { "drain?force=true" } else { "drain" };
    let answer = post(&asked.place, verb)?;
    if let Some(patience) = asked.wait {
        return wait(&asked.place, patience.0, output);
    }
    told(&asked.place, "drain", (&answer, output));
    Ok(ExitCode::SUCCESS)
}

/// Puts a region or an endpoint back, or does something else with it at once.
pub(crate) fn change(place: &Place, verb: &str, output: Output) -> Result<ExitCode, Trouble> {
    let answer = post(place, verb)?;
    told(place, verb, (&answer, output));
    Ok(ExitCode::SUCCESS)
}

fn told(place: &Place, verb: &str, (answer, output): (&Json, Output)) {
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => format!("{}: {verb} done", name(place)),
    });
}

/// Prints every drain of a running balancer.
pub(crate) fn drains(admin: &Admin, output: Output) -> Result<ExitCode, Trouble> {
    let answer = client::send(&admin.admin, "GET", "/v1/drains", "")?.json()?;
    let drains = answer.get("drains").and_then(Json::as_array).map(Vec::as_slice);
    say::result(&match (output, drains.unwrap_or_default()) {
        (Output::Json, _) => answer.to_string(),
        (Output::Text, []) => "nothing is being drained".to_owned(),
        (Output::Text, drains) => {
            let line = |it: &Json| {
                let endpoint = it.get("endpoint").and_then(Json::as_str);
                let endpoint = endpoint.map(|it| format!(" {it}")).unwrap_or_default();
                let (region, cause) = (text(it, "region"), text(it, "cause"));
                format!("{region}{endpoint}: {} ({cause}), {}", text(it, "state"), in_short(it))
            };
            drains.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Prints what a running balancer has open.
pub(crate) fn streams(asked: &Listed, output: Output) -> Result<ExitCode, Trouble> {
    let filter = |key: &str, value: &Option<String>| {
        value.as_ref().map(|it| format!("&{key}={it}")).unwrap_or_default()
    };
    let (region, kind) = (filter("region", &asked.region), filter("kind", &asked.kind));
    let path = format!("/v1/streams?limit={}{region}{kind}", asked.limit);
    let answer = client::send(&asked.admin.admin, "GET", &path, "")?.json()?;
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => table(&answer),
    });
    Ok(ExitCode::SUCCESS)
}

fn post(place: &Place, verb: &str) -> Result<Json, Trouble> {
    let endpoint = place.endpoint.map(|it| format!("/endpoints/{it}")).unwrap_or_default();
    let path = format!("/v1/regions/{}{endpoint}/{verb}", place.region);
    client::send(&place.admin, "POST", &path, "")?.json()
}

/// Watches a drain to its end, and tells how it ended: unclean when its time is over first, when
/// it is put back, or when something did not end well.
fn wait(place: &Place, patience: Option<Duration>, output: Output) -> Result<ExitCode, Trouble> {
    let began = tidegate_control::clock::instant();
    let mut said = String::new();
    loop {
        let found = find(place)?;
        let is_over =
            patience.is_some_and(|it| it <= tidegate_control::clock::elapsed_since(began));
        let end = match &found {
            None => Some("put back before it was empty"),
            Some(drain) if text(drain, "state") == "drained" => Some("drained"),
            Some(_) if is_over => Some("not drained in time"),
            Some(_) => None,
        };
        if let Some(end) = end {
            return Ok(tell(place, (end, found.as_ref()), output));
        }
        let progress = found.as_ref().map(in_short).unwrap_or_default();
        if output == Output::Text && progress != said {
            say::progress(&format!("{}: {progress}", name(place)));
            said = progress;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn tell(place: &Place, (end, drain): (&str, Option<&Json>), output: Output) -> ExitCode {
    let is_clean = drain.and_then(|it| it.get("clean")).and_then(Json::as_bool) == Some(true);
    let is_ok = end == "drained" && is_clean;
    say::result(&match output {
        Output::Json => json!({
            "ok": is_ok, "region": place.region, "endpoint": place.endpoint, "verb": "drain",
            "end": end, "drain": drain,
        })
        .to_string(),
        Output::Text => {
            let short = drain.map(|it| format!(", {}", in_short(it))).unwrap_or_default();
            format!("{}: {end}{short}", name(place))
        }
    });
    if is_ok { ExitCode::SUCCESS } else { ExitCode::from(UNCLEAN) }
}

/// The drain of a place: its own, or the one of its region that covers it.
fn find(place: &Place) -> Result<Option<Json>, Trouble> {
    let answer = client::send(&place.admin, "GET", "/v1/drains", "")?.json()?;
    let drains = answer.get("drains").and_then(Json::as_array).cloned().unwrap_or_default();
    let wanted = place.endpoint.map(|it| it.to_string());
    let of_region = |it: &&Json| text(it, "region") == place.region;
    let mut of_region: Vec<_> = drains.iter().filter(of_region).collect();
    of_region.retain(|it| text(it, "cause") != "removed");
    let endpoint = |it: &Json| it.get("endpoint").and_then(Json::as_str).map(str::to_owned);
    let own = of_region.iter().find(|it| endpoint(it) == wanted);
    let covering = of_region.iter().find(|it| endpoint(it).is_none());
    Ok(own.or(covering).map(|it| Json::clone(it)))
}

fn name(place: &Place) -> String {
    match place.endpoint {
        Some(endpoint) => format!("{} {endpoint}", place.region),
        None => place.region.clone(),
    }
}

/// What is open and how the rest has ended.
fn in_short(drain: &Json) -> String {
    let outcomes = drain.get("outcomes").and_then(Json::as_object);
    let ended = outcomes.into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0));
    let ended: Vec<_> = ended.map(|(word, count)| format!(", {count} {word}")).collect();
    let ended = ended.concat();
    let overdue = drain.get("overdue").and_then(Json::as_bool) == Some(true);
    let seconds = number(drain, "took_ms") / 1000;
    let (overdue, open) = (if overdue { ", overdue" } else { "" }, number(drain, "open"));
    if text(drain, "state") == "drained" {
        return format!("after {seconds} s{ended}{overdue}");
    }
    format!("{open} open{ended}{overdue}")
}

fn table(answer: &Json) -> String {
    let streams = answer.get("streams").and_then(Json::as_array).map(Vec::as_slice);
    let streams = streams.unwrap_or_default();
    let mut lines = vec![format!(
        "{:>10} {:>9} {:<9} {:<16} {:<21} {:<16} {:<16} {:>12} {:>12}",
        "AGE", "IDLE", "KIND", "REGION", "ENDPOINT", "RELEASE", "ROUTE", "IN", "OUT"
    )];
    lines.extend(streams.iter().map(|it| {
        let seconds = |key| format!("{} s", number(it, key) / 1000);
        format!(
            "{:>10} {:>9} {:<9} {:<16} {:<21} {:<16} {:<16} {:>12} {:>12}",
            seconds("age_ms"),
            seconds("idle_ms"),
            text(it, "kind"),
            text(it, "region"),
            text(it, "endpoint"),
            text(it, "release"),
            text(it, "route"),
            number(it, "bytes_in"),
            number(it, "bytes_out"),
        )
    }));
    let (open, matching) = (number(answer, "open"), number(answer, "matching"));
    lines.push(format!("{} listed, {matching} match, {open} open in all", streams.len()));
    lines.join("\n")
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or("-")
}

fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or_default()
}
