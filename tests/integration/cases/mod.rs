//! All cases by name.

mod access;
mod attachments;
mod bounds;
mod browser;
mod chat;
mod clients;
mod conversations;
mod day;
mod disconnect;
mod document;
mod errors;
mod examples;
mod files;
mod history;
mod hostile;
mod lenient;
mod models;
mod operation;
mod pages;
mod process;
mod routes;
mod session;
mod signatures;
mod support;
mod upstream;

use crate::{Product, server::Run};

pub struct Definition {
    pub name: &'static str,
    pub run: Run,
    /// The one product that it is for, and why not for the other.
    pub only: Option<(Product, &'static str)>,
}

macro_rules! cases {
    ($($room:ident { $($name:ident $(($only:ident: $why:literal))?,)* })*) => {
        pub fn all() -> Vec<Definition> {
            vec![$($(Definition {
                name: concat!(stringify!($room), "::", stringify!($name)),
                run: |case| Box::pin($room::$name(case)),
                only: None $(.or(Some((Product::$only, $why))))?,
            },)*)*]
        }
    };
}

cases! {
    access {
        keyed_routes_want_a_key,
        without_keys_the_box_is_open_and_the_edge_closed,
        without_keys_only_this_machines_programs_may (Box: "the Worker without keys answers nobody"),
        without_keys_listed_pages_may (Box: "the Worker without keys answers nobody"),
        what_is_opened_on_purpose_is_open,
        short_keys_are_told_of,
        secrets_show_nowhere,
    }
    routes {
        unknown_routes_and_methods_are_error_objects,
        v1_may_be_missing_or_doubled,
        preflights_reflect_the_requested_headers,
        request_ids_are_echoed_when_sane,
        the_root_tells_of_the_server,
        head_is_get_without_a_body,
        health_and_readiness_follow_the_session,
        health_tells_of_a_broken_store,
    }
    browser {
        a_person_uses_the_console,
        pages_of_others_can_do_nothing_without_keys (Box: "the Worker without keys answers nobody"),
    }
    document {
        schemathesis_finds_nothing,
    }
    examples {
        every_curl_example_works,
    }
    history {
        chats_begun_in_the_browser_are_gone_on_with,
        an_import_that_was_cut_off_goes_on (Box: "the Worker has no command line"),
        an_import_stops_when_the_site_says_so (Box: "the Worker has no command line"),
    }
    pages {
        the_pages_are_served_from_the_server_itself,
        a_known_page_is_not_sent_again,
        only_what_is_meant_to_be_served_is,
    }
    models {
        the_list_has_openai_shape,
        one_model_is_found_by_id_and_alias,
        the_list_is_cached,
        the_last_good_list_outlives_the_site_and_a_restart,
        without_any_list_the_error_is_told,
        the_site_is_asked_once_however_many_ask,
        isolates_ask_the_site_together,
        a_check_at_the_list_is_a_pause,
    }
    chat {
        a_whole_answer,
        a_stream_thinks_before_it_answers,
        usage_comes_when_asked_for,
        every_recorded_stream_gives_the_same_on_both_products,
        any_packets_give_the_same,
        deltas_leave_as_they_come,
        deltas_are_gathered_when_told,
        gathering_does_not_hold_a_fast_site_up,
        a_silent_stream_has_heartbeats,
        stop_and_limit_cut_and_cancel,
        the_default_model_is_used,
        parallel_streams_do_not_mix,
    }
    upstream {
        the_site_sees_a_browser_shaped_request,
        thinking_search_and_models_reach_the_site,
        a_conversation_is_folded,
        each_turn_is_sent_once,
        aliases_come_from_the_configuration,
    }
    errors {
        each_recorded_refusal_is_told,
        each_recorded_challenge_is_told,
        ordinary_answers_may_mention_anything,
        refusals_have_their_status_and_code,
        refusals_of_a_new_chat_too,
        one_silent_repeat_heals,
        nothing_is_repeated_once_something_was_sent,
        an_error_within_a_stream_ends_it_without_done,
        broken_streams_are_errors,
        content_inspection_after_text_is_a_finish_reason,
        a_challenge_stops_the_calls,
        a_session_that_is_missing_or_ended,
        an_idle_site_times_out,
        a_site_that_cannot_be_reached,
        a_slow_first_word_still_gets_a_status,
    }
    session {
        an_ended_token_is_renewed_once_for_all,
        a_revoked_token_is_renewed_and_the_request_sent_again,
        a_token_about_to_end_is_renewed_in_the_background,
        a_refused_renewal_ends_the_session,
        a_renewal_that_fails_for_the_moment_is_tried_again_later,
        rotated_tokens_outlive_a_kill (Box: "the Worker's D1 ends with its workerd here; its isolates share it in the cases above"),
        the_check_tells_the_state_and_the_name,
        a_pause_is_shared,
        a_pause_outlives_a_kill (Box: "the Worker's D1 ends with its workerd here; its isolates share it in the case above"),
        a_new_session_is_taken_in_each_form,
        a_bad_new_session_leaves_the_old_one,
        fresh_cookies_end_a_pause,
        only_the_administrator_may,
        with_a_key_only_what_is_encrypted_is_used,
        what_is_forgotten_is_gone_from_the_disk (Box: "the Worker's database has no files of its own"),
    }
    operation {
        each_request_has_its_log_line,
        metrics_count_what_happens,
        data_points_are_written_where_a_dataset_is_bound (Edge: "the box has metrics instead"),
        turns_wait_in_a_bounded_queue,
        a_client_that_leaves_the_queue_makes_room,
        heartbeats_reach_those_who_wait,
        no_client_writes_into_the_log,
        slow_links_hold_nobody_up,
    }
    day {
        a_day_in_fast_motion,
    }
    conversations {
        thirty_turns_are_one_chat_and_thirty_short_messages,
        the_site_sees_each_stream_to_its_end,
        trees_of_edits_and_branches_are_followed,
        a_restart_forgets_nothing,
        keys_and_accounts_are_kept_apart,
        a_tool_loop_in_prompt_mode_stays_in_its_chat,
        a_tool_loop_in_function_mode_stays_in_its_chat,
        side_calls_leave_conversations_alone,
        explicit_ids_win,
        long_histories_go_along_as_a_file,
        chats_that_are_gone_are_made_anew_unseen,
        busy_chats_are_waited_for_and_then_left,
        two_requests_at_once_neither_block_nor_mix,
        the_end_of_a_history_is_a_second_chance,
        a_changed_system_text_goes_along,
        an_unfinished_answer_is_no_place_to_go_on_from,
        chats_are_listed_and_deleted,
        a_locked_store_does_not_stop_chats (Box: "the Worker's D1 cannot be locked from outside"),
        a_broken_store_does_not_stop_chats,
        expired_chats_are_cleaned_up (Box: "the Worker's D1 cannot be aged from outside"),
        a_turn_costs_few_queries_and_rows (Edge: "the box's SQLite does not count rows"),
        a_scheduled_run_works (Edge: "the box keeps its own timer"),
    }
    files {
        an_upload_gives_a_ready_entry,
        files_of_every_format_are_known_by_their_bytes,
        images_go_by_form_or_in_parts_up_to_their_limit,
        limits_come_from_the_configuration,
        a_part_may_fail_twice,
        where_one_way_fails_another_is_tried,
        clients_that_vanish_leave_no_upload_behind,
        a_large_upload_needs_little_memory,
        three_parts_are_on_their_way_and_no_more,
        the_same_bytes_are_uploaded_once,
        files_are_listed_shown_and_forgotten,
        forms_are_read_however_they_are_written,
        forms_that_are_none_are_refused,
        uploads_need_a_key_and_a_session,
        chunked_and_slow_uploads_work,
        the_sites_own_token_is_passed_on,
        a_silent_storage_times_out,
        a_broken_store_does_not_stop_uploads,
        keys_share_no_upload,
        old_files_are_forgotten,
    }
    attachments {
        each_kind_of_part_reaches_the_site,
        several_in_one_message_keep_their_order,
        a_conversation_with_images_goes_on_in_its_chat,
        older_attachments_go_along_with_a_seeded_history,
        uploaded_files_are_used_by_id,
        what_cannot_be_attached_is_refused,
        the_multimodal_route_has_its_own_model,
        links_are_fetched_and_uploaded,
        links_that_fail_are_told,
        links_to_private_addresses_are_never_followed,
        a_client_that_leaves_ends_the_fetch,
        the_predecessors_examples_work,
    }
    disconnect {
        clients_that_leave_before_the_head_close_upstream,
        clients_that_leave_amid_the_stream_close_upstream,
        clients_that_leave_a_whole_answer_close_upstream,
        a_slow_reader_slows_the_site,
    }
    hostile {
        bodies_that_are_no_requests,
        bodies_are_bounded_by_their_length,
        bodies_are_bounded_together,
        wrong_types_in_each_field,
        odd_requests_do_not_break_the_server,
        floods_of_header_fields_are_refused (Box: "the platform reads the heads of requests to Workers"),
        heads_that_never_end_are_given_up (Box: "the platform reads the heads of requests to Workers"),
        unread_pages_need_no_memory (Box: "the platform holds the connections of Workers"),
        more_connections_than_descriptors_harm_nobody (Box: "the platform holds the connections of Workers"),
        slow_and_idle_clients_harm_nobody (Box: "the platform holds the connections of Workers"),
    }
    lenient {
        half_a_character_is_read_in_every_text,
        a_history_with_a_half_and_one_with_its_replacement_are_one_conversation,
        any_text_is_asked_and_gone_on_from,
        separators_do_not_end_a_line_of_a_stream,
        few_shot_requests_land_in_nobodys_chat,
        fifty_few_shot_requests_at_once_keep_apart,
        what_an_older_turn_has_attached_may_be_gone,
        empty_texts_are_absent,
        a_mark_before_the_body_is_skipped,
        packed_bodies_are_unpacked_within_the_same_bound,
        numbers_are_taken_by_their_value,
        sessions_come_as_people_copy_them,
        a_clock_in_the_system_text_begins_no_other_chat,
        a_gateways_page_ends_no_session,
        suffixes_of_aliases_count,
        linked_files_may_come_packed,
        results_of_tools_are_told_by_their_call,
        a_wrong_clock_is_corrected_by_the_sites,
        content_parts_in_other_shapes_are_taken,
    }
    bounds {
        bodies_of_any_form_take_little_memory,
    }
    clients {
        openai_python,
        openai_node,
    }
    process {
        a_wrong_variable_is_named,
        a_network_address_needs_keys (Box: "the Worker has no address of its own"),
        lists_without_a_key_are_refused,
        unreadable_variables_are_named (Box: "the Worker's variables are text"),
        files_with_secrets_are_nobody_elses (Box: "the Worker has no file"),
        env_files_are_read (Box: "the Worker's variables come from its platform"),
        open_streams_may_end_after_the_signal (Box: "the platform stops Workers"),
        the_health_check_command (Box: "the Worker has no command line"),
        check_says_what_is_wrong (Box: "the Worker has no command line"),
        import_curl_keeps_a_session_for_the_server (Box: "the Worker has no command line"),
        a_file_that_may_not_be_written_is_replaced_by_memory (Box: "the Worker has no file"),
        http2_without_tls (Box: "the platform terminates HTTP/2 for Workers"),
    }
    signatures {
        one_bit_off_and_the_storage_refuses (Box: "no server takes part"),
    }
    support {
        forms_are_as_curl_makes_them (Box: "no server takes part"),
        huge_contents_are_the_same_each_time (Box: "no server takes part"),
        pages_are_what_they_say (Box: "no server takes part"),
        refused_uploads_are_answered_while_they_are_sent,
    }
}
