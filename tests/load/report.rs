//! Turns the measurements into two tables: what each server did, and tidegate beside the others.
#![expect(clippy::print_stdout, reason = "the tables are what the bench is for")]

use tidegate_harness::{CrowdReport, LoadReport};

use crate::measure::Turn;

/// All turns of one server.
#[derive(Debug)]
pub(crate) struct Row {
    /// The server's name.
    pub(crate) name: &'static str,
    /// One turn per round, in the order of the rounds.
    pub(crate) turns: Vec<Turn>,
    /// The highest resident memory of the whole run, in KiB.
    pub(crate) peak_kib: u64,
}

/// What idle streams took in one server.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The server's name.
    pub(crate) name: &'static str,
    /// How many streams were open.
    pub(crate) streams: usize,
    /// Resident memory before they were, in KiB.
    pub(crate) before_kib: u64,
    /// While they were.
    pub(crate) open_kib: u64,
    /// After they had ended.
    pub(crate) after_kib: u64,
}

impl Memory {
    /// KiB for each stream.
    fn each(&self) -> f64 {
        let kib = u32::try_from(self.open_kib.saturating_sub(self.before_kib)).unwrap_or(u32::MAX);
        f64::from(kib) / f64::from(u32::try_from(self.streams).unwrap_or(u32::MAX))
    }
}

/// Prints what idle streams took, and how much that is beside the first.
pub(crate) fn memory(rows: &[Memory]) {
    println!();
    println!(
        "{:<12}{:>10}{:>12}{:>12}{:>12}{:>16}{:>18}",
        "server",
        "streams",
        "before MiB",
        "open MiB",
        "after MiB",
        "KiB per stream",
        "tidegate / it"
    );
    let ours = rows.first().map_or(f64::NAN, Memory::each);
    let mib = |kib: u64| kib.div_ceil(1024);
    for row in rows {
        println!(
            "{:<12}{:>10}{:>12}{:>12}{:>12}{:>16.1}{:>18.2}",
            row.name,
            row.streams,
            mib(row.before_kib),
            mib(row.open_kib),
            mib(row.after_kib),
            row.each(),
            ours / row.each(),
        );
    }
}

/// What an event did to the streams that were open, and to connections that came meanwhile.
#[derive(Debug)]
pub(crate) struct Happened {
    /// What happened.
    pub(crate) event: &'static str,
    /// The streams.
    pub(crate) crowd: CrowdReport,
    /// Short requests on fresh connections, unless the event is that there are none any more.
    pub(crate) knocks: Option<LoadReport>,
}

impl Happened {
    /// Whether nobody noticed anything.
    pub(crate) fn is_smooth(&self) -> bool {
        let knocks = self.knocks.as_ref();
        self.crowd.broken().is_empty()
            && knocks.is_none_or(|it| it.failures.is_empty() && it.not_ok() == 0)
    }
}

/// Prints one line per event, and names the streams that were not whole.
pub(crate) fn events(rows: &[Happened]) {
    println!();
    println!(
        "{:<18}{:>9}{:>9}{:>6}{:>9}{:>11}{:>9}{:>8}{:>9}{:>12}",
        "event",
        "streams",
        "refused",
        "cut",
        "altered",
        "connects",
        "refused",
        "broken",
        "not 200",
        "longest ms"
    );
    for row in rows {
        let (refused, cut, altered) = row.crowd.counts();
        let streams = row.crowd.streams.len();
        let knocks = row.knocks.as_ref().map_or_else(
            || format!("{:>11}{:>9}{:>8}{:>9}{:>12}", "-", "-", "-", "-", "-"),
            |it| {
                format!(
                    "{:>11}{:>9}{:>8}{:>9}{:>12}",
                    it.answers.len() + it.failures.len(),
                    it.refused(),
                    it.broken(),
                    it.not_ok(),
                    it.longest().as_millis()
                )
            },
        );
        println!("{:<18}{streams:>9}{refused:>9}{cut:>6}{altered:>9}{knocks}", row.event);
    }
    for row in rows.iter().filter(|it| !it.crowd.broken().is_empty()) {
        println!("\n{}: {}", row.event, row.crowd);
    }
}

impl Row {
    fn median(&self, value: fn(&Turn) -> f64) -> f64 {
        spread(self.turns.iter().map(value).collect()).median
    }

    /// The ratio to another row, round by round: neighbours in time saw the same machine.
    fn over(&self, other: &Self, value: fn(&Turn) -> f64) -> Spread {
        let pairs = self.turns.iter().zip(&other.turns);
        spread(pairs.map(|(ours, theirs)| value(ours) / value(theirs)).collect())
    }
}

/// The middle of some numbers, and their ends.
#[derive(Clone, Copy, Debug)]
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

/// Sorts the numbers. Of an even count, the median is the mean of the middle two.
fn spread(mut numbers: Vec<f64>) -> Spread {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
    let last = numbers.len().saturating_sub(1);
    Spread { low: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), high: at(last) }
}

/// Prints a line of the preface.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints one line per server.
pub(crate) fn absolute(rows: &[Row]) {
    println!();
    println!(
        "{:<16}{:>12}{:>11}{:>9}{:>9}{:>10}{:>11}{:>9}",
        "server", "CPU us/req", "req/s", "p50 ms", "p99 ms", "peak MiB", "core busy", "logged"
    );
    for row in rows {
        println!(
            "{:<16}{:>12.2}{:>11.0}{:>9.2}{:>9.2}{:>10}{:>10.0}%{:>8.0}%",
            row.name,
            row.median(|turn| turn.cpu_us),
            row.median(|turn| turn.per_second),
            row.median(|turn| turn.p50_ms),
            row.median(|turn| turn.p99_ms),
            row.peak_kib.div_ceil(1024),
            row.median(|turn| turn.busy) * 100.0,
            row.median(|turn| turn.logged) * 100.0,
        );
    }
}

/// Prints `ours` as a multiple of every other proxy: the median of the rounds and their range.
pub(crate) fn ratios(ours: &Row, others: &[&Row]) {
    println!();
    println!("{:<28}{:>6}{:>18}{:>9}{:>9}", "ratio", "CPU", "(range)", "req/s", "p99");
    for other in others {
        let cpu = ours.over(other, |turn| turn.cpu_us);
        println!(
            "{:<28}{:>6.2}{:>18}{:>9.2}{:>9.2}",
            format!("{} / {}", ours.name, other.name),
            cpu.median,
            format!("({:.2} .. {:.2})", cpu.low, cpu.high),
            ours.over(other, |turn| turn.per_second).median,
            ours.over(other, |turn| turn.p99_ms).median,
        );
    }
}
