//! What the YAML parser complains about, in words and at places that help a person.

use crate::flaws::Flaw;
use crate::place::{Span, span_at};

/// The flaw of a policy that grows without end when its aliases are expanded.
pub(super) fn too_large() -> Flaw {
    Flaw::somewhere("aliases make the policy too large")
        .help("write the values out, or use fewer of them")
}

/// The flaw of a policy with more levels than any policy needs.
pub(super) fn nested() -> Flaw {
    Flaw::somewhere("values are nested too deeply").help("a policy needs fewer than ten levels")
}

/// Where a person would look for the mistake: not always where the parser noticed it.
pub(super) fn place_of(text: &str, error: &serde_yaml::Error) -> Span {
    let message = error.to_string();
    if message.contains("more than one document") {
        return span_at(text, text.rfind("\n---").map_or(0, |it| it + 1));
    }
    let noticed =
        error.location().map_or(Span { start: 0, len: 0 }, |it| span_at(text, it.index()));
    // A quote that is never closed is noticed at the end of the file, and told where it began.
    let opened =
        message.split_once("while scanning a quoted scalar at line ").and_then(|(_, it)| {
            let (line, column) = it.split_once(" column ")?;
            let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
            let before: usize =
                text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
            let mut characters = text.get(before..)?.char_indices();
            characters.nth(column.checked_sub(1)?).map(|(it, _)| span_at(text, before + it))
        });
    opened.unwrap_or(noticed)
}

/// The YAML parser's own complaint, without the place, which the report tells better.
pub(super) fn complaint(text: &str, error: &serde_yaml::Error, span: Span) -> Flaw {
    let message = error.to_string();
    if message.contains("recursion limit") {
        return nested();
    }
    if message.contains("EOF while parsing a value") {
        return empty();
    }
    if message.contains("repetition limit") {
        return too_large();
    }
    if message.contains("more than one document") {
        let flaw = if text.contains("\n---") {
            Flaw::somewhere("the file holds more than one YAML document")
                .help("remove what follows the line `---`")
        } else {
            Flaw::somewhere("something stands behind the end of the policy")
                .help("check the brackets and quotes with which the file begins")
        };
        return flaw;
    }
    let message = error.location().map_or(message.clone(), |it| {
        message.replacen(&format!(" at line {} column {}", it.line(), it.column()), "", 1)
    });
    let line = text.get(..span.start).and_then(|it| it.rsplit('\n').next()).unwrap_or_default();
    let rest = text.get(span.start..).and_then(|it| it.lines().next()).unwrap_or_default();
    let indented = |it: char| it == ' ' || it == '\t' || it == '-';
    let indentation: String =
        line.chars().chain(rest.chars()).take_while(|it| indented(*it)).collect();
    let help = match () {
        () if indentation.contains('\t') => Some("indent with spaces: YAML does not know tabs"),
        () if message.contains("quoted scalar") => Some("close the quote"),
        () if message.contains("unknown anchor") => {
            Some("quote a value that begins with `*`, or define the anchor above it")
        }
        () if message.contains("mapping values are not allowed") => {
            Some("check the indentation, and quote a value that has `: ` in it")
        }
        () if message.contains("did not find expected") => {
            Some("check the indentation, the brackets and the quotes above this place")
        }
        () => None,
    };
    Flaw::somewhere(message).maybe_help(help.map(str::to_owned))
}

/// The flaw of a policy without anything in it.
pub(crate) fn empty() -> Flaw {
    Flaw::somewhere("the policy is empty")
        .help("begin with `version: 1`, `listeners`, `regions`, `contract` and `routes`")
}
