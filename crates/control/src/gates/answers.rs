//! From the bytes of an answer to a probe, or to a question for vectors, to their figures.
//!
//! The bytes come from the network: whatever they are, the outcome is an answer or a failure, and
//! a figure that is none stays one that is none, so that it is named as such.

use serde_json::{Value as Json, json};
use tidegate_core::contract::VALUE_BYTES_MAX;
use tidegate_core::gate::lambda::Lambda;
use tidegate_core::gate::probes::{Answer, ProbeSet, Slot};
use tidegate_core::gate::stress::DIMENSIONS_MAX;
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;

/// Most documents that are read of one answer.
const DOCUMENTS_MAX: usize = 1000;

/// What a region answered, and the text that it retrieved, if it says so.
pub(super) type Read = (Answer, Option<String>);

/// What is asked in one run.
pub(super) fn question(set: &ProbeSet, slot: Slot) -> Option<Json> {
    let question = set.questions.get(slot.question)?;
    Some(json!({
        "question_id": &*question.id,
        "question": &**question.wordings.get(slot.wording)?,
        "paraphrase": slot.wording,
        "seed": set.seeds.get(slot.seed)?,
        "k": set.top_k,
    }))
}

/// Reads an answer to a probe.
///
/// # Errors
/// It is no JSON object.
pub(super) fn answer(body: &[u8]) -> Result<Read, ProbeFailure> {
    let body: Json = serde_json::from_slice(body).map_err(|_not| ProbeFailure::NotJson)?;
    if !body.is_object() {
        return Err(ProbeFailure::NotJson);
    }
    let told = |name: &str| body.get(name).filter(|it| !it.is_null());
    let vectors = told("q_vec").zip(told("ctx_vec"));
    let vectors = vectors.map(|(a, b)| (vector(a), vector(b)));
    let documents = told("retrieved_ids").and_then(Json::as_array);
    let documents = documents.into_iter().flatten().take(DOCUMENTS_MAX);
    let answer = Answer {
        delta_s: told("delta_s").map(figure),
        // Two empty lists beside a figure are how an answer without vectors is written.
        vectors: vectors
            .filter(|(a, b)| told("delta_s").is_none() || !a.is_empty() || !b.is_empty()),
        retrieved: documents.filter_map(text).collect(),
        lambda: told("lambda_state").map(|it| Lambda::from_word(it.as_str().unwrap_or_default())),
        seed_applied: told("seed_applied").and_then(Json::as_bool),
        index_hash: told("index_hash").and_then(text),
    };
    Ok((answer, told("context").and_then(Json::as_str).map(str::to_owned)))
}

/// What is asked of whoever makes vectors of texts.
pub(super) fn texts(model: &str, texts: [&str; 2]) -> Json {
    json!({ "model": model, "input": texts, "encoding_format": "float" })
}

/// Reads two vectors, in the order of the texts.
///
/// # Errors
/// There are not two.
pub(super) fn vectors(body: &[u8]) -> Result<(Vec<f64>, Vec<f64>), ProbeFailure> {
    let body: Json = serde_json::from_slice(body).map_err(|_not| ProbeFailure::NotJson)?;
    let data = body.get("data").and_then(Json::as_array).ok_or(ProbeFailure::NotJson)?;
    let of = |wanted: u64| {
        let is_it = |it: &&Json| it.get("index").and_then(Json::as_u64) == Some(wanted);
        data.iter().find(is_it).and_then(|it| it.get("embedding")).map(vector)
    };
    of(0).zip(of(1)).ok_or(ProbeFailure::NotJson)
}

/// A figure; not a number where something else stands in its place.
fn figure(json: &Json) -> f64 {
    json.as_f64().unwrap_or(f64::NAN)
}

/// A vector, cut off where it is longer than any that is compared.
fn vector(json: &Json) -> Vec<f64> {
    let parts = json.as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().take(DIMENSIONS_MAX + 1).map(figure).collect()
}

/// A name: a text or a whole number, as long as it is not too long.
fn text(json: &Json) -> Option<Name> {
    match json {
        Json::String(text) if text.len() <= VALUE_BYTES_MAX => Some(text.as_str().into()),
        Json::Number(number) if number.is_i64() || number.is_u64() => {
            Some(number.to_string().into())
        }
        Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::String(_)
        | Json::Array(_)
        | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Answer {
        answer(text.as_bytes()).expect("an answer").0
    }

    #[test]
    fn an_answer_as_the_terms_have_it_is_read() {
        let (answer, context) = answer(
            br#"{ "question_id": "p-037", "delta_s": 0.38, "retrieved_ids": ["a", 7],
                  "lambda_state": "\u2192", "coverage": 0.74, "seed_applied": true,
                  "index_hash": "a1b2c3", "q_vec": [], "ctx_vec": [], "context": "all of it" }"#,
        )
        .expect("an answer");
        let expected = Answer {
            delta_s: Some(0.38),
            vectors: None,
            retrieved: vec!["a".into(), "7".into()],
            lambda: Some(Lambda::Convergent),
            seed_applied: Some(true),
            index_hash: Some("a1b2c3".into()),
        };
        assert_eq!((answer, context.as_deref()), (expected, Some("all of it")));
    }

    #[test]
    fn what_is_no_figure_is_not_taken_for_an_absent_one() {
        assert!(read(r#"{ "delta_s": "NaN" }"#).delta_s.is_some_and(f64::is_nan));
        assert_eq!(read(r#"{ "delta_s": null }"#).delta_s, None);
        let vectors = read(r#"{ "q_vec": [1, "x"], "ctx_vec": [1] }"#).vectors.expect("vectors");
        assert!(vectors.0[1].is_nan() && vectors.1 == [1.0]);
        let empty = read(r#"{ "q_vec": [], "ctx_vec": [] }"#).vectors;
        assert_eq!(empty, Some((vec![], vec![])), "empty vectors are all that there is");
        assert_eq!(read(r#"{ "lambda_state": 1 }"#).lambda, Some(Lambda::Unknown));
        for bad in ["", "[]", "null", "{", "<html>"] {
            assert_eq!(answer(bad.as_bytes()), Err(ProbeFailure::NotJson), "{bad}");
        }
    }

    #[test]
    fn vectors_are_put_into_the_order_of_the_texts() {
        let body = br#"{ "data": [ { "index": 1, "embedding": [2] }, { "index": 0, "embedding": [1] } ] }"#;
        assert_eq!(vectors(body), Ok((vec![1.0], vec![2.0])));
        let one = br#"{ "data": [ { "index": 0, "embedding": [1] } ] }"#;
        assert_eq!(vectors(one), Err(ProbeFailure::NotJson));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_answer_panics(body in r#"[\{\}\[\]",:0-9eE.+a-z_ -]{0,60}"#) {
            answer(body.as_bytes()).ok();
            vectors(body.as_bytes()).ok();
        }
    }
}
