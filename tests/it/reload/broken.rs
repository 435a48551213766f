//! What cannot be loaded leaves everything as it was, and says why once.

use std::fs;
use std::net::{TcpListener, TcpStream};

use tidegate_harness::{Load, LoadPlan, free_address};

use crate::setting::{PolicyText, Setting};

/// What is done to the text, and what the report must say.
type Case<'a> = (&'a str, &'a str, &'a str);

/// Edits of the policy that no balancer can put in force.
const EDITS: [Case<'static>; 18] = [
    ("routes:", "routes: [", "did not find expected node content"),
    ("schema_rev: sc-12", "schema_rev: [", "policy.yaml:"),
    ("failback:", "failbck:", "did you mean `failback`?"),
    ("{ name: all,", "{ name: all, residency: eu,", "there is no residency rule `eu`"),
    ("routes:", "residency: { eu: [atlantis] }\nroutes:", "atlantis"),
    ("{ name: all,", "{ name: all, match: { path: /a } }\n  - { name: all,", "`all` already"),
    ("{ name: all,", "{ name: first }\n  - { name: all,", "no request reaches `all`"),
    ("index_hash: a1b2c3", "index_hash: \"file:missing.key\"", "missing.key` cannot be read"),
    ("index_hash: a1b2c3", "index_hash: \"file:folder\"", "it is not a regular file"),
    ("index_hash: a1b2c3", "index_hash: \"${NOT_SET}\"", "`NOT_SET` is not set"),
    ("version: 1", "version: 2", "write `version: 1`"),
    ("interval: 200ms", "interval: 200", "has no unit"),
    ("distance: 0", "distance: far", "distance"),
    ("version: 1", "version: 1\nthreads: 2", "threads 1 → 2"),
    ("socket: admin.sock", "socket: other.sock", "admin: socket admin.sock → other.sock"),
    ("socket: admin.sock", "socket: \"\"", "cannot be the path of a unix socket"),
    ("version: 1", "version: 1\ngate: { blobs: required }", "did you mean `gates`?"),
    ("version: 1", "version: 1\nwatch: often", "watch"),
];

/// Loads the file and asserts that nothing happens but one report and one count.
#[track_caller]
fn refuse(setting: &Setting, what: &str, wanted: &str) {
    let (before, counted) = (setting.in_force(), setting.all_reloads());
    let told = setting.logged("policy not loaded").len();
    let said = setting.reload(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{what}: {said:?}");
    // Where lines are broken hangs on how long the path of the file is.
    let words = said.err.split_whitespace().filter(|it| *it != "│").collect::<Vec<_>>().join(" ");
    assert!(words.contains(wanted), "{what}: `{wanted}` is not in {}", said.err);
    let after = setting.in_force();
    for member in ["generation", "digest", "source", "loaded"] {
        assert_eq!(before[member], after[member], "{what}");
    }
    assert!(!after["failure"]["report"].is_null(), "{what}: {after}");
    assert_eq!((setting.all_reloads() - counted).to_string(), "1", "{what}");
    assert_eq!(setting.metric("tidegate_policy_last_load_ok").to_string(), "0", "{what}");
    assert_eq!(setting.logged("policy not loaded").len() - told, 1, "{what}: one report");
    assert_eq!(setting.served_by(), "near", "{what}");
}

#[test]
fn what_cannot_be_loaded_leaves_everything_as_it_was() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    fs::create_dir(setting.balancer.directory().join("folder")).expect("make a folder");
    let good = setting.policy();
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    for (from, to, wanted) in EDITS {
        setting.edit(from, to);
        refuse(&setting, to, wanted);
        setting.write(&good);
    }
    let door = format!("bind: \"{}\"", setting.door);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|it| (it, taken)).expect("its address");
    let free = free_address();
    let http = setting.admin();
    let edits = [
        (door.clone(), format!("{door} }}, {{ bind: \"{}\"", taken.0), "in use"),
        (
            door.clone(),
            format!("{door} }}, {{ bind: \"{free}\" }}, {{ bind: \"{}\"", taken.0),
            "in use",
        ),
        (door.clone(), format!("{door} }}, {{ {door}"), "overlaps"),
        (http, free_address().to_string(), "admin: http"),
    ];
    for (from, to, wanted) in edits {
        setting.edit(&from, &to);
        refuse(&setting, &to, wanted);
        setting.write(&good);
    }
    assert!(TcpStream::connect(free).is_err(), "a listener beside a bad one is not opened");
    let texts: [(&str, Vec<u8>, &str); 4] = [
        ("nothing", Vec::new(), "empty"),
        ("no UTF-8", [good.as_bytes(), b"# \xff\n"].concat(), "not UTF-8"),
        ("too large", [good.as_bytes(), b"#", &vec![b'x'; 1 << 20]].concat(), "more than"),
        ("a list", b"- version: 1\n".to_vec(), "a policy is a mapping"),
    ];
    for (what, bytes, wanted) in texts {
        fs::write(setting.balancer.policy_path(), bytes).expect("it can be written");
        refuse(&setting, what, wanted);
    }
    fs::remove_file(setting.balancer.policy_path()).expect("it can be removed");
    refuse(&setting, "no file", "cannot be read");
    setting.write(&good);
    assert_eq!(setting.reload(&[]).code, Some(0));
    assert_eq!(setting.metric("tidegate_policy_last_load_ok").to_string(), "1");
    assert!(setting.in_force()["failure"].is_null());
    assert_eq!(setting.generation(), 1);
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let only = |counts: Vec<_>, wanted| assert_eq!(counts, wanted);
    only(report.by_status().into_keys().map(|it| it.to_string()).collect(), vec!["200".to_owned()]);
    only(report.by_region().into_keys().collect(), vec!["near".to_owned()]);
}
