//! Thousands of streams, and everything that happens to a balancer while they are open.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tidegate_harness::{
    Balancer, Crowd, CrowdPlan, FakeRegion, Fault, Load, LoadPlan, Reuse, free_address, get,
    wait_until,
};

use crate::options::StreamOptions;
use crate::report::{self, Happened};

/// The program under test.
const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");
/// The longest wait for anything that must come.
const WITHIN: Duration = Duration::from_mins(2);
/// How often a stream that talks says something.
const GAP: Duration = Duration::from_secs(1);
/// Reloads in a row.
const RELOADS: usize = 50;
/// Upgrades in a row.
const UPGRADES: usize = 10;

/// Lets something happen, and comes back when it has.
type Event = fn(&Scene) -> io::Result<()>;

/// What may happen while streams are open. None of it may be noticed on them.
const EVENTS: [(&str, Event); 7] = [
    ("region flip", Scene::flip),
    ("region drain", Scene::drain),
    ("contract mismatch", Scene::mismatch),
    ("50 reloads", Scene::reload),
    ("upgrade", Scene::upgrade),
    ("10 upgrades", Scene::upgrade_often),
    ("crashed upgrade", Scene::upgrade_in_vain),
];

/// Lets everything happen, each to a balancer and a crowd of its own, and prints what was noticed.
pub(crate) fn measure(options: StreamOptions) -> io::Result<()> {
    let mut rows = Vec::new();
    for (event, happens) in EVENTS {
        rows.push(one(event, options, happens)?);
    }
    rows.push(stop(options)?);
    report::events(&rows);
    match rows.iter().find(|it| !it.is_smooth()) {
        None => Ok(()),
        Some(row) => Err(io::Error::other(format!("{} was noticed", row.event))),
    }
}

/// Opens a crowd and lets something happen in the middle of its silence.
fn one(event: &'static str, options: StreamOptions, happens: Event) -> io::Result<Happened> {
    let scene = Scene::new();
    let crowd = scene.crowd(options.streams);
    sleep(options.silence / 2);
    let knocks = scene.knock();
    happens(&scene)?;
    sleep(options.silence / 4);
    let knocks = knocks.stop();
    sleep(options.silence / 4);
    let row = Happened { event, crowd: crowd.finish(&scene.regions, WITHIN), knocks: Some(knocks) };
    progress(&row);
    Ok(row)
}

/// The same for the end of the balancer, which comes with the last stream's.
fn stop(options: StreamOptions) -> io::Result<Happened> {
    let scene = Scene::new();
    let crowd = scene.crowd(options.streams);
    sleep(options.silence / 2);
    scene.balancer.signal("TERM");
    sleep(options.silence / 2);
    let crowd = crowd.finish(&scene.regions, WITHIN);
    let status = scene.balancer.await_exit(WITHIN);
    if !status.success() {
        return Err(io::Error::other(format!("the balancer ended with {status}")));
    }
    let row = Happened { event: "SIGTERM", crowd, knocks: None };
    progress(&row);
    Ok(row)
}

#[expect(clippy::print_stderr, reason = "a run takes minutes, and its reader wants to see it move")]
fn progress(row: &Happened) {
    eprintln!("{}: {}", row.event, row.crowd);
}

/// Two regions and a balancer.
struct Scene {
    regions: Vec<FakeRegion>,
    balancer: Balancer,
    door: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let regions = vec![FakeRegion::start("near"), FakeRegion::start("far")];
        let door = free_address();
        let listed = regions.iter().enumerate().map(|(distance, it)| {
            let (name, address) = (it.name(), it.address());
            format!("  {name}: {{ distance: {distance}, endpoints: [\"{address}\"] }}\n")
        });
        let admin = free_address();
        let policy = format!(
            "version: 1
listeners: [ {{ bind: \"{door}\" }} ]
admin: {{ http: \"{admin}\", socket: admin.sock }}
regions:
{}contract:
  probe: {{ path: /contract, interval: 500ms, timeout: 2s, stale_after: 10s }}
  expect: {{ index_hash: a1b2c3 }}
failback: {{ after: 1ms, hysteresis: 1ms }}
ejection: off
timeouts: {{ total: 10s, body: 10s, first_byte: 120s, idle: 300s }}
routes:
  - {{ name: flows, match: {{ path: /flow }}, stream: true }}
  - {{ name: uploads, match: {{ path: /upload }}, stream: true }}
  - {{ name: plain, match: {{ path: / }} }}
",
            listed.collect::<String>()
        );
        let balancer = Balancer::start(TIDEGATE, &policy);
        let scene = Self { regions, balancer, door };
        scene.until_verdict("near", "green");
        scene.until_verdict("far", "green");
        scene
    }

    fn crowd(&self, streams: usize) -> Crowd {
        let plan = CrowdPlan { gap: GAP, ..CrowdPlan::of(streams) };
        let crowd = Crowd::open(self.door, &self.regions, plan);
        crowd.until_open(&self.regions, WITHIN);
        crowd
    }

    fn url(&self) -> String {
        format!("http://{}/", self.door)
    }

    /// Short requests on fresh connections, one after the other.
    fn knock(&self) -> Load {
        let plan = LoadPlan::get(&self.url());
        Load::start(LoadPlan { reuse: Reuse::Fresh, workers: 2, ..plan })
    }

    fn near(&self) -> io::Result<&FakeRegion> {
        self.regions.first().ok_or_else(|| io::Error::other("there is no region"))
    }

    fn until_verdict(&self, region: &str, verdict: &str) {
        wait_until(WITHIN, &format!("{region} is {verdict}"), || {
            let Ok(state) = self.balancer.ask_admin("/v1/state") else { return false };
            let state = state.json();
            let regions = state.get("regions").and_then(Value::as_array);
            let mut regions = regions.into_iter().flatten();
            let text = |it: &Value, key| it.get(key).and_then(Value::as_str).map(str::to_owned);
            regions.any(|it| {
                text(it, "name").as_deref() == Some(region)
                    && text(it, "verdict").as_deref() == Some(verdict)
            })
        });
    }

    fn until_served_by(&self, region: &str) {
        wait_until(WITHIN, &format!("{region} serves"), || {
            get(&self.url()).header("x-region") == Some(region)
        });
    }

    /// Runs the program to its end, which must be a good one.
    fn tell(&self, arguments: &[&str]) -> io::Result<()> {
        let socket = self.balancer.directory().join("admin.sock");
        let output = Command::new(TIDEGATE).args(arguments).arg("--admin").arg(socket).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{arguments:?}: {}: {said}", output.status)))
    }

    /// The region is lost, and comes back.
    fn flip(&self) -> io::Result<()> {
        let near = self.near()?;
        near.set_fault(Fault::HangContract);
        near.close_listener();
        self.until_verdict("near", "dark");
        self.until_served_by("far");
        near.clear_fault();
        self.until_served_by("near");
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        self.tell(&["drain", "near"])?;
        self.until_served_by("far");
        Ok(())
    }

    fn mismatch(&self) -> io::Result<()> {
        self.near()?.set_key("index_hash", "other");
        self.until_verdict("near", "mismatched");
        self.until_served_by("far");
        Ok(())
    }

    /// Each policy takes away what the open streams stand on.
    fn reload(&self) -> io::Result<()> {
        let path = self.balancer.policy_path();
        let text = fs::read_to_string(path)?;
        for nth in 0..RELOADS {
            reloaded(path, &text, nth)?;
            self.tell(&["reload"])?;
        }
        Ok(())
    }

    fn upgrade(&self) -> io::Result<()> {
        self.tell(&["upgrade"])
    }

    fn upgrade_often(&self) -> io::Result<()> {
        (0..UPGRADES).try_for_each(|_| self.upgrade())
    }

    /// The successor crashes: at once, and when it lacks an open file.
    fn upgrade_in_vain(&self) -> io::Result<()> {
        let crashes = ["kill -SEGV $$".to_owned(), format!("ulimit -n 24; exec {TIDEGATE} \"$@\"")];
        for crash in crashes {
            let program = self.balancer.directory().join("crashes");
            fs::write(&program, format!("#!/bin/sh\n{crash}\n"))?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let program = program.display().to_string();
            if self.tell(&["upgrade", "--binary", &program]).is_ok() {
                return Err(io::Error::other("a successor that crashes has succeeded"));
            }
            fs::remove_file(program)?;
        }
        Ok(())
    }
}

/// Writes the policy of the nth reload.
fn reloaded(path: &Path, text: &str, nth: usize) -> io::Result<()> {
    let renamed = text.replace("name: plain", &format!("name: plain{nth}"));
    let changed = match nth % 4 {
        0 => renamed.replace("first_byte: 120s, idle: 300s", "first_byte: 1s, idle: 1s"),
        1 => renamed.replace("path: /flow }, stream: true", "path: /other }"),
        2 => {
            let stays = |it: &&str| !it.starts_with("  near:");
            renamed.lines().filter(stays).collect::<Vec<_>>().join("\n")
        }
        _ => renamed.replace("  near: {", "  near: { protocol: h2c,"),
    };
    fs::write(path, changed)
}
