//! Headers that we put on answers and requests, and what nobody gets to see.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_harness::{Fault, Reply, Request};

use crate::setting::{PolicyText, Setting, in_short};

#[test]
fn an_answer_says_where_it_came_from_whatever_the_endpoint_says() {
    let setting = Setting::three(&PolicyText::default());
    let reply = setting.get(
        "/",
        &[
            ("X-Reply-X-Region", "forged"),
            ("X-Reply-X-Region-Reason", "forged"),
            ("X-Reply-X-Release", "forged"),
            ("X-Reply-X-Request-Id", "forged"),
            ("X-Reply-X-Own", "kept"),
        ],
    );
    assert_eq!(reply.header_all("x-region"), ["near"]);
    assert_eq!(reply.header_all("x-region-reason"), ["nearest"]);
    assert_eq!(reply.header_all("x-release"), ["r-2025-08-01"]);
    assert_eq!(reply.header("x-own"), Some("kept"));
    assert!(!reply.header_all("x-request-id").contains(&"forged"), "{reply:?}");
    setting.regions[0].remove_key("release_id");
    tidegate_harness::wait_until(crate::setting::SOON, "no release is known", || {
        setting.get("/", &[("X-Reply-X-Release", "forged")]).header("x-release").is_none()
    });
}

#[test]
fn a_request_id_is_kept_or_made_and_is_the_same_everywhere() {
    let setting = Setting::three(&PolicyText::default());
    let ids = |given: Option<&str>| {
        let headers: Vec<_> = given.map(|it| ("X-Request-Id", it)).into_iter().collect();
        let reply = setting.get("/", &headers);
        let sent = reply.json()["headers"]["x-request-id"].clone();
        let told = reply.header("x-request-id").expect("an id").to_owned();
        assert_eq!(sent, serde_json::json!([told]), "the endpoint knows the same one");
        told
    };
    assert_eq!(ids(Some("abc-123/4")), "abc-123/4");
    let made: BTreeSet<String> = (0..20).map(|_| ids(None)).collect();
    assert_eq!(made.len(), 20, "{made:?}");
    let long = "x".repeat(129);
    for unfit in ["", "two words", "caf\u{e9}", &long] {
        let made = ids(Some(unfit));
        assert!(made != unfit && !made.is_empty(), "{unfit:?} stayed {made:?}");
    }
    let refused = setting.get("/", &[("X-Request-Id", "mine"), ("X-Index-Hash", "nobodys")]);
    assert_eq!(in_short(&refused), "409 contract_unmet");
    assert_eq!(refused.header("x-request-id"), Some("mine"));
}

/// What the endpoint got under a name.
fn got(reply: &Reply, name: &str) -> Vec<String> {
    let echo = reply.json();
    let values = echo["headers"][name].as_array().cloned().unwrap_or_default();
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

const FORGED: [(&str, &str); 10] = [
    ("X-Region", "forged"),
    ("X-Region-Reason", "forged"),
    ("X-Fence-Key", "forged"),
    ("X-Fence-Epoch", "7"),
    ("X-Fence-Owner", "forged"),
    ("Forwarded", "for=192.0.2.1"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-Host", "forged.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
];

#[test]
fn an_endpoint_hears_from_us_only_what_we_said() {
    let setting = Setting::three(&PolicyText::default());
    let mut headers = FORGED.to_vec();
    headers.push(("Via", "1.0 fred"));
    headers.push(("X-Other", "kept"));
    headers.push(("Host", "api.example.com"));
    let reply = setting.get("/", &headers);
    assert_eq!(got(&reply, "x-region"), ["near"]);
    assert_eq!(got(&reply, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got(&reply, "x-forwarded-proto"), ["http"]);
    assert_eq!(got(&reply, "x-forwarded-host"), ["api.example.com"]);
    assert_eq!(got(&reply, "host"), ["api.example.com"]);
    assert_eq!(got(&reply, "via"), ["1.0 fred", "1.1 tidegate"]);
    assert_eq!(got(&reply, "x-other"), ["kept"]);
    for gone in
        ["x-region-reason", "x-fence-key", "x-fence-epoch", "x-fence-owner", "x-forwarded-port"]
    {
        assert_eq!(got(&reply, gone), [""; 0], "{gone}");
    }
    assert_eq!(got(&reply, "forwarded"), [""; 0]);
}

#[test]
fn a_trusted_peer_may_speak_for_somebody_else() {
    let setting = Setting::three(&PolicyText {
        more: "trusted_peers: [ 127.0.0.0/8 ]".to_owned(),
        ..PolicyText::default()
    });
    let reply = setting.get("/", &FORGED);
    assert_eq!(got(&reply, "x-region"), ["near"], "where we send it is our word in any case");
    assert_eq!(got(&reply, "x-fence-key"), ["forged"]);
    assert_eq!(got(&reply, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(got(&reply, "x-forwarded-host"), ["forged.example"]);
    assert_eq!(got(&reply, "x-forwarded-proto"), ["https"]);
    tidegate_harness::wait_until(crate::setting::SOON, "an access line", || {
        setting.balancer.access_lines().iter().any(|it| it["client"] == "192.0.2.1")
    });
}

/// Whatever could tell where an endpoint is.
fn assert_discreet(setting: &Setting, reply: &Reply) {
    let said = format!("{reply:?} {}", reply.text());
    for region in &setting.regions {
        let port = region.address().port().to_string();
        assert!(!said.contains(&port) && !said.contains("127.0.0.1"), "{said}");
    }
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{said}");
    assert!(reply.header("proxy-status").is_some_and(|it| it.starts_with("tidegate; error=")));
}

#[test]
fn no_error_names_an_internal_address() {
    let setting = Setting::three(&PolicyText {
        routes: "  - { name: slow, match: { path: /slow }, timeouts: { first_byte: 200ms } }\n\
                 \x20 - { name: all, match: { path: / } }"
            .to_owned(),
        more: "retries: { attempts: 1 }".to_owned(),
        ..PolicyText::default()
    });
    let errors = |headers: &[(&str, &str)], path: &str, expected: &str| {
        let mut request = Request::post(&setting.url(path), "x");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let reply = request.send().expect("an answer");
        assert_eq!(in_short(&reply), expected);
        assert_discreet(&setting, &reply);
    };
    errors(&[("X-Index-Hash", "nobodys")], "/", "409 contract_unmet");
    errors(&[("X-Release", "nobodys")], "/", "409 release_unknown");
    errors(&[("X-Region-Pin", "nowhere; strict")], "/", "503 pin_unavailable");
    errors(&[("X-Fault", "die-after-executing")], "/", "502 endpoint_broken");
    errors(&[("X-Fault", "hang-requests")], "/slow", "504 endpoint_timeout");
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    errors(&[("X-Region-Pin", "near; strict")], "/", "503 pin_unavailable");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    setting.until_verdict("far", "dark");
    errors(&[], "/", "503 no_region_available");
}
