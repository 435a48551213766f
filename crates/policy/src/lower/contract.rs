//! Lowers the contract: its keys, what each must be, and how endpoints are asked.

use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::contract::{
    Accepts, Contract, Expectation, Key, STANDARD_KEYS, Source, VALUE_BYTES_MAX, Value, Weight,
};
use tidegate_core::id::KEYS_MAX;
use tidegate_core::policy::Probing;

use super::Lowering;
use crate::dates;
use crate::flaws::Flaw;
use crate::names;
use crate::place::Place;
use crate::units;
use crate::yaml::{self, Expect, ExpectRule, KeySource, Mixed, Scalar};

/// What a report carries besides its contract; never compared.
const REPORTED: [&str; 6] =
    ["release_id", "revision", "build_ts", "ready", "blob_manifest", "queue"];
/// Largest answer to a probe that a policy may ask to be read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

impl Lowering<'_> {
    pub(super) fn contract(&self, contract: &yaml::Contract) -> Contract {
        let root = Place::Root;
        let place = root.key("contract");
        let mut keys = Contract::default().keys;
        let expect = place.key("expect");
        for (name, rule) in &contract.expect.0 {
            let at = expect.key(name);
            let expectation = self.expectation(&at, rule);
            if let Some(key) = keys.iter_mut().find(|it| *it.name == **name) {
                key.expect = Some(expectation);
                continue;
            }
            self.key_name(&at, name);
            let source = Source::Pointer(format!("/{name}").into());
            keys.push(Key { name: name.as_str().into(), source, expect: Some(expectation) });
        }
        if keys.len() > KEYS_MAX {
            let message = format!("there are {} keys, the standard ones included", keys.len());
            self.flaws.push(Flaw::key(&expect, message).help(format!("expect at most {KEYS_MAX}")));
        }
        let sources = place.key("sources");
        for (name, source) in &contract.sources.0 {
            let at = sources.key(name);
            let source = self.source(&at, source);
            if let Some(key) = keys.iter_mut().find(|it| *it.name == **name) {
                key.source = source;
                continue;
            }
            let own = keys.iter().skip(STANDARD_KEYS.len());
            let known: Vec<&str> =
                STANDARD_KEYS.into_iter().chain(own.map(|it| &*it.name)).collect();
            self.unknown(&at, "key", name, &known);
        }
        Contract { keys }
    }

    fn key_name(&self, place: &Place<'_>, name: &str) {
        if REPORTED.contains(&name) {
            let flaw = Flaw::field(place, format!("`{name}` is reported, never compared"));
            let help = match name {
                "release_id" => "requests select a release with the header X-Release",
                _ => "remove it; it is shown beside the verdict in any case",
            };
            self.flaws.push(flaw.help(help));
        } else if !names::is_label(name) {
            let flaw = Flaw::field(place, format!("`{name}` cannot be the name of a key"));
            self.flaws.push(flaw.help("use letters, digits, `_`, `.` and `-`"));
        }
    }

    fn source(&self, place: &Place<'_>, source: &KeySource) -> Source {
        match source {
            KeySource::Header(name) => Source::Header(self.header(&place.key("header"), name)),
            KeySource::Pointer(pointer) => {
                if let Some(flaw) = names::pointer_flaw(pointer) {
                    let message = format!("`{pointer}` is not a JSON pointer");
                    self.wrong(&place.key("pointer"), message, flaw);
                }
                Source::Pointer(pointer.as_str().into())
            }
        }
    }

    fn expectation(&self, place: &Place<'_>, expect: &Expect) -> Expectation {
        match expect {
            Expect::Equals(scalar) => {
                let accepts = Accepts::Exactly(self.value(place, scalar));
                Expectation { accepts, weight: Weight::Veto }
            }
            Expect::Rule(rule) => self.rule(place, rule),
        }
    }

    fn rule(&self, place: &Place<'_>, rule: &ExpectRule) -> Expectation {
        let ExpectRule { equals, accept, until, agree, degrade, observe, weight } = rule;
        let given = [
            ("equals", equals.is_some()),
            ("accept", accept.is_some()),
            ("agree", agree.is_some()),
            ("degrade", degrade.is_some()),
            ("observe", observe.is_some()),
        ];
        let given: Vec<String> = given
            .into_iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if given.len() != 1 {
            let message = match given.as_slice() {
                [] => "there is no expected value".to_owned(),
                given => format!("{} exclude each other", given.join(" and ")),
            };
            let help = "give one of `equals`, `accept`, `agree`, `degrade`, `observe`";
            self.flaws.push(Flaw::key(place, message).help(help));
        }
        if until.is_some() && accept.is_none() {
            let help = "write `accept: [old, new]` beside it, or remove it";
            self.wrong(&place.key("until"), "`until` belongs to `accept`", help);
        }
        if let Some((word, _)) =
            [("degrade", degrade), ("observe", observe)].into_iter().find(|it| it.1.is_some())
            && weight.is_some()
        {
            let help = format!("write `equals` in place of `{word}`, or remove `weight`");
            self.wrong(&place.key("weight"), format!("`{word}` says the weight already"), help);
        }
        let exactly =
            |name: &str, scalar: &Scalar| Accepts::Exactly(self.value(&place.key(name), scalar));
        let weight = match weight {
            None | Some(yaml::Weight::Veto) => Weight::Veto,
            Some(yaml::Weight::Degrade) => Weight::Degrade,
            Some(yaml::Weight::Observe) => Weight::Observe,
        };
        let (accepts, weight) = match (equals, accept, degrade, observe) {
            (Some(value), ..) => (exactly("equals", value), weight),
            (None, Some(values), ..) => (self.rotation(place, values, until.as_deref()), weight),
            (None, None, Some(value), _) => (exactly("degrade", value), Weight::Degrade),
            (None, None, None, Some(value)) => (exactly("observe", value), Weight::Observe),
            (None, None, None, None) => (Accepts::Agreed, weight),
        };
        if *agree == Some(false) {
            let help = "write `agree: true`, or remove the key from `expect`";
            self.wrong(&place.key("agree"), "`agree` can only be true", help);
        }
        Expectation { accepts, weight }
    }

    fn rotation(&self, place: &Place<'_>, values: &[Scalar], until: Option<&str>) -> Accepts {
        let at = place.key("accept");
        let [old, new] = values else {
            let help = "list the old value and then the new one";
            self.wrong(&at, format!("there are {} values, not two", values.len()), help);
            return Accepts::Agreed;
        };
        let (old, new) = (self.value(&at.item(0), old), self.value(&at.item(1), new));
        if old == new {
            let help = "list the old value and then the new one, or use `equals`";
            self.wrong(&at, "the two values are the same", help);
        }
        let Some(text) = until else {
            let flaw = Flaw::key(&at, "a rotation must end");
            let help = "add `until: 2027-09-01T00:00:00Z`, the end of the old value";
            self.flaws.push(flaw.help(help));
            return Accepts::Agreed;
        };
        let until = dates::moment(text).unwrap_or_else(|| {
            let message = format!("`{text}` is not a date and time");
            let help = "write it as in RFC 3339: `2027-09-01T00:00:00Z`";
            self.wrong(&place.key("until"), message, help);
            Moment(0)
        });
        Accepts::Either { new, old, until }
    }

    fn value(&self, place: &Place<'_>, scalar: &Scalar) -> Value {
        match scalar {
            Scalar::Text(text) => {
                if text.len() > VALUE_BYTES_MAX {
                    let message = format!("the value has {} bytes", text.len());
                    let help = format!("a value has at most {VALUE_BYTES_MAX} bytes");
                    self.wrong(place, message, help);
                }
                Value::Text(text.as_str().into())
            }
            Scalar::Integer(number) => Value::Integer(*number),
            Scalar::Flag(flag) => Value::Flag(*flag),
        }
    }

    pub(super) fn probing(&self, contract: &yaml::Contract) -> Probing {
        let root = Place::Root;
        let place = root.key("contract");
        let place = place.key("probe");
        let probe = &contract.probe;
        if !names::is_target(&probe.path) {
            let message = format!("`{}` cannot be asked for", probe.path);
            self.wrong(&place.key("path"), message, "write a path such as `/contract`");
        }
        if let Some(host) = &probe.host
            && !names::is_authority(host)
        {
            let message = format!("`{host}` is not a host");
            self.wrong(&place.key("host"), message, "write a name such as `svc.internal`");
        }
        let interval = self.time(&place.key("interval"), &probe.interval.0);
        let timeout = self.time(&place.key("timeout"), &probe.timeout.0);
        let size = self.unit(&place.key("max_size"), units::size(&probe.max_size.0));
        if !(1..=ANSWER_BYTES_MAX).contains(&size) && units::size(&probe.max_size.0).is_ok() {
            let message = format!("`{}` is out of bounds", probe.max_size.0);
            self.wrong(&place.key("max_size"), message, "write a size from 1B to 16MiB");
        }
        Probing {
            path: probe.path.as_str().into(),
            host: probe.host.as_deref().map(Into::into),
            interval,
            timeout,
            body_bytes_max: usize::try_from(size).unwrap_or_default(),
            rise: self.whole(&place.key("rise"), probe.rise, 1..=1000),
            fall: self.whole(&place.key("fall"), probe.fall, 1..=1000),
            stale_after: self.stale_after(&place, probe, interval, timeout),
            shadow: contract.shadow,
            mixed_allowed: contract.mixed == Mixed::Allow,
        }
    }

    fn stale_after(
        &self,
        place: &Place<'_>,
        probe: &yaml::Probe,
        interval: Duration,
        timeout: Duration,
    ) -> Duration {
        let Some(text) = &probe.stale_after else {
            return interval.saturating_mul(5).max(interval.saturating_add(timeout));
        };
        let at = place.key("stale_after");
        let stale_after = self.time(&at, &text.0);
        let is_read = [&text.0, &probe.interval.0, &probe.timeout.0]
            .into_iter()
            .all(|it| units::duration(it).is_ok_and(|it| !it.is_zero()));
        if is_read && stale_after <= interval {
            let message =
                format!("results would be stale before the next probe, {} later", probe.interval.0);
            self.wrong(&at, message, "make it several intervals long");
        } else if is_read && stale_after < timeout {
            let message = format!(
                "results would be stale before a probe times out, {} later",
                probe.timeout.0
            );
            self.wrong(&at, message, "make it longer than `timeout`");
        }
        stale_after
    }
}
