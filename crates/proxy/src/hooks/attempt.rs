//! One attempt after another: which endpoint, whether again, and when to give up.

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_control::clock;
use tidegate_control::ledger::Facts;
use tidegate_control::traffic::Entry;
use tidegate_core::ask::Ask;
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{Balance, Timeouts};
use tidegate_core::route::{Choice, Refusal, admits, route};

use super::Proxy;
use crate::answer::Problem;
use crate::ask::{self, Circumstances};
use crate::ctx::{Attempt, Ctx, End, FAILED_PER_REGION_MAX, Next, Routed, Stage};
use crate::delivery::TOO_LATE;
use crate::headers;
use crate::owning;
use crate::peer::line::make_closable;
use crate::peer::{Carriage, Limits, peer, silence};

/// The peer for the next attempt: an endpoint of the chosen region that has not failed yet, or,
/// when there is none, an endpoint of the next region.
pub(super) fn next_peer(session: &Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let Stage::Routed(mut routed) = std::mem::replace(&mut ctx.stage, Stage::New) else {
        return Error::e_explain(ErrorType::InternalError, "an attempt without a route");
    };
    match next_place(session, ctx, &mut routed) {
        Ok(place) => {
            let has_body = routed.has_body;
            let mut peer = send_to(ctx, routed, place)?;
            if headers::is_end_to_end(session.req_header()) {
                // Pingora would look ten times for what is not there.
                peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
            }
            if !has_body {
                await_answer(session, ctx);
            }
            Ok(peer)
        }
        Err(refusal) => {
            ctx.stage = Stage::Routed(routed);
            Err(Error::new(ErrorType::CustomCode(refusal.code(), 503)))
        }
    }
}

/// The place of the next endpoint; `routed` says in which region.
fn next_place(session: &Session, ctx: &Ctx, routed: &mut Routed) -> Result<usize, Refusal> {
    loop {
        let region = routed.choice.region;
        let place = pick(session, ctx, routed);
        if let Some(place) = place
            && ctx.failures_in(region) < FAILED_PER_REGION_MAX
        {
            return Ok(place);
        }
        let mut tried = routed.tried;
        tried.insert(region);
        match (again(session, ctx, routed, tried), place) {
            (Ok(choice), _) => (routed.choice, routed.tried) = (choice, tried),
            // Nobody else may answer, so the rest of this region is tried as well.
            (Err(_), Some(place)) => return Ok(place),
            (Err(refusal), None) => {
                routed.tried = tried;
                return Err(refusal);
            }
        }
    }
}

fn send_to(ctx: &mut Ctx, routed: Routed, place: usize) -> Result<Box<HttpPeer>> {
    let world = &ctx.world;
    let policy = &world.snapshot.policy;
    let region = routed.choice.region;
    let (Some(of_world), Some(of_policy), Some(route)) =
        (world.region(region), policy.regions.get(region.index()), policy.routes.get(routed.route))
    else {
        return Error::e_explain(ErrorType::InternalError, "a region that is not there");
    };
    let Some(endpoint) = of_world.endpoints.get(place) else {
        return Error::e_explain(ErrorType::InternalError, "an endpoint that is not there");
    };
    let is_stream = route.stream || routed.carriage != Carriage::Plain;
    let timeouts = &route.timeouts;
    let silence = silence(routed.carriage, timeouts, is_stream);
    let carriage = (of_policy.protocol, routed.carriage);
    let limits = Limits { connect: timeouts.connect, silence };
    let began = clock::instant();
    let now = clock::moment_of(began);
    let mut peer = peer(endpoint.address, carriage, limits, routed.has_body, now);
    // Everything else is over in time by itself, or at its next piece.
    let may_be_silent = is_stream || timeouts.total.is_none();
    if may_be_silent && policy.drain.hard_deadline.is_some() {
        make_closable(&mut peer, &endpoint.traffic);
    }
    let facts = Facts {
        kind: routed.carriage.kind(is_stream),
        route: world.routes.get(routed.route).map(|it| it.symbol).unwrap_or_default(),
        release: endpoint.release_symbol,
        began: now,
    };
    let attempt = Attempt {
        region,
        endpoint: place,
        address: endpoint.address,
        began,
        first_byte: None,
        is_stream,
        entry: Entry::open(&endpoint.traffic, facts),
    };
    ctx.stage = Stage::Sent(routed, attempt);
    ctx.attempts += 1;
    Ok(peer)
}

/// From now on the answer must begin within the limit of the route.
///
/// Pingora has one limit for the head and for every piece after it, so where the pieces may take
/// longer somebody else looks after the head. Over HTTP/2 nobody does: the connection of a client
/// carries many requests there, and wakes all of them or none.
pub(super) fn await_answer(session: &Session, ctx: &Ctx) {
    let (Some(routed), Some(route), Some(attempt)) = (ctx.routed(), ctx.route(), ctx.attempt())
    else {
        return;
    };
    let Timeouts { first_byte, .. } = route.timeouts;
    let waits_longer = first_byte < silence(routed.carriage, &route.timeouts, attempt.is_stream);
    let is_awaited = attempt.first_byte.is_none() && session.as_http2().is_none();
    if let Some(on) = ctx.on.as_ref().filter(|_| attempt.is_stream && waits_longer && is_awaited) {
        on.connection().awaits_answer(clock::now().plus(first_byte));
    }
}

/// Whether attempts and time are left.
pub(super) fn may_try_again(ctx: &Ctx) -> bool {
    let rules = &ctx.world.snapshot.policy.retries;
    ctx.attempts < rules.attempts_max && clock::elapsed_since(ctx.began) < rules.deadline
}

/// Who could take a safe request whose present attempt broke.
///
/// A connection that was used before may have gone `stale`: closed before anything was sent on it.
/// Then, when nobody else is left, the endpoint itself is asked once more.
pub(super) fn next_after(session: &Session, ctx: &mut Ctx, stale: bool) -> Next {
    let (Some(routed), Some(attempt)) = (ctx.routed(), ctx.attempt()) else { return Next::Nobody };
    let (mut routed, failed) = (routed.clone(), (attempt.region, attempt.endpoint));
    ctx.failed.push(failed);
    let is_left = next_place(session, ctx, &mut routed).is_ok();
    ctx.failed.pop();
    match (is_left, stale && !ctx.asked_again) {
        (true, _) => Next::Another,
        (false, true) => Next::Same,
        (false, false) => Next::Nobody,
    }
}

/// The answer when the error is our own word that no region is left.
pub(super) fn refused_on_the_way(session: &Session, ctx: &Ctx, error: &Error) -> Option<Problem> {
    let ErrorType::CustomCode(code, _) = error.etype() else { return None };
    if *code == TOO_LATE {
        return Some(Problem::claimed_too_long_ago());
    }
    let refusal = Refusal::ALL.into_iter().find(|it| it.code() == *code)?;
    let ask = ask_of(session, ctx, ctx.routed()?)?;
    Some(Problem::refused(refusal, &ctx.world.snapshot, &ask))
}

impl Proxy {
    /// Whether the budget that all requests share allows one more.
    pub(super) fn has_budget(&self, ctx: &Ctx) -> bool {
        let allowed = self.budget.withdraw(clock::now(), &ctx.world.snapshot.policy.retries);
        if !allowed {
            self.metrics.retry_denied();
        }
        allowed
    }

    /// Answers a request ourselves.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        problem: &Problem,
    ) -> Result<()> {
        self.answers(ctx, problem);
        problem.send(session, ctx.id.as_ref()).await
    }

    /// The same to a request that may be a gRPC call, which is answered in its own words.
    pub(super) async fn answer_to(
        &self,
        carriage: Carriage,
        session: &mut Session,
        ctx: &mut Ctx,
        problem: &Problem,
    ) -> Result<()> {
        if carriage != Carriage::Grpc {
            return self.answer(session, ctx, problem).await;
        }
        self.answers(ctx, problem);
        problem.send_to_call(session, ctx.id.as_ref()).await
    }

    fn answers(&self, ctx: &mut Ctx, problem: &Problem) {
        ctx.code = Some(problem.code);
        if ctx.end == End::Complete {
            ctx.end = End::Answered;
        }
        self.metrics.answered(problem.code);
    }
}

/// The same ask again, with what was learnt since.
fn ask_of<'r>(session: &'r Session, ctx: &'r Ctx, routed: &Routed) -> Option<Ask<'r>> {
    let policy = &ctx.world.snapshot.policy;
    let of_policy = policy.routes.get(routed.route)?;
    let Routed { client_hash, full, tried, .. } = *routed;
    let belongs = owning::belonging(&ctx.world, routed.partition);
    let (client, visited) = (ctx.client, ctx.session());
    let circumstances = Circumstances { client, session: visited, full, tried, belongs };
    let read = ask::read(policy, (routed.route, of_policy), session.req_header(), circumstances);
    Some(Ask { client_hash, ..read })
}

fn again(
    session: &Session,
    ctx: &Ctx,
    routed: &Routed,
    tried: RegionSet,
) -> Result<Choice, Refusal> {
    let ask = ask_of(session, ctx, routed).ok_or(Refusal::NoRegion)?;
    route(&ctx.world.snapshot, &Ask { tried, ..ask })
}

/// An endpoint of the chosen region that may serve the request and has not failed for it.
fn pick(session: &Session, ctx: &Ctx, routed: &Routed) -> Option<usize> {
    let snapshot = &ctx.world.snapshot;
    let policy = &snapshot.policy;
    let region = routed.choice.region;
    let hash = match policy.regions.get(region.index()).map(|it| &it.balance) {
        Some(Balance::Hash { by, .. }) => ask::hash(by, session.req_header(), ctx.client),
        Some(Balance::RoundRobin | Balance::LeastRequests | Balance::PeakEwma) | None => 0,
    };
    let rotation = &ctx.world.region(region)?.rotation;
    let route = policy.routes.get(routed.route)?;
    let demand = || ask::demand(policy, session.req_header());
    let assigned = routed.choice.release(policy, ctx.session());
    let endpoints = &snapshot.region(region)?.endpoints;
    let may = |it, demand| endpoints.get(it).is_some_and(|it| admits(route, it, demand, assigned));
    if snapshot.is_of_one_kind(region) {
        // The region was chosen because some endpoint of it may serve the request, so all may.
        debug_assert!(may(0, &demand()), "a region that may not serve was chosen");
        return rotation.pick(hash, |place| !ctx.has_failed(region, place));
    }
    let demand = demand();
    rotation.pick(hash, |place| !ctx.has_failed(region, place) && may(place, &demand))
}
