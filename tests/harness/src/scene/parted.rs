//! A stage whose network breaks: two balancers, and a store whose servers are parted from each other.

use std::net::SocketAddr;
use std::ops::Range;

use super::topology::Topology;
use super::{Calm, Stage, policy_text, reloads, tells, thinking_regions};
use crate::campaign::{CampaignPlan, Nemesis};
use crate::net::Network;
use crate::ports::free_port;
use crate::process::Balancer;
use crate::redis::Redis;
use crate::redis::sentinels::RedisSentinels;
use crate::region::FakeRegion;
use crate::scene::{Played, for_ms};

/// Places of servers and Sentinels; the one after them is that of the other balancer.
const SERVERS: usize = 3;
const OTHER: usize = SERVERS;
/// How long a side that has lost its master goes on without it.
const PARTED_MS: Range<u64> = 300..2500;

/// One balancer lives at the switch, the other one at a place of its own. Each client speaks to
/// either of them, and both reach the endpoints, whatever happens to the network of the store.
#[derive(Debug)]
pub struct PartedScene {
    near: Balancer,
    other: Balancer,
    regions: Vec<FakeRegion>,
    doors: [SocketAddr; 2],
    /// Where they remember writes.
    pub topology: Topology,
    policy: String,
    // Dropped last: everything above lives in it.
    network: Network,
}

impl PartedScene {
    /// Starts everything around the program `exe`, in a network of its own, to which this thread
    /// belongs from then on. Claims wait for a copy if `is_waited`.
    ///
    /// # Errors
    /// In words: what this machine does not allow.
    pub fn start(exe: &str, is_waited: bool) -> Result<Self, String> {
        let network = Network::enter(u8::try_from(SERVERS + 1).unwrap_or(u8::MAX))?;
        let topology = Topology::sentinels_in(&network, is_waited);
        let regions = thinking_regions(network.hall());
        let at = |ip| [free_port(), free_port()].map(|port| SocketAddr::new(ip, port));
        let [door, admin] = at(network.hall());
        let [other_door, other_admin] = at(network.in_hall(OTHER));
        let policy = policy_text((door, admin), &regions, &topology);
        let near = Balancer::start(exe, &policy);
        let others = policy_text((other_door, other_admin), &regions, &topology);
        let other = Balancer::start_through(&network.words(OTHER), exe, &others);
        tells(exe, &near, &["fence", "init"]);
        let doors = [door, other_door];
        Ok(Self { near, other, regions, doors, topology, policy, network })
    }

    /// Sends a campaign to both balancers while the network breaks, and judges what came of it.
    #[track_caller]
    pub fn played(&self, plan: &CampaignPlan) -> Played {
        let stage = Stage { doors: &self.doors, regions: &self.regions };
        stage.played(plan, |nemesis| {
            let calm = Calm::default();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut turn = 0;
                    while nemesis.rests(200..900) {
                        turn += usize::from(self.parts(nemesis, turn, &calm));
                    }
                });
                while nemesis.rests(300..1500) {
                    calm.unless_master_is_lost(|| self.breaks(nemesis));
                }
            });
            nemesis.causes("gathering", || self.topology.until_settled());
        })
    }

    /// Parts the network, each time in another way, and joins it when another server is the master.
    /// Answers whether the group was whole, and so could be parted.
    fn parts(&self, nemesis: &Nemesis, turn: usize, calm: &Calm) -> bool {
        let (Topology::Sentinels(group) | Topology::Unwaited(group)) = &self.topology else {
            return false;
        };
        let old = group.master().filter(|_| group.is_settled());
        let Some((old, place)) = old.and_then(|old| Some((old.address(), place_of(group, old)?)))
        else {
            return false;
        };
        let others = (0..=OTHER).filter(|it| *it != place).collect::<Vec<_>>();
        let promoted = || group.until_promoted(old);
        let healed_later = || {
            for_ms(nemesis.number(PARTED_MS));
            self.network.join();
        };
        calm.while_master_is_lost(|| match turn % 3 {
            0 => nemesis.causes("parted: a balancer alone with the old master", || {
                self.network.part(&others);
                self.network.at(OTHER, promoted);
                healed_later();
            }),
            1 => nemesis.causes("parted: the other balancer alone with the old master", || {
                self.network.part(&[place, OTHER]);
                promoted();
                healed_later();
            }),
            _ => nemesis.causes("parted: the old master alone", || {
                self.network.part(&[place]);
                promoted();
                healed_later();
            }),
        });
        true
    }

    fn breaks(&self, nemesis: &Nemesis) {
        match nemesis.number(0..6) {
            0 => nemesis.causes("balancer killed", || self.near.restart()),
            1 => nemesis.causes("other balancer killed", || self.other.restart()),
            2 => nemesis.causes("reload storm", || reloads(&self.near, &self.policy)),
            _ => {}
        }
    }
}

fn place_of(group: &RedisSentinels, server: &Redis) -> Option<usize> {
    group.servers.iter().position(|it| it.address() == server.address())
}
