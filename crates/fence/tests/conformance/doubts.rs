//! What cannot be decided is in doubt, and visible, until somebody knows.

use std::time::Duration;

use tidegate_core::fence::record::{Answer, Doubt, Phase, State};
use tidegate_core::fence::rules::{Claimed, Knows, Resolution, Resolved, Settled};
use tidegate_fence::store::{Audit, Filter};
use tidegate_fence::ticket::{Settlement, TooLate};
use tidegate_fence::{Ask, Fence, Limits};

use crate::place::{
    Place, answer, ask, begin, brief, clock, key, limits, lose, retention, told, until, win,
};

pub(crate) async fn the_end_of_a_lease_is_a_doubt(place: &Place) {
    let (one, other) = (place.fence().await, place.fence().await);
    for lease in [Duration::ZERO, Duration::from_millis(30)] {
        let key = key();
        let sending = begin(&one, key, &Ask { lease, ..ask() }).await;
        // Nobody has to notice the end; it is over when its time is.
        until(&other, key, |held| {
            let phase = held.expect("never absent").phase(clock());
            assert!(matches!(phase, Phase::InFlight { .. } | Phase::InDoubt(Doubt::LeaseOver)));
            phase == Phase::InDoubt(Doubt::LeaseOver)
        })
        .await;
        for _ in 0..3 {
            assert_eq!(told(&other, key, &ask()).await, "in doubt");
        }
        sending.doubt(Doubt::NoAnswer).await;
        let Claimed::InDoubt(record) = lose(&other, key, &ask()).await else { panic!("decided") };
        assert_eq!(record.state, State::InDoubt(Doubt::NoAnswer));
    }
}

pub(crate) async fn whoever_forgets_an_exchange_leaves_a_doubt(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    drop(begin(&fence, key, &ask()).await);
    let is_doubt = |state: &State| *state == State::InDoubt(Doubt::Dropped);
    until(&fence, key, |held| is_doubt(&held.expect("never absent").state)).await;
    assert_eq!(told(&fence, key, &ask()).await, "in doubt");
}

pub(crate) async fn a_late_answer_ends_a_doubt(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let sending = begin(&fence, key, &brief()).await;
    assert_eq!(told(&fence, key, &ask()).await, "in doubt");
    assert!(sending.begin_again().is_err(), "nobody may send it once more");
    let settled = sending.complete(answer(200, b"late")).await;
    assert_eq!(settled, Settlement::Done(Settled::Stored));
    assert_eq!(told(&fence, key, &ask()).await, "done");
}

pub(crate) async fn a_lease_is_renewed(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let ticket = win(&fence, key, &ask()).await;
    let lease = ticket.lease().expect("a ticket has a lease");
    assert_eq!(lease.every(), ask().lease / 3);
    let _sending = ticket.begin().expect("it is soon enough");
    let first = fence.show(key).await.expect("it answers").expect("a record").lease_until;
    until(&fence, key, |_| first < clock().plus(ask().lease)).await;
    assert!(lease.renew().await);
    let second = fence.show(key).await.expect("it answers").expect("a record");
    assert!(first < second.lease_until && second.lease_until < second.expires);
    let over = crate::place::key();
    let ticket = win(&fence, over, &brief()).await;
    let lease = ticket.lease().expect("a ticket has a lease");
    let _sending = ticket.begin().expect("it is soon enough");
    assert!(!lease.renew().await, "a doubt is not a claim again");
    assert_eq!(told(&fence, over, &ask()).await, "in doubt");
}

pub(crate) async fn a_write_begins_soon_after_its_claim_or_never(place: &Place) {
    let limits = Limits { start_window: Duration::ZERO, ..limits() };
    let (fence, key) = (place.limited_fence(limits).await, key());
    let late = win(&fence, key, &ask()).await.begin();
    assert!(matches!(late, Err(TooLate)));
    until(&fence, key, |held| held.is_none()).await;
}

fn audit() -> Audit {
    Audit { who: "ops".to_owned(), reason: "looked at the ledger".to_owned() }
}

async fn resolve(
    fence: &Fence,
    key: tidegate_core::fence::key::FenceKey,
    knows: Knows,
    quarantine: Duration,
) -> Resolved {
    let owner = fence.show(key).await.expect("it answers").expect("a record").owner;
    let resolution = Resolution { owner, knows, quarantine, owner_is_dead: false };
    fence.resolve(key, resolution, retention(), audit()).await.expect("it answers")
}

pub(crate) async fn a_doubt_is_resolved_when_that_is_safe(place: &Place) {
    let (fence, none) = (place.fence().await, Duration::ZERO);
    let [executed, free, early, busy] = [key(), key(), key(), key()];
    let first = begin(&fence, executed, &brief()).await;
    let second = begin(&fence, free, &brief()).await;
    begin(&fence, early, &ask()).await.doubt(Doubt::NoAnswer).await;
    let running = begin(&fence, busy, &ask()).await;

    assert_eq!(resolve(&fence, executed, Knows::Executed, none).await, Resolved::Stored);
    let Claimed::Done(record) = lose(&fence, executed, &ask()).await else { panic!("not done") };
    assert_eq!(record.state, State::Completed(Answer::known_executed()));
    let settled = first.complete(answer(200, b"")).await;
    assert_eq!(settled, Settlement::Done(Settled::Already), "what was shown stays");

    assert_eq!(resolve(&fence, free, Knows::NotExecuted, none).await, Resolved::Stored);
    drop(win(&fence, free, &ask()).await);
    until(&fence, free, |held| held.is_none()).await;
    let settled = second.complete(answer(200, b"")).await;
    assert_eq!(settled, Settlement::Done(Settled::Resurrected), "nobody else had used the key");

    let soon = resolve(&fence, early, Knows::NotExecuted, none).await;
    assert!(matches!(soon, Resolved::TooEarly { until } if clock() < until), "{soon:?}");
    assert_eq!(told(&fence, early, &ask()).await, "in doubt");
    assert_eq!(resolve(&fence, busy, Knows::NotExecuted, none).await, Resolved::NotInDoubt);
    drop(running);

    let lines = fence.audit(10).await.expect("it answers");
    let of =
        |key| lines.iter().find(|line| line.key == key).map(|it| (it.executed, it.audit.clone()));
    assert_eq!(of(executed), Some((true, audit())));
    assert_eq!(of(free), Some((false, audit())));
    assert_eq!((of(early), of(busy)), (None, None));
}

pub(crate) async fn a_repeatable_write_is_claimed_again(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let again = Ask { is_repeatable: true, ..ask() };
    let first = begin(&fence, key, &brief()).await;
    let second = win(&fence, key, &again).await;
    assert_eq!(second.attempt(), 2);
    assert_ne!(second.owner(), first.owner());
    let escaped = first.complete(answer(200, b"one")).await;
    assert_eq!(escaped, Settlement::Done(Settled::Escaped(second.owner())));
    second.begin().expect("in time").complete(answer(200, b"two")).await;
    assert_eq!(told(&fence, key, &again).await, "done");
}

pub(crate) async fn open_records_are_listed_and_counted(place: &Place) {
    let fence = place.fence().await;
    let [flying, over, doubted, done] = [key(), key(), key(), key()];
    let one = begin(&fence, flying, &ask()).await;
    let two = begin(&fence, over, &brief()).await;
    begin(&fence, doubted, &ask()).await.doubt(Doubt::NoAnswer).await;
    begin(&fence, done, &ask()).await.complete(answer(200, b"")).await;
    let keys = async |filter, limit| -> Vec<_> {
        let listed = fence.list(filter, limit).await.expect("it answers");
        listed.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(Filter::InFlight, 10).await, [flying]);
    assert_eq!(keys(Filter::InDoubt, 10).await, [over, doubted], "the oldest lease first");
    assert_eq!(keys(Filter::InDoubt, 1).await, [over]);
    let gauges = fence.gauges().await.expect("it answers");
    assert_eq!((gauges.in_flight, gauges.in_doubt), (1, 2));
    assert!(gauges.oldest_open.is_some_and(|it| it <= clock()) && gauges.born <= clock());
    drop((one, two));
}
