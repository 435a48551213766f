//! Whether a write may be sent at this moment: what requests ask right before their first byte.
//!
//! A request lives in one world to its end, and that world may be of before a change of owners. So
//! this lies beside the worlds: whoever keeps ownership ends what has changed here, at once and for
//! every request that has not been sent yet.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_core::Moment;
use tidegate_core::id::{Epoch, PartitionId};
use tidegate_core::ownership::{Owned, Standing};
use tidegate_core::policy::owning::PARTITIONS_MAX;

/// For each partition the epoch under which it may be written to, and until when all of that holds.
#[derive(Debug)]
pub struct Permits {
    until_ms: AtomicU64,
    /// 0 for a partition that may not be written to.
    epochs: Box<[AtomicU64]>,
}

impl Default for Permits {
    fn default() -> Self {
        let epochs = (0..PARTITIONS_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { until_ms: AtomicU64::new(0), epochs }
    }
}

impl Permits {
    /// Whether what is known of owners may be relied on.
    pub fn is_leased(&self, now: Moment) -> bool {
        now.0 < self.until_ms.load(Ordering::Acquire)
    }

    /// Whether a write of this partition may be sent under this epoch.
    pub fn allows(&self, partition: PartitionId, epoch: Epoch, now: Moment) -> bool {
        // In this order: who sees a lease that was begun anew sees what ended before that.
        let is_leased = self.is_leased(now);
        let permitted = self.epochs.get(partition.index());
        let permitted = permitted.map_or(0, |it| it.load(Ordering::Relaxed));
        is_leased && permitted != 0 && permitted == epoch.0
    }

    /// What may be written from now on, partition by partition, and until when.
    pub fn grant(&self, owned: &[Owned], until: Moment) {
        for (place, permitted) in self.epochs.iter().enumerate() {
            let is_open = |it: &&Owned| it.standing == Standing::Open;
            let epoch = owned.get(place).filter(is_open).map_or(0, |it| it.epoch.0);
            permitted.store(epoch, Ordering::Relaxed);
        }
        self.until_ms.store(until.0, Ordering::Release);
    }

    /// Until when it may be relied on what is known.
    pub fn until(&self) -> Moment {
        Moment(self.until_ms.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(epoch: u64, standing: Standing) -> Owned {
        Owned { partition: "p".into(), region: "eu".into(), epoch: Epoch(epoch), standing }
    }

    #[test]
    fn only_what_was_granted_may_be_sent_and_only_in_time() {
        let permits = Permits::default();
        let may = |place, epoch, now| permits.allows(PartitionId(place), Epoch(epoch), Moment(now));
        assert!(!may(0, 0, 0) && !may(0, 7, 0), "nothing was granted");
        permits.grant(&[owned(7, Standing::Open), owned(7, Standing::Opening)], Moment(10));
        assert!(may(0, 7, 9) && permits.is_leased(Moment(9)));
        assert!(!may(0, 7, 10), "its time is over");
        assert!(!may(0, 6, 9) && !may(0, 8, 9), "another epoch");
        assert!(!may(1, 7, 9) && !may(2, 7, 9) && !may(u16::MAX, 7, 9));
        permits.grant(&[owned(8, Standing::Opening)], Moment(20));
        assert!(!may(0, 7, 9) && !may(0, 8, 9), "it has changed, and is not open yet");
    }
}
