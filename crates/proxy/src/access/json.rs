//! One flat JSON object, written straight into the bytes of its line.

use std::fmt;
use std::io::Write;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object(Vec<u8>);

impl Object {
    /// An object without members, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn key(&mut self, key: &'static str) {
        self.0.extend_from_slice(if self.0.is_empty() { b"{\"" } else { b",\"" });
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn quoted(&mut self, text: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }

    /// A word of ours, which has nothing to escape.
    pub(super) fn word(&mut self, key: &'static str, word: &'static str) {
        self.key(key);
        self.quoted(word);
    }

    /// Anybody's text.
    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        if text.bytes().all(|it| it >= b' ' && it != b'"' && it != b'\\') {
            return self.quoted(text);
        }
        // A vector takes whatever is written to it.
        drop(serde_json::to_writer(&mut self.0, text));
    }

    /// Something that shows itself without anything to escape: an address, a date.
    pub(super) fn shown(&mut self, key: &'static str, shown: &dyn fmt::Display) {
        self.key(key);
        drop(write!(self.0, "\"{shown}\""));
    }

    /// A number.
    pub(super) fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        let mut digits = [b'0'; 20];
        let mut left = number;
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
            used += 1;
            if left == 0 {
                break;
            }
        }
        self.0.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
    }

    /// A number of bytes.
    pub(super) fn size(&mut self, key: &'static str, size: usize) {
        self.number(key, u64::try_from(size).unwrap_or(u64::MAX));
    }

    /// [`Object::word`], if there is one.
    pub(super) fn word_if(&mut self, key: &'static str, word: Option<&'static str>) {
        if let Some(word) = word {
            self.word(key, word);
        }
    }

    /// [`Object::text`], if there is any.
    pub(super) fn text_if(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// [`Object::shown`], if there is something.
    pub(super) fn shown_if(&mut self, key: &'static str, shown: Option<&impl fmt::Display>) {
        if let Some(shown) = shown {
            self.shown(key, shown);
        }
    }

    /// The line.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    proptest! {
        #[test]
        fn any_text_and_any_number_are_read_back_as_they_were(text: String, number: u64) {
            let mut object = Object::with_capacity(0);
            object.text("text", &text);
            object.number("number", number);
            object.shown_if("address", Some(&std::net::Ipv4Addr::LOCALHOST));
            object.word_if("word", None);
            let line: Value = serde_json::from_slice(&object.finish()).unwrap();
            let expected = json!({ "text": text, "number": number, "address": "127.0.0.1" });
            prop_assert_eq!(line, expected);
        }
    }
}
