//! How jobs begin, and what begins none.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    ANY, LOOPBACK, VIDEOS, assert_no_site_link, begin, content, create, ended, filming, get, job, listed, newest,
    prompt,
};
use crate::{
    cases::files::{fixture, send},
    fake_qwen::Fake,
    form::Form,
    http::{Http, Reply, eventually, with},
    server::{BROKEN_STORE, Case, Server},
};

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
    let asked = fake.asked().len();
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
    assert_eq!((fake.asked().len(), fake.violations(ANY)), (asked, Vec::new()));
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
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
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
