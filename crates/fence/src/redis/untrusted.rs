//! Whatever a server answers and whatever stands in it: it is read, or it is not, and nothing breaks.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use redis::Value;
use tidegate_core::Moment;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Owner, Record, State};
use tidegate_core::fence::rules::{Knows, Resolution};
use tidegate_core::policy::fencing::RedisNode;

use super::checks::tests::rules;
use super::checks::{Info, Seen, judge};
use super::{answer, calls, keeping, layout, monitor, topology};
use crate::record::tests::record;
use crate::store::Audit;

/// Answers that look like those that we know.
fn answers() -> impl Strategy<Value = Value> {
    let word = select(vec![
        "WON",
        "BUSY",
        "HELD",
        "COLD",
        "BACK",
        "FULL",
        "OTHER",
        "OPEN",
        "DUE",
        "host",
        "",
        "?",
        "7",
        "-7",
        "00000000000000ff",
        "99999999999999999999",
    ]);
    let known = prop_oneof![
        word.prop_map(|it| Value::BulkString(it.as_bytes().to_vec())),
        any::<i64>().prop_map(Value::Int),
        (0..20_000_i64).prop_map(Value::Int),
        record().prop_map(|it| Value::BulkString(layout::encode(&it))),
        vec(any::<u8>(), 32).prop_map(Value::BulkString),
        answer::tests::values(),
    ];
    known.prop_recursive(3, 40, 5, |inner| vec(inner, 0..6).prop_map(Value::Array))
}

/// Errors of a server, read as they come.
fn errors() -> impl Strategy<Value = Value> {
    let part = select(vec![
        "ERR", "MOVED", "ASK", "-OOM", "OOM", "READONLY", " ", " 7 ", "host:1", ":70000",
        "[::1]:1", "::", "é",
    ]);
    vec(part, 0..7).prop_map(|parts| {
        let error = format!("-{}\r\n", parts.concat());
        redis::parse_redis_value(error.as_bytes()).unwrap_or(Value::Nil)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_is_read_or_not(answer in prop_oneof![4 => answers(), 1 => errors()]) {
        let asked = RedisNode { host: "asked".into(), port: 1 };
        calls::word(&answer).ok();
        calls::elsewhere(&answer);
        keeping::keys(&[(0, answer.clone())]).ok();
        monitor::marker(&answer);
        topology::one(&answer);
        topology::many(&answer, &asked);
        if let Some(error) = answer::error(&answer) {
            // Nothing is taken for done because of an error.
            calls::refused(error);
            prop_assert!(calls::word(&answer).is_err());
        }
    }

    #[test]
    fn any_report_of_a_server_is_judged(
        lines in vec("(role|loading|maxmemory|used_memory|redis_version|evicted_keys|[a-z]{1,4})?:?[a-z0-9.:-]{0,24}\r?\n?", 0..12),
        rest in vec(any::<u8>(), 0..40),
    ) {
        let info = Info::read(&[lines.concat().as_bytes(), &rest].concat());
        let seen = Seen { node: "n", info: &info, evicted: Some(3), skew: None };
        prop_assert_eq!(judge(&rules(), &seen).len(), 7);
        let shown = format!("{} {}", info.is_full(), info.identity());
        prop_assert!(!shown.is_empty());
    }

    #[test]
    fn a_record_in_redis_is_read_as_it_was_written(record in record()) {
        prop_assert_eq!(layout::decode(&layout::encode(&record)), record);
    }

    #[test]
    fn any_bytes_in_redis_are_a_record_or_a_doubt(
        record in record(),
        place: prop::sample::Index,
        bytes in vec(any::<u8>(), 1..90),
    ) {
        // As they are, and over a piece of a good record.
        let mut written = layout::encode(&record);
        let place = place.index(written.len());
        for (at, byte) in written.iter_mut().skip(place).zip(&bytes) {
            *at = *byte;
        }
        for bytes in [bytes, written] {
            let read = layout::decode(&bytes);
            let unreadable = Record::unreadable(Moment(0), Moment(0));
            let is_answer = matches!(read.state, State::Completed(_));
            prop_assert!(read == unreadable || !is_answer || read.state == record.state, "{:?}", read);
            // What it is once, it stays.
            prop_assert_eq!(layout::decode(&layout::encode(&read)), read);
        }
    }

    #[test]
    fn what_was_resolved_is_read_as_it_was_written(
        key: [u8; 32],
        owner: [u8; 16],
        executed: bool,
        who in "\\PC{0,20}",
        reason in "\\PC{0,20}",
        at in 0..1_u64 << 53,
    ) {
        let knows = if executed { Knows::Executed } else { Knows::NotExecuted };
        let owner = Owner::from_bytes(owner);
        let resolution = Resolution { owner, knows, owner_is_dead: false, quarantine: Duration::ZERO };
        let audit = Audit { who, reason };
        let line = [&at.to_be_bytes()[..], &keeping::line(FenceKey(key), &resolution, &audit)].concat();
        let Some(read) = keeping::read_line(&line) else { panic!("not read") };
        prop_assert_eq!((read.key, read.owner, read.executed), (FenceKey(key), owner, executed));
        prop_assert_eq!((read.audit.who, read.audit.reason), (audit.who, audit.reason));
        for length in 0..line.len() {
            keeping::read_line(&line[..length]);
        }
    }
}
