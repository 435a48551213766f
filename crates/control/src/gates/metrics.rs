//! Gauges of the gates, judged when somebody asks for them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tidegate_core::gate::book::Figures;
use tidegate_core::gate::verdict::{Gate, Kind, Move};
use tidegate_core::id::Name;

use super::Gates;
use crate::clock;

/// Judges the gates for a scrape.
#[derive(Debug)]
pub(super) struct GateMetrics(pub(super) Gates);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGate {
    gate: &'static str,
    requests: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    gate: &'static str,
    condition: &'static str,
    owner: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatistic {
    region: Name,
    statistic: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeed {
    region: Name,
    seed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRegion {
    region: Name,
}

impl Collector for GateMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let judge = |kind| self.0.judge(kind, &Move::default());
        let gates: Vec<Gate> =
            [Kind::Planned, Kind::Emergency].into_iter().filter_map(judge).collect();
        let mut gauges = Gauges(encoder);
        gauges.of_gates(&gates)?;
        gauges.of_probes(&self.0.figures())
    }
}

struct Gauges<'a>(DescriptorEncoder<'a>);

impl Gauges<'_> {
    fn of_gates(&mut self, gates: &[Gate]) -> fmt::Result {
        let opens = gates.iter().flat_map(|it| {
            let of = |requests| OfGate { gate: it.kind.word(), requests };
            [
                (of("reads"), u64::from(it.opens_reads())),
                (of("writes"), u64::from(it.opens_writes())),
            ]
        });
        self.family("tidegate_gate_open", "A gate is open for these requests.", None, opens)?;
        let evidence = || {
            gates.iter().flat_map(|gate| {
                gate.evidence.iter().map(|it| {
                    let (condition, owner) = (it.condition.word(), Name::clone(&it.owner));
                    (OfCondition { gate: gate.kind.word(), condition, owner }, it)
                })
            })
        };
        let green = evidence().map(|(labels, it)| (labels, u64::from(it.is_green())));
        self.family("tidegate_gate_condition", "A condition of a gate holds.", None, green)?;
        let now = clock::now();
        let ages =
            evidence().filter_map(|(labels, it)| Some((labels, now.since(it.seen?).as_secs_f64())));
        let help = "How old the evidence of a condition is.";
        self.family("tidegate_gate_evidence_age", help, Some(&Unit::Seconds), ages)
    }

    fn of_probes(&mut self, figures: &[(Name, Figures)]) -> fmt::Result {
        let of = |region: &Name, statistic| OfStatistic { region: Name::clone(region), statistic };
        let stress = figures.iter().flat_map(|(region, it)| {
            [(of(region, "median"), it.median.as_f64()), (of(region, "max"), it.max.as_f64())]
        });
        let help = "How far questions and what a region retrieves for them are apart.";
        self.family("tidegate_probe_delta_s", help, None, stress)?;
        let drifts = figures.iter().filter_map(|(region, it)| Some((region, it.drift?)));
        let drifts = drifts.flat_map(|(region, it)| {
            [
                (of(region, "max"), it.max.as_f64()),
                (of(region, "median"), it.median.as_f64()),
                (of(region, "p95"), it.p95.as_f64()),
                (of(region, "mean"), it.mean.as_f64()),
            ]
        });
        let help = "How far that is from the reference.";
        self.family("tidegate_probe_drift", help, None, drifts)?;
        let lambdas = figures.iter().flat_map(|(region, it)| {
            it.lambdas.iter().map(move |(seed, tally)| {
                let labels = OfSeed { region: Name::clone(region), seed: *seed };
                (labels, tally.convergent_share().as_f64())
            })
        });
        let help = "Share of the answers whose lambda is convergent.";
        self.family("tidegate_probe_lambda_convergent", help, None, lambdas)?;
        let of_region = |region: &Name| OfRegion { region: Name::clone(region) };
        let ignored = figures.iter().map(|(region, it)| {
            (of_region(region), u64::try_from(it.seeds_ignored).unwrap_or(u64::MAX))
        });
        let help = "Answers that ignored their seed.";
        self.family("tidegate_probe_seeds_ignored", help, None, ignored)?;
        let gold = figures.iter().map(|(region, it)| (of_region(region), it.gold.as_f64()));
        let help = "Share of the answers that find a gold document.";
        self.family("tidegate_probe_gold", help, None, gold)
    }

    fn family<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut series = series.peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
