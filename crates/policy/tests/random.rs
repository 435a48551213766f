//! Whatever is given as a policy, the answer is a policy or a report, never a panic.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

/// What makes YAML out of letters, and what makes a policy out of YAML.
const PIECES: [&str; 40] = [
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    ": ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "\"",
    "'",
    "|",
    ">",
    "#",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "---",
    "\t",
    "~",
    "0",
    "-1",
    "1.5",
    "10s",
    "20%",
    "true",
    "name",
    "${A}",
    "${A:-b}",
    "${",
    "file:x",
    "\u{feff}",
    "é",
    "\u{85}",
    "\r",
    "version: 1\n",
    "regions:",
];

fn every_key() -> String {
    std::fs::read_to_string("tests/every-key.yaml").expect("the policy is there")
}

/// Reads a text and looks at all of the answer.
fn read(text: &str) {
    let env = |name: &str| (name == "A").then(|| "a".repeat(9));
    let Err(report) = tidegate_policy::load("tests/random.yaml", text, &env) else { return };
    assert!(!report.problems().is_empty() && !report.to_string().is_empty());
    let lines = text.split('\n').count();
    assert!(report.problems().iter().all(|it| it.line <= lines), "{text:?}");
    assert!(!report.render(true).is_empty() && !report.render(false).contains('\u{1b}'));
    read_endpoints(text);
}

fn read_endpoints(text: &str) {
    if let Err(report) = tidegate_policy::endpoints(text) {
        assert!(!report.render(false).is_empty());
    }
}

/// A place of a text, and what is written over it.
fn change() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, String)> {
    let new = prop_oneof![
        prop::collection::vec(prop::sample::select(&PIECES), 0..3).prop_map(|it| it.concat()),
        any::<char>().prop_map(String::from),
    ];
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), new)
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_yaml_never_panics(pieces in prop::collection::vec(prop::sample::select(&PIECES), 0..60)) {
        read(&pieces.concat());
    }

    #[test]
    fn a_policy_with_random_changes_never_panics(changes in prop::collection::vec(change(), 1..6)) {
        let mut text: Vec<char> = every_key().chars().collect();
        for (start, length, new) in changes {
            let start = start.index(text.len() + 1);
            let end = (start + length.index(12)).min(text.len());
            text.splice(start..end, new.chars());
        }
        read(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_policy_without_some_lines_never_panics(left_out in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        let text = every_key();
        let mut lines: Vec<&str> = text.lines().collect();
        for line in left_out {
            lines.remove(line.index(lines.len()));
        }
        read(&lines.join("\n"));
    }

    #[test]
    fn random_endpoints_never_panic(text in "[0-9a-f:.# \\[\\]\n]{0,80}") {
        read_endpoints(&text);
    }
}
