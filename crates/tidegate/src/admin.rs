//! The admin address: one match on method and path.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde_json::{Value as Json, json};
use tidegate_control::metrics::{CONTENT_TYPE, Metrics};
use tidegate_control::ownership::Owners;
use tidegate_control::{Gates, Handle, clock};
use tidegate_core::board::Event;
use tidegate_proxy::connection::Connection;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::ending::Ending;
use crate::explain::{Known, Question, answer};
use crate::fence::desk::Desk;
use crate::reload::Reloads;
use crate::state::State;
use crate::upgrade::{Progress, Upgrades};
use crate::verbs::VERSION;

pub(crate) mod fence;
mod gates;
pub(crate) mod open;
mod ownership;
mod policy;
mod upgrade;
pub(crate) mod window;

use fence::Pages;

/// Largest request body that is read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body with the facts of a policy, which may have thousands of routes and endpoints.
const FACTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where facts of a policy are sent.
const COMPARE: &str = "/v1/policy/diff";

/// Seconds for which Pingora keeps an idle connection: without end, because its listener does not.
const FOR_EVER: u64 = 0;

/// What may be done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Look.
    Read,
    /// Look and change.
    Operate,
}

/// The admin address.
#[derive(Debug)]
pub(crate) struct Admin {
    handle: Handle,
    metrics: Arc<Metrics>,
    ending: Ending,
    reloads: Reloads,
    upgrades: Upgrades,
    fence: Option<Desk>,
    gates: Gates,
    owners: Option<Owners>,
    rights: Rights,
}

struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: StatusCode, body: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{body}\n") }
    }

    fn json(body: &Json) -> Self {
        Self { status: StatusCode::OK, kind: "application/json", body: body.to_string() }
    }

    fn problem(status: StatusCode, code: &str, title: &str) -> Self {
        let number = status.as_u16();
        let body = json!({ "type": "about:blank", "title": title, "status": number, "code": code });
        Self { status, kind: "application/problem+json", body: body.to_string() }
    }

    fn read_only() -> Self {
        let title = "this address may only look; use the admin socket";
        Self::problem(StatusCode::FORBIDDEN, "read_only", title)
    }

    fn busy() -> Self {
        let title = "the controller is busy; nothing was changed";
        Self::problem(StatusCode::SERVICE_UNAVAILABLE, "busy", title)
    }

    /// The same with one more member.
    fn with(mut self, member: &str, value: Json) -> Self {
        if let Ok(Json::Object(mut body)) = serde_json::from_str(&self.body) {
            body.insert(member.to_owned(), value);
            self.body = Json::Object(body).to_string();
        }
        self
    }
}

/// What is asked, without its body.
struct Call {
    method: Method,
    path: String,
    query: String,
    if_match: Option<String>,
}

impl Call {
    fn of(session: &ServerSession) -> Self {
        let request = session.req_header();
        let if_match = request.headers.get(http::header::IF_MATCH);
        Self {
            method: request.method.clone(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().unwrap_or_default().to_owned(),
            if_match: if_match.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()),
        }
    }

    /// Whether it asks for an answer that comes line by line.
    fn is_upgrade(&self) -> bool {
        self.method == Method::POST && self.path == "/v1/upgrade"
    }

    fn body_bytes_max(&self) -> usize {
        match self.path.as_str() {
            COMPARE => FACTS_BYTES_MAX,
            fence::EXPLAIN => fence::QUESTION_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        }
    }
}

impl Admin {
    /// An admin address with certain rights.
    pub(crate) fn new(
        handle: Handle,
        upgrades: Upgrades,
        (reloads, fence, gates, owners): (Reloads, Option<Desk>, Gates, Option<Owners>),
        rights: Rights,
    ) -> Self {
        let (metrics, ending) = (Arc::clone(handle.metrics()), upgrades.ending().clone());
        Self { handle, metrics, ending, reloads, upgrades, fence, gates, owners, rights }
    }

    async fn answer(&self, call: &Call, body: &[u8]) -> Answer {
        let Call { method, path, query, if_match } = call;
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["livez"]) => Answer::text(StatusCode::OK, "alive"),
            ("GET" | "HEAD", ["readyz"]) => self.ready(),
            ("GET" | "HEAD", ["metrics"]) => {
                if let Some(desk) = &self.fence {
                    let policy = Arc::clone(&self.handle.world().snapshot.policy);
                    desk.refresh(policy.fence.as_ref()).await;
                }
                Answer { status: StatusCode::OK, kind: CONTENT_TYPE, body: self.metrics.encode() }
            }
            ("GET" | "HEAD", ["version"]) => Answer::json(&self.version()),
            ("GET" | "HEAD", ["v1", "state"]) => {
                let state = State::of(&self.handle.world(), &self.handle.ledger().drains());
                Answer::json(&json!(state.with_policy(self.reloads.status().json())))
            }
            ("GET" | "HEAD", ["v1", "drains"]) => {
                Answer::json(&open::drains(self.handle.ledger(), clock::now()))
            }
            ("GET" | "HEAD", ["v1", "streams"]) => {
                match open::streams(self.handle.ledger(), query, clock::now()) {
                    Ok(streams) => Answer::json(&streams),
                    Err(title) => Answer::problem(StatusCode::BAD_REQUEST, "bad_query", &title),
                }
            }
            ("GET" | "HEAD", ["v1", "policy"]) => Answer::json(&self.reloads.status().json()),
            ("POST", ["v1", "policy", "diff"]) => self.compare(body),
            (
                "POST",
                ["v1", verb @ "reload"] | ["v1", "policy", verb @ ("confirm" | "rollback")],
            ) => self.order(verb, if_match.as_deref(), body).await,
            ("GET" | "HEAD", ["v1", "window"]) => {
                Answer::json(&window::told(&self.handle.world().snapshot, clock::now()))
            }
            ("POST", ["v1", "window", verb @ ("open" | "close")]) => {
                self.ask_for_window(verb, body).await
            }
            ("GET" | "HEAD", ["v1", "gates"]) => {
                gates::told(&self.gates, &self.gates.policy(), query).await
            }
            (_, ["v1", "fence", page @ ..]) => self.fence(method, page, (query, body)).await,
            (_, ["v1", "ownership", page @ ..]) => self.ownership(method, page, body).await,
            ("POST", ["v1", "explain"]) => self.explain(body),
            ("POST", ["v1", "regions", region, verb]) => {
                self.change((region, None), verb, query).await
            }
            ("POST", ["v1", "regions", region, "endpoints", endpoint, verb]) => {
                self.change((region, Some(endpoint)), verb, query).await
            }
            _ => Answer::problem(
                StatusCode::NOT_FOUND,
                "no_such_page",
                "nothing here; try /livez, /readyz, /metrics, /version, /v1/state, /v1/policy, \
                 /v1/drains, /v1/streams, /v1/window, /v1/gates, /v1/fence, /v1/ownership",
            ),
        }
    }

    async fn fence(&self, method: &Method, page: &[&str], asked: (&str, &[u8])) -> Answer {
        let world = self.handle.world();
        let policy = Arc::clone(&world.snapshot.policy);
        drop(world);
        let pages = Pages { desk: self.fence.as_ref(), policy: &policy, rights: self.rights };
        pages.answer(method, page, asked).await
    }

    fn ready(&self) -> Answer {
        let unready = |why| Answer::text(StatusCode::SERVICE_UNAVAILABLE, why);
        if self.ending.cause().is_some() {
            unready("stopping")
        } else if !self.handle.is_ready() {
            unready("no region has been judged yet")
        } else {
            Answer::text(StatusCode::OK, "ready")
        }
    }

    /// What runs here, since when, and which processes before it still drain.
    fn version(&self) -> Json {
        json!({
            "version": VERSION,
            "pid": std::process::id(),
            "since_ms": clock::start().0,
            "draining": self.upgrades.elders().pids(),
        })
    }

    fn upgrade(&self, body: &[u8]) -> Result<UnboundedReceiver<Progress>, Answer> {
        if self.rights == Rights::Read {
            return Err(Answer::read_only());
        }
        upgrade::begin(&self.upgrades, body)
    }

    fn explain(&self, body: &[u8]) -> Answer {
        let question = match serde_json::from_slice::<Question>(body) {
            Ok(question) => question,
            Err(error) => {
                let title = format!("the question cannot be read: {error}");
                return Answer::problem(StatusCode::BAD_REQUEST, "bad_question", &title);
            }
        };
        let world = self.handle.world();
        let known = Known { full: world.full(), is_leased: world.permits.is_leased(clock::now()) };
        match answer(&world.snapshot, &world.sessions, known, &question) {
            Ok(answer) => Answer::json(&answer),
            Err(trouble) => {
                Answer::problem(StatusCode::BAD_REQUEST, "bad_question", &trouble.to_string())
            }
        }
    }

    /// Why nothing may be changed here now, if so.
    fn refuses_change(&self) -> Option<Answer> {
        if self.rights == Rights::Read {
            return Some(Answer::read_only());
        }
        // The successor has been told what is drained, and would not hear of it any more.
        let title = "an upgrade is under way; ask again when it is over";
        let conflict = || Answer::problem(StatusCode::CONFLICT, "upgrade_under_way", title);
        self.ending.is_handing_over().then(conflict)
    }

    async fn change(
        &self,
        (region, endpoint): (&str, Option<&str>),
        verb: &str,
        query: &str,
    ) -> Answer {
        if let Some(refused) = self.refuses_change() {
            return refused;
        }
        let world = self.handle.world();
        let Some(id) = world.snapshot.policy.region(region) else {
            let title = format!("the policy has no region `{region}`");
            return Answer::problem(StatusCode::NOT_FOUND, "no_such_region", &title);
        };
        let Some(of_region) = world.snapshot.region(id) else {
            return Answer::text(StatusCode::NOT_FOUND, "gone");
        };
        let name = Arc::clone(&of_region.name);
        let address = endpoint.and_then(|it| it.parse().ok());
        let is_listed = of_region.endpoints.iter().any(|it| Some(it.address) == address);
        if let Some(endpoint) = endpoint.filter(|_| !is_listed) {
            let title = format!("region `{region}` has no endpoint `{endpoint}`");
            return Answer::problem(StatusCode::NOT_FOUND, "no_such_endpoint", &title);
        }
        let is_forced = query == "force=true";
        if verb == "drain"
            && !is_forced
            && let Some(refused) = gates::keep_on(&world.snapshot, id, address)
        {
            return refused;
        }
        let event = match (verb, address) {
            ("drain", endpoint) => Event::Drained { region: name, endpoint, out: true },
            ("undrain", endpoint) => Event::Drained { region: name, endpoint, out: false },
            ("failback", None) => Event::Released(name),
            _ => {
                let title = "a region can drain, undrain or failback, an endpoint drain or undrain";
                return Answer::problem(StatusCode::NOT_FOUND, "no_such_verb", title);
            }
        };
        tracing::info!(region, endpoint, verb, is_forced, "operator acts");
        let mut done = json!({ "ok": true, "region": region, "verb": verb });
        if let (Some(endpoint), Json::Object(done)) = (endpoint, &mut done) {
            done.insert("endpoint".to_owned(), json!(endpoint));
        }
        match self.handle.ask(event).await {
            Ok(_) => Answer::json(&done),
            Err(_) => Answer::busy(),
        }
    }
}

/// Reads a request's body; `None` when it is too large or breaks off.
async fn read_body(session: &mut ServerSession, bytes_max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        body.extend_from_slice(&chunk);
        if bytes_max < body.len() {
            return None;
        }
    }
    Some(body)
}

async fn write(session: &mut ServerSession, answer: Answer) -> pingora::Result<()> {
    let mut header = ResponseHeader::build(answer.status, Some(4))?;
    header.insert_header(http::header::CONTENT_TYPE, answer.kind)?;
    header.insert_header(http::header::CONTENT_LENGTH, answer.body.len().to_string())?;
    header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        header.insert_header(http::header::RETRY_AFTER, "1")?;
    }
    let is_head = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header)).await?;
    if !is_head {
        session.write_response_body(Bytes::from(answer.body), true).await?;
    }
    Ok(())
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let on = Connection::of(session.digest()).map(Connection::begin);
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(FOR_EVER) });
        let call = Call::of(&session);
        let answer = match read_body(&mut session, call.body_bytes_max()).await {
            Some(body) if call.is_upgrade() => self.upgrade(&body),
            Some(body) => Err(self.answer(&call, &body).await),
            None => {
                session.set_keepalive(None);
                let title = "the request's body is too large or broke off";
                Err(Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "bad_body", title))
            }
        };
        match answer {
            Ok(progress) => upgrade::write(&mut session, progress).await.ok()?,
            Err(answer) => write(&mut session, answer).await.ok()?,
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        drop(on);
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
