//! Sessions on the wire: the token that a request brings along, and the one that its answer takes.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use pingora::http::RequestHeader;
use tidegate_control::sessions::Sessions;
use tidegate_core::Moment;
use tidegate_core::ask::Session;
use tidegate_core::id::Name;
use tidegate_core::policy::{Route, Stickiness};
use tidegate_core::route::SessionOutcome;
use tidegate_core::sticky::TokenError;

pub use last::LastToken;

mod last;

/// Cookies of our name that are looked at in one request; a browser sends one, or one for each path
/// that somebody else has set it for.
pub const COOKIES_MAX: usize = 4;

/// By this a client says that it goes on with a stream of events.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request on a sticky route brought along.
#[derive(Clone, Debug)]
pub struct Brought {
    /// What its token says, or why that says nothing; `None` without a token.
    token: Option<Result<Arc<Visit>, TokenError>>,
    /// Whether the request is routed by it.
    counts: bool,
}

/// Where a client was, as a token of ours says.
#[derive(Debug)]
struct Visit {
    region: Name,
    release: Option<Name>,
    expires_s: u64,
}

impl Brought {
    /// Reads what a request on this route brought along; `None` where the route keeps nobody.
    ///
    /// The header counts and then the cookies, of which the first one that is good.
    pub fn read(
        sessions: &Arc<Sessions>,
        route: &Route,
        request: &RequestHeader,
        (last, now): (Option<&LastToken>, Moment),
    ) -> Option<Self> {
        let counts = match route.sticky {
            Stickiness::Off => return None,
            Stickiness::Session => true,
            Stickiness::Stream => request.headers.contains_key(&LAST_EVENT_ID),
        };
        let verify = |token: &[u8]| verify(sessions, token, (last, now));
        let token = match request.headers.get(&sessions.header) {
            Some(token) => Some(verify(token.as_bytes())),
            None => of_cookies(sessions, &request.headers, verify),
        };
        Some(Self { token, counts })
    }

    /// Where the client was, for routing.
    pub fn session(&self) -> Option<Session<'_>> {
        let visit = self.token.as_ref().filter(|_| self.counts)?.as_ref().ok()?;
        Some(Session { region: &visit.region, release: visit.release.as_deref() })
    }

    /// What became of the token, as metrics, access lines and explanations say it.
    pub fn word(&self, outcome: SessionOutcome) -> Option<&'static str> {
        match (&self.token, outcome) {
            (Some(Err(error)), _) => Some(error.word()),
            (Some(Ok(_)) | None, SessionOutcome::Absent) => None,
            (Some(Ok(_)) | None, outcome) => Some(outcome.word()),
        }
    }

    /// The token for an answer from this region and release, unless the client has a good one that
    /// says the same and is not due.
    pub(crate) fn renewed(
        &self,
        sessions: &Sessions,
        (region, release): (&str, Option<&str>),
        now: Moment,
    ) -> Option<String> {
        let is_settled = match &self.token {
            Some(Ok(visit)) => {
                *visit.region == *region
                    && visit.release.as_deref() == release
                    && !sessions.is_due(visit.expires_s, now)
            }
            Some(Err(_)) | None => false,
        };
        if is_settled { None } else { sessions.issue((region, release), now) }
    }
}

fn verify(
    sessions: &Arc<Sessions>,
    token: &[u8],
    (last, now): (Option<&LastToken>, Moment),
) -> Result<Arc<Visit>, TokenError> {
    if let Some(visit) = last.and_then(|it| it.recall(sessions, token, now)) {
        return Ok(visit);
    }
    let text = std::str::from_utf8(token).map_err(|_not_text| TokenError::Malformed)?;
    let said = sessions.verify(text, now)?;
    let release = said.release.as_deref().map(Name::from);
    let region = Name::from(&*said.region);
    let visit = Arc::new(Visit { region, release, expires_s: said.expires_s });
    if let Some(last) = last {
        last.remember(sessions, token, &visit);
    }
    Ok(visit)
}

fn of_cookies(
    sessions: &Sessions,
    headers: &HeaderMap,
    verify: impl Fn(&[u8]) -> Result<Arc<Visit>, TokenError>,
) -> Option<Result<Arc<Visit>, TokenError>> {
    let values = headers.get_all(COOKIE).iter().flat_map(|it| parts(it.as_bytes()));
    let tokens = values.filter_map(|it| of_name(it, &sessions.cookie));
    let mut first_error = None;
    for token in tokens.take(COOKIES_MAX) {
        match verify(token) {
            Ok(visit) => return Some(Ok(visit)),
            Err(error) => first_error = first_error.or(Some(Err(error))),
        }
    }
    first_error
}

fn parts(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies.split(|it| *it == b';')
}

/// The value of a cookie, if it has this name.
fn of_name<'c>(cookie: &'c [u8], name: &str) -> Option<&'c [u8]> {
    cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Takes our token off a request: it is between us and the client. Other cookies stay as they are,
/// byte for byte.
pub(crate) fn take_off(headers: &mut HeaderMap, sessions: &Sessions) {
    drop(headers.remove(&sessions.header));
    let is_ours = |cookie: &[u8]| of_name(cookie, &sessions.cookie).is_some();
    let has_ours = |value: &HeaderValue| parts(value.as_bytes()).any(is_ours);
    if !headers.get_all(COOKIE).iter().any(has_ours) {
        return;
    }
    let others = |value: &HeaderValue| {
        if !has_ours(value) {
            return Some(value.clone());
        }
        let mut kept = Vec::with_capacity(value.len());
        for cookie in parts(value.as_bytes()).filter(|it| !is_ours(it)) {
            if kept.is_empty() {
                kept.extend_from_slice(cookie.trim_ascii_start());
            } else {
                kept.push(b';');
                kept.extend_from_slice(cookie);
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(kept)).ok().filter(|it| !it.is_empty())
    };
    let kept: Vec<_> = headers.get_all(COOKIE).iter().filter_map(others).collect();
    drop(headers.remove(COOKIE));
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// What is done about the session on an answer.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'a> {
    /// Where tokens stand.
    pub sessions: &'a Sessions,
    /// The token for the client, if it needs one.
    pub token: Option<&'a str>,
    /// Whether the client came over TLS, so that the cookie must never leave otherwise.
    pub secure: bool,
}

/// Puts the token on an answer; what the endpoint said in its place is dropped.
pub(crate) fn put_on(headers: &mut HeaderMap, keeping: Keeping<'_>) {
    let Keeping { sessions, token, secure } = keeping;
    drop(headers.remove(&sessions.header));
    let is_ours = |it: &HeaderValue| of_name(it.as_bytes(), &sessions.cookie).is_some();
    if headers.get_all(SET_COOKIE).iter().any(is_ours) {
        let all = headers.get_all(SET_COOKIE).iter();
        let others: Vec<_> = all.filter(|it| !is_ours(it)).cloned().collect();
        drop(headers.remove(SET_COOKIE));
        for value in others {
            headers.append(SET_COOKIE, value);
        }
    }
    let Some(token) = token else { return };
    let (name, ttl) = (&sessions.cookie, sessions.ttl.as_secs());
    let tls = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={token}; Path=/; Max-Age={ttl}; HttpOnly; SameSite=Lax{tls}");
    // A token and the name of a cookie are always values.
    if let (Ok(cookie), Ok(token)) =
        (HeaderValue::from_maybe_shared(Bytes::from(cookie)), HeaderValue::from_str(token))
    {
        headers.append(SET_COOKIE, cookie);
        headers.insert(sessions.header.clone(), token);
    }
}

#[cfg(test)]
mod tests;
