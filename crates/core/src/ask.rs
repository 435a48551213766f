//! What one request asks for: its routing facts, borrowed from its head.

use crate::contract::{INDEX_HASH, MODEL_TAG, Report, SCHEMA_REV};
use crate::id::{KeyId, KeySet, PartitionId, RegionSet};

/// Whether a request only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

impl Intent {
    /// The intent of a method where the route does not say.
    pub fn of_method(method: &str) -> Self {
        if is_safe(method) { Self::Read } else { Self::Write }
    }

    /// The intent as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Whether RFC 9110 calls the method safe: sent twice, it does nothing twice.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// A wish for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin<'a> {
    /// The name of the region.
    pub region: &'a str,
    /// Whether the request would rather fail than go elsewhere.
    pub strict: bool,
}

impl<'a> Pin<'a> {
    /// Reads the value of `X-Region-Pin`: a region, and perhaps `; strict`.
    ///
    /// A text that is not understood is a pin to a region that nobody has, so that it is counted
    /// as one rather than overlooked.
    pub fn parse(text: &'a str) -> Self {
        match text.split_once(';') {
            None => Self { region: text.trim(), strict: false },
            Some((region, word)) if word.trim().eq_ignore_ascii_case("strict") => {
                Self { region: region.trim(), strict: true }
            }
            Some(_) => Self { region: text, strict: false },
        }
    }
}

/// Versions that a request demands of whoever answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand<'a> {
    /// `X-Schema-Rev`.
    pub schema_rev: Option<&'a str>,
    /// `X-Index-Hash`.
    pub index_hash: Option<&'a str>,
    /// `X-Model-Tag`.
    pub model_tag: Option<&'a str>,
    /// `X-Release`, with aliases already resolved.
    pub release: Option<&'a str>,
}

impl<'a> Demand<'a> {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The demanded contract keys with their values; the release is not one of them.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &'a str)> {
        let pair = |key, value: Option<&'a str>| value.map(|value| (key, value));
        let pairs = [
            pair(SCHEMA_REV, self.schema_rev),
            pair(INDEX_HASH, self.index_hash),
            pair(MODEL_TAG, self.model_tag),
        ];
        pairs.into_iter().flatten()
    }

    /// The demanded contract keys.
    pub fn key_set(&self) -> KeySet {
        self.keys().map(|(key, _)| key).collect()
    }

    /// Whether every demand that one of two reports meets is met by the other one too.
    pub(crate) fn sees_alike(one: &Report, other: &Report) -> bool {
        let mut keys = [SCHEMA_REV, INDEX_HASH, MODEL_TAG].into_iter();
        keys.all(|it| one.found(it) == other.found(it)) && one.release_id == other.release_id
    }

    /// Whether a report has everything that is demanded.
    pub fn met_by(&self, report: &Report) -> bool {
        self.keys().all(|(key, value)| report.says(key, value))
            && self.release.is_none_or(|it| report.release_id.as_deref() == Some(it))
    }
}

/// Where a client was, as its token says: a wish that the client did not make itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The name of the region.
    pub region: &'a str,
    /// The release that answered there, if it was known.
    pub release: Option<&'a str>,
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belonging {
    /// Its partition.
    pub partition: PartitionId,
    /// Whether this balancer may rely on what it knows of the owner; only writes need that.
    pub is_leased: bool,
}

/// The routing facts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The place of its route in the policy.
    pub route: usize,
    /// Whether it only reads.
    pub intent: Intent,
    /// The region it wishes for.
    pub pin: Option<Pin<'a>>,
    /// Where its client was before; `None` on routes that keep nobody.
    pub session: Option<Session<'a>>,
    /// The versions it demands.
    pub demand: Demand<'a>,
    /// A stable hash of the client, for release splits.
    pub client_hash: u64,
    /// Regions that have as many requests open as they may take.
    pub full: RegionSet,
    /// Regions that were already tried for this request and could not be reached.
    pub tried: RegionSet,
    /// Its partition, where that decides who may answer it.
    pub belongs: Option<Belonging>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_methods_read() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(Intent::of_method(method).word(), "read", "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "get", "QUERY", ""] {
            assert_eq!(Intent::of_method(method).word(), "write", "{method}");
        }
    }

    #[test]
    fn pins() {
        let pin = |region, strict| Pin { region, strict };
        assert_eq!(Pin::parse("eu-west-1"), pin("eu-west-1", false));
        assert_eq!(Pin::parse(" eu ;  STRICT "), pin("eu", true));
        assert_eq!(Pin::parse("eu; maybe"), pin("eu; maybe", false));
        assert_eq!(Pin::parse("; strict"), pin("", true));
        assert_eq!(Pin::parse(""), pin("", false));
    }
}
