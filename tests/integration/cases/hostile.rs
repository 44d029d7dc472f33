use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    Product,
    http::{Raw, chat, with},
    server::{Case, OPEN_FILE_LIMIT, Server},
};

pub async fn invalid_bodies_are_rejected(case: Arc<Case>) {
    let server = case.server().await;
    let fifty_megabytes = 50 * 1024 * 1024;
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("nothing", vec![], 400, "invalid_json"),
        (
            "broken UTF-8",
            b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}".to_vec(),
            400,
            "invalid_json",
        ),
        ("nested arrays", vec![b'['; 100_000], 400, "invalid_json"),
        ("nested objects", b"{\"a\":".repeat(100_000), 400, "invalid_json"),
        (
            "nested in an unknown field",
            [b"{\"messages\":[],\"x\":".to_vec(), vec![b'['; 100_000], vec![b']'; 100_000], b"}".to_vec()].concat(),
            400,
            "invalid_request",
        ),
        ("a long number", [b"{\"n\":".to_vec(), vec![b'1'; 1_000_000], b"}".to_vec()].concat(), 400, "invalid_request"),
        ("50 MB of digits", vec![b'1'; fifty_megabytes], 413, "request_too_large"),
        ("a NUL byte", b"\0".to_vec(), 400, "invalid_json"),
        (
            "a NUL byte in text",
            b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\0b\"}]}".to_vec(),
            400,
            "invalid_json",
        ),
        ("two values", b"{\"messages\":[]}{}".to_vec(), 400, "invalid_json"),
        ("a form", b"model=qwen3&messages=hi".to_vec(), 400, "invalid_json"),
        ("an array", b"[]".to_vec(), 400, "invalid_request"),
        ("null", b"null".to_vec(), 400, "invalid_request"),
        ("a string", b"\"hi\"".to_vec(), 400, "invalid_request"),
        ("no messages", b"{}".to_vec(), 400, "invalid_request"),
        ("empty messages", b"{\"messages\":[]}".to_vec(), 400, "invalid_request"),
        ("the same field twice", b"{\"messages\":[],\"messages\":[]}".to_vec(), 400, "invalid_request"),
    ];
    for (what, body, status, code) in cases {
        let reply = server.http.send("POST", "/v1/chat/completions", &Server::auth_headers(), body).await;
        assert_eq!((reply.status.as_u16(), reply.json()["error"]["code"].as_str()), (status, Some(code)), "{what}");
    }
    // An escaped NUL is text like any other.
    let reply = server.chat(&chat("a\u{0}b")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

const MIB: usize = 1024 * 1024;

/// The size limits of one JSON body and of all buffered bodies together.
const fn body_limits(product: Product) -> (usize, usize) {
    match product {
        Product::Native => (32 * MIB, 256 * MIB),
        Product::Worker => (16 * MIB, 48 * MIB),
    }
}

pub async fn body_size_is_limited(case: Arc<Case>) {
    let server = case.server().await;
    let (max_body, _) = body_limits(case.product);
    let body = |length: usize| {
        let mut body = b"{\"messages\":[],\"x\":\"".to_vec();
        body.resize(length - 2, b'x');
        [&body, &b"\"}"[..]].concat()
    };
    for (length, status, code) in [(max_body, 400, "invalid_request"), (max_body + 1, 413, "request_too_large")] {
        let reply = server.http.send("POST", "/v1/chat/completions", &Server::auth_headers(), body(length)).await;
        reply.error(status, code);
        // Without a declared length the limit applies while the body is read.
        let mut raw = Raw::connect(server.http.address()).await;
        raw.0.write_all(CHUNKED_HEAD.as_bytes()).await.unwrap();
        for chunk in body(length).chunks(MIB) {
            let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
            raw.0.write_all(&chunk).await.unwrap();
        }
        raw.0.write_all(b"0\r\n\r\n").await.unwrap();
        raw.read_until(code).await;
    }
}

const CHUNKED_HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test-key\r\ntransfer-encoding: chunked\r\n\r\n";

pub async fn total_size_of_buffered_bodies_is_limited(case: Arc<Case>) {
    let server = case.start(&[]).await;
    assert_eq!(server.chat(&chat("warm")).await.status, 200);
    let (max_body, max_total) = body_limits(case.product);
    let length = max_body - MIB;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test-key\r\ncontent-length: {length}\r\n\r\n"
    );
    // Bodies whose last byte is not sent.
    let body = vec![b' '; length - 1];
    let mut clients = Vec::new();
    for _ in 0..max_total / length {
        let mut client = Raw::connect(server.http.address()).await;
        client.send(head.as_bytes()).await;
        client.send(&body).await;
        clients.push(client);
    }
    let whole = Bytes::from(vec![b' '; length]);
    let send_until = async |status: u16| {
        let sent = async {
            loop {
                let reply =
                    server.http.send("POST", "/v1/chat/completions", &Server::auth_headers(), whole.clone()).await;
                if reply.status == status {
                    return reply;
                }
            }
        };
        tokio::time::timeout(crate::http::TIMEOUT, sent).await.unwrap()
    };
    let reply = send_until(503).await;
    assert!(reply.header("retry-after").is_some());
    reply.error(503, "overloaded");
    // Small bodies still fit.
    assert_eq!(server.chat(&chat("small")).await.status, 200);
    // A disconnect releases the memory.
    clients.into_iter().for_each(Raw::reset);
    send_until(400).await.error(400, "invalid_json");
}

pub async fn wrong_field_types_name_the_field(case: Arc<Case>) {
    let server = case.server().await;
    let text =
        ["model", "user", "reasoning_effort", "service_tier", "prompt_cache_key", "safety_identifier", "verbosity"];
    let numbers = ["temperature", "top_p", "frequency_penalty", "presence_penalty"];
    let without_effect = ["seed", "top_logprobs", "top_k"];
    let integers = ["n", "max_tokens", "max_completion_tokens", "thinking_budget"];
    let flags = ["stream", "store", "logprobs", "parallel_tool_calls", "enable_thinking", "enable_search"];
    let objects = [
        "stream_options",
        "metadata",
        "logit_bias",
        "response_format",
        "thinking",
        "reasoning",
        "chat_template_kwargs",
        "extra_body",
        "audio",
        "prediction",
    ];
    let arrays = ["messages", "tools", "functions", "modalities"];
    let mut tables: Vec<(&str, Vec<Value>)> = Vec::new();
    tables.extend(text.map(|name| (name, vec![json!(1), json!(true), json!([]), json!({})])));
    tables.extend(numbers.map(|name| (name, vec![json!("1"), json!(true), json!([]), json!({})])));
    tables.extend(without_effect.map(|name| (name, vec![json!("1"), json!(true), json!([]), json!({})])));
    tables.extend(integers.map(|name| (name, vec![json!("1"), json!(1.5), json!(true), json!([]), json!({})])));
    tables.extend(flags.map(|name| (name, vec![json!("true"), json!(1), json!([]), json!({})])));
    tables.extend(objects.map(|name| (name, vec![json!("x"), json!(1), json!(true)])));
    tables.extend(arrays.map(|name| (name, vec![json!("x"), json!(1), json!(true), json!({})])));
    tables.push(("stop", vec![json!(1), json!(true), json!({}), json!([1])]));
    for (name, values) in tables {
        for value in values {
            let reply = server.chat(&with(chat("hi"), json!({ name: value }))).await;
            let error = reply.error(400, "invalid_request");
            let param = error["param"].as_str().unwrap_or_else(|| panic!("{name}: {error}"));
            assert!(param == name || param.starts_with(&format!("{name}[")), "{name} {value}: {param}");
            assert!(error["message"].as_str().unwrap().contains(name));
        }
        let reply = server.chat(&with(chat("hi"), json!({ name: null }))).await;
        if name != "messages" {
            assert_eq!(reply.status, 200, "{name}: null means absent: {reply:?}");
        }
    }
    for (fields, param) in [
        (json!({"n": 2}), "n"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}, {"type": "hologram"}]}]}),
            "messages[0].content[1].type",
        ),
        (json!({"messages": [{"role": "user", "content": ""}]}), "messages"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (json!({"stop": vec!["x"; 17]}), "stop"),
        (json!({"stop": "x".repeat(2000)}), "stop"),
        (json!({"model": "x".repeat(200_000)}), "model"),
    ] {
        assert_eq!(server.chat(&with(chat("hi"), fields)).await.error(400, "invalid_request")["param"], param);
    }
}

/// The server answers malformed requests or closes the connection, and keeps running.
pub async fn malformed_http_requests_do_not_break_the_server(case: Arc<Case>) {
    let server = case.server().await;
    let key = "authorization: Bearer sk-test-key\r\n";
    let many_headers: String = (0..2000).map(|number| format!("x-{number}: y\r\n")).collect();
    for text in [
        "\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}".repeat(100),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{many_headers}\r\n"),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{key}content-length: 99\r\n\r\n{{\"messages\""),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{key}content-length: -5\r\n\r\n"),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\n5\r\n{{\"a\""),
    ] {
        let mut client = Raw::connect(server.http.address()).await;
        // The server may close the connection before it has read everything.
        let _ = client.0.write_all(text.as_bytes()).await;
        let _ = client.0.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(crate::http::TIMEOUT, client.0.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection stays open: {text:.40}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 500"), "{text:.40}: {answer}");
    }
    // A valid body in many chunks.
    let mut client = Raw::connect(server.http.address()).await;
    let body = chat("[[fake say=chunked]]").to_string();
    let chunks: String = body
        .as_bytes()
        .chunks(3)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{key}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    client.0.write_all(request.as_bytes()).await.unwrap();
    client.read_until("\"content\":\"chunked\"").await;
    assert_eq!(server.get("/health").await.status, 200);
}

/// Sends bytes; returns what the server sends until it closes the connection.
async fn answer_to(address: &str, bytes: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read everything.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    // A reset ends the answer as well.
    let read = tokio::time::timeout(crate::http::TIMEOUT, socket.read_to_end(&mut answer)).await;
    drop(read.expect("the connection stays open"));
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn excessive_header_fields_are_rejected(case: Arc<Case>) {
    let server = case.server().await;
    let head = |fields: &str| format!("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (fields, status) in [
        (many(90), "200"),
        (many(200), "431"),
        (many(100_000), "431"),
        (format!("x-long: {}\r\n", "y".repeat(20_000)), "200"),
        (format!("x-long: {}\r\n", "y".repeat(10_000_000)), "431"),
    ] {
        let answer = answer_to(server.http.address(), head(&fields).as_bytes()).await;
        // The answer may be lost when the server closes the connection before it has read everything.
        let status_line = format!("HTTP/1.1 {status}");
        assert!(
            answer.starts_with(&status_line) || (status != "200" && answer.is_empty()),
            "{}: {answer:.100}",
            fields.len()
        );
    }
    assert_eq!(server.get("/health").await.status, 200);
}

pub async fn incomplete_request_heads_time_out(case: Arc<Case>) {
    let server = case.server().await;
    let heads = ["", "P", "GET /health HTTP/1.1\r\nx-slow: ", "GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET"];
    let timed_out = heads.map(|head| async {
        let mut socket = tokio::net::TcpStream::connect(server.http.address()).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = socket.into_split();
        // A byte now and then does not extend the timeout.
        let drip = async {
            while !head.is_empty() && writing.write_all(b"y").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut rest = Vec::new();
        let closed =
            async { drop(tokio::time::timeout(crate::http::TIMEOUT, reading.read_to_end(&mut rest)).await.unwrap()) };
        tokio::select! {
            () = closed => {}
            () = drip => {}
        }
    });
    futures::future::join_all(timed_out).await;
}

pub async fn unread_pages_use_no_memory(case: Arc<Case>) {
    const PAGE: &str = "/assets/vendor/swagger-ui-bundle.js";
    let server = case.start(&[]).await;
    let page = server.get(PAGE).await;
    assert!(page.body.len() > MIB && page.header("content-length").is_some(), "{:?}", page.headers);
    let before = server.memory_bytes().await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        let socket = tokio::net::TcpStream::connect(server.http.address()).await.unwrap();
        // A window of 0: the server must not send any of the bodies.
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let handshake = builder.initial_stream_window_size(0).handshake(TokioIo::new(socket));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        for _ in 0..100 {
            let request = http::Request::get(format!("{}{PAGE}", server.url));
            let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
            unread.push(tokio::time::timeout(crate::http::TIMEOUT, answer).await.unwrap().unwrap());
        }
    }
    let growth_mib = server.memory_bytes().await.saturating_sub(before) / 1024 / 1024;
    assert!(growth_mib <= 16, "memory grew by {growth_mib} MiB from {} MiB", before / 1024 / 1024);
    drop(unread);
}

pub async fn exhausted_descriptors_do_not_affect_open_connections(case: Arc<Case>) {
    let accept_failed = async |server: &Server| server.log().await.iter().any(|line| line.contains("cannot accept"));
    // The server raises the soft limit …
    let server = case.start(&[(OPEN_FILE_LIMIT, "-Sn 64")]).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = Raw::connect(server.http.address()).await;
        client.send(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.read_until("\r\n\r\n{").await;
        clients.push(client);
    }
    assert!(!accept_failed(&server).await);
    // … and respects the hard limit: a connected client can chat, which needs a connection to the upstream.
    let server = case.start(&[(OPEN_FILE_LIMIT, "-n 100")]).await;
    let mut early = Raw::connect(server.http.address()).await;
    early.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    early.read_until("\r\n\r\n{").await;
    // Fewer than fit into the accept queue.
    for _ in 0..110 {
        let mut client = Raw::connect(server.http.address()).await;
        client.send(b"GET /ready HTTP/1.1\r\nhost: x\r\n").await;
        clients.push(client);
    }
    early.chat(&chat("[[fake say=here]]")).await;
    early.read_until("\"content\":\"here\"").await;
    assert!(!accept_failed(&server).await);
    // Closed connections make room for others.
    drop(clients);
    assert_eq!(server.with_new_client().get("/health").await.status, 200);
}

pub async fn slow_and_idle_clients_do_not_affect_others(case: Arc<Case>) {
    let server = case.start(&[]).await;
    assert_eq!(server.chat(&chat("warm")).await.status, 200);
    let before = server.memory_bytes().await;
    let mut idle = Vec::new();
    for number in 0..1_000 {
        let mut client = Raw::connect(server.http.address()).await;
        if number % 2 == 0 {
            // Idle after a response.
            client.send(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
            client.read_until("\r\n\r\n{").await;
        }
        idle.push(client);
    }
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = Raw::connect_with_small_buffer(server.http.address()).await;
        match number % 3 {
            0 => client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: y").await,
            1 => client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test-key\r\ncontent-length: 30000000\r\n\r\n{\"model\":").await,
            // Responses that are not read.
            _ => client.chat(&with(chat("[[fake stream=count n=20000]]"), json!({ "stream": true }))).await,
        }
        slow.push(client);
    }
    for _ in 0..20 {
        assert_eq!(server.with_new_client().get("/health").await.status, 200);
    }
    assert_eq!(server.with_new_client().chat(&chat("still here")).await.status, 200);
    let after = server.memory_bytes().await;
    let growth_mib = after.saturating_sub(before) / 1024 / 1024;
    assert!(growth_mib <= 64, "memory grew by {growth_mib} MiB from {} MiB", before / 1024 / 1024);
    drop((idle, slow));
}
