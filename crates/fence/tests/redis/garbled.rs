//! A store whose answers arrive broken costs writes and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::policy::fencing::RedisTopology;
use tidegate_fence::redis::How;
use tidegate_fence::store::Filter;
use tidegate_harness::{Redis, RedisPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::rig::{AT_ONCE, Rig, found, key, now, rules, run, standalone};

/// How many rounds of calls are made while answers are broken.
const ROUNDS: u32 = 60;

/// What a line does to what a server says.
#[derive(Clone)]
enum Fault {
    /// Anything, from this seed on, unless it is told not to.
    Any(u64, Arc<AtomicBool>),
    /// The connection of this number hears of another life of the server when it is made.
    OtherLife(u64),
}

/// A line to a server that breaks what the server says.
struct Line {
    at: SocketAddr,
    _open: JoinSet<()>,
}

impl Line {
    async fn to(server: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let mut open = JoinSet::new();
        open.spawn(async move {
            let (mut lines, mut nth) = (JoinSet::new(), 0);
            while let Ok((client, _)) = listener.accept().await {
                nth += 1;
                lines.spawn(carry(client, server, fault.clone(), nth));
                while lines.try_join_next().is_some() {}
            }
        });
        Self { at, _open: open }
    }
}

/// Carries what is asked as it is, and what is answered as it pleases.
async fn carry(client: TcpStream, server: SocketAddr, fault: Fault, nth: u64) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut told) = client.into_split();
    let (mut answers, mut asks) = server.into_split();
    let back = async {
        let mut random = fastrand::Rng::with_seed(nth);
        if let Fault::Any(seed, _) = &fault {
            random = fastrand::Rng::with_seed(seed.wrapping_add(nth));
        }
        let mut is_first = true;
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = answers.read(&mut bytes).await {
            let mut answer: Vec<u8> = bytes.iter().copied().take(length).collect();
            match &fault {
                Fault::Any(_, is_honest) if !is_honest.load(Ordering::SeqCst) => {
                    garble(&mut answer, &mut random);
                }
                Fault::OtherLife(broken) if *broken == nth && is_first => {
                    is_first = !tell_of_another_life(&mut answer);
                }
                Fault::Any(..) | Fault::OtherLife(_) => {}
            }
            if told.write_all(&answer).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = back => {}
        _ended = tokio::io::copy(&mut asked, &mut asks) => {}
    }
}

/// Whether the answer says in which life the server is; now it says another one.
fn tell_of_another_life(answer: &mut [u8]) -> bool {
    const NAME: &[u8] = b"run_id:";
    let place = answer.windows(NAME.len()).position(|it| it == NAME);
    let digit = place.and_then(|place| answer.get_mut(place + NAME.len()));
    digit.map(|digit| *digit = b'x').is_some()
}

/// Most answers stay as they are, so that not only the first thing that is read is ever broken.
fn garble(answer: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let (length, other) = (answer.len(), random.u8(..));
    let place = random.usize(..length);
    let kind = *random.choice(b"+-:$*0123456789\r\n").unwrap_or(&other);
    let Some(byte) = answer.get_mut(place) else { return };
    match random.u8(..12) {
        0 => answer.truncate(place),
        1 => answer.insert(place, other),
        2 => *byte = other,
        3 => *byte ^= 1,
        4 => *byte = kind,
        5 => drop(answer.splice(place..place, b"*99999\r\n$9999999\r\n".iter().copied())),
        6 => answer.rotate_left(place),
        _ => {}
    }
}

#[test]
fn a_store_whose_answers_are_broken_answers_in_time_and_is_believed_again_later() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    run(async move {
        let server = Redis::start(&RedisPlan::durable());
        found(&standalone(&server), How::First).await.expect("it can be founded");
        let is_honest = Arc::new(AtomicBool::new(true));
        let line = Line::to(server.address(), Fault::Any(seed, Arc::clone(&is_honest))).await;
        let rig = Rig::new(&rules(RedisTopology::Standalone, &[line.at]));
        rig.until_told("won").await;
        is_honest.store(false, Ordering::SeqCst);
        for _ in 0..ROUNDS {
            let began = now();
            let key = key();
            let (_told, _shown, _list, _gauges, _audit) = tokio::join!(
                rig.told(key),
                rig.fence.show(key),
                rig.fence.list(Filter::InDoubt, 10),
                rig.fence.gauges(),
                rig.fence.audit(10),
            );
            assert!(began.elapsed() < 2 * AT_ONCE, "{:?}", began.elapsed());
        }
        is_honest.store(true, Ordering::SeqCst);
        rig.until_told("won").await;
    });
}

/// A server that is demoted and promoted between two connections is another one for the second. Claims
/// were held for ever when theirs was the first.
#[test]
fn a_connection_of_an_old_life_is_made_anew() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        found(&standalone(&server), How::First).await.expect("it can be founded");
        for nth in [1, 2] {
            let line = Line::to(server.address(), Fault::OtherLife(nth)).await;
            let rig = Rig::new(&rules(RedisTopology::Standalone, &[line.at]));
            rig.until_told("won").await;
        }
    });
}
