//! Listeners come and go with the policy, and streams on the ones that go end by themselves.

use std::net::TcpStream;

use tidegate_harness::{Load, LoadPlan, Request, free_address, wait_until};

use crate::setting::{PolicyText, SOON, Setting};

#[test]
fn listeners_come_and_go_while_streams_run() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let (first, second) = (setting.door, free_address());
    let bind = |address| format!("bind: \"{address}\"");
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    setting.edit(&bind(first), &format!("{} }}, {{ {}", bind(first), bind(second)));
    let said = setting.reload(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(&format!("listener {second}: added")), "{said:?}");
    let get = Request::get(&format!("http://{second}/"));
    assert_eq!(get.send().expect("the new listener answers").status, 200);

    let url = format!("http://{second}/sse?events=30&gap_ms=50");
    let mut stream = Request::get(&url).stream().expect("a stream");
    assert!(stream.read_event().expect("it begins").is_some());
    setting.edit(&format!("{} }}, {{ {}", bind(first), bind(second)), &bind(first));
    let said = setting.reload(&[]);
    assert!(said.out.contains(&format!("listener {second}: removed")), "{said:?}");
    wait_until(SOON, "the listener is gone", || TcpStream::connect(second).is_err());
    let mut events = 1;
    while stream.read_event().expect("the stream goes on").is_some() {
        events += 1;
    }
    assert_eq!(events, 30, "and ends whole");

    setting.edit(&bind(first), &format!("{} }}, {{ {}", bind(first), bind(second)));
    assert_eq!(setting.reload(&[]).code, Some(0));
    assert_eq!(get.send().expect("it is back").status, 200);
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.by_status().into_keys().collect::<Vec<_>>(), [200]);
}

#[test]
fn the_only_listener_can_move() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let (first, second) = (setting.door, free_address());
    setting.edit(&first.to_string(), &second.to_string());
    assert_eq!(setting.reload(&["--confirm-within", "1h"]).code, Some(0));
    let status = |address| Request::get(&format!("http://{address}/")).send().map(|it| it.status);
    assert_eq!(status(second).expect("it answers"), 200);
    wait_until(SOON, "the old one is gone", || TcpStream::connect(first).is_err());
    assert_eq!(setting.settle("rollback").code, Some(0));
    assert_eq!(status(first).expect("it is back"), 200);
    wait_until(SOON, "the new one is gone", || TcpStream::connect(second).is_err());
}
