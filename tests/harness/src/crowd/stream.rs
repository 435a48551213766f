//! What one stream of a crowd is: its kind, its protocol, its pace and its bytes.

use std::time::Duration;

use super::CrowdPlan;
use crate::region::flow::Script;

/// Where uploads go.
pub(crate) const UPLOAD: &str = "/upload";

/// The turn in which kinds follow each other; eight streams are one round.
const ROUND: [Kind; 8] = [
    Kind::Events,
    Kind::WebSocket,
    Kind::Download,
    Kind::Upload,
    Kind::Grpc,
    Kind::Events,
    Kind::WebSocket,
    Kind::Download,
];

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Server-sent events.
    Events,
    /// A WebSocket that echoes.
    WebSocket,
    /// A gRPC call with messages in both directions.
    Grpc,
    /// An answer in chunks.
    Download,
    /// The body of a request that comes slowly.
    Upload,
}

/// What the client of a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge, without TLS.
    H2c,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) nth: usize,
    pub(crate) kind: Kind,
    pub(crate) protocol: Protocol,
    /// How often it sends something; a silent one does so only at its beginning and its end.
    pub(crate) gap: Option<Duration>,
    /// Whether its client reads more slowly than the region sends.
    pub(crate) reads_slowly: bool,
    /// Whether an upload says how long it is.
    pub(crate) states_length: bool,
    /// What it sends or gets.
    pub(crate) script: Script,
}

impl Stream {
    /// Stream number `nth` of a crowd.
    pub(crate) fn nth(nth: usize, plan: &CrowdPlan) -> Self {
        let kinds = ROUND.get(nth % ROUND.len()).copied();
        let kind = plan.only.or(kinds).unwrap_or(Kind::Events);
        let round = nth / ROUND.len();
        let protocol = match kind {
            Kind::WebSocket => Protocol::Http1,
            Kind::Grpc => Protocol::H2c,
            _ if round.is_multiple_of(2) => Protocol::Http1,
            Kind::Events | Kind::Download | Kind::Upload => Protocol::H2c,
        };
        let dice = mix(plan.seed.wrapping_add(u64::try_from(nth).unwrap_or(0)));
        // Half of all WebSockets say nothing, and a quarter of everything else.
        let silent_of = if kind == Kind::WebSocket { 2 } else { 4 };
        let talks = !dice.is_multiple_of(silent_of);
        let is_large = kind == Kind::Download && (dice >> 8).is_multiple_of(4);
        let script = Script {
            seed: dice >> 32,
            events: kind == Kind::Events,
            piece_max: if is_large { 64 * 1024 } else { 2000 },
        };
        Self {
            nth,
            kind,
            protocol,
            gap: (talks && !plan.silent).then_some(plan.gap),
            reads_slowly: is_large && talks,
            states_length: (dice >> 16).is_multiple_of(2),
            script,
        }
    }
}

/// Spreads a number over all bits (`SplitMix64`).
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
