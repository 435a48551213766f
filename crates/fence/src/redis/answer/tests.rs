//! What comes from a server is read whole, within limits, or not at all.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Garbled> {
    Reader::default().read(bytes)
}

/// What a reader finds in bytes that arrive in pieces of this length.
fn read_all(bytes: &[u8], piece: usize) -> Result<Vec<Value>, Garbled> {
    let (mut reader, mut values, mut taken) = (Reader::default(), Vec::new(), 0);
    let ends = (1..).map(|nth| bytes.len().min(nth * piece));
    for end in ends {
        while let Some((value, length)) = reader.read(&bytes[taken..end])? {
            values.push(value);
            taken += length;
        }
        if end == bytes.len() {
            break;
        }
    }
    Ok(values)
}

fn bulk(text: &[u8]) -> Value {
    Value::BulkString(text.to_vec())
}

fn simple(text: &str) -> Value {
    Value::SimpleString(text.to_owned())
}

#[test]
fn values_are_read_whole_or_not_at_all() {
    let bytes = b"*6\r\n+OK\r\n+QUEUED\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*1\r\n-NOSCRIPT no\r\nrest";
    let whole = bytes.len() - 4;
    for length in 0..whole {
        assert_eq!(read(&bytes[..length]), Ok(None), "{length}");
    }
    let Ok(Some((Value::Array(mut values), length))) = read(bytes) else { panic!("no list") };
    assert_eq!(length, whole);
    let Some(Value::Array(inner)) = values.pop() else { panic!("no list at the end") };
    assert_eq!(inner.first().and_then(code), Some("NOSCRIPT"));
    assert_eq!(
        values,
        [Value::Okay, simple("QUEUED"), Value::Int(-7), bulk(b"a\r\nb"), Value::Nil]
    );
}

#[test]
fn what_is_no_value_is_garbled() {
    for bytes in ["HTTP/1.1 400\r\n", "\r\n", ":x\r\n", "$x\r\n", "$1\r\nab\r\n", "*\r\n"] {
        assert_eq!(read(bytes.as_bytes()), Err(Garbled), "{bytes}");
    }
}

#[test]
fn nobody_asked_for_the_third_version_of_the_protocol() {
    for kind in "%~>|(,#_=!.".chars() {
        assert_eq!(read(format!("{kind}1\r\n").as_bytes()), Err(Garbled), "{kind}");
        assert_eq!(read(format!("*1\r\n{kind}1\r\n").as_bytes()), Err(Garbled), "{kind}");
    }
}

#[test]
fn an_answer_that_is_too_large_is_refused_before_it_has_arrived() {
    let frame = "$\r\n\r\n".len() + ANSWER_MAX.to_string().len();
    let largest = ANSWER_MAX - frame;
    assert_eq!(read(format!("${largest}\r\n").as_bytes()), Ok(None));
    let text = format!("${largest}\r\n{}\r\n", " ".repeat(largest));
    assert_eq!(read(text.as_bytes()).map(|it| it.map(|(_, length)| length)), Ok(Some(ANSWER_MAX)));
    for larger in [largest + 1, usize::MAX / 2, i64::MAX.unsigned_abs().try_into().unwrap()] {
        assert_eq!(read(format!("${larger}\r\n").as_bytes()), Err(Garbled), "{larger}");
    }
    // Also when it is only as a whole that it is.
    let parts = format!("*2\r\n{text}${largest}\r\n");
    assert_eq!(read(parts.as_bytes()), Err(Garbled));
    assert_eq!(read(&vec![b'+'; LINE_MAX + 2]), Err(Garbled));
    assert_eq!(read(&vec![b':'; LINE_MAX + 2]), Err(Garbled));
}

#[test]
fn an_answer_has_so_many_values_and_no_more() {
    let list = |lists: usize, values: usize| {
        let list = format!("*{values}\r\n{}", "*0\r\n".repeat(values));
        format!("*{lists}\r\n{}", list.repeat(lists))
    };
    let whole = list(2, (VALUES_MAX - 3) / 2);
    assert!(matches!(read(whole.as_bytes()), Ok(Some((Value::Array(_), _)))));
    assert_eq!(read(list(2, VALUES_MAX / 2).as_bytes()), Err(Garbled));
    for count in [VALUES_MAX, usize::MAX / 2] {
        assert_eq!(read(format!("*{count}\r\n").as_bytes()), Err(Garbled), "{count}");
    }
}

#[test]
fn lists_lie_so_deep_within_lists_and_no_deeper() {
    let deep = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth));
    assert!(matches!(read(deep(DEPTH_MAX).as_bytes()), Ok(Some(_))));
    assert_eq!(read(deep(DEPTH_MAX + 1).as_bytes()), Err(Garbled));
}

#[test]
fn an_error_may_repeat_what_is_no_text() {
    let bytes = b"-ERR unknown command 'EVALSHA', with args beginning with: '\xff\xfe'\r\n+OK\r\n";
    let Ok(Some((value, length))) = read(bytes) else { panic!("it is not read") };
    assert_eq!((code(&value), length), (Some("ERR"), bytes.len() - 5));
}

#[test]
fn a_number_is_never_below_nothing() {
    assert_eq!(number(&Value::Int(7)), Some(7));
    assert_eq!(number(&bulk(b"7")), Some(7));
    assert_eq!(number(&simple("7")), Some(7));
    for odd in [Value::Int(-1), bulk(b"-1"), bulk(b"x"), Value::Nil, Value::Array(Vec::new())] {
        assert_eq!(number(&odd), None, "{odd:?}");
    }
}

/// What a server may answer.
pub(in super::super) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        "[ -~]{0,20}"
            .prop_filter("it is another value", |it| it != "OK")
            .prop_map(Value::SimpleString),
        vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| vec(inner, 0..8).prop_map(Value::Array))
}

fn written(answers: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for answer in answers {
        write(answer, &mut bytes);
    }
    bytes
}

fn write(value: &Value, out: &mut Vec<u8>) {
    if let Value::Array(list) = value {
        out.extend(format!("*{}\r\n", list.len()).bytes());
        for it in list {
            write(it, out);
        }
    } else if let Value::BulkString(text) = value {
        out.extend(format!("${}\r\n", text.len()).bytes());
        out.extend(text);
        out.extend(b"\r\n");
    } else if let Some(text) = text(value) {
        out.extend([b"+", text, b"\r\n"].concat());
    } else if let Value::Int(number) = value {
        out.extend(format!(":{number}\r\n").bytes());
    } else {
        assert_eq!(*value, Value::Nil);
        out.extend(b"$-1\r\n");
    }
}

/// Bytes that look as if a server had answered.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        "*2\r\n", "*0\r\n", "*-1\r\n", "$3\r\n", "$-1\r\n", "$0\r\n", "abc", "\r\n", "+OK\r\n",
        "-E ", ":1\r\n", "*", "$", ":", "+", "-", "\r", "\n", "9", "99999", "-", "%1\r\n",
        ">1\r\n", "!1\r\n",
    ]);
    let token = token.prop_map(|it| it.as_bytes().to_vec());
    let part = prop_oneof![8 => token, 1 => vec(any::<u8>(), 1..4)];
    vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_answered_is_read_however_it_arrives(
        answers in vec(values(), 1..6),
        piece in 1_usize..200,
    ) {
        prop_assert_eq!(read_all(&written(&answers), piece), Ok(answers));
    }

    #[test]
    fn any_bytes_are_read_the_same_however_they_arrive(bytes in bytes(), piece in 1_usize..50) {
        // What comes before the fault is read; that there is one is found out in either case.
        let (at_once, in_pieces) = (read_all(&bytes, bytes.len().max(1)), read_all(&bytes, piece));
        prop_assert_eq!(at_once, in_pieces);
    }

    #[test]
    fn a_changed_byte_breaks_nothing_but_the_answer(
        answer in values(),
        place in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = written(&[answer]);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(Some((_, length))) = read(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
