//! A Redis that dies or hangs under load costs fenced writes while it is away, and nothing else.
#![expect(clippy::disallowed_methods, reason = "what clients wait for is real time")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_harness::{Load, LoadPlan, LoadReport, Redis, RedisPlan, Reply, wait_until};

use super::{is_replay, order};
use crate::setting::{PolicyText, SOON, Setting, tidegate};
use crate::traffic::{is_problem, still};

const WRITERS: usize = 4;
/// How long a writer rests.
const PAUSE: Duration = Duration::from_millis(5);
/// A call of the store ends after 250 ms. What takes as long as this did not wait for the store.
const LATE: Duration = Duration::from_secs(1);
/// While reads, which ask no store, take as long as this, the machine itself is late.
const BUSY: Duration = Duration::from_millis(300);

/// A write that was tried, and what came of it.
struct Tried {
    key: String,
    reply: Reply,
    took: Duration,
}

/// Writes under keys of their own until `is_over`.
fn write(setting: &Setting, writer: usize, is_over: &AtomicBool, tried: &Mutex<Vec<Tried>>) {
    for nth in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let (key, began) = (format!("gone-{writer}-{nth}"), Instant::now());
        let reply = order(setting, "POST", &key).send().unwrap();
        tried.lock().unwrap().push(Tried { key, reply, took: began.elapsed() });
        thread::sleep(PAUSE);
    }
}

/// Kills the server, and stops it in its tracks, twice each; goes on as soon as writers notice.
fn comes_and_goes(redis: &Redis, tried: &Mutex<Vec<Tried>>) {
    let seen = AtomicUsize::new(0);
    let until = |what: &str, status: u16, count: usize| {
        wait_until(SOON, what, || {
            let tried = tried.lock().unwrap();
            let now = tried.iter().skip(seen.load(Ordering::Relaxed));
            now.filter(|it| it.reply.status == status).count() >= count
        });
        seen.store(tried.lock().unwrap().len(), Ordering::Relaxed);
    };
    until("writes are done", 200, 50);
    for _ in 0..2 {
        redis.kill();
        until("writes are refused without a store", 503, 150);
        redis.restart();
        until("writes are done again", 200, 50);
        redis.pause();
        until("writes are refused while the store hangs", 503, 150);
        redis.resume();
        until("writes are done after all", 200, 50);
    }
}

/// The policy, with a store that somebody has founded.
fn founded(redis: &Redis) -> Setting {
    let store = format!("redis: {{ topology: standalone, nodes: [\"{}\"] }}", redis.address());
    let setting = Setting::of(
        &["near"],
        &PolicyText {
            routes: "  - { name: orders, match: { path: / }, fence: api }".to_owned(),
            ..still(&format!("fence: {{ store: {{ {store} }} }}"))
        },
    );
    let said = tidegate(&["fence", "init", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    setting
}

/// Whatever was told to writers is true of the region and of the store.
fn is_true(setting: &Setting, tried: &[Tried]) {
    for Tried { key, reply, .. } in tried {
        let (received, executed) = setting.effects(key);
        if reply.status == 200 {
            assert_eq!((received, executed), (1, 1), "{key}");
            // The store may have been told later, and not know the answer yet.
            let again = || order(setting, "POST", key).send().unwrap();
            wait_until(SOON, "its answer is known", || again().status == 200);
            is_replay(&again(), reply);
            assert_eq!(setting.effects(key), (1, 1), "{key}");
        } else {
            is_problem(reply, 503, "fence_store_down");
            assert_eq!((received, executed), (0, 0), "{key}");
        }
    }
}

/// Nobody has waited for the store for longer than it may take, if the machine was not late itself.
fn is_in_time(setting: &Setting, tried: &[Tried], reads: &LoadReport) {
    let series = |it: &str| format!("tidegate_fence_store_seconds_{it}");
    let claims = setting.metric(&series("count{operation=\"claim\"}"));
    let within = |bound: &str| {
        setting.metric(&series(&format!("bucket{{le=\"{bound}\",operation=\"claim\"}}")))
    };
    assert!(0.0 < within("1.0") && 0.0 < claims, "they are counted");
    let late: Vec<_> = tried.iter().filter(|it| LATE <= it.took).map(|it| it.took).collect();
    if reads.longest() < BUSY {
        assert!(late.is_empty(), "{late:?}");
        assert!(claims - within("1.0") < 0.5, "{} of {claims} within 1 s", within("1.0"));
    }
}

#[test]
fn a_redis_that_comes_and_goes_costs_writes_only_and_only_for_as_long() {
    let redis = Redis::start(&RedisPlan::durable().setting("appendfsync", "always"));
    let setting = founded(&redis);
    let (pid, is_over, tried) = (setting.balancer.pid(), AtomicBool::new(false), Mutex::default());
    let reads = Load::start(LoadPlan::get(&setting.url("/")));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (setting, is_over, tried) = (&setting, &is_over, &tried);
            scope.spawn(move || write(setting, writer, is_over, tried));
        }
        let breaking = scope.spawn(|| comes_and_goes(&redis, &tried));
        let came = breaking.join();
        is_over.store(true, Ordering::Relaxed);
        came.unwrap();
    });
    let (reads, tried) = (reads.stop(), tried.into_inner().unwrap());
    reads.assert_smooth();
    is_in_time(&setting, &tried, &reads);
    is_true(&setting, &tried);
    assert_eq!(setting.balancer.serving_pid(), pid, "nothing was restarted");
}
