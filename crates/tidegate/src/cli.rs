//! The command line: every verb and flag with its documentation.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub(crate) mod fence;
pub(crate) mod gate;
pub(crate) mod ownership;

/// Exit code of a bad policy or a failed start.
pub(crate) const FAILED: u8 = 1;
/// Exit code of an end with something still open.
pub(crate) const UNCLEAN: u8 = 3;

/// A programmable multi-region load balancer: pins, contract health, failover, explained.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// What is logged, for example `warn` or `info,tidegate_proxy=debug`.
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// How results are printed.
    #[arg(long, short, global = true, default_value = "text")]
    pub(crate) output: Output,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the balancer.
    Run {
        /// The policy.
        #[arg(long, short, default_value = "/etc/tidegate/tidegate.yaml", value_name = "FILE")]
        policy: PathBuf,
        /// Where the last good policy is kept, for a start at which the file does not load;
        /// `$STATE_DIRECTORY` without this flag, and nowhere without either.
        #[arg(long, value_name = "DIRECTORY")]
        state: Option<PathBuf>,
    },
    /// Say whether a policy is right, and where it is not.
    Check(Check),
    /// Let a running balancer load its policy again: whole, or not at all.
    Reload(Reload),
    /// Keep a policy that was loaded with `--confirm-within`.
    Confirm(Operator),
    /// Put the policy before one that was loaded with `--confirm-within` in force again.
    Rollback(Operator),
    /// Say where a request would go, and why it would go nowhere else.
    ///
    /// With `--policy` the decision is made here, in a world that `--state` states or that is
    /// all green; otherwise a running balancer is asked.
    Explain(Ask),
    /// Print the world of a running balancer, for `explain --state`.
    State(Admin),
    /// Print the JSON Schema of policies.
    Schema,
    /// Run three local regions and a balancer in front of them.
    Demo {
        /// Use this port for the balancer, and the four that follow for admin and regions.
        #[arg(long, value_name = "PORT")]
        ports: Option<u16>,
    },
    /// Take a region or one of its endpoints out: no new requests, running ones go on.
    Drain(Drain),
    /// Put a drained region or endpoint back.
    Undrain(Place),
    /// Print what is being drained, why, and how what was open there has ended.
    Drains(Admin),
    /// Print what is open: streams, uploads, and requests that are being answered.
    Streams(Listed),
    /// Let a region that is held back take its traffic at once.
    Failback(OfRegion),
    /// Open the failover window, close it again, or print it.
    ///
    /// While it is open, nothing is forgotten of fenced writes, and routes with `enforce: window`
    /// hold duplicates back. What the operator has opened stays open until the operator closes it,
    /// and for `fence.failover_window` beyond.
    Window(Window),
    /// See which region takes which writes, and change it.
    #[command(subcommand)]
    Ownership(ownership::Ownership),
    /// Look at the memory of writes, and end doubts.
    #[command(subcommand)]
    Fence(fence::Fence),
    /// Say whether traffic may be moved, on what grounds, and why not.
    #[command(subcommand)]
    Gate(gate::Gate),
    /// Say whether a region could take over from another one, condition by condition.
    ///
    /// Nothing is moved: only `--dry-run` is built into this version. Exits with 0 if the gate is
    /// open for reads and writes, and with 1 if it is not.
    Promote {
        /// Move nothing.
        #[arg(long, required = true)]
        dry_run: bool,
        /// The region that is left is lost: ask the emergency gate, not the planned one.
        #[arg(long)]
        emergency: bool,
        #[command(flatten)]
        asked: gate::Asked,
    },
    /// Let a new process take over, without a request or stream being lost.
    ///
    /// A running balancer starts the program that lies at its path now, with its own arguments,
    /// and hands its listening sockets and all that it knows over. Exits with 0 when the new process
    /// serves, and with 1 when it does not; then the old one goes on as if nothing had happened.
    Upgrade {
        /// The program; the path from which the balancer was started when left out.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// How long the new process may take to be ready.
        #[arg(long, value_name = "TIME", value_parser = tidegate_policy::duration, default_value = "60s")]
        within: Duration,
        /// Let it serve also when it reaches fewer regions than the old one.
        #[arg(long)]
        force: bool,
        /// Its admin socket; a TCP admin address may only look.
        #[arg(long, default_value = "/run/tidegate/admin.sock", value_name = "ADDRESS")]
        admin: String,
    },
    /// Exit with 0 when a running balancer is ready; for container health checks.
    Healthcheck(Admin),
    /// Print the version.
    Version,
    /// One region of the demonstration; ends with its standard input.
    #[command(hide = true)]
    DemoRegion {
        #[arg(long)]
        name: String,
        #[arg(long)]
        bind: std::net::SocketAddr,
    },
}

/// Which running balancer.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Admin {
    /// Its admin address: `HOST:PORT`, or the path of its socket.
    #[arg(long, default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    pub(crate) admin: String,
}

/// A policy to check.
#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// The policy.
    #[arg(value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Also say what it would change.
    #[arg(long, value_name = "WHAT")]
    pub(crate) against: Option<Against>,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// What a policy is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    /// The policy of a running balancer, which is asked and changes nothing.
    Running,
}

/// How a policy is loaded again.
#[derive(Debug, ClapArgs)]
pub(crate) struct Reload {
    /// Roll back unless `tidegate confirm` comes within this time, such as `60s`.
    #[arg(long, value_name = "TIME", value_parser = tidegate_policy::duration)]
    pub(crate) confirm_within: Option<Duration>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

/// Who changes a running balancer.
#[derive(Debug, ClapArgs)]
pub(crate) struct Operator {
    /// Its admin socket; a TCP admin address may only look.
    #[arg(long, default_value = "/run/tidegate/admin.sock", value_name = "ADDRESS")]
    pub(crate) admin: String,
}

/// A region of a running balancer.
#[derive(Debug, ClapArgs)]
pub(crate) struct OfRegion {
    /// The region.
    pub(crate) region: String,
    /// Its admin socket; a TCP admin address may only look.
    #[arg(long, default_value = "/run/tidegate/admin.sock", value_name = "ADDRESS")]
    pub(crate) admin: String,
}

/// A region of a running balancer, or one of its endpoints.
#[derive(Debug, ClapArgs)]
pub(crate) struct Place {
    /// The region.
    pub(crate) region: String,
    /// One of its endpoints, as `ADDRESS:PORT`; all of the region without it.
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    /// Its admin socket; a TCP admin address may only look.
    #[arg(long, default_value = "/run/tidegate/admin.sock", value_name = "ADDRESS")]
    pub(crate) admin: String,
}

/// What to take out.
#[derive(Debug, ClapArgs)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Wait until nothing is open there, at most so long as in `--wait=10m`. The exit code is 3 when
    /// that takes longer, or when something did not end well.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
        default_missing_value = "none", value_parser = patience)]
    pub(crate) wait: Option<Patience>,
    /// Drain a region although `gates` keep it on.
    #[arg(long)]
    pub(crate) force: bool,
}

/// How long somebody waits; for ever without a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Option<Duration>);

fn patience(text: &str) -> Result<Patience, String> {
    if text == "none" {
        return Ok(Patience(None));
    }
    tidegate_policy::duration(text).map(|it| Patience(Some(it)))
}

/// What to do with the failover window.
#[derive(Debug, ClapArgs)]
pub(crate) struct Window {
    /// What to do.
    pub(crate) act: WindowAct,
    /// Why; to open and to close, for the log.
    #[arg(long, value_name = "TEXT", required_if_eq_any([("act", "open"), ("act", "close")]))]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

/// What may be done with the failover window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WindowAct {
    /// Open it, and keep it open.
    Open,
    /// Keep it open no longer; it closes by itself.
    Close,
    /// Print whether it is open, why, and until when.
    Status,
}

/// Which of everything that is open.
#[derive(Debug, ClapArgs)]
pub(crate) struct Listed {
    /// Only what this region serves.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Only this kind: plain, upload, stream, websocket or grpc.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// At most so many, the oldest first.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// A request to explain.
#[derive(Debug, ClapArgs)]
pub(crate) struct Ask {
    /// The request's method.
    pub(crate) method: String,
    /// The request's path.
    pub(crate) path: String,
    /// A header of the request, as `Name: value`; may be given often.
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<std::net::IpAddr>,
    /// Decide here, by this policy.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The world to decide in, as `tidegate state` prints it; whatever it leaves out is green.
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: Admin,
}
