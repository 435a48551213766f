//! The stage of a campaign against our own fence: regions, a balancer, a store, and their mishaps.

pub(crate) mod parted;
pub(crate) mod topology;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::topology::Topology;
use crate::campaign::{Campaign, CampaignPlan, Nemesis};
use crate::history::Judgement;
use crate::ports::free_address;
use crate::process::Balancer;
use crate::region::FakeRegion;
use crate::region::book::PATH;

/// How long endpoints take between what they do and their answer.
const THINKING: Duration = Duration::from_millis(40);
/// The admin socket, in the directory of the balancer.
const SOCKET: &str = "admin.sock";

/// Two regions, a balancer in front of them that fences every write, and its store.
#[derive(Debug)]
pub struct Scene {
    /// Nearest first.
    pub regions: Vec<FakeRegion>,
    /// It is killed and started again in the same directory.
    pub balancer: Balancer,
    /// Where traffic comes in.
    pub door: SocketAddr,
    /// Where it remembers writes.
    pub topology: Topology,
    exe: String,
    policy: String,
}

/// What a campaign came to.
#[derive(Debug)]
pub struct Played {
    /// What the history says.
    pub judgement: Judgement,
    /// What was broken how often, and what clients were told, in a line each.
    pub notes: String,
}

impl Scene {
    /// Starts everything around the program `exe`.
    #[track_caller]
    pub fn start(exe: &str, topology: Topology) -> Self {
        let regions = thinking_regions(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let door = free_address();
        let policy = policy_text((door, free_address()), &regions, &topology);
        let balancer = Balancer::start(exe, &policy);
        let scene = Self { regions, balancer, door, topology, exe: exe.to_owned(), policy };
        if scene.topology.wants_founding() {
            tells(&scene.exe, &scene.balancer, &["fence", "init"]);
        }
        scene
    }

    /// Sends a campaign while everything breaks that can, and judges what came of it.
    #[track_caller]
    pub fn played(&self, plan: &CampaignPlan) -> Played {
        self.played_with(plan, |nemesis| {
            let calm = Calm::default();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while nemesis.rests(300..1500) {
                        self.topology.breaks(nemesis, &calm);
                    }
                });
                while nemesis.rests(50..400) {
                    calm.unless_master_is_lost(|| self.breaks(nemesis));
                }
            });
            nemesis.causes("gathering", || self.topology.until_settled());
        })
    }

    /// The same, with somebody else who breaks things.
    #[track_caller]
    pub fn played_with(&self, plan: &CampaignPlan, breaks: impl FnOnce(&Nemesis) + Send) -> Played {
        Stage { doors: &[self.door], regions: &self.regions }.played(plan, breaks)
    }

    /// One of the things that go wrong with a balancer and its endpoints.
    pub fn breaks(&self, nemesis: &Nemesis) {
        let region = self.regions.first().expect("there are two");
        match nemesis.number(0..10) {
            0..=3 => nemesis.causes("balancer killed", || self.balancer.restart()),
            4 => nemesis.causes("balancer stopped", || {
                self.balancer.signal("STOP");
                for_ms(nemesis.number(50..900));
                self.balancer.signal("CONT");
            }),
            5 => nemesis.causes("reload storm", || reloads(&self.balancer, &self.policy)),
            6 => nemesis.causes("upgraded, then both killed", || {
                tells(&self.exe, &self.balancer, &["upgrade"]);
                // Both may have writes under way.
                for_ms(nemesis.number(0..600));
                self.balancer.restart();
            }),
            7 => nemesis.causes("connections of the endpoint reset", || {
                region.reset_connections();
            }),
            8 => nemesis.causes("connections of the endpoint closed", || {
                region.close_connections();
            }),
            _ => nemesis.causes("endpoint gone", || {
                region.stop();
                for_ms(nemesis.number(50..500));
                region.resume();
            }),
        }
    }
}

/// Keeps a balancer alive while its store changes places.
///
/// Sentinels and clusters take the best replica that they know of, and it may lack the last moments.
/// The balancer that remembers them writes them again; if it dies together with the master, they are
/// lost, and nothing but a second store helps. That is a limit of the fence, and no fault.
#[derive(Debug, Default)]
pub(crate) struct Calm(Mutex<()>);

impl Calm {
    /// How long a balancer has lived before, and lives afterwards.
    const AROUND_MS: u64 = 1500;

    /// Breaks something else, now or when the store has its new master.
    pub(crate) fn unless_master_is_lost(&self, breaks: impl FnOnce()) {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        breaks();
    }

    /// Takes a master away.
    pub(crate) fn while_master_is_lost(&self, loses: impl FnOnce()) {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for_ms(Self::AROUND_MS);
        loses();
        for_ms(Self::AROUND_MS);
    }
}

/// Where clients knock, and who writes down what is executed.
struct Stage<'s> {
    doors: &'s [SocketAddr],
    regions: &'s [FakeRegion],
}

impl Stage<'_> {
    #[track_caller]
    fn played(&self, plan: &CampaignPlan, breaks: impl FnOnce(&Nemesis) + Send) -> Played {
        let campaign = plan.run_at(self.doors, breaks);
        let regions: Vec<_> = self.regions.iter().collect();
        let judgement = campaign.history(&regions).judge();
        let notes = format!("seed {}: {}", plan.seed, notes(&campaign, &judgement));
        Played { judgement, notes }
    }
}

/// Two regions that take so long that a kill finds many writes executed and not answered.
#[track_caller]
fn thinking_regions(at: IpAddr) -> Vec<FakeRegion> {
    let start = |name| FakeRegion::start_at(name, SocketAddr::new(at, 0));
    let regions: Vec<_> = ["near", "far"].map(start).into();
    for region in &regions {
        region.set_latency(THINKING);
    }
    regions
}

fn reloads(balancer: &Balancer, policy: &str) {
    for turn in 0..15 {
        let text = format!("{policy}# turn {turn}\n");
        fs::write(balancer.policy_path(), text).expect("it can be written");
        balancer.signal("HUP");
        for_ms(10);
    }
}

/// Tells a balancer something on the command line.
#[track_caller]
fn tells(exe: &str, balancer: &Balancer, words: &[&str]) {
    let output = Command::new(exe)
        .args(words)
        .arg("--admin")
        .arg(balancer.directory().join(SOCKET))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", balancer.logs());
}

/// Lets time pass while something is broken.
pub(crate) fn for_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn policy_text(
    (door, admin): (SocketAddr, SocketAddr),
    regions: &[FakeRegion],
    topology: &Topology,
) -> String {
    let listed = regions.iter().enumerate().map(|(place, it)| {
        let (name, address, distance) = (it.name(), it.address(), place * 80);
        format!("  {name}: {{ distance: {distance}, endpoints: [\"{address}\"] }}\n")
    });
    let listed = listed.collect::<String>();
    let (route, fence) = match topology.store() {
        Some(store) => {
            let fence = format!("fence: {{ store: {store}, failover_window: 15m }}\n");
            ("fence: api, ", fence)
        }
        None => ("", String::new()),
    };
    format!(
        "version: 1\nlisteners: [ {{ bind: \"{door}\" }} ]\n\
         admin: {{ http: \"{admin}\", socket: {SOCKET} }}\n\
         regions:\n{listed}\
         contract:\n  probe: {{ path: /contract, interval: 200ms, timeout: 500ms }}\n\
         \x20 expect: {{ index_hash: a1b2c3, schema_rev: sc-12 }}\n\
         failback: {{ after: 1ms, hysteresis: 1ms }}\nejection: off\n{fence}\
         routes:\n  - {{ name: writes, match: {{ path: {PATH} }}, {route}\
         timeouts: {{ first_byte: 400ms, idle: 400ms, total: 1s }} }}\n\
         \x20 - {{ name: all, match: {{ path: / }} }}\n"
    )
}

fn notes(campaign: &Campaign, judgement: &Judgement) -> String {
    let causes: Vec<_> = campaign.troubles().map(|it| it.what.as_str()).collect();
    let mut kinds = causes.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let count = |kind: &str| causes.iter().filter(|it| **it == kind).count();
    let shown: Vec<_> = kinds.iter().map(|it| format!("{it} ×{}", count(it))).collect();
    let (answered, reads) = campaign.reads();
    let (shown, told) = (shown.join(", "), &judgement.counts.told);
    format!("{shown}; {answered} of {reads} reads answered\n{told:?}")
}
