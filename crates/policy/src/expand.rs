//! References in strings: `${NAME}` from the environment and `file:path` from a file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::flaws::{Flaw, Flaws};
use crate::place::Place;
use crate::reading::Seen;
use crate::tree::Node;

/// Largest file that a `file:` reference may name, in bytes.
pub(crate) const REFERENCE_BYTES_MAX: u64 = 64 << 10;
/// Most bytes that the references of one policy may add in all.
const ADDED_BYTES_MAX: usize = 4 << 20;

/// What a policy may refer to.
pub(crate) struct Surroundings<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    folder: &'a Path,
    added: Cell<usize>,
    seen: RefCell<Seen>,
}

impl<'a> Surroundings<'a> {
    /// The environment, and the folder in which relative paths begin.
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>, folder: &'a Path) -> Self {
        Self { env, folder, added: Cell::new(0), seen: RefCell::default() }
    }

    /// The files that references named, with what was found there.
    pub(crate) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }

    /// Replaces every reference in a value and below it.
    pub(crate) fn expand(&self, node: &mut Node, place: &Place<'_>, flaws: &Flaws) {
        match node {
            Node::List(nodes) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    self.expand(node, &place.item(index), flaws);
                }
            }
            Node::Map(entries) => {
                for (key, node) in entries {
                    self.expand(node, &place.key(key), flaws);
                }
            }
            Node::Text { text, expanded } => match self.text(text) {
                Ok(None) => {}
                Ok(Some(new)) => {
                    self.added.set(self.added.get().saturating_add(new.len()));
                    *text = new;
                    *expanded = true;
                }
                Err(flaw) => flaws.push(flaw.or_at(place)),
            },
            Node::Null | Node::Flag(_) | Node::Integer(_) | Node::Unsigned(_) | Node::Number(_) => {
            }
        }
    }

    /// The text with its references replaced; `None` when it has none.
    fn text(&self, text: &str) -> Result<Option<String>, Flaw> {
        let is_file = text.starts_with("file:");
        if !is_file && !text.contains("${") {
            return Ok(None);
        }
        if self.added.get() > ADDED_BYTES_MAX {
            return Err(Flaw::somewhere("references make the policy too large"));
        }
        let text = self.variables(text)?;
        match text.strip_prefix("file:") {
            Some(path) if is_file => self.file(path).map(Some),
            _ => Ok(Some(text)),
        }
    }

    fn variables(&self, text: &str) -> Result<String, Flaw> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            let Some((reference, after)) = after.split_once('}') else {
                let flaw = Flaw::somewhere(format!("`${{{after}` has no closing brace"));
                return Err(flaw.help("write `$${` where a `${` is meant literally"));
            };
            expanded.push_str(before);
            expanded.push_str(&self.variable(reference)?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn variable(&self, reference: &str) -> Result<String, Flaw> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable(name) {
            let flaw = Flaw::somewhere(format!("`{name}` cannot be the name of a variable"));
            return Err(
                flaw.help("write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`")
            );
        }
        match ((self.env)(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let flaw = Flaw::somewhere(format!("the environment variable `{name}` is not set"));
                Err(flaw.help(format!("set it, or give a default: `${{{name}:-default}}`")))
            }
        }
    }

    fn file(&self, path: &str) -> Result<String, Flaw> {
        let path = self.folder.join(path);
        let content = content(&path);
        self.seen.borrow_mut().add(&path, &content);
        content.map(|it| it.trim().to_owned()).map_err(|why| {
            Flaw::somewhere(format!("the file `{}` cannot be read: {why}", path.display()))
        })
    }
}

/// What stands in a file that a reference names, or why nobody knows.
pub(crate) fn content(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut content = String::new();
    let read = file.take(REFERENCE_BYTES_MAX + 1).read_to_string(&mut content);
    let length = read.map_err(|error| error.to_string())?;
    if u64::try_from(length).is_ok_and(|it| it > REFERENCE_BYTES_MAX) {
        return Err(format!("it has more than {REFERENCE_BYTES_MAX} bytes"));
    }
    Ok(content)
}

fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|it| it.is_ascii_alphabetic() || it == '_')
        && characters.all(|it| it.is_ascii_alphanumeric() || it == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<Option<String>, String> {
        let env = |name: &str| match name {
            "HOME_REGION" => Some("eu".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let surroundings = Surroundings::new(&env, Path::new(env!("CARGO_MANIFEST_DIR")));
        surroundings.text(text).map_err(|flaw| flaw.message)
    }

    #[test]
    fn variables_are_replaced_where_they_stand() {
        assert_eq!(expand("plain $x"), Ok(None));
        assert_eq!(expand("a-${HOME_REGION}-b"), Ok(Some("a-eu-b".to_owned())));
        assert_eq!(expand("${NONE:-us}${EMPTY:-x}"), Ok(Some("usx".to_owned())));
        assert_eq!(expand("${EMPTY}"), Ok(Some(String::new())));
        assert_eq!(expand("$${HOME_REGION}"), Ok(Some("${HOME_REGION}".to_owned())));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let unset = "the environment variable `NONE` is not set";
        assert_eq!(expand("x${NONE}"), Err(unset.to_owned()));
        assert_eq!(expand("${NONE"), Err("`${NONE` has no closing brace".to_owned()));
        assert_eq!(expand("${}"), Err("`` cannot be the name of a variable".to_owned()));
        assert!(expand("file:no/such/file").is_err_and(|it| it.contains("cannot be read")));
        assert!(expand("file:src").is_err_and(|it| it.contains("not a regular file")));
    }

    #[test]
    fn a_file_is_read_and_trimmed() {
        let manifest = expand("file:Cargo.toml").unwrap().unwrap();
        assert!(manifest.starts_with("[package]") && !manifest.ends_with('\n'));
    }
}
