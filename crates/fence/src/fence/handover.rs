//! What was claimed on one node alone, while the store was away, goes to the store when it is back.

use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Doubt, Record, State};
use tidegate_core::fence::rules::Reasserted;

use super::Fence;
use crate::latency::Operation;
use crate::store::{Failure, Filter, Store};

/// Most records that are handed over at once.
const AT_ONCE: u32 = 64;

/// What was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// Records that the store has now.
    pub records: u64,
    /// Those of them whose write another node has an answer to, too.
    pub escapes: u64,
    /// There may be more of them.
    pub has_more: bool,
}

impl Fence {
    /// Hands over what this fence, a file that stood in for `store`, knows the outcome or the doubt
    /// of. It forgets each record only after the store has it, so that a duplicate meets it here or
    /// there at any moment. A write that is under way stays until it has ended.
    ///
    /// # Errors
    /// Either store does not answer. What was not handed over is still here.
    pub async fn hand_over(&self, store: &Self) -> Result<HandedOver, Failure> {
        let Store::Embedded(local) = &self.0.store else { return Ok(HandedOver::default()) };
        let mut records = self.0.within(Operation::Look, local.completed(AT_ONCE)).await?;
        records.extend(self.list(Filter::InDoubt, AT_ONCE).await?.into_iter().map(doubted));
        let full = usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
        let mut done = HandedOver { has_more: full <= records.len(), ..HandedOver::default() };
        for (key, record) in records {
            let asserting = store.0.store.reassert(key, &record);
            match store.0.within(Operation::Complete, asserting).await? {
                Reasserted::Written | Reasserted::Known => {}
                Reasserted::Escaped(other) => {
                    done.escapes += 1;
                    store.0.tally.escapes.add_one();
                    let (ours, theirs) = (record.owner, other);
                    tracing::error!(%key, %ours, %theirs, "two nodes have the answer to one write");
                }
            }
            self.0.within(Operation::Look, local.forget_of(key, record.owner)).await?;
            done.records += 1;
        }
        Ok(done)
    }
}

/// The store is told of a claim whose lease is over that it is in doubt.
fn doubted((key, record): (FenceKey, Record)) -> (FenceKey, Record) {
    match record.state {
        State::InFlight => (key, Record { state: State::InDoubt(Doubt::LeaseOver), ..record }),
        State::InDoubt(_) | State::Completed(_) => (key, record),
    }
}
