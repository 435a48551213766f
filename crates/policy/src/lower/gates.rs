//! Lowers what must be proven before traffic may be moved.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::gate::drift::{Aggregate, Limits};
use tidegate_core::gate::millionths::Millionths;
use tidegate_core::gate::probes::{
    DEPTH_MAX, Measure, ProbeSet, QUESTIONS_MAX, Question, SEEDS_MAX, WORDINGS_MAX,
};
use tidegate_core::gate::queue::QueueLimits;
use tidegate_core::gate::rules::{
    Asking, BlobRules, Embeddings, EmergencyRules, GateRules, Loss, ProbeRules, QueueRules,
    StreamRules,
};
use tidegate_core::policy::Probing;
use tidegate_core::policy::fencing::RedisPassword;

use super::Lowering;
use crate::flaws::Flaw;
use crate::place::Place;
use crate::read::Reader;
use crate::tree;
use crate::units;
use crate::yaml;
use crate::{flaws, names};

/// Largest list of blobs that is read.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Largest answer to one question that is read.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Longest wording of a question, in bytes.
const WORDING_BYTES_MAX: usize = 4096;
/// Longest name of a stream or a group, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Most documents that one question may name.
const GOLD_MAX: usize = 64;

impl Lowering<'_> {
    pub(super) fn gates(&self, file: &yaml::File, probing: &Probing) -> Option<Arc<GateRules>> {
        let gates = file.gates.as_ref()?;
        let root = Place::Root;
        let place = root.key("gates");
        let regions = file.regions.0.len().max(1);
        let regions_max = u64::try_from(regions).unwrap_or(u64::MAX);
        let age = |name: &str, text: &yaml::DurationText| self.time(&place.key(name), &text.0);
        let contract_age = gates.contract_age.as_ref().map(|it| age("contract_age", it));
        if gates.fence.is_some() && file.fence.is_none() {
            let flaw = Flaw::key(&place.key("fence"), "there is no memory of writes");
            self.flaws.push(flaw.help("add `fence` to the policy, or remove it here"));
        }
        let fence = gates.fence.as_ref();
        Some(Arc::new(GateRules {
            may_move: !gates.locked,
            regions_min: self
                .whole::<u64>(&place.key("regions_min"), gates.regions_min, 1..=regions_max)
                .try_into()
                .unwrap_or(regions),
            contract_age_max: contract_age.unwrap_or(probing.stale_after),
            blobs: gates.blobs.as_ref().map(|it| self.blobs(&place.key("blobs"), it, probing)),
            queue: gates
                .queue
                .as_ref()
                .map(|it| self.queue(&place.key("queue"), it, &file.regions)),
            probes: gates
                .probes
                .as_ref()
                .map(|it| self.probe_set(&place.key("probes"), it, &file.regions)),
            fence_age_max: fence.map(|it| self.time(&place.key("fence").key("age"), &it.age.0)),
            emergency: self.emergency(&place.key("emergency"), &gates.emergency),
        }))
    }

    fn blobs(&self, place: &Place<'_>, blobs: &yaml::Blobs, probing: &Probing) -> BlobRules {
        let list = match blobs {
            yaml::Blobs::Contract(yaml::FromContract::Contract) => {
                return BlobRules { asking: None, age_max: probing.stale_after };
            }
            yaml::Blobs::List(list) => list,
        };
        let asking = Asking {
            path: self.asked_path(&place.key("path"), &list.path),
            every: self.time(&place.key("every"), &list.every.0),
            timeout: self.time(&place.key("timeout"), &list.timeout.0),
            body_bytes_max: self.bytes(&place.key("max_size"), &list.max_size, LIST_BYTES_MAX),
        };
        let age_max = self.age(&place.key("age"), &list.age, &asking);
        BlobRules { asking: Some(asking), age_max }
    }

    fn queue(
        &self,
        place: &Place<'_>,
        queue: &yaml::Queue,
        regions: &yaml::Entries<yaml::Region>,
    ) -> QueueRules {
        let streams = place.key("streams");
        for (name, _) in &queue.streams.0 {
            if regions.0.iter().all(|(it, _)| it != name) {
                let flaw = Flaw::key(&streams.key(name), format!("there is no region `{name}`"));
                self.flaws.push(flaw.help("name one of `regions`"));
            }
        }
        let lower = |(name, stream): &(String, yaml::Stream)| {
            let place = streams.key(name);
            Some((name.as_str().into(), self.stream(&place, stream)?))
        };
        QueueRules {
            streams: queue.streams.0.iter().filter_map(lower).collect(),
            limits: QueueLimits {
                depth_max: queue.depth_max,
                oldest_max: self.duration(&place.key("oldest_max"), &queue.oldest_max),
                growth_max: self.whole(&place.key("growth_max"), queue.growth_max, 0..=1_000_000),
            },
            age_max: self.time(&place.key("age"), &queue.age.0),
        }
    }

    fn stream(&self, place: &Place<'_>, stream: &yaml::Stream) -> Option<StreamRules> {
        for (name, text) in [("key", &stream.key), ("group", &stream.group)] {
            if text.is_empty() || NAME_BYTES_MAX < text.len() {
                let message = format!("a {name} has 1 to {NAME_BYTES_MAX} bytes");
                self.wrong(&place.key(name), message, "write its name");
            }
        }
        let node = super::fence::node(&stream.node);
        if node.is_none() {
            let message = format!("`{}` is not a server", stream.node);
            let help = "write its name or address and its port, such as `redis.internal:6379`";
            self.wrong(&place.key("node"), message, help);
        }
        if stream.user.is_some() && stream.password.is_none() {
            let flaw = Flaw::key(&place.key("user"), "a user without a password proves nothing");
            self.flaws.push(flaw.help("add `password: \"file:./redis.password\"`"));
        }
        let tls = stream.tls.as_ref().and_then(|it| self.redis_tls(&place.key("tls"), it));
        Some(StreamRules {
            node: node?,
            user: stream.user.as_deref().map(Into::into),
            password: stream.password.as_ref().map(|it| RedisPassword(Arc::from(it.reveal()))),
            tls,
            key: stream.key.as_str().into(),
            group: stream.group.as_str().into(),
            every: self.time(&place.key("every"), &stream.every.0),
            timeout: self.time(&place.key("timeout"), &stream.timeout.0),
        })
    }

    fn emergency(&self, place: &Place<'_>, emergency: &yaml::Emergency) -> EmergencyRules {
        EmergencyRules {
            age_max: self.time(&place.key("age"), &emergency.age.0),
            probes_age_max: self.time(&place.key("probes_age"), &emergency.probes_age.0),
            loss: match emergency.loss {
                yaml::Loss::Block => Loss::Block,
                yaml::Loss::Allow => Loss::Allow,
            },
        }
    }

    fn probe_set(
        &self,
        place: &Place<'_>,
        probes: &yaml::Probes,
        regions: &yaml::Entries<yaml::Region>,
    ) -> ProbeRules {
        let set = ProbeSet {
            questions: self.questions(&place.key("questions"), &probes.questions),
            seeds: self.seeds(&place.key("seeds"), &probes.seeds),
            top_k: self.count(&place.key("top_k"), probes.top_k, DEPTH_MAX),
        };
        let limits = self.limits(&place.key("limits"), &probes.limits);
        if !set.questions.is_empty() && set.questions.len() < limits.questions_min {
            let (has, wanted) = (set.questions.len(), limits.questions_min);
            let message = format!("the set has {has} questions, and {wanted} are wanted");
            let help = "add questions, or lower `limits.questions_min`";
            self.wrong(&place.key("questions"), message, help);
        }
        self.reference(place, probes.reference.as_deref(), (&set, regions));
        let asking = Asking {
            path: self.asked_path(&place.key("path"), &probes.path),
            every: self.time(&place.key("every"), &probes.every.0),
            timeout: self.time(&place.key("timeout"), &probes.timeout.0),
            body_bytes_max: self.bytes(&place.key("max_size"), &probes.max_size, ANSWER_BYTES_MAX),
        };
        let (measure, embeddings) = match &probes.delta_s {
            yaml::DeltaS::Told => (Measure::Told, None),
            yaml::DeltaS::Vectors => (Measure::Vectors, None),
            yaml::DeltaS::Embeddings(embeddings) => {
                let place = place.key("delta_s");
                let embeddings = self.embeddings(&place.key("embeddings"), embeddings);
                (Measure::Vectors, Some(embeddings))
            }
        };
        ProbeRules {
            set: Arc::new(set),
            limits,
            measure,
            reference: probes.reference.as_deref().map(Into::into),
            parallel: self.count(&place.key("parallel"), probes.parallel, 16),
            embeddings,
            age_max: self.age(&place.key("age"), &probes.age, &asking),
            asking,
        }
    }

    fn reference(
        &self,
        place: &Place<'_>,
        reference: Option<&str>,
        (set, regions): (&ProbeSet, &yaml::Entries<yaml::Region>),
    ) {
        match reference {
            Some(name) if regions.0.iter().all(|(it, _)| it != name) => {
                let message = format!("there is no region `{name}`");
                self.wrong(&place.key("reference"), message, "name one of `regions`");
            }
            None if !set.has_baseline() => {
                let flaw = Flaw::key(place, "there is nothing to compare regions with");
                let help = "add `reference` with a region, or `baseline` to each question";
                self.flaws.push(flaw.help(help));
            }
            Some(_) | None => {}
        }
    }

    fn embeddings(&self, place: &Place<'_>, embeddings: &yaml::Embeddings) -> Embeddings {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = self.address(&place.key("address"), &embeddings.address);
        if embeddings.model.is_empty() {
            self.wrong(&place.key("model"), "the model has no name", "name the model");
        }
        Embeddings {
            address: address.unwrap_or(nowhere),
            path: self.asked_path(&place.key("path"), &embeddings.path),
            model: embeddings.model.as_str().into(),
        }
    }

    fn limits(&self, place: &Place<'_>, limits: &yaml::Limits) -> Limits {
        let share = |name: &str, text: &yaml::PercentText| {
            let percent: u32 = self.percent(&place.key(name), text, 0..=100);
            Millionths::new(percent * 10_000)
        };
        let figure = |name: &str, text| self.figure(&place.key(name), text);
        Limits {
            questions_min: self.count(
                &place.key("questions_min"),
                limits.questions_min,
                QUESTIONS_MAX,
            ),
            drift_max: figure("drift_max", &limits.drift_max),
            aggregate: match limits.drift_by {
                yaml::DriftBy::Max => Aggregate::Max,
                yaml::DriftBy::MedianP95 => Aggregate::MedianP95,
                yaml::DriftBy::Mean => Aggregate::Mean,
            },
            median_max: figure("median_max", &limits.median_max),
            risk: figure("risk", &limits.risk),
            gold_min: share("gold_min", &limits.gold_min),
            overlap_min: share("overlap_min", &limits.overlap_min),
            order_min: share("order_min", &limits.order_min),
            seeds_may_be_ignored: match limits.ignored_seeds {
                yaml::IgnoredSeeds::Refuse => false,
                yaml::IgnoredSeeds::Accept => true,
            },
        }
    }

    fn seeds(&self, place: &Place<'_>, seeds: &[u64]) -> Vec<u64> {
        let unique: BTreeSet<_> = seeds.iter().collect();
        if seeds.is_empty() || SEEDS_MAX < seeds.len() || unique.len() < seeds.len() {
            let help = format!("write 1 to {SEEDS_MAX} different numbers, such as `[1, 2]`");
            self.wrong(place, "these cannot be the seeds", help);
        }
        seeds.to_vec()
    }

    /// The questions, wherever they stand.
    fn questions(&self, place: &Place<'_>, questions: &yaml::Questions) -> Vec<Question> {
        match questions {
            yaml::Questions::Listed(listed) => self.each_question(place, listed),
            yaml::Questions::File(text) => match listed_in(text) {
                Ok(listed) => self.each_question(place, &listed),
                Err(why) => {
                    let help = "write a list, or `file:` with a file that has nothing but a list";
                    self.wrong(place, format!("this is no list of questions: {why}"), help);
                    Vec::new()
                }
            },
        }
    }

    fn each_question(&self, place: &Place<'_>, listed: &[yaml::Question]) -> Vec<Question> {
        if listed.is_empty() || QUESTIONS_MAX < listed.len() {
            let message = format!("there are {} questions", listed.len());
            self.wrong(place, message, format!("write 1 to {QUESTIONS_MAX}"));
        }
        let mut seen = BTreeSet::new();
        let lower = |(at, it): (usize, &yaml::Question)| {
            let item = place.item(at);
            if !names::is_label(&it.id) {
                let message = format!("`{}` cannot be the name of a question", it.id);
                self.wrong(&item.key("id"), message, "use letters, digits, `_`, `.` and `-`");
            }
            if !seen.insert(it.id.clone()) {
                let message = format!("`{}` is the name of two questions", it.id);
                self.wrong(&item.key("id"), message, "give each a name of its own");
            }
            let wordings: Vec<_> = std::iter::once(&it.text).chain(&it.paraphrases).collect();
            let is_wording = |it: &&String| !it.is_empty() && it.len() <= WORDING_BYTES_MAX;
            if WORDINGS_MAX < wordings.len() || !wordings.iter().all(is_wording) {
                let message = format!("`{}` has no wordings that can be asked", it.id);
                let help =
                    format!("write 1 to {WORDINGS_MAX} wordings of 1 to {WORDING_BYTES_MAX} bytes");
                self.wrong(&item.key("question"), message, help);
            }
            if GOLD_MAX < it.gold.len() {
                let message = format!("there are {} documents", it.gold.len());
                self.wrong(&item.key("gold"), message, format!("name at most {GOLD_MAX}"));
            }
            Question {
                id: it.id.as_str().into(),
                wordings: wordings.into_iter().map(|it| it.as_str().into()).collect(),
                gold: it.gold.iter().map(|it| it.as_str().into()).collect(),
                baseline: it.baseline.as_ref().map(|it| self.figure(&item.key("baseline"), it)),
            }
        };
        listed.iter().enumerate().map(lower).collect()
    }

    /// A figure from 0 to 1.
    fn figure(&self, place: &Place<'_>, text: &yaml::FigureText) -> Millionths {
        let figure = text.0.parse::<f64>().ok().filter(|it| (0.0..=1.0).contains(it));
        figure.and_then(Millionths::of).unwrap_or_else(|| {
            let message = format!("`{}` is not a figure from 0 to 1", text.0);
            self.wrong(place, message, "write a number such as `0.03`");
            Millionths::ZERO
        })
    }

    /// A path that is asked for.
    fn asked_path(&self, place: &Place<'_>, path: &str) -> tidegate_core::id::Name {
        let is_visible = path.bytes().all(|it| it.is_ascii_graphic());
        if !path.starts_with('/') || !is_visible {
            let message = format!("`{path}` is not a path");
            self.wrong(place, message, "write a path such as `/probe`");
        }
        path.into()
    }

    fn bytes(&self, place: &Place<'_>, text: &yaml::SizeText, max: u64) -> usize {
        let size = self.unit(place, units::size(&text.0));
        if units::size(&text.0).is_ok() && !(1..=max).contains(&size) {
            let message = format!("`{}` is out of bounds", text.0);
            self.wrong(place, message, format!("write at most {}MiB, and not nothing", max >> 20));
        }
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// How old something may be that is asked for from time to time.
    fn age(&self, place: &Place<'_>, text: &yaml::DurationText, asking: &Asking) -> Duration {
        let age = self.time(place, &text.0);
        let round = asking.every + asking.timeout;
        if !age.is_zero() && age < round {
            let message = format!("`{}` is over before the next answer can be there", text.0);
            let help = format!("write `{}` or more", units::written(&round));
            self.wrong(place, message, help);
        }
        age
    }

    fn count(&self, place: &Place<'_>, value: u64, max: usize) -> usize {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        let count: u64 = self.whole(place, value, 1..=max);
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

/// The questions in the text of a file.
fn listed_in(text: &str) -> Result<Vec<yaml::Question>, String> {
    let node = tree::parse(text).map_err(|defect| defect.flaw.message)?;
    let flaws = flaws::Flaws::default();
    let place = Place::Root;
    let reader = Reader { node: &node, place: &place, flaws: &flaws };
    let listed = <Vec<yaml::Question> as serde::Deserialize>::deserialize(reader);
    let wrong = flaws.into_list();
    match (listed, wrong.first()) {
        (Ok(listed), None) => Ok(listed),
        (_, Some(flaw)) => Err(flaw.message.clone()),
        (Err(flaw), None) => Err(flaw.message),
    }
}
