//! Users, passwords and certificates.

use tidegate_core::fence::record::Doubt;
use tidegate_core::fence::rules::{Knows, Resolution, Resolved};
use tidegate_core::policy::fencing::{RedisNode, RedisPassword, RedisRules, RedisTls};
use tidegate_fence::redis::How;
use tidegate_fence::store::{Audit, Check, Filter};
use tidegate_harness::{Redis, RedisPlan};

use crate::rig::{Rig, ask, found, key, run, standalone};

/// All that a fence needs.
const RIGHTS: &str = "~fence:* -@all +@read +@write +@connection -@dangerous +eval +evalsha +info \
    +time +wait +cluster|slots";
const README: &str = include_str!("../../../../README.md");

fn signed_in(rules: RedisRules, user: &str, password: &str) -> RedisRules {
    RedisRules { user: Some(user.into()), password: Some(RedisPassword(password.into())), ..rules }
}

#[test]
fn a_wrong_password_is_named_and_not_shown() {
    run(async {
        let plan = RedisPlan::durable().user("fence", "right", RIGHTS);
        let server = Redis::start(&plan);
        let rules = signed_in(standalone(&server), "fence", "not-the-password");
        let error = found(&rules, How::First).await.expect_err("it is wrong").to_string();
        assert!(error.contains("WRONGPASS") && !error.contains("not-the-password"), "{error}");
        let rig = Rig::patient(&rules);
        rig.until_told("access").await;
        rig.until_seen(Check::Access, "WRONGPASS").await;
        assert!(!format!("{rules:?} {:?}", rig.fence).contains("not-the-password"));
    });
}

#[test]
fn a_user_with_few_rights_is_enough() {
    run(async {
        let plan = RedisPlan::durable().password("other").user("fence", "secret", RIGHTS);
        let server = Redis::start(&plan);
        let rules = signed_in(standalone(&server), "fence", "secret");
        let (rig, written, doubted) = (Rig::founded(&rules).await, key(), key());
        rig.write(written).await;
        rig.win(doubted).await.begin().expect("in time").doubt(Doubt::NoAnswer).await;
        assert_eq!(rig.fence.list(Filter::InDoubt, 10).await.expect("it answers").len(), 1);
        assert_eq!(rig.fence.gauges().await.expect("it answers").in_doubt, 1);
        let owner = rig.fence.show(doubted).await.expect("it answers").expect("a record").owner;
        let resolution = Resolution {
            owner,
            knows: Knows::Executed,
            quarantine: std::time::Duration::ZERO,
            owner_is_dead: false,
        };
        let audit = Audit { who: "ops".to_owned(), reason: "saw it".to_owned() };
        let resolved = rig.fence.resolve(doubted, resolution, ask().retention, audit).await;
        assert_eq!(resolved, Ok(Resolved::Stored));
        assert_eq!(rig.fence.audit(10).await.expect("it answers").len(), 1);
        assert_eq!(rig.told(doubted).await, "done");
    });
}

#[test]
fn the_rights_that_operators_are_told_of_are_enough_and_few() {
    assert!(README.contains(&RIGHTS.replace("~fence:", "~tidegate:")), "README has others");
    let server = Redis::start(&RedisPlan::durable().user("fence", "secret", RIGHTS));
    let may = |words: &[&str]| {
        let asked = server.command(&[&["ACL", "DRYRUN", "fence"], words].concat());
        asked.text() == "OK"
    };
    assert!(may(&["CLUSTER", "SLOTS"]) && may(&["WAIT", "1", "50"]) && may(&["SCAN", "0"]));
    for words in [
        &["FLUSHALL"][..],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["GET", "other"],
        &["CLUSTER", "RESET"],
        &["SCRIPT", "FLUSH"],
        &["ACL", "LIST"],
    ] {
        assert!(!may(words), "{words:?}");
    }
}

#[test]
fn connections_are_encrypted_and_both_ends_are_known() {
    run(async {
        let server = Redis::start(&RedisPlan::durable().mutual_tls());
        let files = server.certificates().expect("certificates");
        let port = server.tls_address().expect("a port for TLS").port();
        let by = |tls: RedisTls| RedisRules {
            nodes: vec![RedisNode { host: "localhost".into(), port }],
            tls: Some(tls),
            ..standalone(&server)
        };
        let client = Some((files.client.clone(), files.client_key.clone()));
        let known = by(RedisTls { ca: Some(files.ca.clone()), client });
        let rig = Rig::founded(&known).await;
        rig.write(key()).await;
        let nobody = by(RedisTls { ca: Some(files.ca.clone()), client: None });
        assert!(found(&nobody, How::First).await.is_err(), "it wants to know who we are");
        let stranger = by(RedisTls { ca: Some(files.client.clone()), client: None });
        let error = found(&stranger, How::First).await.expect_err("nobody believes it");
        assert!(error.to_string().contains("ertificate"), "{error}");
    });
}
