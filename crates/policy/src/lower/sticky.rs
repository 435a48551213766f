//! Lowers what the policy says about sessions.

use std::time::Duration;

use tidegate_core::policy::{OnDrain, Stickiness, StickyKey, StickyRules};
use tidegate_core::sticky::{KEY_ID_BYTES_MAX, KEYS_MAX, SECRET_BYTES_MIN};

use super::Lowering;
use crate::names;
use crate::place::Place;
use crate::units;
use crate::yaml;

/// Headers that mean something else, so that a token in one of them would be lost or harmful.
const TAKEN: [&str; 15] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "last-event-id",
    "set-cookie",
    "transfer-encoding",
    "upgrade",
    "x-region",
    "x-region-pin",
    "x-region-reason",
    "x-release",
    "x-request-id",
    "x-index-hash",
];

impl Lowering<'_> {
    pub(super) fn sticky(&self, sticky: &yaml::Sticky) -> StickyRules {
        let root = Place::Root;
        let place = root.key("sticky");
        let ttl = self.time(&place.key("ttl"), &sticky.ttl.0);
        let is_read = units::duration(&sticky.ttl.0).is_ok_and(|it| !it.is_zero());
        if is_read && ttl < Duration::from_secs(1) {
            self.wrong(&place.key("ttl"), "tokens count in seconds", "write at least `1s`");
        }
        if !names::is_token(&sticky.cookie) {
            let message = format!("`{}` cannot be the name of a cookie", sticky.cookie);
            self.wrong(&place.key("cookie"), message, "write a name such as `tidegate`");
        }
        let header = self.header(&place.key("header"), &sticky.header);
        if TAKEN.contains(&&*header) {
            let message = format!("`{}` means something else", sticky.header);
            self.wrong(&place.key("header"), message, "write a name such as `X-Region-Session`");
        }
        StickyRules {
            keys: self.sticky_keys(&place.key("keys"), sticky.keys.as_deref()),
            ttl,
            cookie: sticky.cookie.as_str().into(),
            header,
            on_drain: match sticky.on_drain {
                yaml::OnDrain::Move => OnDrain::Move,
                yaml::OnDrain::Stay => OnDrain::Stay,
            },
        }
    }

    pub(super) fn stickiness(sticky: yaml::Stickiness) -> Stickiness {
        match sticky {
            yaml::Stickiness::Off => Stickiness::Off,
            yaml::Stickiness::Session => Stickiness::Session,
            yaml::Stickiness::Stream => Stickiness::Stream,
        }
    }

    fn sticky_keys(&self, place: &Place<'_>, keys: Option<&[yaml::StickyKey]>) -> Vec<StickyKey> {
        let Some(keys) = keys else { return Vec::new() };
        if keys.is_empty() || KEYS_MAX < keys.len() {
            let help = "the first key signs and a second one only verifies; \
                        remove `keys` to have one made at each start";
            self.wrong(place, format!("there are {} keys", keys.len()), help);
        }
        let mut lowered: Vec<StickyKey> = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let item = place.item(index);
            self.key_id(&item.key("id"), &key.id, &lowered);
            let secret = key.secret.reveal();
            if secret.len() < SECRET_BYTES_MIN {
                let message = format!(
                    "the secret of `{}` has {} bytes, fewer than {SECRET_BYTES_MIN}",
                    key.id,
                    secret.len()
                );
                let help = "`openssl rand -hex 32` writes one; refer to its file: \
                            `secret: \"file:./sticky.key\"`";
                self.wrong(&item.key("secret"), message, help);
            }
            if let Some(same) = lowered.iter().find(|it| *it.secret == *secret) {
                let message = format!("the secret of `{}` is that of `{}`", key.id, same.id);
                self.wrong(&item.key("secret"), message, "a key is replaced by another one");
            }
            lowered.push(StickyKey { id: key.id.as_str().into(), secret: secret.into() });
        }
        lowered
    }

    fn key_id(&self, place: &Place<'_>, id: &str, before: &[StickyKey]) {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
        if id.is_empty() || KEY_ID_BYTES_MAX < id.len() || !id.bytes().all(allowed) {
            let message = format!("`{id}` cannot be the name of a key");
            let help = format!("use letters, digits, `_` and `-`, at most {KEY_ID_BYTES_MAX}");
            self.wrong(place, message, help);
        }
        if before.iter().any(|it| *it.id == *id) {
            let message = format!("another key is called `{id}` already");
            self.wrong(place, message, "a token says by name which key has signed it");
        }
    }
}
