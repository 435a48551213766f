//! Takes apart what a policy says about the fence; its own secrets are compared and never told.

use tidegate_core::fence::key::Encoding;
use tidegate_core::fence::meaning::{Depth, Preset};
use tidegate_core::fence::source::Source;
use tidegate_core::fence::webhook::Scheme;
use tidegate_core::policy::fencing::{
    Durability, Enforce, EventFields, FenceRules, FenceStore, KeyQuota, Naming, OtherIndex,
    RedisNode, RedisPassword, RedisRules, RedisTls, RedisTopology, RedisWait, RouteFence,
    SignatureRules, StoreDown,
};

use super::facts::{Said, said};
use super::written::{NONE, flag, list, or_none};
use super::{Facts, Value};
use crate::units::written as duration;

impl Facts {
    /// The rules of the fence, and its store as a thing of its own.
    pub(super) fn of_fence(&mut self, fence: &FenceRules) {
        let FenceRules { store, local, failover_window, retention, quarantine, quota } = fence;
        let quota = quota.as_ref().map(|KeyQuota { burst, per_second }| {
            format!("{per_second} a second, {burst} at once")
        });
        let facts = [
            ("failover_window", duration(failover_window)),
            ("retention", duration(&retention.completed())),
            ("in_doubt_retention", duration(&retention.in_doubt())),
            ("quarantine", duration(quarantine)),
            ("quota", or_none(quota.as_ref())),
        ];
        self.add("fence", "", said(facts));
        let mut facts = match store {
            FenceStore::Embedded { path } => {
                said([("kind", "embedded".to_owned()), ("path", path.display().to_string())])
            }
            FenceStore::Redis(redis) => of_redis(redis),
        };
        let local = local.as_ref().map(|it| it.display());
        facts.extend(said([("local", or_none(local.as_ref()))]));
        self.add("fence store", "", facts);
    }

    /// How the writes of a route are fenced.
    pub(super) fn of_fenced(&mut self, route: &str, fence: &RouteFence) {
        let RouteFence {
            preset,
            naming,
            required,
            signature,
            tenant,
            principal,
            fingerprint,
            coalesce_wait,
            answer_bytes_max,
            shown,
            is_503_refusal,
            is_repeatable,
            enforce,
            store_down,
        } = fence;
        let mut facts = said([
            ("preset", self::preset(*preset).to_owned()),
            ("required", flag(*required)),
            ("tenant", or_none(tenant.as_ref())),
            ("principal", principal.to_string()),
            ("fingerprint", list(fingerprint, NONE)),
            ("coalesce_wait", duration(coalesce_wait)),
            ("keep", format!("{answer_bytes_max}B")),
            ("replay", self::shown(*shown).to_owned()),
            ("refuses_with_503", flag(*is_503_refusal)),
            ("repeatable", flag(*is_repeatable)),
            ("enforce", self::enforce(*enforce).to_owned()),
            ("on_store_down", self::store_down(*store_down).to_owned()),
        ]);
        facts.extend(match naming {
            Naming::Sender(source) => said([("sender", sender(*source).to_owned())]),
            Naming::Event(fields) => of_event(fields),
        });
        match signature {
            None => facts.extend(said([("signature", NONE.to_owned())])),
            Some(signature) => facts.extend(of_signature(signature)),
        }
        self.add("fence of route", route, facts);
    }
}

fn of_redis(redis: &RedisRules) -> Said {
    let RedisRules { topology, nodes, user, password, tls, wait, durability, prefix } = redis;
    let topology = match topology {
        RedisTopology::Standalone => "standalone".to_owned(),
        RedisTopology::Sentinel { master } => format!("sentinel of {master}"),
        RedisTopology::Cluster => "cluster".to_owned(),
    };
    let nodes: Vec<String> = nodes.iter().map(node).collect();
    let wait = wait
        .as_ref()
        .map(|RedisWait { replicas, timeout }| format!("{replicas} within {}", duration(timeout)));
    let mut facts = said([
        ("kind", "redis".to_owned()),
        ("topology", topology),
        ("nodes", list(&nodes, NONE)),
        ("user", or_none(user.as_ref())),
        ("tls", or_none(tls.as_ref().map(self::tls).as_ref())),
        ("wait", or_none(wait.as_ref())),
        ("durability", self::durability(*durability).to_owned()),
        ("prefix", prefix.to_string()),
    ]);
    if let Some(RedisPassword(password)) = password {
        facts.push(("password".to_owned(), Value::secret(password.as_bytes())));
    }
    facts
}

fn node(node: &RedisNode) -> String {
    let RedisNode { host, port } = node;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(super) fn tls(tls: &RedisTls) -> String {
    let RedisTls { ca, client } = tls;
    let ca = ca.as_ref().map_or_else(|| "the system".to_owned(), |it| it.display().to_string());
    match client {
        None => format!("believing {ca}"),
        Some((cert, key)) => {
            format!("believing {ca}, as {} with the key {}", cert.display(), key.display())
        }
    }
}

fn of_event(fields: &EventFields) -> Said {
    let EventFields { source_id, revision, partition, encoding, other_index } = fields;
    let encoding = match encoding {
        Encoding::Netstring => "netstring",
        Encoding::Concat => "concat",
    };
    let other_index = match other_index {
        OtherIndex::Count => "count",
        OtherIndex::Drop => "drop",
    };
    said([
        ("event.source_id", source_id.to_string()),
        ("event.revision", revision.to_string()),
        ("event.partition", partition.to_string()),
        ("event.encoding", encoding.to_owned()),
        ("event.other_index", other_index.to_owned()),
    ])
}

fn of_signature(signature: &SignatureRules) -> Said {
    let SignatureRules { scheme, secrets, tolerance } = signature;
    let scheme = match scheme {
        Scheme::StandardWebhooks => "standard_webhooks",
        Scheme::GitHub => "github",
        Scheme::Stripe => "stripe",
    };
    let mut facts = said([("signature", scheme.to_owned()), ("tolerance", duration(tolerance))]);
    facts.extend(
        secrets.iter().zip(1..).map(|(secret, nth): (_, u8)| {
            (format!("secret {nth}"), Value::secret(secret.reveal()))
        }),
    );
    facts
}

fn preset(preset: Preset) -> &'static str {
    match preset {
        Preset::Api => "api",
        Preset::Webhook => "webhook",
        Preset::Ingest => "ingest",
    }
}

fn sender(source: Source) -> &'static str {
    match source {
        Source::IdempotencyKey => "idempotency_key",
        Source::StandardWebhooks => "standard_webhooks",
        Source::GitHub => "github",
        Source::Stripe => "stripe",
        Source::CloudEvents => "cloudevents",
    }
}

fn shown(shown: Depth) -> &'static str {
    match shown {
        Depth::Answer => "full",
        Depth::Status => "status_only",
    }
}

fn enforce(enforce: Enforce) -> &'static str {
    match enforce {
        Enforce::Always => "always",
        Enforce::Window => "window",
    }
}

fn store_down(down: StoreDown) -> &'static str {
    match down {
        StoreDown::Refuse => "refuse",
        StoreDown::NodeLocal => "node_local",
        StoreDown::Pass => "pass",
    }
}

fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Aof => "aof",
        Durability::Managed => "managed",
        Durability::Nothing => "nothing",
    }
}
