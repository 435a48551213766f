//! One flat JSON object, written straight into the bytes of its line.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::Rfc3339;

/// Room that most lines find enough.
const LINE_BYTES: usize = 1024;

/// A key with all that stands around it, put together when the program is built.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

/// An object that is being written behind whatever is there already.
#[derive(Debug)]
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Object<'a> {
    /// An object without members. The keys of members are made by [`key!`].
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.reserve(LINE_BYTES);
        let start = out.len();
        Self { out, start }
    }

    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(key.as_bytes());
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
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
        drop(serde_json::to_writer(&mut *self.out, text));
    }

    fn shown(&mut self, key: &'static str, shown: &dyn fmt::Display) {
        self.key(key);
        drop(write!(self.out, "\"{shown}\""));
    }

    /// A number.
    pub(super) fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        digits(self.out, number, 1);
    }

    /// Two numbers with a dash between them.
    pub(super) fn pair(&mut self, key: &'static str, first: u64, second: u64) {
        self.key(key);
        self.out.push(b'"');
        digits(self.out, first, 1);
        self.out.push(b'-');
        digits(self.out, second, 1);
        self.out.push(b'"');
    }

    /// An address; those of IPv4, which most are, without the formatting machinery.
    pub(super) fn address(&mut self, key: &'static str, ip: IpAddr, port: Option<u16>) {
        match (ip, port) {
            (IpAddr::V4(ip), port) => {
                self.key(key);
                self.out.push(b'"');
                for (place, octet) in ip.octets().into_iter().enumerate() {
                    if 0 < place {
                        self.out.push(b'.');
                    }
                    digits(self.out, octet.into(), 1);
                }
                if let Some(port) = port {
                    self.out.push(b':');
                    digits(self.out, port.into(), 1);
                }
                self.out.push(b'"');
            }
            (IpAddr::V6(_), Some(port)) => self.shown(key, &SocketAddr::new(ip, port)),
            (IpAddr::V6(_), None) => self.shown(key, &ip),
        }
    }

    /// A moment, as RFC 3339 has it.
    pub(super) fn moment(&mut self, key: &'static str, moment: Rfc3339) {
        self.key(key);
        self.out.push(b'"');
        for (number, width, behind) in moment.parts() {
            digits(self.out, number, width);
            self.out.push(behind);
        }
        self.out.push(b'"');
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

    /// Ends the object and its line.
    pub(super) fn finish(self) {
        // The comma before the first member becomes the brace that begins them all.
        match self.out.get_mut(self.start) {
            Some(first) => *first = b'{',
            None => self.out.push(b'{'),
        }
        self.out.extend_from_slice(b"}\n");
    }
}

/// Appends a number in decimal, with zeros in front up to a width.
fn digits(out: &mut Vec<u8>, number: u64, width: usize) {
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
    let from = digits.len() - used.max(width).min(digits.len());
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    proptest! {
        #[test]
        fn any_text_and_any_number_are_read_back_as_they_were(text: String, number: u64) {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.text(key!("text"), &text);
            object.number(key!("number"), number);
            object.word_if(key!("word"), None);
            object.finish();
            let line: Value = serde_json::from_slice(&out).unwrap();
            let expected = json!({ "text": text, "number": number });
            prop_assert_eq!(line, expected);
        }

        #[test]
        fn addresses_read_as_they_show_themselves(ip: IpAddr, port: u16) {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.address(key!("ip"), ip, None);
            object.address(key!("socket"), ip, Some(port));
            object.finish();
            let line: Value = serde_json::from_slice(&out).unwrap();
            let socket = SocketAddr::new(ip, port).to_string();
            prop_assert_eq!(line, json!({ "ip": ip.to_string(), "socket": socket }));
        }
    }
}
