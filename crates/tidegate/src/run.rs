//! Assembly: from a policy file to a running server.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use tidegate_control::endpoints_file::NotEndpoints;
use tidegate_control::metrics::Metrics;
use tidegate_control::{Controller, Handle};
use tidegate_core::policy::{EndpointAddress, Policy};
use tidegate_proxy::Proxy;
use tidegate_proxy::access::AccessLog;

use crate::admin::{Admin, Rights};
use crate::say::Trouble;
use crate::stop::Stop;

/// Idle connections that are kept to all endpoints together, for each thread.
const POOLED_CONNECTIONS_MAX: usize = 1024;

/// Attempts that Pingora makes at the most; our own rules end them earlier.
const ATTEMPTS_MAX: usize = 64;

/// Runs the balancer on a policy file, until it is told to stop.
pub(crate) fn run(policy: &Path) -> Result<ExitCode, Trouble> {
    let policy = tidegate_policy::load_file(policy)?;
    serve(policy)
}

/// Runs the balancer on a policy, until it is told to stop.
pub(crate) fn serve(policy: Policy) -> Result<ExitCode, Trouble> {
    let policy = Arc::new(policy);
    can_listen(&policy)?;
    let metrics = Arc::new(Metrics::new());
    let (controller, handle) =
        Controller::new(Arc::clone(&policy), Arc::clone(&metrics), parse_endpoints);
    let access = open_access_log()?;
    let mut door_metrics = None;
    metrics.register(|registry| {
        door_metrics = Some(tidegate_proxy::metrics::Metrics::register(registry));
    });
    let door_metrics = door_metrics
        .ok_or_else(|| Trouble::Doing("register metrics", "the registry is in use".to_owned()))?;
    let conf = configuration(&policy);
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    add_traffic(&mut server, &policy, Proxy::new(handle.clone(), door_metrics, access.clone()));
    let stop = Stop::new(handle.clone());
    add_admin(&mut server, &policy, (&handle, &metrics, &stop));
    server.add_service(background_service("controller", controller));
    tracing::info!(
        regions = policy.regions.len(),
        routes = policy.routes.len(),
        site = policy.site.as_deref().unwrap_or("-"),
        "tidegate starts"
    );
    server.run(RunArgs { shutdown_signal: Box::new(stop) });
    access.flush();
    Ok(ExitCode::SUCCESS)
}

fn parse_endpoints(text: &str) -> Result<Vec<EndpointAddress>, NotEndpoints> {
    tidegate_policy::endpoints(text).map_err(|report| NotEndpoints(report.to_string()))
}

/// Tries every address once: Pingora would panic in a task of its own, and the process live on.
fn can_listen(policy: &Policy) -> Result<(), Trouble> {
    let addresses = policy.listeners.iter().map(|it| it.bind).chain(policy.admin.http);
    for address in addresses {
        let tried = TcpListener::bind(address);
        drop(tried.map_err(|error| Trouble::Doing("listen", format!("{address}: {error}")))?);
    }
    let socket = policy.admin.socket.as_deref();
    let trouble =
        |path: &Path, why: String| Trouble::Doing("listen", format!("{}: {why}", path.display()));
    socket.map_or(Ok(()), |path| try_socket(path).map_err(|why| trouble(path, why)))
}

/// Tries the path of the admin socket: Pingora would replace whatever lies there, be it a file or
/// the socket of a balancer that runs.
fn try_socket(path: &Path) -> Result<(), String> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err("something lies there that is not a socket".to_owned());
        }
        if UnixStream::connect(path).is_ok() {
            return Err("the socket is in use by a running balancer".to_owned());
        }
        // It was left behind by a process that is gone.
        std::fs::remove_file(path).map_err(|error| error.to_string())?;
    }
    drop(UnixListener::bind(path).map_err(|error| error.to_string())?);
    std::fs::remove_file(path).map_err(|error| error.to_string())
}

/// The log is there whether or not the policy wants lines: the next one may.
fn open_access_log() -> Result<AccessLog, Trouble> {
    AccessLog::to(std::io::stdout()).map_err(|error| Trouble::doing("start the access log")(&error))
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

fn add_traffic(server: &mut Server, policy: &Policy, proxy: Proxy) {
    let mut door = pingora_proxy::http_proxy(&server.configuration, proxy);
    door.handle_init_modules();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    door.server_options = Some(options);
    let mut service = Service::new("traffic".to_owned(), door);
    service.threads = Some(policy.threads);
    for listener in &policy.listeners {
        service.add_tcp(&listener.bind.to_string());
    }
    server.add_service(service);
}

fn add_admin(
    server: &mut Server,
    policy: &Policy,
    (handle, metrics, stop): (&Handle, &Arc<Metrics>, &Stop),
) {
    let admin = |rights| Admin::new(handle.clone(), Arc::clone(metrics), stop.readiness(), rights);
    if let Some(address) = policy.admin.http {
        let mut service = Service::new("admin".to_owned(), admin(Rights::Read));
        service.threads = Some(1);
        service.add_tcp(&address.to_string());
        server.add_service(service);
    }
    if let Some(path) = &policy.admin.socket {
        let mut service = Service::new("admin-socket".to_owned(), admin(Rights::Operate));
        service.threads = Some(1);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        service.add_uds(&path.to_string_lossy(), Some(mode));
        server.add_service(service);
    }
}
