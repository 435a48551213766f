//! What a running balancer explains is what it does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_harness::{Connection, Request, wait_until};

use super::{Asked, agrees, promised, zoo};
use crate::setting::{PolicyText, SOON, Setting, tidegate};

/// Requests that reach every rule, and what each comes to in the [`zoo`].
fn table() -> Vec<(Asked, &'static str)> {
    let get = |path, headers: &[(&'static str, &'static str)]| Asked::get(path, headers);
    let pin = |pin| [("X-Region-Pin", pin)];
    vec![
        (get("/reads", &[]), "near nearest"),
        (get("/reads?q=1", &[("X-User", "anna")]), "near nearest"),
        (get("/reads", &pin("poor")), "poor pin"),
        (get("/reads", &pin("lost")), "near nearest; pin=unavailable"),
        (get("/reads", &pin("out; strict")), "503 pin_unavailable"),
        (get("/reads", &pin("nowhere")), "near nearest; pin=unknown"),
        (get("/reads", &pin("near; maybe")), "near nearest; pin=unknown"),
        (get("/must/x", &pin("silent")), "503 pin_unavailable"),
        (get("/must/x", &pin("poor")), "poor pin"),
        (get("/never", &pin("poor; strict")), "near nearest"),
        (get("/any", &pin("middle")), "middle pin"),
        (get("/any", &pin("lost")), "near nearest; pin=unavailable"),
        (get("/eu", &[]), "poor nearest"),
        (get("/eu", &pin("near")), "poor nearest; pin=unavailable"),
        (get("/gone", &[]), "503 residency_unavailable"),
        (get("/gone", &[("X-Index-Hash", "a1b2c3")]), "503 contract_unavailable"),
        (get("/rest", &[("X-Index-Hash", "blue")]), "middle nearest"),
        (get("/rest", &[("X-Index-Hash", "red")]), "409 contract_unmet"),
        (get("/rest", &[("X-Model-Tag", "m2")]), "near nearest"),
        (get("/rest", &[("X-Release", "canary")]), "near nearest"),
        (get("/rest", &[("X-Release", "r9")]), "409 release_unknown"),
        (get("/rest", &[("X-Release", "r1"), ("X-Model-Tag", "m2")]), "409 contract_unmet"),
        (
            get("/rest", &[("X-Index-Hash", "blue"), ("X-Region-Pin", "near")]),
            "middle nearest; pin=unavailable",
        ),
        (get("/nothing", &[]), "404 no_route"),
        (get("/nothing", &[("Host", "api.example.com")]), "near nearest"),
        (Asked { method: "POST", ..get("/reads", &[]) }, "404 no_route"),
        (Asked { method: "POST", ..get("/rest", &[]) }, "near nearest"),
    ]
}

#[test]
fn what_is_explained_is_what_happens() {
    let setting = zoo();
    let admin = setting.admin();
    for (asked, expected) in table() {
        let mut happened = None;
        wait_until(SOON, "a world that stands still", || {
            happened = agrees(&setting, &asked);
            happened.is_some()
        });
        assert_eq!(happened.as_deref(), Some(expected), "{asked:?}");
        // The command line says the same as the address that it asks.
        assert_eq!(promised(&asked.told(&["--admin", &admin])), expected, "{asked:?}");
    }
}

/// The numbers of splitmix64: random enough to mix headers, and the same in every run.
struct Numbers(u64);

impl Numbers {
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let count = u64::try_from(list.len()).expect("a short list");
        let place = usize::try_from((mixed ^ (mixed >> 31)) % count).expect("a short list");
        list[place]
    }

    /// A request of any headers that mean something.
    fn asked(&mut self) -> Asked {
        let regions = ["near", "middle", "silent", "lost", "out", "poor", "nowhere", ""];
        let strict = ["near; strict", "middle; strict", "lost; strict", "out;strict", "x; y"];
        let values: [(&str, &[&str]); 7] = [
            ("X-Region-Pin", &regions),
            ("X-Region-Pin", &strict),
            ("X-Index-Hash", &["a1b2c3", "blue", "red", ""]),
            ("X-Schema-Rev", &["sc-12", "sc-13"]),
            ("X-Model-Tag", &["gpt-4o-2025-07-15", "m2", "m3"]),
            ("X-Release", &["r1", "r2", "canary", "r-2025-08-01", "r9"]),
            ("X-User", &["anna", "ben", "cleo", "dora", "emil"]),
        ];
        let mut headers = Vec::new();
        for (name, values) in values {
            if self.pick(&[true, false, false, false, false]) {
                headers.push((name, self.pick(values)));
            }
        }
        let paths =
            ["/must", "/never", "/any", "/eu", "/gone", "/reads", "/rest", "/rest/x?y", "/none"];
        let method = self.pick(&["GET", "GET", "GET", "POST", "DELETE"]);
        Asked { method, path: self.pick(&paths), headers }
    }
}

#[test]
fn explanations_and_answers_agree_for_many_random_requests() {
    let setting = zoo();
    let mut numbers = Numbers(20_261_123);
    let mut seen = BTreeMap::<String, u32>::new();
    let mut count = 0;
    wait_until(SOON * 3, "200 comparisons", || {
        for _ in 0..20 {
            if let Some(happened) = agrees(&setting, &numbers.asked()) {
                *seen.entry(happened).or_default() += 1;
                count += 1;
            }
        }
        200 <= count
    });
    println!("{count} agree: {seen:?}");
    assert!(10 <= seen.len(), "the requests reach too little: {seen:?}");
}

#[test]
fn a_full_region_and_an_open_request_are_explained() {
    let policy = PolicyText { region: "capacity: 1".to_owned(), ..PolicyText::default() };
    let setting = Setting::of(&["near", "middle"], &policy);
    let mut hanging = Connection::open(&setting.url("")).expect("a connection");
    let request =
        format!("GET / HTTP/1.1\r\nhost: {}\r\nx-fault: hang-requests\r\n\r\n", setting.door);
    hanging.send_raw(request.as_bytes()).expect("it is sent");
    wait_until(SOON, "one is open", || setting.region("near")["open"] == 1);
    assert_eq!(setting.region("near")["full"], true);
    let asked = Asked::get("/", &[]);
    let explained = asked.told(&["--admin", &setting.admin()]);
    assert_eq!(promised(&explained), "middle spill");
    let passed = json!([{ "region": "near", "cause": "full", "detail": [] }]);
    assert_eq!(explained["passed"], passed);
    assert_eq!(setting.comes_to("/", &[]), "middle spill");
}

#[test]
fn who_asks_can_be_stated() {
    let policy =
        PolicyText { more: "pins_from: [ 127.0.0.1 ]".to_owned(), ..PolicyText::default() };
    let setting = Setting::three(&policy);
    let headers = [("X-Region-Pin", "far")];
    assert_eq!(setting.comes_to("/", &headers), "far pin");
    let admin = setting.admin();
    let explain = |more: &[&str]| {
        let asked = Asked::get("/", &headers);
        promised(&asked.told(&[&["--admin", &admin], more].concat()))
    };
    assert_eq!(explain(&["--client", "127.0.0.1"]), "far pin");
    assert_eq!(explain(&["--client", "10.0.0.1"]), "near nearest");
    assert_eq!(explain(&[]), "near nearest", "nobody in particular may not pin");
    assert_eq!(tidegate(&["explain", "GET", "/", "--client", "me"]).code, Some(2));
}

#[test]
fn every_region_that_is_passed_over_has_its_reason() {
    let setting = zoo();
    let causes = |asked: &Asked| -> BTreeMap<String, String> {
        let explained = asked.explained(&setting);
        let passed = explained["passed"].as_array().cloned().unwrap_or_default();
        let word = |it: &Value| it.as_str().unwrap_or("-").to_owned();
        passed.iter().map(|it| (word(&it["region"]), word(&it["cause"]))).collect()
    };
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let not_green =
        [("middle", "mismatched"), ("silent", "dark"), ("lost", "dark"), ("out", "drained")];
    let plain = [&not_green[..], &[("poor", "other_release")]].concat();
    assert_eq!(causes(&Asked::get("/rest", &[])), expected(&plain));
    let pinned = Asked::get("/rest", &[("X-Region-Pin", "poor")]);
    assert_eq!(causes(&pinned), expected(&[&not_green[..], &[("near", "not_pinned")]].concat()));
    let outside = ["near", "middle", "out", "poor"].map(|it| (it, "outside_residency"));
    let rest = [("silent", "dark"), ("lost", "dark")];
    assert_eq!(causes(&Asked::get("/gone", &[])), expected(&[&outside[..], &rest].concat()));
    let demanded = Asked::get("/any", &[("X-Index-Hash", "blue")]);
    let unmet = [("near", "demand_unmet"), ("poor", "demand_unmet")];
    assert_eq!(causes(&demanded), expected(&[&not_green[1..], &unmet].concat()));
}

#[test]
fn people_read_where_it_goes_and_why_not_elsewhere() {
    let setting = zoo();
    let admin = setting.admin();
    let explain = |more: &[&str]| {
        let arguments = [&["explain", "--admin", &admin], more].concat();
        let said = tidegate(&arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        said.out
    };
    let text = explain(&["get", "/rest", "-H", "X-Region-Pin: lost", "-H", "X-User: anna"]);
    assert!(text.starts_with("GET /rest goes to near (nearest)\n"), "{text}");
    for part in [
        "route      rest, read",
        "pin        lost is unavailable",
        "by the split",
        "middle: mismatched",
        "index_hash is blue, expected a1b2c3",
        "silent: dark",
        "no connection",
        "out: drained",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let text = explain(&["GET", "/rest", "-H", "X-Index-Hash: red"]);
    assert!(text.starts_with("GET /rest is refused with 409 contract_unmet: no region"), "{text}");
    assert!(text.contains("differs    middle index_hash is blue, asked red"), "{text}");
    assert!(text.contains("differs    silent index_hash is (missing), asked red"), "{text}");
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let ask = |body: &str| {
        let url = setting.balancer.admin_url("/v1/explain");
        let reply = Request::post(&url, body).send().expect("an answer");
        (reply.status, reply.json()["code"].as_str().map(str::to_owned))
    };
    let bad = (400, Some("bad_question".to_owned()));
    assert_eq!(ask(""), bad);
    assert_eq!(ask("[]"), bad);
    assert_eq!(ask("{\"method\":\"GET\"}"), bad);
    assert_eq!(ask("{\"method\":\"GET\",\"path\":\"/\",\"heders\":[]}"), bad);
    assert_eq!(ask("{\"method\":\"GE T\",\"path\":\"/\"}"), bad);
    assert_eq!(ask("{\"method\":\"GET\",\"path\":\"/\",\"headers\":[[\"a b\",\"c\"]]}"), bad);
    assert_eq!(ask("{\"method\":\"GET\",\"path\":\"/\",\"client\":\"nobody\"}"), bad);
    let too_large = (413, Some("bad_body".to_owned()));
    assert_eq!(ask(&"x".repeat(65 * 1024)), too_large);
    let admin = setting.admin();
    let said = tidegate(&["explain", "GET", "/", "-H", "no-colon", "--admin", &admin]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("`no-colon` has no colon"), "{said:?}");
    let said = tidegate(&["explain", "GE T", "/", "--admin", &admin]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("400"), "{said:?}");
}
