//! Lowers how the writes of one route are fenced.

use std::time::Duration;

use tidegate_core::ask::is_safe;
use tidegate_core::fence::key::Encoding;
use tidegate_core::fence::meaning::{Depth, Preset};
use tidegate_core::fence::reply::{COALESCE_WAIT_MAX, Replying};
use tidegate_core::fence::source::Source;
use tidegate_core::fence::webhook::{Scheme, Secret, TOLERANCE};
use tidegate_core::id::Name;
use tidegate_core::policy::fencing::{
    ANSWER_BYTES_MAX, Enforce, EventFields, Naming, OtherIndex, RouteFence, SignatureRules,
    StoreDown,
};

use super::Lowering;
use crate::flaws::Flaw;
use crate::place::Place;
use crate::units;
use crate::yaml;

/// How much of an answer's body is kept where the policy says nothing.
const KEEP: usize = 16 * 1024;
/// Most headers that are part of what a request is.
const FINGERPRINT_MAX: usize = 16;
/// Most secrets that one sender may sign with.
const SECRETS_MAX: usize = 8;

const STORE_HELP: &str =
    "add `fence: { store: { embedded: { path: /var/lib/tidegate/fence.db } } }` to the policy";
const SENDER_HELP: &str = "write `fence: { preset: webhook, sender: github, secrets: \
                           [\"file:./github.secret\"] }`, or `unsigned: true` in place of \
                           `secrets` where the endpoints look at signatures";

impl Lowering<'_> {
    pub(super) fn route_fence(
        &self,
        place: &Place<'_>,
        route: &yaml::Route,
        file: &yaml::File,
    ) -> Option<RouteFence> {
        let place = place.key("fence");
        let fence = route.fence.as_ref()?;
        match &file.fence {
            None => {
                let flaw = Flaw::key(&place, "there is no store in which writes are remembered");
                self.flaws.push(flaw.help(STORE_HELP));
            }
            Some(_) if reads_only(route) => {
                let flaw = Flaw::key(&place, "the route only reads, so nothing of it is fenced");
                let help = "remove `fence`, or write `intent: write` if its requests write";
                self.flaws.push(flaw.help(help));
            }
            Some(_) => {}
        }
        let plain;
        let rules = match fence {
            yaml::RouteFence::Rules(rules) => rules,
            yaml::RouteFence::Preset(preset) => {
                plain = yaml::RouteFenceRules::plain(*preset);
                &plain
            }
        };
        let lowered = self.fence_rules(&place, rules);
        self.store_down(&place.key("on_store_down"), &lowered, file);
        Some(lowered)
    }

    fn fence_rules(&self, place: &Place<'_>, rules: &yaml::RouteFenceRules) -> RouteFence {
        let preset = match rules.preset {
            yaml::Preset::Api => Preset::Api,
            yaml::Preset::Webhook => Preset::Webhook,
            yaml::Preset::Ingest => Preset::Ingest,
        };
        let naming = self.naming(place, rules, preset);
        let one_way = preset.is_one_way();
        if one_way {
            self.keeps_no_body(place, rules);
        }
        RouteFence {
            preset,
            signature: self.signature(place, rules, &naming),
            naming,
            required: rules.required.unwrap_or(one_way),
            tenant: rules.tenant.as_ref().map(|it| self.header(&place.key("tenant"), it)),
            principal: self.header(&place.key("principal"), &rules.principal),
            fingerprint: self.fingerprint(place, rules.fingerprint.as_deref(), preset),
            coalesce_wait: self.coalesce_wait(place, rules.coalesce_wait.as_ref(), preset),
            answer_bytes_max: self.keep(&place.key("keep"), rules.keep.as_ref()),
            shown: match rules.replay {
                Some(yaml::Replay::Full) => Depth::Answer,
                None if !one_way => Depth::Answer,
                Some(yaml::Replay::StatusOnly) | None => Depth::Status,
            },
            is_503_refusal: rules.refuses_with_503,
            is_repeatable: rules.repeatable,
            enforce: match rules.enforce {
                yaml::Enforce::Always => Enforce::Always,
                yaml::Enforce::Window => Enforce::Window,
            },
            store_down: match rules.on_store_down {
                yaml::StoreDown::Refuse => StoreDown::Refuse,
                yaml::StoreDown::NodeLocal => StoreDown::NodeLocal,
                yaml::StoreDown::Pass => StoreDown::Pass,
            },
        }
    }

    /// A sender that only wants to know whether to send again is shown a status.
    fn keeps_no_body(&self, place: &Place<'_>, rules: &yaml::RouteFenceRules) {
        let message = "of an answer to a webhook or an event, the status is kept and nothing else";
        if rules.replay == Some(yaml::Replay::Full) {
            self.wrong(&place.key("replay"), message, "remove it, or use `preset: api`");
        }
        if rules.keep.is_some() {
            self.wrong(&place.key("keep"), message, "remove it, or use `preset: api`");
        }
    }

    fn naming(&self, place: &Place<'_>, rules: &yaml::RouteFenceRules, preset: Preset) -> Naming {
        if preset == Preset::Ingest {
            if rules.sender.is_some() {
                let flaw = Flaw::key(&place.key("sender"), "events are named by their fields");
                self.flaws.push(flaw.help("remove it; `event` says where the fields stand"));
            }
            let usual = yaml::EventFields::default();
            let fields = rules.event.as_ref().unwrap_or(&usual);
            return Naming::Event(self.event(&place.key("event"), fields));
        }
        if rules.event.is_some() {
            let message = "only events are named by their fields";
            let flaw = Flaw::key(&place.key("event"), message);
            self.flaws.push(flaw.help("remove it, or use `preset: ingest`"));
        }
        let sender = rules.sender.unwrap_or_else(|| {
            if preset == Preset::Webhook {
                let message = "nobody knows who sends, and so where the id stands";
                self.flaws.push(Flaw::key(place, message).help(SENDER_HELP));
            }
            yaml::Sender::IdempotencyKey
        });
        Naming::Sender(match sender {
            yaml::Sender::IdempotencyKey => Source::IdempotencyKey,
            yaml::Sender::StandardWebhooks => Source::StandardWebhooks,
            yaml::Sender::GitHub => Source::GitHub,
            yaml::Sender::Stripe => Source::Stripe,
            yaml::Sender::CloudEvents => Source::CloudEvents,
        })
    }

    fn event(&self, place: &Place<'_>, fields: &yaml::EventFields) -> EventFields {
        let source_id = self.header(&place.key("source_id"), &fields.source_id);
        let revision = self.header(&place.key("revision"), &fields.revision);
        let partition = self.header(&place.key("partition"), &fields.partition);
        if source_id == revision || revision == partition || partition == source_id {
            let help = "give each field a header of its own";
            self.wrong(place, "two fields stand in one header", help);
        }
        EventFields {
            source_id,
            revision,
            partition,
            encoding: match fields.encoding {
                yaml::Encoding::Netstring => Encoding::Netstring,
                yaml::Encoding::Concat => Encoding::Concat,
            },
            other_index: match fields.other_index {
                yaml::OtherIndex::Count => OtherIndex::Count,
                yaml::OtherIndex::Drop => OtherIndex::Drop,
            },
        }
    }

    fn signature(
        &self,
        place: &Place<'_>,
        rules: &yaml::RouteFenceRules,
        naming: &Naming,
    ) -> Option<SignatureRules> {
        let Some(scheme) = scheme(naming) else {
            for (name, is_there) in [
                ("secrets", rules.secrets.is_some()),
                ("unsigned", rules.unsigned),
                ("tolerance", rules.tolerance.is_some()),
            ] {
                if is_there {
                    let flaw = Flaw::key(&place.key(name), "nothing is signed here");
                    self.flaws.push(flaw.help("remove it, or name a `sender` that signs"));
                }
            }
            return None;
        };
        let secrets = match &rules.secrets {
            Some(_) if rules.unsigned => {
                let flaw = Flaw::key(&place.key("unsigned"), "secrets are for signatures");
                self.flaws.push(flaw.help("remove `unsigned`, or `secrets`"));
                return None;
            }
            Some(secrets) => self.secrets(&place.key("secrets"), secrets, scheme),
            None => {
                if !rules.unsigned {
                    let message = "signatures are looked at with a secret, and there is none";
                    let help = "add `secrets: [\"file:./hook.secret\"]`, or `unsigned: true` where \
                                the endpoints look at signatures";
                    self.flaws.push(Flaw::key(place, message).help(help));
                }
                return None;
            }
        };
        let tolerance = place.key("tolerance");
        let tolerance = match &rules.tolerance {
            Some(_) if scheme == Scheme::GitHub => {
                let flaw = Flaw::key(&tolerance, "GitHub signs no time");
                self.flaws.push(flaw.help("remove it"));
                TOLERANCE
            }
            Some(text) => self.time(&tolerance, &text.0),
            None => TOLERANCE,
        };
        Some(SignatureRules { scheme, secrets, tolerance })
    }

    fn secrets(
        &self,
        place: &Place<'_>,
        secrets: &[crate::secrets::Credential],
        scheme: Scheme,
    ) -> Vec<Secret> {
        if secrets.is_empty() || SECRETS_MAX < secrets.len() {
            let help = format!("give 1 to {SECRETS_MAX}; several while they rotate");
            self.wrong(place, format!("there are {} secrets", secrets.len()), help);
        }
        let mut lowered: Vec<Secret> = Vec::new();
        for (index, secret) in secrets.iter().enumerate() {
            let item = place.item(index);
            match Secret::parse(scheme, secret.reveal()) {
                Some(same) if lowered.contains(&same) => {
                    self.wrong(&item, "this secret is listed twice", "remove one of the two");
                }
                Some(secret) => lowered.push(secret),
                None if scheme == Scheme::StandardWebhooks => {
                    let help = "Standard Webhooks writes `whsec_` and base64";
                    self.wrong(&item, "this secret is empty or not in base64", help);
                }
                None => self.wrong(&item, "this secret is empty", "give one, or remove it"),
            }
        }
        lowered
    }

    fn fingerprint(
        &self,
        place: &Place<'_>,
        headers: Option<&[String]>,
        preset: Preset,
    ) -> Vec<Name> {
        let place = place.key("fingerprint");
        let Some(headers) = headers else {
            return match preset {
                Preset::Api => vec!["content-type".into()],
                Preset::Webhook | Preset::Ingest => Vec::new(),
            };
        };
        if FINGERPRINT_MAX < headers.len() {
            let help = format!("name at most {FINGERPRINT_MAX}");
            self.wrong(&place, format!("there are {} headers", headers.len()), help);
        }
        let mut names: Vec<Name> = Vec::new();
        for (index, text) in headers.iter().enumerate() {
            let name = self.header(&place.item(index), text);
            if names.contains(&name) {
                self.wrong(&place.item(index), format!("`{text}` is listed twice"), "remove one");
            }
            names.push(name);
        }
        names
    }

    fn coalesce_wait(
        &self,
        place: &Place<'_>,
        wait: Option<&yaml::DurationText>,
        preset: Preset,
    ) -> Duration {
        let Some(text) = wait else {
            return Replying::default_wait(preset);
        };
        let place = place.key("coalesce_wait");
        let wait = self.duration(&place, text);
        if COALESCE_WAIT_MAX < wait {
            let help = "write at most `30s`; after it a duplicate is told to come back";
            self.wrong(&place, format!("`{}` is too long", text.0), help);
        }
        wait
    }

    fn keep(&self, place: &Place<'_>, keep: Option<&yaml::SizeText>) -> usize {
        let Some(text) = keep else { return KEEP };
        let size = usize::try_from(self.unit(place, units::size(&text.0))).unwrap_or(usize::MAX);
        if ANSWER_BYTES_MAX < size {
            let help = "write at most `1MiB`; of a longer answer the digest is kept";
            self.wrong(place, format!("`{}` is too large", text.0), help);
        }
        size
    }

    fn store_down(&self, place: &Place<'_>, fence: &RouteFence, file: &yaml::File) {
        match fence.store_down {
            StoreDown::Refuse => {}
            StoreDown::Pass if fence.is_repeatable => {}
            StoreDown::Pass => {
                let message = "without a fence, duplicates reach endpoints that do not know keys";
                let help = "add `repeatable: true` if they do, or write `on_store_down: refuse`";
                self.wrong(place, message, help);
            }
            StoreDown::NodeLocal => {
                if file.fence.as_ref().is_some_and(|it| it.local.is_none()) {
                    let message = "there is no file in which writes are remembered here";
                    let help = "with `store: { redis: .. }`, add `local: { path: \
                                /var/lib/tidegate/local.db }` to `fence`; a store that is a file \
                                has no other one beside it";
                    self.wrong(place, message, help);
                }
            }
        }
    }
}

impl yaml::RouteFenceRules {
    /// A preset from which nothing differs.
    fn plain(preset: yaml::Preset) -> Self {
        Self {
            preset,
            sender: None,
            secrets: None,
            unsigned: false,
            tolerance: None,
            required: None,
            tenant: None,
            principal: "authorization".to_owned(),
            fingerprint: None,
            coalesce_wait: None,
            keep: None,
            replay: None,
            refuses_with_503: false,
            repeatable: false,
            enforce: yaml::Enforce::default(),
            on_store_down: yaml::StoreDown::default(),
            event: None,
        }
    }
}

/// Whether no request of a route can be a write.
fn reads_only(route: &yaml::Route) -> bool {
    match route.intent {
        Some(yaml::Intent::Read) => true,
        Some(yaml::Intent::Write) => false,
        None => route.matcher.methods.as_ref().is_some_and(|it| it.iter().all(|it| is_safe(it))),
    }
}

/// How the sender of a write signs, if it does.
fn scheme(naming: &Naming) -> Option<Scheme> {
    match naming {
        Naming::Sender(Source::StandardWebhooks) => Some(Scheme::StandardWebhooks),
        Naming::Sender(Source::GitHub) => Some(Scheme::GitHub),
        Naming::Sender(Source::Stripe) => Some(Scheme::Stripe),
        Naming::Sender(Source::IdempotencyKey | Source::CloudEvents) | Naming::Event(_) => None,
    }
}
