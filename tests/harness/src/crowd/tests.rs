//! A crowd sees what it is there to see.

use super::*;
use crate::region::faults::Fault;

const SOON: Duration = Duration::from_secs(20);

fn direct(region: &FakeRegion, plan: CrowdPlan) -> Crowd {
    let crowd = Crowd::open(region.address(), std::slice::from_ref(region), plan);
    crowd.until_open(std::slice::from_ref(region), SOON);
    crowd
}

#[test]
fn streams_that_nobody_touches_are_whole() {
    let region = FakeRegion::start("us-east-1");
    let mut plan = CrowdPlan::of(64);
    plan.gap = Duration::from_millis(10);
    let crowd = direct(&region, plan);
    let began = Instant::now();
    wait_until(SOON, "they talk", || Duration::from_millis(300) < began.elapsed());
    assert!(crowd.report().streams.is_empty(), "{}", crowd.report());
    let report = crowd.finish(std::slice::from_ref(&region), SOON);
    report.assert_whole(64);
    let mut kinds: Vec<_> = report.streams.iter().map(|it| (it.kind, it.protocol)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn every_stream_that_is_cut_is_named() {
    let region = FakeRegion::start("us-east-1");
    let crowd = direct(&region, CrowdPlan::of(40));
    region.close_connections();
    wait_until(SOON, "all are cut", || crowd.report().streams.len() == 40);
    let report = crowd.finish(std::slice::from_ref(&region), SOON);
    assert_eq!(report.counts().0, 0, "{report}");
    assert_eq!(report.broken().len(), 40, "{report}");
    assert!(report.to_string().contains("WebSocket over Http1"), "{report}");
}

#[test]
fn a_stream_that_does_not_end_counts_as_cut() {
    let region = FakeRegion::start("us-east-1");
    let crowd = direct(&region, CrowdPlan { only: Some(Kind::Events), ..CrowdPlan::of(3) });
    // Nobody tells the region that its flows are to end.
    let report = crowd.finish(&[], Duration::from_millis(200));
    assert_eq!(report.counts(), (0, 3, 0), "{report}");
}

#[test]
fn a_stream_that_is_refused_is_not_called_cut() {
    let region = FakeRegion::start("us-east-1");
    region.set_fault(Fault::Status(503));
    let plan = CrowdPlan { only: Some(Kind::Download), ..CrowdPlan::of(2) };
    let crowd = Crowd::open(region.address(), &[], plan);
    wait_until(SOON, "both are answered", || crowd.report().streams.len() == 2);
    let report = crowd.finish(&[], SOON);
    assert_eq!(report.counts(), (2, 0, 0), "{report}");
}
