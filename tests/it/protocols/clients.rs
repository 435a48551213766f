//! Real clients through the balancer: what users have, not what we wrote.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]

use std::process::{Command, Stdio};

use serde_json::Value;
use tidegate_harness::{TempDir, json_line, node, python};

use super::{PROTOCOLS, towards};
use crate::setting::{PolicyText, Setting};
use crate::traffic::pattern;

fn setting(protocol: &str) -> Setting {
    let routes = "  - { name: chat, match: { path: /v1 }, stream: true }\n\
                     \x20 - { name: events, match: { path: /sse }, stream: true }\n\
                     \x20 - { name: all }";
    let policy = PolicyText { routes: routes.to_owned(), ..towards(protocol) };
    Setting::of(&["near", "far"], &policy)
}

fn base(setting: &Setting) -> String {
    setting.url("").trim_end_matches('/').to_owned()
}

/// Runs curl, and answers what it printed.
#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Status and version of the last answer, as curl saw them.
const SEEN: &str = "\n%{http_code} %{http_version} %{num_connects}";

/// Files of three sizes. The larger ones wait for 100 Continue, as curl does by itself, unless it
/// is told that nobody will say so.
fn uploads(setting: &Setting, (protocol, flag): (&str, &str)) {
    let directory = TempDir::new();
    let url = setting.url("/upload");
    for size in [0, 10, 10 << 20] {
        let file = directory.write(&size.to_string(), "");
        std::fs::write(&file, pattern(size)).unwrap();
        let file = file.display().to_string();
        let wanted = curl(&["--upload-file", &file, &setting.regions[0].url("/upload")]);
        let headers: &[&str] = match (protocol, flag, size) {
            // This curl hangs when it has to send no chunk at all.
            ("http1", "--http1.1", 1..) => {
                &["Expect: 100-continue", "Transfer-Encoding: chunked", "Expect:"]
            }
            _ => &["Expect:"],
        };
        for (nth, header) in headers.iter().enumerate() {
            let id = format!("{flag}-{size}-{nth}");
            let named = format!("X-Test-Id: {id}");
            let printed = curl(&[flag, "-H", header, "-H", &named, "-T", &file, &url]);
            assert_eq!(printed, wanted, "{id}");
            assert_eq!(setting.effects(&id), (1, 1), "{id}");
        }
    }
}

fn curl_over(setting: &Setting, protocol: &str, (flag, version): (&str, &str)) {
    let url = |path: &str| setting.url(path);
    let printed = curl(&[flag, "--write-out", SEEN, &url("/echo?a=1")]);
    let (body, seen) = printed.rsplit_once('\n').unwrap();
    assert_eq!(seen, format!("200 {version} 1"));
    let said: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&said["method"], &said["query"]), (&"GET".into(), &"a=1".into()));

    uploads(setting, (protocol, flag));
    let printed = curl(&[flag, "--head", "--write-out", SEEN, &url("/bytes/1000")]);
    assert!(printed.ends_with(&format!("\n200 {version} 1")), "{printed}");
    assert_eq!(curl(&[flag, &url("/sse?events=3")]).matches("data: ").count(), 3);
}

#[test]
fn client_curl() {
    let setting = setting("http1");
    curl_over(&setting, "http1", ("--http1.1", "1.1"));
    curl_over(&setting, "http1", ("--http2-prior-knowledge", "2"));
    let (one, two) = (setting.url("/bytes/1000"), setting.url("/status/204"));
    let ignored = ["--output", "/dev/null"];
    let printed = curl(&[&["--write-out", SEEN, &one], &ignored[..], &[&two]].concat());
    assert_eq!(printed, "\n200 1.1 1\n204 1.1 0", "one connection for both");
}

#[test]
fn client_curl_to_a_region_over_http2() {
    let setting = setting("h2c");
    curl_over(&setting, "h2c", ("--http1.1", "1.1"));
    curl_over(&setting, "h2c", ("--http2-prior-knowledge", "2"));
}

#[test]
fn client_httpx() {
    for protocol in PROTOCOLS {
        let setting = setting(protocol);
        let seen = json_line(&python("httpx_client.py", &[&base(&setting), "both"]));
        for version in ["http1", "http2"] {
            assert_eq!(seen[version]["region"], "near", "{protocol} {seen}");
            assert_eq!(seen[version]["events"], 5, "{protocol} {seen}");
        }
    }
}

#[test]
fn client_openai() {
    let setting = setting("http1");
    let seen = json_line(&python("openai_client.py", &[&base(&setting)]));
    assert_eq!(seen["region"], "near", "{seen}");
    assert!(seen["tokens"].as_array().unwrap().len() >= 5, "{seen}");
    let streams = |it: &&Value| it["route"] == "chat" && it["kind"] == "stream";
    assert_eq!(setting.balancer.access_lines().iter().filter(streams).count(), 2);
}

#[test]
fn client_websockets() {
    let setting = setting("http1");
    let seen = json_line(&python("websockets_client.py", &[&base(&setting)]));
    assert_eq!((&seen["region"], &seen["pong"]), (&"near".into(), &true.into()), "{seen}");
}

#[test]
fn client_grpcio() {
    for protocol in PROTOCOLS {
        let setting = setting(protocol);
        let seen = json_line(&python("grpcio_client.py", &[&base(&setting)]));
        assert_eq!(seen["region"], "near", "{protocol} {seen}");
        assert_eq!((&seen["bidi"], &seen["server_stream"]), (&20.into(), &100.into()), "{seen}");
        assert_eq!(seen["fail_late"]["code"], 9, "{protocol} {seen}");
    }
}

#[test]
fn client_node_fetch() {
    let setting = setting("http1");
    let seen = json_line(&node("fetch.mjs", &[&base(&setting)]));
    assert_eq!(seen["region"], "near", "{seen}");
    assert_eq!((&seen["events"], &seen["left"]), (&5.into(), &true.into()), "{seen}");
}
