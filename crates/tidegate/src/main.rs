//! The operator's door: the command line, and the wiring of everything else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use cli::{Output, Verb};
use say::Trouble;

mod admin;
mod check;
mod cli;
mod client;
mod demo;
mod doors;
mod drain;
mod ending;
mod explain;
mod fence;
mod gate;
mod notify;
mod ownership;
mod process_key;
mod queues;
mod region;
mod reload;
mod run;
mod say;
mod state;
mod stop;
mod system;
mod upgrade;
mod verbs;
mod watchdog;
mod window;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    say::start_log(&args.log);
    let output = args.output;
    match carry_out(args.verb, output) {
        Ok(code) => code,
        Err(trouble) => {
            say::trouble(&trouble, output);
            ExitCode::from(cli::FAILED)
        }
    }
}

/// Carries out what the command line says.
fn carry_out(verb: Verb, output: Output) -> Result<ExitCode, Trouble> {
    match verb {
        Verb::Run { policy, state } => run::run(&policy, state_folder(state).as_deref()),
        Verb::Check(check) => check::check(&check, output),
        Verb::Explain(ask) => explain::explain(&ask, output),
        Verb::State(admin) => verbs::state(&admin),
        Verb::Schema => {
            verbs::schema();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Demo { ports } => demo::demo(ports),
        Verb::Reload(reload) => verbs::reload(&reload, output),
        Verb::Confirm(operator) => verbs::settle(&operator, "confirm", output),
        Verb::Rollback(operator) => verbs::settle(&operator, "rollback", output),
        Verb::Drain(asked) => drain::drain(&asked, output),
        Verb::Undrain(place) => drain::change(&place, "undrain", output),
        Verb::Drains(admin) => drain::drains(&admin, output),
        Verb::Streams(asked) => drain::streams(&asked, output),
        Verb::Fence(verb) => fence::verbs::carry_out(&verb, output),
        Verb::Gate(verb) => gate::carry_out(&verb, output),
        Verb::Promote { dry_run: _, emergency, asked } => gate::promote(&asked, emergency, output),
        Verb::Ownership(verb) => ownership::carry_out(&verb, output),
        Verb::Failback(of) => verbs::change(&of, "failback", output),
        Verb::Window(asked) => window::window(&asked, output),
        Verb::Upgrade { binary, within, force, admin } => {
            verbs::upgrade(&admin, (binary.as_deref(), within, force), output)
        }
        Verb::Healthcheck(admin) => verbs::healthcheck(&admin),
        Verb::Version => {
            verbs::version(output);
            Ok(ExitCode::SUCCESS)
        }
        Verb::DemoRegion { name, bind } => region::run(&name, bind),
    }
}

/// Where state is kept: where the command line says, or where systemd does.
fn state_folder(stated: Option<PathBuf>) -> Option<PathBuf> {
    stated.or_else(|| {
        let named = std::env::var_os("STATE_DIRECTORY")?;
        // Several folders are separated by colons; the first one is ours.
        std::env::split_paths(&named).next().filter(|it| !it.as_os_str().is_empty())
    })
}
