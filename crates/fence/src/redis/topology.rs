//! Who the masters are: asked of the policy, of Sentinels, or of the servers of a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tidegate_core::fence::key::BUCKETS;
use tidegate_core::policy::fencing::{RedisNode, RedisRules, RedisTopology};
use tokio::time::{Instant, timeout};

use super::answer::{code, list, number, text};
use super::command::{Builder, Command};
use super::connection::{Broken, Connection, Dial};
use super::layout::slot;

/// How long one server may take to say who the masters are.
const ASK_WITHIN: Duration = Duration::from_millis(500);
/// What Sentinels say when somebody else is the master.
const SWITCHED: &str = "+switch-master";

/// Who has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Masters {
    One(RedisNode),
    /// For each bucket.
    Many(Vec<Option<RedisNode>>),
}

/// Asks who the masters are, over connections of its own: those of claims must not wait for it.
pub(super) struct Scout {
    topology: RedisTopology,
    /// Whom to ask, the last one that answered first.
    nodes: Vec<RedisNode>,
    dial: Dial,
    /// To the first of them.
    connection: Option<Connection>,
    /// Over which Sentinels say that something has changed.
    news: Option<Connection>,
}

impl Scout {
    pub(super) fn new(rules: &RedisRules, dial: Dial) -> Self {
        let (topology, nodes) = (rules.topology.clone(), rules.nodes.clone());
        Self { topology, nodes, dial, connection: None, news: None }
    }

    /// The masters, as the first says that can be asked.
    pub(super) async fn masters(&mut self) -> Result<Masters, Broken> {
        let command = match &self.topology {
            RedisTopology::Standalone => {
                let one = self.nodes.first().cloned().map(Masters::One);
                return one.ok_or(Broken::Closed);
            }
            RedisTopology::Sentinel { master } => {
                Builder::new("SENTINEL").text("GET-MASTER-ADDR-BY-NAME").text(master).end()
            }
            RedisTopology::Cluster => Builder::new("CLUSTER").text("SLOTS").end(),
        };
        let mut last = Broken::Closed;
        for _ in 0..self.nodes.len() {
            match self.ask_first(&command).await {
                Ok(masters) => return Ok(masters),
                Err(broken) => last = broken,
            }
            self.connection = None;
            self.nodes.rotate_left(1);
        }
        Err(last)
    }

    async fn ask_first(&mut self, command: &Command) -> Result<Masters, Broken> {
        let until = Instant::now() + ASK_WITHIN;
        let node = self.nodes.first().cloned().ok_or(Broken::Closed)?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.dial, &self.topology, &node, until).await?,
        };
        let answer = connection.ask(command, until).await?;
        self.connection = Some(connection);
        if let Some(code) = code(&answer) {
            return Err(Broken::Refused(code.to_owned()));
        }
        let masters = match self.topology {
            RedisTopology::Standalone | RedisTopology::Sentinel { .. } => one(&answer),
            RedisTopology::Cluster => many(&answer, &node),
        };
        // A Sentinel that knows no such master, or a server that is in no cluster.
        masters.ok_or_else(|| Broken::Refused("it knows no such master".to_owned()))
    }

    /// Ends when a Sentinel says that somebody else is the master. Never ends where nobody says so.
    ///
    /// # Cancel safety
    /// News may be lost when the future is dropped; masters are asked for every second anyway.
    pub(super) async fn news(&mut self) {
        if !matches!(self.topology, RedisTopology::Sentinel { .. }) {
            return std::future::pending().await;
        }
        if self.news.is_none() {
            self.news = self.subscribe().await.ok();
        }
        let Some(news) = &mut self.news else {
            return std::future::pending().await;
        };
        if news.receive().await.is_err() {
            self.news = None;
            return;
        }
        while let Ok(Some(_said)) = news.next() {}
    }

    async fn subscribe(&self) -> Result<Connection, Broken> {
        let until = Instant::now() + ASK_WITHIN;
        let node = self.nodes.first().ok_or(Broken::Closed)?;
        let mut connection = connect(&self.dial, &self.topology, node, until).await?;
        let subscribe = Builder::new("SUBSCRIBE").text(SWITCHED).end();
        match code(&connection.ask(&subscribe, until).await?) {
            None => Ok(connection),
            Some(code) => Err(Broken::Refused(code.to_owned())),
        }
    }
}

/// Sentinels seldom want a password, and say so if they do.
async fn connect(
    dial: &Dial,
    topology: &RedisTopology,
    to: &RedisNode,
    until: Instant,
) -> Result<Connection, Broken> {
    if !matches!(topology, RedisTopology::Sentinel { .. }) {
        return Connection::open(dial, to, until).await;
    }
    let mut connection = Connection::bare(dial, to, until).await?;
    let ping = Builder::new("PING").end();
    if code(&connection.ask(&ping, until).await?) == Some("NOAUTH") {
        connection.introduce(dial, until).await?;
    }
    Ok(connection)
}

pub(super) fn one(answer: &Value) -> Option<Masters> {
    let [host, port] = list(answer)? else { return None };
    Some(Masters::One(node(host, port, None)?))
}

fn node(host: &Value, port: &Value, asked: Option<&RedisNode>) -> Option<RedisNode> {
    let name = text(host).and_then(|it| std::str::from_utf8(it).ok()).unwrap_or_default();
    // A server that does not know its own name means the one that we have asked.
    let host = if name.is_empty() || name == "?" { Arc::clone(&asked?.host) } else { name.into() };
    Some(RedisNode { host, port: u16::try_from(number(port)?).ok()? })
}

/// Each line has the first and the last slot, the master, and its replicas.
pub(super) fn many(answer: &Value, asked: &RedisNode) -> Option<Masters> {
    let mut ranges = Vec::new();
    for line in list(answer)? {
        let [first, last, master, ..] = list(line)? else { return None };
        let [host, port, ..] = list(master)? else { return None };
        let slots = number(first)?..=number(last)?;
        ranges.push((slots, node(host, port, Some(asked))?));
    }
    let of = |bucket| {
        let slot = u64::from(slot(bucket));
        ranges.iter().find(|(slots, _)| slots.contains(&slot)).map(|(_, node)| node.clone())
    };
    Some(Masters::Many((0..BUCKETS).map(of).collect()))
}

/// Waits for news, but not for longer than this.
pub(super) async fn news_within(scout: &mut Scout, within: Duration) {
    // Without news there is nothing to be told either.
    timeout(within, scout.news()).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_given_to_buckets() {
        let line = |first, last, host: &str, port| {
            let master = Value::Array(vec![bulk(host), Value::Int(port), bulk("id")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let asked = RedisNode { host: "asked".into(), port: 1 };
        let answer = Value::Array(vec![line(0, 8191, "", 7), line(8192, 16_000, "b", 8)]);
        let Some(Masters::Many(of)) = many(&answer, &asked) else { panic!("not read") };
        for bucket in 0..BUCKETS {
            let expected = match slot(bucket) {
                0..=8191 => Some(("asked", 7)),
                8192..=16_000 => Some(("b", 8)),
                _ => None,
            };
            let found = of[usize::from(bucket)].as_ref().map(|it| (&*it.host, it.port));
            assert_eq!(found, expected, "{bucket}");
        }
        assert_eq!(many(&bulk("no"), &asked), None);
        assert_eq!(one(&Value::Nil), None);
    }
}
