//! The labels of the metric families; each value comes from a closed set, the policy or an endpoint.

use prometheus_client::encoding::EncodeLabelSet;
use tidegate_core::id::Name;

/// Longest label value that is taken from an endpoint, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;

/// A label value for what an endpoint said: printable ASCII, cut to [`LABEL_BYTES_MAX`].
///
/// An endpoint that said nothing is `none`: a series without a value reads as a mistake.
pub fn said(text: Option<&str>) -> Name {
    let Some(text) = text.filter(|it| !it.is_empty()) else { return Name::from("none") };
    let clean = |it: char| match it {
        '"' | '\\' => '_',
        ' '..='~' => it,
        _ => '_',
    };
    let cleaned: String = text.chars().take(LABEL_BYTES_MAX).map(clean).collect();
    cleaned.into()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Source {
    pub(crate) region: Name,
    pub(crate) release_id: Name,
    pub(crate) revision: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answer {
    pub(crate) region: Name,
    pub(crate) release_id: Name,
    pub(crate) revision: Name,
    pub(crate) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Retry {
    pub(crate) region: Name,
    pub(crate) release_id: Name,
    pub(crate) revision: Name,
    pub(crate) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Upgrade {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Pulse {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRegion {
    pub(crate) region: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRoute {
    pub(crate) route: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RegionVerdict {
    pub(crate) region: Name,
    pub(crate) verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndpointVerdict {
    pub(crate) region: Name,
    pub(crate) endpoint: String,
    pub(crate) verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndpointMismatch {
    pub(crate) region: Name,
    pub(crate) endpoint: String,
    pub(crate) key: Name,
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RegionKey {
    pub(crate) region: Name,
    pub(crate) key: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProbeOutcome {
    pub(crate) region: Name,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HeldBack {
    pub(crate) region: Name,
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Turn {
    pub(crate) region: Name,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OpenKind {
    pub(crate) region: Name,
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(crate) struct DrainCause {
    pub(crate) region: Name,
    pub(crate) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DrainEnd {
    pub(crate) region: Name,
    pub(crate) cause: &'static str,
    pub(crate) end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DrainOutcome {
    pub(crate) region: Name,
    pub(crate) cause: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Build {
    pub(crate) version: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_from_an_endpoint_is_short_and_printable() {
        assert_eq!(&*said(Some("r2025-08-27")), "r2025-08-27");
        assert_eq!(&*said(Some("a\nb\"c\\d\u{e9}")), "a_b_c_d_");
        assert_eq!(said(Some(&"x".repeat(1000))).len(), LABEL_BYTES_MAX);
        assert_eq!(said(Some(&"\u{20ac}".repeat(1000))).len(), LABEL_BYTES_MAX);
        assert_eq!(&*said(None), "none");
    }
}
