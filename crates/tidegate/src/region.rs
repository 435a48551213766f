//! One region of the demonstration: a small real server with a contract that can be broken by hand.

use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::listening::Service;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{Mutex, Notify};

use crate::say::Trouble;

/// Largest request body that is read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Time between two words of a stream.
const WORD_EVERY: Duration = Duration::from_millis(200);
/// What a stream says.
const WORDS: [&str; 8] = ["A", "stream", "is", "never", "cut", "by", "its", "balancer."];

struct DemoRegion {
    name: String,
    /// Keys that were changed by hand.
    changed: Mutex<Map<String, Json>>,
}

impl DemoRegion {
    /// What the region reports: the contract of the quick start, and what was changed by hand.
    async fn contract(&self) -> Json {
        let mut contract = json!({
            "ready": true, "region": self.name, "release_id": "r2026-11-20", "revision": "7",
            "schema_rev": "sc-12", "model_tag": "gpt-4o-2025-07-15", "index_hash": "a1b2c3",
        });
        if let Json::Object(contract) = &mut contract {
            contract.extend(self.changed.lock().await.clone());
        }
        contract
    }

    async fn answer(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let request = session.req_header();
        let (method, path) = (request.method.to_string(), request.uri.path().to_owned());
        let body = read_body(session).await?;
        match (method.as_str(), path.as_str()) {
            ("GET", "/contract") => write(session, 200, &self.contract().await).await,
            ("PUT", "/contract") => match serde_json::from_slice(&body) {
                Ok(changes) => {
                    self.changed.lock().await.extend::<Map<String, Json>>(changes);
                    write(session, 200, &self.contract().await).await
                }
                Err(error) => write(session, 400, &json!({ "error": error.to_string() })).await,
            },
            ("DELETE", "/contract") => {
                self.changed.lock().await.clear();
                write(session, 200, &self.contract().await).await
            }
            (_, "/v1/chat") => self.stream(session).await,
            _ => {
                let body = json!({ "region": self.name, "method": method, "path": path });
                write(session, 200, &body).await
            }
        }
    }

    async fn stream(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let mut header = ResponseHeader::build(200, Some(2))?;
        header.insert_header(http::header::CONTENT_TYPE, "text/event-stream")?;
        header.insert_header(http::header::TRANSFER_ENCODING, "chunked")?;
        session.write_response_header(Box::new(header)).await?;
        for word in WORDS {
            let event = json!({ "region": self.name, "word": word });
            let event = Bytes::from(format!("data: {event}\n\n"));
            session.write_response_body(event, false).await?;
            tokio::time::sleep(WORD_EVERY).await;
        }
        session.write_response_body(Bytes::from_static(b"data: [DONE]\n\n"), true).await
    }
}

async fn read_body(session: &mut ServerSession) -> pingora::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() < BODY_BYTES_MAX {
            body.extend_from_slice(&chunk);
        }
    }
    Ok(body)
}

async fn write(session: &mut ServerSession, status: u16, body: &Json) -> pingora::Result<()> {
    let body = format!("{body}\n");
    let mut header = ResponseHeader::build(status, Some(2))?;
    header.insert_header(http::header::CONTENT_TYPE, "application/json")?;
    header.insert_header(http::header::CONTENT_LENGTH, body.len().to_string())?;
    session.write_response_header(Box::new(header)).await?;
    session.write_response_body(Bytes::from(body), true).await
}

#[async_trait]
impl HttpServerApp for DemoRegion {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(Some(60));
        self.answer(&mut session).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

/// Ends the region when its standard input does: it must not outlive the demonstration.
struct WithInput(Arc<Notify>);

#[async_trait]
impl ShutdownSignalWatch for WithInput {
    async fn recv(&self) -> ShutdownSignal {
        self.0.notified().await;
        ShutdownSignal::FastShutdown
    }
}

/// Runs one region until its standard input ends.
pub(crate) fn run(name: &str, bind: SocketAddr) -> Result<ExitCode, Trouble> {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let watcher = std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        // What is read does not matter, only that it ends.
        let mut nothing = Vec::new();
        drop(std::io::stdin().read_to_end(&mut nothing));
        tell.notify_one();
    });
    drop(watcher.map_err(|error| Trouble::doing("watch standard input")(&error))?);
    let conf = ServerConf { graceful_shutdown_timeout_seconds: Some(0), ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let region = DemoRegion { name: name.to_owned(), changed: Mutex::new(Map::new()) };
    let mut service = Service::new(name.to_owned(), region);
    service.threads = Some(1);
    service.add_tcp(&bind.to_string());
    server.add_service(service);
    server.run(RunArgs { shutdown_signal: Box::new(WithInput(ended)) });
    Ok(ExitCode::SUCCESS)
}
