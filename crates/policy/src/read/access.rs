//! The parts of a value, one after the other, as serde asks for them.

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::Reader;
use crate::flaws::Flaw;
use crate::tree::Node;

/// The entries of a mapping.
pub(super) struct Entries<'a, 'de, I> {
    pub(super) reader: Reader<'a, 'de>,
    pub(super) rest: I,
    pub(super) next: Option<&'de (String, Node)>,
}

impl<'de, I> Entries<'_, 'de, I> {
    fn current(&self) -> Result<&'de (String, Node), Flaw> {
        let unasked = || Flaw::value(self.reader.place, "a value was asked for before its key");
        self.next.ok_or_else(unasked)
    }
}

impl<'de, I: Iterator<Item = &'de (String, Node)>> MapAccess<'de> for Entries<'_, 'de, I> {
    type Error = Flaw;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Flaw> {
        self.next = self.rest.next();
        match self.next {
            Some((key, _)) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Flaw> {
        let (key, node) = self.current()?;
        let place = self.reader.place.key(key);
        seed.deserialize(self.reader.under(node, &place)).map_err(|flaw| flaw.or_at(&place))
    }

    fn next_value<T: Deserialize<'de>>(&mut self) -> Result<T, Flaw> {
        let (key, node) = self.current()?;
        self.reader.under(node, &self.reader.place.key(key)).go_on()
    }
}

/// The items of a list.
pub(super) struct Items<'a, 'de, I> {
    pub(super) reader: Reader<'a, 'de>,
    pub(super) nodes: I,
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

    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Flaw> {
        let Some((index, node)) = self.nodes.next() else { return Ok(None) };
        self.reader.under(node, &self.reader.place.item(index)).go_on().map(Some)
    }
}

/// One variant of an enum, with what it holds.
pub(super) struct Variant<'a, 'de> {
    pub(super) name: &'de str,
    pub(super) has_content: bool,
    pub(super) reader: Reader<'a, 'de>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Flaw;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Flaw> {
        let variant = seed.deserialize(StrDeserializer::new(self.name));
        let place = self.reader.place;
        variant.map(|it| (it, self)).map_err(|flaw: Flaw| flaw.or_at(place))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Flaw;

    fn unit_variant(self) -> Result<(), Flaw> {
        if !self.has_content {
            return Ok(());
        }
        let flaw = Flaw::key(self.reader.place, format!("`{}` takes no value", self.name));
        Err(flaw.help(format!("write only `{}`", self.name)))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Flaw> {
        if self.has_content {
            return seed.deserialize(self.reader);
        }
        let flaw = Flaw::value(self.reader.place, format!("`{}` needs a value", self.name));
        Err(flaw.help(format!("write `{{ {}: .. }}`", self.name)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Flaw> {
        Err(Flaw::value(self.reader.place, "expected a plain value"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Flaw> {
        Err(Flaw::value(self.reader.place, "expected a plain value"))
    }
}
