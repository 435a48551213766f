//! Lowers the doors: listeners, the admin addresses, and who may do what there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tidegate_core::id::Name;
use tidegate_core::policy::{Admin, Listener};

use super::{Lowering, address};
use crate::names;
use crate::place::Place;
use crate::yaml;

/// Longest path of a unix socket, in bytes.
const SOCKET_BYTES_MAX: usize = 107;

/// Shortest time between two looks at the policy's file.
const WATCH_MIN: Duration = Duration::from_millis(100);

impl Lowering<'_> {
    pub(super) fn site(&self, site: Option<&str>) -> Option<Name> {
        let site = site?;
        if !names::is_region(site) {
            let message = format!("`{site}` cannot be the name of a site");
            self.wrong(&Place::Root.key("site"), message, "use lower-case letters, digits and `-`");
        }
        Some(site.into())
    }

    pub(super) fn watch(&self, watch: &yaml::WatchText) -> Option<Duration> {
        if watch.0 == "off" {
            return None;
        }
        let root = Place::Root;
        let place = root.key("watch");
        let every = self.time(&place, &watch.0);
        if !every.is_zero() && every < WATCH_MIN {
            let message = format!("`{}` is too short", watch.0);
            self.wrong(&place, message, "write `100ms` or more, or `off`");
        }
        Some(every)
    }

    pub(super) fn listeners(&self, listeners: &[yaml::Listener]) -> Vec<Listener> {
        let root = Place::Root;
        let place = root.key("listeners");
        if listeners.is_empty() {
            self.wrong(&place, "there is no listener", "add `{ bind: \"0.0.0.0:8080\" }`");
        }
        let mut binds: Vec<(usize, SocketAddr)> = Vec::new();
        let mut lowered = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let item = place.item(index);
            let Some(bind) = self.address(&item.key("bind"), &listener.bind) else { continue };
            if let Some((first, other)) = binds.iter().find(|(_, it)| overlap(*it, bind)) {
                let message = format!("`{bind}` overlaps `{other}` of listeners[{first}]");
                self.wrong(&item.key("bind"), message, "remove one of them or change its port");
            }
            binds.push((index, bind));
            let timeouts = item.key("timeouts");
            lowered.push(Listener {
                bind,
                head: self.time(&timeouts.key("head"), &listener.timeouts.head.0),
                keepalive: self.time(&timeouts.key("keepalive"), &listener.timeouts.keepalive.0),
            });
        }
        lowered
    }

    pub(super) fn admin(&self, admin: &yaml::Admin, listeners: &[yaml::Listener]) -> Admin {
        let root = Place::Root;
        let place = root.key("admin");
        if let Some(socket) = &admin.socket
            && (socket.is_empty() || socket.len() > SOCKET_BYTES_MAX || socket.contains('\0'))
        {
            let message = format!("`{socket}` cannot be the path of a unix socket");
            let help = format!("write a path of 1 to {SOCKET_BYTES_MAX} bytes");
            self.wrong(&place.key("socket"), message, help);
        }
        let http = admin.http.as_ref().and_then(|it| self.address(&place.key("http"), it));
        let binds = listeners.iter().filter_map(|it| address(&it.bind.0).ok());
        if let Some(http) = http
            && let Some(bind) = binds.into_iter().find(|it| overlap(*it, http))
        {
            let message = format!("`{http}` overlaps the listener `{bind}`");
            self.wrong(&place.key("http"), message, "give the admin address a port of its own");
        }
        Admin { socket: admin.socket.as_ref().map(Into::into), http }
    }

    pub(super) fn pins_from(&self, texts: Option<&[String]>) -> Vec<IpNet> {
        let root = Place::Root;
        let place = root.key("pins_from");
        if texts.is_some_and(<[String]>::is_empty) {
            let help = "name the networks that may pin, or remove the key to allow everybody";
            self.wrong(&place, "an empty list allows nobody and everybody alike", help);
        }
        self.networks(&place, texts.unwrap_or_default())
    }

    pub(super) fn trusted_peers(&self, texts: Option<&[String]>) -> Vec<IpNet> {
        self.networks(&Place::Root.key("trusted_peers"), texts.unwrap_or_default())
    }
}

/// Whether two sockets cannot be bound at the same time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Linux lets a socket on `[::]` take the IPv4 port as well.
    let takes_all = |all: IpAddr, one: IpAddr| {
        all.is_unspecified() && (all.is_ipv6() || one.to_canonical().is_ipv4())
    };
    let (x, y) = (a.ip(), b.ip());
    a.port() == b.port()
        && (x.to_canonical() == y.to_canonical() || takes_all(x, y) || takes_all(y, x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_overlap_when_one_takes_what_the_other_wants() {
        let overlaps = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(overlap(a, b), overlap(b, a));
            overlap(a, b)
        };
        assert!(overlaps("0.0.0.0:80", "127.0.0.1:80") && overlaps("[::]:80", "127.0.0.1:80"));
        assert!(overlaps("[::]:80", "[::1]:80") && overlaps("[::]:80", "0.0.0.0:80"));
        assert!(overlaps("[::ffff:10.0.0.1]:80", "10.0.0.1:80"));
        assert!(!overlaps("0.0.0.0:80", "0.0.0.0:81") && !overlaps("0.0.0.0:80", "[::1]:80"));
        assert!(!overlaps("127.0.0.1:80", "127.0.0.2:80"));
    }
}
