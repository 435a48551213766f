//! One claim wins, its outcome is remembered, and only its owner may say what it is.

use std::time::Duration;

use tidegate_core::fence::family::{FamilyKey, Kin};
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::Scope;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Body, Doubt, Incarnation, Owner, State};
use tidegate_core::fence::rules::{Claimed, Settled, Terms};
use tidegate_fence::quota::{Charge, Principal, Quota};
use tidegate_fence::ticket::Settlement;
use tidegate_fence::{Ask, Claim, Refusal};
use tokio::task::JoinSet;

use crate::place::{Place, answer, ask, begin, key, lose, told, until, win};

pub(crate) async fn one_of_many_claims_wins(place: &Place) {
    let fences = [place.fence().await, place.fence().await];
    for _ in 0..20 {
        let key = key();
        let mut claims = JoinSet::new();
        for nth in 0..32 {
            let fence = fences[nth % 2].clone();
            claims.spawn(async move { fence.claim(key, &ask()).await.expect("it answers") });
        }
        let mut won = Vec::new();
        for claim in claims.join_all().await {
            match claim {
                Claim::Won(ticket) => won.push(ticket),
                Claim::Lost { claimed: Claimed::Busy { left }, .. } => {
                    assert!(Duration::from_secs(500) < left && left <= ask().lease, "{left:?}");
                }
                Claim::Lost { claimed, .. } => panic!("{claimed:?}"),
            }
        }
        assert_eq!(won.len(), 1, "claims that won");
    }
}

pub(crate) async fn an_answer_is_shown_to_every_duplicate(place: &Place) {
    let (one, other, key) = (place.fence().await, place.fence().await, key());
    let ticket = win(&one, key, &ask()).await;
    let (owner, attempt) = (ticket.owner(), ticket.attempt());
    let sending = ticket.begin().expect("in time");
    assert_eq!((sending.owner(), attempt), (owner, 1));
    assert_eq!(told(&other, key, &ask()).await, "busy");
    let answer = answer(201, b"{\"id\": 7}");
    let settled = sending.complete(answer.clone()).await;
    assert_eq!(settled, Settlement::Done(Settled::Stored));
    for fence in [&one, &other] {
        let Claimed::Done(record) = lose(fence, key, &ask()).await else { panic!("not done") };
        assert_eq!((record.owner, record.epoch), (owner, ask().epoch));
        assert_eq!(record.state, State::Completed(answer.clone()));
        assert!(record.created < record.expires && !record.is_resurrected);
    }
    assert_eq!(one.tally().won.get(), 1);
    assert_eq!((one.tally().done.get(), other.tally().busy.get()), (1, 1));
}

pub(crate) async fn a_key_belongs_to_one_request(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let other = Ask { fingerprint: Some(Fingerprint([2; 16])), ..ask() };
    let flowing = Ask { fingerprint: None, ..ask() };
    let mut sending = begin(&fence, key, &flowing).await;
    assert_eq!(told(&fence, key, &other).await, "busy", "nobody knows yet whether they differ");
    sending.fingerprint(Fingerprint([1; 16]));
    sending.fingerprint(Fingerprint([9; 16]));
    sending.complete(answer(200, b"")).await;
    assert_eq!(told(&fence, key, &other).await, "clash");
    assert_eq!(told(&fence, key, &flowing).await, "done");
    assert_eq!(told(&fence, key, &ask()).await, "done");
}

pub(crate) async fn a_claim_is_given_back_with_a_proof(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let first = win(&fence, key, &ask()).await;
    first.give_back(NonDelivery::NoEndpoint).await;
    let second = begin(&fence, key, &ask()).await;
    assert!(second.begin_again().is_ok());
    let settled = second.release(NonDelivery::ConnectFailed).await;
    assert_eq!(settled, Settlement::Done(Settled::Stored));
    begin(&fence, key, &ask()).await.complete(answer(200, b"")).await;
    assert_eq!(told(&fence, key, &ask()).await, "done");
    assert_eq!(fence.tally().released.get(), 2);
}

pub(crate) async fn whoever_forgets_a_ticket_gives_it_back(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    drop(win(&fence, key, &ask()).await);
    until(&fence, key, |held| held.is_none()).await;
    // A claim whose asker goes away is given back too, whenever it reaches the store.
    for _ in 0..20 {
        let claim = async { fence.claim(key, &ask()).await.map(drop) };
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            claimed = claim => claimed.expect("the store answers"),
        }
        until(&fence, key, |held| held.is_none()).await;
    }
    drop(win(&fence, key, &ask()).await);
}

fn terms(incarnation: Incarnation) -> Terms {
    let Ask { fingerprint, epoch, lease, retention, .. } = ask();
    Terms {
        owner: Owner { incarnation, serial: 1 },
        fingerprint,
        epoch,
        lease,
        retention,
        is_repeatable: false,
        is_degraded: false,
    }
}

pub(crate) async fn owners_are_checked(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let (store, incarnation) = place.store().await;
    let sending = begin(&fence, key, &ask()).await;
    let stranger = terms(incarnation);
    let escaped = Ok(Settled::Escaped(sending.owner()));
    let proof = NonDelivery::ConnectFailed;
    assert_eq!(store.release(key, stranger.owner, proof).await, Ok(false));
    assert_eq!(store.renew(key, &stranger).await, Ok(false));
    assert_eq!(store.complete(key, &stranger, &answer(500, b"")).await, escaped);
    assert_eq!(store.doubt(key, &stranger, Doubt::NoAnswer).await, escaped);
    assert_eq!(told(&fence, key, &ask()).await, "busy", "none of that has changed it");
    sending.complete(answer(200, b"")).await;
    assert_eq!(store.complete(key, &stranger, &answer(500, b"")).await, escaped);
    assert_eq!(told(&fence, key, &ask()).await, "done");
}

pub(crate) async fn what_arrives_twice_has_arrived_once(place: &Place) {
    let (fence, key) = (place.fence().await, key());
    let (store, incarnation) = place.store().await;
    let (terms, proof) = (terms(incarnation), NonDelivery::TlsFailed);
    for _ in 0..2 {
        assert_eq!(store.claim(key, &terms).await, Ok(Claimed::Won { attempt: 1 }));
    }
    assert_eq!(store.release(key, terms.owner, proof).await, Ok(true));
    assert_eq!(store.release(key, terms.owner, proof).await, Ok(false));
    assert_eq!(store.claim(key, &terms).await, Ok(Claimed::Won { attempt: 1 }));
    let answer = answer(200, b"");
    assert_eq!(store.complete(key, &terms, &answer).await, Ok(Settled::Stored));
    assert_eq!(store.complete(key, &terms, &answer).await, Ok(Settled::Already));
    assert_eq!(store.doubt(key, &terms, Doubt::NoAnswer).await, Ok(Settled::Already));
    assert_eq!(store.release(key, terms.owner, proof).await, Ok(false));
    assert_eq!(told(&fence, key, &ask()).await, "done");
}

pub(crate) async fn answers_of_every_kind_are_kept(place: &Place) {
    let fence = place.fence().await;
    let large: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    for body in [
        Body::Whole([].into()),
        Body::Whole(large.into()),
        Body::Digest { length: u64::MAX, sha256: [0xee; 32] },
        Body::Streamed,
        Body::Partial,
        Body::NotKept,
    ] {
        let key = key();
        let binary = ("x-binary".into(), (0..=255).collect::<Vec<u8>>().into());
        let answer = Answer { status: 299, headers: vec![binary], body };
        begin(&fence, key, &ask()).await.complete(answer.clone()).await;
        let Claimed::Done(record) = lose(&fence, key, &ask()).await else { panic!("not done") };
        assert_eq!(record.state, State::Completed(answer));
    }
}

pub(crate) async fn an_allowance_of_new_keys_is_used_up(place: &Place) {
    let fence = place.fence().await;
    let of = |whose| {
        let quota = Quota { per_second: 1, burst: 2 };
        Ask { charge: Some(Charge { quota, whose: Principal(whose) }), ..ask() }
    };
    let keys = [key(), key(), key()];
    for key in &keys[..2] {
        begin(&fence, *key, &of(1)).await.complete(answer(200, b"")).await;
    }
    let refused = async || {
        // The allowance may fill while a slow machine gets here.
        let claim = fence.claim(key(), &of(1)).await;
        matches!(claim, Err(Refusal::Quota))
    };
    while !refused().await {}
    assert_eq!(told(&fence, keys[0], &of(1)).await, "done", "duplicates are no new keys");
    drop(win(&fence, keys[2], &of(2)).await);
}

pub(crate) async fn families_meet(place: &Place) {
    let fence = place.fence().await;
    let partition = key().to_string();
    let family = FamilyKey::new(&Scope::default(), b"evt-1", b"3", partition.as_bytes());
    let [old, new] = [key(), key()];
    let meet = async |key| fence.family(family, key, ask().retention).await;
    assert_eq!(meet(old).await, Ok(Kin::First));
    assert_eq!(meet(old).await, Ok(Kin::Same));
    assert_eq!(meet(new).await, Ok(Kin::Other(old)));
    assert_eq!(meet(new).await, Ok(Kin::Other(old)));
}
