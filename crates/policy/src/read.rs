//! Reads typed values from the tree, and goes on after a mistake to find the next one.

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::absent;
use crate::flaws::{Flaw, Flaws};
use crate::place::Place;
use crate::tree::Node;

mod access;
mod filler;
mod wrong;

use access::{Entries, Items, Variant};
use filler::Filler;
use wrong::{quoted, unknown_key};

/// The name of the variant that takes a mapping, in an enum that is told apart by kind.
const MAPPING: &str = "$mapping";
/// The name of the variant that takes a list.
const LIST: &str = "$list";
/// The name of the variant that takes anything else.
const SCALAR: &str = "$scalar";

const BRACKETS: &str = "put it in brackets: `[ .. ]`";

/// A value of the tree, at its place, ready to be read as any type.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a, 'de> {
    pub(crate) node: &'de Node,
    pub(crate) place: &'a Place<'a>,
    pub(crate) flaws: &'a Flaws,
}

impl<'de> Reader<'_, 'de> {
    fn wanted(&self, what: &str) -> Flaw {
        Flaw::value(self.place, format!("expected {what}, found {}", self.node.describe()))
    }

    /// Whether something plain stands where a list or a string was wanted.
    fn is_plain(&self) -> bool {
        !matches!(self.node, Node::List(_) | Node::Map(_) | Node::Null)
    }

    fn map<V: Visitor<'de>>(
        self,
        entries: &[&'de (String, Node)],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        let access = Entries { reader: self, rest: entries.iter().copied(), next: None };
        visitor.visit_map(access).map_err(|flaw| flaw.or_at(self.place))
    }

    fn list<V: Visitor<'de>>(self, nodes: &'de [Node], visitor: V) -> Result<V::Value, Flaw> {
        let access = Items { reader: self, nodes: nodes.iter().enumerate() };
        visitor.visit_seq(access).map_err(|flaw| flaw.or_at(self.place))
    }

    /// Reads a value, or tells what is wrong with it and goes on with another one.
    ///
    /// What is read then is no policy any more, but the flaws of the rest can still be found.
    fn go_on<T: Deserialize<'de>>(self) -> Result<T, Flaw> {
        T::deserialize(self).or_else(|flaw| {
            self.flaws.give_up(flaw.or_at(self.place));
            T::deserialize(Filler)
        })
    }

    fn under<'b>(&self, node: &'de Node, place: &'b Place<'b>) -> Reader<'b, 'de>
    where
        Self: 'b,
    {
        let flaws: &'b Flaws = self.flaws;
        Reader { node, place, flaws }
    }

    /// Reads an enum whose variants are told apart by the kind of the value.
    fn by_kind<V: Visitor<'de>>(self, variants: &[&str], visitor: V) -> Result<V::Value, Flaw> {
        let kind = match self.node {
            Node::Map(_) => MAPPING,
            Node::List(_) => LIST,
            Node::Null
            | Node::Flag(_)
            | Node::Integer(_)
            | Node::Unsigned(_)
            | Node::Number(_)
            | Node::Text { .. } => SCALAR,
        };
        if !variants.contains(&kind) {
            let kinds = [(LIST, "a list"), (MAPPING, "a mapping"), (SCALAR, "a plain value")];
            let known = kinds.iter().filter(|(kind, _)| variants.contains(kind));
            let words: Vec<&str> = known.map(|(_, words)| *words).collect();
            let brackets = (kind == SCALAR && variants.contains(&LIST)).then_some(BRACKETS);
            let flaw = self.wanted(&words.join(" or "));
            return Err(flaw.maybe_help(brackets.map(str::to_owned)));
        }
        let variant = Variant { name: kind, has_content: true, reader: self };
        visitor.visit_enum(variant).map_err(|flaw| flaw.or_at(self.place))
    }

    /// Tells of every entry that is not a field with a value, and keeps the others.
    fn known(&self, entries: &'de [(String, Node)], fields: &[&str]) -> Vec<&'de (String, Node)> {
        let is_known = |entry: &&(String, Node)| {
            let (key, node) = *entry;
            if !fields.contains(&key.as_str()) {
                self.flaws.push(unknown_key(self.place, key, fields));
                return false;
            }
            if *node == Node::Null {
                let flaw = Flaw::key(&self.place.key(key), "there is no value");
                self.flaws.push(flaw.help("give one, or remove the key"));
                return false;
            }
            true
        };
        entries.iter().filter(is_known).collect()
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Flaw;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let read = match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Flag(flag) => visitor.visit_bool(*flag),
            Node::Integer(number) => visitor.visit_i64(*number),
            Node::Unsigned(number) => visitor.visit_u64(*number),
            Node::Number(number) => visitor.visit_f64(number.parse().unwrap_or(f64::NAN)),
            Node::Text { text, .. } => visitor.visit_borrowed_str(text),
            Node::List(nodes) => return self.list(nodes, visitor),
            Node::Map(entries) => return self.map(&entries.iter().collect::<Vec<_>>(), visitor),
        };
        read.map_err(|flaw: Flaw| flaw.or_at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let flag =
            if let Node::Flag(flag) = self.node { Some(*flag) } else { self.node.expanded() };
        visitor.visit_bool(flag.ok_or_else(|| self.wanted("true or false"))?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let number = if let Node::Unsigned(number) = self.node {
            Some(*number)
        } else if let Node::Integer(number) = self.node {
            u64::try_from(*number).ok()
        } else {
            self.node.expanded()
        };
        visitor.visit_u64(number.ok_or_else(|| self.wanted("a whole number from 0"))?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let Some(text) = self.node.text() else {
            let flaw = self.wanted("a string");
            return Err(if self.is_plain() { flaw.help("put it in quotes") } else { flaw });
        };
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let Some(items) = self.node.items() else {
            let flaw = self.wanted("a list");
            return Err(if self.is_plain() { flaw.help(BRACKETS) } else { flaw });
        };
        self.list(items, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let Some(entries) = self.node.entries() else { return Err(self.wanted("a mapping")) };
        self.map(&entries.iter().collect::<Vec<_>>(), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        let Some(entries) = self.node.entries() else { return Err(self.wanted("a mapping")) };
        let known = self.known(entries, fields);
        self.map(&known, visitor).map_err(|flaw| {
            let is_told = |missing: &str| {
                let left_out = |it: &&(String, Node)| !known.iter().any(|known| known.0 == it.0);
                let mut left_out = entries.iter().filter(left_out);
                left_out.any(|(key, _)| key == missing || absent::means(key, missing, fields))
            };
            let is_ours = flaw.path == Some(self.place.steps());
            let told = flaw.told || (is_ours && flaw.missing.is_some_and(is_told));
            Flaw { told, ..flaw }
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        if variants.iter().any(|it| it.starts_with('$')) {
            return self.by_kind(variants, visitor);
        }
        if let Some(text) = self.node.text() {
            let variant = Variant { name: text, has_content: false, reader: self };
            return visitor.visit_enum(variant).map_err(|flaw| flaw.or_at(self.place));
        }
        match self.node.entries() {
            Some([(key, node)]) => {
                let place = self.place.key(key);
                let reader = self.under(node, &place);
                let variant = Variant { name: key, has_content: true, reader };
                visitor.visit_enum(variant).map_err(|flaw| flaw.or_at(self.place))
            }
            Some(entries) => {
                let wanted = format!("expected one of {}", quoted(variants));
                let found = format!("found {} keys", entries.len());
                Err(Flaw::value(self.place, format!("{wanted}, {found}")))
            }
            None => Err(self.wanted(&quoted(variants))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}
