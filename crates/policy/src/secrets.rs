//! Keeps secrets out of reports: blots them out of the text that is shown, and out of messages.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::flaws::Flaw;
use crate::place::Step;

/// The keys whose values are secrets.
const KEYS: [&str; 2] = ["secret", "password"];
/// Letters by which a key may differ from one and still be what was meant: `secrets` does, and
/// `socket` differs by two.
const TYPOS_MAX: usize = 1;

/// A secret: nothing but whoever asks for its bytes gets to see it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(#[schemars(regex(pattern = "^.{32,}$"))] String);

impl Secret {
    /// The secret itself.
    pub(crate) fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret that somebody else chose, however short.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Credential(#[schemars(length(min = 1))] String);

impl Credential {
    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// The message of a flaw without the value that it is about, where that is a secret.
pub(crate) fn discreet(flaw: &Flaw) -> &str {
    let path = flaw.path.as_deref().unwrap_or_default();
    let is_secret = match path {
        [.., Step::Key(key)] | [.., Step::Key(key), Step::Item(_)] => is_key(key),
        _ => false,
    };
    match flaw.message.split_once(", found ") {
        Some((wanted, _)) if is_secret => wanted,
        None if is_secret && flaw.message.starts_with('`') => "the secret cannot be understood",
        Some(_) | None => &flaw.message,
    }
}

/// The text with every value of a key like `secret` blotted out, byte by byte, so that offsets stay
/// right. A reference to a file is no secret.
///
/// This works on the text and not on what it means, because there are reports of texts that mean
/// nothing. It rather blots out too much.
pub(crate) fn blotted(text: &str) -> String {
    let mut blotted = String::with_capacity(text.len());
    let mut line = Line::BEGUN;
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon);
        line.goes_on(before);
        blotted.push_str(before);
        blotted.push(':');
        rest = after.get(1..).unwrap_or_default();
        if !is_key(last_word(before)) {
            continue;
        }
        let (value, after) = rest.split_at(value_len(rest, &line));
        if is_reference(value) {
            blotted.push_str(value);
        } else {
            blotted.extend(value.chars().flat_map(stars));
        }
        line.goes_on(value);
        rest = after;
    }
    blotted.push_str(rest);
    blotted
}

/// What is known of the line at whose end the text is.
struct Line {
    /// The blanks and dashes with which it begins.
    indent: usize,
    /// Whether there was nothing else so far.
    is_blank: bool,
    /// How many braces are open on it.
    open: usize,
}

impl Line {
    const BEGUN: Self = Self { indent: 0, is_blank: true, open: 0 };

    fn goes_on(&mut self, piece: &str) {
        for character in piece.chars() {
            match character {
                '\n' => *self = Self::BEGUN,
                ' ' | '-' if self.is_blank => self.indent += 1,
                '{' => self.open += 1,
                '}' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
            self.is_blank &= matches!(character, '\n' | ' ' | '-');
        }
    }
}

/// The word at the end of a piece of a line, without quotes.
fn last_word(piece: &str) -> &str {
    let start = piece.rfind([' ', '\t', '\n', '{', ',', '?']).map_or(0, |it| it + 1);
    piece.get(start..).unwrap_or_default().trim_matches(['"', '\''])
}

fn stars(character: char) -> impl Iterator<Item = char> {
    let (shown, times) =
        if character.is_whitespace() { (character, 1) } else { ('*', character.len_utf8()) };
    std::iter::repeat_n(shown, times)
}

fn is_key(word: &str) -> bool {
    KEYS.iter().any(|key| {
        word.len().abs_diff(key.len()) <= TYPOS_MAX
            && strsim::damerau_levenshtein(&word.to_ascii_lowercase(), key) <= TYPOS_MAX
    })
}

/// Whether a value, or every item of a list, is a reference to a file.
fn is_reference(value: &str) -> bool {
    let marks = |it: char| it.is_whitespace() || matches!(it, '[' | ']' | '-' | '"' | '\'');
    let mut items = value.split([',', '\n']).map(|it| it.trim_matches(marks));
    value.contains("file:") && items.all(|it| it.is_empty() || it.starts_with("file:"))
}

/// How long the value is that begins behind a key on this line.
fn value_len(after: &str, line: &Line) -> usize {
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value = after.get(blanks..).unwrap_or_default();
    if let Some(quote @ ('"' | '\'')) = value.chars().next() {
        return blanks + quoted_len(value, quote);
    }
    if value.starts_with('[') {
        return blanks + list_len(value);
    }
    if 0 < line.open
        && let Some(end) = value.find([',', '}', '\n'])
    {
        return blanks + end;
    }
    // A plain or a block text goes on in all lines that stand further in.
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let mut length = 0;
    for (place, of_value) in after.split_inclusive('\n').enumerate() {
        let goes_on = of_value.trim().is_empty() || line.indent < indent(of_value);
        if place > 0 && !goes_on {
            break;
        }
        length += of_value.len();
    }
    length
}

/// How long a list in brackets is; to the end of everything when nothing ends it.
fn list_len(value: &str) -> usize {
    let mut open: usize = 0;
    let mut rest = value;
    while let Some(place) = rest.find(['[', ']', '"', '\'']) {
        let (_, found) = rest.split_at(place);
        let len = match found.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted_len(found, quote),
            Some('[') => {
                open += 1;
                1
            }
            _ => {
                open = open.saturating_sub(1);
                1
            }
        };
        rest = found.get(len..).unwrap_or_default();
        if open == 0 {
            return value.len() - rest.len();
        }
    }
    value.len()
}

/// How long a text in quotes is; to the end of everything when nothing ends it.
fn quoted_len(value: &str, quote: char) -> usize {
    let (mut is_open, mut is_escaped) = (false, false);
    for (place, character) in value.char_indices() {
        // In single quotes, a quote is written as two: one quoted text behind another.
        if !is_open && character != quote {
            return place;
        }
        is_open ^= character == quote && !is_escaped;
        is_escaped = character == '\\' && quote == '"' && !is_escaped;
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_secrets_are_blotted_out_and_nothing_else() {
        let check = |text: &str, shown: &str| {
            assert_eq!(blotted(text), shown);
            assert_eq!(blotted(text).len(), text.len());
        };
        check("a: b\nsecrets_rev: k_1", "a: b\nsecrets_rev: k_1");
        check("{ id: k1, secret: abc, x: y }", "{ id: k1, secret: ***, x: y }");
        check("{ id: k1, secret: \"a,}b\\\"c\" }", "{ id: k1, secret: ********* }");
        check("{ secret: 'it''s', id: k1 }", "{ secret: *******, id: k1 }");
        check("- id: k1\n  secret: a, b}: c\n  x: y", "- id: k1\n  secret: ** *** *\n  x: y");
        check("- secret: |\n    abc\n    d\n  id: k1", "- secret: *\n    ***\n    *\n  id: k1");
        check("secret: \"abc\n{ id", "secret: ****\n* **");
        check("{ \"secret\": é }", "{ \"secret\": ** }");
        check("{ secrte: abc, Secret: def }", "{ secrte: ***, Secret: *** }");
        check("{ secret: \"file:./a b\" }", "{ secret: \"file:./a b\" }");
        check("secret:", "secret:");
        check("secret: [ab, c]", "secret: **** **");
        check("secret: a\r\nb: c", "secret: *\r\nb: c");
        check("{ secrets: [ab, \"c]\"], x: y }", "{ secrets: **** *****, x: y }");
        check("secrets:\n  - ab\n  - c\nx: y", "secrets:\n  * **\n  * *\nx: y");
        check("secrets: [\"file:a\", 'file:b']", "secrets: [\"file:a\", 'file:b']");
        check("secrets: [\"file:a\", bc]", "secrets: ********** ***");
        check("{ password: a b, passwords: c }", "{ password: * *, passwords: * }");
    }

    #[test]
    fn a_strange_text_takes_no_longer_than_a_plain_one() {
        for piece in [":", "{secret:", "secret:", "secret: \"'", "secret: ''", "secret: a\n "] {
            let text = piece.repeat((1 << 20) / piece.len());
            assert_eq!(blotted(&text).len(), text.len());
        }
    }

    proptest! {
        #[test]
        fn offsets_stay_right_and_secrets_go(
            pieces in prop::collection::vec(prop::sample::select(&[
                "secret", "secret: ", ": ", "\n", "  ", "- ", "{ ", " }", ", ", "\"", "'", "\\", "é", "#", "a",
            ][..]), 0..40),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(blotted(&text).len(), text.len());
            let line = format!("{text}\n{{ secret: hunter2 }}\n{text}");
            prop_assert!(!blotted(&line).contains("hunter2"), "{}", blotted(&line));
        }
    }
}
