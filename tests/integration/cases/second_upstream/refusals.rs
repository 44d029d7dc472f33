//! Its refusals and its silence.

use std::sync::Arc;

use serde_json::json;

use super::{alone, oslo};
use crate::{
    cases::dialects::{ALL, assert_upstream, weather},
    fake_compatible::{Compatible, KEY},
    http::{eventually, with},
    server::{Case, SHORT_IDLE, unique},
};

/// What it refuses, or says instead of an answer: the statuses and codes that a client may get, the first being the likeliest.
const REFUSALS: &[(&str, &[(u16, &str)])] = &[
    ("bad_field", &[(400, "upstream_rejected")]),
    ("context_length", &[(400, "upstream_rejected")]),
    ("studio_length", &[(400, "upstream_rejected")]),
    ("unprocessable", &[(400, "upstream_rejected")]),
    ("content_filter", &[(400, "content_filter")]),
    ("studio_inspection", &[(400, "content_filter")]),
    // Model Studio says with a 400 that the account is not in good standing.
    ("studio_arrearage", &[(429, "quota_exceeded"), (502, "fallback_refused"), (400, "upstream_rejected")]),
    ("studio_throttled retry_after=7", &[(429, "rate_limit_exceeded")]),
    ("studio_key", &[(502, "fallback_refused")]),
    ("key", &[(502, "fallback_refused")]),
    ("forbidden", &[(502, "fallback_refused")]),
    ("forbidden_html", &[(502, "fallback_refused")]),
    ("no_credit", &[(429, "quota_exceeded"), (502, "fallback_refused"), (400, "upstream_rejected")]),
    ("no_model", &[(404, "model_not_found")]),
    ("no_route", &[(502, "upstream_error"), (502, "upstream_invalid"), (404, "model_not_found")]),
    ("too_large", &[(413, "request_too_large")]),
    ("too_large_html", &[(413, "request_too_large")]),
    ("rate retry_after=7", &[(429, "rate_limit_exceeded")]),
    ("rate", &[(429, "rate_limit_exceeded")]),
    ("quota", &[(429, "quota_exceeded")]),
    ("internal", &[(502, "upstream_error")]),
    ("gateway", &[(502, "upstream_error"), (502, "upstream_invalid")]),
    ("unavailable", &[(502, "upstream_error"), (503, "upstream_overloaded")]),
    ("overloaded", &[(502, "upstream_error"), (503, "upstream_overloaded")]),
    ("ok_error", &[(502, "upstream_error")]),
    ("ok_rate", &[(429, "rate_limit_exceeded")]),
    ("ok_html", &[(502, "upstream_invalid"), (502, "upstream_error")]),
    ("ok_empty", &[(502, "upstream_empty"), (502, "upstream_invalid")]),
    ("ok_no_choices", &[(502, "upstream_empty"), (502, "upstream_invalid")]),
    ("ok_no_bytes", &[(502, "upstream_empty")]),
    ("ok_only_done", &[(502, "upstream_empty")]),
    ("redirect", &[(502, "upstream_error"), (502, "upstream_invalid")]),
    ("secret", &[(400, "upstream_rejected")]),
    ("secret_words", &[(502, "upstream_error")]),
];

pub async fn its_refusals_have_their_status_and_code(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[("QWEN_COOKIES", "")]).await;
    for (fail, expected) in REFUSALS {
        for (dialect, stream) in ALL {
            // As a fall-back, and by its name.
            for model in ["qwen3-max", "api:second-large"] {
                let marker = unique("refused");
                let prompt = format!("{marker} [[api fail={fail}]]");
                let request = with(dialect.question(&prompt), json!({ "model": model }));
                let reply = dialect.ask(&server, &request, stream).await;
                assert_upstream(&reply, "fallback");
                let (status, code, message) = dialect.error(&reply);
                assert!(expected.contains(&(status, code.as_str())), "{fail}: {status} {code}: {message}");
                assert!(message.starts_with("127.0.0.1"), "{fail}: no host before {message:?}");
                assert!(!message.contains("sk-") && !reply.text().contains(KEY), "{fail}: {reply:?}");
                if fail.contains("retry_after") {
                    assert_eq!(reply.header("retry-after"), Some("7"), "{fail}");
                }
                if code == "quota_exceeded" {
                    assert_eq!(reply.header("x-should-retry"), Some("false"), "{fail}");
                }
                second.asked_once(&marker);
            }
        }
    }
    let elsewhere = second.requests().iter().filter(|request| request.path_and_query == "/elsewhere").count();
    assert_eq!(elsewhere, 0, "a redirect was followed, with the key");
    let log = server.log().await.join("\n");
    assert!(!log.contains(KEY), "the key is in the log");
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn errors_amid_its_stream_end_it(case: Arc<Case>) {
    let (second, server) = alone(&case, &[SHORT_IDLE]).await;
    for (form, code) in [
        ("error=openai", "upstream_error"),
        ("error=choices", "upstream_error"),
        ("error=text", "upstream_error"),
        ("error=openrouter", "rate_limit_exceeded"),
        ("error=secret", "upstream_error"),
        ("cut=700", "upstream_truncated"),
        ("cut_clean=700", "upstream_truncated"),
        ("stall=3", "upstream_timeout"),
        ("finish=insufficient_system_resource", "upstream_error"),
    ] {
        for (dialect, stream) in ALL {
            // As the first thing, it is a status.
            for is_first in [false, true] {
                if is_first && !form.starts_with("error") {
                    continue;
                }
                let marker = unique("amid");
                let at = if is_first { "error_at=0" } else { "error_at=3" };
                let prompt = format!("{marker} [[api say=One%20two%20three%20four {form} {at}]]");
                let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
                let (status, got, message) = dialect.error(&reply);
                assert_eq!(got, code, "{dialect:?} {form} {at}: {reply:?}");
                assert_eq!(status == 200, stream && !is_first, "{form}: {reply:?}");
                assert!(!reply.text().contains(KEY) && !message.contains("sk-"), "{form}: {reply:?}");
                if stream && !is_first {
                    assert!(reply.text().contains("One"), "what came before: {reply:?}");
                }
                second.asked_once(&marker);
            }
        }
    }
    // Inspection after text ends an answer as it does at the site.
    for (dialect, stream) in ALL {
        let prompt = "[[api say=One%20two%20three%20four error=filter error_at=3]]";
        let seen = dialect.read(&dialect.ask(&server, &dialect.question(prompt), stream).await);
        assert_eq!((seen.text.as_str(), seen.finish.as_str()), ("One two ", "content_filter"));
    }
    // What has calls that are not whole has none.
    for (dialect, stream) in ALL {
        let prompt = format!("[[api call=get_weather args={} cut_clean=1000]]", oslo());
        let question = with(dialect.question(&prompt), json!({ "tools": [weather(dialect)] }));
        let reply = dialect.ask(&server, &question, stream).await;
        assert_eq!(dialect.error(&reply).1, "upstream_truncated", "{reply:?}");
    }
    assert!(!server.log().await.join("\n").contains(KEY), "the key is in the log");
}

/// An error object has the same meaning in a stream that it has with a status.
pub async fn codes_amid_its_stream_are_those_of_its_refusals(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let mut wrong = Vec::new();
    for (form, status, code) in [
        ("studio", 429, "rate_limit_exceeded"),
        ("rate", 429, "rate_limit_exceeded"),
        ("quota", 429, "quota_exceeded"),
        ("filter", 400, "content_filter"),
        ("model", 404, "model_not_found"),
    ] {
        for (dialect, stream) in ALL {
            let marker = unique("code");
            let prompt = format!("{marker} [[api say=x error={form} error_at=0]]");
            let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
            let (got, kind, _) = dialect.error(&reply);
            if (got, kind.as_str()) != (status, code) {
                wrong.push(format!("{form} in {dialect:?}: {got} {kind} instead of {status} {code}"));
            }
            second.asked_once(&marker);
        }
    }
    assert_eq!(wrong, [""; 0]);
}

pub async fn a_silent_or_absent_upstream_is_an_error(case: Arc<Case>) {
    // A port that was just closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/v1");
    let settings = [("FALLBACK_BASE_URL", url.as_str()), ("FALLBACK_API_KEY", KEY), ("FALLBACK_ON", "always")];
    let absent = case.start(&settings).await;
    let (second, server) = alone(&case, &[SHORT_IDLE]).await;
    for (dialect, stream) in ALL {
        for (server, directive, expected) in [
            (&absent, "say=x", (502, "upstream_error")),
            (&server, "reset=1", (502, "upstream_error")),
            (&server, "hang=1", (504, "upstream_timeout")),
            (&server, "stall=0", (504, "upstream_timeout")),
        ] {
            let marker = unique("absent");
            let prompt = format!("{marker} [[api {directive}]]");
            let reply = dialect.ask(server, &dialect.question(&prompt), stream).await;
            let (status, code, message) = dialect.error(&reply);
            assert_eq!((status, code.as_str()), expected, "{directive}: {reply:?}");
            assert!(message.starts_with("127.0.0.1"), "{message}");
            assert_upstream(&reply, "fallback");
            let asked = second.asked_with(&marker);
            assert!(asked.len() <= 1, "{directive}: asked {} times", asked.len());
            for asked in asked {
                eventually("it is left", || async {
                    asked.request.outcome() != crate::fake_compatible::Outcome::Pending
                        && asked.request.outcome() != crate::fake_compatible::Outcome::Answered
                })
                .await;
            }
        }
    }
}
