//! The life of a request, hook by hook.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tidegate_control::ledger::Kind;
use tidegate_control::metrics::RetryCause;
use tidegate_control::{Handle, clock};
use tidegate_core::ask::is_safe;
use tidegate_core::id::RegionSet;
use tidegate_core::route::{SessionOutcome, route};

use crate::access::AccessLog;
use crate::answer::Problem;
use crate::ask::{self, Circumstances};
use crate::budget::Budget;
use crate::connection::Connection;
use crate::ctx::{Ctx, End, Next, Routed, Stage};
use crate::delivery::{Freight, proof_of, proof_without_connection};
use crate::fencing::claiming::Fences;
use crate::headers::{self, Client, Served, Whose};
use crate::metrics::{ISSUED, Metrics};
use crate::owning;
use crate::peer::{Carriage, silence};
use crate::session::{Brought, Keeping};

use attempt::{await_answer, may_try_again, next_after, next_peer, refused_on_the_way};
use identity::{client_of, peer_of};

mod attempt;
mod fenced;
mod identity;
mod log;

/// Seconds for which Pingora keeps an idle connection of a client: without end.
const FOR_EVER: u64 = 0;

/// What every request of a listener shares.
#[derive(Debug)]
pub struct Proxy {
    handle: Handle,
    metrics: Metrics,
    access: AccessLog,
    fences: Option<Fences>,
    budget: Budget,
    sequence: AtomicU64,
    /// Distinguishes request ids of this process from those of any other.
    process: u64,
}

impl Proxy {
    /// A door to the world behind a handle, which fences writes if there is a fence.
    pub fn new(
        handle: Handle,
        metrics: Metrics,
        access: AccessLog,
        fences: Option<Fences>,
    ) -> Self {
        let budget = Budget::default();
        Self {
            handle,
            metrics,
            access,
            fences,
            budget,
            sequence: AtomicU64::new(0),
            process: fastrand::u64(..),
        }
    }

    /// Finds the route and the region.
    fn decide(&self, session: &Session, ctx: &mut Ctx) -> Result<Routed, Problem> {
        let request = session.req_header();
        let found = ask::route(&ctx.world.snapshot.policy, request);
        let (place, of_policy) = found.ok_or_else(Problem::no_route)?;
        ctx.world.asked(place);
        let last_token = ctx.on.as_ref().map(|it| it.connection().last_token());
        let when = (last_token, clock::moment_of(ctx.began));
        ctx.brought = Brought::read(&ctx.world.sessions, of_policy, request, when);
        let snapshot = &ctx.world.snapshot;
        let (full, tried) = (ctx.world.full(), RegionSet::EMPTY);
        let partition = match ctx.partition {
            Some(known) => Some(known),
            None => owning::partition(&snapshot.policy, of_policy, request, &[])
                .map_err(Problem::no_partition)?,
        };
        let belongs = owning::belonging(&ctx.world, partition);
        let (client, visited) = (ctx.client, ctx.session());
        let circumstances = Circumstances { client, session: visited, full, tried, belongs };
        let ask = ask::read(&snapshot.policy, (place, of_policy), request, circumstances);
        let decided = route(snapshot, &ask);
        if let Some(brought) = &ctx.brought {
            let outcome = decided.map_or(SessionOutcome::Absent, |it| it.session);
            self.metrics.visited(brought.word(outcome));
        }
        let choice = decided.map_err(|refusal| Problem::refused(refusal, snapshot, &ask))?;
        if ask.pin.is_some() {
            self.metrics.pinned(choice.pin);
        }
        Ok(Routed {
            route: place,
            choice,
            intent: ask.intent,
            carriage: carriage(session),
            has_body: false,
            client_hash: ask.client_hash,
            full,
            tried,
            partition,
        })
    }
}

impl Proxy {
    /// The route of a request, if the policy fences its writes.
    fn fenced_route(&self, session: &Session, ctx: &Ctx) -> Option<usize> {
        self.fences.as_ref()?;
        let (place, route) = ask::route(&ctx.world.snapshot.policy, session.req_header())?;
        route.fence.as_ref().map(|_| place)
    }
}

/// What the request needs of the connection that carries it.
fn carriage(session: &Session) -> Carriage {
    let request = session.req_header();
    let content_type = request.headers.get(http::header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    if session.is_upgrade_req() {
        Carriage::Upgrade
    } else if is_grpc && request.version == Version::HTTP_2 {
        Carriage::Grpc
    } else {
        Carriage::Plain
    }
}

/// Whether the answer proper is still to come: 100, 103 and the like, but not a change of protocol.
fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
}

/// Answers a request of this process to itself, which only wants to know whether somebody does.
async fn answer_own(session: &mut Session) -> Result<()> {
    session.set_keepalive(None);
    let response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(2))?;
    session.write_response_header(Box::new(response), true).await
}

/// Limits how long the client may be silent.
fn limit(session: &mut Session, ctx: &Ctx, routed: &Routed) {
    let Some(route) = ctx.world.snapshot.policy.routes.get(routed.route) else { return };
    let carriage = routed.carriage;
    let silence = silence(carriage, &route.timeouts, route.stream || carriage != Carriage::Plain);
    // What follows an upgrade may be silent for as long as both sides please; the idle limit is
    // kept on the side of the endpoint.
    let is_upgrade = carriage == Carriage::Upgrade;
    session.set_read_timeout((!is_upgrade).then_some(silence));
    session.set_write_timeout(Some(silence));
}

/// Ends an exchange that was told to close.
fn heed_closing(ctx: &mut Ctx) -> Result<()> {
    if !ctx.is_closed() {
        return Ok(());
    }
    ctx.end = End::Forced;
    let mut error = Error::explain(ErrorType::ConnectionClosed, "hard deadline of a drain");
    error.as_up();
    Err(error)
}

/// Puts on the request what its endpoint must know; another region is named when it is tried.
fn receive(session: &mut Session, ctx: &Ctx) -> Result<()> {
    let trusted = peer_of(session).is_some_and(|it| ctx.world.snapshot.policy.trusts(it));
    let peer = ctx.on.as_ref().and_then(|it| it.connection().peer());
    let region = ctx.routed().and_then(|it| ctx.world.region(it.choice.region));
    match (&ctx.id, region) {
        (Some(id), Some(region)) => {
            let client = Client { peer, trusted, version: ctx.version };
            let sessions = ctx.brought.as_ref().map(|_| &*ctx.world.sessions);
            let whose = Whose { id, region: &region.name, sessions };
            headers::receive(session.req_header_mut(), client, whose)
        }
        (None, _) | (_, None) => Ok(()),
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Ctx::new(self.handle.world(), clock::instant(), sequence)
    }

    /// No module is used, and the default one costs each request.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// A fenced write is sent as a request of its own.
    fn allow_spawning_subrequest(&self, session: &Session, _: &Ctx) -> bool {
        self.fences.is_some() && session.subrequest_ctx.is_none()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        // What few requests need is in a box: Pingora makes room for all of it for each of them.
        if let Some(freight) = Freight::of(session) {
            return Box::pin(self.deliver(session, ctx, freight)).await;
        }
        ctx.on = Connection::of(session.digest()).map(Connection::begin);
        if ctx.is_own() {
            Box::pin(answer_own(session)).await?;
            return Ok(true);
        }
        // Whoever keeps the listener looks after idle connections; a timer of Pingora's is not
        // needed for each request.
        session.set_keepalive(if ctx.is_last() { None } else { Some(FOR_EVER) });
        ctx.client = client_of(session, ctx);
        ctx.id = Some(self.request_id(session, ctx));
        if let Some(place) = self.fenced_route(session, ctx)
            && Box::pin(self.fenced(session, ctx, place)).await?
        {
            return Ok(true);
        }
        match self.decide(session, ctx) {
            Ok(mut routed) => {
                routed.has_body = !session.is_body_empty();
                limit(session, ctx, &routed);
                ctx.stage = Stage::Routed(routed);
                receive(session, ctx)?;
                self.budget.deposit(&ctx.world.snapshot.policy.retries);
                Ok(false)
            }
            Err(problem) => {
                Box::pin(self.answer(session, ctx, &problem)).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        next_peer(session, ctx)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so any method may go elsewhere: it reaches one endpoint more, and no
        // endpoint carries more than the traffic that there is.
        let retry = may_try_again(ctx);
        if let Some((_, endpoint)) = ctx.endpoint() {
            endpoint.traffic.unconnected();
            if retry {
                endpoint.metrics.retried(RetryCause::Connect);
            }
        }
        ctx.leave(Next::Another);
        if let Some(delivery) = &mut ctx.delivery {
            delivery.undelivered(proof_without_connection(&error));
        }
        error.set_retry(retry);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if !reused && let Some((_, endpoint)) = ctx.endpoint() {
            endpoint.traffic.connected();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let owned = ctx.owned_write();
        if let Some((partition, epoch)) = owned {
            owning::permit(&ctx.world, partition, epoch)?;
        }
        if let Some(delivery) = &mut ctx.delivery {
            delivery.begin()?;
        }
        if ctx.routed().is_some_and(|it| it.carriage == Carriage::Grpc) {
            // Taken off as what belongs to one connection, and wanted on each of them.
            request.insert_header(http::header::TE, "trailers")?;
        }
        if let Some((_, epoch)) = owned {
            headers::stamp_epoch(request, epoch)?;
        }
        match ctx.endpoint() {
            Some((region, _)) if 1 < ctx.attempts => headers::send(request, &region.name),
            Some(_) | None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if is_interim(response) {
            return Ok(());
        }
        ctx.has_answer();
        let is_upgrade = ctx.routed().is_some_and(|it| it.carriage == Carriage::Upgrade);
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
            // Passed on, it would leave two sides that disagree about what the next bytes mean.
            let mut error = Error::explain(ErrorType::InvalidHTTPHeader, "101 without an upgrade");
            error.as_up();
            return Err(error);
        }
        let content_type = response.headers.get(http::header::CONTENT_TYPE);
        let is_events =
            content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
        let kind = ctx.routed().map_or(Kind::Stream, |it| it.carriage.kind(true));
        let Some(attempt) = ctx.attempt_mut() else { return Ok(()) };
        let now = clock::instant();
        let first_byte = now.saturating_duration_since(attempt.began);
        attempt.first_byte = Some(first_byte);
        if is_events && !attempt.is_stream {
            attempt.is_stream = true;
            attempt.entry.becomes(kind);
        }
        if let Some((_, endpoint)) = ctx.endpoint() {
            let failed = response.status.is_server_error();
            endpoint.traffic.answered(clock::moment_of(now), first_byte, failed);
            endpoint.metrics.first_byte(first_byte);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if is_interim(response) {
            return Ok(());
        }
        if ctx.is_last() {
            session.set_keepalive(None);
        }
        let (Some((region, endpoint)), Some(routed), Some(id)) =
            (ctx.endpoint(), ctx.routed(), &ctx.id)
        else {
            return Ok(());
        };
        let token = ctx.brought.as_ref().and_then(|brought| {
            let release = endpoint.release.as_ref().and_then(|it| it.to_str().ok());
            let place = (region.name.to_str().ok()?, release);
            brought.renewed(&ctx.world.sessions, place, clock::moment_of(ctx.began))
        });
        if token.is_some() {
            self.metrics.visited(Some(ISSUED));
        }
        let keeping = ctx.brought.as_ref().map(|_| Keeping {
            sessions: &ctx.world.sessions,
            token: token.as_deref(),
            secure: token.is_some() && headers::came_over_tls(session.req_header()),
        });
        let served = Served {
            region: &region.name,
            reason: log::reason(&routed.choice),
            release: endpoint.release.as_ref(),
            id,
            keeping,
        };
        headers::answer(response, served)?;
        if let Some(delivery) = &mut ctx.delivery {
            delivery.answered(response);
            if let Some(word) = &delivery.stamps.word {
                response.insert_header(headers::FENCE, word.clone())?;
            }
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        ctx.received(body.as_ref());
        heed_closing(ctx)?;
        if end && ctx.routed().is_some_and(|it| it.has_body) {
            await_answer(session, ctx);
        }
        let is_plain = ctx.routed().is_some_and(|it| it.has_body && it.carriage == Carriage::Plain);
        let deadline = ctx.route().filter(|_| is_plain && !end).and_then(|it| it.timeouts.body);
        if deadline.is_some_and(|it| it < clock::elapsed_since(ctx.began)) {
            let error = Error::explain(ErrorType::ReadTimedout, "deadline of the request's body");
            return Err(error.into_down());
        }
        Ok(())
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let Some(delivery) = &mut ctx.delivery {
            delivery.ended(trailers);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        ctx.sent(body.as_ref());
        if let Some(delivery) = &mut ctx.delivery {
            delivery.piece(body.as_ref());
        }
        heed_closing(ctx)?;
        let is_stream = ctx.attempt().is_some_and(|it| it.is_stream);
        let total = ctx.route().and_then(|it| it.timeouts.total);
        if let Some(total) = total.filter(|_| !end && !is_stream)
            && total < clock::elapsed_since(ctx.began)
        {
            ctx.end = End::TimedOut;
            let mut error = Error::explain(ErrorType::ReadTimedout, "total deadline of the route");
            error.as_up();
            return Err(error);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        if ctx.has_answer() {
            // What was heard from the client's side is that the endpoint is late.
            error = Error::explain(ErrorType::ReadTimedout, "first byte of the route").into_up();
        }
        // Something may have been sent. What is not safe is never sent again, whatever Pingora
        // thinks of it: an endpoint that closes without an answer may have executed it.
        let answered = ctx.attempt().is_some_and(|it| it.first_byte.is_some());
        let unanswered = *error.esource() == ErrorSource::Upstream && !answered;
        // A limit that passes while the client is still sending says nothing about the endpoint.
        let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        let is_slow_client = timed_out && !session.as_downstream_mut().is_body_done();
        if unanswered
            && !is_slow_client
            && !ctx.is_closed()
            && let Some((_, endpoint)) = ctx.endpoint()
        {
            endpoint.traffic.broken();
        }
        // Of a fenced write only a proof allows another attempt, whatever its method.
        let proof = if unanswered { proof_of(&error) } else { None };
        let is_repeatable = match (&mut ctx.delivery, proof) {
            (Some(delivery), Some(proof)) => {
                delivery.undelivered(proof);
                true
            }
            (Some(_), None) => false,
            (None, proof) => proof.is_some() || is_safe(session.req_header().method.as_str()),
        };
        let may_retry = unanswered
            && session.response_written().is_none()
            && is_repeatable
            && !session.as_ref().retry_buffer_truncated()
            && may_try_again(ctx);
        let stale = reused && !timed_out;
        let next = if may_retry { next_after(session, ctx, stale) } else { Next::Nobody };
        let retry = next != Next::Nobody && self.has_budget(ctx);
        if retry {
            if let Some((_, endpoint)) = ctx.endpoint() {
                endpoint.metrics.retried(RetryCause::Broken);
            }
            ctx.leave(next);
        }
        error.set_retry(retry);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        let delivered = ctx.is_carried
            || ctx.attempt().is_some()
                && *error.esource() == ErrorSource::Upstream
                && !is_safe(session.req_header().method.as_str());
        ctx.end = log::end_of(error, ctx.end);
        if ctx.end == End::ClientGone {
            self.metrics.aborted();
        }
        let problem = match refused_on_the_way(session, ctx, error) {
            Some(problem) => Some(problem),
            None => Problem::failed(error, delivered),
        };
        let written = session.response_written().is_some_and(|it| !it.status.is_informational());
        // The connection is not used again after a failure, so the answer has to say so: a client
        // that believed otherwise would lose the request that it sends next.
        session.set_keepalive(None);
        let error_code = match problem.filter(|_| !written) {
            Some(problem) => match self.answer(session, ctx, &problem).await {
                Ok(()) => problem.status,
                Err(_) => 0,
            },
            None => 0,
        };
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Ctx) {
        if ctx.is_carried {
            return;
        }
        if ctx.delivery.is_some() {
            // Before the exchange counts as ended, so that a stop waits for it.
            Box::pin(Self::settle(ctx)).await;
        }
        ctx.ended();
        if !ctx.is_own() {
            self.log(session, ctx);
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Ctx, _: &Error) -> bool {
        // The access line says all of it.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Ctx,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
