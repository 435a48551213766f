//! The servers under test and the one behind them, each with one worker and the same work to do.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::machine::{self, Cores};
use crate::rig::{Scratch, Server, free_address, pinned};

/// The value that the origin reports and that every request asks for.
pub(crate) const INDEX_HASH: &str = "a1b2c3";
/// The only region of the policy, and the pin of every request.
pub(crate) const REGION: &str = "a";
/// The header in which clients bring their session token.
pub(crate) const TOKEN: &str = "X-Region-Session";
/// What signs the tokens, so that both balancers take the same one.
const SECRET: &str = "thirty-two bytes of no secret at all";
/// The origin's answer is this many bytes long.
const BODY_BYTES: usize = 1024;
/// Connections live for the whole run: the work is requests, not handshakes.
const FOR_EVER: u32 = 1_000_000_000;

/// Starts servers in one directory, on the cores they belong to.
#[derive(Debug)]
pub(crate) struct Starter<'run> {
    /// Where configurations and logs go.
    pub(crate) scratch: &'run Scratch,
    /// Which core is for what.
    pub(crate) cores: Cores,
    /// Connections that a server has room for, clients and endpoints together.
    pub(crate) connections_max: usize,
}

impl Starter<'_> {
    /// The origin: nginx on the load's core, with a body from memory and a contract.
    pub(crate) fn origin(&self, nginx: &Path) -> io::Result<Server> {
        let address = free_address()?;
        let body = "x".repeat(BODY_BYTES);
        let contract = format!(
            r#"{{"index_hash":"{INDEX_HASH}","schema_rev":"sc-12","model_tag":"m","release_id":"r1","revision":"1"}}"#
        );
        let site = format!(
            "access_log off;
             server {{
               listen {address} backlog=4096;
               default_type application/json;
               location / {{ return 200 '{body}'; }}
               location = /contract {{ return 200 '{contract}'; }}
             }}"
        );
        let command = self.nginx(nginx, self.cores.load, "direct", &site)?;
        self.start("direct", command, address)
    }

    /// The proxies, in the order of the table. Names of programs that are not here come second.
    pub(crate) fn proxies(
        &self,
        origin: SocketAddr,
    ) -> io::Result<(Vec<Server>, Vec<&'static str>)> {
        let mut missing = Vec::new();
        let mut proxies = vec![
            self.bare(origin)?,
            self.tidegate("tidegate", true, origin)?,
            self.tidegate("tidegate-no-log", false, origin)?,
        ];
        match machine::find("nginx") {
            Some(nginx) => {
                proxies.push(self.nginx_proxy(&nginx, "nginx", true, origin)?);
                proxies.push(self.nginx_proxy(&nginx, "nginx-no-log", false, origin)?);
            }
            None => missing.push("nginx"),
        }
        match machine::find("haproxy") {
            Some(haproxy) => {
                proxies.push(self.haproxy(&haproxy, "haproxy", true, origin)?);
                proxies.push(self.haproxy(&haproxy, "haproxy-no-log", false, origin)?);
            }
            None => missing.push("haproxy"),
        }
        Ok((proxies, missing))
    }

    /// The proxies that carry web sockets to a region, tidegate first.
    pub(crate) fn tunnels(
        &self,
        region: SocketAddr,
    ) -> io::Result<(Vec<Server>, Vec<&'static str>)> {
        let mut missing = Vec::new();
        let mut proxies = vec![self.tidegate("tidegate", true, region)?, self.bare(region)?];
        match machine::find("haproxy") {
            Some(haproxy) => proxies.push(self.haproxy(&haproxy, "haproxy", true, region)?),
            None => missing.push("haproxy"),
        }
        match machine::find("nginx") {
            Some(nginx) => proxies.push(self.nginx_tunnel(&nginx, region)?),
            None => missing.push("nginx"),
        }
        Ok((proxies, missing))
    }

    fn nginx_tunnel(&self, nginx: &Path, region: SocketAddr) -> io::Result<Server> {
        let address = free_address()?;
        let site = format!(
            "access_log nginx.log combined;
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
             server {{
               listen {address} backlog=4096;
               location / {{
                 proxy_pass http://{region};
                 proxy_http_version 1.1;
                 proxy_read_timeout 1h;
                 proxy_set_header Upgrade $http_upgrade;
                 proxy_set_header Connection $connection_upgrade;
               }}
             }}"
        );
        let command = self.nginx(nginx, self.cores.proxy, "nginx", &site)?;
        self.start("nginx", command, address)
    }

    fn bare(&self, origin: SocketAddr) -> io::Result<Server> {
        let address = free_address()?;
        let mut command = pinned(self.cores.proxy, &std::env::current_exe()?);
        command.args(["--bare", &address.to_string(), &origin.to_string()]);
        self.start("bare", command, address)
    }

    /// The real binary with its full policy. Its access log goes to standard output, so to a file.
    fn tidegate(&self, name: &'static str, logs: bool, origin: SocketAddr) -> io::Result<Server> {
        let address = free_address()?;
        let admin = free_address()?;
        let policy = format!(
            "version: 1
site: {REGION}
listeners: [ {{ bind: \"{address}\" }} ]
admin: {{ http: \"{admin}\" }}
threads: 1
access_log: {logs}
regions: {{ {REGION}: {{ distance: 0, endpoints: [\"{origin}\"] }} }}
contract:
  probe: {{ path: /contract, interval: 1s, timeout: 1s }}
  expect: {{ index_hash: {INDEX_HASH} }}
sticky: {{ header: {TOKEN}, keys: [ {{ id: bench, secret: \"{SECRET}\" }} ] }}
routes: [ {{ name: all, match: {{ path: / }}, intent: read, sticky: session }} ]
"
        );
        let policy = self.scratch.write(&format!("{name}.yaml"), &policy)?;
        let mut command = pinned(self.cores.proxy, Path::new(env!("CARGO_BIN_EXE_tidegate")));
        command.args(["run", "--policy"]).arg(policy);
        self.start(name, command, address)
    }

    /// The real binary with a route for writes, which it fences where it has a store.
    pub(crate) fn writer(
        &self,
        name: &'static str,
        store: Option<&str>,
        origin: SocketAddr,
    ) -> io::Result<Server> {
        let address = free_address()?;
        let (fence, on_route) = match store {
            Some(store) => (format!("fence: {{ store: {store} }}"), ", fence: api"),
            None => (String::new(), ""),
        };
        let socket = self.scratch.file(&format!("{name}.sock"));
        let socket = socket.display();
        let policy = format!(
            "version: 1
site: {REGION}
listeners: [ {{ bind: \"{address}\" }} ]
admin: {{ socket: \"{socket}\" }}
threads: 1
regions: {{ {REGION}: {{ distance: 0, endpoints: [\"{origin}\"] }} }}
contract:
  probe: {{ path: /contract, interval: 1s, timeout: 1s }}
  expect: {{ index_hash: {INDEX_HASH} }}
routes: [ {{ name: all, match: {{ path: / }}{on_route} }} ]
{fence}
"
        );
        let policy = self.scratch.write(&format!("{name}.yaml"), &policy)?;
        let mut command = pinned(self.cores.proxy, Path::new(env!("CARGO_BIN_EXE_tidegate")));
        command.args(["run", "--policy"]).arg(policy);
        self.start(name, command, address)
    }

    fn nginx_proxy(
        &self,
        nginx: &Path,
        name: &'static str,
        logs: bool,
        origin: SocketAddr,
    ) -> io::Result<Server> {
        let address = free_address()?;
        let log = if logs { format!("{name}.log combined") } else { "off".to_owned() };
        let site = format!(
            "access_log {log};
             upstream origin {{ server {origin}; keepalive 256; keepalive_requests {FOR_EVER}; }}
             server {{
               listen {address} backlog=4096;
               location / {{
                 proxy_pass http://origin;
                 proxy_http_version 1.1;
                 proxy_set_header Connection '';
               }}
             }}"
        );
        let command = self.nginx(nginx, self.cores.proxy, name, &site)?;
        self.start(name, command, address)
    }

    /// nginx with one worker, which keeps everything it writes in our directory.
    fn nginx(&self, nginx: &Path, core: u32, name: &str, site: &str) -> io::Result<Command> {
        let mut temporary = String::new();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            temporary.push_str(kind);
            temporary.push_str("_temp_path ");
            temporary.push_str(name);
            temporary.push_str("-temp;\n");
        }
        let text = format!(
            "daemon off;
             worker_processes 1;
             pid {name}.pid;
             events {{ worker_connections {}; }}
             http {{ {temporary} keepalive_requests {FOR_EVER}; {site} }}",
            self.connections_max
        );
        let text = self.scratch.write(&format!("{name}.conf"), &text)?;
        let mut command = pinned(core, nginx);
        command.arg("-p").arg(self.scratch.file("")).args(["-e", "stderr", "-c"]).arg(text);
        Ok(command)
    }

    /// `HAProxy` with one thread; its log goes to standard output, and so to a file.
    fn haproxy(
        &self,
        haproxy: &Path,
        name: &'static str,
        logs: bool,
        origin: SocketAddr,
    ) -> io::Result<Server> {
        let address = free_address()?;
        let log = if logs { "log stdout format raw local0 info" } else { "" };
        let option = if logs { "option httplog" } else { "" };
        let text = format!(
            "global
  nbthread 1
  maxconn {}
  {log}
defaults
  mode http
  log global
  {option}
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
listen load
  bind {address}
  server origin {origin}
",
            self.connections_max / 2
        );
        let text = self.scratch.write(&format!("{name}.cfg"), &text)?;
        let mut command = pinned(self.cores.proxy, haproxy);
        command.arg("-db").arg("-f").arg(text);
        self.start(name, command, address)
    }

    fn start(
        &self,
        name: &'static str,
        command: Command,
        address: SocketAddr,
    ) -> io::Result<Server> {
        Server::start(name, command, address, self.scratch)
    }
}
