//! The YAML text as a tree of values, within limits and without surprises.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use crate::flaws::Flaw;
use crate::place::{Span, span_at};

mod syntax;

pub(crate) use syntax::empty;
use syntax::{complaint, nested, place_of, too_large};

/// Largest policy file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Most values that a file may hold once its aliases are expanded.
const NODES_MAX: usize = 1 << 20;
/// Most brackets that may be open at once, before the YAML parser is asked at all.
///
/// The parser itself stops at 128 levels, but only after it has read everything, in a time that
/// grows with the square of the depth.
const OPEN_BRACKETS_MAX: usize = 4096;

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Null,
    Flag(bool),
    Integer(i64),
    Unsigned(u64),
    /// A number that no policy has a use for: with a fraction, or too large.
    Number(String),
    Text {
        text: String,
        /// Whether a reference was replaced in it, so that it may also stand for a number.
        expanded: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value in words: `the string "x"`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Integer(number) => format!("the number {number}"),
            Self::Unsigned(number) => format!("the number {number}"),
            Self::Number(number) => format!("the number {number}"),
            Self::Text { text, .. } => format!("the string `{text}`"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The entries of a mapping.
    pub(crate) fn entries(&self) -> Option<&[(String, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|(it, _)| it == key).map(|(_, node)| node)
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text { text, .. } = self { Some(text) } else { None }
    }

    /// A value of another type that the text of a string stands for, if a reference was replaced
    /// in it: what comes from outside has no type of its own.
    pub(crate) fn expanded<T: FromStr>(&self) -> Option<T> {
        if let Self::Text { text, expanded: true } = self { text.parse().ok() } else { None }
    }
}

/// What makes a text no tree, and where.
#[derive(Debug)]
pub(crate) struct Defect {
    pub(crate) span: Span,
    pub(crate) flaw: Flaw,
}

/// Reads the text.
pub(crate) fn parse(text: &str) -> Result<Node, Defect> {
    let start = Span { start: 0, len: 0 };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len());
        return Err(Defect { span: start, flaw: Flaw::somewhere(message) });
    }
    if let Some(byte) = too_deep(text) {
        return Err(Defect { span: span_at(text, byte), flaw: nested() });
    }
    let state = State::default();
    let build = Build(&state);
    build.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        let span = place_of(text, &error);
        let flaw = state.flaw.take().unwrap_or_else(|| complaint(text, &error, span));
        Defect { span, flaw }
    })
}

/// The byte at which more brackets are open than any policy could mean.
fn too_deep(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.bytes().position(|it| {
        match it {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > OPEN_BRACKETS_MAX
    })
}

#[derive(Default)]
struct State {
    nodes: Cell<usize>,
    flaw: RefCell<Option<Flaw>>,
}

impl State {
    /// Keeps our own flaw aside while the parser's error, which knows the place, carries nothing.
    fn fail<E: Error>(&self, flaw: Flaw) -> E {
        *self.flaw.borrow_mut() = Some(flaw);
        E::custom("see the flaw kept aside")
    }
}

#[derive(Clone, Copy)]
struct Build<'s>(&'s State);

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Build<'_> {
    fn count<E: Error>(self, node: Node) -> Result<Node, E> {
        let nodes = self.0.nodes.get() + 1;
        self.0.nodes.set(nodes);
        if nodes > NODES_MAX {
            return Err(self.0.fail(too_large()));
        }
        Ok(node)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.count(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.count(Node::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Node, E> {
        self.count(Node::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Node, E> {
        self.count(Node::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node, E> {
        self.count(i64::try_from(number).map_or(Node::Unsigned(number), Node::Integer))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Node, E> {
        self.count(Node::Number(number.to_string()))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Node, E> {
        self.count(Node::Number(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node, E> {
        self.count(Node::Number(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.count(Node::Text { text: text.to_owned(), expanded: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(self)? {
            nodes.push(node);
        }
        self.count(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key_seed(Key { state: self.0, seen: &seen })? {
            entries.push((key.clone(), map.next_value_seed(self)?));
            seen.insert(key);
        }
        self.count(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        let flaw = Flaw::somewhere("a policy has no YAML tags");
        Err(self.0.fail(flaw.help("remove the word that begins with `!`, or quote the value")))
    }
}

/// Reads a key that was not there before.
struct Key<'s> {
    state: &'s State,
    seen: &'s BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let state = self.state;
        let key = deserializer.deserialize_any(self);
        if key.is_err() && state.flaw.borrow().is_none() {
            let flaw = Flaw::somewhere("a key must be a string").help("put it in quotes");
            *state.flaw.borrow_mut() = Some(flaw);
        }
        key
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.seen.contains(key) {
            let flaw = Flaw::somewhere(format!("`{key}` is there twice"));
            return Err(self.state.fail(flaw.help("rename or remove one of the two")));
        }
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn message(text: &str) -> String {
        parse(text).unwrap_err().flaw.message
    }

    #[test]
    fn scalars_keep_their_kind() {
        let node = parse("a: 1\nb: '1'\nc: true\nd: 1.5\ne: ~\nf: 18446744073709551615\n").unwrap();
        assert_eq!(node.get("a"), Some(&Node::Integer(1)));
        assert_eq!(node.get("b"), Some(&Node::Text { text: "1".to_owned(), expanded: false }));
        assert_eq!(node.get("c"), Some(&Node::Flag(true)));
        assert_eq!(node.get("d"), Some(&Node::Number("1.5".to_owned())));
        assert_eq!(node.get("e"), Some(&Node::Null));
        assert_eq!(node.get("f"), Some(&Node::Unsigned(u64::MAX)));
    }

    #[test]
    fn aliases_are_read_but_not_without_end() {
        assert_eq!(
            parse("a: &x [1]\nb: *x\n").unwrap().get("b"),
            parse("b: [1]").unwrap().get("b")
        );
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let list = [before.as_str(); 10].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
        }
        assert_eq!(message(&bomb), "aliases make the policy too large");
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(9_000), "*a, ".repeat(9_000));
        assert_eq!(message(&wide), "aliases make the policy too large");
    }

    #[test]
    fn depth_is_an_error_and_not_a_crash() {
        for count in [200, 5_000, 500_000] {
            assert_eq!(message(&"[".repeat(count)), "values are nested too deeply", "{count}");
            assert_eq!(message(&"- ".repeat(count)), "values are nested too deeply", "{count}");
        }
        assert_eq!(message(&"{a: ".repeat(5_000)), "values are nested too deeply");
    }

    #[test]
    fn a_place_is_told_where_the_parser_knows_one() {
        let Defect { span, flaw } = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!((span.start, flaw.message.as_str()), (10, "`a` is there twice"));
        let Defect { span, .. } = parse("a:\n\t- b\n").unwrap_err();
        assert_eq!(span.start, 3);
    }
}
