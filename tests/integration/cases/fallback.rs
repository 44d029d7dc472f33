//! When the second upstream is asked, and what the site is told afterwards.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    agent::{newest_answer, says, turns, weather_text},
    dialects::{ALL, Dialect, assert_upstream, weather},
    files::fixture,
    images::LOOPBACK,
    response_reader::{Response, post, request},
};
use crate::{
    fake_compatible::Compatible,
    fake_qwen::{Fake, encoded, steps},
    form::Form,
    http::{Reply, eventually, with},
    server::{Case, KEY, SHORT_IDLE, Server, unique},
};

/// The site's quota is used up, and the second upstream says this.
fn quota(directive: &str) -> String {
    format!("[[fake fail=rate_limited num=3]] [[api {directive}]]")
}

/// Checks that an answer is this text of the second upstream.
#[track_caller]
fn assert_fallback(dialect: Dialect, reply: &Reply, text: &str) {
    assert_eq!(dialect.read(reply).text, text, "{reply:?}");
    assert_upstream(reply, "fallback");
}

/// Checks that an answer is this error of the site.
#[track_caller]
fn assert_refused_by_site(dialect: Dialect, reply: &Reply, status: u16, code: &str) {
    let (got, kind, _) = dialect.error(reply);
    assert_eq!((got, kind.as_str()), (status, code), "{reply:?}");
    assert_upstream(reply, "qwen");
}

pub async fn each_listed_code_is_answered_by_the_second_upstream(case: Arc<Case>) {
    let expired = format!("token={}", Fake::token("ended", -5));
    for (code, status, keys, settings) in [
        ("qwen_session_missing", 401, "say=x", [("QWEN_COOKIES", "")]),
        ("qwen_session_expired", 401, "say=x", [("QWEN_COOKIES", expired.as_str())]),
        ("qwen_session_expired", 401, "fail=unauthorized", [("LOG", "info")]),
        ("qwen_challenge", 403, "fail=waf_json", [("LOG", "info")]),
        ("qwen_challenge", 403, "fail=waf_html", [("LOG", "info")]),
        ("quota_exceeded", 429, "fail=rate_limited num=3", [("LOG", "info")]),
        ("upstream_error", 502, "fail=http_500", [("LOG", "info")]),
        ("upstream_error", 502, "fail=error_before", [("LOG", "info")]),
        ("upstream_error", 502, "reset=1", [("LOG", "info")]),
        ("upstream_timeout", 504, "hang=1", [SHORT_IDLE]),
    ] {
        let (fake, second) = (Fake::start(), Compatible::start());
        let server = case.start_with_second(&fake, &second, &settings).await;
        let alone = case.start_with(&fake, &settings).await;
        for (dialect, stream) in ALL {
            let marker = unique("listed");
            let prompt = format!("{marker} [[fake {keys}]] [[api say=From%20the%20second. tokens=321/45/0/0]]");
            let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
            assert_fallback(dialect, &reply, "From the second.");
            let seen = dialect.read(&reply);
            assert_eq!((seen.usage, seen.finish.as_str()), ((321, 45), "stop"), "{code} {dialect:?}");
            let asked = second.asked_once(&marker);
            assert_eq!(asked.body["model"], "qwen3-max");
            assert_eq!(asked.texts(), [("user".to_owned(), prompt.clone())]);

            let reply = dialect.ask(&alone, &dialect.question(&prompt), stream).await;
            assert_refused_by_site(dialect, &reply, status, code);
            assert_eq!(second.asked_with(&marker).len(), 1);
        }
        assert_eq!(second.violations(), [""; 0], "{code}");
    }
}

/// Whatever the site is asked for on the way to an answer.
pub async fn each_step_at_the_site_may_fail(case: Arc<Case>) {
    let picture = format!("data:image/jpeg;base64,{}", STANDARD.encode(fixture("jfif.jpg")));
    for (path, name) in [
        ("/api/v2/chats/new", "rate_limited"),
        ("/api/v2/chats/new", "http_500"),
        ("/api/v2/files/getstsToken", "rate_limited"),
        ("/api/v2/chat/completions", "waf_json"),
        ("/", "bad_gateway_html"),
    ] {
        let (fake, second) = (Fake::start(), Compatible::start());
        fake.set_failure(path, Some(name));
        let server = case.start_with_second(&fake, &second, &[]).await;
        for (dialect, stream) in ALL {
            let marker = unique("step");
            let mut request = dialect.question("");
            let (field, kind, part) = match dialect {
                Dialect::Chat => ("messages", "text", json!({ "type": "image_url", "image_url": { "url": picture } })),
                Dialect::Responses => ("input", "input_text", json!({ "type": "input_image", "image_url": picture })),
                Dialect::Messages => {
                    let data = picture.split_once(',').unwrap().1;
                    let source = json!({ "type": "base64", "media_type": "image/jpeg", "data": data });
                    ("messages", "text", json!({ "type": "image", "source": source }))
                }
            };
            let text = format!("{marker} [[api say=seen]]");
            request[field][0]["content"] = json!([part, { "type": kind, "text": text }]);
            assert_fallback(dialect, &dialect.ask(&server, &request, stream).await, "seen");
            let asked = second.asked_once(&marker);
            let parts = asked.messages()[0]["content"].as_array().unwrap();
            assert!(parts.iter().any(|part| part["image_url"]["url"] == picture), "{path} {name}: no picture");
        }
        assert_eq!(second.violations(), [""; 0]);
    }
    // A port that was just closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = Compatible::start();
    let site = format!("http://{closed}");
    let server = case.start_with_second(&case.fake, &second, &[("QWEN_BASE_URL", &site)]).await;
    for (dialect, stream) in ALL {
        assert_fallback(dialect, &dialect.ask(&server, &dialect.question("[[api say=hi]]"), stream).await, "hi");
    }
}

/// The pause after a challenge holds for the site alone.
pub async fn a_pause_of_the_site_is_kept(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    let first = "[[fake fail=waf_json]] [[api say=one]]";
    assert_fallback(Dialect::Chat, &Dialect::Chat.ask(&server, &Dialect::Chat.question(first), false).await, "one");
    let before = fake.request_count();
    for (dialect, stream) in ALL {
        let question = dialect.question("[[fake say=no]] [[api say=two]]");
        assert_fallback(dialect, &dialect.ask(&server, &question, stream).await, "two");
    }
    assert_eq!(fake.request_count(), before, "the site was asked during its pause");
    assert_eq!(second.asked().len(), 7);
    assert_eq!(server.get("/health").await.json()["session"]["state"], "challenged");
}

/// A request that names a conversation and shows its newest message alone: only the site knows the rest.
pub async fn a_conversation_that_the_site_alone_knows_stays_there(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    for (dialect, stream) in ALL {
        let id = unique("known");
        let headers = [("x-conversation-id", id.as_str())];
        let question = dialect.question(&format!("one of {id} {}", says("answer one")));
        let reply = dialect.ask_with(&server, &question, stream, &headers).await;
        assert_eq!(dialect.read(&reply).text, "answer one");
        let question = dialect.question(&quota("say=no"));
        let reply = dialect.ask_with(&server, &question, stream, &headers).await;
        assert_refused_by_site(dialect, &reply, 429, "quota_exceeded");
    }
    assert!(second.asked().is_empty(), "half a conversation was sent");
}

pub async fn other_codes_stay_the_sites(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    for (keys, status, code) in [
        ("fail=rate_limited_busy", 429, "rate_limit_exceeded"),
        ("fail=data_inspection", 400, "content_filter"),
        ("fail=model_not_found", 404, "model_not_found"),
        ("fail=validation", 400, "upstream_rejected"),
        ("fail=empty", 502, "upstream_empty"),
        ("fail=html_login", 502, "upstream_invalid"),
    ] {
        for (dialect, stream) in ALL {
            let prompt = format!("[[fake {keys}]] [[api say=no]]");
            let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
            assert_refused_by_site(dialect, &reply, status, code);
        }
    }
    // What the site answers names it, too.
    for (dialect, stream) in ALL {
        let reply = dialect.ask(&server, &dialect.question("[[fake say=mine]] [[api say=no]]"), stream).await;
        assert_eq!(dialect.read(&reply).text, "mine");
        assert_upstream(&reply, "qwen");
    }
    // A request that is wrong in itself asks nobody.
    for (dialect, field) in
        [(Dialect::Chat, "messages"), (Dialect::Responses, "input"), (Dialect::Messages, "messages")]
    {
        let wrong = with(dialect.question("x"), json!({ field: 5 }));
        assert_eq!(dialect.error(&dialect.ask(&server, &wrong, false).await).1, "invalid_request");
    }
    assert!(second.requests().is_empty(), "{:?}", second.requests());
}

pub async fn the_list_of_codes_is_configurable(case: Arc<Case>) {
    for (codes, answered, refused) in [
        (
            "rate_limit_exceeded, content_filter",
            &["rate_limited_busy", "data_inspection"][..],
            &["rate_limited num=3", "http_500"][..],
        ),
        ("upstream_empty", &["empty"], &["rate_limited num=3", "rate_limited_busy"]),
        ("never", &[], &["rate_limited num=3", "http_500", "rate_limited_busy"]),
        ("always", &["rate_limited num=3", "rate_limited_busy", "data_inspection"], &[]),
    ] {
        let (fake, second) = (Fake::start(), Compatible::start());
        let server = case.start_with_second(&fake, &second, &[("FALLBACK_ON", codes)]).await;
        for (dialect, stream) in ALL {
            for fail in answered {
                let prompt = format!("[[fake fail={fail}]] [[api say=second]]");
                let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
                assert_fallback(dialect, &reply, "second");
            }
            let before = second.asked().len();
            for fail in refused {
                let prompt = format!("[[fake fail={fail}]] [[api say=second]]");
                let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
                assert_ne!(dialect.error(&reply).0, 200);
                assert_upstream(&reply, "qwen");
            }
            assert_eq!(second.asked().len(), before, "{codes}");
            // By its name it is asked in any case.
            let named = with(dialect.question("[[api say=named]]"), json!({ "model": "api:second-small" }));
            assert_fallback(dialect, &dialect.ask(&server, &named, stream).await, "named");
        }
        if codes == "always" {
            assert!(turns(&fake).is_empty() && fake.chats() == 0, "the site was asked");
        }
    }
    // It needs no session then.
    let second = Compatible::start();
    let settings = [("FALLBACK_ON", "always"), ("QWEN_COOKIES", "")];
    let server = case.start_with_second(&case.fake, &second, &settings).await;
    for (dialect, stream) in ALL {
        assert_fallback(dialect, &dialect.ask(&server, &dialect.question("[[api say=hi]]"), stream).await, "hi");
    }
}

pub async fn nothing_is_asked_there_once_something_was_sent(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let settings = [("FALLBACK_ON", "upstream_error,upstream_truncated,upstream_timeout,quota_exceeded")];
    let server = case.start_with_second(&fake, &second, &[settings[0], SHORT_IDLE]).await;
    for (keys, code) in [
        ("stream=count n=6 fail=error_amid", "upstream_error"),
        ("stream=count n=6 fail=error_amid code=quota_limit", "quota_exceeded"),
        ("stream=count n=50 cut=1500", "upstream_truncated"),
        ("stream=count n=9 stall=4", "upstream_timeout"),
    ] {
        for (dialect, stream) in ALL {
            let marker = unique("begun");
            let prompt = format!("{marker} [[fake {keys}]] [[api say=second]]");
            let request = dialect.question(&prompt);
            let reply = dialect.ask(&server, &request, stream).await;
            if stream {
                let (status, got, _) = dialect.error(&reply);
                assert_eq!((status, got.as_str()), (200, code), "{keys}: {reply:?}");
                assert_upstream(&reply, "qwen");
                assert!(second.asked_with(&marker).is_empty(), "{keys}: asked amid an answer");
            } else {
                // The client has nothing of a whole answer before its end.
                assert_fallback(dialect, &reply, "second");
                second.asked_once(&marker);
            }
        }
    }
    // Thinking that was sent counts as well.
    let prompt = "[[fake think=One%20two%20three%20four%20five say=no fail=error_amid]] [[api say=second]]";
    let before = second.asked().len();
    for (dialect, stream) in ALL.into_iter().filter(|(_, stream)| *stream) {
        assert_eq!(dialect.error(&dialect.ask(&server, &dialect.question(prompt), stream).await).0, 200);
    }
    assert_eq!(second.asked().len(), before);
    assert_eq!(second.violations(), [""; 0]);
}

/// Heartbeats and the status line are no part of an answer.
pub async fn heartbeats_do_not_rule_it_out(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[("FIRST_BYTE_SECONDS", "1")]).await;
    for (dialect, _) in ALL.into_iter().filter(|(_, stream)| *stream) {
        for (directive, code) in [("say=Late%20words. think=Hm.", None), ("fail=key", Some("fallback_refused"))] {
            let marker = unique("late");
            let prompt = format!("{marker} [[fake first_ms=2500 fail=rate_limited num=3]] [[api {directive}]]");
            let reply = dialect.ask(&server, &dialect.question(&prompt), true).await;
            match code {
                None => {
                    let seen = dialect.read(&reply);
                    assert_eq!((seen.text.as_str(), seen.thinking.as_str()), ("Late words.", "Hm."), "{reply:?}");
                }
                Some(code) => {
                    let (status, got, message) = dialect.error(&reply);
                    assert_eq!((status, got.as_str()), (200, code), "{reply:?}");
                    assert!(message.starts_with("127.0.0.1"), "{message}");
                }
            }
            second.asked_once(&marker);
            // The head went out before the upstream was known.
            assert_eq!(reply.header("x-upstream"), None, "{reply:?}");
        }
    }
}

pub async fn a_silent_repeat_at_the_site_comes_first(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    for (dialect, stream) in ALL {
        let marker = unique("twice");
        let prompt = format!("{marker} [[fake fail=http_500 times=1 id={marker} say=healed]] [[api say=second]]");
        let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
        assert_eq!(dialect.read(&reply).text, "healed");
        assert_upstream(&reply, "qwen");
        let marker = unique("thrice");
        let prompt = format!("{marker} [[fake fail=http_500]] [[api fail=internal]]");
        let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
        assert_eq!(dialect.error(&reply).1, "upstream_error");
        assert_upstream(&reply, "fallback");
        second.asked_once(&marker);
        let site = fake.requests_containing(&marker);
        let completions = site.iter().filter(|request| request.path_and_query.contains("completions?"));
        assert_eq!(completions.count(), 2, "{site:?}");
    }
    assert!(second.asked_with("healed").is_empty());
}

/// A file that was uploaded here is at the site: nobody else can read it.
pub async fn uploaded_files_keep_a_turn_at_the_site(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    let always = case.start_with_second(&fake, &second, &[("FALLBACK_ON", "always")]).await;
    let bytes = fixture("jfif.jpg");
    for (dialect, stream) in ALL {
        for (server, model, status) in
            [(&server, "qwen3-max", 429), (&server, "api:second-large", 400), (&always, "qwen3-max", 400)]
        {
            let upload = super::files::send(
                server,
                "/v1/files",
                Form::new().text("purpose", "vision").file("file", "a.jpg", None, bytes.clone()),
            )
            .await;
            assert_eq!(upload.status, 200, "files are the site's, whatever is asked for texts: {upload:?}");
            let id = upload.json()["id"].as_str().unwrap().to_owned();
            let part = match dialect {
                Dialect::Chat => json!({ "type": "file", "file": { "file_id": id } }),
                Dialect::Responses => json!({ "type": "input_file", "file_id": id }),
                Dialect::Messages => json!({ "type": "image", "source": { "type": "file", "file_id": id } }),
            };
            let kind = if dialect == Dialect::Responses { "input_text" } else { "text" };
            let text = json!({ "type": kind, "text": quota("say=second") });
            let mut request = with(dialect.question(""), json!({ "model": model }));
            let field = if dialect == Dialect::Responses { "input" } else { "messages" };
            request[field][0]["content"] = json!([text, part]);
            let reply = dialect.ask(server, &request, stream).await;
            let (got, code, _) = dialect.error(&reply);
            assert_eq!(got, status, "{model}: {reply:?}");
            if status == 429 {
                assert_eq!(code, "quota_exceeded", "the site's own error");
                assert_upstream(&reply, "qwen");
            }
        }
    }
    assert!(second.requests().is_empty(), "{:?}", second.asked());
}

/// Pictures, videos and files are the site's, whatever answers texts.
pub async fn what_the_site_makes_stays_its_own(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let settings = [LOOPBACK, ("FALLBACK_ON", "always")];
    let server = case.start_with_second(&fake, &second, &settings).await;
    let reply = server.post("/v1/images/generations", &json!({ "prompt": "a red kite" })).await;
    assert!(reply.json()["data"][0]["b64_json"].is_string(), "{reply:?}");
    let reply = server.post("/v1/videos", &json!({ "prompt": "a red kite rises" })).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["object"]), (200, &json!("video")), "{reply:?}");
    for (dialect, stream) in ALL {
        let request = with(dialect.question("a blue kite"), json!({ "model": "qwen-image" }));
        let reply = dialect.ask(&server, &request, stream).await;
        // A picture has no tokens, which the reader of responses wants.
        assert!(reply.status == 200 && reply.text().contains("/v1/media/"), "{reply:?}");
        assert_upstream(&reply, "qwen");
    }
    assert!(server.get("/v1/models").await.text().contains("qwen3-max"), "the list of models is the site's");
    assert!(second.requests().is_empty(), "{:?}", second.requests());
    // What fails there is not drawn elsewhere.
    let listed = case.start_with_second(&fake, &second, &[LOOPBACK]).await;
    let prompt = "[[fake fail=picture_quota]] a green kite";
    listed.post("/v1/images/generations", &json!({ "prompt": prompt })).await.error(429, "quota_exceeded");
    for (dialect, stream) in ALL {
        let request = with(dialect.question(prompt), json!({ "model": "qwen-image" }));
        assert_refused_by_site(dialect, &dialect.ask(&listed, &request, stream).await, 429, "quota_exceeded");
    }
    assert!(second.requests().is_empty(), "{:?}", second.requests());
}

/// Site, second upstream, site: the chat is told what was said meanwhile.
pub async fn a_conversation_goes_on_at_the_site(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    for (dialect, stream) in ALL {
        for is_explicit in [false, true] {
            let marker = unique("talk");
            let headers = [("x-conversation-id", marker.as_str())];
            let headers = if is_explicit { &headers[..] } else { &[] };
            let mut history: Vec<(&str, String)> = Vec::new();
            let mut chats = Vec::new();
            for (number, (question, by)) in [
                (format!("question one of {marker} {}", says("answer one")), "qwen"),
                (format!("question two {}", quota("say=answer%20two")), "fallback"),
                (format!("question three {}", says("answer three")), "qwen"),
                (format!("question four {}", says("answer four")), "qwen"),
            ]
            .into_iter()
            .enumerate()
            {
                history.push(("user", question));
                let messages: Vec<(&str, &str)> = history.iter().map(|(role, text)| (*role, text.as_str())).collect();
                let reply = dialect.ask_with(&server, &dialect.history(&messages), stream, headers).await;
                assert_upstream(&reply, by);
                let answer = dialect.read(&reply).text;
                let word = ["one", "two", "three", "four"][number];
                assert_eq!(answer, format!("answer {word}"));
                if by == "fallback" {
                    let told: Vec<(String, String)> =
                        messages.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect();
                    assert_eq!(second.asked_once(&marker).texts(), told, "the whole conversation");
                }
                let turn = turns(&fake).pop().unwrap();
                let has = |text: &str| turn.text.contains(text);
                match number {
                    2 => {
                        for text in ["question two", "answer two", "question three"] {
                            assert!(has(text), "{text} is missing: {turn:?}");
                        }
                        let goes_on = turn.chat == chats[0];
                        assert!(goes_on || !is_explicit, "another chat than that of the id");
                        assert_ne!(goes_on, has("question one"), "{turn:?}");
                    }
                    3 => {
                        assert_eq!(turn.chat, chats[2], "the chat of the turn before");
                        assert!(has("question four") && !has("question three") && !has("answer three"), "{turn:?}");
                    }
                    _ => {}
                }
                chats.push(turn.chat);
                history.push(("assistant", answer));
            }
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn turns_of_the_second_upstream_are_no_turns_of_the_site(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server =
        case.start_with_second(&fake, &second, &[("FALLBACK_ON", "qwen_session_missing,quota_exceeded")]).await;
    let mut found = HashSet::new();
    for (dialect, stream) in ALL {
        let marker = unique("first");
        // Both turns are answered there, the next one by the site.
        let named = json!({ "model": "api:second-large" });
        let first = format!("question one of {marker} [[api say=answer%20one]]");
        let reply = dialect.ask(&server, &with(dialect.question(&first), named.clone()), stream).await;
        assert_fallback(dialect, &reply, "answer one");
        let second_question = "question two [[api say=answer%20two]]";
        let history = [("user", first.as_str()), ("assistant", "answer one"), ("user", second_question)];
        let reply = dialect.ask(&server, &with(dialect.history(&history), named), stream).await;
        assert_fallback(dialect, &reply, "answer two");
        assert_eq!(second.asked_with(&marker).len(), 2);
        assert!(fake.requests_containing(&marker).is_empty(), "the site was told");

        let third = format!("question three {}", says("answer three"));
        let history = [history.as_slice(), &[("assistant", "answer two"), ("user", &third)]].concat();
        let reply = dialect.ask(&server, &dialect.history(&history), stream).await;
        assert_eq!(dialect.read(&reply).text, "answer three");
        assert_upstream(&reply, "qwen");
        let turn = turns(&fake).pop().unwrap();
        let places: Vec<_> =
            history.iter().map(|(_, text)| turn.text.find(text.split(" [[").next().unwrap())).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{turn:?}");
        assert!(found.insert(turn.chat), "a chat of another conversation");
    }
    let auth = [("x-api-key", KEY)];
    let listed = server.http.send("GET", "/v1/chats", &auth, "").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), found.len(), "{listed}");
}

/// A tool loop changes its upstream between the call and its result, both ways.
pub async fn a_tool_loop_goes_on_elsewhere(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    for (dialect, stream) in ALL {
        let tools = json!({ "tools": [weather(dialect)] });
        let city = json!({ "city": "Oslo" });
        let marker = unique("loop");
        let directive = steps(&[&weather_text("Oslo"), "[[fake fail=rate_limited num=3]]"]);
        let question = with(dialect.question(&format!("{marker} [[fake {directive}]]")), tools.clone());
        let reply = dialect.ask(&server, &question, stream).await;
        assert_upstream(&reply, "qwen");
        let seen = dialect.read(&reply);
        assert_eq!(seen.called(), [("get_weather", &city)]);
        let next = dialect.with_results(question, &reply, &["rain"]);
        let reply = dialect.ask(&server, &next, stream).await;
        // The directive of the site has steps, which count for the second upstream as well.
        assert_upstream(&reply, "fallback");
        let asked = second.asked_once(&marker);
        let [_, called, result] = asked.messages() else { panic!("{asked:?}") };
        let function = &called["tool_calls"][0]["function"];
        assert_eq!((&called["role"], &function["name"]), (&json!("assistant"), &json!("get_weather")), "{asked:?}");
        assert_eq!(serde_json::from_str::<Value>(function["arguments"].as_str().unwrap()).unwrap(), city);
        assert_eq!((&result["role"], &result["content"]), (&json!("tool"), &json!("rain")));
        assert_eq!(called["tool_calls"][0]["id"], result["tool_call_id"]);
        assert_eq!(result["tool_call_id"], seen.calls[0].0, "the id that the client knows");
        assert_eq!(asked.body["tools"][0]["function"]["name"], "get_weather");

        let marker = unique("loop");
        let prompt = format!(
            "{marker} [[fake fail=rate_limited num=3 times=1 id={marker} say=Sunny.]] [[api call=get_weather args={}]]",
            encoded(&city.to_string())
        );
        let question = with(dialect.question(&prompt), tools);
        let reply = dialect.ask(&server, &question, stream).await;
        assert_upstream(&reply, "fallback");
        let seen = dialect.read(&reply);
        assert_eq!((seen.called(), seen.finish.as_str()), (vec![("get_weather", &city)], "tool_calls"));
        let next = dialect.with_results(question, &reply, &["hail in Oslo"]);
        let reply = dialect.ask(&server, &next, stream).await;
        assert_upstream(&reply, "qwen");
        assert_eq!(dialect.read(&reply).text, "Sunny.");
        let turn = turns(&fake).pop().unwrap();
        let places = [marker.as_str(), "\"Oslo\"", "hail in Oslo"].map(|text| turn.text.find(text));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{turn:?}");
    }
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn a_previous_response_is_gone_on_from_either_upstream(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[]).await;
    let ask = async |server: &Server, text: String, before: Option<&Response>, fields: Value, stream: bool| {
        let previous = before.map_or(Value::Null, |response| json!(response.id()));
        let fields = with(json!({ "previous_response_id": previous, "stream": stream }), fields);
        post(server, &request(json!([{ "role": "user", "content": text }]), fields)).await
    };
    for stream in [false, true] {
        let marker = unique("kept");
        let told = json!({ "instructions": "Be brief." });
        let reply = ask(&server, format!("one {marker} {}", says("answer one")), None, told.clone(), stream).await;
        assert_upstream(&reply, "qwen");
        let first = Response::read(&reply);
        let chat = turns(&fake).pop().unwrap().chat;
        let node = newest_answer(&fake, &chat);
        let reply = ask(&server, format!("two {}", quota("say=answer%20two")), Some(&first), told, stream).await;
        assert_fallback(Dialect::Responses, &reply, "answer two");
        let other = Response::read(&reply);
        assert_eq!(other.body["previous_response_id"], first.id());
        let asked = second.asked_once(&marker);
        let roles: Vec<String> = asked.texts().iter().map(|(role, _)| role.replace("developer", "system")).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"], "{asked:?}");
        let texts = asked.texts();
        assert!(texts[0].1 == "Be brief." && texts[1].1.contains(&marker) && texts[2].1 == "answer one", "{texts:?}");
        assert!(texts[3].1.starts_with("two "), "{texts:?}");
        // It was kept like any other.
        let kept = super::response_reader::send(&server, "GET", other.id()).await;
        assert_eq!(kept.json(), other.body);

        let reply = ask(&server, format!("three {}", says("answer three")), Some(&other), json!({}), stream).await;
        assert_upstream(&reply, "qwen");
        let third = Response::read(&reply);
        third.assert_text("answer three");
        let turn = turns(&fake).pop().unwrap();
        for text in ["two ", "answer two", "three "] {
            assert!(turn.text.contains(text), "{text}: {turn:?}");
        }
        let goes_on = turn.chat == chat;
        assert_ne!(goes_on, turn.text.contains("answer one"), "{turn:?}");
        assert!(!goes_on || turn.parent.as_ref() == Some(&node), "{turn:?}");
        let reply = ask(&server, format!("four {}", says("answer four")), Some(&third), json!({}), stream).await;
        Response::read(&reply).assert_text("answer four");
        let last = turns(&fake).pop().unwrap();
        assert!(last.chat == turn.chat && !last.text.contains("answer three"), "{last:?}");
        // By its name, from any of them.
        for (before, count) in [(&first, 3), (&other, 5), (&third, 7)] {
            let marker = unique("named");
            let named = json!({ "model": "api:second-large" });
            let reply = ask(&server, format!("{marker} [[api say=named]]"), Some(before), named, stream).await;
            assert_fallback(Dialect::Responses, &reply, "named");
            assert_eq!(second.asked_once(&marker).messages().len(), count);
        }
        // Where nothing was kept, there is nothing to go on from.
        for (fields, is_deleted) in [(json!({ "store": false }), false), (json!({}), true)] {
            let reply = ask(&server, quota("say=alone"), None, fields, stream).await;
            assert_fallback(Dialect::Responses, &reply, "alone");
            let alone = Response::read(&reply);
            if is_deleted {
                super::response_reader::send(&server, "DELETE", alone.id()).await;
            }
            for model in ["qwen3-max", "api:second-large"] {
                let fields = json!({ "model": model });
                let reply = ask(&server, "and now?".to_owned(), Some(&alone), fields, stream).await;
                reply.error(404, "previous_response_not_found");
            }
        }
    }
    // A server that keeps no texts goes on at the site, and cannot tell anybody else of it.
    let silent = case.start_with_second(&fake, &second, &[("STORE_RESPONSES", "false")]).await;
    let first = Response::read(&ask(&silent, says("answer one"), None, json!({}), false).await);
    let before = second.asked().len();
    let reply = ask(&silent, quota("say=no"), Some(&first), json!({}), false).await;
    assert_refused_by_site(Dialect::Responses, &reply, 429, "quota_exceeded");
    let named = json!({ "model": "api:second-large" });
    let reply = ask(&silent, "[[api say=no]]".to_owned(), Some(&first), named, false).await;
    reply.error(404, "previous_response_not_found");
    assert_eq!(second.asked().len(), before, "half a conversation was sent");
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn a_client_that_leaves_ends_it(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[("FALLBACK_ON", "always")]).await;
    let mut client = crate::http::Raw::connect(server.http.address()).await;
    let prompt = "[[api n=900 delay_ms=20]]";
    client.chat(&with(crate::http::chat(prompt), json!({ "stream": true }))).await;
    client.read_until("\"content\":\"2 \"").await;
    client.reset();
    eventually("the second upstream is left", || async {
        second.asked()[0].request.outcome() == crate::fake_compatible::Outcome::ClosedByPeer
    })
    .await;
}
