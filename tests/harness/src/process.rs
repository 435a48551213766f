//! The balancer as a process of its own, with its output kept.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::client::message::{Reply, Request};
use crate::runtime::lock;
use crate::temp::TempDir;
use crate::wait::wait_until;

const START_DEADLINE: Duration = Duration::from_secs(20);
const POLICY: &str = "policy.yaml";
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Variables of an environment.
type Env<'a> = &'a [(&'a str, &'a str)];

/// A running balancer. Dropping it kills it, and every process that took over from it.
#[derive(Debug)]
pub struct Balancer {
    directory: TempDir,
    policy: PathBuf,
    admin: SocketAddr,
    /// The program, and whatever starts it.
    words: Vec<String>,
    env: Vec<(String, String)>,
    child: Mutex<Child>,
    pid: AtomicU32,
}

impl Balancer {
    /// Starts `exe run --policy FILE` and waits until `/readyz` of its admin address answers 200.
    ///
    /// The admin address is the one that the policy states as `http` below `admin`. Panics with
    /// what the process has said when it ends or is not ready within 20 s.
    #[track_caller]
    pub fn start(exe: &str, policy: &str) -> Self {
        Self::start_until(exe, policy, "/readyz")
    }

    /// The same, but waits only for `/livez`: no region needs to be routable.
    #[track_caller]
    pub fn start_unready(exe: &str, policy: &str) -> Self {
        Self::start_until(exe, policy, "/livez")
    }

    /// The same as [`Balancer::start`], with further variables in its environment.
    #[track_caller]
    pub fn start_with(exe: &str, policy: &str, env: &[(&str, &str)]) -> Self {
        Self::start_in(&[exe], policy, (env, Stdio::null()), "/readyz")
    }

    /// The same as [`Balancer::start`], by these words, for example `ip netns exec NAME`.
    #[track_caller]
    pub fn start_through(words: &[&str], exe: &str, policy: &str) -> Self {
        Self::start_in(&[words, &[exe]].concat(), policy, (&[], Stdio::null()), "/readyz")
    }

    /// The same, with a socket as its standard input: the only descriptor that one program can hand
    /// to another without more ado.
    #[track_caller]
    pub fn start_on(socket: OwnedFd, exe: &str, policy: &str, env: &[(&str, &str)]) -> Self {
        Self::start_in(&[exe], policy, (env, socket.into()), "/readyz")
    }

    #[track_caller]
    fn start_until(exe: &str, policy: &str, path: &str) -> Self {
        Self::start_in(&[exe], policy, (&[], Stdio::null()), path)
    }

    #[track_caller]
    fn start_in(words: &[&str], policy: &str, (env, stdin): (Env<'_>, Stdio), path: &str) -> Self {
        let admin = admin_address(policy).expect("the policy states `admin: { http: .. }`");
        let directory = TempDir::new();
        let policy = directory.write(POLICY, policy);
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let words: Vec<_> = words.iter().map(|it| (*it).to_owned()).collect();
        let child = spawn(&words, &directory, &env, stdin);
        let pid = AtomicU32::new(child.id());
        let balancer = Self { directory, policy, admin, words, env, child: Mutex::new(child), pid };
        balancer.await_answer(path);
        balancer
    }

    /// Kills it if it runs, starts it again in its directory, with the policy that lies there, and
    /// waits for `/readyz`. What it says is added to what it said before.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let child = spawn(&self.words, &self.directory, &self.env, Stdio::null());
        self.pid.store(child.id(), Ordering::Relaxed);
        *lock(&self.child) = child;
        self.await_answer("/readyz");
    }

    #[track_caller]
    fn await_answer(&self, path: &str) {
        let began = std::time::Instant::now();
        loop {
            if let Ok(reply) = self.ask_admin(path)
                && reply.status == 200
            {
                return;
            }
            let exited = self.exit_status();
            assert!(
                exited.is_none() && began.elapsed() < START_DEADLINE,
                "the balancer {} before {path} answered 200{}; it said:\n{}",
                exited.map_or("took too long".to_owned(), |status| format!("ended ({status})")),
                if self.logs().contains("ddress already in use") {
                    " BECAUSE AN ADDRESS IS IN USE"
                } else {
                    ""
                },
                self.logs(),
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks the admin address for a path.
    ///
    /// # Errors
    /// The process does not listen, or does not answer within two seconds.
    pub fn ask_admin(&self, path: &str) -> std::io::Result<Reply> {
        Request::get(&self.admin_url(path)).timeout(ASK_TIMEOUT).send()
    }

    /// The admin address with `path` behind it.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Where the policy file lies. It may be rewritten, to be loaded again.
    pub fn policy_path(&self) -> &Path {
        &self.policy
    }

    /// The directory in which the process runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the process has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What the process has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Stdout, then stderr.
    pub fn logs(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The access lines on stdout: those whose JSON says `"target": "access"`.
    ///
    /// A line that is still being written is left out.
    pub fn access_lines(&self) -> Vec<Value> {
        let stdout = self.stdout();
        let whole = stdout.rfind('\n').and_then(|end| stdout.get(..end)).unwrap_or_default();
        let is_access = |line: &Value| line.get("target").and_then(Value::as_str) == Some("access");
        whole.lines().filter_map(|it| serde_json::from_str(it).ok()).filter(is_access).collect()
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Sends a signal by name: `TERM`, `HUP`, `INT`, `USR1`, `QUIT`, `STOP`, `CONT`.
    ///
    /// Panics if the process has ended.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        // The lock keeps `wait` from giving the id back to the system in between.
        let mut child = lock(&self.child);
        let ended = child.try_wait().expect("ask for our own child");
        assert!(ended.is_none(), "no process to signal: it ended ({ended:?})");
        assert!(signal(self.pid(), name), "send {name} to {}", self.pid());
    }

    /// How the process ended, or nothing while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().expect("ask for our own child")
    }

    /// Waits until the process has ended by itself. Panics with its logs after `deadline`.
    #[track_caller]
    pub fn await_exit(&self, deadline: Duration) -> ExitStatus {
        let what = format!("the balancer ends; it said:\n{}", self.logs());
        wait_until(deadline, &what, || self.exit_status().is_some());
        self.exit_status().expect("it has ended")
    }

    /// The process that answers at the admin address now: this one, or one that took over.
    #[track_caller]
    pub fn serving_pid(&self) -> u32 {
        let version = self.ask_admin("/version").expect("an answer").json();
        let pid = version.get("pid").and_then(Value::as_u64);
        pid.and_then(|it| it.try_into().ok()).expect("the id of a process")
    }

    /// Every process that runs in the balancer's directory: itself, and those that took over.
    pub fn processes(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        // The system names the directory as it is, and not as links lead to it.
        let own = self.directory().canonicalize().unwrap_or_default();
        let runs_here =
            |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|it| it == own);
        let names = entries.flatten().filter_map(|it| it.file_name().into_string().ok());
        let mut pids: Vec<u32> = names.filter_map(|it| it.parse().ok()).filter(runs_here).collect();
        pids.sort_unstable();
        pids
    }

    /// Kills the process at once, and every one that took over from it, and waits for its end.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        // It may have ended by itself.
        child.kill().ok();
        child.wait().ok();
        // Whoever took over is nobody's child any more.
        for pid in self.processes() {
            signal(pid, "KILL");
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            use std::io::Write as _;
            // A test that fails behind a balancer is read with the balancer's words beside it.
            writeln!(std::io::stderr(), "--- the balancer said:\n{}", self.logs()).ok();
        }
    }
}

/// Starts the process in its directory, with the policy that lies there.
#[track_caller]
fn spawn(words: &[String], directory: &TempDir, env: &[(String, String)], stdin: Stdio) -> Child {
    let file = |name| {
        let path = directory.path().join(name);
        OpenOptions::new().create(true).append(true).open(path).expect("make a file")
    };
    let (program, rest) = words.split_first().expect("it has a word");
    Command::new(program)
        .args(rest)
        .args(["run", "--policy"])
        .arg(directory.path().join(POLICY))
        .current_dir(directory.path())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap_or_else(|error| panic!("start {program}: {error}"))
}

/// Sends a signal by name; answers whether there was somebody to get it.
pub fn signal(pid: u32, name: &str) -> bool {
    let pid = pid.to_string();
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid]).stderr(Stdio::null());
    kill.status().is_ok_and(|it| it.success())
}

/// The address after the first `http:` that follows `admin:`.
fn admin_address(policy: &str) -> Option<SocketAddr> {
    let (_before, admin) = policy.split_once("admin:")?;
    let (_socket, http) = admin.split_once("http:")?;
    let is_outside = |c: char| !(c.is_ascii_digit() || c == '.' || c == ':');
    http.trim_start().trim_start_matches(['"', '\'']).split(is_outside).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_address_is_read_from_both_ways_to_write_it() {
        let wanted = Some(SocketAddr::from(([127, 0, 0, 1], 9901)));
        assert_eq!(admin_address("a: 1\nadmin: { http: \"127.0.0.1:9901\" }\n"), wanted);
        assert_eq!(admin_address("admin:\n  socket: /x\n  http: 127.0.0.1:9901\n"), wanted);
        assert_eq!(admin_address("listeners: []\n"), None);
    }
}
