//! The same cases for every store: whichever it is, a fence behaves like this.
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::time::Duration;

use place::Place;
use tidegate_harness::{RedisCluster, RedisPlan, RedisSentinels};

mod claims;
mod doubts;
mod ownership;
mod place;
mod reference;
mod retention;
mod waits;

/// Runs a case in a place of its own, with a deadline.
fn run(place: &Place, case: impl AsyncFnOnce(&Place)) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let deadline = Duration::from_mins(1);
        let ran = tokio::time::timeout(deadline, case(place)).await;
        ran.expect("a case ends within a minute");
        place.close().await;
    });
}

/// Makes a test of each case for each store. Groups of servers take long to start, so all cases
/// share one, each with a fence of its own.
macro_rules! cases {
    ($($module:ident: $($case:ident),* $(,)?;)*) => {
        mod embedded {
            $($(
                #[test]
                fn $case() {
                    crate::run(&crate::Place::embedded(), crate::$module::$case);
                }
            )*)*
        }

        mod redis {
            $($(
                #[test]
                fn $case() {
                    crate::run(&crate::Place::redis(), crate::$module::$case);
                }
            )*)*
        }

        #[test]
        fn a_master_that_sentinels_name_passes_every_case() {
            let group = RedisSentinels::start(&RedisPlan::durable());
            $($(
                println!("{}", stringify!($case));
                run(&Place::sentinel(&group), $module::$case);
            )*)*
        }

        #[test]
        fn a_cluster_passes_every_case() {
            let cluster = RedisCluster::start(&RedisPlan::durable(), 0);
            $($(
                println!("{}", stringify!($case));
                run(&Place::cluster(&cluster), $module::$case);
            )*)*
        }
    };
}

cases! {
    claims:
        one_of_many_claims_wins,
        an_answer_is_shown_to_every_duplicate,
        a_key_belongs_to_one_request,
        a_claim_is_given_back_with_a_proof,
        whoever_forgets_a_ticket_gives_it_back,
        owners_are_checked,
        what_arrives_twice_has_arrived_once,
        answers_of_every_kind_are_kept,
        an_allowance_of_new_keys_is_used_up,
        families_meet;
    doubts:
        the_end_of_a_lease_is_a_doubt,
        whoever_forgets_an_exchange_leaves_a_doubt,
        a_late_answer_ends_a_doubt,
        a_lease_is_renewed,
        a_write_begins_soon_after_its_claim_or_never,
        a_doubt_is_resolved_when_that_is_safe,
        a_repeatable_write_is_claimed_again,
        open_records_are_listed_and_counted;
    retention:
        answers_are_forgotten_after_their_time,
        a_forgotten_doubt_is_counted,
        nothing_is_forgotten_while_a_window_is_open;
    ownership:
        whoever_knows_the_last_table_may_change_it,
        one_of_many_changes_wins,
        nobody_is_overlooked_who_acts_on_an_older_table,
        whoever_is_silent_is_waited_for_until_its_time_is_over,
        the_largest_table_is_kept;
    waits:
        duplicates_wait_for_the_answer,
        duplicates_wait_for_another_process,
        a_key_that_is_freed_is_won_by_one_that_waits,
        patience_ends;
    reference:
        any_order_of_operations_ends_as_the_rules_say;
}
