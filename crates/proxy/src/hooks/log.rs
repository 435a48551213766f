//! The end of a request: its metrics and its access line.

use http::Version;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session as Exchange;
use tidegate_control::clock;
use tidegate_core::route::{Choice, PinOutcome as Pin, Reason, SessionOutcome as Session};

use super::Proxy;
use crate::access::Line;
use crate::ask;
use crate::ctx::{Ctx, End};

/// The words for a reason, with those for what became of a pin and of a session.
macro_rules! told {
    ($reason:literal, $pin:expr, $session:expr) => {
        match ($pin, $session) {
            (Pin::Absent | Pin::Honoured, Session::Absent | Session::Honoured) => $reason,
            (Pin::Absent | Pin::Honoured, Session::Moved) => concat!($reason, "; session=moved"),
            (Pin::Absent | Pin::Honoured, Session::Orphaned) => {
                concat!($reason, "; session=orphaned")
            }
            (Pin::Unknown, Session::Absent | Session::Honoured) => {
                concat!($reason, "; pin=unknown")
            }
            (Pin::Unknown, Session::Moved) => concat!($reason, "; pin=unknown; session=moved"),
            (Pin::Unknown, Session::Orphaned) => {
                concat!($reason, "; pin=unknown; session=orphaned")
            }
            (Pin::Unavailable, Session::Absent | Session::Honoured) => {
                concat!($reason, "; pin=unavailable")
            }
            (Pin::Unavailable, Session::Moved) => {
                concat!($reason, "; pin=unavailable; session=moved")
            }
            (Pin::Unavailable, Session::Orphaned) => {
                concat!($reason, "; pin=unavailable; session=orphaned")
            }
        }
    };
}

/// Why a region was chosen and what became of pin and session, as `X-Region-Reason` says it.
pub(crate) fn reason(choice: &Choice) -> &'static str {
    match choice.reason {
        Reason::Pin => told!("pin", choice.pin, choice.session),
        Reason::Session => told!("session", choice.pin, choice.session),
        Reason::Owner => told!("owner", choice.pin, choice.session),
        Reason::Nearest => told!("nearest", choice.pin, choice.session),
        Reason::Spill => told!("spill", choice.pin, choice.session),
        Reason::LastResort => told!("last_resort", choice.pin, choice.session),
    }
}

/// How an exchange that failed ended.
pub(super) fn end_of(error: &Error, before: End) -> End {
    match (before, error.esource(), error.etype()) {
        (End::TimedOut | End::Forced, ..) => before,
        (_, ErrorSource::Downstream, _) => End::ClientGone,
        (_, _, ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::ConnectTimedout) => {
            End::TimedOut
        }
        (_, ErrorSource::Upstream, _) => End::EndpointBroken,
        (_, ErrorSource::Internal | ErrorSource::Unset, _) => before,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "other",
    }
}

impl Proxy {
    pub(super) fn log(&self, session: &Exchange, ctx: &Ctx) {
        let total = clock::elapsed_since(ctx.began);
        let status = session.response_written().map_or(0, |it| it.status.as_u16());
        if let Some((_, endpoint)) = ctx.endpoint()
            && ctx.code.is_none()
        {
            endpoint.metrics.answered(status, total);
        }
        let request = session.req_header();
        let snapshot = &ctx.world.snapshot;
        if !snapshot.policy.access_log {
            return;
        }
        let routed = ctx.routed();
        let attempt = ctx.attempt();
        let place = attempt.and_then(|it| {
            let region = snapshot.region(it.region)?;
            Some((region, region.endpoints.get(it.endpoint)?))
        });
        let report = place.and_then(|(_, endpoint)| endpoint.report.as_deref());
        let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        let line = Line {
            time: clock::moment_of(ctx.began),
            id: ctx.id.as_ref().and_then(|it| it.to_str().ok()).unwrap_or("-"),
            generation: snapshot.generation,
            sequence: ctx.sequence,
            client: ctx.client,
            method: request.method.as_str(),
            host: ask::host(request),
            path: request.uri.path(),
            protocol: protocol(ctx.version.unwrap_or(request.version)),
            kind: ctx.kind().word(),
            route: ctx.route().map(|it| &*it.name),
            intent: routed.map(|it| it.intent.word()),
            status,
            code: ctx.code,
            end: ctx.end.word(),
            region: place.map(|(region, _)| &*region.name),
            reason: routed.map(|it| it.choice.reason.word()),
            pin: routed.map(|it| it.choice.pin.word()).filter(|it| *it != "absent"),
            session: ctx.brought.as_ref().and_then(|brought| {
                brought.word(routed.map_or(Session::Absent, |it| it.choice.session))
            }),
            fence: ctx.fenced.map(|(_, word)| word),
            endpoint: attempt.map(|it| it.address),
            release_id: report.and_then(|it| it.release_id.as_deref()),
            revision: report.and_then(|it| it.revision.as_deref()),
            attempts: ctx.attempts,
            bytes_in: session.body_bytes_read(),
            bytes_out: session.body_bytes_sent(),
            first_byte_ms: attempt
                .and_then(|it| it.first_byte)
                .map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            total_ms,
        };
        if !self.access.log(&line) {
            self.metrics.access_lines_lost.inc();
        }
    }
}
