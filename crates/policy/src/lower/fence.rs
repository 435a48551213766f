//! Lowers what the policy says about the memory of writes; routes are in [`super::fenced`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::fence::retention::{IN_DOUBT_MIN, Retention};
use tidegate_core::policy::fencing::{
    Durability, FenceRules, FenceStore, KeyQuota, RedisNode, RedisPassword, RedisRules, RedisTls,
    RedisTopology, RedisWait,
};

use super::Lowering;
use crate::flaws::Flaw;
use crate::names;
use crate::place::Place;
use crate::units;
use crate::yaml;

/// Most servers that are asked first.
const NODES_MAX: usize = 64;
/// Longest path of a file, in bytes.
const PATH_BYTES_MAX: usize = 4096;
/// What is waited for where there are replicas and the policy says nothing.
const WAIT: RedisWait = RedisWait { replicas: 1, timeout: Duration::from_millis(50) };

impl Lowering<'_> {
    pub(super) fn fence(&self, fence: Option<&yaml::Fence>) -> Option<FenceRules> {
        let fence = fence?;
        let root = Place::Root;
        let place = root.key("fence");
        let window = self.time(&place.key("failover_window"), &fence.failover_window.0);
        let store = place.key("store");
        let store = match &fence.store {
            yaml::FenceStore::Embedded(embedded) => FenceStore::Embedded {
                path: self.file_path(&store.key("embedded").key("path"), &embedded.path),
            },
            yaml::FenceStore::Redis(redis) => {
                FenceStore::Redis(self.redis(&store.key("redis"), redis))
            }
        };
        let local = fence.local.as_ref().map(|it| {
            let place = place.key("local");
            if matches!(store, FenceStore::Embedded { .. }) {
                let flaw = Flaw::key(&place, "the store is a file on this machine already");
                self.flaws.push(flaw.help("remove `local`"));
            }
            self.file_path(&place.key("path"), &it.path)
        });
        Some(FenceRules {
            store,
            local,
            failover_window: window,
            retention: self.retention(&place, fence, window),
            quarantine: self.time(&place.key("quarantine"), &fence.quarantine.0),
            quota: fence.quota.as_ref().map(|it| self.quota(&place.key("quota"), it)),
        })
    }

    /// The retention, which is never below the floor that the window sets.
    fn retention(&self, place: &Place<'_>, fence: &yaml::Fence, window: Duration) -> Retention {
        let at_least = |name, text: Option<&yaml::DurationText>, floor: Duration, why: &str| {
            let place = place.key(name);
            let Some(text) = text else { return floor };
            let read = units::duration(&text.0);
            let is_short = read.as_ref().is_ok_and(|it| *it < floor);
            let time = self.unit(&place, read);
            if is_short {
                let message = format!("`{}` is too short: {why}", text.0);
                let help = format!("write `{}` or more, or remove it", units::written(&floor));
                self.wrong(&place, message, help);
            }
            time.max(floor)
        };
        let floor = Retention::floor(window);
        let why = "retries may come until a day after the failover window";
        let completed = at_least("retention", fence.retention.as_ref(), floor, why);
        let floor = completed.max(IN_DOUBT_MIN);
        let why = "after it, a write of unknown outcome may be executed again";
        let text = fence.in_doubt_retention.as_ref();
        let in_doubt = at_least("in_doubt_retention", text, floor, why);
        Retention::new(window, Some(completed), Some(in_doubt)).unwrap_or(Retention::LONGEST)
    }

    fn quota(&self, place: &Place<'_>, quota: &yaml::KeyQuota) -> KeyQuota {
        let per_second = self.whole(&place.key("per_second"), quota.per_second, 1..=1_000_000);
        let burst = quota.burst.map(|it| self.whole(&place.key("burst"), it, 1..=1_000_000));
        KeyQuota { burst: burst.unwrap_or(per_second), per_second }
    }

    fn redis(&self, place: &Place<'_>, redis: &yaml::RedisStore) -> RedisRules {
        let topology = self.topology(place, redis);
        let has_replicas = topology != RedisTopology::Standalone;
        if !names::is_label(&redis.prefix) {
            let message = format!("`{}` cannot be what keys begin with", redis.prefix);
            let help = "use letters, digits, `_`, `.` and `-`, at most 64 of them";
            self.wrong(&place.key("prefix"), message, help);
        }
        if redis.user.is_some() && redis.password.is_none() {
            let flaw = Flaw::key(&place.key("user"), "a user without a password proves nothing");
            self.flaws.push(flaw.help("add `password: \"file:./redis.password\"`"));
        }
        let password = redis.password.as_ref().map(|it| {
            if it.reveal().is_empty() {
                self.wrong(&place.key("password"), "the password is empty", "remove it");
            }
            RedisPassword(Arc::from(it.reveal()))
        });
        RedisRules {
            nodes: self.nodes(&place.key("nodes"), &redis.nodes, &topology),
            topology,
            user: redis.user.as_deref().map(Into::into),
            password,
            tls: redis.tls.as_ref().and_then(|it| self.redis_tls(&place.key("tls"), it)),
            wait: match &redis.wait {
                Some(wait) => self.wait(&place.key("wait"), wait),
                None => has_replicas.then_some(WAIT),
            },
            durability: match redis.durability {
                yaml::Durability::Aof => Durability::Aof,
                yaml::Durability::Managed => Durability::Managed,
                yaml::Durability::Nothing => Durability::Nothing,
            },
            prefix: redis.prefix.as_str().into(),
        }
    }

    fn topology(&self, place: &Place<'_>, redis: &yaml::RedisStore) -> RedisTopology {
        let is_sentinel = redis.topology == yaml::RedisTopology::Sentinel;
        if redis.master.is_some() && !is_sentinel {
            let flaw = Flaw::key(&place.key("master"), "only Sentinels know a master by a name");
            self.flaws.push(flaw.help("remove it, or write `topology: sentinel`"));
        }
        match redis.topology {
            yaml::RedisTopology::Standalone => RedisTopology::Standalone,
            yaml::RedisTopology::Cluster => RedisTopology::Cluster,
            yaml::RedisTopology::Sentinel => {
                if redis.master.as_ref().is_none_or(String::is_empty) {
                    let message = "Sentinels are asked for a master by its name";
                    let flaw = Flaw::value(&place.key("topology"), message);
                    self.flaws.push(flaw.help("add `master`, as in `master: mymaster`"));
                }
                RedisTopology::Sentinel {
                    master: redis.master.as_deref().unwrap_or_default().into(),
                }
            }
        }
    }

    fn nodes(
        &self,
        place: &Place<'_>,
        texts: &[String],
        topology: &RedisTopology,
    ) -> Vec<RedisNode> {
        let max = if *topology == RedisTopology::Standalone { 1 } else { NODES_MAX };
        if texts.is_empty() || max < texts.len() {
            let help = match topology {
                RedisTopology::Standalone => "name one, or write `topology: sentinel` or `cluster`",
                RedisTopology::Sentinel { .. } => "name the Sentinels, 1 to 64 of them",
                RedisTopology::Cluster => "name some servers of the cluster, 1 to 64 of them",
            };
            self.wrong(place, format!("there are {} servers", texts.len()), help);
        }
        let mut nodes: Vec<RedisNode> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match node(text) {
                Some(node) if nodes.contains(&node) => {
                    self.wrong(
                        &place.item(index),
                        format!("`{text}` is listed twice"),
                        "remove one",
                    );
                }
                Some(node) => nodes.push(node),
                None => self.wrong(
                    &place.item(index),
                    format!("`{text}` is not a server"),
                    "write its name or address and its port, such as `redis.internal:6379`",
                ),
            }
        }
        nodes
    }

    pub(super) fn redis_tls(&self, place: &Place<'_>, tls: &yaml::RedisTls) -> Option<RedisTls> {
        let files = match tls {
            yaml::RedisTls::Flag(on) => return on.then_some(RedisTls { ca: None, client: None }),
            yaml::RedisTls::Files(files) => files,
        };
        let path =
            |name, text: Option<&String>| text.map(|text| self.file_path(&place.key(name), text));
        let (cert, key) = (path("cert", files.cert.as_ref()), path("key", files.key.as_ref()));
        if cert.is_some() != key.is_some() {
            let help = "give both, or neither";
            self.wrong(place, "a certificate and its key belong together", help);
        }
        Some(RedisTls { ca: path("ca", files.ca.as_ref()), client: cert.zip(key) })
    }

    fn wait(&self, place: &Place<'_>, wait: &yaml::RedisWait) -> Option<RedisWait> {
        let replicas = self.whole(&place.key("replicas"), wait.replicas, 0..=16);
        let timeout = self.time(&place.key("timeout"), &wait.timeout.0);
        if Duration::from_secs(1) < timeout {
            let help = "write at most `1s`; a claim with too few copies by then is not delivered";
            self.wrong(&place.key("timeout"), "every write would wait for so long", help);
        }
        (0 < replicas).then_some(RedisWait { replicas, timeout })
    }

    /// A file; a relative path begins in the folder of the policy.
    fn file_path(&self, place: &Place<'_>, path: &str) -> PathBuf {
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
            let message = format!("`{}` cannot be the path of a file", path.replace('\0', "\\0"));
            self.wrong(place, message, "write a path such as `/var/lib/tidegate/fence.db`");
        }
        self.folder.join(path)
    }
}

/// A server by its name or address, and its port.
pub(super) fn node(text: &str) -> Option<RedisNode> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|it| *it > 0)?;
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    names::is_host(host).then(|| RedisNode { host: bare.unwrap_or(host).into(), port })
}
