//! `/v1/videos…`: how jobs begin, what becomes of them, and what clients get.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use serde_json::{Value, json};

use super::files::{fixture, send};
use crate::{
    Product,
    fake_qwen::{Fake, MediaJob},
    form::Form,
    http::{Http, Raw, Reply, eventually, with},
    server::{BROKEN_STORE, Case, KEY, Server},
};

const VIDEOS: &str = "/v1/videos";
/// For the storage of the fake, which is on this machine.
const LOOPBACK: (&str, &str) = ("ALLOW_PRIVATE_URLS", "true");
const ANY: &str = "";
/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn filming(case: &Case, settings: &[(&str, &str)]) -> (Arc<Fake>, Arc<Server>) {
    let fake = Arc::new(Fake::start());
    let mut all = vec![LOOPBACK];
    all.extend_from_slice(settings);
    let server = case.start_with(&fake, &all).await;
    (fake, server)
}

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

pub async fn a_video_is_made(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let reply = create(&server, "polls=1 bytes=200000", json!({})).await;
    assert_eq!((reply.status.as_u16(), reply.header("openai-poll-after-ms")), (200, Some("5000")), "{reply:?}");
    assert!(reply.header("access-control-expose-headers").unwrap().contains("openai-poll-after-ms"));
    let begun = reply.json();
    let id = begun["id"].as_str().unwrap();
    assert!(id.starts_with("video_") && id.len() == 6 + 32, "{id}");
    for (field, expected) in [
        ("object", json!("video")),
        ("model", json!("qwen-video")),
        ("progress", json!(0)),
        ("prompt", json!(prompt("polls=1 bytes=200000"))),
        ("seconds", json!("5")),
        ("size", json!("1280x720")),
        ("completed_at", Value::Null),
        ("expires_at", Value::Null),
        ("remixed_from_video_id", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(begun[field], expected, "{field}");
    }
    assert!(["queued", "in_progress"].contains(&begun["status"].as_str().unwrap()), "{begun}");
    let made = newest(&fake);
    assert_eq!((made.chat_type.as_str(), made.size.as_deref(), made.files.len()), ("t2v", Some("16:9"), 0));
    assert_eq!(made.model, None, "the site has no video models");
    assert_eq!((fake.videos_begun(ANY), fake.violations(ANY)), (1, Vec::new()));

    get(&server, &format!("{id}/content")).await.error(400, "video_not_ready");
    let over = ended(&server, id).await;
    assert_eq!((&over["status"], &over["progress"], &over["error"]), (&json!("completed"), &json!(100), &Value::Null));
    assert!(over["completed_at"].as_u64().unwrap() >= over["created_at"].as_u64().unwrap());
    let polls = fake.task_polls(made.task_id.as_deref().unwrap());
    assert_eq!(polls, 2);
    let video = content(&server, id, &[]).await;
    assert_eq!((video.status.as_u16(), video.header("content-type")), (200, Some("video/mp4")));
    let output = &fake.outputs(ANY)[0];
    assert!(video.body == fake.output_bytes(&output.path).unwrap(), "other bytes");
    job(&server, id).await;
    assert_eq!(fake.task_polls(made.task_id.as_deref().unwrap()), polls, "nothing is asked of what is over");
    // The site's link holds the account's id.
    for text in [reply.text(), over.to_string(), format!("{:?}", video.headers), server.log().await.join("\n")] {
        assert_no_site_link(&fake, &text);
    }
}

pub async fn fields_decide_what_is_made(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[("MEDIA_TEXT_MODEL", "qwen3.7-plus")]).await;
    for (fields, model, carried_by, ratio) in [
        (json!({}), "qwen-video", "qwen3.7-plus", "16:9"),
        (json!({ "model": "sora-2", "size": "720x1280", "seconds": "8" }), "sora-2", "qwen3.7-plus", "9:16"),
        (json!({ "model": "sora-2-pro", "size": "1792x1024", "seconds": 4 }), "sora-2-pro", "qwen3.7-plus", "16:9"),
        (json!({ "model": "wan2.7-t2v", "size": "1:1" }), "wan2.7-t2v", "qwen3.7-plus", "1:1"),
        (json!({ "model": "qwen3-max-video", "size": "960x720" }), "qwen3-max-video", "qwen3-max", "4:3"),
        (
            json!({ "model": "", "size": "", "seconds": null, "metadata": { "a": 1 } }),
            "qwen-video",
            "qwen3.7-plus",
            "16:9",
        ),
    ] {
        let reply = server
            .http
            .send(
                "POST",
                VIDEOS,
                &[&Server::auth_headers()[..], &[("x-fresh", "true")]].concat(),
                with(json!({ "prompt": "a kite" }), fields.clone()).to_string(),
            )
            .await;
        assert_eq!((reply.status.as_u16(), reply.json()["model"].as_str()), (200, Some(model)), "{fields} {reply:?}");
        assert_eq!(newest(&fake).size.as_deref(), Some(ratio), "{fields}");
        let asked = fake.media_requests(ANY).pop().unwrap().json();
        assert_eq!((&asked["model"], &asked["stream"]), (&json!(carried_by), &json!(false)), "{fields}");
        assert!(!asked.to_string().contains("seconds"), "{asked}");
    }
    let asked = fake.request_count();
    for (fields, param) in [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": "x".repeat(32_001) }), "prompt"),
        (json!({ "prompt": 5 }), "prompt"),
        (json!({ "size": "10:1" }), "size"),
        (json!({ "size": "1080p" }), "size"),
        (json!({ "model": [] }), "model"),
        (json!({ "input_reference": ["https://a.example/1.png", "https://a.example/2.png"] }), "input_reference"),
        (json!({ "input_reference": {} }), "input_reference"),
        (json!({ "input_reference": "data:image/png;base64,!!" }), "input_reference"),
    ] {
        assert_eq!(create(&server, "", fields.clone()).await.error(400, "invalid_request")["param"], param, "{fields}");
    }
    server.post(VIDEOS, &json!([])).await.error(400, "invalid_request");
    let broken = server.http.send("POST", VIDEOS, &Server::auth_headers(), "{").await;
    broken.error(400, "invalid_json");
    server.http.send("POST", VIDEOS, &[], "{}").await.error(401, "missing_api_key");
    assert_eq!((fake.request_count(), fake.violations(ANY)), (asked, Vec::new()));
}

pub async fn a_picture_becomes_the_first_frame(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let png = fixture("truecolor.png");
    let data = format!("data:image/png;base64,{}", STANDARD.encode(&png));
    let file = send(&server, "/v1/files", Form::new().file("file", "kite.png", None, &png)).await.json();
    let file_id = file["id"].as_str().unwrap();
    let check = |what: &str, reply: &Reply| {
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        let made = newest(&fake);
        assert_eq!((made.chat_type.as_str(), made.files.len(), made.dropped_files), ("i2v", 1, 0), "{what}");
        let asked = fake.media_requests(ANY).pop().unwrap().json();
        let message = &asked["messages"][0];
        assert_eq!((&message["chat_type"], &message["extra"]["meta"]["subChatType"]), (&json!("i2v"), &json!("i2v")));
    };
    for (number, reference) in [
        json!({ "image_url": data }),
        json!({ "image_url": { "url": data } }),
        json!({ "file_id": file_id }),
        json!([{ "file_id": file_id }]),
        json!(data),
    ]
    .into_iter()
    .enumerate()
    {
        let fields = json!({ "input_reference": reference, "prompt": format!("json {number}") });
        check(&fields.to_string(), &create(&server, "", fields).await);
    }
    let form = |number: &str| {
        Form::new().text("prompt", &format!("form {number}")).text("model", "sora-2").text("seconds", "8")
    };
    check("file", &send(&server, VIDEOS, form("1").file("input_reference", "kite.png", Some("image/png"), &png)).await);
    check("file first", &{
        let form = Form::new().file("input_reference", "kite.png", None, &png).text("prompt", "form 2");
        send(&server, VIDEOS, form).await
    });
    check("brackets", &send(&server, VIDEOS, form("3").text("input_reference[image_url]", &data)).await);
    check("file_id", &send(&server, VIDEOS, form("4").text("input_reference[file_id]", file_id)).await);
    check("text", &send(&server, VIDEOS, form("5").text("input_reference", &data)).await);
    assert_eq!(fake.violations(ANY), Vec::<String>::new());

    // A form without a file is what OpenAI's SDKs send.
    let reply = send(&server, VIDEOS, form("6").text("size", "720x1280")).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["model"]), (200, &json!("sora-2")), "{reply:?}");
    assert_eq!((newest(&fake).chat_type.as_str(), newest(&fake).size.as_deref()), ("t2v", Some("9:16")));

    let begun = fake.videos_begun(ANY);
    for form in [
        form("7").file("input_reference", "1.png", None, &png).file("input_reference", "2.png", None, &png),
        form("8").file("input_reference", "1.png", None, &png).text("input_reference[file_id]", file_id),
        form("9").text("input_reference[image_url]", &data).text("input_reference[file_id]", file_id),
        form("10").text("input_reference[file_id]", "nothing"),
    ] {
        let error = send(&server, VIDEOS, form).await.error(400, "invalid_request");
        assert!(error["param"].as_str().unwrap().starts_with("input_reference"), "{error}");
    }
    send(&server, VIDEOS, Form::new().text("model", "sora-2")).await.error(400, "invalid_request");
    let text = send(&server, VIDEOS, form("11").file("input_reference", "x.txt", None, "no picture")).await;
    text.error(400, "unsupported_file_type");
    assert_eq!(fake.videos_begun(ANY), begun);
}

pub async fn a_refusal_stores_nothing(case: Arc<Case>) {
    for (directive, status, code, repeat) in [
        ("fail=video_quota", 429, "quota_exceeded", Some("false")),
        ("fail=data_inspection", 400, "content_filter", None),
        ("fail=overload", 503, "upstream_overloaded", None),
        ("fail=model_not_found", 404, "model_not_found", None),
        ("fail=internal_error", 502, "upstream_error", None),
        ("fail=unauthorized", 401, "qwen_session_expired", Some("false")),
        ("fail=waf_json", 403, "qwen_challenge", Some("false")),
    ] {
        let (fake, server) = filming(&case, &[]).await;
        let reply = create(&server, directive, json!({})).await;
        reply.error(status, code);
        assert_eq!(reply.header("x-should-retry"), repeat, "{directive}");
        assert_eq!((fake.videos_begun(ANY), fake.media_requests(ANY).len()), (0, 1), "{directive}");
        assert!(listed(&server, "").await.0.is_empty(), "{directive}");
        if ["quota_exceeded", "content_filter"].contains(&code) {
            // What is asked again is begun.
            let again = fake.media_requests(ANY).len();
            create(&server, directive, json!({})).await.error(status, code);
            assert_eq!(fake.media_requests(ANY).len(), again + 1);
        }
    }
    let (fake, server) = filming(&case, &[("QWEN_COOKIES", "")]).await;
    create(&server, "", json!({})).await.error(401, "qwen_session_missing");
    assert_eq!(fake.request_count(), 0);
}

pub async fn without_a_store_nothing_is_begun(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[(BROKEN_STORE, "1")]).await;
    let mut last = 0;
    // A full disk takes some rows before it is full.
    eventually("the store is full", || {
        last += 1;
        let (server, prompt) = (server.with_new_client(), format!("{last} {}", "x".repeat(30_000)));
        async move { server.post(VIDEOS, &json!({ "prompt": prompt })).await.status == 503 }
    })
    .await;
    let begun = fake.media_requests(ANY).len();
    let reply = server.post(VIDEOS, &json!({ "prompt": "x".repeat(30_000) })).await;
    reply.error(503, "store_unavailable");
    assert_eq!(fake.media_requests(ANY).len(), begun);
}

pub async fn a_lost_answer_is_looked_up(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = [
        ("lost=empty task_id=detail", 200),
        ("lost=html task_id=detail", 200),
        ("lost=reset task_id=detail", 200),
        ("task_id=detail", 200),
        ("task_id=flat", 200),
        ("lost=reset task_id=none detail=1", 200),
        ("lost=empty task_id=none", 502),
    ];
    join_all(all.iter().enumerate().map(|(number, (directive, status))| {
        let (server, fake, status) = (&server, &fake, *status);
        let name = format!("id=number{number}");
        async move {
            let reply = create(server, &format!("{directive} polls=0 {name}"), json!({})).await;
            if status == 200 {
                assert_eq!(reply.status, 200, "{directive}: {reply:?}");
                let id = reply.json()["id"].as_str().unwrap().to_owned();
                assert_eq!(ended(server, &id).await["status"], "completed", "{directive}");
                assert_eq!(content(server, &id, &[]).await.status, 200, "{directive}");
            } else {
                reply.error(status, "upstream_empty");
                assert_eq!(reply.header("x-should-retry"), Some("false"));
            }
            assert_eq!(fake.media_requests(&name).len(), 1, "{directive}: asked once");
        }
    }))
    .await;
    assert_eq!(listed(&server, "").await.0.len(), all.len() - 1);
}

pub async fn each_word_of_the_site_is_a_state(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = [
        ("state=Pending end_state=SUCCEEDED", Ok(())),
        ("state=queued end_state=success", Ok(())),
        ("state=PROCESSING end_state=Succeeded v2=404", Ok(())),
        ("state=dreaming end_state=success v1=html", Ok(())),
        ("state=running v2=json", Ok(())),
        ("end_state=failed message=No%20video.", Err("video_failed")),
        ("end_state=ERROR message=https%3A%2F%2Fcdn.example%2Foutput%2Fu%2Fx.mp4", Err("video_failed")),
        ("end_state=Canceled", Err("video_failed")),
        ("task_error=Whatever", Err("video_failed")),
        ("task_error=data_inspection_failed", Err("content_filter")),
        ("end_state=failed message=Content%20security%20warning", Err("content_filter")),
        ("end_state=failed message=Allocated%20quota%20exceeded", Err("quota_exceeded")),
    ];
    join_all(all.map(|(directive, expected)| {
        let (server, fake) = (&server, &fake);
        async move {
            let id = begin(server, &format!("{directive} polls=1")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}");
            let over = ended(server, &id).await;
            assert_no_site_link(fake, &over.to_string());
            match expected {
                Ok(()) => assert_eq!(over["status"], "completed", "{directive} {over}"),
                Err(code) => {
                    assert_eq!((&over["status"], &over["error"]["code"]), (&json!("failed"), &json!(code)), "{over}");
                    assert!(over["completed_at"].is_null() && over["progress"].as_u64().unwrap() < 100, "{over}");
                    let error = content(server, &id, &[]).await.error(400, code);
                    assert_eq!(error["message"], over["error"]["message"]);
                }
            }
        }
    }))
    .await;
    assert_eq!(fake.violations(ANY), Vec::<String>::new());
}

pub async fn answers_that_say_nothing_change_nothing(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = ["poll_1=html poll_2=html", "poll_1=http_500 poll_2=empty_json", "poll_1=missing poll_2=missing"];
    join_all(all.map(|directive| {
        let server = &server;
        async move {
            let id = begin(server, &format!("{directive} polls=1")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}");
            assert_eq!(ended(server, &id).await["status"], "completed", "{directive}");
        }
    }))
    .await;
    assert_eq!(fake.videos_begun(ANY), all.len());
}

pub async fn an_ended_session_fails_no_job(case: Arc<Case>) {
    let cookies = format!("token={}; refresh_token={}", Fake::token("film", 9_000), Fake::refresh_token("film"));
    let (_fake, server) = filming(&case, &[("QWEN_COOKIES", &cookies)]).await;
    let id = begin(&server, "poll_1=401 polls=1").await;
    assert_eq!(ended(&server, &id).await["status"], "completed", "the session is renewed");

    let token = Fake::token("film", 9_000);
    let cookies = format!("token={token}");
    let settings = [("QWEN_COOKIES", cookies.as_str()), ("ADMIN_TOKEN", "admin-key"), ("VIDEO_TIMEOUT_SECONDS", "1")];
    let (fake, server) = filming(&case, &settings).await;
    let id = begin(&server, "polls=0").await;
    let task = newest(&fake).task_id.unwrap();
    fake.revoke(&token);
    eventually("the session has ended", || async {
        assert_eq!(job(&server, &id).await["status"], "in_progress");
        server.get("/health").await.json()["session"]["state"] == "expired"
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(job(&server, &id).await["status"], "in_progress", "also after the time-out");
    assert_eq!(fake.task_polls(&task), 0);
    get(&server, &format!("{id}/content")).await.error(400, "video_not_ready");
    let body = json!({ "cookies": format!("token={}", Fake::token("film", 9_500)) }).to_string();
    let put = server.http.send("PUT", "/admin/session", &[("authorization", "Bearer admin-key")], body).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(ended(&server, &id).await["status"], "completed");
}

pub async fn the_site_is_asked_by_one_at_a_time(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = format!("token={}", Fake::token("pair", 9_000));
    let pair = case.start_pair(&fake, &[LOOPBACK, ("QWEN_COOKIES", &cookies)]).await;
    // The first poll gets no answer: meanwhile the others get the job as it is.
    let id = begin(&pair[0], "poll_1=hang polls=1").await;
    let task = newest(&fake).task_id.unwrap();
    let first = {
        let (server, id) = (Arc::clone(&pair[0]), id.clone());
        tokio::spawn(async move { job(&server, &id).await })
    };
    eventually("the site is asked", || async { fake.task_polls(&task) == 1 }).await;
    let all = (0..20).map(|number| job(&pair[number % 2], &id));
    assert!(join_all(all).await.iter().all(|job| job["status"] == "in_progress"));
    assert_eq!(fake.task_polls(&task), 1);
    assert_eq!(first.await.unwrap()["status"], "in_progress");
    assert_eq!(ended(&pair[1], &id).await["status"], "completed");

    // At most every five seconds.
    let id = begin(&pair[0], "polls=99").await;
    let task = newest(&fake).task_id.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        join_all((0..10).map(|number| job(&pair[number % 2], &id))).await;
    }
    let polls = fake.task_polls(&task);
    assert!(polls >= 1 && polls <= 1 + begun.elapsed().as_secs() / 5, "{polls}");
}

pub async fn a_lost_task_is_looked_up_and_fails(case: Arc<Case>) {
    let (_fake, server) = filming(&case, &[]).await;
    let all = [("gone=0", "failed"), ("gone=1", "failed"), ("gone=0 detail=1", "completed")];
    join_all(all.map(|(directive, expected)| {
        let server = &server;
        async move {
            let id = begin(server, &format!("{directive} polls=9")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}: once is no proof");
            let over = ended(server, &id).await;
            assert_eq!(over["status"], expected, "{directive}");
            if expected == "failed" {
                assert_eq!(over["error"]["code"], "task_lost");
                content(server, &id, &[]).await.error(400, "task_lost");
            }
        }
    }))
    .await;
}

pub async fn a_video_that_takes_too_long_fails(case: Arc<Case>) {
    let (_fake, server) = filming(&case, &[("VIDEO_TIMEOUT_SECONDS", "1")]).await;
    let all = [("polls=99", "failed"), ("v1=html v2=html", "failed"), ("polls=99 detail=1", "completed")];
    join_all(all.map(|(directive, expected)| {
        let server = &server;
        async move {
            let id = begin(server, directive).await;
            let over = ended(server, &id).await;
            assert_eq!(over["status"], expected, "{directive}");
            if expected == "failed" {
                assert_eq!(over["error"]["code"], "upstream_timeout");
            }
        }
    }))
    .await;
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

pub async fn equal_requests_share_a_job(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = format!("token={}", Fake::token("equal", 9_000));
    let settings = [LOOPBACK, ("QWEN_COOKIES", cookies.as_str()), ("VALID_TOKENS", "sk-test-key,sk-other-key")];
    let pair = case.start_pair(&fake, &settings).await;
    let all = (0..6).map(|number| create(&pair[number % 2], "first_ms=1500 polls=0", json!({})));
    let replies = join_all(all).await;
    let ids: Vec<Value> = replies.iter().map(|reply| reply.json()["id"].clone()).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(fake.videos_begun(ANY), 1);
    let id = ids[0].as_str().unwrap();
    // Also when the video is there.
    assert_eq!(ended(&pair[0], id).await["status"], "completed");
    let again = create(&pair[1], "first_ms=1500 polls=0", json!({ "seconds": "8" })).await.json();
    assert_eq!((&again["id"], &again["status"]), (&ids[0], &json!("completed")));
    assert_eq!(fake.videos_begun(ANY), 1);

    // What differs is another one.
    let mut begun = 1;
    for fields in [json!({ "size": "1:1" }), json!({ "model": "qwen3.7-plus-video" }), json!({ "prompt": "a boat" })] {
        let other = create(&pair[0], "first_ms=1500 polls=0", fields.clone()).await.json();
        begun += 1;
        assert_ne!(other["id"], ids[0], "{fields}");
        assert_eq!(fake.videos_begun(ANY), begun, "{fields}");
    }
    let body = json!({ "prompt": prompt("first_ms=1500 polls=0") }).to_string();
    for headers in [
        [("authorization", "Bearer sk-other-key"), ("x-fresh", "false")],
        [("authorization", "Bearer sk-test-key"), ("x-fresh", "true")],
    ] {
        let other = pair[0].http.send("POST", VIDEOS, &headers, body.clone()).await.json();
        begun += 1;
        assert_ne!(other["id"], ids[0]);
        assert_eq!(fake.videos_begun(ANY), begun, "{headers:?}");
    }
    // What failed, or was forgotten, is begun anew.
    let failed = begin(&pair[0], "polls=0 end_state=failed").await;
    assert_eq!(ended(&pair[0], &failed).await["status"], "failed");
    assert_ne!(begin(&pair[1], "polls=0 end_state=failed").await, failed);
    let forgotten = begin(&pair[0], "polls=7").await;
    pair[0].http.send("DELETE", &format!("{VIDEOS}/{forgotten}"), &Server::auth_headers(), "").await;
    assert_ne!(begin(&pair[1], "polls=7").await, forgotten);
    // Those who wait for a refusal get it.
    let refused = (0..4).map(|number| create(&pair[number % 2], "fail=data_inspection first_ms=1500", json!({})));
    let refused = join_all(refused).await;
    assert!(refused.iter().all(|reply| reply.status == 400), "{refused:?}");
    assert_eq!(fake.media_requests("fail=data_inspection").len(), 1);
}

/// A client that has asked for a video and waits for the answer.
async fn waiting_client(server: &Server, directive: &str) -> Raw {
    let mut client = Raw::connect(server.http.address()).await;
    let body = json!({ "prompt": prompt(directive) }).to_string();
    let head = format!(
        "POST {VIDEOS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(format!("{head}{body}").as_bytes()).await;
    client
}

pub async fn a_job_outlives_its_client(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let client = waiting_client(&server, "first_ms=2000 polls=0").await;
    eventually("the video is begun", || async { fake.videos_begun(ANY) == 1 }).await;
    client.reset();
    eventually("the job is there", || {
        let server = server.with_new_client();
        async move { listed(&server, "").await.1["data"][0]["status"] == "in_progress" }
    })
    .await;
    let (ids, _) = listed(&server, "").await;
    assert_eq!(ended(&server, &ids[0]).await["status"], "completed");
    // The same request gets this job.
    assert_eq!(begin(&server, "first_ms=2000 polls=0").await, ids[0]);
    assert_eq!(fake.videos_begun(ANY), 1);
}

/// A server on a database that outlives it.
async fn on_database(case: &Case, fake: &Fake, path: &str, cookies: &str, key: &str) -> Arc<Server> {
    let settings = [LOOPBACK, ("DATABASE_PATH", path), ("QWEN_COOKIES", cookies), ("SESSION_KEY", key)];
    case.start_with(fake, &settings).await
}

pub async fn a_restart_loses_no_job(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let cookies = format!("token={}", Fake::token("restart", 9_000));
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let id = begin(&server, "polls=1").await;
    assert_eq!(job(&server, &id).await["status"], "in_progress");
    server.stop().await;
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let over = ended(&server, &id).await;
    assert_eq!((&over["status"], &over["prompt"]), (&json!("completed"), &json!(prompt("polls=1"))));
    assert_eq!(content(&server, &id, &[]).await.status, 200);

    // Killed before the site has answered: the chat tells of the task, or of nothing.
    let mut server = server;
    for (directive, expected) in
        [("first_ms=60000 polls=0", "completed"), ("first_ms=60000 polls=0 task_id=none", "failed")]
    {
        let begun = fake.videos_begun(ANY);
        let _client = waiting_client(&server, directive).await;
        eventually("the video is begun", || async { fake.videos_begun(ANY) == begun + 1 }).await;
        let id = listed(&server, "?limit=1").await.0.remove(0);
        assert_eq!(job(&server, &id).await["status"], "queued");
        // With SIGKILL.
        server.stop().await;
        // As after the time for which the dead process had the job, and for which a chat is looked into.
        let age = "UPDATE videos SET held_until = 0, created_at = created_at - 600000 WHERE state = 'creating';";
        rusqlite::Connection::open(&path).unwrap().execute_batch(age).unwrap();
        server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
        let over = ended(&server, &id).await;
        assert_eq!(over["status"], expected, "{directive} {over}");
        if expected == "failed" {
            assert_eq!(over["error"]["code"], "task_lost");
        }
        assert_eq!(fake.videos_begun(ANY), begun + 1, "it is not begun anew");
    }
    // Killed before the site was asked: the same request begins it.
    let begun = fake.videos_begun(ANY);
    fake.set_first_byte_delay_ms("/api/v2/chats/new", 60_000);
    let _client = waiting_client(&server, "polls=0 id=never").await;
    eventually("the job is there", || async { listed(&server, "?limit=1").await.1["data"][0]["status"] == "queued" })
        .await;
    server.stop().await;
    fake.set_first_byte_delay_ms("/api/v2/chats/new", 0);
    let age = "UPDATE videos SET held_until = 0 WHERE state = 'creating';";
    rusqlite::Connection::open(&path).unwrap().execute_batch(age).unwrap();
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let id = begin(&server, "polls=0 id=never").await;
    assert_eq!(ended(&server, &id).await["status"], "completed");
    assert_eq!(fake.videos_begun(ANY), begun + 1);
    server.stop().await;

    // The database tells nothing without its key.
    let mut found = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let stored = std::fs::read(entry.unwrap().path()).unwrap();
        for words in ["a red kite", "/output/"] {
            found += usize::from(memchr::memmem::find(&stored, words.as_bytes()).is_some());
        }
    }
    assert_eq!(found, 0);
}

pub async fn jobs_are_followed_without_a_client(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let id = begin(&server, "polls=0").await;
    let task = newest(&fake).task_id.unwrap();
    if case.product == Product::Worker {
        assert_eq!(fake.task_polls(&task), 0);
        server.scheduled().await;
    }
    eventually("the site is asked", || async { fake.task_polls(&task) == 1 }).await;
    eventually("the job has ended", || {
        let server = server.with_new_client();
        async move { listed(&server, "").await.1["data"][0]["status"] == "completed" }
    })
    .await;
    assert_eq!(job(&server, &id).await["progress"], 100);
    assert_eq!(fake.task_polls(&task), 1);
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

pub async fn what_the_site_cannot_do_is_told(case: Arc<Case>) {
    let server = case.server().await;
    for path in ["video_1/remix", "edits", "extensions", "characters", "characters/x"] {
        let error = server.post(&format!("{VIDEOS}/{path}"), &json!({ "prompt": "x" })).await;
        let error = error.error(404, "unsupported_endpoint");
        assert!(error["message"].as_str().unwrap().contains("POST /v1/videos"), "{error}");
    }
    let http = Http::new(&server.url);
    let reply = http.send("PUT", VIDEOS, &Server::auth_headers(), "").await;
    assert_eq!(reply.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
}
