//! Reads Rust sources as far as style needs it: what is code, and where functions begin and end.

/// Replaces comments, strings and characters by blanks. Every line stays on its number.
pub(super) fn only_code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = hidden_length(rest, code.chars().next_back());
        if hidden == 0 {
            code.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (blank, after) = rest.split_at(hidden);
        code.extend(blank.chars().map(|it| if it == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// How many bytes at the start of `rest` are no code: a comment, a string or a character.
fn hidden_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return string_length(rest);
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    let in_word = before.is_some_and(is_word);
    if rest.starts_with('r') && (!in_word || before == Some('b') || before == Some('c')) {
        return raw_string_length(rest);
    }
    0
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..) {
        match tail.as_bytes() {
            [] => break,
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += tail.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Zero for a lifetime: it has no closing quote right after one character.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest
            .char_indices()
            .skip(3)
            .find(|(_, character)| *character == '\'')
            .map_or(0, |(at, _)| at + 1),
        Some(_) => characters
            .next()
            .filter(|(_, character)| *character == '\'')
            .map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Zero if this is a word such as `r` or `return`, or a raw identifier.
fn raw_string_length(rest: &str) -> usize {
    let hashes = rest.chars().skip(1).take_while(|it| *it == '#').count();
    let opening = 1 + hashes;
    if rest.as_bytes().get(opening) != Some(&b'"') {
        return 0;
    }
    let closing = format!("\"{}", "#".repeat(hashes));
    let inside = rest.get(opening + 1..).unwrap_or_default();
    inside.find(&closing).map_or(rest.len(), |at| opening + 1 + at + closing.len())
}

/// A function, as far as its length matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub(super) name: String,
    /// The line of the word `fn`, counted from one.
    pub(super) line: usize,
    /// From that line to the closing brace, both included.
    pub(super) lines: usize,
}

/// All functions that have a body, nested ones included. Expects [`only_code`]'s result.
pub(super) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn").filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let after = code.get(at + 2..)?.trim_start();
    // `fn(u8) -> u8` is a type and has no name.
    let name: String = after.chars().take_while(|it| is_word(*it)).collect();
    let signature_ends = after.find(['{', ';'])?;
    if name.is_empty() || after.as_bytes().get(signature_ends) == Some(&b';') {
        return None;
    }
    let body_at = code.len() - after.len() + signature_ends;
    let body = code.get(body_at..)?;
    let lines = 1 + newlines(code.get(at..body_at)?) + newlines(body.get(..block_length(body))?);
    Some(Function { name, line: 1 + newlines(code.get(..at)?), lines })
}

/// The length of the block that starts here, to its closing brace.
fn block_length(body: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in body.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    body.len()
}

/// Where `wanted` stands in `code` with no letter, digit or underscore around it.
pub(super) fn words<'code>(
    code: &'code str,
    wanted: &'code str,
) -> impl Iterator<Item = usize> + 'code {
    code.match_indices(wanted).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        let after = code.get(at + wanted.len()..).and_then(|text| text.chars().next());
        let goes_on = wanted.ends_with(is_word) && after.is_some_and(is_word);
        !goes_on && !before.is_some_and(is_word)
    })
}

/// The line of a position, counted from one.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + newlines(text.get(..at).unwrap_or_default())
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[test]
fn comments_strings_and_characters_are_no_code() {
    let hidden = [
        "// { fn",
        "/* { /* nested */ } */",
        r#""{ \" fn""#,
        r##"r#"{ " fn"#"##,
        r#"br"{""#,
        r"'{'",
        r"'\''",
        r"'\u{7b}'",
    ];
    for text in hidden {
        let code = only_code(&format!("a {text}\nb"));
        assert_eq!(code.replace([' ', 'b'], ""), "a\n", "{text}");
    }
    assert_eq!(only_code("&'a str; return r#fn;"), "&'a str; return r#fn;");
}

#[test]
fn functions_are_found_with_their_lengths() {
    let text = "trait T { fn bare(&self); }\ntype F = fn(u8) -> u8;\nfn long() {\n  if a {\n    \"}\"\n  }\n}\nconst fn short() {}\n";
    let found = functions(&only_code(text));
    let expected = [("long", 3, 5), ("short", 8, 1)];
    let expected = expected.map(|(name, line, lines)| Function { name: name.into(), line, lines });
    assert_eq!(found, expected);
}
