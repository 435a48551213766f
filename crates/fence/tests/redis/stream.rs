//! The tail of a stream, as a real server has it.

use std::time::Duration;

use tidegate_core::contract::Queue;
use tidegate_core::gate::rules::StreamRules;
use tidegate_fence::redis::stream::{StreamReader, Unread};
use tidegate_harness::{Redis, RedisPlan};

use crate::rig::{EVENTUALLY, node, run};

fn rules(server: &Redis, key: &str) -> StreamRules {
    StreamRules {
        node: node(server.address()),
        user: None,
        password: None,
        tls: None,
        key: key.into(),
        group: "workers".into(),
        every: Duration::from_secs(1),
        timeout: Duration::from_secs(10),
    }
}

fn reader(server: &Redis, key: &str) -> StreamReader {
    StreamReader::new(rules(server, key)).expect("nothing is encrypted")
}

async fn read(reader: &mut StreamReader) -> Queue {
    reader.read().await.expect("a reading")
}

#[test]
fn what_waits_is_pending_or_was_never_delivered() {
    run(async {
        let server = Redis::start(&RedisPlan::default());
        let mut reader = reader(&server, "jobs");
        let said = reader.read().await.expect_err("no stream");
        assert!(matches!(said, Unread::NoStream(_)), "{said}");
        server.command(&["XGROUP", "CREATE", "jobs", "others", "$", "MKSTREAM"]);
        let said = reader.read().await.expect_err("no group");
        assert!(matches!(said, Unread::NoGroup(_)), "{said}");
        server.command(&["XGROUP", "CREATE", "jobs", "workers", "$"]);
        let empty = read(&mut reader).await;
        assert_eq!((empty.depth, empty.oldest_age_ms), (0, 0));

        // Added ten years ago, as its name says.
        server.command(&["XADD", "jobs", "1000-1", "do", "it"]);
        server.command(&["XADD", "jobs", "*", "do", "it"]);
        server.command(&["XADD", "jobs", "*", "do", "it"]);
        let waiting = read(&mut reader).await;
        assert_eq!(waiting.depth, 3);
        assert!(1_000_000_000_000 < waiting.oldest_age_ms, "{waiting:?}");

        let take = ["XREADGROUP", "GROUP", "workers", "me", "COUNT", "2", "STREAMS", "jobs", ">"];
        server.command(&take);
        let taken = read(&mut reader).await;
        assert_eq!(taken.depth, 3, "two are pending, and one was never delivered");
        server.command(&["XACK", "jobs", "workers", "1000-1"]);
        let done = read(&mut reader).await;
        assert_eq!(done.depth, 2);
        assert!(done.oldest_age_ms < 10 * 60 * 1000, "{done:?}");
        assert_ne!(done.watermark, empty.watermark);
    });
}

#[test]
fn entries_are_counted_where_the_server_does_not_know_how_many_there_are() {
    run(async {
        let server = Redis::start(&RedisPlan::default());
        for place in 1..=5 {
            server.command(&["XADD", "jobs", &format!("{place}-0"), "do", "it"]);
        }
        // In the middle of entries, of which one is gone: there is no exact lag any more.
        server.command(&["XGROUP", "CREATE", "jobs", "workers", "2-0"]);
        server.command(&["XDEL", "jobs", "4-0"]);
        let mut reader = reader(&server, "jobs");
        assert_eq!(read(&mut reader).await.depth, 2);
    });
}

#[test]
fn a_server_that_is_away_is_told_and_found_again() {
    run(async {
        let server = Redis::start(&RedisPlan::default());
        server.command(&["XGROUP", "CREATE", "jobs", "workers", "$", "MKSTREAM"]);
        let mut reader = reader(&server, "jobs");
        read(&mut reader).await;
        server.kill();
        let said = reader.read().await.expect_err("it is away");
        assert!(matches!(said, Unread::Broken(_)), "{said}");
        server.restart();
        server.command(&["XGROUP", "CREATE", "jobs", "workers", "$", "MKSTREAM"]);
        let again = async {
            while reader.read().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(EVENTUALLY, again).await.expect("it is found again");
        server.command(&["SET", "text", "no stream"]);
        let said = self::reader(&server, "text").read().await.expect_err("no stream");
        assert!(matches!(said, Unread::NoStream(_)), "{said}");
    });
}
