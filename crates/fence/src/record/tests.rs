//! Records are read as they were written, and nothing else is taken for one, nor for absent.

use proptest::prelude::*;
use tidegate_core::fence::record::{Incarnation, Phase};

use super::*;

const LEASE: Moment = Moment(75_000);
const END: Moment = Moment(9_000_000);

fn in_flight() -> Record {
    Record {
        owner: Owner { incarnation: Incarnation(7), serial: 9 },
        fingerprint: Some(Fingerprint([3; 16])),
        epoch: Epoch(1 << 40),
        attempt: 1,
        created: Moment(60_000),
        lease_until: LEASE,
        expires: END,
        is_degraded: false,
        is_resurrected: false,
        state: State::InFlight,
    }
}

#[test]
fn the_format_is_a_promise() {
    let bytes = encode(&in_flight());
    let whole = format!("{bytes:02x?}").replace([' ', ',', '[', ']'], "");
    let owner = "00000000000000070000000000000009";
    let print = "03".repeat(16);
    let rest = "0000010000000000000000000000ea60";
    assert_eq!(whole.split_at(104), (&*format!("01010401{owner}{print}{rest}"), "c6c416df"));
    assert_eq!(bytes.len(), IN_FLIGHT_BYTES);
}

/// Whatever the bytes are, the key is taken.
fn check_doubt(bytes: &[u8]) {
    let record = decode(bytes, LEASE, END);
    assert_eq!(record, Record::unreadable(LEASE, END), "{bytes:02x?}");
    assert_eq!(record.phase(Moment(0)), Phase::InDoubt(Doubt::Unreadable));
}

#[test]
fn every_bit_counts() {
    for record in [in_flight(), completed(Body::Whole([1, 2, 3].into()))] {
        let whole = encode(&record);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check_doubt(&bytes);
        }
        for length in 0..whole.len() {
            check_doubt(&whole[..length]);
        }
        check_doubt(&[&*whole, &[0]].concat());
    }
}

#[test]
fn a_version_of_the_future_is_in_doubt() {
    for (place, value) in [(0, 0), (0, 2), (0, 255), (1, 0), (1, 4), (2, 8), (2, 255)] {
        let mut bytes = encode(&in_flight());
        bytes.truncate(bytes.len() - 4);
        bytes[place] = value;
        let crc = crc::of(&bytes);
        check_doubt(&[&*bytes, &crc.to_be_bytes()].concat());
    }
}

fn completed(body: Body) -> Record {
    let headers = vec![("content-type".into(), b"text/plain"[..].into())];
    Record { state: State::Completed(Answer { status: 201, headers, body }), ..in_flight() }
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|it| Body::Whole(it.into())),
        any::<(u64, [u8; 32])>().prop_map(|(length, sha256)| Body::Digest { length, sha256 }),
        Just(Body::Streamed),
        Just(Body::Partial),
        Just(Body::NotKept),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let header = ("[a-z-]{0,255}", prop::collection::vec(any::<u8>(), 0..300));
    let headers = prop::collection::vec(header, 0..4).prop_map(|headers| {
        let boxed = |(name, value): (String, Vec<u8>)| (name.into(), value.into());
        headers.into_iter().map(boxed).collect()
    });
    let answer = (any::<u16>(), headers, body())
        .prop_map(|(status, headers, body)| State::Completed(Answer { status, headers, body }));
    let doubt = prop_oneof![
        Just(Doubt::LeaseOver),
        Just(Doubt::OwnerDied),
        Just(Doubt::NoAnswer),
        any::<u16>().prop_map(Doubt::GatewayAnswered),
        Just(Doubt::Dropped),
        Just(Doubt::StoreForgot),
        Just(Doubt::Unreadable),
    ];
    prop_oneof![Just(State::InFlight), answer, doubt.prop_map(State::InDoubt)]
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let numbers = any::<(u64, u64, u64, u64, u8, bool, bool)>();
    (numbers, any::<Option<[u8; 16]>>(), state()).prop_map(|(numbers, fingerprint, state)| {
        let (incarnation, serial, epoch, created, attempt, is_degraded, is_resurrected) = numbers;
        Record {
            owner: Owner { incarnation: Incarnation(incarnation), serial },
            fingerprint: fingerprint.map(Fingerprint),
            epoch: Epoch(epoch),
            attempt,
            created: Moment(created),
            is_degraded,
            is_resurrected,
            state,
            ..in_flight()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_are_read_as_they_were_written(record in record()) {
        prop_assert_eq!(decode(&encode(&record), LEASE, END), record);
    }

    #[test]
    fn damaged_records_are_in_doubt(record in record(), at: prop::sample::Index, mask in 1..=255_u8) {
        let mut bytes = encode(&record);
        let place = at.index(bytes.len());
        bytes[place] ^= mask;
        check_doubt(&bytes);
    }

    #[test]
    fn any_bytes_are_in_doubt(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_doubt(&bytes);
    }

    #[test]
    fn any_content_with_a_good_checksum_is_read_or_in_doubt(
        content in prop::collection::vec(any::<u8>(), 0..120),
        begin in prop::sample::select(vec![vec![1, 1, 0, 1], vec![1, 2, 4, 1], vec![1, 3, 0, 1], vec![]]),
    ) {
        let mut bytes = [begin, content].concat();
        bytes.extend(crc::of(&bytes).to_be_bytes());
        let record = decode(&bytes, LEASE, END);
        // What is read is what stood there, to the last bit.
        prop_assert!(record == Record::unreadable(LEASE, END) || encode(&record) == bytes);
    }
}
