//! What the operator sees: log lines, metrics, and the queue in front of the upstream.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Product,
    fake_qwen::{Fake, Page},
    form::Form,
    http::{Raw, TIMEOUT, chat, concat_deltas, eventually, with},
    server::{ANALYTICS, Case, KEY, Server, unique},
};

/// Waits for the log line of the request with this id.
async fn log_line(server: &Server, id: &str) -> Value {
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
    panic!("no log line of {id}: {:#?}", server.log().await);
}

async fn ask(server: &Server, id: &str, body: &Value) -> crate::http::Reply {
    let headers = [Server::auth_headers().as_slice(), &[("x-request-id", id)]].concat();
    server.http.send("POST", "/v1/chat/completions", &headers, body.to_string()).await
}

pub async fn each_request_has_one_log_line(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let secret = unique("content");
    let question = |text: &str| json!({ "role": "user", "content": format!("[[fake say=answer]] {secret} {text}") });
    let first = json!({ "model": "qwen3-max", "enable_thinking": false, "messages": [question("one")] });
    let reply = ask(&server, "req-first", &first).await;
    assert_eq!(reply.status, 200);
    let line = log_line(&server, "req-first").await;
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
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["upstream_calls"].as_u64().unwrap() >= 2 && line.get("code").is_none());
    assert!(["ms", "own_us", "upstream_ms"].iter().all(|name| line[*name].is_u64()), "{line}");
    let answer = json!({ "role": "assistant", "content": "answer" });
    let messages = json!([question("one"), answer, question("two")]);
    let second = json!({ "model": "qwen3-max", "enable_thinking": false, "stream": true, "messages": messages });
    assert_eq!(concat_deltas(&ask(&server, "req-second", &second).await.chunks(), "content"), "answer");
    let line = log_line(&server, "req-second").await;
    assert_eq!((line["conversation"].as_str(), line["stream"].as_bool()), (Some("hit"), Some(true)), "{line}");
    assert!(line["first_token_ms"].is_u64() && line["bytes_out"].as_u64().unwrap() > 100, "{line}");
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
        let line = log_line(&server, id).await;
        assert_eq!(
            (line["status"].as_u64(), line["code"].as_str(), line["outcome"].as_str()),
            (Some(status), Some(code), Some(outcome)),
            "{line}"
        );
    }
    let mut client = Raw::connect(server.http.address()).await;
    client.chat(&with(chat("[[fake stream=count n=900 delay_ms=20]]"), json!({ "stream": true }))).await;
    client.read_until("\"content\":\"2 \"").await;
    client.reset();
    eventually("the disconnect is logged", || async {
        server.log().await.iter().any(|line| line.contains("client left"))
    })
    .await;
    let lines = server.log().await;
    assert_eq!(lines.iter().filter(|line| line.contains("client left")).count(), 1);
    assert!(!lines.iter().any(|line| line.contains(&secret)), "a log line contains the prompt");
}

fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

pub async fn metrics_count_requests_and_errors(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let auth = Server::auth_headers();
    if case.product == Product::Worker {
        server.http.send("GET", "/metrics", &auth, "").await.error(404, "not_found");
        server.http.send("POST", "/metrics", &auth, "").await.error(404, "not_found");
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
    let reply = server.http.send("GET", "/metrics", &auth, "").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    let metrics = parse_metrics(&text);
    let value = |name: &str| *metrics.get(name).unwrap_or_else(|| panic!("{name}: {text}"));
    assert_eq!(
        value("qwen_edge_requests_total{route=\"/v1/chat/completions\",status=\"200\",account=\"default\"}"),
        3.0
    );
    assert_eq!(
        value("qwen_edge_requests_total{route=\"/v1/chat/completions\",status=\"400\",account=\"default\"}"),
        1.0
    );
    assert_eq!(value("qwen_edge_errors_total{code=\"content_filter\",account=\"default\"}"), 1.0);
    assert_eq!(value("qwen_edge_errors_total{code=\"missing_api_key\",account=\"\"}"), 1.0);
    assert_eq!(value("qwen_edge_conversations_total{result=\"miss\"}"), 4.0);
    assert_eq!(
        (
            value("qwen_edge_open_streams"),
            value("qwen_edge_in_flight{account=\"default\"}"),
            value("qwen_edge_queue{account=\"default\"}")
        ),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(value("qwen_edge_upstream_answers_total{call=\"turn\",status=\"200\"}"), 5.0);
    assert_eq!(value("qwen_edge_upstream_seconds_count{call=\"turn\"}"), 5.0);
    assert_eq!(value("qwen_edge_session_state{account=\"default\",state=\"valid\"}"), 1.0);
    assert_eq!(value("qwen_edge_store_errors"), 0.0);
    assert!(value("qwen_edge_session_expires_at_seconds{account=\"default\"}") > 1e9);
    let (overhead, duration) =
        (value("qwen_edge_overhead_seconds_sum"), value("qwen_edge_request_duration_seconds_sum"));
    assert!(overhead > 0.0 && overhead <= duration, "overhead {overhead} s of {duration} s");
    for line in text.lines().filter(|line| line.starts_with("# TYPE ") && line.ends_with(" counter")) {
        assert!(line.ends_with("_total counter"), "{line}");
    }
    client.read_until("[DONE]").await;
    let after = parse_metrics(&server.http.send("GET", "/metrics", &auth, "").await.text());
    assert_eq!((after["qwen_edge_open_streams"], after["qwen_edge_first_token_seconds_count"]), (0.0, 1.0));
}

pub async fn data_points_are_written_to_a_bound_dataset(case: Arc<Case>) {
    let server = case.start(&[(ANALYTICS, "1")]).await;
    assert_eq!(server.chat(&with(chat("hi"), json!({ "stream": true }))).await.status, 200);
    server.chat(&chat("[[fake fail=data_inspection]]")).await.error(400, "content_filter");
    let data_points = async || {
        let lines = server.log().await;
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line.get("point").cloned()).collect::<Vec<_>>()
    };
    eventually("two data points are written", || async { data_points().await.len() >= 2 }).await;
    let points = data_points().await;
    assert_eq!(points.len(), 2, "{points:#?}");
    let route = "/v1/chat/completions";
    assert_eq!(points[0]["indexes"], json!([route]));
    assert_eq!(points[0]["blobs"], json!([route, "POST", "", "answered", "miss", "stream", "qwen3-max", "default"]));
    assert_eq!(
        points[1]["blobs"],
        json!([route, "POST", "content_filter", "answered", "miss", "whole", "qwen3-max", "default"])
    );
    let numbers = points[0]["doubles"].as_array().unwrap();
    assert_eq!((numbers.len(), numbers[0].as_f64()), (9, Some(200.0)));
}

pub async fn turns_wait_in_a_bounded_queue(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("UPSTREAM_IN_FLIGHT", "2"), ("UPSTREAM_QUEUE", "3")]).await;
    let slow_request = with(chat("[[fake stream=count n=60 delay_ms=50]]"), json!({ "enable_thinking": false }));
    let ask = |stream: bool| {
        let (server, request) = (Arc::clone(&server), with(slow_request.clone(), json!({ "stream": stream })));
        tokio::spawn(async move { server.chat(&request).await })
    };
    let mut requests: Vec<_> = (0..2).map(|_| ask(false)).collect();
    eventually("two streams are open", || async { fake.open_streams() == 2 }).await;
    requests.extend((0..8).map(|number| ask(number % 2 == 0)));
    let mut statuses = BTreeMap::<u16, usize>::new();
    for reply in requests {
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

pub async fn a_disconnect_frees_a_place_in_the_queue(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("UPSTREAM_IN_FLIGHT", "1"), ("UPSTREAM_QUEUE", "1")]).await;
    let mut first = Raw::connect(server.http.address()).await;
    first.chat(&with(chat("[[fake stream=count n=9000 delay_ms=20]]"), json!({ "stream": true }))).await;
    first.read_until("\"content\":\"2 \"").await;
    let marker = unique("queued");
    let enqueue = async || {
        let mut second = Raw::connect(server.http.address()).await;
        second.chat(&with(chat(&marker), json!({ "stream": true }))).await;
        second
    };
    let third = with(chat("third"), json!({ "stream": true }));
    // The queue is full as soon as it contains the second request.
    let fill_queue = async {
        loop {
            let second = enqueue().await;
            let reply = timeout(Duration::from_secs(1), server.with_new_client().chat(&third)).await;
            if let Ok(reply) = reply {
                reply.error(429, "rate_limit_exceeded");
                return second;
            }
            // The third request was quicker, and the second was rejected.
            second.reset();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(TIMEOUT, fill_queue).await.expect("the queue is not full").reset();
    // After the disconnect the queue accepts another request, which runs when the first ends.
    let enter_queue = async {
        loop {
            let mut waiting = Raw::connect(server.http.address()).await;
            waiting.chat(&with(chat("[[fake say=at%20last]]"), json!({ "stream": true }))).await;
            let rejected = waiting.read_until("rate_limit_exceeded");
            if timeout(Duration::from_millis(500), rejected).await.is_err() {
                return waiting;
            }
        }
    };
    let mut waiting = timeout(TIMEOUT, enter_queue).await.expect("the queue stays full");
    first.reset();
    waiting.read_until("[DONE]").await;
    assert!(fake.requests_containing(&marker).is_empty(), "the turn of the disconnected client was sent upstream");
}

pub async fn queued_streams_receive_heartbeats(case: Arc<Case>) {
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

/// Client data adds no log lines and no terminal control characters.
pub async fn clients_cannot_inject_log_lines(case: Arc<Case>) {
    for format in ["text", "json"] {
        let server = case.start(&[("LOG_FORMAT", format), ("LOG", "debug"), ("ADMIN_TOKEN", "admin-key")]).await;
        // A line feed, escape sequences that clear the screen and set the title, C1 controls, and right-to-left override.
        let evil = "\nFORGED 2026-11-26 INFO a line\r\u{1b}[2J\u{1b}]0;t\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}";
        let encoded: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let auth = Server::auth_headers();
        for path in ["/v1/models/", "/v1/files/", "/v1/chats/", "/nothing/", "/assets/", "/v1/files?after="] {
            server.http.send("GET", &format!("{path}{encoded}"), &auth, "").await;
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
                let headers = [auth[0], ("content-type", content_type.as_str())];
                server.http.send("POST", path, &headers, body).await;
            }
        }
        let sts = json!({ "filename": evil, "filesize": 3, "filetype": evil }).to_string();
        server.http.send("POST", "/v2/files/getstsToken", &auth, sts).await;
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
        // When the last request is logged, all earlier ones are.
        let last = [("x-request-id", "the-last")];
        server.http.send("GET", "/health", &last, "").await;
        let logged = async |text: &str| server.log().await.iter().any(|line| line.contains(text));
        eventually("the last request is logged", || async { logged("the-last").await }).await;
        let lines = server.log().await;
        assert!(lines.iter().any(|line| line.contains("FORGED")), "{format}: the plain text is missing");
        let is_unsafe =
            |sign: char| sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
        for line in &lines {
            assert!(!line.starts_with("FORGED") && !line.contains(is_unsafe), "{format}: {line:?}");
        }
    }
}

/// A slow link delays neither other turns nor the links of other keys.
pub async fn slow_links_do_not_block_other_requests(case: Arc<Case>) {
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
    fake.serve_page("slow.jpg", Page::new("image/jpeg", jpg.clone()).stalled_after(200));
    fake.serve_page("quick.jpg", Page::new("image/jpeg", jpg));
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
    eventually("two links are being fetched", || async { fake.web_open("slow.jpg") >= 2 }).await;
    // Turns of the same key do not wait, nor do links of another key.
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    let other = [("authorization", "Bearer sk-other")];
    for question in [chat("hi"), question("quick.jpg")] {
        let reply = server.http.send("POST", "/v1/chat/completions", &other, question.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert!(fake.web_open("slow.jpg") >= 2, "the slow links have ended");
    for raw in waiting {
        raw.reset();
    }
    eventually("the fetches are cancelled", || async { fake.web_open("slow.jpg") == 0 }).await;
    // Their permits are released when the server notices the last disconnect.
    eventually("the permits are released", || async { server.chat(&question("quick.jpg")).await.status == 200 }).await;
}
