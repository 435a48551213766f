//! Reads the queues of regions that are streams, again and again, for the gates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::Gates;
use tidegate_core::gate::rules::{GateRules, StreamRules};
use tidegate_core::id::Name;
use tidegate_fence::redis::stream::StreamReader;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often it is looked whether the policy names other streams.
const LOOK: Duration = Duration::from_millis(500);
/// Most by which a pause is made longer or shorter, in percent.
const JITTER_PERCENT: u32 = 10;

/// One reader for each stream that the policy names.
pub(crate) struct QueueReaders {
    gates: Gates,
}

impl QueueReaders {
    pub(crate) fn new(gates: Gates) -> Self {
        Self { gates }
    }

    /// Starts a reader for each stream of these rules.
    fn start(&self, rules: Option<&GateRules>) -> JoinSet<()> {
        let mut readers = JoinSet::new();
        let streams = rules.and_then(|it| it.queue.as_ref()).map(|it| &*it.streams);
        for (region, stream) in streams.unwrap_or_default() {
            readers.spawn(read(self.gates.clone(), Name::clone(region), stream.clone()));
        }
        readers
    }
}

/// Reads one stream for ever.
async fn read(gates: Gates, region: Name, rules: StreamRules) {
    let source = Name::from(format!("stream {} of group {}", rules.key, rules.group));
    let every = rules.every;
    let mut reader = match StreamReader::new(rules) {
        Ok(reader) => Ok(reader),
        Err(error) => Err(error.to_string()),
    };
    loop {
        let queue = match &mut reader {
            Ok(reader) => reader.read().await.map_err(|unread| unread.to_string()),
            Err(why) => Err(why.clone()),
        };
        gates.counted(&region, &source, queue);
        sleep(every * fastrand::u32(100 - JITTER_PERCENT..=100 + JITTER_PERCENT) / 100).await;
    }
}

#[async_trait]
impl BackgroundService for QueueReaders {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rules: Option<Arc<GateRules>> = None;
        let mut readers = JoinSet::new();
        loop {
            ticks.tick().await;
            let now = self.gates.rules();
            let has_panicked = readers.try_join_next().is_some();
            if now != rules || has_panicked {
                // Dropping the others stops them.
                readers = self.start(now.as_deref());
                rules = now;
            }
        }
    }
}

impl fmt::Debug for QueueReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReaders").finish_non_exhaustive()
    }
}
