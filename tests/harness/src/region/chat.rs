//! An endpoint compatible with `OpenAI`'s chat completions, plain and streamed.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::answer::json_answer;
use super::body::{Body, Feed, Gone};
use super::query::Query;
use super::sse;
use crate::runtime::runtime;

const ID: &str = "chatcmpl-fake";

/// Answers `POST /v1/chat/completions`; `?gap_ms=M` waits between the streamed words.
pub(crate) fn answer(region: &str, body: &Bytes, query: &Query) -> Response<Body> {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        let error = json!({ "error": { "message": "the body is not JSON", "type": "invalid" } });
        return json_answer(http::StatusCode::BAD_REQUEST, &error);
    };
    let model = asked.get("model").and_then(Value::as_str).unwrap_or("fake").to_owned();
    let words = words(region, &asked);
    if asked.get("stream").and_then(Value::as_bool).unwrap_or(false) {
        let gap = Duration::from_millis(query.number("gap_ms").unwrap_or(0));
        return stream(model, words, gap);
    }
    let spoken = words.len();
    let content = words.concat();
    let answer = json!({
        "id": ID, "object": "chat.completion", "created": 1_754_000_000, "model": model,
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": content, "refusal": null },
        }],
        "usage": { "prompt_tokens": 1, "completion_tokens": spoken, "total_tokens": spoken + 1 },
    });
    json_answer(http::StatusCode::OK, &answer)
}

/// The answer says where it comes from and what it was asked last.
fn words(region: &str, asked: &Value) -> Vec<String> {
    let last = asked.get("messages").and_then(Value::as_array).and_then(|all| all.last());
    let content = last.and_then(|it| it.get("content")).and_then(Value::as_str).unwrap_or("");
    let text = format!("{region} heard: {content}");
    text.split_inclusive(' ').map(str::to_owned).collect()
}

fn stream(model: String, words: Vec<String>, gap: Duration) -> Response<Body> {
    let (feed, body) = Feed::new();
    runtime().spawn(async move {
        // A reader that has gone is an ordinary end of a stream.
        send(&feed, &model, &words, gap).await.ok();
    });
    sse::event_stream(body)
}

async fn send(feed: &Feed, model: &str, words: &[String], gap: Duration) -> Result<(), Gone> {
    feed.data(chunk(model, &json!({ "role": "assistant", "content": "" }), None)).await?;
    for word in words {
        feed.data(chunk(model, &json!({ "content": word }), None)).await?;
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }
    feed.data(chunk(model, &json!({}), Some("stop"))).await?;
    feed.data("data: [DONE]\n\n").await
}

fn chunk(model: &str, delta: &Value, finish: Option<&str>) -> String {
    let chunk = json!({
        "id": ID, "object": "chat.completion.chunk", "created": 1_754_000_000, "model": model,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish, "logprobs": null }],
        "sent_unix_ns": sse::unix_ns(),
    });
    format!("data: {chunk}\n\n")
}
