//! The delivery of a fenced write: an exchange that outlives its client, and settles its claim.
//!
//! The request that a client sent only claims the key. The exchange with the endpoint is another
//! request of the same proxy, in a task of its own, through the same hooks; it carries a
//! [`Delivery`], which says that something is sent, keeps the answer, and at the end tells the fence
//! how it ended. Whatever forgets to, drops it, and that is a doubt, or a key given back when
//! nothing was sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_control::World;
use tidegate_core::fence::call;
use tidegate_core::fence::copying::Copying;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::meaning::{self, Depth, Judging, Meaning};
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Body, Doubt};
use tidegate_core::fence::rules::Settled;
use tidegate_core::id::PartitionId;
use tidegate_fence::ticket::Settlement;
use tidegate_fence::{Sending, Ticket};
use tokio::sync::oneshot;

use crate::ctx::Ctx;
use crate::fencing::replay;
use crate::peer::Carriage;

/// The code of the error that says that a claim is too old to begin.
pub(crate) const TOO_LATE: &str = "fence_too_late";

/// What the request of a client gives to the one that is sent for it.
#[derive(Debug)]
pub(crate) struct Freight {
    pub(crate) world: Arc<World>,
    pub(crate) id: Option<HeaderValue>,
    pub(crate) sequence: u64,
    pub(crate) began: Instant,
    pub(crate) version: Version,
    pub(crate) carriage: Carriage,
    pub(crate) partition: Option<PartitionId>,
    pub(crate) delivery: Box<Delivery>,
}

impl Freight {
    pub(crate) fn new(
        ctx: &Ctx,
        version: Version,
        carriage: Carriage,
        delivery: Box<Delivery>,
    ) -> Self {
        let (world, id) = (Arc::clone(&ctx.world), ctx.id.clone());
        let (sequence, began) = (ctx.sequence, ctx.began);
        let partition = ctx.partition;
        Self { world, id, sequence, began, version, carriage, partition, delivery }
    }

    /// Takes it from the request that is sent; `None` for those that clients send.
    pub(crate) fn of(session: &mut Session) -> Option<Self> {
        let given = session.subrequest_ctx.as_mut()?.user_ctx_mut()?;
        given.downcast_mut::<Option<Self>>()?.take()
    }
}

/// What the two requests both see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What the request is, once a body has flowed past that was too long to wait for.
    pub(crate) fingerprint: OnceLock<Fingerprint>,
    /// The client has gone, and nobody hears the answer.
    pub(crate) is_alone: AtomicBool,
}

/// What is done at the end.
#[derive(Debug)]
enum Held {
    /// Nothing was sent yet.
    Ticket(Ticket),
    /// Something may have been.
    Sending(Sending),
    /// The claim is made beside the exchange, and nobody waits for it until the end.
    Beside(oneshot::Receiver<Sending>),
    /// The write goes on without a claim.
    Nothing,
}

/// A write on its way to an endpoint.
#[derive(Debug)]
pub(crate) struct Delivery {
    held: Held,
    judging: Judging,
    keep_bytes_max: usize,
    carriage: Carriage,
    shared: Arc<Shared>,
    /// The answer, as far as it has come.
    answer: Option<Answering>,
    /// Why the last attempt did not deliver it, where that is certain.
    proof: Option<NonDelivery>,
    pub(crate) stamps: Stamps,
}

/// An answer that is coming.
#[derive(Debug)]
struct Answering {
    status: u16,
    headers: replay::Kept,
    copying: Copying,
    /// How a gRPC call ended, once that is known.
    code: Option<u16>,
}

/// What an endpoint is told of the claim.
#[derive(Clone, Debug)]
pub(crate) struct Stamps {
    pub(crate) key: HeaderValue,
    pub(crate) owner: HeaderValue,
    pub(crate) epoch: HeaderValue,
    pub(crate) attempt: HeaderValue,
    /// What the fence is not at the moment: `degraded` or `bypassed`.
    pub(crate) word: Option<HeaderValue>,
}

impl Delivery {
    /// A write whose claim was won.
    pub(crate) fn won(ticket: Ticket, stamps: Stamps, shared: Arc<Shared>) -> Self {
        Self::new(Held::Ticket(ticket), stamps, shared)
    }

    /// A write that is claimed beside its exchange.
    pub(crate) fn beside(
        claim: oneshot::Receiver<Sending>,
        stamps: Stamps,
        shared: Arc<Shared>,
    ) -> Self {
        Self::new(Held::Beside(claim), stamps, shared)
    }

    /// A write that goes on without a claim.
    pub(crate) fn unclaimed(stamps: Stamps, shared: Arc<Shared>) -> Self {
        Self::new(Held::Nothing, stamps, shared)
    }

    fn new(held: Held, stamps: Stamps, shared: Arc<Shared>) -> Self {
        Self {
            held,
            judging: Judging::default(),
            keep_bytes_max: 0,
            carriage: Carriage::Plain,
            shared,
            answer: None,
            proof: None,
            stamps,
        }
    }

    /// The same, with what the route says of answers.
    pub(crate) fn judged(
        mut self: Box<Self>,
        judging: Judging,
        (keep_bytes_max, carriage): (usize, Carriage),
    ) -> Box<Self> {
        (self.judging, self.keep_bytes_max) = (judging, keep_bytes_max);
        self.carriage = carriage;
        self
    }

    /// What it has in common with the request of the client.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether nobody hears the answer any more.
    pub(crate) fn is_alone(&self) -> bool {
        self.shared.is_alone.load(Ordering::Relaxed)
    }

    /// An attempt is about to send its first byte.
    ///
    /// # Errors
    /// The claim is too old; nothing may be sent.
    pub(crate) fn begin(&mut self) -> pingora::Result<()> {
        self.proof = None;
        self.held = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Ticket(ticket) => match ticket.begin() {
                Ok(sending) => Held::Sending(sending),
                Err(_too_late) => return Err(Error::new(ErrorType::CustomCode(TOO_LATE, 503))),
            },
            Held::Sending(sending) => {
                let is_in_time = sending.begin_again().is_ok();
                self.held = Held::Sending(sending);
                if is_in_time {
                    return Ok(());
                }
                self.proof = Some(NonDelivery::NeverBegun);
                return Err(Error::new(ErrorType::CustomCode(TOO_LATE, 503)));
            }
            held @ (Held::Beside(_) | Held::Nothing) => held,
        };
        Ok(())
    }

    /// An attempt ended before its answer, and certainly did not deliver the write.
    pub(crate) fn undelivered(&mut self, proof: NonDelivery) {
        self.proof = Some(proof);
    }

    /// The head of the answer has come.
    pub(crate) fn answered(&mut self, response: &ResponseHeader) {
        self.answer = Some(Answering {
            status: response.status.as_u16(),
            headers: replay::kept(response),
            copying: Copying::new(self.keep_bytes_max),
            code: None,
        });
        // A call that has failed at once says so in its head.
        self.ended(&response.headers);
    }

    /// The end of the answer has come, with what a gRPC call says there.
    pub(crate) fn ended(&mut self, trailers: &HeaderMap) {
        if let (Carriage::Grpc, Some(answering)) = (self.carriage, &mut self.answer)
            && let Some(code) = replay::code(trailers)
        {
            answering.code = Some(code);
            replay::keep_end(&mut answering.headers, trailers);
        }
    }

    /// A piece of the answer has come.
    pub(crate) fn piece(&mut self, piece: Option<&Bytes>) {
        if let (Some(piece), Some(answering)) = (piece, &mut self.answer) {
            answering.copying.piece(piece);
        }
    }

    /// What becomes of it, in a word.
    pub(crate) fn word(&self) -> &'static str {
        match &self.held {
            Held::Ticket(_) | Held::Sending(_) if self.stamps.word.is_some() => "degraded",
            Held::Ticket(_) | Held::Sending(_) => "delivered",
            Held::Beside(_) => "recorded",
            Held::Nothing => "passed",
        }
    }

    /// Tells the fence how it ended, and waits until that is written down or put off. Answers how,
    /// in a word.
    pub(crate) async fn settle(mut self, is_complete: bool, is_stream: bool) -> &'static str {
        let sending = match self.held {
            Held::Nothing => None,
            Held::Ticket(ticket) => {
                let proof = self.proof.unwrap_or(NonDelivery::NoEndpoint);
                return ended("not_sent", ticket.give_back(proof).await);
            }
            Held::Sending(sending) => Some(sending),
            // Nobody else has claimed it if there is something to settle.
            Held::Beside(claim) => claim.await.ok(),
        };
        let Some(mut sending) = sending else { return "unclaimed" };
        if let Some(fingerprint) = self.shared.fingerprint.get() {
            sending.fingerprint(*fingerprint);
        }
        let Some(Answering { status, headers, copying, code }) = self.answer.take() else {
            return match self.proof {
                Some(proof) => ended("released", sending.release(proof).await),
                None => ended("doubted", sending.doubt(Doubt::NoAnswer).await),
            };
        };
        let is_call = self.carriage == Carriage::Grpc && status == 200;
        let meant = match code {
            // The head of a call says nothing: it may come before anything was done.
            None if is_call => return ended("doubted", sending.doubt(Doubt::NoAnswer).await),
            Some(code) if is_call => call::status_of(code),
            Some(_) | None => status,
        };
        let body = |depth| match depth {
            _ if !is_complete => Body::Partial,
            Depth::Status => Body::NotKept,
            Depth::Answer if is_stream && !is_call => Body::Streamed,
            Depth::Answer => copying.finish(),
        };
        match meaning::of(meant, self.judging) {
            Meaning::Keep(depth) => {
                let headers = if depth == Depth::Answer { headers } else { Vec::new() };
                let answer = Answer { status, headers, body: body(depth) };
                ended("completed", sending.complete(answer).await)
            }
            Meaning::Release(proof) => ended("released", sending.release(proof).await),
            Meaning::Doubt(doubt) => ended("doubted", sending.doubt(doubt).await),
        }
    }
}

/// How a claim ended, unless the store made something else of it.
fn ended(how: &'static str, settlement: Settlement) -> &'static str {
    match settlement {
        Settlement::Done(Settled::Stored | Settled::Already) => how,
        Settlement::Done(Settled::Resurrected) => "resurrected",
        Settlement::Done(Settled::Escaped(_)) => "escaped",
        Settlement::Postponed => "postponed",
    }
}

/// Why an attempt that failed certainly did not deliver the write; `None` when it may have.
pub(crate) fn proof_of(error: &Error) -> Option<NonDelivery> {
    let cause = error.root_cause().downcast_ref::<h2::Error>()?;
    let is_refused = cause.is_remote() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
    is_refused.then_some(NonDelivery::H2RefusedStream)
}

/// Why no connection is a proof as well.
pub(crate) fn proof_without_connection(error: &Error) -> NonDelivery {
    let is_tls = matches!(
        error.etype(),
        ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
    );
    if is_tls { NonDelivery::TlsFailed } else { NonDelivery::ConnectFailed }
}

/// Lets something go on that outlives the request of a client.
#[expect(clippy::disallowed_methods, reason = "a stop waits for it: it is open in the ledger")]
pub(crate) fn detach(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}
