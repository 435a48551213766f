//! Writing again what a store may have forgotten.

use std::sync::Arc;

use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Doubt, Record};

use super::calls::{Way, word};
use super::layout::{self};
use super::map::Node;
use super::{Shared, scripts};
use crate::store::Failure;

/// Writes again what this process remembers of the buckets of a server, and believes their sequences
/// from then on.
pub(super) async fn recover(
    shared: &Shared,
    node: &Arc<Node>,
    sequences: &[(u16, u64)],
) -> Result<(), Failure> {
    for (bucket, sequence) in sequences {
        shared.believe(*bucket, *sequence);
    }
    let generation = shared.generation.borrow().ok_or(Failure::Cold)?;
    let is_here = |key: &FenceKey| sequences.iter().any(|(bucket, _)| *bucket == key.bucket());
    let all = shared.memory.all();
    let mut commands = Vec::new();
    for (key, record) in all.iter().filter(|(key, _)| is_here(key)) {
        let again = Record { is_resurrected: true, ..record.clone() };
        let command = shared
            .begin(&scripts::REASSERT, *key, generation)
            .bytes(&layout::encode(&again))
            .bytes(&layout::doubt(Doubt::StoreForgot));
        commands.push((Arc::clone(node), command.end()));
    }
    let asserted = commands.len();
    let mut written = 0_u64;
    for answer in shared.ask_all(commands, Way::Rest).await? {
        match word(&answer)? {
            b"WRITTEN" => written += 1,
            b"ESCAPED" => {
                shared.tally.escapes.add_one();
                tracing::error!("two owners have the answer to one write");
            }
            b"KNOWN" => {}
            _ => return Err(Failure::Unreachable),
        }
    }
    shared.tally.reasserted.add(written);
    if 0 < written {
        tracing::warn!(asserted, written, "the store had lost what is written again");
    }
    Ok(())
}
