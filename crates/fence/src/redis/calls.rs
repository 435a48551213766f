//! Calls: one command, to the server that has its bucket, with an end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{RedisError, ServerError, ServerErrorKind, Value};
use tidegate_core::fence::key::FenceKey;
use tidegate_core::policy::fencing::RedisNode;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::answer::{self, error, list, text};
use super::command::{Builder, Command};
use super::lane::{Fate, Gate, Job, Reply};
use super::layout::{Kept, span};
use super::map::Node;
use super::scripts::Script;
use crate::store::{Check, Failure};

/// How often a command is sent on to another server.
const REDIRECTS_MAX: u32 = 3;

/// Which way a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With other claims, behind a gate.
    Claims,
    /// Without waiting for anybody.
    Rest,
}

/// What a script has told: a word, and what belongs to it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) word: Vec<u8>,
    rest: Vec<Value>,
    pub(super) copies: Option<u64>,
}

impl Told {
    pub(super) fn number(&self, nth: usize) -> u64 {
        self.rest.get(nth).and_then(answer::number).unwrap_or_default()
    }

    pub(super) fn bytes(&self, nth: usize) -> &[u8] {
        self.rest.get(nth).and_then(text).unwrap_or_default()
    }
}

/// Where a command has to go instead.
pub(super) enum Elsewhere {
    Moved(RedisNode),
    Ask(RedisNode),
}

impl Shared {
    /// The beginning of a call of a script about a key.
    pub(super) fn begin(&self, script: &'static Script, key: FenceKey, generation: u64) -> Builder {
        let first = self.names.record(key);
        self.begin_with(script, first, key.bucket(), (generation, 0)).bytes(&key.0)
    }

    /// The same with another first key, and with the least sequence that its bucket must have.
    pub(super) fn begin_with(
        &self,
        script: &'static Script,
        first: Vec<u8>,
        bucket: u16,
        (generation, sequence): (u64, u64),
    ) -> Builder {
        let of = |kept| self.names.of(bucket, kept);
        let kept = [Kept::Marker, Kept::InFlight, Kept::InDoubt, Kept::Audit].map(of);
        Builder::script(script, &[&[first], kept.as_slice()].concat())
            .text(&format!("{generation:016x}"))
            .number(sequence)
            .flag(self.is_window_open.load(Ordering::Relaxed))
            .number(span(self.grace))
    }

    /// Calls a script.
    pub(super) async fn call(
        &self,
        bucket: u16,
        way: Way,
        command: Command,
    ) -> Result<Told, Failure> {
        let fate = Arc::new(Fate::default());
        // Ends before whoever asks gives up, because only here it is known what was sent.
        let called = timeout(self.call * 7 / 8, self.send(bucket, way, command, &fate)).await;
        let late = |_late| Err(if fate.give_up() { Failure::Down } else { Failure::Unreachable });
        let Reply { value, copies } = called.unwrap_or_else(late)?;
        let told = word(&value).map(<[u8]>::to_vec);
        let told = told.inspect_err(|failure| self.noticed(bucket, *failure))?;
        let Value::Array(mut rest) = value else { return Err(Failure::Unreachable) };
        rest.remove(0);
        Ok(Told { word: told, rest, copies })
    }

    async fn send(
        &self,
        bucket: u16,
        way: Way,
        command: Command,
        fate: &Arc<Fate>,
    ) -> Result<Reply, Failure> {
        let node = self.map.borrow().node(bucket).map(Arc::clone);
        let mut node = node.ok_or(Failure::Down)?;
        let mut is_asking = false;
        for _ in 0..=REDIRECTS_MAX {
            let (told, answer) = oneshot::channel();
            let fate = Arc::clone(fate);
            let job = Job { command: command.clone(), is_asking, told, fate };
            match way {
                Way::Claims => {
                    if let Gate::Refusing(failure) = *node.gate.borrow() {
                        return Err(failure);
                    }
                    node.claims.submit(job)?;
                }
                Way::Rest => node.rest.submit_late(job).await?,
            }
            let reply = answer.await.map_err(|_gone| Failure::Unreachable)??;
            let Some(elsewhere) = elsewhere(&reply.value) else { return Ok(reply) };
            self.poke.notify_one();
            is_asking = matches!(elsewhere, Elsewhere::Ask(_));
            let (Elsewhere::Moved(mut at) | Elsewhere::Ask(mut at)) = elsewhere;
            if at.host.is_empty() {
                at.host = Arc::clone(&node.at.host);
            }
            let mut map = self.map.subscribe();
            node = loop {
                if let Some(node) = map.borrow_and_update().at(&at) {
                    break Arc::clone(node);
                }
                // Whoever draws the map knows by now that it is old.
                map.changed().await.map_err(|_over| Failure::Down)?;
            };
        }
        Err(Failure::Down)
    }

    /// A server said something that the monitor has to look at.
    fn noticed(&self, bucket: u16, failure: Failure) {
        if matches!(failure, Failure::Cold | Failure::Unfit(_)) {
            if let Some(node) = self.map.borrow().node(bucket) {
                node.shut();
            }
            self.poke.notify_one();
        }
    }

    /// Sends one command to one server.
    pub(super) async fn ask_node(
        &self,
        node: &Arc<Node>,
        command: Command,
    ) -> Result<Value, Failure> {
        let answers = self.ask_all(vec![(Arc::clone(node), command)], Way::Rest).await?;
        answers.into_iter().next().ok_or(Failure::Unreachable)
    }

    /// Sends many commands at once, and has all their answers, or none. Each of them may take as long
    /// as a call.
    pub(super) async fn ask_all(
        &self,
        commands: Vec<(Arc<Node>, Command)>,
        way: Way,
    ) -> Result<Vec<Value>, Failure> {
        debug_assert_eq!(way, Way::Rest, "claims go one by one");
        let mut waiting = Vec::with_capacity(commands.len());
        for (node, command) in commands {
            let (told, answer) = oneshot::channel();
            let job = Job { command, is_asking: false, told, fate: Arc::default() };
            let submitted = timeout(self.call, node.rest.submit_late(job)).await;
            submitted.unwrap_or(Err(Failure::Unreachable))?;
            waiting.push(answer);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            let answer = timeout(self.call, answer).await.map_err(|_late| Failure::Unreachable)?;
            let Reply { value, .. } = answer.map_err(|_gone| Failure::Unreachable)??;
            if let Some(error) = error(&value) {
                return Err(refused(error));
            }
            answers.push(value);
        }
        Ok(answers)
    }
}

/// The word that a script has told, or why it has done nothing.
pub(super) fn word(value: &Value) -> Result<&[u8], Failure> {
    if let Some(error) = error(value) {
        return Err(refused(error));
    }
    match list(value).and_then(<[Value]>::first).and_then(text) {
        None => Err(Failure::Unreachable),
        Some(b"COLD" | b"OTHER") => Err(Failure::Cold),
        Some(b"BACK") => Err(Failure::Unfit(Check::Sequence)),
        Some(b"FULL") => Err(Failure::Full),
        Some(word) => Ok(word),
    }
}

/// What an error means. Old servers wrap the one that matters into one of their own.
pub(super) fn refused(error: &ServerError) -> Failure {
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    let mut inner = details.split(' ').filter_map(|it| it.strip_prefix('-'));
    let code = if code == "ERR" { inner.next_back().unwrap_or(code) } else { code };
    match code {
        "OOM" => Failure::Full,
        "NOREPLICAS" => Failure::Unfit(Check::Replicas),
        "MISCONF" => Failure::Unfit(Check::Persistence),
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Failure::Unfit(Check::Access),
        "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "MOVED"
        | "ASK" => Failure::Down,
        _ => {
            // The text may repeat a key, so only its code is told.
            tracing::warn!(code, "the store of the fence has failed at something");
            Failure::Unreachable
        }
    }
}

pub(super) fn elsewhere(value: &Value) -> Option<Elsewhere> {
    let kind = error(value)?.kind()?;
    if !matches!(kind, ServerErrorKind::Moved | ServerErrorKind::Ask) {
        return None;
    }
    let error = RedisError::from(error(value)?.clone());
    let (address, _slot) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let at = RedisNode { host: host.into(), port: port.parse().ok()? };
    Some(if kind == ServerErrorKind::Ask { Elsewhere::Ask(at) } else { Elsewhere::Moved(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_anything_was_done() {
        let read = |text: &str| match redis::parse_redis_value(format!("-{text}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("no error: {other:?}"),
        };
        let check = |text, expected| assert_eq!(refused(&read(text)), expected, "{text}");
        check("OOM command not allowed when used memory > 'maxmemory'.", Failure::Full);
        check("ERR Error running script (call to f_1): @user_script:9: -OOM no", Failure::Full);
        check("READONLY You can't write against a read only replica.", Failure::Down);
        check("NOPERM this user has no permissions", Failure::Unfit(Check::Access));
        check("NOREPLICAS Not enough good replicas to write.", Failure::Unfit(Check::Replicas));
        check("ERR something else", Failure::Unreachable);
        assert!(!refused(&read("TRYAGAIN Multiple keys")).is_unsure());
    }
}
