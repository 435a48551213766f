//! `fake-region`: one fake region in the foreground, for demos and for breaking things by hand.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::Value;
use tidegate_harness::FakeRegion;

const USAGE: &str = "\
A small region that reports a contract and echoes requests.

Usage: fake-region [--name NAME] [--bind ADDRESS] [--contract KEY=VALUE]...

  --name NAME            the region's name (default: fake)
  --bind ADDRESS         where to listen (default: 127.0.0.1:0, any free port)
  --contract KEY=VALUE   sets a key of the contract; VALUE is JSON if it reads as JSON, else text
  --latency-ms N         delays every ordinary answer

PUT /contract with a JSON object merges keys; an empty object restores the original.
PUT /fault with the name of a fault misbehaves (status=503, hang, die-mid-body, ...); an empty
body ends that.
";

struct Options {
    name: String,
    bind: SocketAddr,
    contract: Vec<(String, Value)>,
    latency_ms: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|it| it == "--help" || it == "-h") {
        return say(USAGE);
    }
    match parse(&arguments).and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(why) => {
            // With stderr closed there is nobody left to tell.
            writeln!(std::io::stderr(), "fake-region: {why}\n\n{USAGE}").ok();
            ExitCode::from(2)
        }
    }
}

fn say(text: &str) -> ExitCode {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::FAILURE,
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        name: "fake".to_owned(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        contract: Vec::new(),
        latency_ms: 0,
    };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--name" => options.name.clone_from(value),
            "--bind" => options.bind = value.parse().map_err(|e| format!("{flag} {value}: {e}"))?,
            "--latency-ms" => {
                options.latency_ms = value.parse().map_err(|e| format!("{flag} {value}: {e}"))?;
            }
            "--contract" => options.contract.push(key_and_value(value)?),
            _ => return Err(format!("unknown argument {flag}")),
        }
    }
    Ok(options)
}

fn key_and_value(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("--contract wants KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_text| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let region = FakeRegion::try_start_at(&options.name, options.bind)
        .map_err(|error| format!("listen on {}: {error}", options.bind))?;
    for (key, value) in &options.contract {
        region.set_key(key, value.clone());
    }
    region.keep_contract();
    region.set_latency(std::time::Duration::from_millis(options.latency_ms));
    if say(&format!("{} {}\n", options.name, region.address())) != ExitCode::SUCCESS {
        return Ok(ExitCode::FAILURE);
    }
    loop {
        std::thread::park();
    }
}
