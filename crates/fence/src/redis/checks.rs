//! What is demanded of a server before claims are kept on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::policy::fencing::{Durability, RedisRules};

use super::lane::Identity;
use crate::store::{Check, Finding};

/// The first version that has all that scripts use.
const VERSION_MIN: (u64, u64) = (6, 2);
/// Part of the memory that is kept for outcomes: with less than this left, no key is new.
const ROOM_KEPT_PERCENT: u64 = 5;
/// How far the clocks of server and balancer may be apart.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// What `INFO` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("?", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn is_master(&self) -> bool {
        self.text("role") == "master"
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.text("loading") != "1"
    }

    /// A process, and what its data follows: both change when a replica takes over.
    pub(super) fn identity(&self) -> Identity {
        Arc::from(format!("{}/{}", self.text("run_id"), self.text("master_replid")))
    }

    /// Whether there is no room for new keys.
    pub(super) fn is_full(&self) -> bool {
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        most != 0 && most / 100 * (100 - ROOM_KEPT_PERCENT) <= used
    }

    fn version(&self) -> (u64, u64) {
        let mut parts = self.text("redis_version").split('.').map(|it| it.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// What was found on one server.
pub(super) struct Seen<'s> {
    pub(super) node: &'s str,
    pub(super) info: &'s Info,
    /// How many keys it had evicted when it was last looked at, in this life.
    pub(super) evicted: Option<u64>,
    /// How far its clock is away.
    pub(super) skew: Option<Duration>,
}

/// Looks at one server.
pub(super) fn judge(rules: &RedisRules, seen: &Seen<'_>) -> Vec<Finding> {
    let info = seen.info;
    let finding = |check, is_ok, seen_value: String| Finding {
        check,
        is_ok,
        node: Some(seen.node.into()),
        seen: seen_value,
    };
    let policy = info.text("maxmemory_policy");
    let version = info.version();
    let evicted = info.number("evicted_keys");
    let more = seen.evicted.map_or(0, |before| evicted.saturating_sub(before));
    let replicas = info.number("connected_slaves");
    let wanted = rules.wait.map_or(0, |wait| u64::from(wait.replicas));
    let (used, most) = (info.number("used_memory"), info.number("maxmemory"));
    let skew = seen.skew.unwrap_or_default();
    vec![
        finding(Check::Version, VERSION_MIN <= version, format!("{}.{}", version.0, version.1)),
        finding(Check::Eviction, policy == "noeviction", policy.to_owned()),
        finding(Check::Evicted, more == 0, format!("{evicted} keys, {more} of them just now")),
        finding(Check::Persistence, is_durable(rules.durability, info), durability(rules, info)),
        finding(Check::Replicas, wanted <= replicas, format!("{replicas}, and {wanted} wanted")),
        finding(Check::Memory, !info.is_full(), format!("{used} of {most} bytes")),
        finding(Check::Skew, skew <= SKEW_MAX, format!("{} ms", skew.as_millis())),
    ]
}

fn is_durable(durability: Durability, info: &Info) -> bool {
    match durability {
        Durability::Aof => {
            info.text("aof_enabled") == "1" && info.text("aof_last_write_status") != "err"
        }
        Durability::Managed | Durability::Nothing => true,
    }
}

fn durability(rules: &RedisRules, info: &Info) -> String {
    match rules.durability {
        Durability::Aof => format!(
            "append-only file {}, last write {}",
            if info.text("aof_enabled") == "1" { "on" } else { "off" },
            info.text("aof_last_write_status"),
        ),
        Durability::Managed => "managed by the service".to_owned(),
        Durability::Nothing => "none wanted".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tidegate_core::policy::fencing::{RedisTopology, RedisWait};

    use super::*;

    pub(in crate::redis) fn rules() -> RedisRules {
        RedisRules {
            topology: RedisTopology::Standalone,
            nodes: Vec::new(),
            user: None,
            password: None,
            tls: None,
            wait: Some(RedisWait { replicas: 1, timeout: Duration::from_millis(50) }),
            durability: Durability::Aof,
            prefix: "f".into(),
        }
    }

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:a\r\n# Memory\r\n\
        used_memory:94\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n\
        aof_last_write_status:ok\r\nevicted_keys:5\r\nrole:master\r\nconnected_slaves:1\r\n\
        master_replid:b\r\n";

    /// What fails when one line of a good answer is another one.
    fn check(from: &str, to: &str, expected: &[Check]) {
        let info = Info::read(GOOD.replace(from, to).as_bytes());
        let seen = Seen { node: "n", info: &info, evicted: Some(5), skew: Some(SKEW_MAX) };
        let failed = judge(&rules(), &seen).into_iter().filter(|it| !it.is_ok);
        let failed: Vec<Check> = failed.map(|it| it.check).collect();
        assert_eq!(failed, expected, "{to}");
    }

    #[test]
    fn every_check_can_fail() {
        check("", "", &[]);
        check("7.0.15", "6.0.9", &[Check::Version]);
        check("7.0.15", "new", &[Check::Version]);
        check("noeviction", "volatile-lru", &[Check::Eviction]);
        check("evicted_keys:5", "evicted_keys:6", &[Check::Evicted]);
        check("aof_enabled:1", "aof_enabled:0", &[Check::Persistence]);
        check("status:ok", "status:err", &[Check::Persistence]);
        check("slaves:1", "slaves:0", &[Check::Replicas]);
        check("memory:94", "memory:95", &[Check::Memory]);
        check("maxmemory:100", "maxmemory:0", &[]);
        let info = Info::read(GOOD.as_bytes());
        assert!(info.is_master() && info.is_loaded());
        assert_eq!(&*info.identity(), "a/b");
    }
}
