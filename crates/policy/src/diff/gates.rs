//! Takes apart what a policy says must be proven before traffic may be moved.

use std::fmt::Display;

use sha2::{Digest as _, Sha256};
use tidegate_core::gate::drift::{Aggregate, Limits};
use tidegate_core::gate::probes::{Measure, ProbeSet};
use tidegate_core::gate::queue::QueueLimits;
use tidegate_core::gate::rules::{
    Asking, BlobRules, Embeddings, EmergencyRules, GateRules, Loss, ProbeRules, QueueRules,
    StreamRules,
};
use tidegate_core::policy::fencing::{RedisNode, RedisPassword};

use super::facts::{Said, said};
use super::written::{flag, list, or_none};
use super::{Facts, Value, hexadecimal};
use crate::units::written as duration;

impl Facts {
    /// What is demanded before traffic may be moved, each part as a thing of its own.
    pub(super) fn of_gates(&mut self, gates: &GateRules) {
        let GateRules {
            may_move,
            regions_min,
            contract_age_max,
            blobs,
            queue,
            probes,
            fence_age_max,
            emergency: EmergencyRules { age_max, probes_age_max, loss },
        } = gates;
        let fence = fence_age_max.as_ref().map(duration);
        let facts = [
            ("locked", flag(!may_move)),
            ("regions_min", regions_min.to_string()),
            ("contract_age", duration(contract_age_max)),
            ("fence age", or_none(fence.as_ref())),
        ];
        self.add("gates", "", said(facts));
        let loss = match loss {
            Loss::Block => "block",
            Loss::Allow => "allow",
        };
        let facts = [
            ("age", duration(age_max)),
            ("probes_age", duration(probes_age_max)),
            ("loss", loss.to_owned()),
        ];
        self.add("gates emergency", "", said(facts));
        if let Some(BlobRules { asking, age_max }) = blobs {
            let mut facts = said([("age", duration(age_max))]);
            facts.extend(asking.iter().flat_map(of_asking));
            self.add("gates blobs", "", facts);
        }
        if let Some(QueueRules { limits, age_max, streams }) = queue {
            let QueueLimits { depth_max, oldest_max, growth_max } = limits;
            let facts = [
                ("depth_max", or_none(depth_max.as_ref())),
                ("oldest_max", duration(oldest_max)),
                ("growth_max", growth_max.to_string()),
                ("age", duration(age_max)),
            ];
            self.add("gates queue", "", said(facts));
            for (region, stream) in streams {
                self.add("gates stream", region, of_stream(stream));
            }
        }
        if let Some(probes) = probes {
            self.add("gates probes", "", of_probes(probes));
        }
    }
}

fn of_stream(stream: &StreamRules) -> Said {
    let StreamRules { node, user, password, tls, key, group, every, timeout } = stream;
    let RedisNode { host, port } = node;
    let tls = tls.as_ref().map(super::fence::tls);
    let mut facts = said([
        ("node", format!("{host}:{port}")),
        ("user", or_none(user.as_ref())),
        ("tls", or_none(tls.as_ref())),
        ("key", key.to_string()),
        ("group", group.to_string()),
        ("every", duration(every)),
        ("timeout", duration(timeout)),
    ]);
    if let Some(RedisPassword(password)) = password {
        facts.push(("password".to_owned(), Value::secret(password.as_bytes())));
    }
    facts
}

fn of_asking(asking: &Asking) -> Said {
    let Asking { path, every, timeout, body_bytes_max } = asking;
    said([
        ("path", path.to_string()),
        ("every", duration(every)),
        ("timeout", duration(timeout)),
        ("max_size", format!("{body_bytes_max}B")),
    ])
}

fn of_probes(probes: &ProbeRules) -> Said {
    let ProbeRules { set, limits, measure, reference, asking, parallel, embeddings, age_max } =
        probes;
    let ProbeSet { questions, seeds, top_k } = &**set;
    let embeddings = embeddings
        .as_ref()
        .map(|Embeddings { address, path, model }| format!("{model} at {address}{path}"));
    let measure = match measure {
        Measure::Told => "told",
        Measure::Vectors => "vectors",
    };
    let mut facts = of_asking(asking);
    facts.extend(said([
        ("questions", format!("{}, {}", questions.len(), fingerprint(set))),
        ("seeds", list(seeds, "none")),
        ("top_k", top_k.to_string()),
        ("delta_s", measure.to_owned()),
        ("embeddings", or_none(embeddings.as_ref())),
        ("reference", or_none(reference.as_ref())),
        ("parallel", parallel.to_string()),
        ("age", duration(age_max)),
    ]));
    facts.extend(of_limits(limits));
    facts
}

/// A short print of everything that is asked and expected: texts are too long to be told.
fn fingerprint(set: &ProbeSet) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &dyn Display| {
        let text = text.to_string();
        digest.update(text.len().to_string());
        digest.update(":");
        digest.update(text);
    };
    for question in &set.questions {
        add(&question.id);
        add(&question.wordings.len());
        question.wordings.iter().for_each(|it| add(it));
        add(&question.gold.len());
        question.gold.iter().for_each(|it| add(it));
        add(&or_none(question.baseline.as_ref()));
    }
    hexadecimal(&digest.finalize()).chars().take(12).collect()
}

fn of_limits(limits: &Limits) -> Said {
    let Limits {
        questions_min,
        drift_max,
        aggregate,
        median_max,
        risk,
        gold_min,
        overlap_min,
        order_min,
        seeds_may_be_ignored,
    } = limits;
    let aggregate = match aggregate {
        Aggregate::Max => "max",
        Aggregate::MedianP95 => "median_p95",
        Aggregate::Mean => "mean",
    };
    said([
        ("questions_min", questions_min.to_string()),
        ("drift_max", drift_max.to_string()),
        ("drift_by", aggregate.to_owned()),
        ("median_max", median_max.to_string()),
        ("risk", risk.to_string()),
        ("gold_min", gold_min.to_string()),
        ("overlap_min", overlap_min.to_string()),
        ("order_min", order_min.to_string()),
        ("ignored_seeds accepted", flag(*seeds_may_be_ignored)),
    ])
}
