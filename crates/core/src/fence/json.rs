//! Finds one text at the top of a JSON document, as an event's id.
//!
//! The whole document is looked at, so that nobody hides a second id behind the first: what the
//! endpoint's parser makes of two equal names is not known here.

/// How deep a document may be nested.
const DEPTH_MAX: usize = 128;

/// The document is not JSON, not an object, nested too deep, or has one of the names twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadJson;

/// The texts with these names at the top of an object; `None` for one that is not there or is not
/// a text.
pub(crate) fn texts<const N: usize>(
    document: &[u8],
    names: [&str; N],
) -> Result<[Option<String>; N], BadJson> {
    let mut reader = Reader { rest: std::str::from_utf8(document).map_err(|_not| BadJson)? };
    let mut seen = [false; N];
    let mut found = [const { None }; N];
    reader.expect('{')?;
    let mut first = true;
    while !reader.takes('}') {
        if !std::mem::take(&mut first) {
            reader.expect(',')?;
        }
        let name = reader.text()?;
        reader.expect(':')?;
        let text = reader.value(0)?;
        let places = names.iter().zip(&mut seen).zip(&mut found);
        for ((_, seen), found) in places.filter(|((wanted, _), _)| **wanted == name) {
            if std::mem::replace(seen, true) {
                return Err(BadJson);
            }
            found.clone_from(&text);
        }
    }
    reader.blanks();
    if reader.rest.is_empty() { Ok(found) } else { Err(BadJson) }
}

/// What stands at a place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pointed {
    /// Nothing.
    Nothing,
    /// A text.
    Text(String),
    /// A number as it is written, `true`, `false` or `null`.
    Word(String),
    /// A list or an object.
    Many,
}

/// What stands where the names lead, one level after the other. In a list a name is a place.
pub(crate) fn pointed(document: &[u8], names: &[String]) -> Result<Pointed, BadJson> {
    let mut reader = Reader { rest: std::str::from_utf8(document).map_err(|_not| BadJson)? };
    let found = reader.pointed(names, 0)?;
    reader.blanks();
    if reader.rest.is_empty() { Ok(found) } else { Err(BadJson) }
}

struct Reader<'d> {
    rest: &'d str,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Goes over blanks and this character, if it is there.
    fn takes(&mut self, wanted: char) -> bool {
        self.blanks();
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), BadJson> {
        if self.takes(wanted) { Ok(()) } else { Err(BadJson) }
    }

    fn next(&mut self) -> Result<char, BadJson> {
        let mut chars = self.rest.chars();
        let next = chars.next().ok_or(BadJson)?;
        self.rest = chars.as_str();
        Ok(next)
    }

    /// Goes over a value, and gives it back if it is a text.
    fn value(&mut self, depth: usize) -> Result<Option<String>, BadJson> {
        if DEPTH_MAX < depth {
            return Err(BadJson);
        }
        self.blanks();
        match self.rest.chars().next() {
            Some('"') => return self.text().map(Some),
            Some('{') => self.list('{', '}', depth)?,
            Some('[') => self.list('[', ']', depth)?,
            _ => self.word()?,
        }
        Ok(None)
    }

    /// Goes over a value, and gives back what the names lead to in it.
    fn pointed(&mut self, names: &[String], depth: usize) -> Result<Pointed, BadJson> {
        if DEPTH_MAX < depth {
            return Err(BadJson);
        }
        self.blanks();
        let Some((name, rest)) = names.split_first() else {
            let before = self.rest;
            return Ok(match before.chars().next() {
                Some('"') => Pointed::Text(self.text()?),
                Some('{' | '[') => {
                    self.value(depth)?;
                    Pointed::Many
                }
                _ => {
                    self.word()?;
                    let length = before.len() - self.rest.len();
                    Pointed::Word(before.get(..length).unwrap_or_default().to_owned())
                }
            });
        };
        let (open, close) = match self.rest.chars().next() {
            Some('{') => ('{', '}'),
            Some('[') => ('[', ']'),
            _ => return self.value(depth).map(|_| Pointed::Nothing),
        };
        self.expect(open)?;
        let (mut found, mut seen, mut place) = (Pointed::Nothing, false, 0_usize);
        while !self.takes(close) {
            if 0 < place {
                self.expect(',')?;
            }
            let is_it = if open == '{' {
                self.blanks();
                let it = self.text()?;
                self.expect(':')?;
                it == *name
            } else {
                place.to_string() == *name
            };
            place += 1;
            if !is_it {
                self.value(depth + 1)?;
            } else if std::mem::replace(&mut seen, true) {
                return Err(BadJson);
            } else {
                found = self.pointed(rest, depth + 1)?;
            }
        }
        Ok(found)
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Result<(), BadJson> {
        self.expect(open)?;
        let mut first = true;
        while !self.takes(close) {
            if !std::mem::take(&mut first) {
                self.expect(',')?;
            }
            if open == '{' {
                self.blanks();
                self.text()?;
                self.expect(':')?;
            }
            self.value(depth + 1)?;
        }
        Ok(())
    }

    /// A number, `true`, `false` or `null`. Which numbers there are is for others to judge.
    fn word(&mut self) -> Result<(), BadJson> {
        let is_of_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '+' | '-' | '.');
        let length = self.rest.find(|it| !is_of_word(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        let is_number = word.starts_with(|it: char| it == '-' || it.is_ascii_digit());
        if !is_number && !matches!(word, "true" | "false" | "null") {
            return Err(BadJson);
        }
        self.rest = rest;
        Ok(())
    }

    fn text(&mut self) -> Result<String, BadJson> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                control if control < ' ' => return Err(BadJson),
                other => text.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, BadJson> {
        Ok(match self.next()? {
            '"' => '"',
            '\\' => '\\',
            '/' => '/',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode()?,
            _ => return Err(BadJson),
        })
    }

    fn unicode(&mut self) -> Result<char, BadJson> {
        let unit = self.unit()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return char::from_u32(unit).ok_or(BadJson);
        }
        let rest = self.rest.strip_prefix("\\u").ok_or(BadJson)?;
        self.rest = rest;
        let low = self.unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(BadJson);
        }
        char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or(BadJson)
    }

    fn unit(&mut self) -> Result<u32, BadJson> {
        (0..4).try_fold(0, |unit, _| {
            self.next()?.to_digit(16).map(|digit| unit << 4 | digit).ok_or(BadJson)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(document: &str, expected: Result<[Option<&str>; 2], BadJson>) {
        let found = texts(document.as_bytes(), ["id", "source"]);
        assert_eq!(found, expected.map(|it| it.map(|text| text.map(str::to_owned))), "{document}");
    }

    #[test]
    fn texts_at_the_top_are_found() {
        check(r#"{"id":"evt_1"}"#, Ok([Some("evt_1"), None]));
        check(r#" { "source" : "/a" , "id" : "é\u00e9\ud83d\ude00\n" } "#, {
            Ok([Some("éé😀\n"), Some("/a")])
        });
        check(r#"{"data":{"id":"x","a":[1,-2.5e+3,true,null,{}]},"\u0069d":"y"}"#, {
            Ok([Some("y"), None])
        });
        check(r#"{"id":7,"source":["/a"]}"#, Ok([None, None]));
        check("{}", Ok([None, None]));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            r#"{"id":"a","id":"a"}"#,
            r#"{"id":"a","\u0069d":"b"}"#,
            r#"{"id":1,"id":"b"}"#,
            r#"{"id":"a"} {"id":"b"}"#,
            r#"{"id":"a"}x"#,
            r#"[{"id":"a"}]"#,
            r#"{"id":"a",}"#,
            r#"{"id":"a" "b":1}"#,
            r#"{id:"a"}"#,
            r#"{"id":'a'}"#,
            r#"{"id":"a"#,
            r#"{"id":"\ud800"}"#,
            r#"{"id":"\udc00"}"#,
            r#"{"id":"\ud800\u0041"}"#,
            r#"{"id":"\x"}"#,
            "{\"id\":\"a\nb\"}",
            r#"{"a":nul,"id":"a"}"#,
            "",
            "\u{feff}{}",
        ] {
            check(bad, Err(BadJson));
        }
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX), Ok([None, None]));
        check(&nested(DEPTH_MAX + 2), Err(BadJson));
        assert_eq!(texts(b"{\"id\":\"\xff\"}", ["id"]), Err(BadJson));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_document_panics(document in r#"[\{\}\[\]",:\\u0-9a-f \n-]{0,64}"#) {
            texts(document.as_bytes(), ["a"]).ok();
        }
    }
}
