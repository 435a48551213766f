//! What another policy changes of the fence at once, and what it cannot.

use super::{fenced, order};
use crate::setting::Setting;

#[test]
fn another_quota_holds_from_the_reload_on() {
    let mut policy = fenced("api");
    let quota = "quota: { per_second: 1, burst: 1000 }";
    policy.more = policy.more.replace("failover_window", &format!("{quota}, failover_window"));
    let setting = Setting::of(&["near"], &policy);
    let send = |nth: u32| order(&setting, "POST", &format!("key-{nth}")).send().unwrap();
    for nth in 0..5 {
        assert_eq!(send(nth).status, 200, "{nth}");
    }
    setting.edit(quota, "quota: { per_second: 1, burst: 1 }");
    assert_eq!(setting.reload(&[]).code, Some(0));
    // The allowance may fill while a slow machine gets here.
    let refused = (5..1000).map(send).find(|it| it.status != 200).unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["code"], "fence_quota");
    setting.edit("quota: { per_second: 1, burst: 1 }, ", "");
    assert_eq!(setting.reload(&[]).code, Some(0));
    for nth in 1000..1005 {
        assert_eq!(send(nth).status, 200, "{nth}");
    }
    assert_eq!(send(0).header("idempotent-replayed"), Some("true"), "it is the same store");
}

#[test]
fn another_store_needs_a_restart_and_says_so() {
    let setting = Setting::of(&["near"], &fenced("api"));
    assert_eq!(order(&setting, "POST", "kept").send().unwrap().status, 200);
    setting.edit("./fence.db", "./other.db");
    let said = setting.reload(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("fence store: path"), "{said:?}");
    assert!(said.err.contains("cannot change this; upgrade or restart it"), "{said:?}");
    let again = order(&setting, "POST", "kept").send().unwrap();
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}
