//! Fenced writes, in both of their requests: the client's, which claims, and the one that is sent
//! for it, which delivers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::header::{EXPECT, HOST, TRANSFER_ENCODING};
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use pingora_proxy::subrequest::{BodyMode, Ctx as SubrequestCtx};
use tidegate_control::clock;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::meaning::{Depth, Judging};
use tidegate_core::fence::reply::{self, Replying};
use tidegate_core::fence::rules::{Claimed, LEASE_MARGIN};
use tidegate_core::id::{Epoch, PartitionId, RegionSet};
use tidegate_core::policy::Route;
use tidegate_core::policy::fencing::{KeyQuota, RouteFence};
use tidegate_core::route::owner_of;
use tidegate_fence::quota::{Charge, Quota};
use tidegate_fence::{Ask, Lease};

use super::identity::client_of;
use super::{Proxy, carriage, limit, receive};
use crate::answer::Problem;
use crate::ask::{self, Circumstances};
use crate::ctx::{Ctx, End, Stage};
use crate::delivery::{Freight, Shared, detach};
use crate::fencing::claiming::{Claiming, Fate};
use crate::fencing::start::{CLAIMED_WITHIN_BYTES, Start, WHOLE_BYTES_MAX};
use crate::fencing::{Named, Write, replay};
use crate::headers;
use crate::owning;
use crate::peer::{Carriage, silence};
use crate::relay;

/// A write that is read and named, and not claimed yet.
struct Prepared {
    start: Start,
    named: Named,
    ask: Ask,
    partition: Option<PartitionId>,
}

impl Proxy {
    /// Handles a request of a client on a fenced route. `false` when the fence has nothing to do
    /// with it.
    pub(super) async fn fenced(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        place: usize,
    ) -> Result<bool> {
        let world = Arc::clone(&ctx.world);
        let policy = &world.snapshot.policy;
        let carriage = carriage(session);
        let Some(fences) = &self.fences else { return Ok(false) };
        let write = Write::of(policy, place, session.req_header(), ctx.client);
        let Some(write) = write.filter(|_| carriage != Carriage::Upgrade) else {
            return Ok(false);
        };
        let (route, of_route) = (write.route, write.fence);
        if write.is_free() {
            self.fence_made(ctx, place, "unnamed");
            return Ok(false);
        }
        ctx.world.asked(place);
        let silence = silence(carriage, &route.timeouts, route.stream);
        session.set_read_timeout(Some(silence));
        session.set_write_timeout(Some(silence));
        let Prepared { start, named, ask, partition } = match prepare(session, ctx, place).await? {
            Ok(prepared) => prepared,
            Err(problem) => {
                self.fence_made(ctx, place, problem.code);
                self.answer_to(carriage, session, ctx, &problem).await?;
                return Ok(true);
            }
        };
        ctx.partition = partition;
        let shared = Arc::new(Shared::default());
        let claiming = Claiming {
            fences,
            of_route,
            window: &world.snapshot.window,
            named: &named,
            ask: &ask,
            shared: &shared,
        };
        let (fate, is_other_index) = claiming.claim().await;
        if is_other_index {
            self.metrics.came_under_other_index();
        }
        match fate {
            Fate::Delivered(delivery, lease) => {
                self.fence_made(ctx, place, delivery.word());
                let judging = Judging {
                    preset: of_route.preset,
                    is_503_refusal: of_route.is_503_refusal,
                    is_authenticated: named.is_authenticated,
                };
                let delivery = delivery.judged(judging, (of_route.answer_bytes_max, carriage));
                let freight = Freight::new(ctx, session.req_header().version, carriage, delivery);
                self.send_out(session, ctx, (freight, lease), start).await?;
            }
            Fate::Refused(problem) => {
                self.fence_made(ctx, place, problem.code);
                self.answer_to(carriage, session, ctx, &problem).await?;
            }
            Fate::Known(claimed, waited) => {
                let of = (of_route, &named);
                let told = self.tell(session, ctx, of, (claimed, waited, start)).await;
                self.fence_made(ctx, place, ctx.code.unwrap_or("broken"));
                told?;
            }
        }
        Ok(true)
    }

    /// Counts and keeps what the fence made of a write: a word, or the code of our own answer.
    fn fence_made(&self, ctx: &mut Ctx, place: usize, outcome: &'static str) {
        let word = outcome.strip_prefix("fence_").unwrap_or(outcome);
        ctx.fenced = Some((place, word));
        if let Some(route) = ctx.route() {
            self.metrics.fenced(&route.name, word);
        }
    }

    /// Sends a write out in a task of its own, and carries everything between it and the client.
    async fn send_out(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        (freight, lease): (Freight, Option<Lease>),
        start: Start,
    ) -> Result<()> {
        let shared = Arc::clone(freight.delivery.shared());
        let has_body = !(start.pieces.is_empty() && start.is_whole);
        frame(session, has_body)?;
        let mode = if has_body { BodyMode::ExpectBody } else { BodyMode::NoBody };
        let of_freight = SubrequestCtx::builder().body_mode(mode).user_ctx(Box::new(Some(freight)));
        let Some(spawner) = session.subrequest_spawner.take() else {
            return Error::e_explain(ErrorType::InternalError, "no request can be sent from here");
        };
        let (prepared, handle) =
            spawner.create_subrequest(session.as_downstream(), of_freight.build());
        detach(async move {
            match lease {
                Some(lease) => tokio::select! {
                    () = prepared.run() => {}
                    () = keep_alive(lease) => {}
                },
                None => prepared.run().await,
            }
        });
        ctx.is_carried = true;
        relay::carry(session, ctx, handle, start, shared).await
    }

    /// Tells a duplicate what is known of its write.
    async fn tell(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        (of_route, named): (&RouteFence, &Named),
        (claimed, waited, mut start): (Claimed, Duration, Start),
    ) -> Result<()> {
        let replying = Replying {
            preset: of_route.preset,
            is_status_only: of_route.shown == Depth::Status || !named.is_authenticated,
            coalesce_wait: of_route.coalesce_wait,
        };
        let held = match &claimed {
            Claimed::Done(record) | Claimed::InDoubt(record) => Some(record),
            Claimed::Won { .. } | Claimed::Busy { .. } | Claimed::Clash => None,
        };
        // A long body could not be compared when the key was claimed.
        let mut is_clash = false;
        if let Some(known) = held.and_then(|it| it.fingerprint)
            && !start.is_whole
        {
            read_rest(session, &mut start).await?;
            is_clash = Fingerprint::differ(start.fingerprint(), Some(known));
        }
        let reply = if is_clash {
            Some(reply::Reply::Mismatch)
        } else {
            reply::to(&claimed, &replying, waited)
        };
        let Some(mut reply) = reply else {
            return Error::e_explain(
                ErrorType::InternalError,
                "a claim that was won is no duplicate",
            );
        };
        let carriage = carriage(session);
        if let reply::Reply::Replay { answer, body } = reply
            && carriage == Carriage::Grpc
            && (body.is_none() || (answer.status == 200 && !replay::is_of_call(answer)))
        {
            // A call cannot be shown less than all of its answer.
            reply = reply::Reply::AlreadyExecuted(answer);
        }
        if let (reply::Reply::Replay { answer, body }, Some(record)) = (&reply, held) {
            ctx.code = Some("fence_replayed");
            ctx.end = End::Answered;
            self.metrics.answered("fence_replayed");
            let age = clock::now().since(record.created);
            let id = ctx.id.as_ref();
            return match (carriage, body) {
                (Carriage::Grpc, Some(body)) if replay::is_of_call(answer) => {
                    replay::send_to_call(session, (answer, body), age, id).await
                }
                _ => replay::send(session, (answer, *body), age, id).await,
            };
        }
        match Problem::duplicate(&reply) {
            Some(problem) => self.answer_to(carriage, session, ctx, &problem).await,
            None => Error::e_explain(ErrorType::InternalError, "an answer without a record"),
        }
    }

    /// Handles the request that is sent for the one of a client.
    pub(super) async fn deliver(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        freight: Freight,
    ) -> Result<bool> {
        let Freight { world, id, sequence, began, version, carriage, partition, delivery } =
            freight;
        ctx.partition = partition;
        (ctx.world, ctx.id, ctx.sequence, ctx.began) = (world, id, sequence, began);
        ctx.version = Some(version);
        // Whoever waits to be told to go on was told so when the body was read.
        session.req_header_mut().remove_header(&EXPECT);
        ctx.client = client_of(session, ctx);
        let (stamps, word) = (delivery.stamps.clone(), delivery.word());
        ctx.delivery = Some(delivery);
        match self.decide(session, ctx) {
            Ok(mut routed) => {
                routed.has_body = !session.is_body_empty();
                routed.carriage = carriage;
                limit(session, ctx, &routed);
                // The client's side is limited where the client is.
                session.set_read_timeout(None);
                session.set_write_timeout(None);
                ctx.fenced = Some((routed.route, word));
                ctx.stage = Stage::Routed(routed);
                receive(session, ctx)?;
                headers::stamp(session.req_header_mut(), &stamps)?;
                self.budget.deposit(&ctx.world.snapshot.policy.retries);
                Ok(false)
            }
            Err(problem) => {
                self.answer(session, ctx, &problem).await?;
                Ok(true)
            }
        }
    }

    /// Tells the fence how a delivery ended.
    pub(super) async fn settle(ctx: &mut Ctx) {
        let Some(delivery) = ctx.delivery.take() else { return };
        let is_stream = ctx.attempt().is_some_and(|it| it.is_stream);
        if ctx.end == End::Complete && delivery.is_alone() {
            ctx.end = End::ClientGone;
        }
        let is_complete = matches!(ctx.end, End::Complete | End::ClientGone);
        let outcome = delivery.settle(is_complete, is_stream).await;
        if let (Some((_, endpoint)), Some(route)) = (ctx.endpoint(), ctx.route()) {
            endpoint.metrics.settled(&route.name, outcome);
        }
    }
}

/// Renews a lease for as long as it is polled.
async fn keep_alive(lease: Lease) {
    loop {
        tokio::time::sleep(lease.every()).await;
        lease.renew().await;
    }
}

/// Reads as much of a write as is wanted before it is claimed, and names it.
async fn prepare(
    session: &mut Session,
    ctx: &Ctx,
    place: usize,
) -> Result<Result<Prepared, Problem>> {
    let policy = &ctx.world.snapshot.policy;
    let (Some(rules), Some(write)) =
        (&policy.fence, Write::of(policy, place, session.req_header(), ctx.client))
    else {
        return Error::e_explain(ErrorType::InternalError, "a fenced route without a fence");
    };
    let (route, of_route) = (write.route, write.fence);
    let deadline = route.timeouts.body.map(|it| (ctx.began, it));
    let mut start = Start::new(write.fingerprinter(), deadline);
    let is_wanted_whole = write.needs_whole_body() || stands_in_body(route);
    read_start(session, &mut start, is_wanted_whole).await?;
    if is_wanted_whole && !start.is_whole {
        return Ok(Err(Problem::too_large(WHOLE_BYTES_MAX)));
    }
    let Some(write) = Write::of(policy, place, session.req_header(), ctx.client) else {
        return Error::e_explain(ErrorType::InternalError, "a write that is none any more");
    };
    let body = if is_wanted_whole { start.joined() } else { Bytes::new() };
    let named = match write.verify(&body).and_then(|()| write.name(&body)) {
        Ok(named) => named,
        Err(problem) => return Ok(Err(problem)),
    };
    let (partition, epoch) = match owner(ctx, &write, (place, &body)) {
        Ok(owner) => owner,
        Err(problem) => return Ok(Err(problem)),
    };
    let longest = route.timeouts.idle.max(route.timeouts.first_byte);
    let ask = Ask {
        fingerprint: start.fingerprint(),
        epoch,
        lease: route.timeouts.total.unwrap_or(longest).saturating_add(LEASE_MARGIN),
        retention: rules.retention,
        is_repeatable: of_route.is_repeatable,
        is_degraded: false,
        charge: rules.quota.map(|KeyQuota { per_second, burst }| Charge {
            quota: Quota { per_second, burst },
            whose: named.principal,
        }),
        coalesce_wait: of_route.coalesce_wait,
    };
    Ok(Ok(Prepared { start, named, ask, partition }))
}

fn stands_in_body(route: &Route) -> bool {
    route.owned.as_ref().is_some_and(|it| it.source.needs_body())
}

/// The partition of a write and the epoch under which it would be delivered. Whoever cannot deliver
/// it does not claim it.
fn owner(
    ctx: &Ctx,
    write: &Write<'_, '_>,
    (place, body): (usize, &[u8]),
) -> Result<(Option<PartitionId>, Epoch), Problem> {
    let (policy, route) = (write.policy, write.route);
    let partition = owning::partition(policy, route, write.request, body);
    let partition = partition.map_err(Problem::no_partition)?;
    let Some(belongs) = owning::belonging(&ctx.world, partition) else {
        return Ok((None, Epoch(0)));
    };
    let snapshot = &ctx.world.snapshot;
    let refused = |refusal| {
        let (full, tried) = (RegionSet::EMPTY, RegionSet::EMPTY);
        let (client, belongs) = (ctx.client, Some(belongs));
        let circumstances = Circumstances { client, session: None, full, tried, belongs };
        let ask = ask::read(policy, (place, route), write.request, circumstances);
        Problem::refused(refusal, snapshot, &ask)
    };
    let (_, epoch) = owner_of(snapshot, belongs).map_err(refused)?;
    Ok((partition, epoch))
}

async fn read_start(session: &mut Session, start: &mut Start, is_wanted_whole: bool) -> Result<()> {
    let bytes_max = if is_wanted_whole { WHOLE_BYTES_MAX } else { CLAIMED_WITHIN_BYTES };
    start.is_whole = session.is_body_empty();
    if !start.is_whole && session.req_header().headers.contains_key(EXPECT) {
        session.as_downstream_mut().write_continue_response().await?;
    }
    while !start.is_enough(bytes_max) {
        read_piece(session, start).await?;
    }
    Ok(())
}

/// Reads the rest of a body, only to know what it is.
async fn read_rest(session: &mut Session, start: &mut Start) -> Result<()> {
    while !start.is_whole {
        read_piece(session, start).await?;
        start.pieces.clear();
    }
    Ok(())
}

async fn read_piece(session: &mut Session, start: &mut Start) -> Result<()> {
    let piece = session.as_downstream_mut().read_request_body().await.map_err(Error::into_down)?;
    start.is_whole = piece.is_none() || session.as_downstream_mut().is_body_done();
    if let Some(piece) = piece {
        start.push(piece);
    }
    start.heed_deadline()
}

/// Prepares the head of a request to be written as that of an HTTP/1.1 request, which the one that
/// is sent for it reads.
fn frame(session: &mut Session, has_body: bool) -> Result<()> {
    let request = session.req_header_mut();
    if request.version != Version::HTTP_2 {
        return Ok(());
    }
    let host = request.uri.authority().map(|it| it.as_str().to_owned());
    let has_length = request.headers.contains_key(http::header::CONTENT_LENGTH);
    request.set_version(Version::HTTP_11);
    if let Some(host) = host {
        request.insert_header(HOST, host)?;
    }
    if has_body && !has_length {
        request.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}
