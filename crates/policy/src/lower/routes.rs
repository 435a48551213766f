//! Lowers the routes, and finds those that no request can reach.

use std::collections::BTreeMap;

use tidegate_core::ask::Intent;
use tidegate_core::id::{Name, RegionSet};
use tidegate_core::policy::{Matcher, PathMatch, PinRule, Require, Route, Strategy, Timeouts};

use super::Lowering;
use super::regions::Residencies;
use super::rules::usual_timeouts;
use crate::flaws::Flaw;
use crate::names;
use crate::place::Place;
use crate::yaml;

/// Most routes that one policy may have.
const ROUTES_MAX: usize = 4096;
/// The methods that are written in capitals whatever else a service may understand.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Lowering<'_> {
    pub(super) fn routes(&self, file: &yaml::File, residencies: &Residencies) -> Vec<Route> {
        let root = Place::Root;
        let place = root.key("routes");
        let count = file.routes.len();
        if count == 0 || count > ROUTES_MAX {
            let message = format!("there are {count} routes");
            self.flaws.push(Flaw::key(&place, message).help(format!("write 1 to {ROUTES_MAX}")));
            return Vec::new();
        }
        let timeouts = self.timeouts(&root.key("timeouts"), &file.timeouts, &usual_timeouts());
        let mut first_places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut routes: Vec<Route> = Vec::new();
        for (index, route) in file.routes.iter().enumerate() {
            let item = place.item(index);
            self.route_name(&item.key("name"), &route.name);
            if let Some(first) = first_places.get(route.name.as_str()) {
                let message = format!("routes[{first}] is called `{}` already", route.name);
                self.wrong(&item.key("name"), message, "give each route a name of its own");
            }
            first_places.entry(&route.name).or_insert(index);
            let flaws_before = self.flaws.count();
            let lowered = self.route(&item, route, file, (residencies, &timeouts));
            let is_sound = flaws_before == self.flaws.count();
            if let Some(earlier) = routes.iter().find(|it| it.matcher.covers(&lowered.matcher))
                && is_sound
            {
                let message = format!(
                    "no request reaches `{}`: `{}` above it takes them all",
                    lowered.name, earlier.name
                );
                let help = format!("move it above `{}`, or remove it", earlier.name);
                self.flaws.push(Flaw::value(&item, message).help(help));
            }
            routes.push(lowered);
        }
        routes
    }

    fn route_name(&self, place: &Place<'_>, name: &str) {
        if !names::is_label(name) {
            let message = format!("`{name}` cannot be the name of a route");
            let max = names::NAME_BYTES_MAX;
            let help = format!("use letters, digits, `_`, `.` and `-`, at most {max} of them");
            self.wrong(place, message, help);
        }
    }

    fn route(
        &self,
        place: &Place<'_>,
        route: &yaml::Route,
        file: &yaml::File,
        (residencies, timeouts): (&Residencies, &Timeouts),
    ) -> Route {
        let mut timeouts = self.timeouts(&place.key("timeouts"), &route.timeouts, timeouts);
        if route.stream {
            if route.timeouts.total.as_ref().is_some_and(|it| it.0 != "none") {
                let timeouts = place.key("timeouts");
                let help = "remove `total`, or `stream`; `idle` ends a stream that stands still";
                self.wrong(&timeouts.key("total"), "a stream has no total deadline", help);
            }
            timeouts.total = None;
            if route.timeouts.body.is_none() {
                timeouts.body = None;
            }
        }
        let residency_name = route.residency.as_deref();
        Route {
            name: route.name.as_str().into(),
            matcher: self.matcher(&place.key("match"), &route.matcher),
            intent: route.intent.map(|it| match it {
                yaml::Intent::Read => Intent::Read,
                yaml::Intent::Write => Intent::Write,
            }),
            stream: route.stream,
            require: match route.require {
                yaml::Require::Contract => Require::Contract,
                yaml::Require::Answer => Require::Answer,
            },
            pin: match route.pin {
                yaml::Pin::Soft => PinRule::Soft,
                yaml::Pin::Require => PinRule::Require,
                yaml::Pin::Ignore => PinRule::Ignore,
            },
            residency: residency_name.map_or(RegionSet::ALL, |name| {
                residencies.get(name).copied().unwrap_or_else(|| {
                    let known: Vec<&str> = residencies.keys().map(|it| &**it).collect();
                    self.unknown(&place.key("residency"), "residency rule", name, &known);
                    RegionSet::EMPTY
                })
            }),
            residency_name: residency_name.map(Into::into),
            strategy: match route.strategy {
                yaml::Strategy::Nearest => Strategy::Nearest,
                yaml::Strategy::Measured => Strategy::Measured,
            },
            timeouts,
            sticky: Self::stickiness(route.sticky),
            fence: self.route_fence(place, route, file),
            owned: self.route_ownership(place, route, file),
        }
    }

    fn matcher(&self, place: &Place<'_>, matcher: &yaml::Matcher) -> Matcher {
        let path = match (&matcher.path, &matcher.exact) {
            (Some(_), Some(_)) => {
                let flaw = Flaw::key(&place.key("exact"), "`path` and `exact` exclude each other");
                self.flaws.push(flaw.help("`path` takes everything below it, `exact` only itself"));
                PathMatch::Prefix("/".into())
            }
            (None, Some(exact)) => PathMatch::Exact(self.path(&place.key("exact"), exact)),
            (Some(path), None) => PathMatch::Prefix(self.path(&place.key("path"), path)),
            (None, None) => PathMatch::Prefix("/".into()),
        };
        let hosts = self.list(&place.key("hosts"), matcher.hosts.as_deref(), |place, host| {
            self.host(place, host)
        });
        let methods =
            self.list(&place.key("methods"), matcher.methods.as_deref(), |place, method| {
                self.method(place, method)
            });
        Matcher { path, hosts, methods }
    }

    fn path(&self, place: &Place<'_>, path: &str) -> Name {
        if !names::is_path(path) {
            let message = format!("`{path}` is not a path");
            self.wrong(place, message, "begin with `/`, without query, fragment and spaces");
        }
        path.into()
    }

    /// A list that says nothing when it is not there, and must say something when it is.
    fn list(
        &self,
        place: &Place<'_>,
        texts: Option<&[String]>,
        lower: impl Fn(&Place<'_>, &str) -> Name,
    ) -> Vec<Name> {
        let Some(texts) = texts else { return Vec::new() };
        if texts.is_empty() {
            self.wrong(place, "the list is empty", "fill it, or remove the key to take any");
        }
        let mut names: Vec<Name> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let name = lower(&place.item(index), text);
            if names.contains(&name) {
                self.wrong(&place.item(index), format!("`{text}` is listed twice"), "remove one");
            }
            names.push(name);
        }
        names
    }

    fn host(&self, place: &Place<'_>, host: &str) -> Name {
        if !names::is_host(host) {
            let message = format!("`{host}` is not a host name");
            self.wrong(place, message, "write a name without port and wildcard: `api.example.com`");
        }
        host.to_ascii_lowercase().into()
    }

    fn method(&self, place: &Place<'_>, method: &str) -> Name {
        let capitals = method.to_ascii_uppercase();
        if !names::is_token(method) {
            let message = format!("`{method}` is not a method");
            self.wrong(place, message, "write a method such as `GET`");
        } else if method != capitals && METHODS.contains(&capitals.as_str()) {
            let message = format!("`{method}` is not `{capitals}`: methods are told apart by case");
            self.wrong(place, message, format!("write `{capitals}`"));
        }
        method.into()
    }
}
