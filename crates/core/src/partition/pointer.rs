//! A partition that stands in a JSON body, at the place that a pointer names (RFC 6901).

use crate::fence::json::{self, Pointed};

use super::NoPartition;

/// The names that a pointer consists of; `None` if it is none, or is that of the whole document.
pub fn names(pointer: &str) -> Option<Vec<String>> {
    let tokens = pointer.strip_prefix('/')?.split('/');
    tokens
        .map(|token| {
            let mut rest = token.split('~');
            let mut name = rest.next()?.to_owned();
            for part in rest {
                let escaped = [("0", '~'), ("1", '/')];
                let (left, letter) = escaped
                    .into_iter()
                    .find_map(|(digit, letter)| Some((part.strip_prefix(digit)?, letter)))?;
                name.push(letter);
                name.push_str(left);
            }
            Some(name)
        })
        .collect()
}

/// The partition in a body: a text, or a whole number.
///
/// # Errors
/// There is none, or what is there can be read in two ways.
pub fn read(body: &[u8], pointer: &str) -> Result<String, NoPartition> {
    let names = names(pointer).ok_or(NoPartition::Unreadable)?;
    let found = json::pointed(body, &names).map_err(|_bad| NoPartition::Unreadable)?;
    let is_whole = |word: &str| {
        let digits = word.strip_prefix('-').unwrap_or(word);
        // `1e2` and `100` would be two partitions of one number.
        !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()) && word != "-0"
    };
    match found {
        Pointed::Nothing => Err(NoPartition::Missing),
        Pointed::Text(text) => Ok(text),
        Pointed::Word(word) if word == "null" => Err(NoPartition::Missing),
        Pointed::Word(word) if is_whole(&word) => Ok(word),
        Pointed::Word(_) | Pointed::Many => Err(NoPartition::Unreadable),
    }
}
