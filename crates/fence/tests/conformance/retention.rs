//! Records are remembered for their time, and no shorter.

use std::time::Duration;

use tidegate_core::fence::retention::Retention;
use tidegate_fence::Ask;

use crate::place::{Place, answer, ask, begin, brief, clock, key, told, until, win};

const SOON: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_hours(1);

fn kept(completed: Duration, in_doubt: Duration) -> Ask {
    Ask { retention: Retention::unchecked(completed, in_doubt), ..ask() }
}

pub(crate) async fn answers_are_forgotten_after_their_time(place: &Place) {
    let (fence, soon, late) = (place.fence().await, key(), key());
    begin(&fence, soon, &kept(SOON, LONG)).await.complete(answer(200, b"")).await;
    begin(&fence, late, &kept(LONG, LONG)).await.complete(answer(200, b"")).await;
    until(&fence, soon, |held| {
        assert!(held.is_none_or(|it| clock() < it.expires.plus(Duration::from_secs(1))));
        held.is_none()
    })
    .await;
    win(&fence, soon, &ask()).await.begin().expect("in time").complete(answer(200, b"")).await;
    assert_eq!(told(&fence, late, &ask()).await, "done");
    assert_eq!(fence.tally().unsafe_expiries.get(), 0);
}

pub(crate) async fn a_forgotten_doubt_is_counted(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let ask = Ask { retention: kept(LONG, SOON).retention, ..brief() };
    drop(begin(&fence, key, &ask).await);
    until(&fence, key, |held| held.is_none()).await;
    while fence.tally().unsafe_expiries.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fence.tally().unsafe_expiries.get(), 1);
}

pub(crate) async fn nothing_is_forgotten_while_a_window_is_open(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    fence.set_window_open(true);
    // The store hears of it with the next maintenance.
    let heard = async || {
        let probe = crate::place::key();
        begin(&fence, probe, &kept(SOON, LONG)).await.complete(answer(200, b"")).await;
        tokio::time::sleep(SOON * 2).await;
        fence.show(probe).await.expect("it answers").is_some()
    };
    while !heard().await {}
    begin(&fence, key, &kept(SOON, LONG)).await.complete(answer(200, b"")).await;
    tokio::time::sleep(SOON * 3).await;
    assert_eq!(told(&fence, key, &ask()).await, "done");
    fence.set_window_open(false);
    until(&fence, key, |held| held.is_none()).await;
}
