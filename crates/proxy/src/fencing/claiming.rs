//! Claims: in the store of the fence, or in the one that stands in for it on this node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tidegate_core::fence::family::Kin;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::rules::Claimed;
use tidegate_core::policy::fencing::{OtherIndex, RouteFence, StoreDown};
use tidegate_core::window::Window;
use tidegate_fence::{Ask, Claim, Fence, Lease, Refusal, Ticket};
use tokio::sync::oneshot;

use super::Named;
use crate::answer::Problem;
use crate::delivery::{Delivery, Shared, Stamps, detach};

const BYPASSED: HeaderValue = HeaderValue::from_static("bypassed");
const DEGRADED: HeaderValue = HeaderValue::from_static("degraded");

/// Where writes are claimed.
#[derive(Clone, Debug)]
pub struct Fences {
    /// The fence.
    pub fence: Fence,
    /// What stands in for it on this node while its store is away. It knows the writes of this node
    /// only, and so it holds back retries to this node, and no others.
    pub local: Option<Fence>,
}

/// What became of a fenced write before it was sent.
pub(crate) enum Fate {
    /// It is delivered.
    Delivered(Box<Delivery>, Option<Lease>),
    /// It is not.
    Refused(Problem),
    /// It was, or may have been.
    Known(Claimed, Duration),
}

/// A write that is to be claimed.
pub(crate) struct Claiming<'c> {
    pub(crate) fences: &'c Fences,
    pub(crate) of_route: &'c RouteFence,
    pub(crate) window: &'c Window,
    pub(crate) named: &'c Named,
    pub(crate) ask: &'c Ask,
    pub(crate) shared: &'c Arc<Shared>,
}

impl Claiming<'_> {
    /// Claims the write. Also tells whether it came before under another index hash.
    pub(crate) async fn claim(&self) -> (Fate, bool) {
        let (key, is_other_index) = match self.key().await {
            Ok(found) => found,
            Err(refusal) => return (self.without_store(self.named.key, refusal).await, false),
        };
        (self.claim_as(key).await, is_other_index)
    }

    async fn claim_as(&self, key: FenceKey) -> Fate {
        if !self.window.enforces(self.of_route.enforce) {
            return self.claim_beside(key);
        }
        // What was claimed here while the store was away, the store does not know.
        if let Some(local) = self.stand_in()
            && let Ok(Some(_)) = local.show(key).await
        {
            return self.claim_locally(local, key).await;
        }
        match self.fences.fence.claim(key, self.ask).await {
            Ok(claim) => self.claimed(key, claim, None),
            Err(refusal) => self.without_store(key, refusal).await,
        }
    }

    fn claimed(&self, key: FenceKey, claim: Claim, word: Option<HeaderValue>) -> Fate {
        match claim {
            Claim::Won(ticket) => {
                let lease = ticket.lease();
                let stamps = self.stamps(key, Some(&ticket), word);
                let delivery = Delivery::won(ticket, stamps, Arc::clone(self.shared));
                Fate::Delivered(Box::new(delivery), lease)
            }
            Claim::Lost { claimed, waited } => Fate::Known(claimed, waited),
        }
    }

    /// The key by which the write is claimed: its own, or that of the same event under the index
    /// that it came with first, where the route says that it is the same write.
    async fn key(&self) -> Result<(FenceKey, bool), Refusal> {
        let own = self.named.key;
        let Some((family, other_index)) = self.named.family else { return Ok((own, false)) };
        let kin = self.fences.fence.family(family, own, self.ask.retention).await;
        Ok(match kin? {
            Kin::First | Kin::Same => (own, false),
            Kin::Other(first) => match other_index {
                OtherIndex::Count => (own, true),
                OtherIndex::Drop => (first, true),
            },
        })
    }

    /// Outside a window nobody is delayed: the claim is made while the write is under way.
    fn claim_beside(&self, key: FenceKey) -> Fate {
        let (claimed, claim) = oneshot::channel();
        let fence = self.fences.fence.clone();
        let ask = Ask { coalesce_wait: Duration::ZERO, ..*self.ask };
        detach(async move {
            if let Ok(Claim::Won(ticket)) = fence.claim(key, &ask).await
                && let Ok(sending) = ticket.begin()
            {
                drop(claimed.send(sending));
            }
        });
        let delivery =
            Delivery::beside(claim, self.stamps(key, None, None), Arc::clone(self.shared));
        Fate::Delivered(Box::new(delivery), None)
    }

    /// What happens to a write that cannot be claimed in the store now.
    async fn without_store(&self, key: FenceKey, refusal: Refusal) -> Fate {
        let rule = match refusal {
            Refusal::Store(_) => self.window.store_down(self.of_route.store_down),
            Refusal::Quota => StoreDown::Refuse,
        };
        match (rule, self.stand_in()) {
            (StoreDown::NodeLocal, Some(local)) => self.claim_locally(local, key).await,
            (StoreDown::Pass, _) => {
                let stamps = self.stamps(key, None, Some(BYPASSED));
                let delivery = Delivery::unclaimed(stamps, Arc::clone(self.shared));
                Fate::Delivered(Box::new(delivery), None)
            }
            (StoreDown::Refuse | StoreDown::NodeLocal, _) => {
                Fate::Refused(Problem::unclaimed(refusal))
            }
        }
    }

    /// What stands in for the store on this route.
    fn stand_in(&self) -> Option<&Fence> {
        let wants = self.of_route.store_down == StoreDown::NodeLocal;
        self.fences.local.as_ref().filter(|_| wants)
    }

    async fn claim_locally(&self, local: &Fence, key: FenceKey) -> Fate {
        let ask = Ask { is_degraded: true, ..*self.ask };
        match local.claim(key, &ask).await {
            Ok(claim) => self.claimed(key, claim, Some(DEGRADED)),
            Err(refusal) => Fate::Refused(Problem::unclaimed(refusal)),
        }
    }

    /// What an endpoint is told of a claim.
    fn stamps(&self, key: FenceKey, ticket: Option<&Ticket>, word: Option<HeaderValue>) -> Stamps {
        let value = |text: String| {
            HeaderValue::from_maybe_shared(Bytes::from(text))
                .unwrap_or(HeaderValue::from_static("-"))
        };
        Stamps {
            key: value(key.to_string()),
            owner: ticket.map_or(HeaderValue::from_static("-"), |it| value(it.owner().to_string())),
            epoch: value(self.ask.epoch.0.to_string()),
            attempt: HeaderValue::from(ticket.map_or(1, |it| u16::from(it.attempt()))),
            word,
        }
    }
}
