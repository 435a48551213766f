//! What a Redis server of a test is to be like.

use std::net::{IpAddr, Ipv4Addr};

/// The settings of one server, or of each server of a group.
///
/// Nothing is written to the disk and nobody is asked for a password unless the plan says so.
#[derive(Clone, Debug)]
pub struct RedisPlan {
    pub(crate) append_only: bool,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
    pub(crate) min_replicas: u16,
    pub(crate) bind: IpAddr,
    pub(crate) through: Vec<String>,
    pub(crate) down_after_ms: u64,
    users: Vec<String>,
    settings: Vec<String>,
    has_client_certificates: bool,
}

impl Default for RedisPlan {
    fn default() -> Self {
        Self {
            append_only: false,
            password: None,
            tls: false,
            min_replicas: 0,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            through: Vec::new(),
            down_after_ms: 1000,
            users: Vec::new(),
            settings: Vec::new(),
            has_client_certificates: false,
        }
    }
}

impl RedisPlan {
    /// What the fence recommends: everything is written to the disk, nothing is evicted.
    pub fn durable() -> Self {
        Self::default().append_only().setting("maxmemory-policy", "noeviction")
    }

    /// Writes what happens to the disk, and syncs once a second.
    #[must_use]
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// Asks the default user for a password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Knows one more user. `rules` are as in `ACL SETUSER`, for example `~fence:* +@all`.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push(format!("user {name} on >{password} {rules}"));
        self
    }

    /// Takes TLS connections too, on a port of their own, and asks clients for no certificate.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same, and asks every client for a certificate.
    #[must_use]
    pub fn mutual_tls(mut self) -> Self {
        self.has_client_certificates = true;
        self.tls()
    }

    /// A master takes writes only while so many replicas were heard of in the last two seconds.
    #[must_use]
    pub fn min_replicas(mut self, count: u16) -> Self {
        self.min_replicas = count;
        self
    }

    /// Any line of the configuration, for example `maxmemory-policy`, `allkeys-lru`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name} {value}"));
        self
    }

    /// Listens on this address in place of the loopback.
    #[must_use]
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = address;
        self
    }

    /// Starts the server by these words, for example `ip netns exec NAME`.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|it| (*it).to_owned()).collect();
        self
    }

    /// The same, with words of another plan.
    #[must_use]
    pub(crate) fn through_words(mut self, words: &[String]) -> Self {
        self.through = words.to_vec();
        self
    }

    /// After how long Sentinels or the nodes of a cluster take a silent server for dead.
    #[must_use]
    pub fn down_after_ms(mut self, down_after_ms: u64) -> Self {
        self.down_after_ms = down_after_ms;
        self
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.settings.iter().any(|it| it == "cluster-enabled yes")
    }

    /// The lines that every server of this plan has.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = [
            &format!("bind {}", self.bind),
            "protected-mode no",
            "daemonize no",
            "save \"\"",
            "appendfsync everysec",
            "repl-diskless-sync yes",
            "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1",
            "min-replicas-max-lag 2",
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        lines.push(format!("appendonly {}", if self.append_only { "yes" } else { "no" }));
        lines.push(format!("min-replicas-to-write {}", self.min_replicas));
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("masterauth {password}"));
        }
        if self.tls {
            let asked = if self.has_client_certificates { "yes" } else { "no" };
            lines.push(format!("tls-auth-clients {asked}"));
        }
        lines.extend(self.users.iter().cloned());
        lines.extend(self.settings.iter().cloned());
        lines
    }
}
