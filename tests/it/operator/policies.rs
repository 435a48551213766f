//! `check`, and the policies that ship: as we read them, and as somebody else's validator does.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_harness::{TempDir, json_line, python};

use super::Path;
use crate::setting::tidegate;

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|it| it.expect("it can be read").path());
    let policies: Vec<_> =
        paths.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect();
    assert!(!policies.is_empty(), "policies ship");
    policies
}

#[test]
fn a_policy_that_is_right_is_said_to_be() {
    for path in shipped() {
        let path = path.display().to_string();
        let said = tidegate(&["check", &path]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.out.contains(&path) && said.out.contains("right"), "{said:?}");
    }
    let said = tidegate(&["check", "policies/quickstart.yaml", "--output", "json"]);
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json, json!({ "ok": true, "regions": 3, "routes": 3, "contract_keys": 3 }));
}

const WRONG: &str = "version: 1\n\
                     listeners: [ { bind: \"127.0.0.1:8080\" } ]\n\
                     regions:\n  \
                     eu: { distance: 0, endpoint: [ \"127.0.0.1:1\" ] }\n\
                     contract: { probe: { path: /contract, interval: 5 } }\n\
                     routes: [ { name: all } ]\n";

#[test]
fn a_policy_that_is_wrong_is_shown_where_it_is() {
    let directory = TempDir::new();
    let path = directory.write("wrong.yaml", WRONG).display().to_string();
    let said = tidegate(&["check", &path]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    for part in [
        &format!("{path}:4:"),
        "unknown field `endpoint`",
        "eu: { distance: 0, endpoint: [",
        "╰── ",
        "did you mean `endpoints`?",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!said.err.contains('\u{1b}'), "no colour where nobody sees it: {}", said.err);
}

#[test]
fn a_policy_that_is_wrong_is_told_to_programs_too() {
    let directory = TempDir::new();
    let path = directory.write("wrong.yaml", WRONG).display().to_string();
    let said = tidegate(&["check", &path, "-o", "json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    let told: Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!(told["ok"], false);
    let problems = told["problems"].as_array().expect("problems");
    let first = problems.first().expect("a problem");
    assert_eq!((&first["line"], &first["column"]), (&json!(4), &json!(22)), "{told}");
    assert!(first["message"].as_str().is_some_and(|it| it.contains("`endpoint`")), "{told}");
    let said = tidegate(&["check", "/nowhere.yaml", "-o", "json"]);
    assert_eq!(said.code, Some(1));
    let told: Value = serde_json::from_str(&said.err).expect("JSON");
    assert!(told.to_string().contains("/nowhere.yaml"), "{told}");
}

#[test]
fn shipped_policies_are_valid_to_a_validator_that_only_has_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = root.join("policies/policy.schema.json").display().to_string();
    let directory = TempDir::new();
    let wrong = directory.write("wrong.yaml", WRONG).display().to_string();
    let shipped: Vec<String> = shipped().iter().map(|it| it.display().to_string()).collect();
    let mut arguments = vec![schema.as_str(), wrong.as_str()];
    arguments.extend(shipped.iter().map(String::as_str));
    let flaws = json_line(&python("validate_policy.py", &arguments));
    for path in &shipped {
        assert_eq!(flaws[path], json!([]), "{path}");
    }
    let of_wrong = flaws[&wrong].to_string();
    assert!(of_wrong.contains("$.regions.eu") && of_wrong.contains("interval"), "{of_wrong}");
}
