//! What a duplicate is told.

use std::time::Duration;

use super::meaning::Preset;
use super::record::{Answer, Body, Record, State};
use super::rules::Claimed;

/// Longest time that a duplicate waits for the answer to the first request.
pub const COALESCE_WAIT_MAX: Duration = Duration::from_secs(30);
/// After how long a duplicate may ask again at the latest.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What has to be known of a route and a request to answer a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replying {
    /// For whom the route is made.
    pub preset: Preset,
    /// Only statuses are shown again, never bodies: the policy says so, or the scope is anonymous.
    pub is_status_only: bool,
    /// How long a duplicate waits for the answer to the first request.
    pub coalesce_wait: Duration,
}

impl Replying {
    /// How long duplicates wait unless the policy says otherwise.
    pub fn default_wait(preset: Preset) -> Duration {
        match preset {
            Preset::Api => Duration::from_secs(1),
            Preset::Webhook | Preset::Ingest => Duration::from_secs(5),
        }
    }
}

/// What a duplicate is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply<'r> {
    /// Nothing yet: the answer to the first request may come within this time.
    Wait(Duration),
    /// The first request is still under way.
    InFlight {
        /// 409; 503 where the sender takes a 4xx as final.
        status: u16,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The answer to the first request, with what of its body may be shown.
    Replay {
        /// The answer.
        answer: &'r Answer,
        /// Its body, or none when only the status is shown.
        body: Option<&'r [u8]>,
    },
    /// 409: it was executed, but its answer cannot be shown.
    AlreadyExecuted(&'r Answer),
    /// 409: it may have been executed.
    OutcomeUnknown,
    /// 422: the key was used for another request.
    Mismatch,
}

/// What a duplicate is told that could not claim its write and has `waited` for so long.
///
/// `None` when the write was won, and so there is no duplicate.
pub fn to<'r>(claimed: &'r Claimed, replying: &Replying, waited: Duration) -> Option<Reply<'r>> {
    match claimed {
        Claimed::Won { .. } => None,
        Claimed::Clash => Some(Reply::Mismatch),
        Claimed::InDoubt(_) => Some(Reply::OutcomeUnknown),
        Claimed::Done(record) => Some(replay(record, replying)),
        Claimed::Busy { left } => Some(busy(*left, replying, waited)),
    }
}

fn busy(left: Duration, replying: &Replying, waited: Duration) -> Reply<'static> {
    let rest = replying.coalesce_wait.min(COALESCE_WAIT_MAX).saturating_sub(waited);
    if !rest.is_zero() {
        return Reply::Wait(rest);
    }
    Reply::InFlight {
        status: if replying.preset.is_one_way() { 503 } else { 409 },
        retry_after: left.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX),
    }
}

fn replay<'r>(record: &'r Record, replying: &Replying) -> Reply<'r> {
    let State::Completed(answer) = &record.state else {
        return Reply::OutcomeUnknown;
    };
    let one_way = replying.preset.is_one_way();
    match &answer.body {
        // A part of an answer is nothing to show, and its status would promise the rest.
        Body::Partial => Reply::AlreadyExecuted(answer),
        Body::Whole(body) if !replying.is_status_only && answer.status != 0 => {
            Reply::Replay { answer, body: Some(body) }
        }
        Body::Whole(_) | Body::Digest { .. } | Body::Streamed | Body::NotKept if one_way => {
            Reply::Replay { answer, body: None }
        }
        Body::Whole(_) | Body::Digest { .. } | Body::Streamed | Body::NotKept => {
            Reply::AlreadyExecuted(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::record::{Doubt, Owner};
    use crate::moment::Moment;

    const API: Replying = Replying {
        preset: Preset::Api,
        is_status_only: false,
        coalesce_wait: Duration::from_secs(1),
    };
    const WEBHOOK: Replying = Replying { preset: Preset::Webhook, ..API };

    fn done(status: u16, body: Body) -> Claimed {
        let state = State::Completed(Answer { status, headers: Vec::new(), body });
        Claimed::Done(Record { state, ..Record::unreadable(Moment(0), Moment(9)) })
    }

    fn check(claimed: &Claimed, replying: &Replying, waited_ms: u64, expected: &str) {
        let reply = to(claimed, replying, Duration::from_millis(waited_ms));
        let said = match reply {
            None => "won".to_owned(),
            Some(Reply::Wait(rest)) => format!("wait {} ms", rest.as_millis()),
            Some(Reply::InFlight { status, retry_after }) => {
                format!("{status} in flight, again in {} s", retry_after.as_secs())
            }
            Some(Reply::Replay { answer, body }) => {
                format!("replay {} with {:?}", answer.status, body.map(<[u8]>::len))
            }
            Some(Reply::AlreadyExecuted(_)) => "409 executed".to_owned(),
            Some(Reply::OutcomeUnknown) => "409 unknown".to_owned(),
            Some(Reply::Mismatch) => "422".to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_duplicate_of_a_running_write_waits_and_then_comes_again() {
        let busy = Claimed::Busy { left: Duration::from_secs(75) };
        check(&busy, &API, 0, "wait 1000 ms");
        check(&busy, &API, 400, "wait 600 ms");
        check(&busy, &API, 1000, "409 in flight, again in 5 s");
        check(&busy, &WEBHOOK, 1000, "503 in flight, again in 5 s");
        let nearly = Claimed::Busy { left: Duration::from_millis(20) };
        check(&nearly, &API, 1000, "409 in flight, again in 1 s");
    }

    #[test]
    fn a_duplicate_of_an_answered_write_sees_what_may_be_shown() {
        let whole = done(201, Body::Whole([1, 2, 3].into()));
        let status_only = Replying { is_status_only: true, ..API };
        check(&whole, &API, 0, "replay 201 with Some(3)");
        check(&whole, &status_only, 0, "409 executed");
        check(&whole, &Replying { is_status_only: true, ..WEBHOOK }, 0, "replay 201 with None");
        let long = || Body::Digest { length: 9, sha256: [0; 32] };
        for body in [long, || Body::Streamed, || Body::NotKept] {
            check(&done(200, body()), &API, 0, "409 executed");
            check(&done(200, body()), &WEBHOOK, 0, "replay 200 with None");
        }
        check(&done(200, Body::Partial), &API, 0, "409 executed");
        check(&done(200, Body::Partial), &WEBHOOK, 0, "409 executed");
    }

    #[test]
    fn what_cannot_be_decided_is_said() {
        let mut record = Record::unreadable(Moment(0), Moment(9));
        check(&Claimed::InDoubt(record.clone()), &API, 0, "409 unknown");
        record.owner = Owner::NOBODY;
        record.state = State::InDoubt(Doubt::NoAnswer);
        check(&Claimed::Done(record), &API, 0, "409 unknown");
        check(&Claimed::Clash, &WEBHOOK, 0, "422");
        check(&Claimed::Won { attempt: 1 }, &WEBHOOK, 0, "won");
    }
}
