//! Each kind of server starts, does what its plan says, and survives what tests do to it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Redis;
use super::cluster::RedisCluster;
use super::plan::RedisPlan;
use super::resp::{RedisConnection, RedisReply};
use super::sentinels::RedisSentinels;

fn number(redis: &Redis, words: &[&str]) -> Option<i64> {
    redis.command(words).number()
}

#[test]
fn a_server_keeps_its_data_over_a_kill_only_if_it_writes_it_down() {
    let durable = Redis::start(&RedisPlan::durable());
    let forgetful = Redis::start(&RedisPlan::default());
    for redis in [&durable, &forgetful] {
        assert_eq!(redis.command(&["SET", "k", "v"]).text(), "OK");
    }
    // Everything up to here is in the kernel's cache, which a kill leaves alone.
    durable.restart();
    forgetful.restart();
    assert_eq!(durable.command(&["GET", "k"]).text(), "v");
    assert_eq!(forgetful.command(&["GET", "k"]), RedisReply::Nil);
    durable.restart_empty();
    assert_eq!(durable.command(&["GET", "k"]), RedisReply::Nil);
}

#[test]
fn a_paused_server_answers_nothing_until_it_goes_on() {
    let redis = Redis::start(&RedisPlan::default());
    let mut connection = redis.connect().unwrap();
    connection.set_timeout(Duration::from_millis(100)).unwrap();
    redis.pause();
    assert!(connection.command(&["PING"]).is_err());
    redis.resume();
    assert!(redis.answers());
    redis.kill();
    assert!(!redis.answers());
}

#[test]
fn users_and_passwords_are_asked_for() {
    let plan = RedisPlan::default().password("secret").user("fence", "pw", "~f:* +@all");
    let redis = Redis::start(&plan);
    let mut stranger = RedisConnection::open(redis.address()).unwrap();
    assert!(stranger.command(&["GET", "k"]).unwrap().text().starts_with("NOAUTH"));
    assert!(stranger.command(&["AUTH", "fence", "no"]).unwrap().ok().is_err());
    assert!(stranger.command(&["AUTH", "fence", "pw"]).unwrap().ok().is_ok());
    assert!(stranger.command(&["SET", "other", "1"]).unwrap().text().starts_with("NOPERM"));
    assert_eq!(stranger.command(&["SET", "f:1", "1"]).unwrap().text(), "OK");
    assert_eq!(redis.command(&["GET", "f:1"]).text(), "1");
}

#[test]
fn settings_reach_the_server() {
    let redis = Redis::start(&RedisPlan::durable().setting("maxmemory", "40mb").min_replicas(1));
    assert_eq!(redis.info("maxmemory_policy").as_deref(), Some("noeviction"));
    assert_eq!(redis.info("aof_enabled").as_deref(), Some("1"));
    assert!(redis.command(&["SET", "k", "v"]).text().starts_with("NOREPLICAS"));
}

#[test]
fn a_client_that_trusts_the_authority_speaks_tls() {
    let redis = Redis::start(&RedisPlan::default().mutual_tls());
    let files = redis.certificates().expect("certificates");
    let port = redis.tls_address().expect("a port for TLS").port().to_string();
    let ping = |certificate: &[(&str, &Path)]| {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "localhost", "-p", &port, "--tls", "--cacert"]).arg(&files.ca);
        for (name, path) in certificate {
            command.arg(name).arg(path);
        }
        let output = command.arg("PING").stdin(Stdio::null()).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_ne!(ping(&[]), "PONG");
    assert_eq!(ping(&[("--cert", &files.client), ("--key", &files.client_key)]), "PONG");
}

#[test]
fn sentinels_promote_a_replica_when_the_master_dies() {
    let plan = RedisPlan::durable().password("secret").down_after_ms(500);
    let group = RedisSentinels::start(&plan);
    let old = group.master_address().expect("a master");
    let master = group.master().expect("it is one of ours");
    let mut connection = master.connect().unwrap();
    connection.command(&["SET", "k", "v"]).unwrap();
    // How many replicas have it within two seconds.
    assert!(Some(1) <= connection.command(&["WAIT", "1", "2000"]).unwrap().number());
    master.kill();
    group.until_promoted(old);
    assert_eq!(group.master().expect("a new master").command(&["GET", "k"]).text(), "v");
    group.servers.iter().find(|it| it.address() == old).expect("the old one").restart();
    group.until_settled();
}

#[test]
fn a_cluster_serves_every_slot_and_survives_the_loss_of_a_master() {
    let cluster = RedisCluster::start(&RedisPlan::durable(), 1);
    let lost = cluster.master_of("a").expect("somebody owns it");
    assert_eq!(lost.command(&["SET", "a", "1"]).text(), "OK");
    let other = cluster.nodes.iter().find(|it| it.address() != lost.address()).expect("another");
    assert!(other.command(&["SET", "a", "1"]).text().starts_with("MOVED"));
    // The replica has it before its master dies.
    let mut connection = lost.connect().unwrap();
    connection.command(&["SET", "a", "2"]).unwrap();
    assert_eq!(connection.command(&["WAIT", "1", "2000"]).unwrap().number(), Some(1));
    lost.kill();
    cluster.until_moved("a", lost.address());
    cluster.until_settled();
    let now = cluster.master_of("a").expect("somebody owns it");
    assert_eq!(now.command(&["GET", "a"]).text(), "2");
    assert_eq!(number(now, &["EXISTS", "a"]), Some(1));
    lost.restart();
    cluster.until_copied();
}
