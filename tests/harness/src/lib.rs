//! Real small regions, clients and a running balancer for tidegate's integration tests.
//!
//! Everything here speaks to real sockets on the loopback: a fake region is a server, a client is
//! a client, and the balancer is the freshly built executable in a process of its own.

#![expect(clippy::disallowed_methods, reason = "the harness measures real time")]
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]
#![expect(clippy::missing_panics_doc, reason = "a panic is how the harness fails a test")]

mod campaign;
mod client;
mod crowd;
mod history;
mod limits;
mod load;
mod naive;
mod net;
mod ports;
mod process;
mod redis;
mod region;
mod runtime;
mod scene;
mod scripts;
mod temp;
mod wait;

pub use campaign::{Campaign, CampaignPlan, Nemesis};
pub use client::connection::{Connection, Streaming};
pub use client::events::Event;
pub use client::h2::{H2, H2Stream, H2Upload, grpc_frame, grpc_messages};
pub use client::message::{Reply, Request};
pub use client::{get, websocket};
pub use crowd::{Crowd, CrowdPlan, CrowdReport, Ended, Kind, Outcome, Protocol};
pub use history::bound::share_at_most;
pub use history::counts::Counts;
pub use history::{
    Attempt, Breach, Digest, Execution, History, Judgement, Rule, Told, Trouble, WriteName,
    digest_of_answer,
};
pub use load::{Answer, Failure, Load, LoadPlan, LoadReport, Reuse};
pub use naive::{Naive, NaiveFence};
pub use net::{Network, say_skipped};
pub use ports::{free_address, free_port, free_ports};
pub use process::{Balancer, signal};
pub use redis::cluster::RedisCluster;
pub use redis::plan::RedisPlan;
pub use redis::resp::{RedisConnection, RedisReply};
pub use redis::sentinels::RedisSentinels;
pub use redis::{Redis, RedisCertificates};
pub use region::FakeRegion;
pub use region::book::Written;
pub use region::effects::Effect;
pub use region::faults::Fault;
pub use scene::parted::PartedScene;
pub use scene::topology::Topology;
pub use scene::{Played, Scene};
pub use scripts::{json_line, node, python};
pub use temp::TempDir;
pub use tokio_tungstenite::tungstenite;
pub use wait::wait_until;
