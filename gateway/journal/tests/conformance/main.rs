//! One suite for every engine: each case holds an engine to a sentence of the contract.
//!
//! A new engine joins by a [`Subject`] of its own and two lines at the end of this file. Cases never look at which
//! engine they run on, with one exception that the contract makes itself: leases that end are tested where they end.
//! The last case plays random operations on an engine and on the oracle and compares all answers.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod model;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod subject;

/// Makes a test of every case for an engine.
macro_rules! suite {
    ($engine:ident: $($module:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::cases::$module::$case(crate::subject::$engine()).await;
                })*
            })*
        }
    };
}

/// Every case of the contract.
macro_rules! contract {
    ($engine:ident) => {
        suite! { $engine:
            append: [
                an_event_is_there_with_its_exact_bytes,
                every_attribute_comes_back,
                a_batch_is_answered_in_its_order,
                the_same_id_is_a_duplicate_or_a_conflict,
                the_same_key_is_a_duplicate_or_a_conflict,
                a_place_taken_by_another_event_is_a_conflict_even_beside_a_duplicate,
                the_key_of_an_event_that_was_sent_again_answers_the_first,
                ids_and_keys_belong_to_their_tenant,
                events_of_one_batch_see_each_other,
                an_endpoint_named_twice_has_one_delivery,
                an_event_that_matches_nobody_is_kept,
                a_refused_event_leaves_nothing_behind,
                many_tasks_append_at_once,
            ],
            due: [
                fresh_deliveries_come_in_the_order_of_their_events,
                retries_come_first_and_by_due_time,
                those_in_hand_are_left_out_and_do_not_count,
                a_read_stays_within_its_bytes,
                nothing_that_is_final_or_not_yet_due_is_answered,
                the_next_due_time_is_the_least_that_is_not_in_hand,
                a_shard_knows_its_waiting_endpoints,
                a_read_changes_nothing,
            ],
            settle: [
                an_attempt_and_its_outcome_are_kept,
                an_attempt_is_settled_once,
                a_final_delivery_is_not_settled_again,
                an_unknown_delivery_is_not_settled,
                a_stale_epoch_is_refused,
                a_delivery_may_end_without_an_attempt,
                shaped_bytes_are_kept_for_all_retries,
                shaped_bytes_stay_however_it_ends,
                a_pending_delivery_is_cancelled_and_no_other,
                the_plugins_that_dropped_an_event_are_kept_while_it_is_filtered,
                every_final_status_is_kept_with_its_reason,
                a_batch_is_settled_in_its_order,
            ],
            requeue: [
                one_delivery_is_sent_again,
                a_pending_retry_is_made_due_at_once,
                what_waits_is_made_due_and_its_schedule_goes_on,
                a_new_round_starts_the_schedule_anew,
                recovery_takes_up_what_was_lost_and_nothing_else,
                what_the_configuration_cancelled_is_recovered_and_nothing_else_that_was,
                recovery_starts_at_its_time,
                a_large_recovery_is_whole,
                a_replay_runs_plugins_again_and_reaches_new_endpoints,
                what_is_not_there_is_not_found,
            ],
            lists: [
                events_are_listed_newest_first,
                deliveries_are_listed_newest_first_and_by_endpoint,
                attempts_and_parts_of_ids_select,
                filters_select,
                time_bounds_hold_when_the_clock_was_set_back,
                pages_neither_repeat_nor_skip_while_events_arrive,
                a_tenant_sees_its_own_alone,
                deliveries_of_one_event_come_by_endpoint,
                long_lists_are_whole,
                what_was_never_there_is_empty,
            ],
            upkeep: [
                counts_say_what_lists_say,
                health_tells_what_is_pending,
                backlogs_tell_what_waits_for_each_endpoint,
                pending_bytes_follow_the_deliveries,
                the_clock_is_kept,
                age_is_told_by_the_clock_that_was_kept,
                what_was_never_noted_is_not_old,
                notes_of_long_ago_are_an_hour_apart,
                expiry_takes_the_oldest_within_its_budget,
                expiry_leaves_what_is_pending,
                what_ended_after_an_expiry_goes_with_the_next,
                an_expired_event_is_gone_with_all_that_hung_on_it,
                a_large_expiry_is_whole,
                endpoint_states_are_kept,
                blobs_are_kept_by_their_digest,
                plugin_states_are_kept,
                a_blob_stays_while_a_plugin_needs_it,
                a_plugin_state_needs_its_blobs,
                calls_after_close_fail,
            ],
            damage: [
                records_are_kept_and_listed_newest_first,
                what_is_known_is_not_recorded_twice,
                acknowledged_damage_counts_no_more,
                records_are_bounded,
            ],
            queues: [
                a_message_is_there_with_its_exact_bytes,
                a_look_is_bounded_in_bytes,
                a_delivery_ends_in_its_queue_in_one_step,
                a_refused_settlement_puts_no_message,
                a_received_message_is_invisible_until_its_time,
                messages_come_in_the_order_in_which_they_became_visible,
                an_answer_holds_no_more_than_was_asked_for,
                an_acknowledged_message_is_gone,
                a_receipt_is_good_for_its_receive_alone,
                a_message_given_back_is_visible_when_it_should_be,
                more_time_can_be_asked_for,
                what_is_received_too_often_is_a_dead_letter,
                dead_letters_do_not_hide_those_behind_them,
                a_queue_is_counted_by_how_its_messages_are,
                what_waited_too_long_is_removed,
                no_message_goes_to_two_at_once,
            ],
            leases: [
                all_shards_go_to_the_first_who_asks,
                a_shard_has_one_owner,
                a_released_shard_gets_a_new_epoch,
                an_ended_lease_is_given_anew_and_its_owner_refused,
                a_renewed_lease_goes_on,
            ],
            random: [engine_and_oracle_agree],
        }
    };
}

contract!(memory);
contract!(embedded);
