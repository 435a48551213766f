//! The rules, each as a function from the story of one write to what breaks it.

use super::{Attempt, Breach, Execution, History, Rule, Story, Told, WriteName};

/// Everything that is wrong with one write.
pub(super) fn broken_by(history: &History, story: &Story<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    found.extend(at_most_once(story));
    found.extend(nothing_from_nowhere(story));
    for attempt in &story.attempts {
        found.extend(done_is_done(story, attempt));
        found.extend(refused_is_not_done(story, attempt));
        found.extend(answer_is_the_answer(history, story, attempt));
        found.extend(mismatch(story, attempt));
        found.extend(doubt_has_a_reason(history, story, attempt));
        found.extend(done_stays_done(history, story, attempt));
    }
    found
}

fn breach(rule: Rule, name: &WriteName, seen: String) -> Breach {
    Breach { rule, name: name.clone(), seen }
}

fn at_most_once(story: &Story<'_>) -> Option<Breach> {
    if story.lines.len() < 2 {
        return None;
    }
    let by: Vec<_> = story.lines.iter().map(|it| (it.attempt, it.at)).collect();
    Some(breach(Rule::AtMostOnce, story.name, format!("executed by the attempts {by:?}")))
}

fn nothing_from_nowhere(story: &Story<'_>) -> Option<Breach> {
    let asked = |line: &Execution| {
        story.attempts.iter().any(|it| it.id == line.attempt && it.start <= line.at)
    };
    let line = story.lines.iter().find(|it| !asked(it))?;
    let seen = format!("attempt {} was executed, but nobody sent it before", line.attempt);
    Some(breach(Rule::NothingFromNowhere, story.name, seen))
}

fn done_is_done(story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    if !attempt.told.is_done() || story.lines.iter().any(|it| it.at <= attempt.end) {
        return None;
    }
    let seen =
        format!("attempt {} was told {}, and nothing was executed", attempt.id, said(attempt));
    Some(breach(Rule::DoneIsDone, story.name, seen))
}

fn refused_is_not_done(story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    if attempt.told != Told::Refused || !story.lines.iter().any(|it| it.attempt == attempt.id) {
        return None;
    }
    let seen = format!("attempt {} was refused and executed", attempt.id);
    Some(breach(Rule::RefusedIsNotDone, story.name, seen))
}

/// An answer must be what an endpoint said about this write, or at least about this scope.
fn answer_is_the_answer(history: &History, story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    let Told::Answer { digest, replayed, status } = attempt.told else { return None };
    // What is no success and no replay may come from a box on the way.
    if status >= 400 && !replayed {
        return None;
    }
    if let Some(other) = history.executions.iter().find(|it| it.answer == digest) {
        if other.name.scope != story.name.scope {
            let seen = format!("attempt {} saw an answer of {}", attempt.id, other.name.scope);
            return Some(breach(Rule::ScopesAreApart, story.name, seen));
        }
        if other.name == *story.name {
            return None;
        }
    }
    // Without an effect another rule has more to say.
    let is_first = story.lines.is_empty();
    let seen =
        format!("attempt {} was told {}, which is not the answer", attempt.id, said(attempt));
    (!is_first).then(|| breach(Rule::ReplayIsTheAnswer, story.name, seen))
}

fn mismatch(story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    let differs = |other: &&&Attempt| other.payload != attempt.payload;
    if attempt.told == Told::Mismatch {
        let earlier = |other: &&&Attempt| other.start <= attempt.end;
        let is_own = |line: &&Execution| {
            let by = story.attempts.iter().find(|it| it.id == line.attempt);
            line.at <= attempt.start && by.is_some_and(|it| !differs(&it))
        };
        if story.lines.first().is_some_and(is_own) {
            let seen = format!("attempt {} was told so of what was executed", attempt.id);
            return Some(breach(Rule::MismatchIsMismatch, story.name, seen));
        }
        if story.attempts.iter().filter(earlier).any(|it| differs(&it)) {
            return None;
        }
        let seen = format!("attempt {} was told of another payload; there is none", attempt.id);
        return Some(breach(Rule::MismatchIsMismatch, story.name, seen));
    }
    let by = story.lines.first()?.attempt;
    let executed = story.attempts.iter().find(|it| it.id == by)?;
    // Before the endpoint had executed it, another payload may have had the key.
    let knew = story.lines.first().is_some_and(|line| line.at <= attempt.start);
    let is_wrong = match attempt.told {
        Told::Answer { .. } | Told::Executed => true,
        Told::InFlight | Told::InDoubt => knew,
        Told::Mismatch | Told::Refused | Told::Failed | Told::Nothing => false,
    };
    if !differs(&executed) || !is_wrong || (attempt.id == by) {
        return None;
    }
    let seen = format!("attempt {} was told {} of another payload", attempt.id, said(attempt));
    Some(breach(Rule::MismatchIsMismatch, story.name, seen))
}

fn doubt_has_a_reason(history: &History, story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    if attempt.told != Told::InDoubt {
        return None;
    }
    let began = story.attempts.first().map_or(attempt.start, |it| it.start);
    if history.had_trouble(began, attempt.end, &story.attempts) {
        return None;
    }
    let seen = format!("attempt {} was told so, and nothing was broken", attempt.id);
    Some(breach(Rule::DoubtHasAReason, story.name, seen))
}

/// Who asks after an answer gets it again, unless something was broken at its end or since.
fn done_stays_done(history: &History, story: &Story<'_>, attempt: &Attempt) -> Option<Breach> {
    if !matches!(attempt.told, Told::InDoubt | Told::InFlight) {
        return None;
    }
    let done = |it: &&&Attempt| {
        it.told.is_done() && it.end < attempt.start && it.payload == attempt.payload
    };
    let earlier = story.attempts.iter().find(done)?;
    if history.had_trouble(earlier.start, attempt.end, &story.attempts) {
        return None;
    }
    let seen = format!("attempt {} was told {} after it was done", attempt.id, said(attempt));
    Some(breach(Rule::DoneStaysDone, story.name, seen))
}

/// Over all writes: epochs never go back.
pub(super) fn epochs(history: &History) -> Vec<Breach> {
    let mut lines: Vec<_> = history.executions.iter().filter(|it| it.epoch.is_some()).collect();
    lines.sort_by_key(|it| it.at);
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let back = pairs.filter(|(earlier, later)| later.epoch < earlier.epoch);
    let seen = |(earlier, later): (&&Execution, &&Execution)| {
        let seen = format!("{:?} after {:?}", later.epoch, earlier.epoch);
        Breach { rule: Rule::EpochsGrow, name: later.name.clone(), seen }
    };
    back.map(seen).collect()
}

fn said(attempt: &Attempt) -> String {
    match attempt.told {
        Told::Answer { status, replayed: true, .. } => format!("{status} (replayed)"),
        Told::Answer { status, .. } => status.to_string(),
        Told::Executed
        | Told::Mismatch
        | Told::InFlight
        | Told::InDoubt
        | Told::Refused
        | Told::Failed
        | Told::Nothing => format!("{:?}", attempt.told),
    }
}
