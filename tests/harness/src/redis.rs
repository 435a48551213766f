//! Real Redis servers as children of the test, on free ports and in folders of their own.

pub(crate) mod cluster;
pub(crate) mod plan;
pub(crate) mod resp;
pub(crate) mod sentinels;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use self::plan::RedisPlan;
use self::resp::{RedisConnection, RedisReply};
use self::tls::make_certificates;
use crate::ports::free_ports;
use crate::process::signal;
use crate::runtime::lock;
use crate::temp::TempDir;
use crate::wait::wait_until;

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Longest time for servers to find each other and to copy.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);

/// The files of a server with TLS, and of its clients.
#[derive(Clone, Debug)]
pub struct RedisCertificates {
    /// Who signed the others.
    pub ca: PathBuf,
    /// For the server; it names `localhost` and the loopback address.
    pub server: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
    /// For a client, where the plan asks for one.
    pub client: PathBuf,
    /// The client's private key.
    pub client_key: PathBuf,
}

/// One Redis server (or one Sentinel). Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    plan: RedisPlan,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    bus_port: u16,
    certificates: Option<RedisCertificates>,
    is_sentinel: bool,
    child: Mutex<Child>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    #[track_caller]
    pub fn start(plan: &RedisPlan) -> Self {
        Self::launch(plan, |redis| {
            let mut lines = plan.lines();
            lines.push(format!("port {}", redis.address.port()));
            if plan.is_cluster() {
                lines.push(format!("cluster-port {}", redis.bus_port));
            }
            if let (Some(tls), Some(files)) = (redis.tls_address, &redis.certificates) {
                lines.push(format!("tls-port {}", tls.port()));
                lines.push(format!("tls-ca-cert-file {}", files.ca.display()));
                lines.push(format!("tls-cert-file {}", files.server.display()));
                lines.push(format!("tls-key-file {}", files.server_key.display()));
            }
            lines
        })
    }

    /// Starts a process with the lines of a configuration that knows its ports.
    #[track_caller]
    fn launch(plan: &RedisPlan, lines: impl FnOnce(&Self) -> Vec<String>) -> Self {
        let directory = TempDir::new();
        let first = free_ports(3);
        let at = |port: u16| SocketAddr::from((plan.bind, port));
        let certificates = plan.tls.then(|| make_certificates(directory.path()));
        let idle = Command::new("true").spawn().expect("`true` runs");
        let mut redis = Self {
            address: at(first),
            tls_address: plan.tls.then(|| at(first + 1)),
            bus_port: first + 2,
            certificates,
            plan: plan.clone(),
            is_sentinel: false,
            child: Mutex::new(idle),
            directory,
        };
        let mut lines = lines(&redis);
        let folder = redis.directory.path().display();
        lines.extend([format!("dir {folder}"), format!("logfile {folder}/redis.log")]);
        redis.is_sentinel = lines.iter().any(|it| it.starts_with("sentinel "));
        redis.directory.write("redis.conf", &(lines.join("\n") + "\n"));
        redis.spawn();
        redis
    }

    /// Starts the process, with the configuration that lies in its folder, and waits for it.
    #[track_caller]
    fn spawn(&self) {
        let mut words = self.plan.through.clone();
        words.push("redis-server".to_owned());
        let (program, rest) = words.split_first().expect("it has a word");
        let mut command = Command::new(program);
        command.args(rest).arg(self.directory.path().join("redis.conf"));
        if self.is_sentinel {
            command.arg("--sentinel");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("start {program}: {error}"));
        *lock(&self.child) = child;
        let began = Instant::now();
        while !self.answers() {
            let exited = lock(&self.child).try_wait().expect("ask for our own child");
            assert!(
                exited.is_none() && began.elapsed() < START_DEADLINE,
                "a Redis server does not answer ({exited:?}); it said:\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it answers, with its data loaded.
    pub fn answers(&self) -> bool {
        self.try_command(&["PING"]).is_ok_and(|reply| reply.text() == "PONG")
    }

    /// Where it takes plain connections. Stays the same over restarts.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes TLS connections, if the plan asks for them.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The certificates, if the plan asks for TLS.
    pub fn certificates(&self) -> Option<&RedisCertificates> {
        self.certificates.as_ref()
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// A connection, signed in as the default user.
    ///
    /// # Errors
    /// It does not listen, or refuses the password.
    pub fn connect(&self) -> io::Result<RedisConnection> {
        let mut connection = RedisConnection::open(self.address)?;
        if let Some(password) = &self.plan.password {
            connection.command(&["AUTH", password])?.ok()?;
        }
        Ok(connection)
    }

    /// Carries out a command on a fresh connection. Panics when no answer comes.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> RedisReply {
        let place = self.address;
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?} at {place}: {error}"))
    }

    /// Carries out a command on a fresh connection.
    ///
    /// # Errors
    /// No answer comes. An answer that is an error is an answer.
    pub fn try_command(&self, words: &[&str]) -> io::Result<RedisReply> {
        self.connect()?.command(words)
    }

    /// A field of `INFO`, such as `role` or `connected_slaves`; nothing while it is not there.
    pub fn info(&self, field: &str) -> Option<String> {
        let text = self.try_command(&["INFO"]).ok()?.text();
        let value = |line: &str| match line.split_once(':') {
            Some((name, value)) if name == field => Some(value.trim().to_owned()),
            Some(_) | None => None,
        };
        text.lines().find_map(value)
    }

    /// Whether it takes writes.
    pub fn is_master(&self) -> bool {
        self.info("role").as_deref() == Some("master")
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        // It may have ended by itself.
        child.kill().ok();
        child.wait().ok();
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        assert!(signal(self.pid(), "STOP"), "no process to stop");
    }

    /// Lets it go on after [`Redis::pause`].
    pub fn resume(&self) {
        assert!(signal(self.pid(), "CONT"), "no process to let go on");
    }

    /// Kills it if it runs, and starts it again on its port with the data it kept.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        self.spawn();
    }

    /// The same, but everything that it kept is gone.
    #[track_caller]
    pub fn restart_empty(&self) {
        self.kill();
        let directory = self.directory.path();
        std::fs::remove_dir_all(directory.join("appendonlydir")).ok();
        for name in ["dump.rdb", "appendonly.aof"] {
            std::fs::remove_file(directory.join(name)).ok();
        }
        self.spawn();
    }

    /// What the server has written to its log.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }

    /// Waits until this replica is a copy of its master.
    #[track_caller]
    fn await_copy(&self) {
        wait_until(SETTLE_DEADLINE, "the replica has copied its master", || {
            self.info("master_link_status").as_deref() == Some("up")
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
