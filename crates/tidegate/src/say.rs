//! What people and programs see on the terminal: results on standard output, all else on error.

use std::fmt;
use std::io::Write;

use serde_json::{Value as Json, json};

use crate::cli::Output;

/// Why a verb could not be carried out.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The policy is wrong.
    Policy(Box<tidegate_policy::Report>),
    /// Something was being done, and failed.
    Doing(&'static str, String),
    /// A running balancer refused, and says why.
    Refused(Box<Json>),
}

impl Trouble {
    /// What was being done, in the present tense, and what came of it.
    pub(crate) fn doing(what: &'static str) -> impl Fn(&dyn fmt::Display) -> Self {
        move |error| Self::Doing(what, error.to_string())
    }
}

impl From<Box<tidegate_policy::Report>> for Trouble {
    fn from(report: Box<tidegate_policy::Report>) -> Self {
        Self::Policy(report)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(report) => write!(f, "{report}"),
            Self::Doing(what, error) => write!(f, "failed to {what}: {error}"),
            Self::Refused(problem) => {
                let said = |member: &str| {
                    problem.get(member).and_then(Json::as_str).unwrap_or_default().trim_end()
                };
                let separator = if said("report").is_empty() { "" } else { "\n" };
                write!(f, "refused: {}{separator}{}", said("title"), said("report"))
            }
        }
    }
}

/// Turns a filter into the process's log on standard error.
///
/// Pingora's own log is not taken over: below `info` it prints whole headers, secrets included.
pub(crate) fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

/// Prints one result.
///
/// A reader that went away, as `head` does, is no trouble.
pub(crate) fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
}

/// Prints how far something that takes long has come, beside the results.
pub(crate) fn progress(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "{text}"));
}

/// Prints why a verb could not be carried out.
pub(crate) fn trouble(trouble: &Trouble, output: Output) {
    let mut err = std::io::stderr().lock();
    let text = match (trouble, output) {
        (Trouble::Policy(report), Output::Text) => {
            report.render(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        }
        (Trouble::Policy(report), Output::Json) => problems(report).to_string(),
        (Trouble::Doing(..) | Trouble::Refused(_), Output::Text) => format!("tidegate: {trouble}"),
        (Trouble::Refused(problem), Output::Json) => problem.to_string(),
        (Trouble::Doing(..), Output::Json) => {
            json!({ "ok": false, "error": trouble.to_string() }).to_string()
        }
    };
    drop(writeln!(err, "{text}"));
}

fn problems(report: &tidegate_policy::Report) -> serde_json::Value {
    let problem = |it: &tidegate_policy::Problem| json!({ "line": it.line, "column": it.column, "message": it.message, "help": it.help });
    let problems: Vec<_> = report.problems().iter().map(problem).collect();
    json!({ "ok": false, "file": report.file(), "problems": problems })
}
