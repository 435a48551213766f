//! Ownership: one table, changed by whoever knows the last one, and nobody is overlooked who acts on
//! an older one.

use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::id::Epoch;
use tidegate_core::ownership::{Asked, Holding, Layout, Seen, Swapped, Table};
use tidegate_core::policy::owning::PARTITIONS_MAX;
use tidegate_fence::Fence;

use crate::place::Place;

const LONG: Duration = Duration::from_hours(1);

fn table(epoch: u64) -> Table {
    let layout = Layout { version: 1, digest: 9, homes: vec![("p".into(), "eu".into())] };
    Table::first(&layout, Epoch(epoch), Moment(5))
}

async fn hold(fence: &Fence, epoch: u64, lease: Duration) -> Seen {
    let asked = Asked { at: Moment(0), epoch: Epoch(epoch), lease };
    fence.hold(asked).await.expect("the store answers")
}

async fn swap(fence: &Fence, expected: u64, table: &Table) -> Swapped {
    fence.swap(Epoch(expected), table).await.expect("the store answers")
}

/// What a renewal is told: the last change, the oldest that anybody acts on, and how many do.
async fn told(fence: &Fence, epoch: u64, lease: Duration) -> (u64, u64, u32) {
    let seen = hold(fence, epoch, lease).await;
    (seen.epoch.0, seen.oldest.0, seen.balancers)
}

pub(crate) async fn whoever_knows_the_last_table_may_change_it(place: &Place) {
    let (one, other) = (place.fence().await, place.fence().await);
    let nothing = Seen { epoch: Epoch(0), table: None, oldest: Epoch(0), balancers: 0 };
    assert_eq!(hold(&one, 0, LONG).await, nothing);
    assert_eq!(swap(&one, 0, &table(7)).await, Swapped::Stored);
    assert_eq!(swap(&other, 0, &table(8)).await, Swapped::Other(Epoch(7)));
    assert_eq!(swap(&one, 0, &table(7)).await, Swapped::Stored, "it has arrived twice");
    assert_eq!(swap(&other, 7, &table(7 << 40)).await, Swapped::Stored);
    let older = Swapped::Other(Epoch(7 << 40));
    assert_eq!(swap(&one, 7 << 40, &table(9)).await, older, "numbers only grow");
    let seen = hold(&one, 7, LONG).await;
    assert_eq!((seen.epoch, seen.table), (Epoch(7 << 40), Some(table(7 << 40))));
    assert_eq!(hold(&one, 7 << 40, LONG).await.table, None, "it has that already");
}

pub(crate) async fn one_of_many_changes_wins(place: &Place) {
    let fence = place.fence().await;
    let mut stored = 0;
    let changes = (1..=16).map(|epoch| {
        let fence = fence.clone();
        async move { swap(&fence, 0, &table(epoch)).await }
    });
    let tasks: Vec<_> = changes.map(|it| tokio::runtime::Handle::current().spawn(it)).collect();
    for task in tasks {
        stored += u32::from(task.await.expect("it ends") == Swapped::Stored);
    }
    assert_eq!(stored, 1);
}

pub(crate) async fn nobody_is_overlooked_who_acts_on_an_older_table(place: &Place) {
    let (one, other) = (place.fence().await, place.fence().await);
    swap(&one, 0, &table(7)).await;
    assert_eq!(told(&one, 7, LONG).await, (7, 7, 1));
    assert_eq!(told(&other, 7, LONG).await, (7, 7, 2));
    swap(&other, 7, &table(8)).await;
    assert_eq!(told(&other, 8, LONG).await, (8, 7, 2), "the other one has not heard of it");
    assert_eq!(told(&one, 7, LONG).await, (8, 7, 2), "it is being told");
    assert_eq!(told(&other, 8, LONG).await, (8, 7, 2), "and may not have heard");
    assert_eq!(told(&one, 8, LONG).await, (8, 8, 2));
    assert_eq!(told(&other, 8, LONG).await, (8, 8, 2));
}

pub(crate) async fn whoever_is_silent_is_waited_for_until_its_time_is_over(place: &Place) {
    let (one, other) = (place.fence().await, place.fence().await);
    swap(&one, 0, &table(7)).await;
    told(&one, 7, Duration::ZERO).await;
    swap(&other, 7, &table(8)).await;
    assert_eq!(told(&other, 8, LONG).await, (8, 7, 2), "its lease is over, and not its time");
    while told(&other, 8, LONG).await != (8, 8, 1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told(&one, 7, LONG).await, (8, 8, 1), "it comes too late to be counted");
}

pub(crate) async fn the_largest_table_is_kept(place: &Place) {
    let fence = place.fence().await;
    let mut table = table(1 << 50);
    let holding = |number: usize| Holding {
        partition: format!("tenant-{number:0>100}").into(),
        reason: "ø".repeat(64).into(),
        ..table.holdings[0].clone()
    };
    let holdings: Vec<Holding> = (0..PARTITIONS_MAX).map(holding).collect();
    table.holdings = holdings;
    assert_eq!(swap(&fence, 0, &table).await, Swapped::Stored);
    assert_eq!(hold(&fence, 0, LONG).await.table, Some(table));
}
