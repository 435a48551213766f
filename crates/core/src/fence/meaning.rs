//! What the answer of an endpoint means for the record of the write.

use super::proof::NonDelivery;
use super::record::Doubt;

/// For whom a route is made; decides what cannot be known from a status alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// A client that wants to see the answer, and chooses its keys.
    #[default]
    Api,
    /// A sender that only wants to know whether it has to send again.
    Webhook,
    /// Events to be indexed.
    Ingest,
}

impl Preset {
    /// Whether the sender wants no more than a status, and sends again until it is a good one.
    pub fn is_one_way(self) -> bool {
        match self {
            Self::Api => false,
            Self::Webhook | Self::Ingest => true,
        }
    }
}

/// What has to be known of a route and a request to judge an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Judging {
    /// For whom the route is made.
    pub preset: Preset,
    /// The policy says that its endpoints execute nothing when they answer 503.
    pub is_503_refusal: bool,
    /// The sender has proven who it is. An answer to a stranger's mistake is not kept, or it would
    /// be a tool to block keys.
    pub is_authenticated: bool,
}

/// What is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The write was executed, and its answer is kept.
    Keep(Depth),
    /// The endpoint says that it did not execute it.
    Release(NonDelivery),
    /// Nobody knows.
    Doubt(Doubt),
}

/// How much of an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Status, some headers, and the body up to a cap.
    Answer,
    /// The status.
    Status,
}

/// What a final answer with this status means.
pub fn of(status: u16, judging: Judging) -> Meaning {
    let release = Meaning::Release(NonDelivery::EndpointDeclared(status));
    let doubt = Meaning::Doubt(Doubt::GatewayAnswered(status));
    let one_way = judging.preset.is_one_way();
    let keep = Meaning::Keep(if one_way { Depth::Status } else { Depth::Answer });
    match status {
        401 | 403 | 409 | 421 | 425 | 429 => release,
        408 | 502 | 504 => doubt,
        400..=499 if one_way || !judging.is_authenticated => release,
        503 if one_way || judging.is_503_refusal => release,
        503 => doubt,
        // The sender's retry is the only way to recover, so its handler must be atomic.
        500..=599 if one_way => release,
        // What is left is the application's answer, and the key keeps it, even a 500.
        200..=599 => keep,
        // No server of an application says this.
        _ => doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGING: Judging =
        Judging { preset: Preset::Api, is_503_refusal: false, is_authenticated: true };

    fn check(statuses: &[u16], api: &str, stranger: &str, one_way: &str) {
        let word = |status, judging| match of(status, judging) {
            Meaning::Keep(Depth::Answer) => "keep",
            Meaning::Keep(Depth::Status) => "status",
            Meaning::Release(NonDelivery::EndpointDeclared(it)) if it == status => "release",
            Meaning::Release(_) => "release for another reason",
            Meaning::Doubt(_) => "doubt",
        };
        for status in statuses {
            assert_eq!(word(*status, JUDGING), api, "{status}");
            let judging = Judging { is_authenticated: false, ..JUDGING };
            assert_eq!(word(*status, judging), stranger, "{status}");
            for preset in [Preset::Webhook, Preset::Ingest] {
                for is_authenticated in [true, false] {
                    let judging = Judging { preset, is_authenticated, ..JUDGING };
                    assert_eq!(word(*status, judging), one_way, "{status}");
                }
            }
        }
    }

    #[test]
    fn answers_mean_what_the_table_says() {
        check(&[200, 201, 204, 302, 304, 399], "keep", "keep", "status");
        check(&[400, 404, 405, 410, 413, 415, 422, 418, 499], "keep", "release", "release");
        check(&[401, 403, 409, 421, 425, 429], "release", "release", "release");
        check(&[408, 502, 504], "doubt", "doubt", "doubt");
        check(&[503], "doubt", "doubt", "release");
        check(&[500, 501, 505, 507, 599], "keep", "keep", "release");
        check(&[0, 100, 199, 600, 999], "doubt", "doubt", "doubt");
        let judging = Judging { is_503_refusal: true, ..JUDGING };
        assert_eq!(of(503, judging), Meaning::Release(NonDelivery::EndpointDeclared(503)));
        assert_eq!(of(502, judging), Meaning::Doubt(Doubt::GatewayAnswered(502)));
    }
}
