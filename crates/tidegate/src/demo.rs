//! `tidegate demo`: three local regions, a balancer in front of them, and five things to try.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use tidegate_core::policy::{EndpointSource, Policy};

use crate::reload::Origin;
use crate::run;
use crate::say::{self, Trouble};

/// The policy of the demonstration.
const QUICKSTART: &str = include_str!("../../../policies/quickstart.yaml");

/// How often, and how many times, we look whether a region listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 500;

/// A region in a process of its own; it ends with the demonstration.
struct Running {
    name: String,
    address: SocketAddr,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have been killed by hand already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the demonstration until it is told to stop.
pub(crate) fn demo(first_port: Option<u16>) -> Result<ExitCode, Trouble> {
    let mut policy = tidegate_policy::load("quickstart.yaml", QUICKSTART, &|_| None)?;
    if let Some(first) = first_port {
        move_ports(&mut policy, first)?;
    }
    // Whoever tries things wants to see what the balancer thinks, not every request.
    policy.access_log = false;
    let regions = start_regions(&policy)?;
    say::result(&welcome(&policy, &regions));
    let ended = run::serve(policy, Origin::built_in(QUICKSTART));
    drop(regions);
    ended
}

/// Uses the ports from `first` on, so that the demonstration fits beside anything else.
fn move_ports(policy: &mut Policy, first: u16) -> Result<(), Trouble> {
    let mut ports = first..=u16::MAX;
    let mut place = |address: &mut SocketAddr| -> Result<(), Trouble> {
        let port = ports.next();
        let none = || Trouble::Doing("find ports", format!("{first} leaves too few"));
        address.set_port(port.ok_or_else(none)?);
        Ok(())
    };
    policy.listeners.iter_mut().try_for_each(|it| place(&mut it.bind))?;
    policy.admin.http.iter_mut().try_for_each(&mut place)?;
    for region in &mut policy.regions {
        if let EndpointSource::Listed(endpoints) = &mut region.endpoints {
            endpoints.iter_mut().try_for_each(|it| place(&mut it.address))?;
        }
    }
    Ok(())
}

fn start_regions(policy: &Policy) -> Result<Vec<Running>, Trouble> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Trouble::doing("find this program")(&error))?;
    let mut running = Vec::new();
    for region in &policy.regions {
        let EndpointSource::Listed(endpoints) = &region.endpoints else { continue };
        for endpoint in endpoints {
            running.push(start_region(&program, &region.name, endpoint.address)?);
        }
    }
    Ok(running)
}

fn start_region(program: &Path, name: &str, address: SocketAddr) -> Result<Running, Trouble> {
    let trouble = |error: &dyn std::fmt::Display| {
        Trouble::Doing("start a region", format!("{name} at {address}: {error}"))
    };
    drop(TcpListener::bind(address).map_err(|error| trouble(&error))?);
    let child = Command::new(program)
        .args(["demo-region", "--name", name, "--bind", &address.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| trouble(&error))?;
    let mut running = Running { name: name.to_owned(), address, child };
    for _ in 0..LOOKS_MAX {
        if TcpStream::connect(address).is_ok() {
            return Ok(running);
        }
        if let Ok(Some(status)) = running.child.try_wait() {
            return Err(trouble(&format_args!("it ended with {status}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(trouble(&"it does not listen"))
}

fn welcome(policy: &Policy, regions: &[Running]) -> String {
    let door = policy.listeners.first().map_or_else(String::new, |it| it.bind.to_string());
    let admin = policy.admin.http.map_or_else(String::new, |it| it.to_string());
    let near = regions.first().map_or_else(String::new, |it| it.address.to_string());
    let far = regions.get(1).map_or("eu-west-1", |it| &it.name);
    let listed = regions
        .iter()
        .map(|it| format!("  {:<16} {}  (pid {})", it.name, it.address, it.child.id()));
    let listed = listed.collect::<Vec<_>>().join("\n");
    // As it was called, so that the command can be copied.
    let program = std::env::args().next().unwrap_or_else(|| "tidegate".to_owned());
    format!(
        "tidegate demonstration: three regions and a balancer on http://{door}\n\
         {listed}\n\n\
         The regions turn green in about two seconds. Then try, in another terminal:\n\n\
         1. Pin a request to a region that is not the nearest:\n\
         \x20  curl -i http://{door}/v1/search -H 'X-Region-Pin: {far}'\n\n\
         2. Demand an index that nobody has, and read who differs:\n\
         \x20  curl -i http://{door}/v1/search -H 'X-Index-Hash: not-here'\n\n\
         3. Break the contract of the nearest region while it goes on answering 200, see where\n\
         \x20  requests go some seconds later, and mend it:\n\
         \x20  curl -X PUT http://{near}/contract -d '{{\"index_hash\":\"broken\"}}'; sleep 4; \
         curl -i http://{door}/v1/search\n\
         \x20  curl -X DELETE http://{near}/contract\n\n\
         4. Ask why a request goes where it goes:\n\
         \x20  {program} explain GET /v1/search -H 'X-Region-Pin: {far}' --admin {admin}\n\n\
         5. Watch a stream arrive word by word:\n\
         \x20  curl -N http://{door}/v1/chat -H 'Content-Type: application/json' -d '{{}}'\n\n\
         Killing a region's pid works, too. Stop with Ctrl-C.\n"
    )
}
