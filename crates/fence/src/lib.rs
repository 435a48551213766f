//! The memory of writes: claims, in an embedded store or in Redis.
//!
//! What may become of a record is decided by `tidegate_core::fence`; here it is kept. A [`Fence`]
//! is asked for a key before a write is sent, and gives a [`Ticket`]; whoever holds it begins, and
//! then says how it ended:
//!
//! ```text
//! Fence::claim ──► Claim::Won(Ticket) ──begin──► Sending ──complete, doubt, or release with proof
//!              └─► Claim::Lost(what a duplicate has to know)
//! ```
//!
//! Nothing is ever left to whoever forgets: a ticket that is dropped is given back, because nothing
//! was sent; a [`Sending`] that is dropped is a doubt, because something may have been.
//!
//! The modules, in the order in which a newcomer reads them:
//!
//! 1. [`fence`], [`ticket`]: what the proxy sees.
//! 2. [`store`]: what every store can do.
//! 3. [`embedded`]: one file on this machine.
//! 4. [`redis`]: servers that several balancers share.
//! 5. [`record`], [`table`]: how a record is written down, and how it is who owns what.

pub mod embedded;
pub mod fence;
pub mod latency;
mod leftovers;
pub mod quota;
pub mod record;
pub mod redis;
pub mod store;
pub mod table;
pub mod tally;
pub mod ticket;
mod waiting;

pub use fence::{Ask, Claim, Fence, Limits, Refusal};
pub use ticket::{Lease, Sending, Ticket, TooLate};
