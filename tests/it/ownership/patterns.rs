//! The patterns of ownership, and where the partition of a request may stand.

use tidegate_harness::{Request, wait_until};

use super::{EMBEDDED, epoch, moves, owned, until_open, write};
use crate::setting::{PolicyText, SOON, Setting, in_short};
use crate::traffic::{is_problem, still};

#[test]
fn one_primary_takes_the_writes_of_every_route() {
    let policy = PolicyText {
        routes: "  - { name: search, match: { path: /search }, intent: read }\n  \
                 - { name: orders, match: { path: /orders }, fence: api }\n  - { name: rest }"
            .to_owned(),
        ..still(&format!("{EMBEDDED}\nownership: {{ mode: active_passive, primary: far }}"))
    };
    let setting = Setting::of(&["near", "far"], &policy);
    until_open(&setting);
    let post =
        |path: &str| Request::post(&setting.url(path), "ten").header("Idempotency-Key", path);
    for path in ["/orders", "/rest"] {
        let reply = post(path).send().expect("an answer");
        assert_eq!(in_short(&reply), "far owner");
        assert!(0 < epoch(&reply));
    }
    assert_eq!(in_short(&post("/search").send().expect("an answer")), "near nearest");
    assert_eq!(setting.comes_to("/rest", &[]), "near nearest");
    assert_eq!(moves(&setting, &["--from", "far", "--to", "near"]).code, Some(0));
    wait_until(SOON, "the other one is the primary", || {
        in_short(&post("/rest").send().expect("an answer")) == "near owner"
    });
}

#[test]
fn reads_of_a_geo_partition_leave_their_region_only_for_a_named_contract() {
    let partition = "partition: { header: X-Tenant }";
    let policy = PolicyText {
        routes: format!(
            "  - {{ name: shared, match: {{ path: /shared }}, {partition}, \
             crossing: {{ index_hash: a1b2c3 }} }}\n  \
             - {{ name: own, match: {{ path: /own }}, {partition} }}"
        ),
        ..still(&format!(
            "{EMBEDDED}\nownership: {{ mode: geo_partitioned, \
             partitions: {{ map: {{ a: far, b: near }} }} }}"
        ))
    };
    let setting = Setting::of(&["near", "far"], &policy);
    until_open(&setting);
    let read = |path, tenant| in_short(&setting.get(path, &[("X-Tenant", tenant)]));
    assert_eq!([read("/own", "a"), read("/own", "b")], ["far owner", "near owner"]);
    assert_eq!(read("/shared", "a"), "far owner", "who can stay, stays");
    assert_eq!(setting.comes_to("/own", &[]), "400 partition_missing");
    assert_eq!(read("/own", "stranger"), "404 partition_unknown");
    setting.operate("far", "drain");
    wait_until(SOON, "the drain is seen", || read("/own", "a") == "503 owner_unavailable");
    assert_eq!(read("/shared", "a"), "near nearest");
    let lost = write(&setting, "/shared", "a", "lost").send().expect("an answer");
    is_problem(&lost, 503, "owner_unavailable");
}

#[test]
fn a_partition_may_stand_in_the_path_the_body_or_a_token() {
    let policy = PolicyText {
        routes: "  - { name: path, match: { path: /t }, partition: { path_segment: 2 } }\n  \
                 - { name: body, match: { path: /body }, fence: { preset: api, required: true }, \
                 partition: { body: { pointer: /tenant/id, max_size: 1KiB } } }\n  \
                 - { name: token, match: { path: /token }, partition: { token: { claim: tenant, \
                 secrets: [\"0123456789abcdef0123456789abcdef\"] } } }"
            .to_owned(),
        ..still(&format!(
            "{EMBEDDED}\nownership: {{ mode: active_active, \
             partitions: {{ map: {{ acme: far }}, rest: {{ hash: [near] }} }} }}"
        ))
    };
    let setting = Setting::of(&["near", "far"], &policy);
    until_open(&setting);
    let post = |path: &str, body: &str| Request::post(&setting.url(path), body);
    let short = |request: Request| in_short(&request.send().expect("an answer"));
    assert_eq!(short(post("/t/acme/x", "ten")), "far owner");
    assert_eq!(short(post("/t/other", "ten")), "near owner");
    assert_eq!(short(post("/t/ac%6De", "ten")), "400 partition_unreadable");
    let body = |body: &str, key: &str| post("/body", body).header("Idempotency-Key", key);
    let reply = body(r#"{"tenant":{"id":"acme"}}"#, "1").send().expect("an answer");
    assert_eq!((in_short(&reply), 0 < epoch(&reply)), ("far owner".to_owned(), true));
    assert_eq!(short(body(r#"{"tenant":{"id":7}}"#, "2")), "near owner");
    assert_eq!(
        short(body(r#"{"tenant":{"id":"a"},"tenant":{}}"#, "3")),
        "400 partition_unreadable"
    );
    let long = format!(r#"{{"tenant":{{"id":"acme"}},"x":"{}"}}"#, "x".repeat(2000));
    assert_eq!(short(body(&long, "4")), "413 partition_body_too_long");
    let token = |token: &str| {
        short(post("/token", "ten").header("Authorization", &format!("Bearer {token}")))
    };
    assert_eq!(token(SIGNED), "far owner");
    assert_eq!(token(&SIGNED.replace("eyJ0", "eyJ1")), "401 partition_token_invalid");
    assert_eq!(short(post("/token", "ten")), "400 partition_missing");
}

/// `{"tenant":"acme","exp":2000000000}`, signed by another program.
const SIGNED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0ZW5hbnQiOiJhY21lIiwiZXhwIjoyMDAwMDAwMDAwfQ.\
    2O1KFxSJuMylY3aPR2DlouktPRx9_7v5kz33CaXmcF8";

#[test]
fn another_division_needs_another_version() {
    let policy = |ownership: &str| owned(ownership, EMBEDDED);
    let one = "mode: active_active, partitions: { map: { a: far, b: near } }";
    let setting = Setting::of(&["near", "far"], &policy(one));
    until_open(&setting);
    let text = std::fs::read_to_string(setting.balancer.policy_path()).expect("the policy");
    let reload = |ownership: &str| {
        let text = text.replace(one, ownership);
        std::fs::write(setting.balancer.policy_path(), text).expect("it can be written");
        crate::setting::tidegate(&["reload", "--admin", &setting.socket()])
    };
    let other = "mode: active_active, partitions: { map: { b: near }, rest: { hash: [near] } }";
    let said = reload(other);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("raise `ownership.version`"), "{said:?}");
    let before = epoch(&write(&setting, "/notes", "a", "one").send().expect("an answer"));
    let said = reload(&format!("{other}, version: 2"));
    assert_eq!(said.code, Some(0), "{said:?}");
    wait_until(SOON, "the new division is written", || {
        let reply = write(&setting, "/notes", "a", "two").send().expect("an answer");
        in_short(&reply) == "near owner" && before < epoch(&reply)
    });
}

#[test]
fn an_upgrade_refuses_no_write() {
    let ownership = "mode: active_active, partitions: { map: { a: far } }";
    let setting = Setting::of(&["near", "far"], &owned(ownership, EMBEDDED));
    until_open(&setting);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let said = std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut turn = 0;
            // Bounded, should the upgrade not end.
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) && turn < 20_000 {
                turn += 1;
                let reply = write(&setting, "/notes", "a", &format!("{turn}")).send();
                assert_eq!(in_short(&reply.expect("an answer")), "far owner", "write {turn}");
            }
            assert!(10 < turn, "some writes came");
        });
        let said = setting.upgrade(&[]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        said
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(in_short(&write(&setting, "/notes", "a", "z").send().expect("one")), "far owner");
}
