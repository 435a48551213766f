//! The sections of the file about sessions: who is kept where, and by which keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;
use crate::secrets::Secret;

/// How clients are kept where they were: by a signed token, in a cookie and in a header.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sticky {
    /// The keys of tokens: the first one signs, all of them verify. Without this key one is made
    /// when the process starts, which no other process knows.
    #[serde(skip_serializing)]
    #[schemars(length(min = 1, max = 2))]
    pub(crate) keys: Option<Vec<StickyKey>>,
    /// How long a token is good after its client was here last; at least a second.
    pub(crate) ttl: DurationText,
    /// The cookie that carries the token.
    #[schemars(length(min = 1))]
    pub(crate) cookie: String,
    /// The header that carries the token, for clients that keep no cookies.
    #[schemars(length(min = 1))]
    pub(crate) header: String,
    /// What becomes of clients whose region is being drained.
    pub(crate) on_drain: OnDrain,
}

impl Default for Sticky {
    fn default() -> Self {
        Self {
            keys: None,
            ttl: "15m".into(),
            cookie: "tidegate".to_owned(),
            header: "X-Region-Session".to_owned(),
            on_drain: OnDrain::default(),
        }
    }
}

/// A key that signs tokens, or that has signed some which are still good.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StickyKey {
    /// Its name, which stands in every token that it signs.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,32}$"))]
    pub(crate) id: String,
    /// The secret, of at least 32 bytes: better `file:` or `${NAME}` than literally.
    pub(crate) secret: Secret,
}

/// What becomes of clients whose region is being drained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnDrain {
    /// Their new requests go elsewhere.
    #[default]
    Move,
    /// They stay as long as they come back.
    Stay,
}

/// Which requests of a route are kept where their client was.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stickiness {
    /// None.
    #[default]
    Off,
    /// All of them.
    Session,
    /// Streams that are resumed: requests with `Last-Event-ID`.
    Stream,
}
