"""Scenarios that are written and cannot pass yet, each with what the server lacks."""

PENDING = {
    name: lacking
    for lacking, names in {
        "lease extension has no route yet": [
            "a_handler_can_outlast_its_lease",
            "a_renewed_lease_goes_on",
            "a_shared_lease_is_renewed_whole",
            "a_lease_can_be_renewed_by_its_id_and_by_messages",
            "the_transport_can_ask_for_seconds",
        ],
        "transactions have no route yet": [
            "an_ack_and_a_push_happen_together",
            "several_queues_get_their_messages",
            "several_messages_are_acknowledged",
            "a_push_of_many_keeps_their_order",
            "partitions_are_acknowledged_together",
            "queues_are_acknowledged_together",
            "a_chain_goes_through_three_queues",
            "consumers_work_in_transactions",
            "a_failure_can_be_acknowledged",
            "a_push_alone_is_a_transaction",
            "large_payloads_go_through",
            "one_bad_ack_undoes_everything",
            "who_lost_the_lease_commits_nothing",
            "one_lost_lease_of_two_is_enough",
            "a_bad_push_undoes_the_ack",
            "a_group_is_moved_alone",
            "a_pushed_message_has_the_id_that_it_was_given",
            "a_gate_that_the_server_cannot_keep_stops_the_transaction",
            "a_timer_that_the_server_does_not_have_stops_the_transaction",
            "a_binary_push_is_refused_whole",
        ],
        "group calls have no route yet": [
            "a_deleted_group_starts_over",
            "a_deleted_group_may_keep_its_start",
            "a_subscription_time_can_be_changed",
            "a_group_is_deleted_for_one_queue",
            "a_group_can_skip_to_the_end",
            "a_group_can_go_back_to_a_time",
        ],
        "dead letters have no route yet": [
            "the_last_failure_makes_a_dead_letter",
            "a_status_makes_a_dead_letter_at_once",
            "a_handler_s_error_is_kept",
            "a_batch_can_die_in_parts",
            "dead_letters_are_listed_by_group_and_partition",
            "a_dead_letter_can_be_pushed_again",
            "a_message_can_be_made_a_dead_letter_by_hand",
            "dead_letters_come_in_pages_and_between_times",
            "a_queue_without_failures_has_no_dead_letters",
        ],
        "dead letters and transactions have no route yet": [
            "a_transaction_can_bury",
        ],
        "dead letters and encryption are not there yet": [
            "an_encrypted_message_is_readable_as_a_dead_letter",
        ],
        "traces have no route yet": [
            "tracing_does_not_disturb_consumption",
            "a_trace_of_nothing_fails_softly",
            "the_traces_of_a_message_are_listed",
        ],
        "the server cannot encrypt yet": [
            "encryption_can_be_turned_on_and_off",
        ],
        "encryption and transactions are not there yet": [
            "an_encrypted_message_is_readable_right_after_its_push",
        ],
        "the filter route is not there yet": [
            "a_namespace_and_task_are_a_filter",
            "a_filter_takes_the_queue_of_higher_priority_first",
            "a_waiting_filter_is_answered_by_a_push",
            "a_queue_made_by_a_push_has_a_namespace_and_a_task",
            "a_consumer_may_name_a_namespace",
        ],
        "conflation is not there yet": [
            "only_the_newest_message_is_delivered",
            "an_empty_queue_conflates_too",
            "a_consumer_gets_the_newest",
            "a_group_keeps_the_policy_that_it_began_with",
            "conflation_without_a_group_is_refused",
            "conflation_does_not_commit_on_delivery",
        ],
        "maxSize is not enforced yet": [
            "a_full_queue_refuses",
            "a_push_to_a_full_queue_says_its_code",
            "a_push_is_repeated_until_there_is_room",
        ],
        "retention hides nothing yet": [
            "what_is_past_its_retention_is_hidden",
        ],
        "maxWaitTimeSeconds hides nothing yet": [
            "what_waited_too_long_is_hidden",
        ],
        "maintenance has no route yet": [
            "pushes_under_maintenance_arrive_afterwards",
            "pops_under_maintenance_get_nothing",
        ],
    }.items()
    for name in names
}
