//! Places in a policy: the path of a value, and where in the text it stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

/// What a problem points at, where a path ends in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Key,
    Value,
}

/// The path of a value, linked from leaf to root so that walking down costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl<'a> Place<'a> {
    /// The place under a key.
    pub(crate) fn key(&'a self, key: &'a str) -> Place<'a> {
        Place::Key(self, key)
    }

    /// The place of a list's item, counted from zero.
    pub(crate) fn item(&'a self, index: usize) -> Place<'a> {
        Place::Item(self, index)
    }

    /// The path from the root.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let (parent, step) = match self {
            Place::Root => return Vec::new(),
            Place::Key(parent, key) => (parent, Step::Key((*key).to_owned())),
            Place::Item(parent, index) => (parent, Step::Item(*index)),
        };
        let mut steps = parent.steps();
        steps.push(step);
        steps
    }
}

/// A path as people write it: `regions.eu-west-1.endpoints[1]`.
pub(crate) struct Written<'a>(pub(crate) &'a [Step]);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if place == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Where a path stands in the text.
///
/// The YAML parser knows where everything is and tells it only with an error. So the path is
/// walked once more and the walk fails on purpose when it arrives: quotes, flow style, comments
/// and anchors are then placed by the same parser that read them. A path that is not in the text
/// is found as far as it goes.
pub(crate) fn find(text: &str, path: &[Step], aim: Aim) -> Option<Span> {
    let walk = Walk { path, aim };
    let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    Some(span_at(text, error.location()?.index()))
}

/// The word that stands at the given byte of the text.
pub(crate) fn span_at(text: &str, byte: usize) -> Span {
    let start = text.floor_char_boundary(byte);
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    Span { start, len: word(line).max(usize::from(!line.is_empty())) }
}

/// How long the word is with which a line begins: a quoted one to its end, a plain one to whatever
/// ends it in YAML.
fn word(line: &str) -> usize {
    let first_len = line.chars().next().map_or(0, char::len_utf8);
    match line.chars().next() {
        Some('[' | '{') => first_len,
        Some(quote @ ('"' | '\'')) => {
            let body = line.get(first_len..).unwrap_or_default();
            let mut escaped = false;
            let end = body.find(|it| {
                let ends = it == quote && !escaped;
                escaped = it == '\\' && quote == '"' && !escaped;
                ends
            });
            end.map_or(line.trim_end().len(), |end| end + 2 * first_len)
        }
        _ => {
            let ends = [": ", ", ", " #", "]", "}"].into_iter().filter_map(|it| line.find(it));
            let plain = line.get(..ends.min().unwrap_or(line.len())).unwrap_or_default();
            plain.trim_end().trim_end_matches([':', ',']).len()
        }
    }
}

#[derive(Clone, Copy)]
struct Walk<'p> {
    path: &'p [Step],
    aim: Aim,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.path {
            [] => deserializer.deserialize_any(Stop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if let [Step::Key(key), rest @ ..] = self.path {
            let stops = rest.is_empty() && self.aim == Aim::Key;
            while let Some(is_it) = map.next_key_seed(KeyIs { key, stops })? {
                if is_it {
                    return map.next_value_seed(Walk { path: rest, ..self });
                }
                map.next_value::<IgnoredAny>()?;
            }
        }
        Err(A::Error::custom("the path ends here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let [Step::Item(index), rest @ ..] = self.path {
            for _ in 0..*index {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Err(A::Error::custom("the path ends here"));
                }
            }
            list.next_element_seed(Walk { path: rest, ..self })?;
        }
        Err(A::Error::custom("the path ends here"))
    }
}

/// Whether the next key is the one that is looked for.
struct KeyIs<'p> {
    key: &'p str,
    stops: bool,
}

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.key {
            true if self.stops => Err(E::custom("here")),
            is_it => Ok(is_it),
        }
    }
}

/// Fails at whatever it meets: each method that it does not have is an error of the value's type.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'t>(text: &'t str, path: &[Step], aim: Aim) -> (usize, &'t str) {
        let span = find(text, path, aim).unwrap();
        (text[..span.start].matches('\n').count() + 1, &text[span.start..span.start + span.len])
    }

    fn key(key: &str) -> Step {
        Step::Key(key.to_owned())
    }

    #[test]
    fn values_and_keys_are_found_in_block_and_flow_style() {
        let text =
            "a: 1 # one\n'b c':\n  - x: [p, \"q, r\"]\n  - {y: 'it''s', é: ü}\nd: |\n  lines\n";
        assert_eq!(at(text, &[key("a")], Aim::Value), (1, "1"));
        assert_eq!(at(text, &[key("a")], Aim::Key), (1, "a"));
        assert_eq!(at(text, &[key("b c")], Aim::Key), (2, "'b c'"));
        let list = |index, name: &str| vec![key("b c"), Step::Item(index), key(name)];
        let nested = [list(0, "x"), vec![Step::Item(1)]].concat();
        assert_eq!(at(text, &nested, Aim::Value), (3, "\"q, r\""));
        assert_eq!(at(text, &list(1, "é"), Aim::Key), (4, "é"));
        assert_eq!(at(text, &list(1, "é"), Aim::Value), (4, "ü"));
        assert_eq!(at(text, &[key("d")], Aim::Value), (5, "|"));
    }

    #[test]
    fn anchors_comments_and_strange_line_ends_do_not_move_a_place() {
        let text = "# ä: no\r\nx: &it {k: v}\r\n\r\ny: *it\r\n\"z\\\"w\": [\r\n 1,\r\n 2 ]\r\n";
        assert_eq!(at(text, &[key("x"), key("k")], Aim::Value), (2, "v"));
        assert_eq!(at(text, &[key("y"), key("k")], Aim::Value), (2, "v"));
        assert_eq!(at(text, &[key("z\"w"), Step::Item(1)], Aim::Value), (7, "2"));
        assert_eq!(at(text, &[key("z\"w")], Aim::Key), (5, "\"z\\\"w\""));
    }

    #[test]
    fn a_path_that_is_not_there_is_found_as_far_as_it_goes() {
        let text = "a:\n  b:\n    c: 1\n";
        assert_eq!(at(text, &[key("a"), key("b"), key("x")], Aim::Value).0, 3);
        assert_eq!(at(text, &[key("a"), key("b"), key("c"), key("d")], Aim::Value), (3, "1"));
        assert_eq!(at(text, &[], Aim::Value), (1, "a"));
    }

    #[test]
    fn a_path_is_written_as_people_write_it() {
        let root = Place::Root;
        let regions = root.key("regions");
        let region = regions.key("eu");
        let endpoints = region.key("endpoints");
        let path = endpoints.item(1).steps();
        assert_eq!(Written(&path).to_string(), "regions.eu.endpoints[1]");
        assert_eq!(Written(&[]).to_string(), "");
    }
}
