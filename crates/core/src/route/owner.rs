//! The owner of a request's partition: the only region for its writes, and, where partitions decide
//! for reads as well, the only one for those that may not cross.

use crate::ask::{Ask, Belonging, Intent};
use crate::id::{Epoch, RegionId, RegionSet};
use crate::ownership::Standing;
use crate::policy::Route;
use crate::snapshot::Snapshot;

use super::{Cause, Refusal, Trace, narrow, regions_where};

/// Regions that the partition leaves.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) regions: RegionSet,
    /// The epoch of a write.
    pub(super) epoch: Option<Epoch>,
    /// Whether the owner is the only one of them.
    pub(super) is_owner: bool,
}

/// The owner to which a write may go, and under which epoch.
///
/// # Errors
/// Why it may go nowhere.
pub fn owner_of(snapshot: &Snapshot, belonging: Belonging) -> Result<(RegionId, Epoch), Refusal> {
    let owner = snapshot.owners.get(belonging.partition.index());
    let owner = owner.and_then(|it| Some((it.region?, it)));
    let (region, owner) = owner.ok_or(Refusal::OwnerUnsure)?;
    match owner.standing {
        Standing::Open if belonging.is_leased => Ok((region, owner.epoch)),
        Standing::Open | Standing::Unknown | Standing::GoneBack => Err(Refusal::OwnerUnsure),
        Standing::Opening => Err(Refusal::OwnerMoving),
        Standing::Outdated => Err(Refusal::OwnerOutdated),
    }
}

/// Those of the regions that may answer a request of this partition.
pub(super) fn filter<T: Trace>(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    route: &Route,
    matching: RegionSet,
    trace: &mut T,
) -> Result<Left, Refusal> {
    let Some(belonging) = ask.belongs else {
        return Ok(Left { regions: matching, epoch: None, is_owner: false });
    };
    let is_write = ask.intent == Intent::Write;
    let sure = if is_write {
        owner_of(snapshot, belonging)
    } else {
        // A read may be late: nobody is harmed who asks an owner that was.
        let owner = snapshot.owners.get(belonging.partition.index());
        let place = owner.and_then(|it| Some((it.region?, it.epoch)));
        place.ok_or(Refusal::OwnerUnsure)
    };
    let (region, epoch) = match sure {
        Ok(sure) => sure,
        Err(refusal) => {
            narrow(trace, matching, RegionSet::EMPTY, |_| Cause::NotOwner);
            return Err(refusal);
        }
    };
    let own = RegionSet::only(region);
    let crossing = route.owned.as_ref().and_then(|it| it.crossing.as_ref()).filter(|_| !is_write);
    if let Some(crossing) = crossing
        && matching.without(ask.tried).and(own).is_empty()
    {
        let demand = crossing.demand();
        let regions = regions_where(matching.without(own), |id| {
            snapshot.kinds(id).all(|it| it.report.as_ref().is_some_and(|it| demand.met_by(it)))
        });
        let cause = |id| if id == region { Cause::Tried } else { Cause::Unmet };
        let regions = narrow(trace, matching, regions, cause);
        if !regions.is_empty() {
            return Ok(Left { regions, epoch: None, is_owner: false });
        }
        return Err(Refusal::OwnerUnavailable);
    }
    let regions = narrow(trace, matching, matching.and(own), |_| Cause::NotOwner);
    if regions.is_empty() {
        return Err(Refusal::OwnerUnavailable);
    }
    Ok(Left { regions, epoch: is_write.then_some(epoch), is_owner: true })
}
