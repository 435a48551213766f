//! A partition that stands in a signed token: a JSON web token with HMAC-SHA256 (RFC 7519).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::fence::base64;
use crate::fence::json::{self, Pointed};
use crate::moment::Moment;
use crate::policy::owning::TokenRules;

use super::NoPartition;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a token claims, once its signature is proven and its time has begun and is not over.
///
/// # Errors
/// It proves nothing, or does not claim it.
pub fn claim(token: &str, rules: &TokenRules, now: Moment) -> Result<String, NoPartition> {
    let bad = NoPartition::BadToken;
    if token.is_empty() {
        return Err(NoPartition::Missing);
    }
    if TOKEN_BYTES_MAX < token.len() {
        return Err(bad);
    }
    let (signed, mac) = token.rsplit_once('.').ok_or(bad)?;
    let (head, payload) = signed.split_once('.').ok_or(bad)?;
    let (head, mac) = (decode(head).ok_or(bad)?, decode(mac).ok_or(bad)?);
    // Other algorithms need other keys, and what is critical is not understood here.
    let is_ours = pointed(&head, "alg")? == Pointed::Text("HS256".to_owned());
    if !is_ours || pointed(&head, "crit")? != Pointed::Nothing {
        return Err(bad);
    }
    let is_made_with = |secret: &[u8]| {
        let keyed = Hmac::<Sha256>::new_from_slice(secret).ok();
        // This comparison takes the same time wherever the first difference is.
        keyed.is_some_and(|it| it.chain_update(signed).verify_slice(&mac).is_ok())
    };
    if !rules.secrets.iter().any(|it| is_made_with(&it.0)) {
        return Err(bad);
    }
    let payload = decode(payload).ok_or(bad)?;
    if seconds(&payload, "exp")?.is_some_and(|it| it <= now.0 / 1000)
        || seconds(&payload, "nbf")?.is_some_and(|it| now.0 / 1000 < it)
    {
        return Err(bad);
    }
    match pointed(&payload, &rules.claim)? {
        Pointed::Text(text) => Ok(text),
        Pointed::Nothing => Err(NoPartition::Missing),
        Pointed::Word(_) | Pointed::Many => Err(NoPartition::Unreadable),
    }
}

fn pointed(document: &[u8], name: &str) -> Result<Pointed, NoPartition> {
    json::pointed(document, &[name.to_owned()]).map_err(|_bad| NoPartition::BadToken)
}

/// A moment in whole seconds; a fraction is left away.
fn seconds(payload: &[u8], name: &str) -> Result<Option<u64>, NoPartition> {
    match pointed(payload, name)? {
        Pointed::Nothing => Ok(None),
        Pointed::Word(word) => {
            let whole = word.split('.').next().unwrap_or_default();
            whole.parse().map(Some).map_err(|_not| NoPartition::BadToken)
        }
        Pointed::Text(_) | Pointed::Many => Err(NoPartition::BadToken),
    }
}

/// Base64 with the alphabet for URLs and without padding.
fn decode(digits: &str) -> Option<Vec<u8>> {
    if digits.contains(['+', '/', '=']) {
        return None;
    }
    let mut standard = digits.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    base64::decode(standard.as_bytes())
}
