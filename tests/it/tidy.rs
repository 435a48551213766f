//! Style as a test: what the house asks of every file, and of the repository as a whole.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use source::{functions, line_of, only_code, words};

/// A file longer than this holds more than one idea.
const FILE_LINES_MAX: usize = 600;
/// A function longer than this does not fit a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// What `core` may depend on. Everything else would let the world into the thought.
const CORE_MAY_USE: [&str; 4] = ["hmac", "ipnet", "sha2", "thiserror"];
/// Names that stand for clocks, input and output; none of them belongs into `core`.
const CORE_NEVER_SAYS: [&str; 9] = [
    "Instant",
    "SystemTime",
    "tokio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "fs::",
    "std::env",
];
/// What lies at the top of the repository, beside dotfiles.
const TOP: [&str; 8] =
    ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "crates", "deploy", "policies", "tests"];
/// Which of our crates each crate may use: dependencies point down only.
const FLOORS: [(&str, &[&str]); 5] = [
    ("core", &[]),
    ("policy", &["tidegate-core"]),
    ("fence", &["tidegate-core"]),
    ("control", &["tidegate-core", "tidegate-fence"]),
    ("proxy", &["tidegate-control", "tidegate-core", "tidegate-fence"]),
];

/// A file of the repository.
struct File {
    /// Its path from the top of the repository.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == extension)
    }

    fn is_shell(&self) -> bool {
        let first = self.text.lines().next().unwrap_or_default();
        self.has_extension("sh") || (first.starts_with("#!") && first.ends_with("sh"))
    }
}

/// All text files that git knows or would add, without what it ignores.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git")
        // The checkout may belong to somebody else, as in many containers.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let paths = listing.split_terminator('\0');
    // A file that is deleted but not yet committed is still listed.
    let read = |path: &str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> = paths.filter_map(read).collect();
    assert!(files.iter().any(File::is_rust), "git lists no sources in {}", root.display());
    files
}

/// Runs one rule over the files it is about, and prints everything that breaks it.
fn check(about: impl Fn(&File) -> bool, rule: impl Fn(&File) -> Vec<String>) {
    let wrong: Vec<String> = files().iter().filter(|file| about(file)).flat_map(rule).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A file made up to show that a rule bites.
fn sample(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn every_source_opens_with_a_sentence() {
    check(File::is_rust, without_opening);
}

fn without_opening(file: &File) -> Vec<String> {
    let opening = file.text.lines().map_while(|line| line.strip_prefix("//!"));
    let sentence = opening.map(str::trim).take_while(|line| !line.is_empty()).last();
    if sentence.is_some_and(|line| line.ends_with('.')) {
        return Vec::new();
    }
    vec![format!("{}:1: does not open with a `//!` sentence", file.path)]
}

#[test]
fn a_source_without_an_opening_is_caught() {
    assert_eq!(without_opening(&sample("a.rs", "//! It says\n//! why.\n")), [""; 0]);
    assert_eq!(without_opening(&sample("a.rs", "use std::fs;\n//! Late.\n")).len(), 1);
    assert_eq!(without_opening(&sample("a.rs", "//! no full stop\n")).len(), 1);
}

#[test]
fn no_source_is_longer_than_its_limit() {
    check(File::is_rust, too_long);
}

fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, and {FILE_LINES_MAX} is the wall", file.path)]
}

#[test]
fn a_long_source_is_caught() {
    assert_eq!(too_long(&sample("a.rs", &"\n".repeat(FILE_LINES_MAX))), [""; 0]);
    assert_eq!(too_long(&sample("a.rs", &"\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    check(File::is_rust, long_functions);
}

fn long_functions(file: &File) -> Vec<String> {
    functions(&only_code(&file.text))
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .map(|it| format!("{}:{}:{}: {} lines", file.path, it.line, it.name, it.lines))
        .collect()
}

#[test]
fn a_long_function_is_caught() {
    let body = "    work();\n".repeat(FUNCTION_LINES_MAX - 2);
    let fits = format!("//! A.\n\nfn fits() {{\n{body}}}\n");
    assert_eq!(long_functions(&sample("a.rs", &fits)), [""; 0]);
    let large = format!("//! A.\n\nfn large() {{\n{body}\n}}\n");
    assert_eq!(long_functions(&sample("a.rs", &large)), ["a.rs:3:large: 71 lines"]);
}

#[test]
fn no_work_is_left_without_an_issue() {
    check(|file| file.path != "Cargo.lock", unnumbered_work);
}

fn unnumbered_work(file: &File) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    // In backquotes it is the name of the mark, as in a text about this rule.
    let quoted = |line: &str, at| line.get(..at).is_some_and(|before| before.ends_with('`'));
    let is_left =
        |line: &str| marks.iter().any(|mark| words(line, mark).any(|at| !quoted(line, at)));
    let lines = file.text.lines().enumerate();
    let wrong = lines.filter(|(_, line)| is_left(line) && !names_an_issue(line));
    wrong.map(|(at, _)| format!("{}:{}: left work without `#n`", file.path, at + 1)).collect()
}

fn names_an_issue(line: &str) -> bool {
    line.split('#').skip(1).any(|tail| tail.starts_with(|it: char| it.is_ascii_digit()))
}

#[test]
fn unnumbered_work_is_caught() {
    let mark = concat!("TO", "DO");
    assert_eq!(unnumbered_work(&sample("a.rs", &format!("// {mark}(#12): later"))), [""; 0]);
    assert_eq!(unnumbered_work(&sample("a.md", &format!("A `{mark}` fails."))), [""; 0]);
    assert_eq!(unnumbered_work(&sample("a.rs", &format!("\n// {mark}: later"))).len(), 1);
}

#[test]
fn core_depends_on_its_list_only() {
    check(|file| file.path == "crates/core/Cargo.toml", |file| beyond(file, &CORE_MAY_USE));
}

fn beyond(file: &File, allowed: &[&str]) -> Vec<String> {
    let used = dependencies(&file.text);
    let wrong = used.iter().filter(|name| !allowed.contains(&name.as_str()));
    wrong.map(|name| format!("{}: depends on {name}", file.path)).collect()
}

/// What a manifest depends on to build, on any target. What its tests use is its own affair.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
            let dotted = section.rsplit_once("dependencies.");
            names.extend(
                dotted.filter(|(kind, _)| !kind.ends_with("dev-")).map(|it| it.1.to_owned()),
            );
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    names
}

#[test]
fn a_new_dependency_of_core_is_caught() {
    let manifest = "[dependencies]\nipnet.workspace = true\ntokio = \"1\"\n\n[dev-dependencies]\nproptest = \"1\"\n\
         [dependencies.serde]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc = \"0\"\n\
         [build-dependencies]\ncc = \"1\"\n[dev-dependencies.fastrand]\nversion = \"2\"\n";
    let found = beyond(&sample("Cargo.toml", manifest), &CORE_MAY_USE);
    let expected = ["cc", "libc", "serde", "tokio"];
    assert_eq!(found, expected.map(|name| format!("Cargo.toml: depends on {name}")));
}

#[test]
fn dependencies_point_down_only() {
    for (name, allowed) in FLOORS {
        let path = format!("crates/{name}/Cargo.toml");
        check(|file| file.path == path, |file| upwards(file, allowed));
    }
}

fn upwards(file: &File, allowed: &[&str]) -> Vec<String> {
    let mut wrong = beyond(file, allowed);
    wrong.retain(|line| line.contains("depends on tidegate"));
    wrong
}

#[test]
fn an_upward_dependency_is_caught() {
    let manifest = sample("Cargo.toml", "[dependencies]\ntidegate-proxy.workspace = true\n");
    assert_eq!(upwards(&manifest, &["tidegate-core"]).len(), 1);
    assert_eq!(upwards(&manifest, &["tidegate-proxy"]), [""; 0]);
}

#[test]
fn core_knows_no_clock_and_no_world() {
    let in_core = |file: &File| file.is_rust() && file.path.starts_with("crates/core/src/");
    check(in_core, |file| CORE_NEVER_SAYS.iter().flat_map(|word| says(file, word)).collect());
}

/// Where the code, not its comments, uses a name.
fn says(file: &File, word: &str) -> Vec<String> {
    let code = only_code(&file.text);
    let places = words(&code, word);
    places.map(|at| format!("{}:{}: says {word}", file.path, line_of(&code, at))).collect()
}

#[test]
fn a_clock_in_core_is_caught() {
    let text = "// An Instant is fine here.\nuse std::time::Instant;\nlet refs::a = Instants;\n";
    assert_eq!(says(&sample("a.rs", text), "Instant"), ["a.rs:2: says Instant"]);
    assert_eq!(says(&sample("a.rs", text), "fs::"), [""; 0]);
    assert_eq!(says(&sample("a.rs", "use std::fs::File;"), "std::fs").len(), 1);
}

#[test]
fn nothing_is_unsafe_and_no_test_is_ignored() {
    check(File::is_rust, |file| {
        ["unsafe", "#[ignore"].iter().flat_map(|word| says(file, word)).collect()
    });
}

#[test]
fn an_unsafe_block_is_caught() {
    assert_eq!(says(&sample("a.rs", "fn a() { unsafe { b() } }"), "unsafe").len(), 1);
    assert_eq!(says(&sample("a.rs", "#![forbid(unsafe_code)] // unsafe"), "unsafe"), [""; 0]);
    assert_eq!(says(&sample("a.rs", "#[test]\n#[ignore]\nfn a() {}"), "#[ignore").len(), 1);
}

#[test]
fn one_cell_is_swapped_and_no_more() {
    let all = files();
    let sources = all.iter().filter(|file| file.is_rust() && file.path.starts_with("crates/"));
    let (mut made, mut strange) = (Vec::new(), Vec::new());
    for source in sources {
        made.extend(made_cells(source));
        strange.extend(strange_cells(source));
    }
    assert_eq!(made.len(), 1, "the world's cell is made once, and then shared: {made:?}");
    assert!(strange.is_empty(), "the world is the one thing that is swapped: {strange:?}");
}

/// Where a swap cell is made. Whoever only holds it shares the same one.
fn made_cells(file: &File) -> Vec<String> {
    let makers = ["ArcSwap::", "ArcSwapAny::", "ArcSwapOption::"];
    makers.iter().flat_map(|maker| says(file, maker)).collect()
}

/// Cells that hold anything but the world.
fn strange_cells(file: &File) -> Vec<String> {
    let cells = ["ArcSwap<", "ArcSwapAny<", "ArcSwapOption<"];
    let held = cells.iter().map(|cell| says(file, cell).len()).sum::<usize>();
    let worlds = says(file, "ArcSwap<World>").len();
    if held == worlds {
        return Vec::new();
    }
    vec![format!("{}: {} cells hold something else", file.path, held - worlds)]
}

#[test]
fn a_second_cell_is_caught() {
    let fine =
        "use arc_swap::ArcSwap;\nstruct A(Arc<ArcSwap<World>>);\nfn a() { ArcSwap::new(b) }\n";
    assert_eq!(made_cells(&sample("a.rs", fine)), ["a.rs:3: says ArcSwap::"]);
    assert_eq!(strange_cells(&sample("a.rs", fine)), [""; 0]);
    let second = format!("{fine}static B: ArcSwapOption<Policy> = ArcSwapOption::const_empty();\n");
    assert_eq!(made_cells(&sample("a.rs", &second)).len(), 2);
    assert_eq!(strange_cells(&sample("a.rs", &second)).len(), 1);
    assert_eq!(strange_cells(&sample("a.rs", "type A = ArcSwap<Policy>;")).len(), 1);
}

#[test]
fn the_top_holds_what_the_map_names() {
    check(|_| true, stray);
}

fn stray(file: &File) -> Vec<String> {
    let top = file.path.split('/').next().unwrap_or_default();
    if top.starts_with('.') || TOP.contains(&top) {
        return Vec::new();
    }
    vec![format!("{}: has no place at the top of the repository", file.path)]
}

#[test]
fn a_stray_file_is_caught() {
    assert_eq!(stray(&sample("scripts/a.sh", "")).len(), 1);
    assert_eq!(stray(&sample("tests/run.sh", "")), [""; 0]);
    assert_eq!(stray(&sample(".ci/run", "")), [""; 0]);
}

#[test]
fn every_shell_script_is_strict() {
    check(File::is_shell, lenient);
}

fn lenient(file: &File) -> Vec<String> {
    if file.text.lines().any(|line| line == "set -euo pipefail") {
        return Vec::new();
    }
    vec![format!("{}: does not say `set -euo pipefail`", file.path)]
}

#[test]
fn a_lenient_script_is_caught() {
    let script = sample("run", "#!/usr/bin/env bash\nset -e\n");
    assert!(script.is_shell(), "a shebang is enough");
    assert_eq!(lenient(&script).len(), 1);
    assert_eq!(lenient(&sample("a.sh", "#!/bin/bash\nset -euo pipefail\n")), [""; 0]);
}

#[test]
fn no_file_names_a_registry() {
    // The lock file is Cargo's own and says where each crate came from.
    check(|file| file.path != "Cargo.lock", named_registries);
}

/// Machines may use mirrors, so no file decides where packages come from. The names are put
/// together here, or this file would be the first to break the rule.
fn registries() -> [String; 7] {
    let name = |parts: [&str; 2]| parts.join(".");
    [
        name(["crates", "io"]),
        name(["pypi", "org"]),
        name(["pythonhosted", "org"]),
        name(["npmjs", "org"]),
        name(["proxy.golang", "org"]),
        name(["deb.debian", "org"]),
        name(["archive.ubuntu", "com"]),
    ]
}

fn named_registries(file: &File) -> Vec<String> {
    let registries = registries();
    let lines = file.text.lines().enumerate();
    let wrong = lines.filter(|(_, line)| registries.iter().any(|name| line.contains(name)));
    wrong.map(|(at, _)| format!("{}:{}: names a registry's host", file.path, at + 1)).collect()
}

#[test]
fn a_registry_is_caught() {
    for name in registries() {
        let text = format!("a: b\nurl: https://{name}/simple\n");
        assert_eq!(named_registries(&sample("a.yaml", &text)).len(), 1, "{name}");
    }
}
