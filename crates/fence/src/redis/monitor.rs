//! Watches the servers: who the masters are, whether they are fit, and whether they have forgotten
//! anything. It is the only one that opens the gate for claims.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use tidegate_core::policy::fencing::RedisNode;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::answer::{list, number, text};
use super::calls::Way;
use super::checks::{self, Info, Seen};
use super::command::Builder;
use super::lane::{Gate, Identity};
use super::layout::{Kept, buckets};
use super::map::{Common, Map, Node};
use super::topology::{Masters, Scout, news_within};
use super::{Shared, recovery};
use crate::store::{Check, Failure, Finding};

/// How often everything is looked at while all is well, and while something is not.
const EVERY: Duration = Duration::from_secs(1);
const EVERY_IN_TROUBLE: Duration = Duration::from_millis(200);
/// Least time between two looks, however often something changes.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a server that is in the map already may be away before it is no longer waited for.
const ROUND_WITHIN: Duration = Duration::from_secs(10);

/// Watches, for as long as it is polled.
pub(super) struct Monitor {
    shared: Arc<Shared>,
    common: Common,
    scout: Scout,
    tasks: JoinSet<()>,
}

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) generation: u64,
    pub(super) born: u64,
    pub(super) sequence: u64,
}

/// A server, and what was seen of it in one look.
struct Looked {
    node: Arc<Node>,
    identity: Option<Identity>,
    findings: Vec<Finding>,
    /// The sequences of all buckets that were known before the server was asked. Claims go on while
    /// it is, and what they find in the meantime is newer than what it answers.
    known: Vec<u64>,
    /// Of all its buckets; `None` where it does not answer.
    markers: Option<HashMap<u16, Option<Marker>>>,
}

impl Monitor {
    pub(super) fn new(shared: Arc<Shared>, common: Common) -> Self {
        let scout = Scout::new(&shared.rules, common.dial.clone());
        Self { shared, common, scout, tasks: JoinSet::new() }
    }

    /// Watches until nobody needs the store any more.
    pub(super) async fn run(mut self, over: oneshot::Receiver<()>) {
        let poke = Arc::clone(&self.common.poke);
        let work = async {
            loop {
                // A look that hangs is begun anew; every call in it has its own end.
                let looked = tokio::time::timeout(ROUND_WITHIN, self.look()).await;
                let is_well = looked.unwrap_or(false);
                sleep(PAUSE).await;
                let every = if is_well { EVERY } else { EVERY_IN_TROUBLE };
                tokio::select! {
                    () = poke.notified() => {}
                    () = sleep(every) => {}
                    () = news_within(&mut self.scout, every) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            _dropped = over => {}
        }
    }

    /// Looks at everything once. Whether all is well.
    async fn look(&mut self) -> bool {
        let mut findings = Vec::new();
        match self.scout.masters().await {
            Ok(masters) => self.draw(&masters),
            Err(broken) => {
                let (check, seen) = (broken.check(), broken.to_string());
                findings.push(Finding { check, is_ok: false, node: None, seen });
            }
        }
        let map = Arc::clone(&self.shared.map.borrow());
        if !map.is_whole() {
            let seen = "not every slot has a master".to_owned();
            findings.push(Finding { check: Check::Reachable, is_ok: false, node: None, seen });
        }
        let mut looked = Vec::new();
        for node in &map.nodes {
            looked.push(self.look_at(&map, node).await);
        }
        self.learn_generation(&looked);
        for it in &mut looked {
            self.judge(it).await;
            findings.append(&mut it.findings);
        }
        self.shared.find(findings)
    }

    /// Draws the map anew where it is another one. Servers that stay keep their connections.
    fn draw(&mut self, masters: &Masters) {
        let old = Arc::clone(&self.shared.map.borrow());
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        let mut place = |at: &RedisNode, tasks: &mut JoinSet<()>| {
            if let Some(place) = nodes.iter().position(|node| node.at == *at) {
                return place;
            }
            let kept = old.at(at).map(Arc::clone);
            nodes.push(kept.unwrap_or_else(|| Node::begin(at.clone(), &self.common, tasks)));
            nodes.len() - 1
        };
        let tasks = &mut self.tasks;
        let of: Vec<Option<usize>> = match masters {
            Masters::One(at) => vec![Some(place(at, tasks)); buckets().len()],
            Masters::Many(of) => {
                of.iter().map(|at| at.as_ref().map(|at| place(at, tasks))).collect()
            }
        };
        // Lanes of servers that are gone have ended by now.
        while self.tasks.try_join_next().is_some() {}
        let new = Map::parted(nodes, of);
        let is_same = buckets().all(|bucket| {
            let at = |map: &Map| map.node(bucket).map(|node| node.at.clone());
            at(&old) == at(&new)
        });
        if !is_same {
            let names: Vec<String> = new.nodes.iter().map(|node| node.name()).collect();
            tracing::info!(masters = names.join(" "), "the fence has other masters");
            self.shared.map.send_replace(Arc::new(new));
        }
    }

    async fn look_at(&self, map: &Map, node: &Arc<Node>) -> Looked {
        let name = node.name();
        let mut looked = Looked {
            node: Arc::clone(node),
            identity: None,
            findings: Vec::new(),
            known: Vec::new(),
            markers: None,
        };
        let identity = match node.rest.known() {
            Some(Ok(identity)) => identity,
            Some(Err((check, seen))) => {
                looked.findings.push(wrong(check, name, seen));
                return looked;
            }
            None => {
                let seen = "the connection is being made".to_owned();
                looked.findings.push(wrong(Check::Reachable, name, seen));
                return looked;
            }
        };
        let Ok((info, skew)) = self.ask(node).await else {
            let seen = "it does not answer".to_owned();
            looked.findings.push(wrong(Check::Reachable, name, seen));
            return looked;
        };
        // Lanes connect one by one, and it may have become another one in between. Nobody opens the
        // gate for a lane of an old life, so it would hold all claims for ever.
        let claims = node.claims.known().and_then(Result::ok);
        let is_old = claims.is_some_and(|claims| claims != identity);
        if !info.is_master() || info.identity() != identity || is_old {
            // It was demoted, or more, behind connections that have stayed.
            node.shut();
            node.hang_up.notify_waiters();
            let seen = "the server is no master, or not the same any more".to_owned();
            looked.findings.push(wrong(Check::Reachable, name, seen));
            return looked;
        }
        let evicted = {
            let mut last = super::lock(&node.last);
            let before = last.as_ref().filter(|(life, _)| *life == identity);
            let evicted = before.map(|(_, info)| info.number("evicted_keys"));
            *last = Some((Arc::clone(&identity), info.clone()));
            evicted
        };
        node.is_full.store(info.is_full(), Ordering::Relaxed);
        let seen = Seen { node: &name, info: &info, evicted, skew };
        looked.findings = checks::judge(&self.shared.rules, &seen);
        looked.known = buckets().map(|bucket| self.shared.seen(bucket)).collect();
        looked.markers = self.shared.markers(map, node).await.ok();
        looked.identity = Some(identity);
        looked
    }

    /// What a server says of itself, and how far its clock is away.
    async fn ask(&self, node: &Arc<Node>) -> Result<(Info, Option<Duration>), Failure> {
        let info = self.shared.ask_node(node, Builder::new("INFO").end()).await?;
        let info = Info::read(text(&info).unwrap_or_default());
        let before = (self.shared.clock)();
        let time = self.shared.ask_node(node, Builder::new("TIME").end()).await?;
        let after = (self.shared.clock)();
        let skew = list(&time).and_then(|it| {
            let [seconds, micros] = it else { return None };
            let there = number(seconds)? * 1000 + number(micros)? / 1000;
            // The answer was made at some time in between.
            Some(Duration::from_millis(
                before.0.saturating_sub(there).max(there.saturating_sub(after.0)),
            ))
        });
        Ok((info, skew))
    }

    /// The generation is that of all markers. Another one than before means that somebody has begun
    /// anew, and only counts if all servers say so.
    fn learn_generation(&self, looked: &[Looked]) {
        let markers = looked.iter().map(|it| it.markers.as_ref());
        let markers: Option<Vec<_>> = markers.collect();
        let markers = markers.into_iter().flatten().flat_map(HashMap::values);
        let Some(all) = markers.copied().collect::<Option<Vec<Marker>>>() else { return };
        let is_whole = all.len() == buckets().len();
        let Some(Marker { generation, .. }) = all.first().copied().filter(|_| is_whole) else {
            return;
        };
        if all.iter().any(|it| it.generation != generation) {
            return;
        }
        self.shared.born.store(all.iter().map(|it| it.born).max().unwrap_or(0), Ordering::Relaxed);
        let before = self.shared.generation.send_replace(Some(generation));
        if before.is_some_and(|it| it != generation) {
            tracing::error!("the store of the fence has begun anew");
            for it in looked {
                it.node.shut();
            }
        }
    }

    /// Opens the gate of a server, or keeps it shut, or says why claims are refused.
    async fn judge(&self, looked: &mut Looked) {
        let Looked { node, identity, findings, known: seen, markers } = looked;
        let (Some(life), Some(markers)) = (identity, markers) else { return };
        let known = *self.shared.generation.borrow();
        let missing = markers.values().filter(|it| it.map(|it| it.generation) != known).count();
        let is_marked = missing == 0 && known.is_some();
        findings.push(Finding {
            check: Check::Marker,
            is_ok: is_marked,
            node: Some(node.name().into()),
            seen: format!("{missing} of {} buckets without one", markers.len()),
        });
        if !is_marked {
            refuse(node, Failure::Cold);
            return;
        }
        let danger = findings.iter().find(|it| !it.is_ok && it.check.endangers());
        if let Some(danger) = danger {
            refuse(node, Failure::Unfit(danger.check));
            return;
        }
        let sequences = markers.iter().filter_map(|(bucket, it)| Some((*bucket, (*it)?.sequence)));
        let sequences: Vec<(u16, u64)> = sequences.collect();
        let seen = |bucket: u16| seen.get(usize::from(bucket)).copied().unwrap_or_default();
        let gone_back =
            sequences.iter().filter(|(bucket, sequence)| *sequence < seen(*bucket)).count();
        if *node.gate.borrow() == Gate::Open(Arc::clone(life)) && gone_back == 0 {
            return;
        }
        if 0 < gone_back {
            tracing::error!(node = node.name(), buckets = gone_back, "the store has gone back");
            self.shared.tally.rollbacks.add_one();
        }
        node.shut();
        match recovery::recover(&self.shared, node, &sequences).await {
            Ok(()) => {
                let same = node.rest.known().and_then(Result::ok);
                if same.as_ref() == Some(life) {
                    node.gate.send_replace(Gate::Open(Arc::clone(life)));
                }
            }
            Err(failure) => findings.push(Finding {
                check: Check::Sequence,
                is_ok: false,
                node: Some(node.name().into()),
                seen: format!("what was lost is being written again: {failure}"),
            }),
        }
    }
}

fn refuse(node: &Node, failure: Failure) {
    let refusing = Gate::Refusing(failure);
    let changed = node.gate.send_if_modified(|gate| {
        let changed = *gate != refusing;
        *gate = refusing.clone();
        changed
    });
    if changed {
        tracing::error!(node = node.name(), why = %failure, "claims are refused");
    }
}

impl Shared {
    /// The markers of all buckets that a server has.
    pub(super) async fn markers(
        &self,
        map: &Map,
        node: &Arc<Node>,
    ) -> Result<HashMap<u16, Option<Marker>>, Failure> {
        let of_node = map.buckets(node);
        let command = |bucket: &u16| {
            let name = self.names.of(*bucket, Kept::Marker);
            Builder::new("HMGET").bytes(&name).text("g").text("b").text("s").end()
        };
        let commands = of_node.iter().map(|bucket| (Arc::clone(node), command(bucket))).collect();
        let answers = self.ask_all(commands, Way::Rest).await?;
        Ok(of_node.into_iter().zip(answers.iter().map(marker)).collect())
    }
}

pub(super) fn marker(answer: &Value) -> Option<Marker> {
    let [generation, born, sequence] = list(answer)? else { return None };
    let generation = std::str::from_utf8(text(generation)?).ok()?;
    let generation = u64::from_str_radix(generation, 16).ok()?;
    Some(Marker { generation, born: number(born)?, sequence: number(sequence)? })
}

fn wrong(check: Check, node: String, seen: String) -> Finding {
    Finding { check, is_ok: false, node: Some(node.into()), seen }
}

/// How the monitor is started, in a thread that has nothing else to do.
pub(super) fn start(
    shared: Arc<Shared>,
    common: Common,
    over: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let monitor = Monitor::new(shared, common);
    let work = move || runtime.block_on(monitor.run(over));
    std::thread::Builder::new().name("fence".to_owned()).spawn(work).map(drop)
}
