//! When the second upstream is asked, on the virtual clock.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Answer, Attachments, Second, ToolRules, WholeTurn,
    engine_tests::{
        STREAM, TIMING, broken, created, delta, end, event, json, owner, pieces, prepared_with, refusal, seconds,
        services, stream,
    },
    test_requests::request,
};
use crate::{
    api::openai::chat_completions::ChatDelivery,
    config::{Fallback, FallbackAfter},
    error::ErrorKind,
    platform::{Clock as _, FetchError, FetchErrorKind, FetchResponse, Payload, testing::Sim},
    store::MIGRATIONS,
    upstream::{Upstream, compatible},
};

const BODY: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

/// An answer of the second upstream.
fn paid(word: &str) -> FetchResponse {
    let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"{word}"}},"finish_reason":null}}]}}"#);
    let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    stream([event(Duration::ZERO, &chunk), event(Duration::ZERO, last), event(Duration::ZERO, "[DONE]")])
}

/// Two upstreams that answer as these say, however often they are asked.
fn upstreams(
    site: impl Fn() -> Result<FetchResponse, FetchError> + Send + 'static,
    second: impl Fn() -> Result<FetchResponse, FetchError> + Send + 'static,
) -> Sim {
    Sim::answering(move |request: &http::Request<Payload>, _| match (request.uri().host(), request.uri().path()) {
        (Some("second.test"), "/v1/chat/completions") => second(),
        (_, "/api/v2/chats/new") => Ok(json(200, r#"{"success":true,"data":{"id":"new-chat"}}"#)),
        (_, "/api/v2/chat/completions") => site(),
        (_, "/api/v2/chat/stop") => Ok(json(200, "{}")),
        (_, path) => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS)
}

fn second(after: FallbackAfter) -> Second {
    let base_url = "https://second.test/v1".to_owned();
    let config = Fallback { base_url, api_key: None, models: [].into(), after: after.clone() };
    let mut request = request(BODY);
    let messages = Arc::new(std::mem::take(&mut request.messages));
    let attachments = Attachments::default();
    let whole = WholeTurn::new(&request, (&messages, &attachments), (None, false), (false, true)).unwrap();
    Second {
        upstream: Upstream::Compatible(Arc::new(compatible::Client::new(&config, seconds(120)))),
        model: "paid".to_owned(),
        whole: Arc::new(whole),
        rules: ToolRules::new(&request, "", |name| name.into()),
        is_only: after == FallbackAfter::Always,
        after,
    }
}

fn after(codes: &[&'static str]) -> FallbackAfter {
    FallbackAfter::Codes(codes.to_vec())
}

async fn asked(platform: &Sim, delivery: ChatDelivery, after: FallbackAfter) -> Answer<Sim> {
    let second = Some(second(after));
    prepared_with(platform, &services(), owner(), request(BODY), delivery, (TIMING, second)).await
}

/// How often the second upstream was asked.
fn times(platform: &Sim) -> usize {
    platform.requests().iter().filter(|request| request.uri().host() == Some("second.test")).count()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_code_leads_to_the_second_upstream_where_it_is_listed() {
    let quota = || Ok(refusal("quotaLimited", "Allocated quota exceeded"));
    let fault = || Ok(json(500, r#"{"message":"internal"}"#));
    let unreachable = || Err(FetchError { kind: FetchErrorKind::Connect, detail: "refused".to_owned() });
    let slow = || Err(FetchError { kind: FetchErrorKind::Timeout, detail: "late".to_owned() });
    let ended = || Ok(json(401, r#"{"message":"Unauthorized"}"#));
    let silent = || Ok(stream([created(), delta(seconds(500), "late"), end(Duration::ZERO)]));
    let empty = || Ok(stream([created()]));
    type Site = fn() -> Result<FetchResponse, FetchError>;
    let table: [(&'static str, Site); 7] = [
        ("quota_exceeded", quota),
        ("upstream_error", fault),
        ("upstream_error", unreachable),
        ("upstream_timeout", slow),
        ("qwen_session_expired", ended),
        // The status line of a stream, and heartbeats, have gone out before that.
        ("upstream_timeout", silent),
        ("upstream_empty", empty),
    ];
    for (code, site) in table {
        let is_late = |platform: &Sim| platform.elapsed() >= TIMING.first_byte;
        for delivery in [ChatDelivery::WHOLE, STREAM] {
            let is_stream = delivery.is_stream;
            let platform = upstreams(site, || Ok(paid("paid")));
            let mut answer = asked(&platform, delivery, after(&[code])).await;
            let got = if is_stream {
                answer.head().await.unwrap();
                let name = answer.upstream_name();
                let all: String = pieces(&platform, answer).await.into_iter().map(|(_, piece)| piece).collect();
                (all, name)
            } else {
                let whole = answer.whole().await.unwrap();
                (text(&whole), answer.upstream_name())
            };
            let known = if is_stream && is_late(&platform) { None } else { Some("fallback") };
            assert!(got.0.contains("paid") && got.1 == known, "{code}: {got:?}");
            assert_eq!(times(&platform), 1, "{code}");
            // Not listed, it stays the client's.
            let platform = upstreams(site, || Ok(paid("paid")));
            let mut answer = asked(&platform, delivery, after(&["content_filter"])).await;
            let error = if is_stream { answer.head().await.err() } else { answer.whole().await.err() };
            match error {
                Some(error) => assert_eq!((error.kind().code(), error.upstream()), (code, Some("qwen"))),
                None => assert!(is_late(&platform), "{code}"),
            }
            assert_eq!(times(&platform), 0, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_upstream_is_told_and_nobody_is_asked_again() {
    for delivery in [ChatDelivery::WHOLE, STREAM] {
        let is_stream = delivery.is_stream;
        let quota = || Ok(refusal("quotaLimited", "Allocated quota exceeded"));
        let platform = upstreams(quota, || Ok(json(401, r#"{"error":{"message":"no"}}"#)));
        let mut answer = asked(&platform, delivery, after(&["quota_exceeded"])).await;
        let error = if is_stream { answer.head().await.unwrap_err() } else { answer.whole().await.unwrap_err() };
        assert_eq!((error.kind(), error.upstream()), (ErrorKind::FallbackRefused, Some("fallback")));
        assert_eq!(times(&platform), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn alone_it_is_asked_and_the_site_is_not() {
    let platform = upstreams(|| panic!("the site was asked"), || Ok(paid("paid")));
    let mut answer = asked(&platform, ChatDelivery::WHOLE, FallbackAfter::Always).await;
    let whole = text(&answer.whole().await.unwrap());
    assert!(whole.contains("paid") && whole.contains("\"completion_tokens\":2"), "{whole}");
    assert_eq!((answer.upstream_name(), platform.requests().len()), (Some("fallback"), 1));
}

/// What the site does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Say(u64),
    Break(u64),
    End(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = 0..150_u64;
    let step = prop_oneof![
        4 => wait.clone().prop_map(Step::Say),
        1 => wait.clone().prop_map(Step::Break),
        1 => wait.prop_map(Step::End),
    ];
    proptest::collection::vec(step, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the site does: who has got a byte of the site gets none of the second upstream, which is asked once at most.
    #[test]
    fn nobody_else_is_asked_once_a_byte_went_out(script in steps(), is_stream: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wait = |at: u64| Duration::from_secs(at);
            let sent = script.clone();
            let site = move || {
                let piece = |step: &Step| match *step {
                    Step::Say(at) => delta(wait(at), "free"),
                    Step::Break(at) => broken(wait(at)),
                    Step::End(at) => end(wait(at)),
                };
                Ok(stream([created()].into_iter().chain(sent.iter().map(piece))))
            };
            let codes = after(&["upstream_error", "upstream_timeout", "upstream_truncated", "upstream_empty"]);
            let platform = upstreams(site, || Ok(paid("paid")));
            let delivery = if is_stream { STREAM } else { ChatDelivery::WHOLE };
            let mut answer = asked(&platform, delivery, codes).await;
            let (got, name) = if is_stream {
                answer.head().await.unwrap();
                let name = answer.upstream_name();
                let all: Vec<Bytes> = pieces(&platform, answer).await.into_iter().map(|(_, piece)| piece.into()).collect();
                (text(&all.concat()), name)
            } else {
                let whole = answer.whole().await.unwrap();
                (text(&whole), answer.upstream_name())
            };
            let (has_free, has_paid) = (got.contains("free"), got.contains("paid"));
            prop_assert!(!(has_free && has_paid), "{script:?}: {got}");
            prop_assert_eq!(times(&platform), usize::from(has_paid), "{:?}: {}", script, got);
            prop_assert!(name.is_none_or(|name| (name == "fallback") == has_paid), "{script:?}: {name:?} {got}");
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_its_end_is_whole_whatever_follows() {
    let word = r#"{"choices":[{"delta":{"content":"paid"},"finish_reason":null}]}"#;
    let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    for late in [broken(Duration::ZERO), event(seconds(500), "[DONE]")] {
        for delivery in [ChatDelivery::WHOLE, STREAM] {
            let is_stream = delivery.is_stream;
            let piece = match &late {
                (pause, Ok(bytes)) => (*pause, Ok(bytes.clone())),
                (pause, Err(error)) => (*pause, Err(error.clone())),
            };
            let rest = std::sync::Mutex::new(Some(piece));
            let answers = move || {
                let rest = rest.lock().unwrap().take();
                Ok(stream([event(Duration::ZERO, word), event(Duration::ZERO, last)].into_iter().chain(rest)))
            };
            let platform = upstreams(|| panic!("the site was asked"), answers);
            let mut answer = asked(&platform, delivery, FallbackAfter::Always).await;
            let got = if is_stream {
                answer.head().await.unwrap();
                pieces(&platform, answer).await.into_iter().map(|(_, piece)| piece).collect()
            } else {
                text(&answer.whole().await.unwrap())
            };
            assert!(got.contains("paid") && got.contains("\"finish_reason\":\"stop\""), "{got}");
            assert_eq!(got.contains("[DONE]"), is_stream, "{got}");
        }
    }
}
