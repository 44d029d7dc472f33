//! `/v1/videos…`: how jobs begin, what becomes of them, and what clients get.

mod creation;
mod progress;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};

use super::images::{LOOPBACK, drawing as filming};
use crate::{
    Product,
    fake_qwen::{Fake, MediaJob},
    http::{Raw, Reply, eventually, with},
    server::{Case, KEY, Server},
};

pub use self::{creation::*, progress::*};

const VIDEOS: &str = "/v1/videos";
const ANY: &str = "";
/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A prompt with a directive for the fake.
fn prompt(directive: &str) -> String {
    if directive.is_empty() { "a red kite rises".to_owned() } else { format!("[[fake {directive}]] a red kite rises") }
}

async fn create(server: &Server, directive: &str, fields: Value) -> Reply {
    server.post(VIDEOS, &with(json!({ "prompt": prompt(directive) }), fields)).await
}

/// Begins a job; returns its id.
async fn begin(server: &Server, directive: &str) -> String {
    let reply = create(server, directive, json!({})).await;
    assert_eq!(reply.status, 200, "{directive}: {reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn get(server: &Server, path: &str) -> Reply {
    server.http.send("GET", &format!("{VIDEOS}/{path}"), &Server::auth_headers(), "").await
}

async fn job(server: &Server, id: &str) -> Value {
    let reply = get(server, id).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let job = reply.json();
    let runs = ["queued", "in_progress"].contains(&job["status"].as_str().unwrap());
    assert_eq!(reply.header("openai-poll-after-ms"), runs.then_some("5000"), "{reply:?}");
    job
}

/// Asks for a job until it is over. Its progress never falls.
async fn ended(server: &Server, id: &str) -> Value {
    let last = std::sync::Mutex::new(Value::Null);
    eventually(&format!("the job {id} ends"), || async {
        let now = job(server, id).await;
        let before = std::mem::replace(&mut *last.lock().unwrap(), now.clone());
        assert!(now["progress"].as_u64() >= before["progress"].as_u64(), "{before} {now}");
        !["queued", "in_progress"].contains(&now["status"].as_str().unwrap())
    })
    .await;
    last.into_inner().unwrap()
}

/// The jobs of a list.
async fn listed(server: &Server, query: &str) -> (Vec<String>, Value) {
    let reply = server.http.send("GET", &format!("{VIDEOS}{query}"), &Server::auth_headers(), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let list = reply.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<String> =
        list["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(list["first_id"].as_str(), ids.first().map(String::as_str));
    assert_eq!(list["last_id"].as_str(), ids.last().map(String::as_str));
    (ids, list)
}

/// No answer holds a link of the site.
fn assert_no_site_link(fake: &Fake, text: &str) {
    assert!(!text.contains("/output/") && !text.contains(&fake.url()) && !text.contains("?key="), "{text:.500}");
}

fn newest(fake: &Fake) -> MediaJob {
    fake.media_jobs(ANY).pop().unwrap()
}

async fn content(server: &Server, id: &str, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![Server::auth_headers()[0]];
    all.extend_from_slice(headers);
    server.http.send("GET", &format!("{VIDEOS}/{id}/content"), &all, "").await
}

pub async fn the_bytes_are_passed_on(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let id = begin(&server, "polls=0 bytes=300000").await;
    // The content itself asks for the state, unless the timer does at this moment.
    eventually("it is made", || async { content(&server, &id, &[]).await.status == 200 }).await;
    let whole = content(&server, &id, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, 300_000), "{whole:?}");
    assert_eq!((whole.header("content-type"), whole.header("accept-ranges")), (Some("video/mp4"), Some("bytes")));
    assert_eq!(whole.header("content-length"), Some("300000"));
    for (range, part, found) in [
        ("bytes=4-11", 4..12, "bytes 4-11/300000"),
        ("bytes=299990-", 299_990..300_000, "bytes 299990-299999/300000"),
        ("bytes=-7", 299_993..300_000, "bytes 299993-299999/300000"),
    ] {
        let reply = content(&server, &id, &[("range", range)]).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-range")), (206, Some(found)), "{range}");
        assert_eq!(
            (&reply.body, reply.header("content-type")),
            (&whole.body.slice(part), Some("video/mp4")),
            "{range}"
        );
    }
    let beyond = content(&server, &id, &[("range", "bytes=300000-")]).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, Some("bytes */300000")));
    let head = server.http.send("HEAD", &format!("{VIDEOS}/{id}/content"), &Server::auth_headers(), "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!((head.header("content-type"), head.header("content-length")), (Some("video/mp4"), Some("300000")));
    assert_eq!(get(&server, &format!("{id}/content?variant=video")).await.body.len(), 300_000);
    for variant in ["thumbnail", "spritesheet"] {
        let error = get(&server, &format!("{id}/content?variant={variant}")).await.error(400, "unsupported_value");
        assert_eq!(error["param"], "variant");
    }
    get(&server, "video_nothing/content").await.error(404, "video_not_found");
    get(&server, "video_nothing").await.error(404, "video_not_found");
    server.http.send("GET", &format!("{VIDEOS}/{id}/content"), &[], "").await.error(401, "missing_api_key");
    assert_eq!(fake.violations(ANY), Vec::<String>::new());
}

pub async fn an_ended_link_is_renewed(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    // By the chat's detail, by the task, and not at all.
    let all = [("detail=1", 200), ("v1=404", 200), ("gone=1", 502)];
    join_all(all.map(|(directive, status)| {
        let (fake, server) = (&fake, &server);
        async move {
            let id = begin(server, &format!("{directive} polls=0 bytes=5000")).await;
            // The timer may be asking for it at this moment.
            eventually("it is made", || async { content(server, &id, &[]).await.status == 200 }).await;
            assert_eq!(content(server, &id, &[]).await.body.len(), 5_000, "{directive}");
            let output = fake.outputs(directive).pop().unwrap();
            fake.end_links(&output.chat_id, if status == 200 { 403 } else { 404 });
            let reply = content(server, &id, &[]).await;
            if status == 502 {
                assert_eq!(reply.header("x-should-retry"), Some("false"));
                reply.error(502, "media_unavailable");
                return;
            }
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 5_000), "{directive}");
            // The newer link is kept.
            let before = fake.downloads(&output.path).len();
            assert_eq!(content(server, &id, &[]).await.status, 200);
            assert_eq!(fake.downloads(&output.path).len(), before + 1, "{directive}");
        }
    }))
    .await;
}

pub async fn jobs_are_listed_and_forgotten(case: Arc<Case>) {
    let settings = [("VALID_TOKENS", "sk-test-key,sk-other-key")];
    let (fake, server) = filming(&case, &settings).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(begin(&server, &format!("polls=0 id={number}")).await);
    }
    let (all, list) = listed(&server, "").await;
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!((all, &list["has_more"]), (newest_first.clone(), &json!(false)));
    assert!(list["data"].as_array().unwrap().iter().all(|job| job["object"] == "video" && job["prompt"].is_string()));
    let (page, list) = listed(&server, "?limit=2").await;
    assert_eq!((&page[..], &list["has_more"]), (&newest_first[..2], &json!(true)));
    let (page, list) = listed(&server, &format!("?limit=2&after={}", page[1])).await;
    assert_eq!((&page[..], &list["has_more"]), (&newest_first[2..4], &json!(true)));
    let (page, list) = listed(&server, &format!("?limit=2&after={}", page[1])).await;
    assert_eq!((&page[..], &list["has_more"]), (&newest_first[4..], &json!(false)));
    let (page, _) = listed(&server, "?order=asc&limit=3").await;
    assert_eq!(page, ids[..3]);
    let (page, _) = listed(&server, &format!("?order=asc&after={}", ids[2])).await;
    assert_eq!(page, ids[3..]);
    for (query, param) in [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order")] {
        let reply = server.http.send("GET", &format!("{VIDEOS}?{query}"), &Server::auth_headers(), "").await;
        assert_eq!(reply.error(400, "invalid_request")["param"], param);
    }

    // A job is seen by its key alone.
    let other = [("authorization", "Bearer sk-other-key")];
    let send = |method: &'static str, path: String| {
        let server = &server;
        async move { server.http.send(method, &path, &other, "").await }
    };
    assert_eq!(send("GET", VIDEOS.to_owned()).await.json()["data"], json!([]));
    for (method, end) in [("GET", ""), ("GET", "/content"), ("DELETE", "")] {
        send(method, format!("{VIDEOS}/{}{end}", ids[0])).await.error(404, "video_not_found");
    }
    let after = send("GET", format!("{VIDEOS}?after={}", ids[4])).await;
    assert_eq!(after.json()["data"], json!([]));

    let path = format!("{VIDEOS}/{}", ids[0]);
    let gone = server.http.send("DELETE", &path, &Server::auth_headers(), "").await;
    assert_eq!(gone.json(), json!({ "id": ids[0], "object": "video.deleted", "deleted": true }), "{gone:?}");
    server.http.send("DELETE", &path, &Server::auth_headers(), "").await.error(404, "video_not_found");
    get(&server, &ids[0]).await.error(404, "video_not_found");
    assert_eq!(listed(&server, "").await.0, newest_first[..4]);
    let polls: u64 = fake.media_jobs("id=0").iter().map(|job| fake.task_polls(job.task_id.as_deref().unwrap())).sum();
    assert!(polls <= 1, "a forgotten job is not asked for");
}

pub async fn old_jobs_are_forgotten(case: Arc<Case>) {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.db").display().to_string();
    let path = if case.product == Product::Native { kept.as_str() } else { "" };
    let cookies = format!("token={}", Fake::token("old-videos", 9_000));
    let settings = [("DATABASE_PATH", path), ("QWEN_COOKIES", cookies.as_str()), ("CONVERSATION_TTL_DAYS", "2")];
    let (fake, server) = filming(&case, &settings).await;
    let (old, young) = (begin(&server, "polls=0 id=old").await, begin(&server, "polls=0 id=young").await);
    for id in [&old, &young] {
        assert_eq!(ended(&server, id).await["status"], "completed");
    }
    let age = format!(
        "UPDATE videos SET created_at = created_at - 3 * 86400000, ended_at = ended_at - 3 * 86400000 WHERE id = '{old}';"
    );
    let server = match case.product {
        Product::Worker => {
            server.sql(&age).await;
            server.scheduled().await;
            server
        }
        Product::Native => {
            server.stop().await;
            rusqlite::Connection::open(path).unwrap().execute_batch(&age).unwrap();
            let all = [LOOPBACK, settings[0], settings[1], settings[2]];
            case.start_with(&fake, &all).await
        }
    };
    eventually("the old job is forgotten", || async { get(&server, &old).await.status == 404 }).await;
    assert_eq!(get(&server, &young).await.status, 200);
}

pub async fn a_large_video_uses_bounded_memory(case: Arc<Case>) {
    const SIZE: usize = 100_000_000;
    let (_fake, server) = filming(&case, &[]).await;
    let warm = begin(&server, "polls=0 bytes=5000").await;
    assert_eq!(ended(&server, &warm).await["status"], "completed");
    assert_eq!(content(&server, &warm, &[]).await.body.len(), 5_000);
    let id = begin(&server, "polls=0 bytes=100000000").await;
    assert_eq!(ended(&server, &id).await["status"], "completed");
    let idle = server.memory_bytes().await;
    let mut peak = idle;
    // A client that reads nothing for a while: unbounded buffers would fill.
    let mut slow = Raw::connect_with_small_buffer(server.http.address()).await;
    let range = format!("range: bytes=1000-{}\r\n", SIZE - 1);
    let head = format!("GET {VIDEOS}/{id}/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{range}\r\n");
    slow.send(head.as_bytes()).await;
    let begun = slow.read_until("\r\n\r\n").await;
    assert!(begun.starts_with("HTTP/1.1 206") && begun.to_ascii_lowercase().contains("bytes 1000-99999999/100000000"));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peak = peak.max(server.memory_bytes().await);
    }
    slow.reset();
    let (part, measured) = tokio::join!(content(&server, &id, &[("range", "bytes=10000000-")]), async {
        let mut peak = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            peak = peak.max(server.memory_bytes().await);
        }
        peak
    });
    assert_eq!((part.status.as_u16(), part.body.len()), (206, SIZE - 10_000_000));
    peak = peak.max(measured).max(server.memory_bytes().await);
    let used = if case.product == Product::Native { peak.saturating_sub(idle) } else { peak };
    assert!(used <= 48_000_000, "{used} bytes");
}
