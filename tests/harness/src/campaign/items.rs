//! What a campaign sends, made from its seed.

use std::time::Duration;

use fastrand::Rng;

use super::{CampaignPlan, READS};
use crate::history::{Trouble, WriteName};

/// The scopes of the writes. Both use the same keys.
const SCOPES: [&str; 2] = ["acme", "globex"];
const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
/// What endpoints do, each as likely as the others.
const FAULTS: [&str; 12] = [
    "die-before-executing",
    "die-before-executing-reused",
    "die-while-executing",
    "die-while-executing-reused",
    "die-after-executing",
    "die-after-executing-reused",
    "die-mid-body",
    "status=500",
    "status=503",
    "slow-first-byte=60",
    "hang-after-executing",
    "hang-requests",
];
/// A client that waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A client that leaves.
const IMPATIENCE: Duration = Duration::from_millis(20);

/// One attempt that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) due: Duration,
    pub(super) id: u64,
    pub(super) name: WriteName,
    pub(super) method: &'static str,
    pub(super) place: u32,
    pub(super) payload: String,
    pub(super) fault: Option<&'static str>,
    pub(super) patience: Duration,
}

impl Item {
    /// Whatever may be unclear because of this attempt itself.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let left = self.patience == IMPATIENCE;
        let what = self.fault.or(left.then_some("the client leaves"))?.to_owned();
        let end = self.due + PATIENCE;
        Some(Trouble { from: self.due, to: end, of: Some(self.id), what })
    }
}

/// Everything in the order in which it is due, and the last word on each write.
pub(super) fn items(plan: &CampaignPlan) -> (Vec<Item>, Vec<Item>) {
    let mut rng = Rng::with_seed(plan.seed);
    let (mut items, mut last_words) = (Vec::new(), Vec::new());
    for nth in 0..plan.writes {
        let first = write(&mut rng, plan, nth);
        for turn in 0..rng.u32(3..=6) {
            items.push(again(&mut rng, plan, &first, turn));
        }
        last_words.push(Item { due: Duration::ZERO, ..first });
        // One request in five or so only reads.
        items.push(read(&mut rng, plan, nth));
    }
    items.sort_by_key(|it| it.due);
    for (id, item) in (1..).zip(items.iter_mut().chain(&mut last_words)) {
        item.id = id;
    }
    (items, last_words)
}

fn write(rng: &mut Rng, plan: &CampaignPlan, nth: u32) -> Item {
    let scope = if nth.is_multiple_of(2) { SCOPES[0] } else { SCOPES[1] };
    let pair = nth / 2;
    let key = format!("order-{pair}-{}", plan.seed);
    // The same key means another thing in another scope, and mostly comes with the same request.
    let method = rng.choice(METHODS).unwrap_or("POST");
    let due = part_of(rng, plan.lasting);
    Item {
        due,
        id: 0,
        name: WriteName { scope: scope.to_owned(), key },
        method,
        place: pair,
        payload: format!("payload of {pair}"),
        fault: None,
        patience: PATIENCE,
    }
}

/// An attempt at a write: together with the others, soon after, or at any later time.
fn again(rng: &mut Rng, plan: &CampaignPlan, first: &Item, turn: u32) -> Item {
    let left = plan.lasting.saturating_sub(first.due);
    let later = match rng.u32(0..10) {
        0..=3 => part_of(rng, Duration::from_millis(5)),
        4..=7 => part_of(rng, Duration::from_millis(600)),
        _ => part_of(rng, left),
    };
    let is_faulty = rng.u32(0..100) < plan.faulty_percent;
    let fault = if is_faulty { rng.choice(FAULTS) } else { None };
    let leaves = rng.u32(0..100) < 3;
    let is_other = 0 < turn && rng.u32(0..100) < 4;
    Item {
        due: first.due + if turn == 0 { Duration::ZERO } else { later },
        fault,
        patience: if leaves { IMPATIENCE } else { PATIENCE },
        payload: if is_other { "something else".to_owned() } else { first.payload.clone() },
        ..first.clone()
    }
}

fn read(rng: &mut Rng, plan: &CampaignPlan, nth: u32) -> Item {
    let is_faulty = rng.u32(0..100) < plan.faulty_percent;
    Item {
        due: part_of(rng, plan.lasting),
        id: 0,
        name: WriteName { scope: READS.to_owned(), key: format!("read-{nth}") },
        method: "GET",
        place: nth,
        payload: String::new(),
        fault: if is_faulty { rng.choice(FAULTS) } else { None },
        patience: PATIENCE,
    }
}

fn part_of(rng: &mut Rng, whole: Duration) -> Duration {
    whole.mul_f64(rng.f64())
}
