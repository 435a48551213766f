//! Where the name of a write is read from: headers and bodies, as their senders write them.

use super::json;
use super::key::{DIGEST_BYTES, Unscoped};

#[cfg(test)]
mod tests;

/// Longest id that is taken, in bytes.
pub const ID_BYTES_MAX: usize = 255;

/// Who names the write, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `Idempotency-Key`, in double quotes as the draft of the IETF has it, or bare as most send it.
    IdempotencyKey,
    /// `webhook-id`, which is signed together with time and body.
    StandardWebhooks,
    /// `X-GitHub-Delivery` together with the digest of the body: the signature covers the body and
    /// not the id.
    GitHub,
    /// `id` in the signed JSON body.
    Stripe,
    /// `source` and `id`, in headers or in the JSON body. Nothing signs them.
    CloudEvents,
}

/// What of a request is needed to name its write. A header is asked for by its lower-case name,
/// and all its values are given.
#[derive(Clone, Copy)]
pub struct Given<'g> {
    /// All values of a header, in their order.
    pub headers: &'g dyn Fn(&str) -> Vec<&'g [u8]>,
    /// The whole body; only looked at where [`Source::needs_body`] says so.
    pub body: &'g [u8],
    /// Its SHA-256.
    pub body_sha256: [u8; DIGEST_BYTES],
}

/// Why a request does not name its write. It is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// The header, or the field of the body, is not there.
    #[error("`{0}` is wanted")]
    Missing(&'static str),
    /// It is there more than once.
    #[error("one `{0}` is wanted, not several")]
    Repeated(&'static str),
    /// It is empty, longer than [`ID_BYTES_MAX`], or has anything but visible ASCII.
    #[error("`{0}` is wanted to be 1 to 255 visible ASCII characters")]
    Malformed(&'static str),
    /// The body is not the JSON object in which the id stands.
    #[error("the body is wanted to be one JSON object with an id")]
    BadBody,
}

impl Source {
    /// Whether the id cannot be read before the whole body is there.
    pub fn needs_body(self) -> bool {
        match self {
            Self::IdempotencyKey | Self::StandardWebhooks => false,
            Self::GitHub | Self::Stripe | Self::CloudEvents => true,
        }
    }

    /// What the sender calls the write.
    ///
    /// # Errors
    /// The request does not name it, or in a way that can be read in two ways.
    pub fn name(self, given: &Given<'_>) -> Result<Unscoped, KeyError> {
        let header = |name: &'static str| id(name, &(given.headers)(name));
        match self {
            Self::IdempotencyKey => {
                let key = idempotency_key(&(given.headers)("idempotency-key"))?;
                Ok(Unscoped::of(&[b"idempotency-key", key.as_bytes()]))
            }
            Self::StandardWebhooks => {
                let id = header("webhook-id")?;
                Ok(Unscoped::of(&[b"standard-webhooks", id.as_bytes()]))
            }
            Self::GitHub => {
                let id = header("x-github-delivery")?;
                Ok(Unscoped::of(&[b"github", id.as_bytes(), &given.body_sha256]))
            }
            Self::Stripe => {
                let [id] = json::texts(given.body, ["id"]).map_err(|_bad| KeyError::BadBody)?;
                let id = field("id", id)?;
                Ok(Unscoped::of(&[b"stripe", id.as_bytes()]))
            }
            Self::CloudEvents => {
                let [source, id] = cloud_event(given)?;
                Ok(Unscoped::of(&[b"cloudevents", source.as_bytes(), id.as_bytes()]))
            }
        }
    }
}

/// Reads an `Idempotency-Key`, quoted or bare. Both ways to write it are the same key.
///
/// # Errors
/// There is none, there are several, or it is not 1 to 255 visible ASCII characters.
pub fn idempotency_key(values: &[&[u8]]) -> Result<String, KeyError> {
    const NAME: &str = "Idempotency-Key";
    let value = single(NAME, values)?;
    let malformed = KeyError::Malformed(NAME);
    let Some(inner) = value.strip_prefix('"') else {
        // A bare key with a quote in it is half of a quoted one.
        return if value.contains('"') { Err(malformed) } else { visible(NAME, value.to_owned()) };
    };
    let inner = inner.strip_suffix('"').ok_or(malformed)?;
    let mut key = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(next) = rest.next() {
        key.push(match next {
            '"' => return Err(malformed),
            // Only these two may be escaped (RFC 8941, 3.3.3).
            '\\' => rest.next().filter(|it| matches!(it, '"' | '\\')).ok_or(malformed)?,
            other => other,
        });
    }
    visible(NAME, key)
}

/// A header that is an id by itself.
fn id(name: &'static str, values: &[&[u8]]) -> Result<String, KeyError> {
    visible(name, single(name, values)?.to_owned())
}

fn single<'v>(name: &'static str, values: &[&'v [u8]]) -> Result<&'v str, KeyError> {
    match values {
        [] => Err(KeyError::Missing(name)),
        [value] => {
            let value = std::str::from_utf8(value).map_err(|_not| KeyError::Malformed(name))?;
            Ok(value.trim_matches([' ', '\t']))
        }
        [_, _, ..] => Err(KeyError::Repeated(name)),
    }
}

fn visible(name: &'static str, text: String) -> Result<String, KeyError> {
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX;
    let is_id = fits && text.bytes().all(|it| it.is_ascii_graphic());
    if is_id { Ok(text) } else { Err(KeyError::Malformed(name)) }
}

/// A field of a body may have any characters, and still has a length.
fn field(name: &'static str, text: Option<String>) -> Result<String, KeyError> {
    let text = text.ok_or(KeyError::Missing(name))?;
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX;
    if fits { Ok(text) } else { Err(KeyError::Malformed(name)) }
}

/// Source and id of an event, in whichever of the two modes of the HTTP binding it comes.
fn cloud_event(given: &Given<'_>) -> Result<[String; 2], KeyError> {
    let kind = (given.headers)("content-type");
    let kind = single("Content-Type", &kind).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/cloudevents+json") {
        let texts = json::texts(given.body, ["source", "id"]);
        let [source, id] = texts.map_err(|_bad| KeyError::BadBody)?;
        return Ok([field("source", source)?, field("id", id)?]);
    }
    let header = |name: &'static str| id(name, &(given.headers)(name));
    Ok([header("ce-source")?, header("ce-id")?])
}

impl std::fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}
