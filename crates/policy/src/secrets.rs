//! Keeps secrets out of reports: blots them out of the text that is shown, and out of messages.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::flaws::Flaw;
use crate::place::Step;

/// The key whose value is a secret.
const KEY: &str = "secret";
/// Letters by which a key may differ from it and still be what was meant; `socket` differs by two.
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

/// The message of a flaw without the value that it is about, where that is a secret.
pub(crate) fn discreet(flaw: &Flaw) -> &str {
    let is_secret = matches!(flaw.path.as_deref(), Some([.., Step::Key(key)]) if is_key(key));
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
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon + 1);
        blotted.push_str(before);
        rest = after;
        let line_start = blotted.rfind('\n').map_or(0, |it| it + 1);
        let line = blotted.get(line_start..blotted.len() - 1).unwrap_or_default();
        let key_start = line.rfind(|it| " \t{,?".contains(it)).map_or(0, |it| it + 1);
        let key = line.get(key_start..).unwrap_or_default().trim_matches(['"', '\'']);
        if !is_key(key) {
            continue;
        }
        let value_len = value_len(after, line);
        let (value, after) = after.split_at(value_len);
        if value.trim_start().trim_start_matches(['"', '\'']).starts_with("file:") {
            blotted.push_str(value);
        } else {
            blotted.extend(value.chars().flat_map(stars));
        }
        rest = after;
    }
    blotted.push_str(rest);
    blotted
}

fn stars(character: char) -> impl Iterator<Item = char> {
    let (shown, times) =
        if character.is_whitespace() { (character, 1) } else { ('*', character.len_utf8()) };
    std::iter::repeat_n(shown, times)
}

fn is_key(key: &str) -> bool {
    strsim::damerau_levenshtein(&key.to_ascii_lowercase(), KEY) <= TYPOS_MAX
}

/// How long the value is that begins after a key, at the end of this line so far.
fn value_len(after: &str, line: &str) -> usize {
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value = after.get(blanks..).unwrap_or_default();
    let first = value.chars().next();
    if let Some(quote @ ('"' | '\'')) = first {
        let body = value.get(1..).unwrap_or_default();
        let mut escaped = false;
        let end = body.find(|it| {
            let ends = it == quote && !escaped;
            escaped = it == '\\' && quote == '"' && !escaped;
            ends
        });
        // In single quotes, a quote is written as two: then another quoted text follows at once.
        let end = end.map_or(value.len(), |end| end + 2);
        let more = value.get(end..).unwrap_or_default();
        return blanks + end + if more.starts_with(quote) { value_len(more, line) } else { 0 };
    }
    let is_flow = line.matches('{').count() > line.matches('}').count();
    if is_flow && let Some(end) = value.find([',', '}', '\n']) {
        return blanks + end;
    }
    // A plain or a block text goes on in all lines that stand further in.
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let mut length = 0;
    for (place, of_value) in after.split_inclusive('\n').enumerate() {
        let goes_on = of_value.trim().is_empty() || indent(line) < indent(of_value);
        if place > 0 && !goes_on {
            break;
        }
        length += of_value.len();
    }
    length
}

#[cfg(test)]
mod tests {
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
    }
}
