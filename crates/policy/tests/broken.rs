//! Every broken policy beside this file gives the report that stands beside it.
//!
//! `UPDATE=1` rewrites the reports.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::path::{Path, PathBuf};

/// The report of a policy, as plain as a terminal without colour.
fn report(path: &Path) -> String {
    let Err(report) = tidegate_policy::load_file(path) else { return "no problem\n".to_owned() };
    report.render(false)
}

fn broken() -> Vec<PathBuf> {
    // Tests run in the folder of their crate; an absolute path would get into the reports.
    let entries =
        std::fs::read_dir("tests/broken").expect("the folder of broken policies is there");
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

/// In these policies, whatever has a hunter or a long number in it is a secret.
#[test]
fn no_report_shows_a_secret() {
    let about = broken()
        .into_iter()
        .filter(|it| ["sticky-", "fence-"].iter().any(|kind| it.to_string_lossy().contains(kind)));
    let reports: Vec<String> = about.map(|it| report(&it)).collect();
    assert!(reports.len() > 4);
    for report in reports {
        assert!(!report.contains("hunter") && !report.contains("345678"), "{report}");
    }
}

#[test]
fn there_is_a_broken_policy_for_every_kind_of_mistake() {
    assert!(broken().len() >= 34);
}
