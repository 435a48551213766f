//! What sessions need beside the world, made once when a policy takes force.

use std::time::Duration;

use http::HeaderName;
use tidegate_core::Moment;
use tidegate_core::id::Name;
use tidegate_core::policy::{StickyKey, StickyRules};
use tidegate_core::sticky::{Keyring, Token, TokenError};

/// The keys of sessions, and where their tokens stand.
#[derive(Debug)]
pub struct Sessions {
    keyring: Keyring,
    /// The header that carries a token.
    pub header: HeaderName,
    /// The cookie that carries a token.
    pub cookie: Name,
    /// How long a token is good after its client was here last.
    pub ttl: Duration,
}

impl Sessions {
    /// The sessions of a policy. The key of the process signs where the policy has none; without
    /// that one either, nothing is issued and no token is known.
    pub fn of(rules: &StickyRules, process: Option<&StickyKey>) -> Self {
        Self {
            keyring: Keyring::of(rules, process),
            // A policy lets no other name through than one that can be a header's.
            header: HeaderName::try_from(&*rules.header)
                .unwrap_or(HeaderName::from_static("x-region-session")),
            cookie: Name::clone(&rules.cookie),
            ttl: rules.ttl,
        }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn verify<'t>(&self, token: &'t str, now: Moment) -> Result<Token<'t>, TokenError> {
        self.keyring.verify(token, now)
    }

    /// A token for whoever was answered by this region and release.
    pub fn issue(&self, place: (&str, Option<&str>), now: Moment) -> Option<String> {
        self.keyring.issue(place, now, self.ttl)
    }

    /// Whether a token that ends then should be replaced by a new one that says the same.
    pub fn is_due(&self, expires_s: u64, now: Moment) -> bool {
        Token::is_due(expires_s, now, self.ttl)
    }
}
