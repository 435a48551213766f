//! What is wrong with a value when it is read, in words.

use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};

use crate::absent;
use crate::flaws::Flaw;
use crate::place::{Aim, Place};

impl Error for Flaw {
    fn custom<T: Display>(message: T) -> Self {
        Self::somewhere(message.to_string())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds never stand in YAML")]
    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let quotes = Some("put it in quotes".to_owned());
        let (found, help) = match found {
            Unexpected::Bool(flag) => (flag.to_string(), None),
            Unexpected::Unsigned(number) => (format!("the number {number}"), quotes),
            Unexpected::Signed(number) => (format!("the number {number}"), quotes),
            Unexpected::Float(number) => (format!("the number {number}"), quotes),
            Unexpected::Seq => ("a list".to_owned(), None),
            Unexpected::Map => ("a mapping".to_owned(), None),
            Unexpected::Unit => ("nothing".to_owned(), None),
            _ => (found.to_string(), None),
        };
        Self::somewhere(format!("expected {wanted}, found {found}")).maybe_help(help)
    }

    fn missing_field(field: &'static str) -> Self {
        let flaw = Self::somewhere(format!("missing field `{field}`"));
        Self { aim: Aim::Key, missing: Some(field), ..flaw }
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

/// The flaw of a key that is no field: of another version, misspelt, or neither.
pub(super) fn unknown_key(place: &Place<'_>, key: &str, fields: &[&str]) -> Flaw {
    if let Some((message, help)) = absent::feature(key) {
        return Flaw::field(&place.key(key), message).help(help);
    }
    let known = quoted(fields);
    let help = absent::nearest(key, fields)
        .map_or_else(|| format!("known here: {known}"), |it| format!("did you mean `{it}`?"));
    Flaw::field(&place.key(key), format!("unknown field `{key}`")).help(help)
}

/// Names in quotes, with commas between them.
pub(super) fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    quoted.join(", ")
}
