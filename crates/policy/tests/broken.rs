//! Every broken policy beside this file gives the report that stands beside it.
//!
//! `UPDATE=1` rewrites the reports.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::path::{Path, PathBuf};

/// The report of a policy, as plain as a terminal without colour.
fn report(path: &Path) -> String {
    let name = path.file_name().and_then(|it| it.to_str()).expect("a name in UTF-8");
    let Err(report) = tidegate_policy::load_file(path) else { return "no problem\n".to_owned() };
    // The name of the checkout's folder must not get into the reports.
    report.render(false).replace(&path.display().to_string(), name)
}

fn broken() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = std::fs::read_dir(folder).expect("the folder of broken policies is there");
    let paths = entries.map(|it| it.expect("the folder can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort();
    paths
}

#[test]
fn every_broken_policy_gives_its_report() {
    let mut wrong = Vec::new();
    for path in broken() {
        let report = report(&path);
        assert!(!report.starts_with("no problem"), "{} is not broken", path.display());
        let beside = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&beside, &report).expect("the report can be written");
        } else if std::fs::read_to_string(&beside).unwrap_or_default() != report {
            wrong.push(format!("{}:\n{report}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "other reports than expected:\n{}", wrong.join("\n"));
}

#[test]
fn there_is_a_broken_policy_for_every_kind_of_mistake() {
    assert!(broken().len() >= 34);
}
