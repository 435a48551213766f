//! Signatures of webhooks: that the sender is who it says, and that its id is its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::base64;
use super::key::decode_hexadecimal;
use super::source::Given;
use crate::moment::Moment;

#[cfg(test)]
mod tests;

/// How far the time of a signature may be from ours, unless the policy says otherwise.
pub const TOLERANCE: Duration = Duration::from_mins(5);
/// Most signatures of one request that are looked at: senders send several while keys rotate.
const SIGNATURES_MAX: usize = 8;
const SECRET_PREFIX: &str = "whsec_";

/// How a sender signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `webhook-signature` over id, time and body.
    StandardWebhooks,
    /// `X-Hub-Signature-256` over the body.
    GitHub,
    /// `Stripe-Signature` over time and body.
    Stripe,
}

/// Why a signature proves nothing. The request is refused with 401, and no record is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureError {
    /// A header that belongs to the signature is not there, or is there twice.
    #[error("one `{0}` is wanted")]
    Missing(&'static str),
    /// It has not the form of one.
    #[error("the signature has not the form of one")]
    Malformed,
    /// It is too old, or of a time to come.
    #[error("the time of the signature is too far from now")]
    Stale,
    /// None of the known secrets has made it.
    #[error("the signature is not made with a known secret")]
    Forged,
}

/// A secret that a sender signs with.
#[derive(Clone)]
pub struct Secret {
    bytes: Arc<[u8]>,
    keyed: Hmac<Sha256>,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Secret {}

impl Secret {
    /// A secret as these bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let keyed = Hmac::new_from_slice(bytes).ok().filter(|_| !bytes.is_empty())?;
        Some(Self { bytes: bytes.into(), keyed })
    }

    /// The secret itself, for whoever compares two policies.
    pub fn reveal(&self) -> &[u8] {
        &self.bytes
    }

    /// A secret as a sender of this scheme shows it: `whsec_` and base64 for Standard Webhooks, the
    /// text itself for the others.
    pub fn parse(scheme: Scheme, text: &str) -> Option<Self> {
        match scheme {
            Scheme::GitHub | Scheme::Stripe => Self::new(text.as_bytes()),
            Scheme::StandardWebhooks => {
                let digits = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
                Self::new(&base64::decode(digits.as_bytes())?)
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Tells whether a request is signed with one of these secrets, and when it was, if it says so.
///
/// # Errors
/// Why the signature proves nothing.
pub fn verify(
    scheme: Scheme,
    secrets: &[Secret],
    given: &Given<'_>,
    now: Moment,
    tolerance: Duration,
) -> Result<Option<Moment>, SignatureError> {
    let signed = match scheme {
        Scheme::StandardWebhooks => standard_webhooks(given)?,
        Scheme::GitHub => github(given)?,
        Scheme::Stripe => stripe(given)?,
    };
    let far = |at: Moment| at.since(now).max(now.since(at));
    if signed.at.is_some_and(|at| tolerance < far(at)) {
        return Err(SignatureError::Stale);
    }
    let mut pairs =
        secrets.iter().flat_map(|secret| signed.macs.iter().map(move |mac| (secret, mac)));
    let is_made_with = |(secret, mac): (&Secret, &Vec<u8>)| {
        let begun = secret.keyed.clone().chain_update(&signed.before_body);
        // This comparison takes the same time wherever the first difference is.
        begun.chain_update(given.body).verify_slice(mac).is_ok()
    };
    if pairs.any(is_made_with) { Ok(signed.at) } else { Err(SignatureError::Forged) }
}

/// What a request says of its signature, nothing of it believed.
struct Signed {
    /// When it was made.
    at: Option<Moment>,
    /// What is signed before the body.
    before_body: Vec<u8>,
    /// The signatures.
    macs: Vec<Vec<u8>>,
}

fn standard_webhooks(given: &Given<'_>) -> Result<Signed, SignatureError> {
    let id = header(given, "webhook-id")?;
    let at = header(given, "webhook-timestamp")?;
    let signatures = header(given, "webhook-signature")?.split(' ');
    // Signatures of other versions are for others.
    let ours = signatures.filter_map(|it| it.strip_prefix("v1,")).take(SIGNATURES_MAX);
    let macs = ours.map(|it| base64::decode(it.as_bytes()).ok_or(SignatureError::Malformed));
    Ok(Signed {
        at: Some(seconds(at)?),
        before_body: format!("{id}.{at}.").into_bytes(),
        macs: some(macs.collect::<Result<_, _>>()?)?,
    })
}

fn github(given: &Given<'_>) -> Result<Signed, SignatureError> {
    let signature = header(given, "x-hub-signature-256")?;
    let digits = signature.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?;
    Ok(Signed { at: None, before_body: Vec::new(), macs: vec![digest(digits)?] })
}

fn stripe(given: &Given<'_>) -> Result<Signed, SignatureError> {
    let signature = header(given, "stripe-signature")?;
    let parts = || signature.split(',').map(str::trim);
    let at = parts().find_map(|it| it.strip_prefix("t=")).ok_or(SignatureError::Malformed)?;
    let ours = parts().filter_map(|it| it.strip_prefix("v1=")).take(SIGNATURES_MAX);
    Ok(Signed {
        at: Some(seconds(at)?),
        before_body: format!("{at}.").into_bytes(),
        macs: some(ours.map(digest).collect::<Result<_, _>>()?)?,
    })
}

fn header<'g>(given: &Given<'g>, name: &'static str) -> Result<&'g str, SignatureError> {
    match (given.headers)(name).as_slice() {
        [value] => std::str::from_utf8(value).map_err(|_not| SignatureError::Malformed),
        _ => Err(SignatureError::Missing(name)),
    }
}

fn seconds(text: &str) -> Result<Moment, SignatureError> {
    let is_plain = text.bytes().all(|it| it.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|_| is_plain);
    let moment = seconds.map(|it| Moment(it.saturating_mul(1000)));
    moment.ok_or(SignatureError::Malformed)
}

fn digest(digits: &str) -> Result<Vec<u8>, SignatureError> {
    let mut mac = vec![0; 32];
    decode_hexadecimal(digits.as_bytes(), &mut mac).ok_or(SignatureError::Malformed)?;
    Ok(mac)
}

fn some(macs: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, SignatureError> {
    if macs.is_empty() { Err(SignatureError::Malformed) } else { Ok(macs) }
}
