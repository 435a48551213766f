//! What a process and its successor say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_core::policy::StickyKey;

/// The protocol of this binary. A successor that speaks another one is refused.
pub(super) const PROTOCOL: u32 = 1;

/// What a successor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// It is there, and has understood its policy.
    Hello {
        /// Its protocol.
        protocol: u32,
        /// Its process.
        #[serde(default)]
        pid: u32,
        /// Its version.
        version: String,
    },
    /// It has done a step.
    Step(String),
    /// It could take connections, and knows where they go.
    Ready,
    /// It cannot serve, and ends.
    Failed(String),
}

/// What a successor is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// Sockets lie beside this message, in this order.
    Sockets(Vec<Lot>),
    /// Everything that is known; the last thing that a successor needs.
    Knowledge(Knowledge),
    /// It takes connections from now on, and nobody else does.
    Serve,
}

/// What one socket is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lot {
    /// It listens at this address.
    Listens(String),
    /// It listens at this address, also when the policy has no listener there: it is the service
    /// manager's.
    Lent(String),
    /// It is the line to a process that still drains.
    Drains(u32),
}

/// Everything that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Knowledge {
    /// Whether the predecessor was ready; a successor need not be more than that.
    pub(super) ready: bool,
    /// The regions that the predecessor reaches. A successor that has them as well reaches them
    /// before it says that it is ready.
    pub(super) reaches: Vec<String>,
    /// Who hands over.
    pub(super) pid: u32,
    /// What signs sessions where the policy has no key.
    pub(super) process_key: Option<Key>,
    /// What its board remembers. Read apart, so that a successor that does not understand it can
    /// still serve.
    pub(super) board: serde_json::Value,
}

/// A key that signs sessions.
#[derive(Serialize, Deserialize)]
pub(super) struct Key {
    id: String,
    secret: Vec<u8>,
}

impl From<&StickyKey> for Key {
    fn from(key: &StickyKey) -> Self {
        Self { id: key.id.to_string(), secret: key.secret.to_vec() }
    }
}

impl From<Key> for StickyKey {
    fn from(key: Key) -> Self {
        Self { id: key.id.into(), secret: key.secret.into() }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the predecessor of a serving process is told while it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Late {
    /// The service stops: what is open has the time that the policy gives it.
    Stop,
    /// The service ends at once.
    Now,
}
