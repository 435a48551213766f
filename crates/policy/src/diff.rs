//! What changes from one policy to another, in words.
//!
//! A policy is first taken apart into [`Facts`], a list that knows nothing of the model. Two
//! policies that differ have facts that differ, and facts can travel: `check --against running`
//! sends them to a balancer, which compares them with its own. A secret is a fact by its digest
//! only, and is never told.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tidegate_core::policy::Policy;

use crate::report::printable;

mod facts;
mod fence;
mod gates;
mod ownership;
mod written;

/// What a policy says, thing by thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(Vec<Thing>);

/// One thing that a policy speaks of, such as a region or a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    /// What it is: `region`, `route`, `probe`.
    kind: String,
    /// Which one of its kind; empty where there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    facts: Vec<(String, Value)>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Value {
    Text(String),
    /// A digest of what must not be told.
    Secret(String),
}

/// One change, displayed as one line of text without a line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    text: String,
    needs_upgrade: bool,
}

impl Change {
    /// Whether a process that runs cannot make it: its threads and the addresses for operators are
    /// there from its start to its end.
    pub fn needs_upgrade(&self) -> bool {
        self.needs_upgrade
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The kinds of things that are fixed while a process runs.
const FIXED: [&str; 3] = ["process", "admin", "fence store"];

/// What would change if `new` took the place of `old`; nothing only if they are equal.
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    Facts::of(old).changes_to(&Facts::of(new))
}

impl Facts {
    /// What changes from these facts to others; nothing only if they are equal.
    pub fn changes_to(&self, new: &Self) -> Vec<Change> {
        let (before, after) = (by_name(&self.0), by_name(&new.0));
        let mut changes = Changes::default();
        for thing in self.0.iter().filter(|it| !after.contains_key(&it.key())) {
            changes.push(thing, "removed");
        }
        for thing in &new.0 {
            match before.get(&thing.key()) {
                None => changes.push(thing, "added"),
                Some(before) => changes.of_thing(before, thing),
            }
        }
        changes.of_order(self, new);
        changes.0
    }

    /// Adds a thing.
    fn add(&mut self, kind: &str, name: &str, facts: Vec<(String, Value)>) {
        self.0.push(Thing { kind: kind.to_owned(), name: name.to_owned(), facts });
    }
}

impl Thing {
    fn key(&self) -> (&str, &str) {
        (&self.kind, &self.name)
    }

    /// How a line about it begins: `route chat: `, or `contract: index_hash `.
    fn beginning(&self) -> String {
        let Self { kind, name, facts: _ } = self;
        match (kind.as_str(), name.as_str()) {
            ("contract", name) => format!("contract: {name} "),
            (kind, "") => format!("{kind}: "),
            (kind, name) => format!("{kind} {name}: "),
        }
    }
}

impl Value {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A value that may be compared and not told.
    fn secret(bytes: &[u8]) -> Self {
        let digest = Sha256::new().chain_update("tidegate fact").chain_update(bytes).finalize();
        Self::Secret(hexadecimal(&digest))
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, thing: &Thing, what: &str) {
        let text = one_line(&format!("{}{what}", thing.beginning()));
        self.0.push(Change { text, needs_upgrade: FIXED.contains(&&*thing.kind) });
    }

    fn of_thing(&mut self, before: &Thing, after: &Thing) {
        let old: HashMap<&str, &Value> = before.facts.iter().map(|(a, b)| (&**a, b)).collect();
        let new: HashMap<&str, &Value> = after.facts.iter().map(|(a, b)| (&**a, b)).collect();
        for (name, _) in before.facts.iter().filter(|(name, _)| !new.contains_key(&**name)) {
            self.push(after, &format!("{name} removed"));
        }
        for (name, value) in &after.facts {
            match (old.get(&**name), value) {
                (Some(before), value) if *before == value => {}
                (Some(Value::Text(from)), Value::Text(to)) if after.kind == "contract" => {
                    self.push(after, &format!("{name} {to} instead of {from}"));
                }
                (Some(Value::Text(from)), Value::Text(to)) => {
                    self.push(after, &format!("{name} {from} → {to}"));
                }
                (Some(_), _) => self.push(after, &format!("{name} changed")),
                (None, Value::Text(text)) if text.is_empty() => {
                    self.push(after, &format!("{name} added"));
                }
                (None, Value::Text(text)) => self.push(after, &format!("{name} added, {text}")),
                (None, Value::Secret(_)) => self.push(after, &format!("{name} added")),
            }
        }
        let order = |of: &Thing, other: &HashMap<&str, &Value>| {
            let names = of.facts.iter().map(|(name, _)| name.clone());
            names.filter(|it| other.contains_key(&**it)).collect::<Vec<_>>()
        };
        if order(before, &new) != order(after, &old) {
            self.push(after, "in another order");
        }
    }

    /// Tells of kinds of which the same things are named in another order.
    fn of_order(&mut self, old: &Facts, new: &Facts) {
        let order = |of: &Facts, other: &Facts| {
            let there: HashSet<_> = other.0.iter().map(Thing::key).collect();
            let kept = of.0.iter().filter(|it| there.contains(&it.key()));
            let mut order: HashMap<String, Vec<String>> = HashMap::new();
            for thing in kept {
                order.entry(thing.kind.clone()).or_default().push(thing.name.clone());
            }
            order
        };
        let (before, after) = (order(old, new), order(new, old));
        let mut moved: Vec<&String> = after
            .iter()
            .filter(|(kind, names)| before.get(*kind) != Some(names))
            .map(|it| it.0)
            .collect();
        moved.sort_unstable();
        for kind in moved {
            let text = one_line(&format!("{kind}: in another order"));
            self.0.push(Change { text, needs_upgrade: false });
        }
    }
}

fn by_name(things: &[Thing]) -> HashMap<(&str, &str), &Thing> {
    things.iter().map(|it| (it.key(), it)).collect()
}

/// A line that cannot be mistaken for two, and does nothing to a terminal.
fn one_line(text: &str) -> String {
    printable(&text.replace('\n', "\\n"))
}
