//! Reads typed values from the tree, and goes on after an unknown key to find the next one.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::absent;
use crate::flaws::{Flaw, Flaws};
use crate::place::Place;
use crate::tree::Node;

/// The name of the variant that takes a mapping, in an enum that is told apart by kind.
pub(crate) const MAPPING: &str = "$mapping";
/// The name of the variant that takes a list.
pub(crate) const LIST: &str = "$list";
/// The name of the variant that takes anything else.
pub(crate) const SCALAR: &str = "$scalar";

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

    /// The text in which a reference was replaced: it may stand for a number or a flag.
    fn expanded<T: std::str::FromStr>(&self) -> Option<T> {
        match self.node {
            Node::Text { text, expanded: true } => text.parse().ok(),
            _ => None,
        }
    }

    fn map<V: Visitor<'de>>(
        self,
        entries: &[&'de (String, Node)],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        let access = Entries { reader: self, entries: entries.iter().copied(), next: None };
        visitor.visit_map(access).map_err(|flaw| flaw.or_at(self.place))
    }

    fn list<V: Visitor<'de>>(self, nodes: &'de [Node], visitor: V) -> Result<V::Value, Flaw> {
        let access = Items { reader: self, nodes: nodes.iter().enumerate() };
        visitor.visit_seq(access).map_err(|flaw| flaw.or_at(self.place))
    }

    fn under<'b>(&self, node: &'de Node, place: &'b Place<'b>) -> Reader<'b, 'de>
    where
        Self: 'b,
    {
        let flaws: &'b Flaws = self.flaws;
        Reader { node, place, flaws }
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

/// The flaw of a key that is no field: of another version, misspelt, or neither.
fn unknown_key(place: &Place<'_>, key: &str, fields: &[&str]) -> Flaw {
    if let Some((message, help)) = absent::feature(key) {
        return Flaw::field(&place.key(key), message).help(help);
    }
    let known = quoted(fields);
    let help = absent::nearest(key, fields)
        .map_or_else(|| format!("known here: {known}"), |it| format!("did you mean `{it}`?"));
    Flaw::field(&place.key(key), format!("unknown field `{key}`")).help(help)
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    quoted.join(", ")
}

impl de::Error for Flaw {
    fn custom<T: Display>(message: T) -> Self {
        Self::somewhere(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let (found, help) = match found {
            de::Unexpected::Bool(flag) => (flag.to_string(), None),
            de::Unexpected::Unsigned(number) => {
                (format!("the number {number}"), Some("put it in quotes"))
            }
            de::Unexpected::Float(number) => {
                (format!("the number {number}"), Some("put it in quotes"))
            }
            de::Unexpected::Seq => ("a list".to_owned(), None),
            de::Unexpected::Map => ("a mapping".to_owned(), None),
            de::Unexpected::Unit => ("nothing".to_owned(), None),
            other => (other.to_string(), None),
        };
        Self::somewhere(format!("expected {wanted}, found {found}"))
            .maybe_help(help.map(str::to_owned))
    }

    fn missing_field(field: &'static str) -> Self {
        let flaw = Self::somewhere(format!("missing field `{field}`"));
        Self { aim: crate::place::Aim::Key, missing: Some(field), ..flaw }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        if let Some((message, help)) = absent::feature(variant) {
            return Self::somewhere(message).help(help);
        }
        let help = absent::nearest(variant, expected).map_or_else(
            || format!("one of {}", quoted(expected)),
            |it| format!("did you mean `{it}`?"),
        );
        Self::somewhere(format!("`{variant}` is not known here")).help(help)
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
        match self.node {
            Node::Flag(flag) => visitor.visit_bool(*flag),
            _ => match self.expanded() {
                Some(flag) => visitor.visit_bool(flag),
                None => Err(self.wanted("true or false")),
            },
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let number = match self.node {
            Node::Integer(number) => u64::try_from(*number).ok(),
            Node::Unsigned(number) => Some(*number),
            _ => self.expanded(),
        };
        match number {
            Some(number) => visitor.visit_u64(number),
            None => Err(self.wanted("a whole number")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self.node {
            Node::Text { text, .. } => visitor.visit_borrowed_str(text),
            Node::List(_) | Node::Map(_) | Node::Null => Err(self.wanted("a string")),
            _ => Err(self.wanted("a string").help("put it in quotes")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self.node {
            Node::List(nodes) => self.list(nodes, visitor),
            Node::Map(_) | Node::Null => Err(self.wanted("a list")),
            _ => Err(self.wanted("a list").help("put it in brackets: `[ .. ]`")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match self.node {
            Node::Map(entries) => self.map(&entries.iter().collect::<Vec<_>>(), visitor),
            _ => Err(self.wanted("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        let Node::Map(entries) = self.node else { return Err(self.wanted("a mapping")) };
        let known = self.known(entries, fields);
        self.map(&known, visitor).map_err(|flaw| {
            let meant = |key: &str, missing: &str| {
                key == missing || absent::nearest(key, fields) == Some(missing)
            };
            let is_told = |missing: &'static str| {
                let left_out = |it: &&(String, Node)| !known.iter().any(|known| known.0 == it.0);
                entries.iter().filter(left_out).any(|(key, _)| meant(key, missing))
            };
            let told = flaw.path == Some(self.place.steps()) && flaw.missing.is_some_and(is_told);
            Flaw { told, ..flaw }
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        let by_kind = match self.node {
            Node::Map(_) => MAPPING,
            Node::List(_) => LIST,
            _ => SCALAR,
        };
        let variant = if variants.iter().any(|it| it.starts_with('$')) {
            if !variants.contains(&by_kind) {
                let kinds = [(LIST, "a list"), (MAPPING, "a mapping"), (SCALAR, "a plain value")];
                let known = kinds.iter().filter(|(kind, _)| variants.contains(kind));
                let words: Vec<&str> = known.map(|(_, words)| *words).collect();
                return Err(self.wanted(&words.join(" or ")));
            }
            Variant { name: by_kind, reader: self, place: self.place, content: Some(self.node) }
        } else {
            match self.node {
                Node::Text { text, .. } => {
                    Variant { name: text, reader: self, place: self.place, content: None }
                }
                Node::Map(entries) => match entries.as_slice() {
                    [(key, node)] => {
                        let place = self.place.key(key);
                        let variant =
                            Variant { name: key, reader: self, place: &place, content: Some(node) };
                        return visitor.visit_enum(variant).map_err(|flaw| flaw.or_at(self.place));
                    }
                    _ => return Err(self.wanted(&format!("one of {}", quoted(variants)))),
                },
                _ => return Err(self.wanted(&format!("one of {}", quoted(variants)))),
            }
        };
        visitor.visit_enum(variant).map_err(|flaw| flaw.or_at(self.place))
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

/// The entries of a mapping, one after the other.
struct Entries<'a, 'de, I> {
    reader: Reader<'a, 'de>,
    entries: I,
    next: Option<&'de (String, Node)>,
}

impl<'de, I: Iterator<Item = &'de (String, Node)>> MapAccess<'de> for Entries<'_, 'de, I> {
    type Error = Flaw;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Flaw> {
        self.next = self.entries.next();
        match self.next {
            Some((key, _)) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Flaw> {
        let Some((key, node)) = self.next else {
            return Err(Flaw::value(self.reader.place, "a value was asked for before its key"));
        };
        let place = self.reader.place.key(key);
        seed.deserialize(self.reader.under(node, &place)).map_err(|flaw| flaw.or_at(&place))
    }
}

/// The items of a list, one after the other.
struct Items<'a, 'de, I> {
    reader: Reader<'a, 'de>,
    nodes: I,
}

impl<'de, I: Iterator<Item = (usize, &'de Node)>> SeqAccess<'de> for Items<'_, 'de, I> {
    type Error = Flaw;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Flaw> {
        let Some((index, node)) = self.nodes.next() else { return Ok(None) };
        let place = self.reader.place.item(index);
        let read = seed.deserialize(self.reader.under(node, &place));
        read.map(Some).map_err(|flaw| flaw.or_at(&place))
    }
}

/// One variant of an enum, with what it holds.
struct Variant<'a, 'de> {
    name: &'de str,
    reader: Reader<'a, 'de>,
    place: &'a Place<'a>,
    content: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Flaw;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Flaw> {
        let place = self.place;
        let variant = seed.deserialize(StrDeserializer::new(self.name));
        variant.map(|it| (it, self)).map_err(|flaw: Flaw| flaw.or_at(place))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Flaw;

    fn unit_variant(self) -> Result<(), Flaw> {
        match self.content {
            None => Ok(()),
            Some(_) => {
                let flaw = Flaw::key(self.place, format!("`{}` takes no value", self.name));
                Err(flaw.help(format!("write only `{}`", self.name)))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Flaw> {
        match self.content {
            Some(node) => seed.deserialize(self.reader.under(node, self.place)),
            None => {
                let flaw = Flaw::value(self.place, format!("`{}` needs a value", self.name));
                Err(flaw.help(format!("write `{{ {}: .. }}`", self.name)))
            }
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Flaw> {
        Err(Flaw::value(self.place, "expected a plain value"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Flaw> {
        Err(Flaw::value(self.place, "expected a plain value"))
    }
}
