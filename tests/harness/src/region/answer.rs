//! What a fake region answers on each path, and where its faults strike.

use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::body::{Body, Feed, whole};
use super::book::{self, Late, Order};
use super::effects::Name;
use super::faults::Fault;
use super::query::Query;
use super::wire::{Ending, Link};
use super::{Shared, chat, evidence, flow, grpc, sse, websocket};
use crate::runtime::{lock, runtime};

/// One request and where it came in.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) link: Arc<Link>,
    pub(crate) nth: u64,
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn text_answer(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(whole(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

impl Call {
    /// Answers, or fails, or never comes back.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let is_head = request.method() == Method::HEAD;
        let mut response = match request.uri().path() {
            "/contract" => self.contract(request).await?,
            "/fault" if request.method() == Method::PUT => self.switch(request).await?,
            "/manifest" | "/probe" | "/v1/embeddings" => self.evidence(request).await?,
            _ => self.ordinary(request).await?,
        };
        if let Ok(name) = HeaderValue::from_str(&self.shared.name) {
            response.headers_mut().insert("x-served-by", name);
        }
        if is_head {
            behead(&mut response);
        }
        Ok(response)
    }

    async fn contract(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if request.method() == Method::PUT {
            let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            return Ok(match serde_json::from_slice::<Map<String, Value>>(&body) {
                Ok(keys) => json_answer(StatusCode::OK, &self.shared.contract.merge(keys)),
                Err(error) => text_answer(StatusCode::BAD_REQUEST, &format!("{error}\n")),
            });
        }
        self.shared.contract.probed(request.headers());
        let fault = *lock(&self.shared.fault);
        if fault.is_some_and(Fault::hangs_contract) {
            return pending().await;
        }
        let latency = *lock(&self.shared.contract_latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        Ok(self.shared.contract.answer(fault))
    }

    /// What gates are judged from; like the contract it leaves no effect.
    async fn evidence(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if lock(&self.shared.fault).is_some_and(Fault::hangs_contract) {
            return pending().await;
        }
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let contract = self.shared.contract.get();
        Ok(match path.as_str() {
            "/manifest" => self.shared.evidence.manifest(),
            "/probe" => self.shared.evidence.probe(&body, contract.get("index_hash")),
            _ => evidence::embeddings(&body),
        })
    }

    /// `PUT /fault` with the name of a fault sets it; an empty body clears it.
    async fn switch(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let fault = match text.trim() {
            "" => Ok(None),
            "refuse" => Err("to refuse connections, stop the process".to_owned()),
            name => name.parse::<Fault>().map(Some),
        };
        Ok(match fault {
            Ok(fault) => {
                *lock(&self.shared.fault) = fault;
                text_answer(StatusCode::OK, &format!("{fault:?}\n"))
            }
            Err(why) => text_answer(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        })
    }

    async fn ordinary(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let name = Name::of(&request);
        self.shared.effects.received(&name);
        let asked = request.headers().get("x-fault").map(|it| it.to_str().unwrap_or_default());
        let fault = match asked.map(str::parse::<Fault>) {
            Some(Ok(fault)) => Some(fault),
            Some(Err(why)) => return Ok(text_answer(StatusCode::BAD_REQUEST, &why)),
            None => *lock(&self.shared.fault),
        };
        let reused = 1 < self.nth;
        match fault {
            Some(Fault::Hang | Fault::HangRequests) => return pending().await,
            Some(Fault::DieBeforeExecuting) => return self.die().await,
            Some(Fault::DieBeforeExecutingReused) if reused => return self.die().await,
            Some(Fault::DieWhileExecuting) => return self.die_and_execute(request, name).await,
            Some(Fault::DieWhileExecutingReused) if reused => {
                return self.die_and_execute(request, name).await;
            }
            Some(_) | None => {}
        }
        let is_write = request.uri().path().starts_with(book::PATH);
        let response = if is_write {
            self.write(request, &name, fault).await?
        } else {
            self.execute(request, &name).await?
        };
        let latency = *lock(&self.shared.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match fault {
            Some(Fault::DieAfterExecuting) => self.die().await,
            Some(Fault::DieAfterExecutingReused) if reused => self.die().await,
            Some(Fault::HangAfterExecuting) => pending().await,
            Some(Fault::SlowFirstByte(wait)) => {
                tokio::time::sleep(wait).await;
                Ok(response)
            }
            Some(Fault::Status(status)) if !is_write => Ok(status_answer(status)),
            Some(Fault::DieMidBody) => self.die_mid_body(response).await,
            Some(Fault::Drip(gap)) => drip(response, gap).await,
            Some(_) | None => Ok(response),
        }
    }

    /// Closes the connection. Dropping the future of this request is part of that.
    async fn die(&self) -> io::Result<Response<Body>> {
        self.link.end(Ending::Close);
        pending().await
    }

    /// A write, whose line stands in the book before anything is answered.
    async fn write(
        &self,
        request: Request<Incoming>,
        name: &Name,
        fault: Option<Fault>,
    ) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.shared.effects.executed(name);
        let status = match fault {
            Some(Fault::Status(status)) => StatusCode::from_u16(status),
            Some(_) | None => Ok(StatusCode::CREATED),
        };
        Ok(self.shared.book.write(&Order {
            region: &self.shared.name,
            method: &parts.method,
            headers: &parts.headers,
            body: &body,
            reused: 1 < self.nth,
            status: status.map_err(io::Error::other)?,
        }))
    }

    /// Closes the connection, and carries the request out a little later, as an endpoint does
    /// that notices nothing of its connections.
    async fn die_and_execute(
        &self,
        request: Request<Incoming>,
        name: Name,
    ) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let (shared, reused) = (Arc::clone(&self.shared), 1 < self.nth);
        let late = Late::begin(&shared);
        runtime().spawn(async move {
            tokio::time::sleep(book::LATE).await;
            shared.effects.executed(&name);
            if parts.uri.path().starts_with(book::PATH) {
                drop(shared.book.write(&Order {
                    region: &shared.name,
                    method: &parts.method,
                    headers: &parts.headers,
                    body: &body,
                    reused,
                    status: StatusCode::CREATED,
                }));
            }
            drop(late);
        });
        self.die().await
    }

    async fn execute(&self, request: Request<Incoming>, name: &Name) -> io::Result<Response<Body>> {
        let region = &self.shared.name;
        let path = request.uri().path().to_owned();
        let query = Query::of(request.uri());
        if path == "/ws" {
            self.shared.effects.executed(name);
            return Ok(websocket::answer(request, &self.link));
        }
        if path.starts_with(grpc::SERVICE) {
            self.shared.effects.executed(name);
            return Ok(grpc::answer(request));
        }
        let (parts, body) = request.into_parts();
        if path == "/upload" {
            let answer = upload(region, body).await?;
            self.shared.effects.executed(name);
            return Ok(answer);
        }
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.shared.effects.executed(name);
        if let Some(count) = path.strip_prefix("/bytes/").and_then(|it| it.parse().ok()) {
            return Ok(bytes(count));
        }
        if let Some(status) = path.strip_prefix("/status/").and_then(|it| it.parse().ok()) {
            return Ok(status_answer(status));
        }
        Ok(match path.as_str() {
            "/flow" => flow::answer(&query, self.shared.flows.subscribe()),
            "/sse" => sse::answer(region, &parts.headers, &query),
            "/v1/chat/completions" => chat::answer(region, &body, &query),
            _ => self.echo(&parts, &body, &query),
        })
    }

    /// Tells what arrived. A request header `x-reply-NAME` becomes the answer's header `NAME`.
    fn echo(&self, parts: &http::request::Parts, body: &Bytes, query: &Query) -> Response<Body> {
        let mut headers = Map::new();
        for (name, value) in &parts.headers {
            let list = headers.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()));
            }
        }
        let said = json!({
            "region": self.shared.name,
            "method": parts.method.as_str(),
            "path": parts.uri.path(),
            "query": query.text(),
            "version": format!("{:?}", parts.version),
            "headers": headers,
            "body_bytes": body.len(),
            "body_sha256": hex(&Sha256::digest(body)),
            "connection": self.link.id,
            "request": self.nth,
        });
        let mut response = json_answer(StatusCode::OK, &said);
        for (name, value) in &parts.headers {
            let reply = name.as_str().strip_prefix("x-reply-");
            if let Some(Ok(name)) = reply.map(|it| http::HeaderName::from_bytes(it.as_bytes())) {
                response.headers_mut().append(name, value.clone());
            }
        }
        response
    }

    async fn die_mid_body(&self, response: Response<Body>) -> io::Result<Response<Body>> {
        let (mut parts, body) = response.into_parts();
        let mut bytes = body.collect().await?.to_bytes();
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let half = bytes.split_to(bytes.len().div_ceil(2));
        let enough = u64::try_from(half.len()).map_err(io::Error::other)?;
        let enough = self.link.written_bytes() + enough;
        let (feed, body) = Feed::new();
        let link = Arc::clone(&self.link);
        // Put in before the head is sent, so that both leave together. The channel has room.
        feed.data(half).await.ok();
        runtime().spawn(async move {
            tokio::select! {
                () = link.written(enough) => {}
                () = feed.gone() => {}
            }
            link.end(Ending::Reset);
            // The body must not end before the connection has: it would look complete.
            feed.gone().await;
        });
        Ok(Response::from_parts(parts, body))
    }
}

/// Takes the body off and keeps its length: over HTTP/2 the library would send the body.
fn behead(response: &mut Response<Body>) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = whole("");
}

fn status_answer(status: u16) -> Response<Body> {
    match StatusCode::from_u16(status) {
        // 204, 304 and 1xx have no body, and the library refuses to send one.
        Ok(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => {
            let mut response = Response::new(whole(""));
            *response.status_mut() = status;
            response
        }
        Ok(status) if !status.is_informational() => {
            text_answer(status, &format!("status {status}\n"))
        }
        Ok(_) | Err(_) => text_answer(StatusCode::BAD_REQUEST, "wanted a status from 200 to 999\n"),
    }
}

async fn upload(region: &str, mut body: Incoming) -> io::Result<Response<Body>> {
    let (mut digest, mut count) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            digest.update(&data);
            count += data.len();
        }
    }
    let sum = hex(&digest.finalize());
    let said = json!({ "region": region, "body_bytes": count, "body_sha256": sum });
    Ok(json_answer(StatusCode::OK, &said))
}

/// Byte number `n` of `/bytes/N` is `n % 251`, a prime, so that a shift by any block shows.
fn bytes(count: u64) -> Response<Body> {
    const PIECE: u64 = 16 * 1024;
    let (feed, body) = Feed::new();
    runtime().spawn(async move {
        let mut from = 0;
        while from < count {
            let to = count.min(from + PIECE);
            let piece: Vec<u8> = (from..to).filter_map(|n| u8::try_from(n % 251).ok()).collect();
            if feed.data(piece).await.is_err() {
                return;
            }
            from = to;
        }
    });
    let mut response = Response::new(body);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response
}

async fn drip(response: Response<Body>, gap: std::time::Duration) -> io::Result<Response<Body>> {
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let (feed, body) = Feed::new();
    runtime().spawn(async move {
        for byte in bytes {
            if feed.data(vec![byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(gap).await;
        }
    });
    Ok(Response::from_parts(parts, body))
}
