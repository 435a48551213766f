//! Several balancers on one Redis, one of them cut off from it: at no time are two regions written to
//! under one epoch, and none after another one.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;
use tidegate_harness::{
    Balancer, FakeRegion, Network, Redis, RedisPlan, Request, TempDir, free_port, say_skipped,
    wait_until,
};

use crate::setting::{SOON, TIDEGATE, in_short, tidegate};

/// Where the test lives in its network, and so the regions and the first balancer.
const HUB: [u8; 4] = [10, 77, 0, 254];

/// Writes on either side that make a drill.
const ENOUGH: usize = 50;

/// One balancer, and where it is.
struct Node {
    balancer: Balancer,
    door: SocketAddr,
    _script: Option<TempDir>,
}

struct Fleet {
    network: Network,
    redis: Redis,
    regions: [FakeRegion; 2],
    nodes: Vec<Node>,
}

fn policy(door: SocketAddr, redis: &Redis, regions: &[FakeRegion; 2]) -> String {
    let admin = SocketAddr::new(door.ip(), free_port());
    let [east, west] = regions.each_ref().map(FakeRegion::address);
    format!(
        "version: 1\nlisteners: [ {{ bind: \"{door}\" }} ]\n\
         admin: {{ http: \"{admin}\", socket: admin.sock }}\n\
         regions:\n  east: {{ distance: 0, endpoints: [\"{east}\"] }}\n  \
         west: {{ distance: 80, endpoints: [\"{west}\"] }}\n\
         contract: {{ probe: {{ path: /contract, interval: 1s, stale_after: 1m }} }}\n\
         ejection: off\n\
         fence: {{ store: {{ redis: {{ topology: standalone, nodes: [\"{}\"] }} }} }}\n\
         ownership: {{ mode: active_active, lease: 3s, partitions: {{ map: {{ a: east }} }} }}\n\
         routes: [ {{ name: all, partition: {{ header: X-Tenant }} }} ]\n",
        redis.address()
    )
}

impl Fleet {
    /// So many balancers: the first at the switch, each other at a place of its own; the Redis is at
    /// the first place.
    fn of(count: u8) -> Result<Self, String> {
        let network = Network::enter(count)?;
        let plan = RedisPlan::durable().bind(network.address(0)).through(&network.words(0));
        let redis = Redis::start(&plan);
        let hub = IpAddr::from(HUB);
        let regions = ["east", "west"]
            .map(|name| FakeRegion::start_at(name, SocketAddr::new(hub, free_port())));
        let mut nodes = Vec::new();
        for place in 0..usize::from(count) {
            let (script, exe, address) = if place == 0 {
                (None, TIDEGATE.to_owned(), hub)
            } else {
                let script = TempDir::new();
                let words = network.words(place).join(" ");
                let text = format!("#!/bin/sh\nexec {words} {TIDEGATE} \"$@\"\n");
                let path = script.write("balancer.sh", &text);
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&path, mode).expect("it is ours");
                (Some(script), path.display().to_string(), network.address(place))
            };
            let door = SocketAddr::new(address, free_port());
            let balancer = Balancer::start(&exe, &policy(door, &redis, &regions));
            nodes.push(Node { balancer, door, _script: script });
        }
        let fleet = Self { network, redis, regions, nodes };
        let socket = fleet.socket();
        assert_eq!(tidegate(&["fence", "init", "--admin", &socket]).code, Some(0));
        for node in 0..fleet.nodes.len() {
            wait_until(SOON, "it writes", || fleet.write(node, "first").starts_with("east owner"));
        }
        Ok(fleet)
    }

    /// The admin socket of the first balancer.
    fn socket(&self) -> String {
        self.nodes[0].balancer.directory().join("admin.sock").display().to_string()
    }

    /// What a write through one of the balancers comes to.
    fn write(&self, node: usize, key: &str) -> String {
        let request = Request::post(&format!("http://{}/write", self.nodes[node].door), "ten");
        let request = request.header("X-Tenant", "a").header("Idempotency-Key", key);
        request.send().map_or_else(|error| error.to_string(), |reply| in_short(&reply))
    }

    fn ownership(&self, node: usize) -> Value {
        self.nodes[node].balancer.ask_admin("/v1/ownership").expect("an answer").json()
    }

    /// Cuts the last balancer off from the store, and from nothing else, or mends that.
    fn cut(&self, verb: &str) {
        let last = self.network.words(self.nodes.len() - 1);
        let store = format!("{}/32", self.redis.address().ip());
        let mut words: Vec<&str> = last.to_vec();
        words.extend(["ip", "route", verb, "blackhole", &store]);
        let done = std::process::Command::new(words[0]).args(&words[1..]).status();
        assert!(done.expect("it runs").success(), "{words:?}");
    }

    /// How many writes a region has carried out.
    fn count(&self, region: &str) -> usize {
        self.written().iter().filter(|it| it.1 == region).count()
    }

    /// All writes that were carried out: when, where, and under which epoch.
    fn written(&self) -> Vec<(Instant, &str, u64)> {
        let of = |region: &FakeRegion| {
            let lines = region.written().into_iter();
            lines.map(|it| (it.at, it.epoch.expect("every write has one"))).collect::<Vec<_>>()
        };
        let [east, west] = &self.regions;
        let mut all: Vec<(Instant, &str, u64)> = Vec::new();
        all.extend(of(east).into_iter().map(|(at, epoch)| (at, "east", epoch)));
        all.extend(of(west).into_iter().map(|(at, epoch)| (at, "west", epoch)));
        all.sort_unstable();
        all
    }
}

/// Ends those who write, also when the test fails.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets every balancer write all the time while the last one is cut off and the partition moves.
fn drill(count: u8) {
    let fleet = match Fleet::of(count) {
        Ok(fleet) => fleet,
        Err(why) => return say_skipped("balancers in networks of their own", &why),
    };
    let last = fleet.nodes.len() - 1;
    let (is_over, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for node in 0..fleet.nodes.len() {
            let (fleet, is_over, turns) = (&fleet, &is_over, &turns);
            threads.spawn(move || {
                // Bounded, should the test be stuck.
                while !is_over.load(Ordering::Relaxed) && turns.load(Ordering::Relaxed) < 100_000 {
                    let turn = turns.fetch_add(1, Ordering::Relaxed);
                    fleet.write(node, &format!("{node}-{turn}"));
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
        }
        let _over = Over(&is_over);
        wait_until(SOON, "many write to the owner", || ENOUGH < fleet.count("east"));
        fleet.cut("add");
        let socket = fleet.socket();
        let words = ["ownership", "move", "a", "--to", "west", "--reason", "drill"];
        let moved = tidegate(&[&words[..], &["--admin", &socket]].concat());
        assert_eq!(moved.code, Some(0), "{moved:?}");
        let moving = || fleet.write(0, "moving") == "503 ownership_moving";
        wait_until(SOON, "somebody is cut off, and may write yet", moving);
        let unsure = || fleet.write(last, "late") == "503 ownership_unsure";
        wait_until(SOON, "the one that is cut off stops by itself", unsure);
        for node in 0..last {
            let goes = || fleet.write(node, "after") == "west owner";
            wait_until(SOON, "the others write to the new owner", goes);
        }
        assert!(unsure(), "the one that is cut off writes nothing");
        assert_eq!(fleet.ownership(last)["leased"], false);
        fleet.cut("del");
        let goes = || fleet.write(last, "back") == "west owner";
        wait_until(SOON, "the one that was cut off has learnt of it", goes);
        wait_until(SOON, "many write to the next one", || ENOUGH < fleet.count("west"));
    });
    let written = fleet.written();
    let mut regions: BTreeMap<u64, &str> = BTreeMap::new();
    for (_, region, epoch) in &written {
        let of_epoch = regions.entry(*epoch).or_insert(region);
        assert_eq!(of_epoch, region, "two owners under epoch {epoch}");
    }
    assert_eq!(regions.values().copied().collect::<Vec<_>>(), ["east", "west"]);
    let turned = written.iter().position(|it| it.1 == "west").expect("it was written to");
    let late = written[turned..].iter().filter(|it| it.1 == "east").count();
    assert_eq!(late, 0, "of {} writes, {late} went to the former owner late", written.len());
}

#[test]
fn of_two_balancers_one_is_cut_off() {
    drill(2);
}

#[test]
fn of_three_balancers_one_is_cut_off() {
    drill(3);
}
