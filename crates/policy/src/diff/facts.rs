//! Takes a policy apart, part by part.
//!
//! Every type of the model is taken apart by name, so that a field that is added there does not
//! compile here until it is told.

use std::collections::HashMap;

use tidegate_core::contract::{Contract, Key};
use tidegate_core::policy::{
    Admin, DrainRules, EjectionRules, EndpointSource, FailbackRules, Listener, Matcher,
    MeasuringRules, Policy, Probing, RegionPolicy, Releases, RetryRules, Route, StickyKey,
    StickyRules, StopRules, Timeouts,
};

use super::written::{self, NONE, flag, list, or_none};
use super::{Facts, Value};
use crate::units::written as duration;

/// What is said of one thing.
pub(super) type Said = Vec<(String, Value)>;

pub(super) fn said<const N: usize>(facts: [(&str, String); N]) -> Said {
    facts.into_iter().map(|(name, text)| (name.to_owned(), Value::Text(text))).collect()
}

impl Facts {
    /// Everything that a policy says.
    pub fn of(policy: &Policy) -> Self {
        let mut facts = Self::default();
        facts.of_process(policy);
        for region in &policy.regions {
            facts.add("region", &region.name, of_region(region));
        }
        facts.of_contract(&policy.contract);
        facts.add("probe", "", of_probing(&policy.probing));
        facts.add("ejection", "", of_ejection(&policy.ejection));
        facts.add("failback", "", of_failback(&policy.failback));
        facts.add("measured", "", of_measuring(&policy.measuring));
        facts.add("releases", "", of_releases(&policy.releases));
        facts.add("retries", "", of_retries(&policy.retries));
        facts.of_sticky(&policy.sticky);
        if let Some(fence) = &policy.fence {
            facts.of_fence(fence);
        }
        if let Some(gates) = &policy.gates {
            facts.of_gates(gates);
        }
        if let Some(ownership) = &policy.ownership {
            facts.of_ownership(ownership, policy);
        }
        facts.add("drain", "", of_drain(&policy.drain));
        facts.add("stop", "", of_stop(&policy.stop));
        for route in &policy.routes {
            facts.add("route", &route.name, of_route(route, policy));
            if let Some(fence) = &route.fence {
                facts.of_fenced(&route.name, fence);
            }
            if let Some(owned) = &route.owned {
                facts.of_owned(&route.name, owned);
            }
        }
        facts.number_namesakes();
        facts
    }

    fn of_process(&mut self, policy: &Policy) {
        let Policy {
            site,
            listeners,
            admin: Admin { socket, http },
            threads,
            access_log,
            pins_from,
            trusted_peers,
            watch,
            regions: _,
            contract: _,
            probing: _,
            ejection: _,
            failback: _,
            measuring: _,
            releases: _,
            routes: _,
            retries: _,
            sticky: _,
            drain: _,
            stop: _,
            fence: _,
            gates: _,
            ownership: _,
        } = policy;
        let socket = socket.as_ref().map(|it| it.display());
        self.add("site", "", said([("name", or_none(site.as_ref()))]));
        self.add("process", "", said([("threads", threads.to_string())]));
        let admin = [("socket", or_none(socket.as_ref())), ("http", or_none(http.as_ref()))];
        self.add("admin", "", said(admin));
        self.add("access_log", "", said([("lines", flag(*access_log))]));
        let watch = written::duration_or(watch.as_ref(), "off");
        self.add("watch", "", said([("every", watch)]));
        self.add("pins_from", "", said([("networks", list(pins_from, "anywhere"))]));
        self.add("trusted_peers", "", said([("networks", list(trusted_peers, NONE))]));
        for listener in listeners {
            let Listener { bind, head, keepalive } = listener;
            let times = [("head", duration(head)), ("keepalive", duration(keepalive))];
            self.add("listener", &bind.to_string(), said(times));
        }
    }

    fn of_contract(&mut self, contract: &Contract) {
        let Contract { keys } = contract;
        for Key { name, source, expect } in keys {
            let expects = expect.as_ref().map(|it| written::accepts(&it.accepts));
            let weight = expect.as_ref().map(|it| written::weight(it.weight));
            let facts = [
                ("expects", expects.unwrap_or_else(|| "nothing".to_owned())),
                ("has the weight", or_none(weight.as_ref())),
                ("is read from", written::source(source)),
            ];
            self.add("contract", name, said(facts));
        }
    }

    fn of_sticky(&mut self, sticky: &StickyRules) {
        let StickyRules { keys, ttl, cookie, header, on_drain } = sticky;
        let facts = [
            ("ttl", duration(ttl)),
            ("cookie", cookie.to_string()),
            ("header", header.to_string()),
            ("on_drain", written::on_drain(*on_drain).to_owned()),
        ];
        self.add("sticky", "", said(facts));
        for StickyKey { id, secret } in keys {
            let secret = Value::secret(secret);
            self.add("sticky key", id, vec![("secret".to_owned(), secret)]);
        }
    }

    /// Gives things of one name different ones, so that none hides another.
    fn number_namesakes(&mut self) {
        let mut seen: HashMap<(String, String), usize> = HashMap::new();
        for thing in &mut self.0 {
            let nth = seen.entry((thing.kind.clone(), thing.name.clone())).or_default();
            *nth += 1;
            if 1 < *nth {
                thing.name = format!("{} #{nth}", thing.name);
            }
        }
    }
}

fn of_region(region: &RegionPolicy) -> Said {
    let RegionPolicy {
        name: _,
        distance,
        capacity,
        endpoints,
        protocol,
        balance,
        slow_start,
        green_share_percent,
    } = region;
    let mut facts = said([
        ("distance", distance.to_string()),
        ("capacity", or_none(capacity.as_ref())),
        ("endpoints", written::endpoints(endpoints)),
        ("protocol", written::protocol(*protocol).to_owned()),
        ("balance", written::balance(balance)),
        ("slow_start", duration(slow_start)),
        ("green_share", format!("{green_share_percent}%")),
    ]);
    if let EndpointSource::Listed(listed) = endpoints {
        facts.extend(listed.iter().map(|it| {
            (format!("endpoint {}", it.address), Value::text(format!("weight {}", it.weight)))
        }));
    }
    facts
}

fn of_probing(probing: &Probing) -> Said {
    let Probing {
        path,
        host,
        interval,
        timeout,
        body_bytes_max,
        rise,
        fall,
        stale_after,
        shadow,
        mixed_allowed,
    } = probing;
    said([
        ("path", path.to_string()),
        ("host", or_none(host.as_ref())),
        ("interval", duration(interval)),
        ("timeout", duration(timeout)),
        ("max_size", format!("{body_bytes_max}B")),
        ("rise", rise.to_string()),
        ("fall", fall.to_string()),
        ("stale_after", duration(stale_after)),
        ("shadow", flag(*shadow)),
        ("mixed", if *mixed_allowed { "allow" } else { "refuse" }.to_owned()),
    ])
}

fn of_ejection(rules: &EjectionRules) -> Said {
    let EjectionRules { enabled, connect_failures, window, volume_min, budget_percent, base, max } =
        rules;
    said([
        ("enabled", flag(*enabled)),
        ("connect_failures", connect_failures.to_string()),
        ("window", duration(window)),
        ("volume_min", volume_min.to_string()),
        ("budget", format!("{budget_percent}%")),
        ("base", duration(base)),
        ("max", duration(max)),
    ])
}

fn of_failback(rules: &FailbackRules) -> Said {
    let FailbackRules { mode, hysteresis, flips, within, freeze } = rules;
    said([
        ("mode", written::failback(*mode)),
        ("hysteresis", duration(hysteresis)),
        ("flips", flips.to_string()),
        ("within", duration(within)),
        ("freeze", duration(freeze)),
    ])
}

fn of_measuring(rules: &MeasuringRules) -> Said {
    let MeasuringRules { band_percent, hold, stale_after } = rules;
    said([
        ("band", format!("{band_percent}%")),
        ("hold", duration(hold)),
        ("stale_after", duration(stale_after)),
    ])
}

fn of_releases(releases: &Releases) -> Said {
    let Releases { aliases, split, by } = releases;
    let mut facts = said([("by", written::hash_key(by))]);
    let alias =
        |(alias, name): &(_, _)| (format!("alias {alias}"), Value::text(format!("of {name}")));
    facts.extend(aliases.iter().map(alias));
    let share = |(name, weight): &(_, _)| {
        (format!("split {name}"), Value::text(format!("weight {weight}")))
    };
    facts.extend(split.iter().map(share));
    facts
}

fn of_retries(rules: &RetryRules) -> Said {
    let RetryRules { attempts_max, budget_percent, budget_min_per_second, deadline } = rules;
    said([
        ("attempts", attempts_max.to_string()),
        ("budget", format!("{budget_percent}%")),
        ("budget_min", budget_min_per_second.to_string()),
        ("deadline", duration(deadline)),
    ])
}

fn of_drain(rules: &DrainRules) -> Said {
    let DrainRules { overdue_after, hard_deadline } = rules;
    said([
        ("overdue_after", duration(overdue_after)),
        ("hard_deadline", written::duration_or(hard_deadline.as_ref(), NONE)),
    ])
}

fn of_stop(rules: &StopRules) -> Said {
    let StopRules { lame_duck, within } = rules;
    said([
        ("lame_duck", duration(lame_duck)),
        ("within", written::duration_or(within.as_ref(), NONE)),
    ])
}

fn of_route(route: &Route, policy: &Policy) -> Said {
    let Route {
        name: _,
        matcher: Matcher { path, hosts, methods },
        intent,
        stream,
        require,
        pin,
        residency,
        residency_name,
        strategy,
        timeouts: Timeouts { connect, first_byte, idle, websocket_idle, grpc_idle, body, total },
        sticky,
        fence: _,
        owned: _,
    } = route;
    said([
        ("takes", written::path(path)),
        ("hosts", list(hosts, "any host")),
        ("methods", list(methods, "any method")),
        ("intent", written::intent(*intent).to_owned()),
        ("stream", flag(*stream)),
        ("require", written::require(*require).to_owned()),
        ("pin", written::pin(*pin).to_owned()),
        ("residency", or_none(residency_name.as_ref())),
        ("may use", written::residency(*residency, policy)),
        ("strategy", written::strategy(*strategy).to_owned()),
        ("timeouts.connect", duration(connect)),
        ("timeouts.first_byte", duration(first_byte)),
        ("timeouts.idle", duration(idle)),
        ("timeouts.websocket_idle", duration(websocket_idle)),
        ("timeouts.grpc_idle", duration(grpc_idle)),
        ("timeouts.body", written::duration_or(body.as_ref(), NONE)),
        ("timeouts.total", written::duration_or(total.as_ref(), NONE)),
        ("sticky", written::stickiness(*sticky).to_owned()),
    ])
}
