//! Another policy takes force while all is running: whole or not at all, whoever asks for it.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tidegate_harness::wait_until;

use crate::setting::{PolicyText, SOON, Said, Setting, tidegate};

mod broken;
mod confirm;
mod doors;
mod kept;
mod live;
mod triggers;
mod under_load;

/// Every word that `tidegate_policy_reloads_total` knows.
const RESULTS: [&str; 10] = [
    "applied",
    "unchanged",
    "confirmed",
    "rolled_back",
    "bad_policy",
    "needs_upgrade",
    "bad_listener",
    "confirmation_pending",
    "stale",
    "busy",
];

impl Setting {
    /// The text of the policy's file.
    pub(crate) fn policy(&self) -> String {
        fs::read_to_string(self.balancer.policy_path()).expect("the policy can be read")
    }

    /// Writes the policy's file anew; a part of the text that is not there is a mistake of the test.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = self.policy();
        assert!(text.contains(from), "`{from}` is not in\n{text}");
        self.write(&text.replace(from, to));
    }

    /// Puts a text in place of the policy's file at once, as careful editors do.
    fn write(&self, text: &str) {
        let new = self.balancer.directory().join("new");
        fs::write(&new, text).expect("a file in our own directory can be written");
        fs::rename(new, self.balancer.policy_path()).expect("it can take the place");
    }

    /// Runs `tidegate reload` with these further arguments.
    pub(crate) fn reload(&self, arguments: &[&str]) -> Said {
        tidegate(&[&["reload", "--admin", &self.socket()], arguments].concat())
    }

    /// Runs `tidegate confirm` or `tidegate rollback`.
    pub(crate) fn settle(&self, verb: &str) -> Said {
        tidegate(&[verb, "--admin", &self.socket()])
    }

    /// What is known of the policy in force.
    fn in_force(&self) -> Value {
        self.balancer.ask_admin("/v1/policy").expect("an answer").json()
    }

    fn generation(&self) -> u64 {
        self.in_force()["generation"].as_u64().expect("a number")
    }

    fn until_generation(&self, generation: u64) {
        let what = format!("generation {generation}");
        wait_until(SOON, &what, || self.generation() == generation);
    }

    /// Attempts to load a policy that came to this.
    fn reloads(&self, result: &str) -> f64 {
        self.metric(&format!("tidegate_policy_reloads_total{{result=\"{result}\"}}"))
    }

    /// Attempts to load a policy.
    fn all_reloads(&self) -> f64 {
        RESULTS.iter().map(|it| self.reloads(it)).sum()
    }

    /// Lines of the log with this text.
    fn logged(&self, text: &str) -> Vec<String> {
        let log = self.balancer.stderr();
        log.lines().filter(|it| it.contains(text)).map(str::to_owned).collect()
    }

    /// A POST to the admin socket: its status and its body.
    fn post(&self, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.socket()).expect("the socket is there");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

/// A policy that is looked at ten times a second.
fn watched() -> PolicyText {
    let more = format!("{}\nwatch: 100ms", PolicyText::default().more);
    PolicyText { more, ..PolicyText::default() }
}
