//! What the ledger lists and counts.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_core::drain::{Outcome, Outcomes};

use crate::traffic::Entry;

fn book(ledger: &Ledger, region: &str, number: u32) -> Arc<Traffic> {
    let address = SocketAddr::from(([10, 0, 0, 1], 8000));
    let endpoint = EndpointId(number);
    ledger.book(Whose { region: region.into(), endpoint, address, open: Arc::default() })
}

fn facts(ledger: &Ledger, kind: Kind) -> Facts {
    let (route, release) = (ledger.symbol(&"chat".into()), ledger.symbol(&"r1".into()));
    Facts { kind, route, release, began: Moment(1_000) }
}

#[test]
fn an_exchange_is_listed_with_all_that_is_known_of_it_until_it_ends() {
    let ledger = Ledger::default();
    let book = book(&ledger, "eu", 1);
    let mut entry = Entry::open(&book, facts(&ledger, Kind::Plain));
    entry.received(3);
    entry.received(4);
    entry.sent(5);
    entry.becomes(Kind::Stream);
    let listed = ledger.exchanges(|_, _| true);
    let wanted = Exchange {
        region: "eu".into(),
        endpoint: book.whose().address,
        release: Some("r1".into()),
        route: Some("chat".into()),
        kind: Kind::Stream,
        began: Moment(1_000),
        active: listed[0].active,
        bytes_in: 7,
        bytes_out: 5,
    };
    assert_eq!(listed, [wanted]);
    assert!(Moment(1_000) < listed[0].active);
    assert_eq!((entry.bytes_in(), ledger.open()), (7, 1));
    entry.ends(Outcome::Completed);
    drop(entry);
    let ended = Outcomes { completed: 1, ..Outcomes::default() };
    assert_eq!(ledger.reading(EndpointId(1)), Some(Reading { open: 0, ended }));
    assert_eq!(ledger.exchanges(|_, _| true), []);
}

#[test]
fn a_panic_closes_the_entry_of_its_request() {
    let ledger = Ledger::default();
    let book = book(&ledger, "eu", 1);
    let request = AssertUnwindSafe(|| {
        let _entry = Entry::open(&book, facts(&ledger, Kind::Plain));
        panic!("this is what the test is about");
    });
    assert!(catch_unwind(request).is_err());
    assert_eq!(book.reading().open, 0);
    assert_eq!(book.whose().open.count(), 0);
    assert_eq!(book.reading().ended.forced, 1, "it was none of the others' fault");
    assert_eq!(book.slots().seen().count(), 0);
}

#[test]
fn what_is_open_at_an_endpoint_that_is_gone_is_still_seen() {
    let ledger = Ledger::default();
    let gone = book(&ledger, "eu", 1);
    let entry = Entry::open(&gone, facts(&ledger, Kind::Websocket));
    drop(gone);
    drop(book(&ledger, "us", 2));
    assert_eq!(ledger.summary().to_string(), "1 websocket at eu");
    drop(entry);
    assert_eq!(ledger.summary().to_string(), "nothing is open");
    assert_eq!(ledger.reading(EndpointId(1)), None);
}

#[test]
fn a_summary_counts_by_region_and_kind_and_what_has_no_entry_too() {
    let ledger = Ledger::default();
    let (eu, us) = (book(&ledger, "eu", 1), book(&ledger, "us", 2));
    let open = |book, kind| Entry::open(book, facts(&ledger, kind));
    let kinds = [Kind::Stream, Kind::Stream, Kind::Grpc];
    let held: Vec<_> = kinds.into_iter().map(|it| open(&eu, it)).collect();
    let full: Vec<_> = (0..LISTED_MAX + 2).map(|_| open(&us, Kind::Plain)).collect();
    let summary = ledger.summary();
    let told = format!("2 stream at eu, 1 grpc at eu, 2 unlisted at us, {LISTED_MAX} plain at us");
    assert_eq!((summary.to_string(), summary.total()), (told, ledger.open()));
    assert_eq!(ledger.exchanges(|region, kind| &**region == "eu" && kind == Kind::Grpc).len(), 1);
    drop((held, full));
    assert_eq!((ledger.open(), us.unlisted()), (0, 0));
}

#[test]
fn names_beyond_the_limit_are_other() {
    let ledger = Ledger::default();
    let symbols: Vec<_> =
        (0..NAMES_MAX + 3).map(|it| ledger.symbol(&it.to_string().into())).collect();
    assert_eq!(symbols[NAMES_MAX], symbols[NAMES_MAX + 2]);
    assert_ne!(symbols[0], symbols[NAMES_MAX]);
    let names = locked(&ledger.names);
    assert_eq!(names.name(symbols[7]).as_deref(), Some("7"));
    assert_eq!(names.name(symbols[NAMES_MAX]).as_deref(), Some("other"));
    assert_eq!(names.name(Symbol::default()), None);
}
