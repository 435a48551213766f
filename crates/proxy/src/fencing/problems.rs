//! What a client is told of a write that is not delivered.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderValue;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;
use tidegate_core::fence::call;
use tidegate_core::fence::key::EmptyField;
use tidegate_core::fence::reply::Reply;
use tidegate_core::fence::source::KeyError;
use tidegate_core::fence::webhook::SignatureError;
use tidegate_fence::Refusal;
use tidegate_fence::store::Failure;

use crate::answer::{Problem, drain};
use crate::fencing::replay::{CODE, MESSAGE};
use crate::headers::{PROXY_STATUS, REQUEST_ID};

/// The error type of `Proxy-Status` for what its sender did wrong.
const REQUEST: &str = "http_request_error";
/// And for what was held back.
const HELD: &str = "http_request_denied";
/// When a store that is away may be back.
const STORE_RETRY: Duration = Duration::from_secs(1);

impl Problem {
    /// The request does not name its write.
    pub(crate) fn bad_key(error: KeyError) -> Self {
        Self::new(400, "fence_bad_key", REQUEST, error.to_string())
    }

    /// A field of an event is not there.
    pub(crate) fn no_field(name: &str) -> Self {
        Self::new(400, "fence_bad_key", REQUEST, format!("`{name}` is wanted"))
    }

    /// A field of an event is empty where that is ambiguous.
    pub(crate) fn empty_field(error: EmptyField) -> Self {
        Self::new(400, "fence_bad_key", REQUEST, error.to_string())
    }

    /// Its signature proves nothing.
    pub(crate) fn bad_signature(error: SignatureError) -> Self {
        Self::new(401, "bad_signature", HELD, error.to_string())
    }

    /// Its body is needed as a whole, and is too large for that.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let title = format!("a body of at most {bytes_max} bytes is wanted here");
        Self::new(413, "body_too_large", REQUEST, title)
    }

    /// Too much time has passed since the claim.
    pub(crate) fn claimed_too_long_ago() -> Self {
        let title = "the write was not sent soon enough after its claim".to_owned();
        Self::new(503, "fence_too_late", HELD, title)
    }

    /// Nobody knows whether the write may be delivered.
    pub(crate) fn unclaimed(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::Quota => (429, "fence_quota"),
            Refusal::Store(Failure::Unreachable | Failure::Down) => (503, "fence_store_down"),
            Refusal::Store(Failure::Uncopied) => (503, "fence_store_uncopied"),
            Refusal::Store(Failure::Unfit(_)) => (503, "fence_store_unfit"),
            Refusal::Store(Failure::Crowded) => (503, "fence_store_crowded"),
            Refusal::Store(Failure::Full) => (503, "fence_store_full"),
            Refusal::Store(Failure::Cold) => (503, "fence_store_cold"),
            Refusal::Store(Failure::Stale(_)) => (503, "fence_stale_epoch"),
        };
        let title = format!("the write was not delivered: {refusal}");
        Self { retry_after: Some(STORE_RETRY), ..Self::new(status, code, HELD, title) }
    }

    /// It was delivered before, or may have been; `None` where there is an answer to show.
    pub(crate) fn duplicate(reply: &Reply<'_>) -> Option<Self> {
        let held = |status, code, title: &str| Self::new(status, code, HELD, title.to_owned());
        let busy = |status, after| Self {
            retry_after: Some(after),
            ..held(status, "fence_in_flight", "the first request is still under way")
        };
        Some(match reply {
            Reply::Replay { .. } => return None,
            Reply::Wait(_) => busy(409, STORE_RETRY),
            Reply::InFlight { status, retry_after } => busy(*status, *retry_after),
            Reply::AlreadyExecuted(answer) => {
                let title = "the write was executed, and its answer cannot be shown";
                let mut problem = held(409, "fence_already_executed", title);
                if answer.status != 0 {
                    let status = answer.status.into();
                    problem.members.insert("first_status".to_owned(), status);
                }
                problem
            }
            Reply::OutcomeUnknown => {
                let title = "the write may have been executed, and nobody knows; \
                             it is not sent again until somebody says";
                held(409, "fence_outcome_unknown", title)
            }
            Reply::Mismatch => {
                held(422, "fence_key_reused", "the key was used for another request")
            }
        })
    }

    /// Sends the answer to a gRPC call, which ends with it.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn send_to_call(
        &self,
        session: &mut Session,
        id: Option<&HeaderValue>,
    ) -> Result<()> {
        drain(session).await;
        let mut header = ResponseHeader::build(200, Some(6))?;
        header.insert_header(CONTENT_TYPE, "application/grpc")?;
        header.insert_header(CODE, self.code_of_call().to_string())?;
        header.insert_header(MESSAGE, message(&self.title))?;
        header.insert_header(PROXY_STATUS, self.proxy_status())?;
        if let Some(after) = self.retry_after {
            header.insert_header(RETRY_AFTER, after.as_secs().max(1).to_string())?;
        }
        if let Some(id) = id {
            header.insert_header(REQUEST_ID, id.clone())?;
        }
        // The head itself has to end the stream: a client takes an empty piece for half an answer.
        let head = HttpTask::Header(Box::new(header), true);
        session.write_response_tasks(vec![head]).await.map(drop)
    }

    /// The code of a call that ends like this. What is under way is worth another try; what nobody
    /// knows is not, before somebody has looked.
    fn code_of_call(&self) -> u16 {
        match self.code {
            "fence_in_flight" => call::UNAVAILABLE,
            "fence_already_executed" => call::ALREADY_EXISTS,
            _ => call::code_of(self.status),
        }
    }
}

/// A sentence as gRPC sends it: what is not printable is written in hexadecimal.
fn message(title: &str) -> String {
    let mut message = String::with_capacity(title.len());
    for byte in title.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => message.push(char::from(byte)),
            // A string takes everything.
            _ => write!(message, "%{byte:02X}").unwrap_or_default(),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_in_a_word_that_its_client_understands() {
        let code = |problem: &Problem| problem.code_of_call();
        let after = Duration::from_secs(1);
        let duplicate = |reply| code(&Problem::duplicate(&reply).unwrap());
        assert_eq!(duplicate(Reply::InFlight { status: 409, retry_after: after }), 14);
        assert_eq!(duplicate(Reply::OutcomeUnknown), 9);
        assert_eq!(duplicate(Reply::Mismatch), 3);
        assert_eq!(code(&Problem::unclaimed(Refusal::Store(Failure::Down))), 14);
        assert_eq!(code(&Problem::unclaimed(Refusal::Quota)), 8);
        assert_eq!(message("a \u{e9} 5 %\n"), "a %C3%A9 5 %25%0A");
    }
}
