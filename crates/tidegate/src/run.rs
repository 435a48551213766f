//! Assembly: from a policy file to a running server.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora_proxy::HttpProxy;
use tidegate_control::endpoints_file::NotEndpoints;
use tidegate_control::metrics::Metrics;
use tidegate_control::ownership::OwnershipKeeper;
use tidegate_control::{Controller, Gates};
use tidegate_core::policy::{EndpointAddress, Listener, Policy};
use tidegate_proxy::Proxy;
use tidegate_proxy::access::AccessLog;
use tidegate_proxy::connection::ConnectionMetrics;

use crate::admin::{Admin, Rights};
use crate::cli;
use crate::doors::{Address, DoorService, Doors, Inherited, Lent, Wish};
use crate::ending::Ending;
use crate::fence::desk::Desk;
use crate::fence::evidence::FenceEvidence;
use crate::fence::{self, Keeping};
use crate::notify;
use crate::process_key;
use crate::queues::QueueReaders;
use crate::reload::{self, Origin, ReloadService, Reloader};
use crate::say::Trouble;
use crate::stop::Stop;
use crate::system;
use crate::upgrade::{Arrival, Called, Estate, Found, Legacy, Predecessor, Sockets, Upgrades};
use crate::watchdog::Watchdog;

/// Idle connections that are kept to all endpoints together, for each thread.
const POOLED_CONNECTIONS_MAX: usize = 1024;

/// How long an operator's request may take to arrive.
const ADMIN_HEAD: Duration = Duration::from_secs(10);
/// How long an operator's connection may be idle.
const ADMIN_KEEPALIVE: Duration = Duration::from_mins(1);

/// Attempts that Pingora makes at the most; our own rules end them earlier.
const ATTEMPTS_MAX: usize = 64;

/// Where traffic comes in.
pub(crate) type Traffic = Doors<HttpProxy<Proxy>>;

/// Runs the balancer on a policy file, until it is told to stop or another process takes over.
///
/// In the folder `state` the last good policy is kept.
pub(crate) fn run(path: &Path, state: Option<&Path>) -> Result<ExitCode, Trouble> {
    // Before anything else is opened.
    let lent = Lent::by_manager();
    reload::heed_hangup().map_err(|error| Trouble::doing("watch for SIGHUP")(&error))?;
    let mut predecessor = match Predecessor::find()? {
        Found::Nobody => None,
        Found::Predecessor(predecessor) => Some(predecessor),
        Found::Started => return Ok(ExitCode::SUCCESS),
    };
    match begin((path, state), lent, predecessor.as_mut()) {
        Ok(balancer) => Ok(balancer.run(predecessor)),
        Err(trouble) => {
            if let Some(predecessor) = &mut predecessor {
                predecessor.refuse(&trouble);
            }
            Err(trouble)
        }
    }
}

/// Puts a balancer together that goes on where the one before it is, if there is one.
fn begin(
    (path, state): (&Path, Option<&Path>),
    lent: Lent,
    predecessor: Option<&mut Predecessor>,
) -> Result<Balancer, Trouble> {
    let (policy, origin) = reload::find(path, state)?;
    let called = Called::this_process().map_err(|error| Trouble::doing("find itself")(&error))?;
    let Some(predecessor) = predecessor else {
        let legacy = Legacy { lent, ..Legacy::default() };
        return Balancer::new((policy, origin), Some(called), legacy);
    };
    // The process before it has a policy in force, so an older one is no help.
    let origin = origin.require_file()?;
    let balancer = Balancer::new((policy, origin), Some(called), predecessor.take_over()?)?;
    predecessor.step("it has taken everything, and starts");
    Ok(balancer)
}

/// Runs the balancer on a policy that is in no file, until it is told to stop.
pub(crate) fn serve(policy: Policy, origin: Origin) -> Result<ExitCode, Trouble> {
    Ok(Balancer::new((policy, origin), None, Legacy::default())?.run(None))
}

/// A balancer that is put together and does not run yet.
struct Balancer {
    server: Server,
    policy: Arc<Policy>,
    stop: Stop<HttpProxy<Proxy>>,
    upgrades: Upgrades,
    lent: Lent,
    access: AccessLog,
    keeping: Option<Vec<Keeping>>,
}

impl Balancer {
    fn new(
        (policy, origin): (Policy, Origin),
        called: Option<Called>,
        legacy: Legacy,
    ) -> Result<Self, Trouble> {
        system::prepare();
        let Legacy { sockets: mut inherited, lent, memory, elders, process_key } = legacy;
        let key = process_key.map_or_else(process_key::make, Ok);
        let key = key.map_err(|error| Trouble::doing("make a key")(&error))?;
        let policy = Arc::new(policy);
        let metrics = Arc::new(Metrics::new());
        let (controller, handle) = Controller::remembering(
            Arc::clone(&policy),
            Arc::clone(&metrics),
            parse_endpoints,
            Some(key.clone()),
            memory,
        );
        let access = open_access_log()?;
        let mut server = Server::new_with_opt_and_conf(None, configuration(&policy));
        let (of_proxy, connections) = door_metrics(&metrics)?;
        let (fences, keeping) = fence::open(&policy, &handle.window())?.unzip();
        let desk = fences.as_ref().and_then(|it| Desk::open(it.fence.clone(), &metrics));
        let (gates, gate_keeper) = Gates::new(handle.clone());
        metrics.register(|registry| gates.register(registry));
        let owning =
            fences.as_ref().map(|it| OwnershipKeeper::new(handle.clone(), it.fence.clone()));
        let (owning, owners) = owning.unzip();
        let proxy = Proxy::new(handle.clone(), of_proxy, access.clone(), fences);
        let doors = Doors::new(traffic(&server, proxy), connections, lent.clone());
        doors.commit(doors.prepare(wishes(&policy), &mut inherited)?);
        let ending = Ending::new();
        let of_process = (handle.clone(), doors.clone(), ending.clone());
        let (reloader, reloads) = Reloader::new((Arc::clone(&policy), origin), of_process);
        let upgrades = Upgrades::new(handle.clone(), ending.clone(), elders.clone(), called);
        let admin = add_admin(&mut server, &policy, (&mut inherited, &lent), |rights| {
            let parts = (reloads.clone(), desk.clone(), gates.clone(), owners.clone());
            Admin::new(handle.clone(), upgrades.clone(), parts, rights)
        })?;
        inherited.close();
        lent.tell_unused(&addresses(&policy));
        let sockets = all_sockets(&doors, &admin);
        upgrades.hands_over(Estate { sockets, lent: lent.clone(), key, reloads });
        let threads = policy.threads;
        server.add_service(DoorService { name: "traffic", threads, doors: doors.clone() });
        server.add_service(background_service("controller", controller));
        server.add_service(background_service("gates", gate_keeper));
        server.add_service(background_service("queues", QueueReaders::new(gates.clone())));
        if let Some(desk) = desk {
            let evidence = FenceEvidence::new(gates, desk);
            server.add_service(background_service("fence-evidence", evidence));
        }
        if let Some(owning) = owning {
            server.add_service(background_service("ownership", owning));
        }
        server.add_service(background_service("reload", ReloadService::new(reloader)));
        server.add_service(background_service("upgrades", upgrades.clone()));
        let stop = Stop { handle, doors, admin, elders, ending };
        Ok(Self { server, policy, stop, upgrades, lent, access, keeping })
    }

    fn run(mut self, predecessor: Option<Predecessor>) -> ExitCode {
        let Self { policy, stop, upgrades, lent, access, keeping, .. } = self;
        tracing::info!(
            regions = policy.regions.len(),
            routes = policy.routes.len(),
            site = policy.site.as_deref().unwrap_or("-"),
            "tidegate starts"
        );
        let (doors, admin) = (stop.doors.clone(), stop.admin.clone());
        if predecessor.is_some() {
            doors.hold();
            admin.iter().for_each(Doors::hold);
        } else if !lent.is_empty() {
            // Clients may be waiting already, for whom no answer is better than a bad one.
            doors.hold();
        }
        let arrival = Arrival {
            handle: stop.handle.clone(),
            elders: stop.elders.clone(),
            predecessor: Mutex::new(predecessor),
            is_running: Box::new({
                let (doors, admin) = (doors.clone(), admin.clone());
                move || doors.is_running() && admin.iter().all(Doors::is_running)
            }),
            open: Box::new(move || {
                doors.open();
                admin.iter().for_each(Doors::open);
            }),
        };
        self.server.add_service(background_service("arrival", arrival));
        if let Some(patience) = notify::watchdog() {
            let (handle, ending) = (stop.handle.clone(), stop.ending.clone());
            let watchdog = Watchdog { patience, handle, doors: stop.doors.clone(), ending };
            self.server.add_service(background_service("watchdog", watchdog));
        }
        let ending = stop.ending.clone();
        self.server.run(RunArgs { shutdown_signal: Box::new(stop) });
        // An upgrade that is still under way must not outlive the service that was stopped.
        upgrades.give_up();
        // What is left of the last writes is written down.
        drop(keeping);
        access.flush();
        if !ending.was_succeeded()
            && let Some(socket) = &policy.admin.socket
            && !lent.has(&Address::Unix(socket.clone()))
        {
            // The next process would remove it as well, so nothing is lost when it stays.
            drop(std::fs::remove_file(socket));
        }
        if ending.was_unclean() { ExitCode::from(cli::UNCLEAN) } else { ExitCode::SUCCESS }
    }
}

/// Another hold on every listening socket, whenever it is called.
fn all_sockets(doors: &Traffic, admin: &[Doors<Admin>]) -> Sockets {
    let (doors, admin) = (doors.clone(), admin.to_vec());
    Box::new(move || {
        let admin = admin.iter().map(Doors::sockets).collect::<io::Result<Vec<_>>>()?;
        Ok(doors.sockets()?.into_iter().chain(admin.into_iter().flatten()).collect())
    })
}

type DoorMetrics = (tidegate_proxy::metrics::Metrics, ConnectionMetrics);

/// The metrics of whoever carries traffic.
fn door_metrics(metrics: &Metrics) -> Result<DoorMetrics, Trouble> {
    let mut door_metrics = None;
    metrics.register(|registry| {
        let of_proxy = tidegate_proxy::metrics::Metrics::register(registry);
        door_metrics = Some((of_proxy, ConnectionMetrics::register(registry)));
    });
    door_metrics
        .ok_or_else(|| Trouble::Doing("register metrics", "the registry is in use".to_owned()))
}

fn parse_endpoints(text: &str) -> Result<Vec<EndpointAddress>, NotEndpoints> {
    tidegate_policy::endpoints(text).map_err(|report| NotEndpoints(report.to_string()))
}

/// The log is there whether or not the policy wants lines: the next one may.
fn open_access_log() -> Result<AccessLog, Trouble> {
    AccessLog::to(io::stdout()).map_err(|error| Trouble::doing("start the access log")(&error))
}

fn configuration(policy: &Policy) -> ServerConf {
    ServerConf {
        threads: policy.threads,
        upstream_keepalive_pool_size: POOLED_CONNECTIONS_MAX,
        max_retries: ATTEMPTS_MAX,
        // How we stop is decided in `stop`, before Pingora hears of it.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

/// What answers requests.
fn traffic(server: &Server, proxy: Proxy) -> HttpProxy<Proxy> {
    let mut traffic = pingora_proxy::http_proxy(&server.configuration, proxy);
    traffic.handle_init_modules();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    traffic.server_options = Some(options);
    traffic
}

/// The listeners of a policy.
pub(crate) fn wishes(policy: &Policy) -> Vec<Wish> {
    let listeners = policy.listeners.iter();
    let wish = |it: &Listener| Wish {
        address: Address::Tcp(it.bind),
        head: it.head,
        keepalive: it.keepalive,
    };
    listeners.map(wish).collect()
}

fn admin_socket(policy: &Policy) -> Option<Address> {
    policy.admin.socket.clone().map(Address::Unix)
}

/// Everywhere a policy listens.
fn addresses(policy: &Policy) -> Vec<Address> {
    let http = policy.admin.http.map(Address::Tcp);
    let traffic = wishes(policy).into_iter().map(|it| it.address);
    traffic.chain(http).chain(admin_socket(policy)).collect()
}

/// Opens the addresses for operators: a port which may only look, a socket which may do all.
fn add_admin(
    server: &mut Server,
    policy: &Policy,
    (inherited, lent): (&mut Inherited, &Lent),
    admin: impl Fn(Rights) -> Admin,
) -> Result<Vec<Doors<Admin>>, Trouble> {
    let http = policy.admin.http.map(|it| (Address::Tcp(it), Rights::Read, "admin"));
    let socket = admin_socket(policy).map(|it| (it, Rights::Operate, "admin-socket"));
    let mut opened = Vec::new();
    for (address, rights, name) in http.into_iter().chain(socket) {
        let doors = Doors::new(admin(rights), ConnectionMetrics::default(), lent.clone());
        let wish = Wish { address, head: ADMIN_HEAD, keepalive: ADMIN_KEEPALIVE };
        doors.commit(doors.prepare(vec![wish], inherited)?);
        opened.push(doors.clone());
        server.add_service(DoorService { name, threads: 1, doors });
    }
    Ok(opened)
}
