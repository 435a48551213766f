//! Duplicates wait for the answer to the first request, as long as they are patient.

use std::time::Duration;

use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::State;
use tidegate_core::fence::rules::Claimed;
use tidegate_fence::{Ask, Claim, Fence};
use tokio::task::JoinSet;

use crate::place::{Place, answer, ask, begin, key, told};

fn patient() -> Ask {
    Ask { coalesce_wait: Duration::from_secs(30), ..ask() }
}

async fn some_wait(first: &Fence, second: &Fence) {
    let key = key();
    let sending = begin(first, key, &ask()).await;
    let mut duplicates = JoinSet::new();
    for _ in 0..20 {
        let fence = second.clone();
        duplicates.spawn(async move { fence.claim(key, &patient()).await.expect("it answers") });
    }
    // Each of them has asked at least once.
    while second.tally().waited.get() < 20 {
        tokio::task::yield_now().await;
    }
    let answer = answer(201, b"first");
    sending.complete(answer.clone()).await;
    for claim in duplicates.join_all().await {
        let Claim::Lost { claimed: Claimed::Done(record), waited } = claim else {
            panic!("{claim:?}");
        };
        assert_eq!(record.state, State::Completed(answer.clone()));
        assert!(waited < Duration::from_secs(30));
    }
}

pub(crate) async fn duplicates_wait_for_the_answer(place: &Place) {
    let fence = place.fence().await;
    some_wait(&fence, &fence).await;
}

pub(crate) async fn duplicates_wait_for_another_process(place: &Place) {
    some_wait(&place.fence().await, &place.fence().await).await;
}

pub(crate) async fn a_key_that_is_freed_is_won_by_one_that_waits(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let sending = begin(&fence, key, &ask()).await;
    let mut duplicates = JoinSet::new();
    for _ in 0..10 {
        let fence = fence.clone();
        duplicates.spawn(async move {
            let claim = fence.claim(key, &patient()).await.expect("it answers");
            let Claim::Won(ticket) = claim else { return 0 };
            ticket.begin().expect("in time").complete(answer(200, b"second")).await;
            1
        });
    }
    while fence.tally().waited.get() < 10 {
        tokio::task::yield_now().await;
    }
    sending.release(NonDelivery::ConnectFailed).await;
    assert_eq!(duplicates.join_all().await.iter().sum::<i32>(), 1);
}

pub(crate) async fn patience_ends(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let sending = begin(&fence, key, &ask()).await;
    let hasty = Ask { coalesce_wait: Duration::from_millis(30), ..ask() };
    let claim = fence.claim(key, &hasty).await.expect("it answers");
    let Claim::Lost { claimed: Claimed::Busy { .. }, waited } = claim else { panic!("{claim:?}") };
    assert!(hasty.coalesce_wait <= waited);
    sending.complete(answer(200, b"")).await;
    assert_eq!(told(&fence, key, &ask()).await, "done");
}
