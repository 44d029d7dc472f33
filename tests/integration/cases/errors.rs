use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    fake_qwen::{Fake, Outcome, Row, recorded},
    http::{Reply, chat, concat_deltas, events, with},
    server::{Case, SHORT_IDLE, Server, unique},
};

/// The error code after which no upstream request is sent.
const CHALLENGE: &str = "qwen_challenge";
/// The error code after which the session is refused for a while.
const EXPIRED: &str = "qwen_session_expired";
/// The number of rows tested concurrently.
const CONCURRENCY: usize = 6;

async fn ask(server: &Server, row: &Row, how: &str, stream: bool) -> Reply {
    let prompt = format!("[[fake fail=recorded name={} {how}]]", row.name);
    server.chat(&with(chat(&prompt), json!({ "stream": stream }))).await
}

/// Checks that the client got the error of the row: as a status, or as an event if text was sent before.
fn assert_error_of_row(row: &Row, reply: &Reply, stream: bool) {
    let (name, answer) = (&row.name, row.answer.as_ref().unwrap());
    let error = if stream && !row.says.is_empty() {
        let mut events = reply.events();
        let last: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
        let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        assert_eq!(concat_deltas(&chunks, "content"), row.says, "{name}");
        last["error"].clone()
    } else {
        assert_eq!(reply.status.as_u16(), answer.status, "{name}: {reply:?}");
        let wait: Option<u64> = reply.header("retry-after").map(|wait| wait.parse().unwrap());
        // A captcha cooldown may have started some time ago.
        let slack_seconds = if answer.code == CHALLENGE { 60 } else { 0 };
        let allowed = answer.retry_after.map(|seconds| seconds - slack_seconds..=seconds);
        assert!(
            wait == answer.retry_after || wait.zip(allowed).is_some_and(|(wait, allowed)| allowed.contains(&wait)),
            "{name}: {wait:?}"
        );
        assert_eq!(reply.header("x-should-retry"), answer.x_should_retry.as_deref(), "{name}");
        reply.error(answer.status, &answer.code)
    };
    assert_eq!(error["code"], answer.code.as_str(), "{name}: {reply:?}");
    assert_eq!(error.get("verify_url").and_then(Value::as_str), answer.verify_url.as_deref(), "{name}");
    assert!(error["message"].as_str().unwrap().len() < 500, "{name}");
}

pub async fn each_recorded_error_is_returned(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let rows = recorded().into_iter().filter(|row| row.answer.as_ref().is_some_and(|answer| answer.code != CHALLENGE));
    let checks = futures::stream::iter(rows).map(|row| {
        let (case, shared) = (Arc::clone(&case), Arc::clone(&server));
        async move {
            let ends_session = row.answer.as_ref().is_some_and(|answer| answer.code == EXPIRED);
            for stream in [false, true] {
                // A session that the site refused is not tried again at once: each such row has an account of its own.
                let server = if ends_session { case.start(&[]).await } else { Arc::clone(&shared) };
                assert_error_of_row(&row, &ask(&server, &row, "", stream).await, stream);
                if ends_session {
                    server.stop().await;
                }
            }
        }
    });
    assert!(checks.buffer_unordered(CONCURRENCY).count().await > 50);
}

pub async fn each_recorded_challenge_is_returned(case: Arc<Case>) {
    let rows = recorded().into_iter().filter(|row| row.answer.as_ref().is_some_and(|answer| answer.code == CHALLENGE));
    let checks = futures::stream::iter(rows).map(|row| {
        let case = Arc::clone(&case);
        async move {
            let fake = Fake::start();
            let server = case.start_with(&fake, &[]).await;
            if row.says.is_empty() {
                // Both are in flight before the first is answered; later requests are not sent upstream.
                let (whole, stream) =
                    tokio::join!(ask(&server, &row, "first_ms=300", false), ask(&server, &row, "first_ms=300", true));
                assert_error_of_row(&row, &whole, false);
                assert_error_of_row(&row, &stream, true);
            } else {
                assert_error_of_row(&row, &ask(&server, &row, "", true).await, true);
            }
            let request_count = fake.requests().len();
            assert_error_of_row(&row, &ask(&server, &row, "", false).await, false);
            assert_eq!(fake.requests().len(), request_count, "{}: a request was sent upstream", row.name);
            server.stop().await;
        }
    });
    assert!(checks.buffer_unordered(CONCURRENCY).count().await > 10);
}

pub async fn answers_that_quote_error_texts_are_answers(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let mut tested = 0;
    for row in recorded().into_iter().filter(|row| row.answer.is_none()) {
        let finish = row.finish_reason.as_deref().unwrap_or("stop");
        for how in ["", "split=0", "split=1", "split=7", "split=61"] {
            let whole = ask(&server, &row, how, false).await.json();
            let choice = &whole["choices"][0];
            assert_eq!(choice["message"]["content"], row.says.as_str(), "{} {how}: {whole}", row.name);
            assert_eq!(choice["finish_reason"], finish, "{} {how}", row.name);
            let chunks = ask(&server, &row, how, true).await.chunks();
            assert_eq!(concat_deltas(&chunks, "content"), row.says, "{} {how}", row.name);
            assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], finish, "{} {how}", row.name);
        }
        tested += 1;
    }
    assert!(tested > 5);
    assert_eq!(server.get("/health").await.json()["session"]["state"], "valid", "an answer was taken for an error");
}

pub async fn upstream_errors_have_their_status_and_code(case: Arc<Case>) {
    let server = case.server().await;
    for (fail, status, code, wait) in [
        ("rate_limited num=3", 429, "quota_exceeded", Some("10800")),
        ("rate_limited_busy", 429, "rate_limit_exceeded", Some("30")),
        ("parallel_limited", 429, "rate_limit_exceeded", Some("30")),
        ("quota_exhausted", 429, "quota_exceeded", Some("3600")),
        ("http_429", 429, "rate_limit_exceeded", None),
        ("bad_request", 502, "upstream_error", None),
        ("validation", 400, "upstream_rejected", None),
        ("internal_error", 502, "upstream_error", None),
        ("in_progress", 429, "rate_limit_exceeded", Some("5")),
        ("model_not_found", 404, "model_not_found", None),
        ("invalid_file", 400, "upstream_rejected", None),
        ("data_inspection", 400, "content_filter", None),
        ("http_500", 502, "upstream_error", None),
        ("bad_gateway_html", 502, "upstream_error", None),
        ("empty", 502, "upstream_empty", None),
        ("empty_json", 502, "upstream_empty", None),
        ("empty_body", 502, "upstream_empty", None),
        ("created_only", 502, "upstream_empty", None),
        ("html_login", 502, "upstream_invalid", None),
        ("bare_error", 502, "upstream_error", None),
        ("error_before", 502, "upstream_error", None),
        ("error_created", 502, "upstream_error", None),
        ("error_before code=invalid_input", 400, "upstream_rejected", None),
        ("error_before code=quota_limit", 429, "quota_exceeded", None),
        ("error_before code=data_inspection_failed", 400, "content_filter", None),
    ] {
        for stream in [false, true] {
            let request = with(chat(&format!("[[fake fail={fail}]]")), json!({ "stream": stream }));
            let reply = server.chat(&request).await;
            reply.error(status, code);
            if wait.is_some() {
                assert_eq!(reply.header("retry-after"), wait, "{fail}");
            }
            assert_eq!(reply.headers.contains_key("retry-after"), status == 429, "{fail}");
            // SDKs would retry long before that.
            let is_final = code == "quota_exceeded";
            assert_eq!(reply.header("x-should-retry"), is_final.then_some("false"), "{fail}");
        }
    }
}

pub async fn errors_creating_a_chat_have_their_status_and_code(case: Arc<Case>) {
    let server = case.server().await;
    for (fail, status, code) in [
        ("rate_limited", 429, "quota_exceeded"),
        ("http_500", 502, "upstream_error"),
        ("bad_gateway_html", 502, "upstream_error"),
        ("empty_json", 502, "upstream_empty"),
        ("html_login", 502, "upstream_invalid"),
        ("model_not_found", 404, "model_not_found"),
    ] {
        let reply = server.chat(&with(chat("hi"), json!({ "model": format!("fake-new-chat.{fail}") }))).await;
        reply.error(status, code);
    }
    let model = format!("fake-new-chat.http_500.times1.{}", unique("retry"));
    assert_eq!(server.chat(&with(chat("hi"), json!({ "model": model }))).await.status, 200, "one retry succeeds");
}

pub async fn transient_errors_are_retried_once(case: Arc<Case>) {
    let server = case.server().await;
    for fail in [
        "fail=empty",
        "fail=empty_json",
        "fail=bad_gateway_html",
        "fail=http_500",
        "fail=created_only",
        "fail=html_login",
        "fail=chat_not_found",
        "fail=in_progress",
        "reset=1",
        "cut=150",
    ] {
        for stream in [false, true] {
            let marker = unique("repeat");
            let prompt = format!("[[fake {fail} times=1 id={marker} say=healed]]");
            let reply = server.chat(&with(chat(&prompt), json!({ "stream": stream }))).await;
            let text = if stream {
                concat_deltas(&reply.chunks(), "content")
            } else {
                reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
            };
            assert_eq!(text, "healed", "{fail}");
            let requests = case.fake.requests_containing(&marker);
            assert_eq!(requests.len(), 2, "{fail}");
            assert_ne!(
                requests[0].json()["chat_id"],
                requests[1].json()["chat_id"],
                "{fail}: the retry uses a new chat"
            );
        }
    }
    for fail in ["rate_limited", "rate_limited_busy", "data_inspection", "invalid_file", "model_not_found"] {
        let marker = unique("once");
        let reply = server.chat(&chat(&format!("[[fake fail={fail} times=1 id={marker}]]"))).await;
        assert_ne!(reply.status, 200, "{fail}");
        assert_eq!(case.fake.requests_containing(&marker).len(), 1, "{fail} must not be retried");
    }
}

pub async fn no_retry_after_the_first_delta(case: Arc<Case>) {
    let server = case.server().await;
    let marker = unique("sent");
    let prompt = format!("[[fake fail=error_amid times=1 id={marker} say=one%20two%20three%20four delay_ms=20]]");
    let reply = server.chat(&with(chat(&prompt), json!({ "stream": true }))).await;
    assert!(reply.text().contains("\"error\""));
    assert_eq!(case.fake.requests_containing(&marker).len(), 1);
}

pub async fn an_error_mid_stream_ends_it_without_done(case: Arc<Case>) {
    let server = case.server().await;
    for (fail, code) in [
        ("error_amid", "upstream_error"),
        ("error_amid_bare", "upstream_error"),
        ("error_after", "upstream_error"),
        ("error_amid code=quota_limit", "quota_exceeded"),
        ("error_amid code=rate_limited", "rate_limit_exceeded"),
    ] {
        let prompt = format!("[[fake stream=count n=6 fail={fail}]]");
        let reply = server.chat(&with(chat(&prompt), json!({ "stream": true, "enable_thinking": false }))).await;
        assert_eq!(reply.status, 200);
        let events = events(&reply.text());
        let error: serde_json::Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], code, "{fail}");
        assert!(events.len() > 2 && !events.iter().any(|event| event == "[DONE]"), "{fail}");
        assert!(events.iter().all(|event| !event.contains("\"finish_reason\":\"")), "{fail}: a finish reason was sent");
    }
}

pub async fn truncated_streams_are_errors(case: Arc<Case>) {
    let server = case.server().await;
    for cut in ["cut", "cut_clean"] {
        for at in [900, 1_200, 1_500, 2_000] {
            let prompt = format!("[[fake stream=count n=50 {cut}={at}]]");
            let request = with(chat(&prompt), json!({ "enable_thinking": false }));
            let whole = server.chat(&request).await;
            whole.error(502, "upstream_truncated");
            let reply = server.chat(&with(request, json!({ "stream": true }))).await;
            if reply.status == 200 {
                let events = events(&reply.text());
                assert!(events.last().unwrap().contains("\"upstream_truncated\""), "{cut}={at}: {events:?}");
            } else {
                reply.error(502, "upstream_truncated");
            }
        }
    }
}

pub async fn content_inspection_mid_answer_is_a_finish_reason(case: Arc<Case>) {
    let server = case.server().await;
    let prompt = "[[fake stream=count n=6 fail=error_amid code=data_inspection_failed]]";
    let request = with(chat(prompt), json!({ "enable_thinking": false }));
    let chunks = server.chat(&with(request.clone(), json!({ "stream": true }))).await.chunks();
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "content_filter");
    assert!(!concat_deltas(&chunks, "content").is_empty());
    assert_eq!(server.chat(&request).await.json()["choices"][0]["finish_reason"], "content_filter");
}

pub async fn a_challenge_stops_upstream_calls(case: Arc<Case>) {
    for (fail, cooldown_seconds) in [("waf_json", 120), ("waf_html", 600), ("waf_redirect", 120)] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let first = server.chat(&chat(&format!("[[fake fail={fail}]]"))).await;
        let error = first.error(403, "qwen_challenge");
        assert!(error["verify_url"].as_str().unwrap().starts_with("http"), "{error}");
        assert_eq!(
            (first.header("x-should-retry"), first.header("retry-after")),
            (Some("false"), Some(cooldown_seconds.to_string().as_str())),
            "{fail}"
        );
        let before = fake.requests().len();
        for stream in [false, true] {
            let again = server.chat(&with(chat("hi"), json!({ "stream": stream }))).await;
            assert_eq!(again.error(403, "qwen_challenge")["verify_url"], error["verify_url"]);
            let seconds_left: u64 = again.header("retry-after").unwrap().parse().unwrap();
            assert!((cooldown_seconds - 60..=cooldown_seconds).contains(&seconds_left), "{fail}: {seconds_left}");
        }
        for path in ["/v1/models", "/v1/models/qwen3", "/health", "/ready"] {
            server.get(path).await;
        }
        assert_eq!(fake.requests().len(), before, "{fail}: a request was sent upstream");
        let health = server.get("/health").await.json();
        assert_eq!(
            (health["session"]["state"].as_str(), health["status"].as_str()),
            (Some("challenged"), Some("unhealthy"))
        );
        assert_eq!(server.get("/ready").await.status, 503);
    }
}

pub async fn a_missing_or_expired_session_returns_401(case: Arc<Case>) {
    let expired = Fake::token("ended", -5);
    let revoked = Fake::token(&unique("revoked"), 5_000);
    case.fake.revoke(&revoked);
    for (cookies, code) in [
        (String::new(), "qwen_session_missing"),
        (format!("token={expired}"), "qwen_session_expired"),
        (format!("token={revoked}"), "qwen_session_expired"),
    ] {
        let server = case.start(&[("QWEN_COOKIES", &cookies)]).await;
        for stream in [false, true] {
            let reply = server.chat(&with(chat("hi"), json!({ "stream": stream }))).await;
            reply.error(401, code);
            assert_eq!(reply.header("x-should-retry"), Some("false"));
        }
        assert_eq!(server.get("/ready").await.status, 503);
        assert_eq!(server.get("/v1/models").await.status, 200, "the model list needs no session");
    }
}

pub async fn a_refused_session_stops_upstream_calls(case: Arc<Case>) {
    for fail in ["fail=unauthorized", "fail=recorded name=session_401_empty", "fail=recorded name=stream_unauthorized"]
    {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        server.chat(&chat(&format!("[[fake {fail}]]"))).await.error(401, EXPIRED);
        let before = fake.requests().len();
        // Codex sends a refused request six times within seven seconds.
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            for stream in [false, true] {
                let fields = json!({ "stream": stream, "input": "hi" });
                let again = server.post(path, &with(chat("hi"), fields)).await;
                assert_eq!((again.status.as_u16(), again.header("x-should-retry")), (401, Some("false")), "{fail}");
                assert_eq!(again.json()["error"]["code"], EXPIRED, "{fail}");
            }
        }
        assert_eq!(fake.requests().len(), before, "{fail}: a request was sent upstream");
    }
}

pub async fn an_idle_upstream_times_out(case: Arc<Case>) {
    let server = case.start(&[SHORT_IDLE, ("FIRST_BYTE_SECONDS", "30")]).await;
    for (prompt, stream) in
        [("[[fake hang=1]]", false), ("[[fake hang=1]]", true), ("[[fake stall=1]]", false), ("[[fake stall=1]]", true)]
    {
        let marker = unique("idle");
        let request = with(chat(&format!("{prompt} {marker}")), json!({ "stream": stream }));
        server.chat(&request).await.error(504, "upstream_timeout");
        super::chat::wait_until_closed_by_us(&case, &marker, 1).await;
    }
    let request = with(chat("[[fake stream=count n=9 stall=4]]"), json!({ "stream": true, "enable_thinking": false }));
    let reply = server.chat(&request).await;
    assert_eq!(reply.status, 200);
    assert!(events(&reply.text()).last().unwrap().contains("\"upstream_timeout\""));
}

pub async fn an_unreachable_upstream_returns_502(case: Arc<Case>) {
    // A port that was just closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = case.start(&[("QWEN_BASE_URL", &format!("http://{closed}"))]).await;
    server.chat(&chat("hi")).await.error(502, "upstream_error");
    server.get("/v1/models").await.error(502, "upstream_error");
}

pub async fn an_error_before_the_first_byte_timeout_is_a_status(case: Arc<Case>) {
    let server = case.start(&[("FIRST_BYTE_SECONDS", "30")]).await;
    let request = with(chat("[[fake first_ms=1500 fail=data_inspection]]"), json!({ "stream": true }));
    server.chat(&request).await.error(400, "content_filter");
    // After the first-byte timeout the status is 200 and the error is an event.
    let impatient = case.start(&[("FIRST_BYTE_SECONDS", "1")]).await;
    let marker = unique("late");
    let request = with(chat(&format!("[[fake first_ms=3000 status=500 id={marker}]]")), json!({ "stream": true }));
    let reply = impatient.chat(&request).await;
    assert_eq!(reply.status, 200);
    assert!(events(&reply.text()).last().unwrap().contains("\"upstream_error\""));
    assert!(case.fake.requests_containing(&marker).iter().all(|request| request.outcome() != Outcome::Pending));
}
