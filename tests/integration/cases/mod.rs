//! The table of all cases.

mod access;
mod accounts;
mod accounts_load;
mod accounts_upkeep;
mod agent;
mod attachments;
mod bounds;
mod browser;
mod chat;
mod clients;
mod conversations;
mod day;
mod dialects;
mod disconnect;
mod document;
mod errors;
mod examples;
mod fake_compatible;
mod fake_media;
mod fake_site;
mod fallback;
mod files;
mod history;
mod hostile;
mod images;
mod lenient;
mod messages;
mod models;
mod n8n;
mod operation;
mod pages;
mod process;
mod response_reader;
mod responses;
mod responses_store;
mod routes;
mod second_upstream;
mod session;
mod signatures;
mod soak;
mod structured;
mod support;
mod tool_loops;
mod tool_rules;
mod tools;
mod upstream;
mod videos;

use std::time::Duration;

use crate::{Product, server::Run};

pub struct Definition {
    pub name: &'static str,
    pub run: Run,
    /// The only product that the case runs on, and the reason.
    pub only: Option<(Product, &'static str)>,
}

/// The time limit of a case: five minutes, or more for the few that send thousands of requests.
pub fn time_limit(name: &str) -> Duration {
    let minutes = match name.split("::").next() {
        Some("document" | "bounds") => 45,
        Some("examples") => 10,
        Some("soak") => return Duration::from_secs(300) + soak::length(),
        Some("day") => return Duration::from_secs(300) + day::length(),
        _ => 5,
    };
    Duration::from_secs(60 * minutes)
}

macro_rules! cases {
    ($($module:ident { $($name:ident $(($only:ident: $reason:literal))?,)* })*) => {
        pub fn all() -> Vec<Definition> {
            vec![$($(Definition {
                name: concat!(stringify!($module), "::", stringify!($name)),
                run: |case| Box::pin($module::$name(case)),
                only: None $(.or(Some((Product::$only, $reason))))?,
            },)*)*]
        }
    };
}

cases! {
    access {
        keyed_routes_require_a_key,
        without_keys_native_is_open_and_worker_is_closed,
        without_keys_only_local_programs_have_access (Native: "a Worker without keys rejects every request"),
        without_keys_allowed_origins_have_access (Native: "a Worker without keys rejects every request"),
        explicitly_public_routes_need_no_key,
        short_keys_are_reported,
        secrets_appear_in_no_output,
    }
    routes {
        unknown_routes_and_methods_return_error_objects,
        routes_not_offered_say_what_to_use,
        v1_prefix_may_be_missing_or_repeated,
        preflights_allow_the_requested_headers,
        valid_request_ids_are_echoed,
        root_describes_the_server,
        head_returns_get_without_a_body,
        health_and_readiness_follow_the_session,
        health_reports_a_broken_store,
    }
    browser {
        chats_work_in_the_console,
        the_console_fits_every_person_and_screen,
        the_console_shows_the_server_and_its_accounts,
        pictures_work_in_the_console,
        foreign_pages_have_no_access_without_keys (Native: "a Worker without keys rejects every request"),
    }
    document {
        responses_conform_to_the_openapi_document,
    }
    examples {
        every_program_in_the_documents_works,
        every_route_has_an_example,
        commands_in_sentences_exist(Native: "the Worker has no command line"),
    }
    history {
        imported_browser_chats_are_continued,
        an_interrupted_import_resumes (Native: "the Worker has no command line"),
        an_import_stops_at_a_challenge_and_reports_errors (Native: "the Worker has no command line"),
    }
    pages {
        pages_are_served_with_csp_and_gzip,
        a_matching_etag_returns_304,
        unlisted_paths_are_not_served,
    }
    models {
        list_has_the_openai_shape,
        a_model_is_found_by_id_and_alias,
        list_is_cached,
        the_last_list_survives_upstream_failure_and_restart,
        without_a_list_the_upstream_error_is_returned,
        concurrent_requests_fetch_the_list_once,
        servers_sharing_a_database_fetch_the_list_once,
        a_challenge_on_the_list_starts_a_cooldown,
    }
    chat {
        a_non_streamed_answer_has_the_openai_shape,
        a_stream_sends_reasoning_before_content,
        usage_is_sent_when_requested,
        every_recorded_stream_matches_the_library_translation,
        packet_boundaries_do_not_change_the_stream,
        deltas_are_forwarded_as_they_arrive,
        deltas_are_coalesced_when_configured,
        coalescing_does_not_delay_a_fast_upstream,
        a_silent_stream_sends_heartbeats,
        stop_and_token_limit_end_the_answer_and_cancel_upstream,
        the_default_model_is_used,
        parallel_streams_do_not_mix,
    }
    messages {
        answers_have_the_anthropic_shape,
        keys_queries_and_headers_of_its_clients_are_accepted,
        answers_tell_why_they_ended,
        claude_code_runs_in_one_chat,
        results_may_be_errors_pictures_or_followed_by_text,
        text_counts_and_not_its_shape,
        pictures_and_documents_are_attached,
        structured_output_and_forced_tools_are_enforced,
        errors_have_the_anthropic_shape,
        tokens_are_counted_without_a_session,
        models_have_the_anthropic_shape_for_its_clients,
        a_silent_stream_sends_pings,
    }
    upstream {
        upstream_requests_look_like_a_browsers,
        thinking_search_and_model_are_sent_upstream,
        a_history_is_rendered_into_one_prompt,
        each_turn_is_sent_once,
        model_aliases_are_configurable,
        other_vendors_names_mean_the_default_model,
    }
    errors {
        each_recorded_error_is_returned,
        each_recorded_challenge_is_returned,
        answers_that_quote_error_texts_are_answers,
        upstream_errors_have_their_status_and_code,
        errors_creating_a_chat_have_their_status_and_code,
        transient_errors_are_retried_once,
        no_retry_after_the_first_delta,
        an_error_mid_stream_ends_it_without_done,
        truncated_streams_are_errors,
        content_inspection_mid_answer_is_a_finish_reason,
        a_challenge_stops_upstream_calls,
        a_missing_or_expired_session_returns_401,
        a_refused_session_stops_upstream_calls,
        an_idle_upstream_times_out,
        an_unreachable_upstream_returns_502,
        an_error_before_the_first_byte_timeout_is_a_status,
    }
    session {
        an_expired_token_is_refreshed_once,
        a_revoked_token_is_refreshed_and_the_request_retried,
        an_expiring_token_is_refreshed_in_the_background,
        a_rejected_refresh_ends_the_session,
        a_transient_refresh_failure_is_retried_later,
        a_refusal_without_a_renewal_passes,
        rotated_tokens_survive_a_kill (Native: "here the Worker's D1 ends with its workerd; the cases above share it between isolates"),
        the_session_check_reports_state_and_account,
        a_captcha_cooldown_is_shared,
        a_captcha_cooldown_survives_a_kill (Native: "here the Worker's D1 ends with its workerd; the case above shares it between isolates"),
        a_new_session_is_accepted_in_each_format,
        a_rejected_session_keeps_the_old_one,
        fresh_cookies_end_a_captcha_cooldown,
        session_routes_require_the_admin_key,
        with_a_session_key_only_an_encrypted_session_is_used,
        deleted_sessions_are_erased_from_disk (Native: "the Worker's database is not a file"),
    }
    accounts_upkeep {
        the_timer_looks_after_all_accounts,
        expired_chats_are_deleted_with_their_own_account,
        a_database_of_the_version_before_goes_on,
        commands_take_an_account (Native: "the Worker has no command line"),
        a_turn_costs_the_same_for_every_account (Worker: "D1 counts queries and rows"),
    }
    accounts_load {
        what_happens_to_one_account_never_touches_another,
    }
    accounts {
        a_key_uses_its_account_and_no_other,
        administrators_see_and_change_accounts,
        health_and_readiness_follow_all_accounts,
        a_deleted_account_leaves_nothing_here,
        deleting_default_goes_back_to_the_variables,
        other_servers_learn_of_accounts,
    }
    operation {
        each_request_has_one_log_line,
        metrics_count_requests_and_errors,
        data_points_are_written_to_a_bound_dataset (Worker: "the native server has metrics instead"),
        turns_wait_in_a_bounded_queue,
        a_disconnect_frees_a_place_in_the_queue,
        queued_streams_receive_heartbeats,
        clients_cannot_inject_log_lines,
        slow_links_do_not_block_other_requests,
    }
    day {
        a_day_in_fast_motion,
    }
    soak {
        weeks_in_fast_motion,
    }
    conversations {
        thirty_turns_use_one_chat_and_send_only_new_messages,
        upstream_streams_are_read_to_their_end,
        edits_and_branches_continue_from_the_right_message,
        conversations_survive_a_restart,
        conversations_are_separate_per_key_and_account,
        a_tool_loop_in_prompt_mode_stays_in_its_chat,
        a_tool_loop_in_function_mode_stays_in_its_chat,
        title_and_tag_requests_do_not_join_conversations,
        explicit_conversation_ids_take_precedence,
        session_ids_and_cache_keys_alone_lead_nowhere,
        long_histories_are_uploaded_as_a_file,
        deleted_chats_are_recreated_transparently,
        busy_chats_are_retried_then_replaced,
        concurrent_requests_of_one_conversation_do_not_mix,
        a_trimmed_history_matches_by_its_last_turn,
        a_changed_system_prompt_is_sent_again,
        an_unfinished_answer_is_not_an_anchor,
        chats_are_listed_and_deleted,
        a_locked_store_does_not_stop_chats (Native: "the Worker's D1 cannot be locked from outside"),
        a_broken_store_does_not_stop_chats,
        expired_chats_are_cleaned_up (Native: "a_scheduled_run_deletes_expired_chats covers the Worker"),
        one_run_removes_all_that_has_expired (Native: "Cloudflare limits the queries of a run"),
        a_turn_costs_few_queries_and_rows (Worker: "the native server does not count rows"),
        a_scheduled_run_deletes_expired_chats (Worker: "the native server has its own timer"),
    }
    tools {
        calls_have_the_openai_shape,
        each_form_of_a_call_is_read,
        a_native_call_is_a_call_and_stops_the_site,
        refusals_reach_no_client,
        markers_of_others_are_defused,
        names_of_the_site_are_shown_as_others,
        legacy_functions_and_custom_tools_are_understood,
        heartbeats_come_while_a_call_is_held_back,
        an_answer_that_ends_within_a_call_has_its_reason,
        a_call_that_nobody_waits_for_is_not_recorded,
        hostile_tools_are_rejected,
    }
    tool_rules {
        nothing_but_refusals_is_asked_again_once,
        a_tool_choice_is_enforced,
        a_repeated_answer_takes_the_place_of_the_first,
        without_a_choice_nothing_is_called,
        without_parallel_calls_the_first_one_ends_the_answer,
        strict_arguments_are_asked_for_once_more,
        an_unreadable_call_is_asked_for_once_more,
        a_call_in_the_thinking_is_none,
        what_is_made_up_after_calls_ends_the_answer,
    }
    tool_loops {
        thirty_steps_use_one_chat_and_send_only_news,
        a_step_costs_few_queries_and_rows (Worker: "the native server does not count rows"),
        a_native_call_is_gone_on_from_before_it,
        a_native_call_at_the_beginning_of_a_chat_begins_it_again,
        call_ids_find_a_rewritten_history,
        a_changed_catalogue_is_sent_again,
        a_large_catalogue_goes_into_a_file,
        results_are_one_message,
    }
    structured {
        an_answer_is_reduced_to_its_object,
        the_schema_is_sent_and_thinking_is_off,
        an_invalid_answer_is_asked_for_once_more,
        a_stream_passes_the_object_on_as_it_comes,
        heartbeats_come_while_prose_is_held_back,
        a_cut_object_ends_with_its_reason,
        a_call_wins_over_a_schema,
        the_answer_is_part_of_its_conversation,
        unusable_formats_are_rejected,
    }
    responses {
        responses_have_the_openai_shape,
        events_come_in_their_order,
        thinking_after_text_is_an_item_of_its_own,
        errors_amid_a_stream_are_failed_responses,
        heartbeats_are_events,
        kinds_without_a_meaning_are_ignored,
        unusable_requests_name_their_field,
        hostile_bodies_are_rejected,
        repeated_fields_do_not_break_lines,
        tools_of_each_kind_come_back_as_they_were_declared,
        structured_output_is_asked_for_by_text_format,
        a_responses_body_to_chat_completions_is_answered_with_chunks,
        input_tokens_are_estimated,
    }
    responses_store {
        a_kept_response_is_the_one_that_was_sent,
        a_response_belongs_to_its_key,
        nothing_is_kept_unless_wanted,
        input_items_are_listed_in_pages,
        kept_texts_are_encrypted (Native: "the Worker's database is not a file"),
        a_previous_response_is_gone_on_from,
        responses_branch,
        instructions_are_not_inherited,
        a_deleted_chat_is_told_again,
        a_native_call_is_gone_on_from_by_its_response,
        item_references_are_resolved,
        a_codex_run_uses_one_chat,
        a_very_long_response_is_not_kept,
        a_kept_response_costs_one_more_row (Worker: "the native server does not count rows"),
    }
    n8n {
        the_openai_node_runs_its_tools_in_one_chat,
        the_openai_nodes_options_are_accepted,
        the_openai_node_sends_pictures_and_files,
        the_chat_model_node_runs_an_agent_in_one_chat,
    }
    files {
        an_upload_returns_a_usable_file_object,
        file_types_are_detected_by_content,
        images_are_uploaded_by_form_or_multipart_up_to_their_limit,
        size_limits_are_configurable,
        failed_parts_are_retried,
        a_failed_upload_method_falls_back_to_another,
        uploads_of_disconnected_clients_are_aborted,
        a_large_upload_uses_bounded_memory,
        at_most_three_parts_are_in_flight,
        identical_content_is_uploaded_once,
        files_are_listed_retrieved_and_deleted,
        form_variants_are_accepted,
        malformed_forms_are_rejected,
        uploads_require_a_key_and_a_session,
        chunked_and_slow_uploads_work,
        upload_credentials_are_passed_through,
        a_silent_storage_times_out,
        a_broken_store_does_not_stop_uploads,
        uploads_are_not_shared_between_keys,
        expired_files_are_deleted,
    }
    attachments {
        each_kind_of_content_part_is_uploaded,
        attachments_of_one_message_keep_their_order,
        a_conversation_with_images_continues_in_its_chat,
        a_new_chat_gets_the_attachments_of_its_history,
        uploaded_files_are_attached_by_id,
        invalid_attachments_are_rejected,
        the_multimodal_route_has_its_own_default_model,
        links_are_fetched_and_uploaded,
        failing_links_return_an_error,
        links_to_private_addresses_are_rejected,
        a_disconnect_cancels_the_link_fetch,
        qwen_reverse_fastapi_examples_work,
    }
    disconnect {
        a_disconnect_before_the_headers_closes_upstream,
        a_disconnect_mid_stream_closes_upstream,
        a_disconnect_from_a_non_streamed_answer_closes_upstream,
        a_slow_reader_applies_backpressure_upstream,
    }
    hostile {
        invalid_bodies_are_rejected,
        body_size_is_limited,
        total_size_of_buffered_bodies_is_limited,
        wrong_field_types_name_the_field,
        malformed_http_requests_do_not_break_the_server,
        excessive_header_fields_are_rejected (Native: "the platform parses the request heads of Workers"),
        incomplete_request_heads_time_out (Native: "the platform parses the request heads of Workers"),
        unread_pages_use_no_memory (Native: "the platform manages the connections of Workers"),
        exhausted_descriptors_do_not_affect_open_connections (Native: "the platform manages the connections of Workers"),
        slow_and_idle_clients_do_not_affect_others (Native: "the platform manages the connections of Workers"),
    }
    lenient {
        lone_surrogates_are_accepted_in_every_text,
        lone_surrogates_match_the_replacement_character,
        conversations_of_arbitrary_text_continue,
        line_separators_do_not_split_events,
        few_shot_requests_match_no_existing_chat,
        concurrent_few_shot_requests_get_separate_chats,
        missing_attachments_of_older_turns_are_tolerated,
        empty_strings_count_as_absent,
        a_byte_order_mark_is_skipped,
        compressed_bodies_are_decoded_within_the_size_limit,
        integers_may_be_written_as_floats,
        credentials_are_accepted_in_the_formats_people_copy,
        times_in_the_system_prompt_do_not_start_a_new_chat,
        gateway_error_pages_do_not_end_the_session,
        suffixes_work_with_model_aliases,
        compressed_linked_files_are_decoded,
        tool_results_are_labelled_with_their_call,
        clock_skew_is_corrected_by_the_upstream_date,
        nonstandard_content_parts_and_paths_are_accepted,
    }
    bounds {
        bodies_of_any_shape_use_bounded_memory,
    }
    clients {
        openai_python,
        anthropic_python,
        openai_node,
        tools_of_openai_python,
        tools_of_openai_node,
        langchain,
        langchain_anthropic,
        pydantic_ai,
        instructor,
        ai_sdk,
        responses_of_openai_python,
        responses_of_openai_node,
        responses_of_agents_and_langchain,
        responses_of_the_ai_sdk,
        pictures_of_openai_python,
        pictures_of_openai_node,
        pictures_of_the_ai_sdk,
        pictures_of_chat_programs,
        videos_of_openai_python,
        videos_of_openai_node,
        second_upstream_with_openai_python,
        second_upstream_with_tools_of_openai_python,
        second_upstream_with_anthropic_python,
        second_upstream_with_langchain,
    }
    process {
        an_invalid_variable_is_named,
        listening_on_a_network_address_requires_keys (Native: "the Worker does not choose its address"),
        key_lists_without_a_key_are_rejected,
        non_utf8_variables_are_named (Native: "the variables of a Worker are always UTF-8"),
        files_with_secrets_are_private_to_the_user (Native: "the Worker has no file system"),
        env_files_are_read (Native: "the platform sets the variables of a Worker"),
        open_streams_finish_after_a_termination_signal (Native: "the platform stops Workers"),
        the_healthcheck_command_reports_health (Native: "the Worker has no command line"),
        the_check_command_reports_what_is_wrong (Native: "the Worker has no command line"),
        import_curl_stores_a_session_for_the_server (Native: "the Worker has no command line"),
        an_unwritable_database_falls_back_to_memory (Native: "the Worker has no file system"),
        http2_works_without_tls (Native: "the platform terminates HTTP/2 for Workers"),
    }
    signatures {
        the_fake_storage_rejects_any_flipped_bit (Native: "the case starts no server"),
    }
    fallback {
        each_listed_code_is_answered_by_the_second_upstream,
        each_step_at_the_site_may_fail,
        a_pause_of_the_site_is_kept,
        a_conversation_that_the_site_alone_knows_stays_there,
        other_codes_stay_the_sites,
        the_list_of_codes_is_configurable,
        nothing_is_asked_there_once_something_was_sent,
        heartbeats_do_not_rule_it_out,
        a_silent_repeat_at_the_site_comes_first,
        uploaded_files_keep_a_turn_at_the_site,
        what_the_site_makes_stays_its_own,
        a_conversation_goes_on_at_the_site,
        turns_of_the_second_upstream_are_no_turns_of_the_site,
        a_tool_loop_goes_on_elsewhere,
        a_previous_response_is_gone_on_from_either_upstream,
        a_client_that_leaves_ends_it,
    }
    second_upstream {
        a_name_leads_there,
        models_are_mapped_after_aliases_and_suffixes,
        wrong_settings_are_named,
        everything_arrives_natively,
        texts_and_pictures_keep_their_order,
        a_long_conversation_goes_whole,
        no_answer_is_asked_for_again,
        a_password_in_the_address_appears_in_no_output,
        readiness_counts_it,
        its_models_are_listed,
        a_body_of_responses_to_chat_completions_goes_there_too,
        other_attachments_arrive_as_they_are,
        choices_and_switches_arrive,
        loose_requests_become_strict_ones,
        each_form_of_a_stream_is_read,
        halves_of_characters_are_joined,
        deltas_are_passed_on_as_they_come,
        stop_texts_and_limits_end_the_answer,
        each_form_of_a_call_is_a_call,
        a_call_may_have_no_arguments,
        sampling_fields_of_other_servers_stay_here,
        other_kinds_of_tools_come_back_as_they_were_declared,
        its_refusals_have_their_status_and_code,
        errors_amid_its_stream_end_it,
        codes_amid_its_stream_are_those_of_its_refusals,
        a_silent_or_absent_upstream_is_an_error,
        what_it_sends_is_bounded,
        calls_without_an_end_have_one_here,
        silence_before_its_answer_has_heartbeats,
        it_may_have_no_key_and_a_path_of_its_own,
        log_lines_and_metrics_name_it,
        its_key_appears_in_no_output,
    }
    images {
        a_picture_is_drawn,
        fields_decide_what_is_drawn,
        wrong_fields_are_refused_before_the_site_is_asked,
        each_failure_is_one_job_and_the_right_error,
        a_challenge_or_an_ended_session_draws_nothing,
        a_lost_stream_is_looked_up,
        several_pictures_have_a_chat_each,
        equal_requests_share_a_picture,
        a_picture_outlives_its_client,
        a_restart_loses_no_picture (Native: "the harness removes the database of a stopped Worker"),
        pictures_are_edited,
        streams_send_an_event_for_each_picture,
        links_lead_to_the_picture,
        the_storage_is_asked_again,
        links_begin_with_the_servers_address,
        a_broken_store_keeps_nobody_from_drawing,
        pictures_in_chats_have_links_of_this_server,
        models_that_draw_answer_in_each_dialect,
        a_conversation_of_pictures_goes_on,
        image_models_are_listed,
        large_pictures_use_bounded_memory,
    }
    videos {
        a_video_is_made,
        fields_decide_what_is_made,
        a_picture_becomes_the_first_frame,
        a_refusal_stores_nothing,
        without_a_store_nothing_is_begun,
        a_lost_answer_is_looked_up,
        each_word_of_the_site_is_a_state,
        answers_that_say_nothing_change_nothing,
        an_ended_session_fails_no_job,
        the_site_is_asked_by_one_at_a_time,
        a_lost_task_is_looked_up_and_fails,
        a_video_that_takes_too_long_fails,
        the_bytes_are_passed_on,
        an_ended_link_is_renewed,
        jobs_are_listed_and_forgotten,
        equal_requests_share_a_job,
        a_job_outlives_its_client,
        a_restart_loses_no_job (Native: "the harness removes the database of a stopped Worker"),
        jobs_are_followed_without_a_client,
        old_jobs_are_forgotten,
        a_large_video_uses_bounded_memory,
        what_the_site_cannot_do_is_told,
    }
    fake_media {
        pictures_are_drawn (Native: "the case starts no server"),
        misuse_is_refused_and_recorded (Native: "the case starts no server"),
        pictures_fail_as_told (Native: "the case starts no server"),
        the_cdn_behaves_as_told (Native: "the case starts no server"),
        videos_are_tasks (Native: "the case starts no server"),
    }
    fake_compatible {
        it_repeats_what_it_was_asked (Native: "the case starts no server"),
        it_plays_a_model (Native: "the case starts no server"),
        it_refuses_what_official_servers_refuse (Native: "the case starts no server"),
    }
    fake_site {
        native_calls_are_refused (Native: "the case starts no server"),
        calls_have_the_forms_of_the_site (Native: "the case starts no server"),
        calls_in_the_text_become_native_ones (Native: "the case starts no server"),
        a_refused_call_stays_in_its_branch (Native: "the case starts no server"),
        chats_remember_their_steps (Native: "the case starts no server"),
        a_stop_ends_the_answer_and_frees_the_chat (Native: "the case starts no server"),
    }
    support {
        generated_forms_match_curl (Native: "the case starts no server"),
        generated_uploads_are_reproducible (Native: "the case starts no server"),
        fake_pages_behave_as_configured (Native: "the case starts no server"),
        rejected_uploads_are_answered_while_they_are_sent,
    }
}
