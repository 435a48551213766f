//! One flat JSON object, written straight into the bytes of its line.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidegate_core::Moment;

use super::date::Clockwork;

/// Room that most lines find enough.
const LINE_BYTES: usize = 1024;

/// A key with all that stands around it, put together when the program is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As it stands before a number.
    pub(super) bare: &'static str,
    /// As it stands before a text, with the quote that opens it.
    pub(super) quoted: &'static str,
}

/// The key of a member.
macro_rules! key {
    ($name:literal) => {
        $crate::access::json::Key {
            bare: concat!(",\"", $name, "\":"),
            quoted: concat!(",\"", $name, "\":\""),
        }
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

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A word of ours, which has nothing to escape.
    pub(super) fn word(&mut self, key: Key, word: &'static str) {
        self.quoted(key, word);
    }

    fn quoted(&mut self, key: Key, text: &str) {
        self.put(key.quoted);
        self.put(text);
        self.out.push(b'"');
    }

    /// Anybody's text.
    pub(super) fn text(&mut self, key: Key, text: &str) {
        // All of it is looked at, also behind the first that must be escaped: without a way out
        // of the loop many bytes are looked at in one step, and hardly any text has one.
        let must_escape = |it: u8| it < b' ' || it == b'"' || it == b'\\';
        if text.bytes().fold(false, |any, it| any | must_escape(it)) {
            self.put(key.bare);
            // A vector takes whatever is written to it.
            drop(serde_json::to_writer(&mut *self.out, text));
        } else {
            self.quoted(key, text);
        }
    }

    fn shown(&mut self, key: Key, shown: &dyn fmt::Display) {
        self.put(key.quoted);
        drop(write!(self.out, "{shown}\""));
    }

    /// A number.
    pub(super) fn number(&mut self, key: Key, number: u64) {
        self.put(key.bare);
        digits(self.out, number);
    }

    /// Two numbers with a dash between them.
    pub(super) fn pair(&mut self, key: Key, first: u64, second: u64) {
        self.put(key.quoted);
        digits(self.out, first);
        self.out.push(b'-');
        digits(self.out, second);
        self.out.push(b'"');
    }

    /// An address; those of IPv4, which most are, without the formatting machinery.
    pub(super) fn address(&mut self, key: Key, ip: IpAddr, port: Option<u16>) {
        match (ip, port) {
            (IpAddr::V4(ip), port) => {
                self.put(key.quoted);
                dotted(self.out, ip);
                if let Some(port) = port {
                    self.out.push(b':');
                    digits(self.out, port.into());
                }
                self.out.push(b'"');
            }
            (IpAddr::V6(_), Some(port)) => self.shown(key, &SocketAddr::new(ip, port)),
            (IpAddr::V6(_), None) => self.shown(key, &ip),
        }
    }

    /// A moment, as RFC 3339 has it.
    pub(super) fn moment(&mut self, key: Key, moment: Moment, clockwork: &mut Clockwork) {
        self.put(key.quoted);
        self.out.extend_from_slice(clockwork.show(moment));
        self.out.push(b'"');
    }

    /// A number of bytes.
    pub(super) fn size(&mut self, key: Key, size: usize) {
        self.number(key, u64::try_from(size).unwrap_or(u64::MAX));
    }

    /// [`Object::word`], if there is one.
    pub(super) fn word_if(&mut self, key: Key, word: Option<&'static str>) {
        if let Some(word) = word {
            self.word(key, word);
        }
    }

    /// [`Object::text`], if there is any.
    pub(super) fn text_if(&mut self, key: Key, text: Option<&str>) {
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

fn dotted(out: &mut Vec<u8>, ip: Ipv4Addr) {
    let [first, rest @ ..] = ip.octets();
    digits(out, first.into());
    for octet in rest {
        out.push(b'.');
        digits(out, octet.into());
    }
}

/// Appends a number in decimal.
fn digits(out: &mut Vec<u8>, number: u64) {
    if let Ok(digit @ ..10) = u8::try_from(number) {
        return out.push(b'0' + digit);
    }
    let mut digits = [b'0'; 20];
    let mut left = number;
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        from -= 1;
        if left == 0 {
            break;
        }
    }
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
