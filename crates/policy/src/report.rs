//! What is wrong with a file, where, and what to do about it: for people and for programs.

use std::fmt::{self, Write as _};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use crate::flaws::Flaw;
use crate::place::{self, Span, Written};
use crate::secrets;

/// Most problems that one report tells; the rest is counted.
pub const PROBLEMS_MAX: usize = 32;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1; 0 when the file as a whole is the problem.
    pub line: usize,
    /// Column of the line in characters, from 1; 0 when the file as a whole is the problem.
    pub column: usize,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What may be done about it.
    pub help: Option<String>,
    span: Option<Span>,
}

/// Everything that is wrong with one file, in the order of its lines.
///
/// Displayed it is plain text, one line for each problem; [`Report::render`] shows the lines of
/// the file too.
#[derive(Clone, Debug)]
pub struct Report {
    file: String,
    source: Box<NamedSource<String>>,
    problems: Vec<Problem>,
    left_out: usize,
}

impl Report {
    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is wrong, in the order of the file; at least one, at most [`PROBLEMS_MAX`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The report for a terminal: each problem with its line, a mark under the place, and advice.
    pub fn render(&self, colour: bool) -> String {
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
        let mut text = String::new();
        for problem in &self.problems {
            let view = View { report: self, problem };
            if handler.render_report(&mut text, &view).is_err() {
                text.push_str(&self.line(problem));
            }
        }
        if self.left_out > 0 {
            text.push_str(&self.rest());
            text.push('\n');
        }
        text
    }

    /// A report of one problem with the file as a whole.
    pub(crate) fn whole(file: &str, message: impl Into<String>, help: Option<String>) -> Self {
        let message = printable(&message.into());
        let problem = Problem { line: 0, column: 0, message, help, span: None };
        Self::new(file, "", vec![problem], 0)
    }

    /// A report of one problem at a place of the text.
    pub(crate) fn at(file: &str, text: &str, span: Span, flaw: &Flaw) -> Self {
        Self::of_places(file, text, &[(span, flaw.clone())])
    }

    /// A report of flaws whose places in the text are still to be found.
    pub(crate) fn of(file: &str, text: &str, flaws: &[Flaw]) -> Self {
        let mut problems = Vec::new();
        for flaw in flaws.iter().take(PROBLEMS_MAX) {
            let path = flaw.path.as_deref().unwrap_or_default();
            problems.push(problem(text, place::find(text, path, flaw.aim), flaw));
        }
        let left_out = flaws.len().saturating_sub(PROBLEMS_MAX);
        Self::new(file, text, problems, left_out)
    }

    /// A report of flaws whose places in the text are known.
    pub(crate) fn of_places(file: &str, text: &str, flaws: &[(Span, Flaw)]) -> Self {
        let shown = flaws.iter().take(PROBLEMS_MAX);
        let problems = shown.map(|(span, flaw)| problem(text, Some(*span), flaw)).collect();
        Self::new(file, text, problems, flaws.len().saturating_sub(PROBLEMS_MAX))
    }

    fn new(file: &str, text: &str, mut problems: Vec<Problem>, left_out: usize) -> Self {
        problems.sort_by_key(|it| (it.line, it.column));
        problems.dedup();
        let source = Box::new(NamedSource::new(file, harmless(&secrets::blotted(text))));
        Self { file: file.to_owned(), source, problems, left_out }
    }

    fn line(&self, problem: &Problem) -> String {
        let Problem { line, column, message, help, span: _ } = problem;
        let place = if *line == 0 { String::new() } else { format!("{line}:{column}:") };
        let help = help.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
        format!("{}:{place} {message}{help}", self.file)
    }

    fn rest(&self) -> String {
        format!("{}: and {} more", self.file, self.left_out)
    }
}

fn problem(text: &str, span: Option<Span>, flaw: &Flaw) -> Problem {
    let path = Written(flaw.shown()).to_string();
    let separator = if path.is_empty() { "" } else { ": " };
    let message = printable(&format!("{path}{separator}{}", secrets::discreet(flaw)));
    let before = span.and_then(|it| text.get(..it.start));
    let last_line = |before: &str| before.rsplit('\n').next().map_or(0, |it| it.chars().count());
    Problem {
        line: before.map_or(0, |it| it.matches('\n').count() + 1),
        column: before.map_or(0, |it| last_line(it) + 1),
        message,
        help: flaw.help.as_deref().map(printable),
        span,
    }
}

/// The text with control characters written out: a value of the file must not reach a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | ' '..='~' => printable.push(character),
            _ if character.is_control() => printable.extend(character.escape_default()),
            _ => printable.push(character),
        }
    }
    printable
}

/// The text with control characters blotted out, each byte of them, so that offsets stay right.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => harmless.push(character),
            _ if character.is_control() => {
                (0..character.len_utf8()).for_each(|_| harmless.push('?'));
            }
            _ => harmless.push(character),
        }
    }
    harmless
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.problems.iter().map(|it| self.line(it));
        let rest = (self.left_out > 0).then(|| self.rest());
        for (place, line) in lines.chain(rest).enumerate() {
            if place > 0 {
                f.write_char('\n')?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.problems.as_slice() {
            [only] => only.help.as_ref().map(|it| -> Box<dyn fmt::Display> { Box::new(it) }),
            _ => None,
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problems.iter().any(|it| it.span.is_some()).then_some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.problems.iter().filter_map(|problem| {
            let span = problem.span?;
            Some(LabeledSpan::new(Some(problem.message.clone()), span.start, span.len))
        });
        Some(Box::new(labels))
    }
}

/// One problem of a report, as `miette` wants to see it.
#[derive(Debug)]
struct View<'a> {
    report: &'a Report,
    problem: &'a Problem,
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem.span {
            Some(_) => f.write_str(&self.problem.message),
            None => write!(f, "{}: {}", self.report.file, self.problem.message),
        }
    }
}

impl std::error::Error for View<'_> {}

impl Diagnostic for View<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.is_some().then_some(&*self.report.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span?;
        let label = LabeledSpan::new(Some("here".to_owned()), span.start, span.len);
        Some(Box::new(std::iter::once(label)))
    }
}
