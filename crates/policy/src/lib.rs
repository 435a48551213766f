//! The policy file: parse it, validate it, say what is wrong and where, lower it into the model.
//!
//! The modules, in the order in which a newcomer reads them:
//!
//! 1. `yaml`: the file format, from which the JSON Schema is made.
//! 2. `tree`, `expand`, `read`: text to values, references replaced, values to the format's types.
//! 3. `lower`, with `units`, `names` and `dates`: what the values mean.
//! 4. `flaws`, `place`, `absent`, `report`: what is wrong, where it stands, what was meant.
//! 5. `secrets`: what no report shows.
//! 6. `reading`: a file and all that it refers to, to be loaded again and again.
//! 7. `diff`: what changes from one policy to another.
//!
//! Reading goes on after a mistake wherever that is possible, so that one report tells them all.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize as _;
use tidegate_core::id::ENDPOINTS_PER_REGION_MAX;
use tidegate_core::policy::{EndpointAddress, Policy};

mod absent;
mod dates;
mod diff;
mod expand;
mod flaws;
mod lower;
mod names;
mod place;
mod read;
mod reading;
mod report;
mod schema;
mod secrets;
mod tree;
mod units;
mod yaml;

pub use diff::{Change, Facts, diff};
pub use reading::{Reading, Seen, digest};
pub use report::{PROBLEMS_MAX, Problem, Report};
pub use schema::schema;

use expand::Surroundings;
use flaws::{Flaw, Flaws};
use place::{Place, Span};
use tree::{Defect, Node};

/// The only version of the file format so far.
const VERSION: i64 = 1;

/// Reads a policy from a text.
///
/// `name` is the file's name, for reports; relative paths in the policy begin in its folder. `env`
/// gives the variables that `${NAME}` refers to.
///
/// # Errors
/// A report of everything that is wrong with the policy, as far as it could be read.
pub fn load(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Policy, Box<Report>> {
    load_in(name, text, &Surroundings::new(env, folder_of(name)))
}

/// A duration as a policy writes it: `500ms`, `10s`, `5m`.
///
/// # Errors
/// What is wrong with it, as one sentence without a full stop.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    })
}

/// The folder in which the relative paths of a policy begin.
fn folder_of(name: &str) -> &Path {
    Path::new(name).parent().unwrap_or(Path::new(""))
}

fn load_in(name: &str, text: &str, surroundings: &Surroundings<'_>) -> Result<Policy, Box<Report>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut node = tree::parse(text)
        .map_err(|Defect { span, flaw }| Box::new(Report::at(name, text, span, &flaw)))?;
    let flaws = Flaws::default();
    let policy = understand(&mut node, surroundings, folder_of(name), &flaws);
    match policy {
        Some(policy) if flaws.is_empty() => Ok(policy),
        _ => Err(Box::new(Report::of(name, text, &flaws.into_list()))),
    }
}

/// Reads a policy from a file, with the environment of this process.
///
/// # Errors
/// A report of everything that is wrong with the file or with the policy in it.
pub fn load_file(path: impl AsRef<Path>) -> Result<Policy, Box<Report>> {
    Reading::of(path.as_ref()).policy
}

/// Reads a list of endpoints: one `host:port` and perhaps a weight per line, `#` begins a comment.
///
/// # Errors
/// A report of every line that is wrong, and of a list without any endpoint.
pub fn endpoints(text: &str) -> Result<Vec<EndpointAddress>, Report> {
    const NAME: &str = "endpoints";
    let mut endpoints: Vec<EndpointAddress> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or_default().trim();
        let indent = line.len() - line.trim_start().len();
        let span = Span { start: start + indent, len: content.len() };
        start += line.len();
        if content.is_empty() {
            continue;
        }
        match lower::endpoint_address(content) {
            Ok(endpoint) if seen.insert(endpoint.address) => endpoints.push(endpoint),
            Ok(endpoint) => {
                let flaw = Flaw::somewhere(format!("`{}` is listed twice", endpoint.address));
                wrong.push((span, flaw.help("remove one of the two, or use a weight")));
            }
            Err((message, help)) => wrong.push((span, Flaw::somewhere(message).help(help))),
        }
    }
    if !wrong.is_empty() {
        return Err(Report::of_places(NAME, text, &wrong));
    }
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_PER_REGION_MAX {
        let message = format!("there are {} endpoints", endpoints.len());
        let help = format!("list 1 to {ENDPOINTS_PER_REGION_MAX}");
        return Err(Report::whole(NAME, message, Some(help)));
    }
    Ok(endpoints)
}

/// The policy that a tree means; what is wrong with it is among the flaws.
fn understand(
    node: &mut Node,
    surroundings: &Surroundings<'_>,
    folder: &Path,
    flaws: &Flaws,
) -> Option<Policy> {
    let root = Place::Root;
    if matches!(node, Node::Null) || node.entries().is_some_and(<[_]>::is_empty) {
        flaws.push(tree::empty());
        return None;
    }
    if node.entries().is_none() {
        let message = format!("a policy is a mapping, not {}", node.describe());
        flaws.push(Flaw::value(&root, message).help("begin with `version: 1`"));
        return None;
    }
    surroundings.expand(node, &root, flaws);
    check_version(node, flaws);
    if !flaws.is_empty() {
        return None;
    }
    let reader = read::Reader { node, place: &root, flaws };
    match yaml::File::deserialize(reader) {
        Ok(_) if flaws.gave_up() => None,
        Ok(file) => Some(lower::lower(&file, folder, flaws)),
        Err(flaw) => {
            flaws.push(flaw);
            None
        }
    }
}

/// Tells of another version of the format before its unknown keys are told of.
fn check_version(node: &Node, flaws: &Flaws) {
    let root = Place::Root;
    match node.get("version") {
        Some(Node::Integer(VERSION)) => {}
        Some(Node::Text { text, expanded: true }) if text.parse() == Ok(VERSION) => {}
        Some(other) => {
            let message = format!("expected {VERSION}, found {}", other.describe());
            let help = "write `version: 1`; no other version of the format is known";
            flaws.push(Flaw::value(&root.key("version"), message).help(help));
        }
        None => {
            let flaw = Flaw::key(&root, "missing field `version`");
            flaws.push(flaw.help("begin with `version: 1`"));
        }
    }
}
