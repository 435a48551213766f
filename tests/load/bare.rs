//! The smallest Pingora proxy: every request goes to one origin, and nothing else happens.
//!
//! The bench starts itself as this proxy, so both sides of the ratio come from one build: the same
//! Pingora with the same features, the same profile and the same allocator.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use mimalloc::MiMalloc;
use pingora::modules::http::HttpModules;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

/// The same allocator as tidegate: the bench asks what the policy costs, not what malloc costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Forwards to one address. It has no state, no context and no opinion.
struct Bare {
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    /// Pingora's default adds a compression module that would run on every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

/// Serves until it is killed. The arguments are `LISTEN ORIGIN`, both as `address:port`.
pub(crate) fn serve(arguments: &[String]) -> io::Result<()> {
    let [listen, origin] = arguments else {
        return Err(io::Error::other("usage: --bare LISTEN ORIGIN"));
    };
    // Small pages, as tidegate has them.
    rustix::thread::disable_transparent_huge_pages(true)?;
    let origin = origin.parse().map_err(io::Error::other)?;
    // Without the two limits it would answer the signal that ends it with five minutes of patience.
    let conf = ServerConf {
        threads: 1,
        daemon: false,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { origin });
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever()
}
