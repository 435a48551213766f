//! The fence: what is remembered of a write, so that it is delivered at most once per key.
//!
//! A balancer cannot promise that a write happens exactly once. It can promise that it is delivered
//! at most once per key, and that whatever cannot be decided is visible as *in doubt*:
//!
//! ```text
//! absent ──claim──► in flight ──answer──► completed
//!    ▲                 │  └──lease over, or no answer──► in doubt ──answer of the same owner, or
//!    └──proof of non-delivery, of the same owner only       │       "executed"──► completed
//!    └──────────────── "not executed", once that is safe ───┘
//! ```
//!
//! The one rule that others break: the end of a lease leads to *in doubt*, never to *absent*. A
//! claim is given back only on [`proof::NonDelivery`].
//!
//! Everything here is pure. The stores keep records and run these rules, the proxy asks them:
//!
//! 1. [`key`], [`source`], [`webhook`], [`family`]: how a write is named.
//! 2. [`fingerprint`]: whether two requests with one name are one write.
//! 3. [`record`], [`retention`]: what is remembered, and for how long.
//! 4. [`proof`], [`rules`]: how one record changes.
//! 5. [`meaning`], [`call`], [`copying`], [`reply`]: what an answer does to the record, what is kept
//!    of it, and what a duplicate is told.

pub(crate) mod base64;
pub mod call;
pub mod copying;
pub mod family;
pub mod fingerprint;
pub(crate) mod json;
pub mod key;
pub mod meaning;
pub mod proof;
pub mod record;
pub mod reply;
pub mod retention;
pub mod rules;
pub mod source;
pub mod webhook;
