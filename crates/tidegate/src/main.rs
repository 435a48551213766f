//! The operator's door: the command line, and the wiring of everything else.

use std::process::ExitCode;

use clap::Parser;

mod admin;
mod check;
mod cli;
mod client;
mod demo;
mod explain;
mod region;
mod run;
mod say;
mod state;
mod stop;
mod verbs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    say::start_log(&args.log);
    let output = args.output;
    match cli::carry_out(args) {
        Ok(code) => code,
        Err(trouble) => {
            say::trouble(&trouble, output);
            ExitCode::from(cli::FAILED)
        }
    }
}
