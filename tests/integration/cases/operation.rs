//! What the operator sees: log lines, metrics, and the queue in front of the site.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    Product,
    fake_qwen::{Fake, Page},
    form::Form,
    http::{PATIENCE, Raw, chat, joined, with},
    server::{ANALYTICS, Case, KEY, Server, unique},
};

/// The log line of the request with this id.
async fn line(server: &Server, id: &str) -> Value {
    for _ in 0..100 {
        let lines = server.log().await;
        let found = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "request" && line["request_id"] == id);
        if let Some(found) = found {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("{id} left no line: {:#?}", server.log().await);
}

async fn ask(server: &Server, id: &str, body: &Value) -> crate::http::Reply {
    let headers = [Server::keyed().as_slice(), &[("x-request-id", id)]].concat();
    server.http.send("POST", "/v1/chat/completions", &headers, body.to_string()).await
}

pub async fn each_request_has_its_log_line(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let secret = unique("content");
    let question = |text: &str| json!({ "role": "user", "content": format!("[[fake say=answer]] {secret} {text}") });
    let first = json!({ "model": "qwen3-max", "enable_thinking": false, "messages": [question("one")] });
    let reply = ask(&server, "req-first", &first).await;
    assert_eq!(reply.status, 200);
    let told = line(&server, "req-first").await;
    for (name, value) in [
        ("route", json!("/v1/chat/completions")),
        ("method", json!("POST")),
        ("status", json!(200)),
        ("outcome", json!("answered")),
        ("model", json!("qwen3-max")),
        ("stream", json!(false)),
        ("conversation", json!("miss")),
        ("upstream_status", json!(200)),
        ("bytes_in", json!(first.to_string().len())),
        ("bytes_out", json!(reply.body.len())),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
    assert!(told["upstream_calls"].as_u64().unwrap() >= 2 && told.get("code").is_none());
    assert!(["ms", "own_us", "upstream_ms"].iter().all(|name| told[*name].is_u64()), "{told}");
    let answer = json!({ "role": "assistant", "content": "answer" });
    let messages = json!([question("one"), answer, question("two")]);
    let second = json!({ "model": "qwen3-max", "enable_thinking": false, "stream": true, "messages": messages });
    assert_eq!(joined(&ask(&server, "req-second", &second).await.chunks(), "content"), "answer");
    let told = line(&server, "req-second").await;
    assert_eq!((told["conversation"].as_str(), told["stream"].as_bool()), (Some("hit"), Some(true)), "{told}");
    assert!(told["first_token_ms"].is_u64() && told["bytes_out"].as_u64().unwrap() > 100, "{told}");
    for (id, body, status, code, outcome) in [
        ("req-refused", chat("[[fake fail=data_inspection]]"), 400, "content_filter", "answered"),
        ("req-wrong", json!({ "messages": 5 }), 400, "invalid_request", "answered"),
        (
            "req-amid",
            with(chat("[[fake stream=count n=6 fail=error_amid]]"), json!({ "stream": true })),
            200,
            "upstream_error",
            "failed",
        ),
    ] {
        ask(&server, id, &body).await;
        let told = line(&server, id).await;
        assert_eq!(
            (told["status"].as_u64(), told["code"].as_str(), told["outcome"].as_str()),
            (Some(status), Some(code), Some(outcome)),
            "{told}"
        );
    }
    let mut client = Raw::connect(server.http.address()).await;
    client.chat(&with(chat("[[fake stream=count n=900 delay_ms=20]]"), json!({ "stream": true }))).await;
    client.read_until("\"content\":\"2 \"").await;
    client.reset();
    for _ in 0..100 {
        if server.log().await.iter().any(|line| line.contains("client left")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lines = server.log().await;
    assert_eq!(lines.iter().filter(|line| line.contains("client left")).count(), 1);
    assert!(!lines.iter().any(|line| line.contains(&secret)), "no content");
}

fn metrics(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

pub async fn metrics_count_what_happens(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let keyed = Server::keyed();
    if case.product == Product::Edge {
        server.http.send("GET", "/metrics", &keyed, "").await.error(404, "not_found");
        server.http.send("POST", "/metrics", &keyed, "").await.error(404, "not_found");
        let routes = server.get("/").await.text();
        assert!(!routes.contains("/metrics"));
        return;
    }
    server.get("/metrics").await.error(401, "missing_api_key");
    for number in 0..3 {
        assert_eq!(server.chat(&chat(&format!("hi {number}"))).await.status, 200);
    }
    server.chat(&chat("[[fake fail=data_inspection]]")).await.error(400, "content_filter");
    let mut client = Raw::connect(server.http.address()).await;
    client.chat(&with(chat("[[fake stream=count n=200 delay_ms=20]]"), json!({ "stream": true }))).await;
    client.read_until("\"content\":\"2 \"").await;
    let reply = server.http.send("GET", "/metrics", &keyed, "").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let told = reply.text();
    let now = metrics(&told);
    let of = |name: &str| *now.get(name).unwrap_or_else(|| panic!("{name}: {told}"));
    assert_eq!(of("qwen_edge_requests_total{route=\"/v1/chat/completions\",status=\"200\"}"), 3.0);
    assert_eq!(of("qwen_edge_requests_total{route=\"/v1/chat/completions\",status=\"400\"}"), 1.0);
    assert_eq!(of("qwen_edge_errors_total{code=\"content_filter\"}"), 1.0);
    assert_eq!(of("qwen_edge_errors_total{code=\"missing_api_key\"}"), 1.0);
    assert_eq!(of("qwen_edge_conversations_total{result=\"miss\"}"), 4.0);
    assert_eq!((of("qwen_edge_open_streams"), of("qwen_edge_in_flight"), of("qwen_edge_queue")), (1.0, 1.0, 0.0));
    assert_eq!(of("qwen_edge_upstream_answers_total{call=\"turn\",status=\"200\"}"), 5.0);
    assert_eq!(of("qwen_edge_upstream_seconds_count{call=\"turn\"}"), 5.0);
    assert_eq!(of("qwen_edge_session_state{state=\"valid\"}"), 1.0);
    assert_eq!(of("qwen_edge_store_errors"), 0.0);
    assert!(of("qwen_edge_session_expires_at_seconds") > 1e9);
    let (overhead, duration) = (of("qwen_edge_overhead_seconds_sum"), of("qwen_edge_request_duration_seconds_sum"));
    assert!(overhead > 0.0 && overhead <= duration, "{overhead} of {duration}");
    for line in told.lines().filter(|line| line.starts_with("# TYPE ") && line.ends_with(" counter")) {
        assert!(line.ends_with("_total counter"), "{line}");
    }
    client.read_until("[DONE]").await;
    let after = metrics(&server.http.send("GET", "/metrics", &keyed, "").await.text());
    assert_eq!((after["qwen_edge_open_streams"], after["qwen_edge_first_token_seconds_count"]), (0.0, 1.0));
}

pub async fn data_points_are_written_where_a_dataset_is_bound(case: Arc<Case>) {
    let server = case.start(&[(ANALYTICS, "1")]).await;
    assert_eq!(server.chat(&with(chat("hi"), json!({ "stream": true }))).await.status, 200);
    server.chat(&chat("[[fake fail=data_inspection]]")).await.error(400, "content_filter");
    let mut points = Vec::<Value>::new();
    for _ in 0..100 {
        let lines = server.log().await;
        let all = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        points = all.filter_map(|line| line.get("point").cloned()).collect();
        if points.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(points.len(), 2, "{:#?}", server.log().await);
    let route = "/v1/chat/completions";
    assert_eq!(points[0]["indexes"], json!([route]));
    assert_eq!(points[0]["blobs"], json!([route, "POST", "", "answered", "miss", "stream", "qwen3-max"]));
    assert_eq!(points[1]["blobs"], json!([route, "POST", "content_filter", "answered", "miss", "whole", "qwen3-max"]));
    let numbers = points[0]["doubles"].as_array().unwrap();
    assert_eq!((numbers.len(), numbers[0].as_f64()), (9, Some(200.0)));
}

async fn streams_of(fake: &Fake, count: usize) {
    for _ in 0..400 {
        if fake.open_streams() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} streams are open, not {count}", fake.open_streams());
}

pub async fn turns_wait_in_a_bounded_queue(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("UPSTREAM_IN_FLIGHT", "2"), ("UPSTREAM_QUEUE", "3")]).await;
    let long = with(chat("[[fake stream=count n=60 delay_ms=50]]"), json!({ "enable_thinking": false }));
    let ask = |stream: bool| {
        let (server, request) = (Arc::clone(&server), with(long.clone(), json!({ "stream": stream })));
        tokio::spawn(async move { server.chat(&request).await })
    };
    let mut asked: Vec<_> = (0..2).map(|_| ask(false)).collect();
    streams_of(&fake, 2).await;
    asked.extend((0..8).map(|number| ask(number % 2 == 0)));
    let mut statuses = BTreeMap::<u16, usize>::new();
    for reply in asked {
        let reply = reply.await.unwrap();
        assert!(fake.open_streams() <= 2);
        if reply.status == 429 {
            reply.error(429, "rate_limit_exceeded");
            assert_eq!(reply.header("retry-after"), Some("10"));
        }
        *statuses.entry(reply.status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 5), (429, 5)]));
}

pub async fn a_client_that_leaves_the_queue_makes_room(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("UPSTREAM_IN_FLIGHT", "1"), ("UPSTREAM_QUEUE", "1")]).await;
    let mut first = Raw::connect(server.http.address()).await;
    first.chat(&with(chat("[[fake stream=count n=9000 delay_ms=20]]"), json!({ "stream": true }))).await;
    first.read_until("\"content\":\"2 \"").await;
    let marker = unique("queued");
    let queued = async || {
        let mut second = Raw::connect(server.http.address()).await;
        second.chat(&with(chat(&marker), json!({ "stream": true }))).await;
        second
    };
    let mut second = queued().await;
    // Whoever comes now finds the queue full, as soon as the second one is in it.
    let third = with(chat("third"), json!({ "stream": true }));
    loop {
        let reply = tokio::time::timeout(Duration::from_secs(1), server.again().chat(&third)).await;
        if let Ok(reply) = reply {
            reply.error(429, "rate_limit_exceeded");
            break;
        }
        // It was quicker than the second one, which was refused then.
        second.reset();
        tokio::time::sleep(Duration::from_millis(100)).await;
        second = queued().await;
    }
    second.reset();
    // Once the second one has left, there is room to wait in; the end of the first lets the next one in.
    let waiting = loop {
        let mut waiting = Raw::connect(server.http.address()).await;
        waiting.chat(&with(chat("[[fake say=at%20last]]"), json!({ "stream": true }))).await;
        let refused = tokio::time::timeout(Duration::from_millis(500), waiting.read_until("rate_limit_exceeded")).await;
        if refused.is_err() {
            break waiting;
        }
    };
    first.reset();
    let mut waiting = waiting;
    waiting.read_until("[DONE]").await;
    assert!(fake.seen_with(&marker).is_empty(), "nothing was sent for the one who left");
}

pub async fn heartbeats_reach_those_who_wait(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("UPSTREAM_IN_FLIGHT", "1"), ("FIRST_BYTE_SECONDS", "1")]).await;
    let mut first = Raw::connect(server.http.address()).await;
    first.chat(&with(chat("[[fake stream=count n=9000 delay_ms=20]]"), json!({ "stream": true }))).await;
    first.read_until("\"content\":\"2 \"").await;
    let mut second = Raw::connect(server.http.address()).await;
    second.chat(&with(chat("[[fake say=at%20last]]"), json!({ "stream": true }))).await;
    let head = second.read_until(": keep-alive").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    first.reset();
    assert!(second.read_until("[DONE]").await.contains("last"));
}

/// Whatever a client says, a line of the log is a line of ours, and colours nothing.
pub async fn no_client_writes_into_the_log(case: Arc<Case>) {
    for format in ["text", "json"] {
        let server = case.start(&[("LOG_FORMAT", format), ("LOG", "debug"), ("ADMIN_TOKEN", "admin-key")]).await;
        // A line, the clearing of the screen, the title, the clipboard, a bell; their eight-bit forms; reversed reading.
        let evil = "\nFORGED 2026-11-26 INFO a line\r\u{1b}[2J\u{1b}]0;t\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}";
        let encoded: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let keyed = Server::keyed();
        for path in ["/v1/models/", "/v1/files/", "/v1/chats/", "/nothing/", "/assets/", "/v1/files?after="] {
            server.http.send("GET", &format!("{path}{encoded}"), &keyed, "").await;
        }
        let user = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
        let part = |part: Value| user(json!([part]));
        for body in [
            part(json!({ "type": evil })),
            part(json!({ "type": "file", "file": { "file_id": evil } })),
            part(json!({ "type": "image_url", "image_url": { "url": format!("https://127.0.0.1/{evil}") } })),
            part(json!({ "type": "file", "file": { "file_data": "AAEC", "filename": evil } })),
            part(
                json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAEC" }, "file_info": { "id": evil } }),
            ),
            json!({ "messages": [{ "role": evil, "content": "x" }] }),
            json!({ "messages": [{ "role": "user", "content": 5 }], evil: 1 }),
            json!({ evil: [1], "messages": evil }),
            with(user(json!("hi")), json!({ "model": evil })),
            with(user(json!("[[fake fail=data_inspection]]")), json!({ "model": evil })),
            with(user(json!("hi")), json!({ "conversation_id": evil })),
            with(user(json!("hi")), json!({ "stop": [evil, 1] })),
            with(user(json!("hi")), json!({ "reasoning_effort": evil })),
            with(user(json!("hi")), json!({ "n": evil })),
        ] {
            server.chat(&body).await;
        }
        for form in [
            Form::new().file("file", evil, Some("text/plain"), [0, 1, 2]),
            Form::new().text(evil, "x"),
            Form::new().text("purpose", evil).file("file", "a.txt", None, "text"),
            Form::new().text("prompt", evil).text("stream", evil).file("image", "a.png", None, [0, 1, 2]),
        ] {
            for path in ["/v1/files", "/v1/image/upload_and_chat"] {
                let (content_type, body) = form.clone().body();
                let headers = [keyed[0], ("content-type", content_type.as_str())];
                server.http.send("POST", path, &headers, body).await;
            }
        }
        let sts = json!({ "filename": evil, "filesize": 3, "filetype": evil }).to_string();
        server.http.send("POST", "/v2/files/getstsToken", &keyed, sts).await;
        let admin = [("authorization", "Bearer admin-key")];
        for text in [
            format!("curl 'https://evil{evil}.example/' -b 'token=x'"),
            format!("curl $'https://{encoded}/' -b 'token=x'"),
            json!({ "curl": format!("curl \"https://x{evil}/\" -b a=b") }).to_string(),
            evil.to_owned(),
        ] {
            server.http.send("PUT", "/admin/session", &admin, text).await;
        }
        let mut raw = Raw::connect(server.http.address()).await;
        raw.send(b"GET /\xc2\x9b31m\x9b HTTP/1.1\r\nhost: \xc2\x9b31m\r\nx-request-id: \xc2\x9b\r\n\r\n").await;
        raw.read_until("HTTP/1.1 4").await;
        // The last request's line tells that those before have theirs.
        let last = [("x-request-id", "the-last")];
        server.http.send("GET", "/health", &last, "").await;
        let mut lines = Vec::new();
        for _ in 0..100 {
            lines = server.log().await;
            if lines.iter().any(|line| line.contains("the-last")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert!(lines.iter().any(|line| line.contains("the-last")), "{format}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("FORGED")), "{format}: the words themselves are told");
        let odd = |sign: char| sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
        for line in &lines {
            assert!(!line.starts_with("FORGED") && !line.contains(odd), "{format}: {line:?}");
        }
    }
}

/// A client's link may be slow for as long as it is let: that is nobody else's wait.
pub async fn slow_links_hold_nobody_up(case: Arc<Case>) {
    let fake = Fake::start();
    let keys = json!([KEY, "sk-other"]).to_string();
    let settings = [
        ("UPSTREAM_IN_FLIGHT", "2"),
        ("UPSTREAM_QUEUE", "2"),
        ("ALLOW_PRIVATE_URLS", "true"),
        ("VALID_TOKENS", keys.as_str()),
    ];
    let server = case.start_with(&fake, &settings).await;
    let jpg = super::files::fixture("jfif.jpg");
    fake.web("slow.jpg", Page::new("image/jpeg", jpg.clone()).stalled_after(200));
    fake.web("quick.jpg", Page::new("image/jpeg", jpg));
    let question = |name: &str| {
        let link = json!({ "type": "image_url", "image_url": { "url": fake.web_url(name) } });
        json!({ "model": "qwen3-vl-plus", "messages": [{ "role": "user", "content": [link] }] })
    };
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut raw = Raw::connect(server.http.address()).await;
        raw.chat(&question("slow.jpg")).await;
        waiting.push(raw);
    }
    let fetched = async {
        while fake.web_open("slow.jpg") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, fetched).await.expect("nothing is fetched");
    // Neither the same key's turns wait, nor another's links.
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    let other = [("authorization", "Bearer sk-other")];
    for question in [chat("hi"), question("quick.jpg")] {
        let reply = server.http.send("POST", "/v1/chat/completions", &other, question.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert!(fake.web_open("slow.jpg") >= 2, "they are still slow");
    for raw in waiting {
        raw.reset();
    }
    let left = async {
        while fake.web_open("slow.jpg") > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("a link is still being fetched");
    // What they held is free again, as soon as the server has seen the last of them leave.
    let free = async {
        while server.chat(&question("quick.jpg")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("what they held is still taken");
}
