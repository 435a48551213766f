//! A small network of its own for one test: places around a switch, which can be parted.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const FIRST_THREE: [u8; 3] = [10, 77, 0];
/// The same in the hall, by which all places reach the test whatever is parted.
const OF_HALL: [u8; 3] = [10, 78, 0];
/// The address of the switch, where the test itself lives.
const HUB: u8 = 254;
/// The switch of the test.
const NEAR: &str = "near0";
/// The switch of those who are parted from it.
const FAR: &str = "far0";
/// The switch of the hall.
const HALL: &str = "hall0";

/// Says in one line why a test could not be made on this machine.
pub fn say_skipped(what: &str, why: &str) {
    // Nobody may be there to read it.
    writeln!(std::io::stderr(), "skipped: {what}: {why}").ok();
}

/// The network. Dropping it takes it down.
///
/// The thread that made it lives at the switch from then on, and so does all that it starts. So
/// it must be made before anything else of the harness is used.
#[derive(Debug)]
pub struct Network {
    hub: String,
    places: Vec<String>,
}

impl Network {
    /// Makes a network with so many places, at most 200, and moves this thread to its switch.
    ///
    /// # Errors
    /// In words: what this machine does not allow.
    pub fn enter(count: u8) -> Result<Self, String> {
        let name = |what: &str| format!("tidegate-{}-{what}", std::process::id());
        let places = (1..=count).map(|nth| name(&nth.to_string())).collect();
        let network = Self { hub: name("hub"), places };
        network.build()?;
        enter(&network.hub)?;
        Ok(network)
    }

    fn build(&self) -> Result<(), String> {
        let hub = self.hub.as_str();
        ip(&["netns", "add", hub])?;
        ip(&["-n", hub, "link", "set", "lo", "up"])?;
        for switch in [NEAR, FAR, HALL] {
            ip(&["-n", hub, "link", "add", switch, "type", "bridge"])?;
            ip(&["-n", hub, "link", "set", switch, "up"])?;
        }
        for (address, switch) in [(address_in(FIRST_THREE, HUB), NEAR), (self.hall(), HALL)] {
            ip(&["-n", hub, "addr", "add", &format!("{address}/24"), "dev", switch])?;
        }
        for (place, name) in self.places.iter().enumerate() {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            self.lay(name, (&cable(place), NEAR), ("eth0", self.address(place)))?;
            let way = format!("way{place}");
            self.lay(name, (&way, HALL), ("eth1", self.in_hall(place)))?;
        }
        Ok(())
    }

    /// Lays a cable from a switch to a place.
    fn lay(
        &self,
        name: &str,
        (cable, switch): (&str, &str),
        (socket, address): (&str, IpAddr),
    ) -> Result<(), String> {
        let hub = self.hub.as_str();
        let pair = ["type", "veth", "peer", "name", socket, "netns", name];
        ip(&[&["-n", hub, "link", "add", cable], &pair[..]].concat())?;
        ip(&["-n", hub, "link", "set", cable, "master", switch, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", socket])?;
        ip(&["-n", name, "link", "set", socket, "up"])
    }

    /// The address of a place, which counts from 0.
    pub fn address(&self, place: usize) -> IpAddr {
        address_in(FIRST_THREE, last_of(place))
    }

    /// The address of the test in the hall, where nothing is ever parted.
    pub fn hall(&self) -> IpAddr {
        address_in(OF_HALL, HUB)
    }

    /// The address of a place in the hall.
    pub fn in_hall(&self, place: usize) -> IpAddr {
        address_in(OF_HALL, last_of(place))
    }

    /// Does something at a place, in a thread of its own.
    #[track_caller]
    pub fn at<T: Send>(&self, place: usize, deed: impl FnOnce() -> T + Send) -> T {
        let name = self.places.get(place).expect("there is such a place");
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(name).expect("a place can be entered");
                deed()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The words by which a program is started at a place.
    pub fn words(&self, place: usize) -> [&str; 4] {
        ["ip", "netns", "exec", self.places.get(place).expect("there is such a place")]
    }

    /// Parts these places from the test and from all others. They still hear each other.
    #[track_caller]
    pub fn part(&self, places: &[usize]) {
        for place in places {
            self.plug(*place, FAR);
        }
    }

    /// Lets everybody hear everybody again.
    #[track_caller]
    pub fn join(&self) {
        for place in 0..self.places.len() {
            self.plug(place, NEAR);
        }
    }

    #[track_caller]
    fn plug(&self, place: usize, switch: &str) {
        let done = ip(&["-n", &self.hub, "link", "set", &cable(place), "master", switch]);
        done.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.places.iter().chain([&self.hub]) {
            // What was never made cannot be removed.
            ip(&["netns", "del", name]).ok();
        }
    }
}

fn last_of(place: usize) -> u8 {
    u8::try_from(place + 1).expect("there are fewer places")
}

fn address_in([a, b, c]: [u8; 3], last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, last))
}

/// Moves this thread.
fn enter(name: &str) -> Result<(), String> {
    let there = File::open(format!("/run/netns/{name}"))
        .map_err(|error| format!("open a network namespace: {error}"))?;
    move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("enter a network namespace: {error}"))
}

fn cable(place: usize) -> String {
    format!("cable{place}")
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("start ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", words.join(" "), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Redis, RedisPlan};

    #[test]
    fn a_parted_place_is_unheard_until_all_are_joined() {
        let network = match Network::enter(2) {
            Ok(network) => network,
            Err(why) => return say_skipped("a network of its own", &why),
        };
        let plan = RedisPlan::default().bind(network.address(1)).through(&network.words(1));
        let redis = Redis::start(&plan);
        assert!(redis.answers());
        network.part(&[1]);
        assert!(!redis.answers());
        assert!(network.at(1, || redis.answers()), "it is there for itself");
        network.join();
        crate::wait_until(std::time::Duration::from_secs(10), "it is heard", || redis.answers());
    }
}
