//! What the documents say is so: metrics, verbs, files and policies that they name exist.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tidegate_harness::TempDir;

use crate::setting::{PolicyText, Setting, TIDEGATE};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).expect("the document is there")
}

/// Every `tidegate_…` word of a text that is code.
fn named_metrics(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|it| it.starts_with("tidegate_")).map(str::to_owned).collect()
}

/// The families of a scrape, under the names that their samples have.
fn families(scrape: &str) -> BTreeSet<String> {
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|it| it.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

#[test]
fn the_readme_names_every_metric_and_no_other() {
    let more = "gates: {}\nfence: { store: { embedded: { path: fence.db } } }".to_owned();
    let setting = Setting::three(&PolicyText { more, ..PolicyText::default() });
    let scrape = setting.balancer.ask_admin("/metrics").expect("an answer").text();
    let named = named_metrics(&read("README.md"));
    let missing: Vec<_> = families(&scrape).difference(&named).cloned().collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    // Families without a series yet are not in a scrape, so the sources say what else there is.
    let sources = ["crates/control/src/metrics.rs", "crates/control/src/metrics/sources.rs"];
    let sources = sources
        .into_iter()
        .chain(["crates/control/src/metrics/policy.rs", "crates/proxy/src/metrics/fence.rs"]);
    let sources =
        sources.chain(["crates/proxy/src/metrics.rs", "crates/proxy/src/connection/metrics.rs"]);
    let sources: String = sources
        .chain(["crates/control/src/metrics/scrape.rs", "crates/control/src/gates/metrics.rs"])
        .chain(["crates/control/src/metrics/ownership.rs"])
        .map(read)
        .collect();
    let stem = |name: &str| {
        let name = name.trim_end_matches("_total").trim_end_matches("_info");
        name.trim_end_matches("_seconds").to_owned()
    };
    let invented: Vec<_> = named.iter().filter(|it| !sources.contains(&stem(it))).collect();
    assert!(invented.is_empty(), "only in the README: {invented:?}");
}

#[test]
fn the_verbs_and_flags_of_the_readme_exist() {
    let help = |arguments: &[&str]| {
        let output = Command::new(TIDEGATE).args(arguments).arg("--help").output();
        String::from_utf8(output.expect("it runs").stdout).expect("help is text")
    };
    let verbs = help(&[]);
    let readme = read("README.md");
    let commands = readme.lines().filter_map(|line| line.trim().strip_prefix("tidegate "));
    let mut seen = 0;
    for command in commands {
        let command = command.split('#').next().unwrap_or_default();
        let mut words = command.split_whitespace();
        let verb = words.next().expect("a verb");
        assert!(verbs.contains(&format!("  {verb} ")), "no verb `{verb}`");
        let mut path = vec![verb];
        // The fence, the gates and ownership have verbs of their own.
        let has_verbs = matches!(verb, "fence" | "gate" | "ownership");
        path.extend(words.by_ref().take(usize::from(has_verbs)));
        let of_verb = help(&path);
        assert!(!of_verb.is_empty(), "no verb {path:?}");
        for flag in words.filter(|it| it.starts_with("--")) {
            assert!(of_verb.contains(flag), "`{verb}` has no flag {flag}");
        }
        seen += 1;
    }
    assert!(7 <= seen, "the README shows the verbs");
}

#[test]
fn files_that_the_documents_name_are_there() {
    for document in ["README.md", "crates/ARCHITECTURE.md", "crates/STYLE.md"] {
        let folder = Path::new(ROOT).join(document);
        let folder = folder.parent().expect("a folder");
        let text = read(document);
        let links = text.split("](").skip(1).filter_map(|it| it.split(')').next());
        for link in links.filter(|it| !it.contains("://")) {
            assert!(folder.join(link).exists(), "{document} links to {link}");
        }
    }
    let architecture = read("crates/ARCHITECTURE.md");
    let code = architecture.split('`').skip(1).step_by(2);
    for path in code.filter(|it| it.contains("/src/") || it.starts_with("tests/")) {
        let crates = Path::new(ROOT).join("crates").join(path);
        assert!(crates.exists() || Path::new(ROOT).join(path).exists(), "{path} is not there");
    }
}

#[test]
fn the_policy_of_the_readme_is_right() {
    let readme = read("README.md");
    let policy = readme.split("```yaml\n").nth(1).and_then(|it| it.split("```").next());
    let folder = TempDir::new();
    let path = folder.write("policy.yaml", policy.expect("a policy"));
    let output = Command::new(TIDEGATE).arg("check").arg(path).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
