//! The one loop that changes the world.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_core::board::Board;
use tidegate_core::board::memory::Memory;
use tidegate_core::policy::{Policy, StickyKey};

use crate::assembly::Assembly;
use crate::clock;
use crate::endpoints_file::ParseEndpoints;
use crate::handle::Handle;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::permits::Permits;
use keeper::Keeper;

mod keeper;
mod tell;

#[cfg(test)]
mod tests;

/// The owner of the board, as a background service of the server.
///
/// It runs until its runtime is dropped, and does not stop when a shutdown begins: while requests
/// are being finished, somebody has to notice regions that fail.
pub struct Controller {
    keeper: Mutex<Option<Keeper>>,
}

impl Controller {
    /// A controller that begins with this policy, and its handle.
    ///
    /// The first world is there at once, with every endpoint unknown; nothing runs before the
    /// server starts the service. `parse_endpoints` reads the files that list endpoints, and
    /// `process_key` signs sessions where the policy has no keys.
    pub fn new(
        policy: Arc<Policy>,
        metrics: Arc<Metrics>,
        parse_endpoints: ParseEndpoints,
        process_key: Option<StickyKey>,
    ) -> (Self, Handle) {
        Self::remembering(policy, metrics, parse_endpoints, process_key, Memory::default())
    }

    /// The same, but it goes on from what another process remembers of this moment.
    pub fn remembering(
        policy: Arc<Policy>,
        metrics: Arc<Metrics>,
        parse_endpoints: ParseEndpoints,
        process_key: Option<StickyKey>,
        memory: Memory,
    ) -> (Self, Handle) {
        let (mut board, effects) = Board::remembering(clock::now(), policy, memory);
        let ledger = Arc::new(Ledger::default());
        let permits = Arc::new(Permits::default());
        let (of_metrics, of_ledger) = (Arc::clone(&metrics), Arc::clone(&ledger));
        let mut assembly = Assembly::new(of_metrics, of_ledger, process_key, Arc::clone(&permits));
        let world = assembly.world(board.snapshot(), None);
        let world = Arc::new(ArcSwap::from_pointee(world));
        metrics.watch(&world, &ledger);
        let (handle, inbox) = Handle::new(world, metrics, ledger, permits);
        let mut keeper = Keeper::new(board, assembly, handle.clone(), inbox, parse_endpoints);
        keeper.owes(effects);
        (Self { keeper: Mutex::new(Some(keeper)) }, handle)
    }
}

#[async_trait]
impl BackgroundService for Controller {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            Box::pin(keeper.run()).await;
        }
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}
