//! The signed token that keeps a client where it was: issue, verify, rotate.
//!
//! A token is `v1.kid.region.release.partition.exp.mac`: text without blanks that fits into a
//! cookie and into a header. It names a region and a release, never an address, and is worth
//! nothing without the keys. Fields that may hold anything are percent-escaped, so that a dot
//! always separates; `exp` is in seconds since the Unix epoch; `mac` is HMAC-SHA256 of all before
//! its dot, in base64url. The partition is empty for now, and skipped.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::moment::Moment;
use crate::policy::{StickyKey, StickyRules};

mod base64url;

#[cfg(test)]
mod tests;

/// Longest token that is issued, and that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Most keys that are live at one time: one that signs, and one that only verifies.
pub const KEYS_MAX: usize = 2;
/// Fewest bytes of a secret: as many as the digest has.
pub const SECRET_BYTES_MIN: usize = 32;
/// Longest name of a key, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 32;

const VERSION: &str = "v1";

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`TOKEN_BYTES_MAX`]; nothing of it was read.
    #[error("the token is longer than any that is issued")]
    TooLong,
    /// It has not the form of a token.
    #[error("the token has not the form of one")]
    Malformed,
    /// It names a key that is not, or not any more, among ours.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// Its signature is not that of its text.
    #[error("the signature of the token is wrong")]
    Forged,
    /// Its time is over.
    #[error("the time of the token is over")]
    Expired,
}

impl TokenError {
    /// Every reason there is.
    pub const ALL: [Self; 5] =
        [Self::TooLong, Self::Malformed, Self::UnknownKey, Self::Forged, Self::Expired];

    /// The reason as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Expired => "expired",
        }
    }
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    /// The region that answered last.
    pub region: Cow<'t, str>,
    /// The release that answered last, if it was known.
    pub release: Option<Cow<'t, str>>,
    /// The end of its time, in seconds since the Unix epoch.
    pub expires_s: u64,
}

impl Token<'_> {
    /// Whether the time of a token that ends then is over.
    pub fn is_over(expires_s: u64, now: Moment) -> bool {
        expires_s <= seconds(now)
    }

    /// Whether a new token should take the place of one that ends then, though it says the same.
    ///
    /// That is so in the second half of its time, so that a client that keeps coming back keeps its
    /// session without being told of it on every answer, and when it would last longer than the
    /// policy has it by now. A key that does not sign any more is no reason: two balancers in the
    /// middle of a rotation would take turns for ever.
    pub fn is_due(expires_s: u64, now: Moment, ttl: Duration) -> bool {
        let (left, ttl) = (expires_s.saturating_sub(seconds(now)), ttl.as_secs());
        left.saturating_mul(2) < ttl || ttl < left
    }
}

/// The keys of a policy, ready for use. The first one signs, all of them verify.
///
/// What can be computed from the secrets alone is computed here, once, and not for each token.
#[derive(Clone)]
pub struct Keyring(Vec<Key>);

#[derive(Clone)]
struct Key {
    /// The name, escaped as it stands in a token.
    id: String,
    /// The digest after the padded secret.
    state: Hmac<Sha256>,
}

impl Keyring {
    /// The keys of a policy; the key of the process where the policy has none.
    pub fn of(rules: &StickyRules, process: Option<&StickyKey>) -> Self {
        if rules.keys.is_empty() {
            return Self::new(process);
        }
        Self::new(&rules.keys)
    }

    /// These keys, the one that signs first. Without any key nothing is issued and nothing is known.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k StickyKey>) -> Self {
        let key = |key: &StickyKey| {
            // Every length of a secret is a key; this cannot fail, and would only lose the key.
            let state = Hmac::new_from_slice(&key.secret).ok()?;
            let mut id = String::new();
            escape(&mut id, &key.id);
            Some(Key { id, state })
        };
        Self(keys.into_iter().filter_map(key).collect())
    }

    /// A token for whoever was answered by this region and release, good for `ttl` from `now` on.
    ///
    /// A release that makes it longer than [`TOKEN_BYTES_MAX`] is left out; `None` when it is too
    /// long even so, or when there is no key.
    pub fn issue(
        &self,
        (region, release): (&str, Option<&str>),
        now: Moment,
        ttl: Duration,
    ) -> Option<String> {
        let key = self.0.first()?;
        let expires_s = seconds(now).saturating_add(ttl.as_secs());
        let write = |release: &str| {
            let mut token = String::with_capacity(128);
            token.push_str(VERSION);
            token.push('.');
            token.push_str(&key.id);
            token.push('.');
            escape(&mut token, region);
            token.push('.');
            escape(&mut token, release);
            // A string takes whatever is written to it.
            write!(token, "..{expires_s}").ok()?;
            let mac = key.state.clone().chain_update(&token).finalize().into_bytes();
            token.push('.');
            base64url::encode(&mac, &mut token);
            (token.len() <= TOKEN_BYTES_MAX).then_some(token)
        };
        write(release.unwrap_or_default()).or_else(|| write(""))
    }

    /// Reads a token, if it is one of ours and its time is not over.
    ///
    /// # Errors
    /// Why it says nothing. What it claims is not looked at before its signature is proven.
    pub fn verify<'t>(&self, token: &'t str, now: Moment) -> Result<Token<'t>, TokenError> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(TokenError::TooLong);
        }
        let Parts { kid, region, release, exp, signed, mac } =
            Parts::of(token).ok_or(TokenError::Malformed)?;
        let mac = base64url::decode(mac).ok_or(TokenError::Malformed)?;
        let key = self.0.iter().find(|it| it.id == kid).ok_or(TokenError::UnknownKey)?;
        // This comparison takes the same time wherever the first difference is.
        let proven = key.state.clone().chain_update(signed).verify_slice(&mac);
        proven.map_err(|_wrong| TokenError::Forged)?;
        let expires_s = exp.parse().map_err(|_not_ours| TokenError::Malformed)?;
        if Token::is_over(expires_s, now) {
            return Err(TokenError::Expired);
        }
        let region = unescape(region).ok_or(TokenError::Malformed)?;
        let release = unescape(release).ok_or(TokenError::Malformed)?;
        let release = Some(release).filter(|it| !it.is_empty());
        Ok(Token { region, release, expires_s })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.0.iter().map(|it| it.id.as_str()).collect();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

/// A token taken apart, nothing of it believed.
struct Parts<'t> {
    kid: &'t str,
    region: &'t str,
    release: &'t str,
    exp: &'t str,
    /// Everything that the signature is of.
    signed: &'t str,
    mac: &'t str,
}

impl<'t> Parts<'t> {
    fn of(token: &'t str) -> Option<Self> {
        let (signed, mac) = token.rsplit_once('.')?;
        let mut fields = signed.split('.');
        let version = fields.next()?;
        let (kid, region, release) = (fields.next()?, fields.next()?, fields.next()?);
        let (_partition, exp) = (fields.next()?, fields.next()?);
        let is_whole = version == VERSION && fields.next().is_none();
        is_whole.then_some(Self { kid, region, release, exp, signed, mac })
    }
}

fn seconds(moment: Moment) -> u64 {
    moment.0 / 1000
}

/// Appends a field so that it has only letters, digits, `-`, `_`, `~` and escapes.
fn escape(out: &mut String, field: &str) {
    for byte in field.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
    }
}

/// The field as it was before it was escaped; borrowed when nothing was.
fn unescape(field: &str) -> Option<Cow<'_, str>> {
    if !field.contains('%') {
        return Some(field.into());
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut nibble = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(nibble()? * 16 + nibble()?).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
