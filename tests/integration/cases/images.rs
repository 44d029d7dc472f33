//! `/v1/images/…` and `/v1/media/…`: what is drawn, what it costs, and what clients get.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::files::{answer, fixture, send};
use crate::{
    Product,
    fake_qwen::Fake,
    form::Form,
    http::{EVENT_STREAM, Reply, chat, eventually, with},
    server::{BROKEN_STORE, Case, Server},
};

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";
/// For the storage of the fake, which is on this machine.
pub const LOOPBACK: (&str, &str) = ("ALLOW_PRIVATE_URLS", "true");

pub async fn drawing(case: &Case, settings: &[(&str, &str)]) -> (Arc<Fake>, Arc<Server>) {
    let fake = Arc::new(Fake::start());
    let mut all = vec![LOOPBACK];
    all.extend_from_slice(settings);
    let server = case.start_with(&fake, &all).await;
    (fake, server)
}

/// A prompt with a directive for the fake.
fn prompt(directive: &str) -> String {
    if directive.is_empty() { "a red kite".to_owned() } else { format!("[[fake {directive}]] a red kite") }
}

async fn generate(server: &Server, directive: &str, fields: Value) -> Reply {
    server.post(GENERATIONS, &with(json!({ "prompt": prompt(directive) }), fields)).await
}

fn pictures(reply: &Reply) -> Vec<Vec<u8>> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let data = reply.json()["data"].as_array().unwrap().clone();
    data.iter().map(|picture| STANDARD.decode(picture["b64_json"].as_str().unwrap()).unwrap()).collect()
}

/// No answer holds a link of the site.
fn assert_no_site_link(fake: &Fake, reply: &Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains("/output/") && !text.contains(&fake.url()), "{text:.500}");
}

pub async fn a_picture_is_drawn(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let reply = generate(&server, "px=1664x928", json!({})).await;
    let drawn = pictures(&reply);
    assert_eq!(drawn.len(), 1);
    assert!(drawn[0].starts_with(b"\x89PNG"));
    let output = &fake.outputs("")[0];
    assert_eq!(drawn[0], fake.output_bytes(&output.path).unwrap());
    let object = reply.json();
    for (field, expected) in [
        ("size", json!("1664x928")),
        ("output_format", json!("png")),
        ("quality", Value::Null),
        ("background", json!("opaque")),
        (
            "usage",
            json!({ "input_tokens": 0, "input_tokens_details": { "text_tokens": 0, "image_tokens": 0 },
            "output_tokens": 0, "output_tokens_details": { "text_tokens": 0, "image_tokens": 0 }, "total_tokens": 0 }),
        ),
    ] {
        assert_eq!(object[field], expected, "{field}");
    }
    assert!(object["created"].as_u64().unwrap() > 1_700_000_000);
    assert!(object["data"][0].get("url").is_none());
    let jobs = fake.media_jobs("");
    assert_eq!((jobs.len(), jobs[0].chat_type.as_str(), &jobs[0].model), (1, "t2i", &None));
    assert_eq!(fake.violations(""), [""; 0]);
    assert_no_site_link(&fake, &reply);
    assert!(!server.log().await.join("\n").contains("/output/"));
}

pub async fn fields_decide_what_is_drawn(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[("MODEL_ALIASES", r#"{"painter":"qwen-image-2.0-pro"}"#)]).await;
    for (number, (fields, model, size)) in [
        (json!({}), None, "auto"),
        (json!({ "model": "qwen-image", "size": "auto" }), None, "auto"),
        (json!({ "model": null, "size": null, "n": null, "quality": null }), None, "auto"),
        (json!({ "model": "qwen-image-3.0-pro" }), Some("qwen-image-3.0-pro"), "auto"),
        (json!({ "model": "qwen-image-2.0-pro" }), Some("qwen-image-2.0-pro"), "1:1"),
        (json!({ "model": "painter", "size": "1920x1080" }), Some("qwen-image-2.0-pro"), "16:9"),
        (json!({ "model": "gpt-image-1", "quality": "low" }), Some("qwen-image-3.0"), "auto"),
        (json!({ "model": "gpt-image-2-2026-04-21", "quality": "high" }), Some("qwen-image-3.0-pro"), "auto"),
        (json!({ "model": "dall-e-3", "quality": "hd", "response_format": "b64_json", "style": "vivid" }), Some("qwen-image-3.0-pro"), "auto"),
        (json!({ "model": "qwen-image-3.0", "quality": "high" }), Some("qwen-image-3.0"), "auto"),
        (json!({ "size": "512x512" }), None, "1:1"),
        (json!({ "size": "1536*1024" }), None, "4:3"),
        (json!({ "size": "9:16" }), None, "9:16"),
        (json!({ "size": "1024x1536" }), None, "3:4"),
        (json!({ "background": "opaque", "moderation": "low", "output_compression": 50, "user": "u", "seed": 7, "partial_images": 2 }), None, "auto"),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("number-{number}.");
        let body = with(json!({ "prompt": marker }), fields.clone());
        let reply = server.post(GENERATIONS, &body).await;
        assert_eq!(reply.status, 200, "{fields}: {reply:?}");
        let jobs = fake.media_jobs(&marker);
        assert_eq!(jobs.len(), 1, "{fields}");
        assert_eq!((jobs[0].model.as_deref(), jobs[0].size.as_deref()), (model, Some(size)), "{fields}");
    }
    // The text model that carries the request.
    for (name, marker, expected) in
        [("qwen3-max-image", "carried-1", "qwen3-max"), ("gpt-image-1", "carried-2", "qwen3-max")]
    {
        let reply = server.post(GENERATIONS, &json!({ "prompt": marker, "model": name })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(fake.media_requests(marker)[0].json()["model"], expected, "{name}");
    }
    assert_eq!(fake.violations(""), [""; 0]);
}

pub async fn wrong_fields_are_refused_before_the_site_is_asked(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (path, body, param, code) in [
        (GENERATIONS, json!({}), "prompt", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "" }), "prompt", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "x".repeat(32_001) }), "prompt", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "size": "4000x1000" }), "size", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "size": "large" }), "size", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "n": 0 }), "n", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "n": 5 }), "n", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "response_format": "file" }), "response_format", "invalid_request"),
        (GENERATIONS, json!({ "prompt": "a", "output_format": "tiff" }), "output_format", "unsupported_value"),
        (GENERATIONS, json!({ "prompt": "a", "background": "transparent" }), "background", "unsupported_value"),
        (EDITS, json!({ "prompt": "a" }), "image", "invalid_request"),
        (EDITS, json!({ "prompt": "a", "images": [] }), "image", "invalid_request"),
        (EDITS, json!({ "prompt": "a", "images": ["data:image/png;base64,%%"] }), "images[0]", "invalid_request"),
    ] {
        let reply = server.post(path, &body).await;
        let error = reply.error(400, code);
        assert_eq!(error["param"], param, "{body:.200}: {error}");
    }
    let reply = server.http.send("POST", GENERATIONS, &Server::auth_headers(), "{").await;
    reply.error(400, "invalid_json");
    let reply = server.http.send("POST", GENERATIONS, &Server::auth_headers(), "x".repeat(2 << 20)).await;
    reply.error(413, "request_too_large");
    server.post("/v1/images/variations", &json!({})).await.error(404, "unsupported_endpoint");
    server.http.send("POST", GENERATIONS, &[], "{}").await.error(401, "missing_api_key");
    assert_eq!(fake.media_jobs("").len(), 0);
}

/// The refusals of the site: each costs at most one job, and says whether it may be repeated.
pub async fn each_failure_is_one_job_and_the_right_error(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (number, (directive, status, code, retry_after, may_repeat)) in [
        ("fail=picture_quota", 429, "quota_exceeded", true, false),
        ("fail=error_before code=picture_quota", 429, "quota_exceeded", true, false),
        ("fail=overload", 503, "upstream_overloaded", true, true),
        ("fail=error_before code=overload", 503, "upstream_overloaded", true, true),
        ("fail=error_before code=inspection_input", 400, "content_filter", false, false),
        ("fail=empty", 502, "upstream_empty", false, false),
        ("pictures=0", 502, "upstream_empty", false, false),
        ("lost=error reads=99", 502, "upstream_empty", false, false),
        ("cdn=404", 502, "media_unavailable", false, false),
        ("type=text", 502, "media_unavailable", false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("failure-{number}.");
        let body = json!({ "prompt": format!("[[fake {directive}]] {id}") });
        let reply = server.post(GENERATIONS, &body).await;
        let error = reply.error(status, code);
        assert_eq!(reply.header("x-should-retry"), (!may_repeat).then_some("false"), "{directive}: {reply:?}");
        assert_eq!(reply.header("retry-after").is_some(), retry_after, "{directive}: {reply:?}");
        if code == "content_filter" {
            assert_eq!(error["type"], "image_generation_user_error");
        }
        if code == "upstream_overloaded" {
            assert_eq!(reply.header("retry-after"), Some("30"));
        }
        assert_eq!(fake.media_requests(&id).len(), 1, "{directive}: one request to the site");
        assert_no_site_link(&fake, &reply);
    }
    assert_eq!(fake.violations(""), [""; 0]);
    assert!(!server.log().await.join("\n").contains("/output/"));
}

/// What needs a person: it is said with the link, and costs nothing.
pub async fn a_challenge_or_an_ended_session_draws_nothing(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let reply = generate(&server, "fail=waf_json", json!({ "n": 3 })).await;
    let error = reply.error(403, "qwen_challenge");
    assert!(error["verify_url"].as_str().unwrap().starts_with("http"));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(fake.media_jobs("").len(), 0);
    assert!(fake.media_requests("").len() <= 2, "two at a time, and none after the refusal");
    let (fake, server) = drawing(&case, &[("QWEN_COOKIES", "token=not-a-token")]).await;
    let reply = generate(&server, "", json!({})).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(fake.media_jobs("").len(), 0);
}

/// A picture that the stream does not bring is looked up in its chat: it is paid for.
pub async fn a_lost_stream_is_looked_up(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (number, how) in
        ["empty", "created", "finished", "error", "cut", "reset", "created reads=1"].into_iter().enumerate()
    {
        let id = format!("lost-{number}.");
        let body = json!({ "prompt": format!("[[fake lost={how}]] {id}") });
        let reply = server.post(GENERATIONS, &body).await;
        assert_eq!(pictures(&reply).len(), 1, "{how}");
        assert_eq!((fake.media_jobs(&id).len(), fake.media_requests(&id).len()), (1, 1), "{how}");
    }
}

pub async fn several_pictures_have_a_chat_each(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let reply = generate(&server, "", json!({ "n": 3 })).await;
    assert_eq!((pictures(&reply).len(), reply.header("x-images")), (3, None));
    let chats: std::collections::HashSet<_> = fake.media_jobs("").iter().map(|job| job.chat_id.clone()).collect();
    assert_eq!(chats.len(), 3);
    // One fails, the others do not.
    let reply =
        generate(&server, "fail=error_before code=unknown_error times=1 id=one-of-three", json!({ "n": 3 })).await;
    assert_eq!((pictures(&reply).len(), reply.header("x-images")), (2, Some("2/3")), "{reply:?}");
    // A prompt that asks for several gets all of them.
    let reply = generate(&server, "pictures=3", json!({})).await;
    assert_eq!((pictures(&reply).len(), reply.header("x-images")), (3, None));
    // Of preview and final one the final counts.
    let reply = generate(&server, "preview=1", json!({})).await;
    assert_eq!(pictures(&reply).len(), 1);
    let finals: Vec<_> = fake.outputs("preview=1").into_iter().filter(|output| output.maker == "image_gen").collect();
    assert_eq!(pictures(&reply)[0], fake.output_bytes(&finals[0].path).unwrap());
    // A used-up quota ends the rest.
    let (fake, server) = drawing(&case, &[]).await;
    fake.set_picture_quota("", Some(1));
    let reply = generate(&server, "", json!({ "n": 4 })).await;
    assert_eq!((pictures(&reply).len(), reply.header("x-images")), (1, Some("1/4")));
    assert!(fake.media_requests("").len() <= 3, "two at a time, and none after the refusal");
}

/// An SDK's repeat, a second tab, another process: the same request is drawn once.
pub async fn equal_requests_share_a_picture(case: Arc<Case>) {
    let fake = Arc::new(Fake::start());
    let [one, two] =
        case.start_pair(&fake, &[LOOPBACK, ("QWEN_COOKIES", &format!("token={}", Fake::token("ada", 86_400)))]).await;
    let slow = "first_ms=1500";
    let (first, second) = futures::future::join(generate(&one, slow, json!({})), generate(&two, slow, json!({}))).await;
    assert_eq!(pictures(&first), pictures(&second));
    assert_eq!(fake.media_jobs("").len(), 1, "while it runs");
    assert_eq!(pictures(&generate(&two, slow, json!({})).await), pictures(&first));
    assert_eq!(fake.media_jobs("").len(), 1, "after it was answered");
    let body = json!({ "prompt": prompt(slow) });
    let headers = [("authorization", "Bearer sk-test-key"), ("content-type", "application/json"), ("x-fresh", "true")];
    let fresh = one.http.send("POST", GENERATIONS, &headers, body.to_string()).await;
    assert_eq!((fresh.status.as_u16(), fake.media_jobs("").len()), (200, 2), "asked anew");
    for other in [json!({ "size": "1:1" }), json!({ "n": 2 }), json!({ "model": "qwen-image-3.0" })] {
        let before = fake.media_jobs("").len();
        assert_eq!(generate(&one, slow, other.clone()).await.status, 200);
        assert!(fake.media_jobs("").len() > before, "{other} is another request");
    }
    // A failed request is no answer.
    let failing = "fail=error_before code=unknown_error times=1 id=failed-once";
    assert_eq!(generate(&one, failing, json!({})).await.status, 502);
    assert_eq!(generate(&two, failing, json!({})).await.status, 200);
}

/// A client that leaves gets no further picture begun, and the one in the making is there when it comes back.
pub async fn a_picture_outlives_its_client(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let body = json!({ "prompt": prompt("first_ms=1500"), "n": 4 });
    let request = server.post(GENERATIONS, &body);
    let left = tokio::time::timeout(std::time::Duration::from_millis(700), request).await;
    assert!(left.is_err(), "the client left before the answer");
    eventually("the first pictures are begun", || async { fake.media_requests("").len() == 2 }).await;
    eventually("they are drawn", || async { fake.media_jobs("").len() == 2 }).await;
    let again = server.post(GENERATIONS, &body).await;
    assert_eq!(pictures(&again).len(), 4);
    assert_eq!(fake.media_requests("").len(), 4, "none is drawn twice");
}

/// A server that is killed while a picture is drawn finds it afterwards.
pub async fn a_restart_loses_no_picture(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let cookies = format!("token={}", Fake::token("ada", 86_400));
    let settings = [LOOPBACK, ("DATABASE_PATH", path.as_str()), ("QWEN_COOKIES", cookies.as_str())];
    let server = case.start_with(&fake, &settings).await;
    let body = json!({ "prompt": prompt("lost=silent draw_ms=500") });
    let _ = tokio::time::timeout(std::time::Duration::from_millis(900), server.post(GENERATIONS, &body)).await;
    assert_eq!(fake.media_jobs("").len(), 1);
    server.signal("KILL").await.await;
    let server = case.start_with(&fake, &settings).await;
    // The request still belongs to the killed process for a while.
    assert_eq!(pictures(&server.post(GENERATIONS, &body).await).len(), 1);
    assert_eq!(fake.media_jobs("").len(), 1);
}

pub async fn pictures_are_edited(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let (png, gif) = (fixture("truecolor.png"), fixture("gif87a.gif"));
    let form = |field: &str, texts: &[(&str, &str)]| {
        let form = texts.iter().fold(Form::new(), |form, (name, text)| form.text(name, text));
        form.file(field, "sea.png", Some("image/png"), &png)
    };
    for (number, sent) in [
        form("image", &[("prompt", "edit-0.")]),
        form("image[]", &[("prompt", "edit-1."), ("n", "1"), ("stream", "false"), ("response_format", "b64_json")]),
        form("image[0]", &[("prompt", "edit-2."), ("size", "auto"), ("quality", "low"), ("input_fidelity", "high")]),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = send(&server, EDITS, sent).await;
        assert_eq!(pictures(&reply).len(), 1, "{number}");
        let jobs = fake.media_jobs(&format!("edit-{number}."));
        assert_eq!((jobs[0].chat_type.as_str(), jobs[0].files.len()), ("image_edit", 1), "{number}");
    }
    let several =
        form("image[]", &[("prompt", "[[fake echo=1]] edit-3.")]).file("image[]", "boat.gif", Some("image/gif"), &gif);
    let reply = send(&server, EDITS, several).await;
    assert_eq!(pictures(&reply).len(), 1, "what came along is no result");
    let job = &fake.media_jobs("edit-3.")[0];
    assert!(job.files[0].contains("sea") && job.files[1].contains("boat"), "in their order: {:?}", job.files);
    // JSON: links, ids, and strings.
    let upload = send(&server, "/v1/files", Form::new().file("file", "up.png", Some("image/png"), &png)).await.json();
    let data_url = format!("data:image/png;base64,{}", STANDARD.encode(&png));
    let link =
        generate(&server, "for-an-edit", json!({ "response_format": "url" })).await.json()["data"][0]["url"].clone();
    for (number, images) in [
        json!([{ "image_url": data_url }]),
        json!([{ "file_id": upload["id"] }]),
        json!([data_url]),
        json!([{ "image_url": { "url": data_url } }, { "file_id": upload["id"] }]),
        json!([{ "image_url": link }]),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("json-edit-{number}.");
        let reply = server.post(EDITS, &json!({ "prompt": marker, "images": images })).await;
        assert_eq!(pictures(&reply).len(), 1, "{images:.100}");
        assert_eq!(fake.media_jobs(&marker)[0].files.len(), images.as_array().unwrap().len());
    }
    // What cannot be an input.
    let masked = form("image", &[("prompt", "m")]).file("mask", "m.png", Some("image/png"), &png);
    send(&server, EDITS, masked).await.error(400, "unsupported_value");
    let text = Form::new().text("prompt", "t").file("image", "a.png", Some("image/png"), "no picture");
    send(&server, EDITS, text).await.error(400, "unsupported_file_type");
    send(&server, EDITS, Form::new().text("prompt", "t")).await.error(400, "invalid_request");
    let many =
        (0..17).fold(Form::new().text("prompt", "t"), |form, _| form.file("image[]", "a.png", Some("image/png"), &png));
    send(&server, EDITS, many).await.error(400, "invalid_request");
    assert_eq!(fake.violations(""), [""; 0]);
}

pub async fn streams_send_an_event_for_each_picture(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[("FIRST_BYTE_SECONDS", "0")]).await;
    let reply = generate(&server, "first_ms=1500", json!({ "n": 2, "stream": true, "partial_images": 3 })).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some(EVENT_STREAM)));
    let text = reply.text();
    assert!(text.starts_with(": keep-alive\n\n"), "{text:.100}");
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event["type"], "image_generation.completed");
        assert!(STANDARD.decode(event["b64_json"].as_str().unwrap()).unwrap().starts_with(b"\x89PNG"));
        assert!(event["usage"]["total_tokens"].is_u64() && event["created_at"].is_u64());
    }
    assert_no_site_link(&fake, &reply);
    let reply = generate(&server, "first_ms=1200 fail=picture_quota", json!({ "stream": true })).await;
    let text = reply.text();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["error"]["code"], "quota_exceeded");
    // A refusal that comes soon is a status.
    let (_fake, server) = drawing(&case, &[]).await;
    generate(&server, "fail=picture_quota", json!({ "stream": true })).await.error(429, "quota_exceeded");
    let png = fixture("truecolor.png");
    let form = Form::new().text("prompt", "x").text("stream", "true").file("image", "a.png", None, &png);
    let reply = send(&server, EDITS, form).await;
    assert!(reply.text().contains("image_edit.completed"), "{reply:?}");
}

pub async fn links_lead_to_the_picture(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[("MEDIA_TTL_SECONDS", "3")]).await;
    let reply = generate(&server, "px=1664x928", json!({ "model": "dall-e-3" })).await;
    let object = reply.json();
    let url = object["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{object}")).to_owned();
    assert!(url.starts_with(&format!("{}/v1/media/", server.url)), "{url}");
    assert_eq!(object["size"], "1664x928");
    assert!(object["data"][0].get("b64_json").is_none());
    assert_no_site_link(&fake, &reply);
    let path = url.strip_prefix(&server.url).unwrap();
    let expected = fake.output_bytes(&fake.outputs("")[0].path).unwrap();
    let got = server.get(path).await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (200, Some("image/png")), "{got:?}");
    assert_eq!(got.body, expected);
    assert_eq!(got.header("content-disposition"), Some("inline"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let head = server.http.send("HEAD", path, &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-type"), Some("image/png"));
    let part = server.http.send("GET", path, &[("range", "bytes=1-3")], "").await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &expected[1..4]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 1-3/{}", expected.len()).as_str()));
    let beyond = server.http.send("GET", path, &[("range", "bytes=99999999-")], "").await;
    assert_eq!(beyond.status.as_u16(), 416);
    for unknown in ["/v1/media/AAAAAAAAAAAAAAAAAAAAAA", "/v1/media/x", "/v1/media/..%2f..%2fhealth"] {
        server.get(unknown).await.error(404, "not_found");
    }
    assert!(!server.log().await.join("\n").contains("/output/"));
    eventually("the link ends", || async { server.get(path).await.status == 404 }).await;
}

/// The storage does not have a picture at once, and answers with pages.
pub async fn the_storage_is_asked_again(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (number, directive) in [
        "cdn=404 cdn_times=2",
        "cdn=html cdn_times=1",
        "cdn=reset cdn_times=1",
        "cdn_chunked=1",
        "link=relative",
        "type=jpeg",
        "type=webp",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("stored-{number}.");
        let body = json!({ "prompt": format!("[[fake {directive}]] {marker}") });
        let reply = server.post(GENERATIONS, &body).await;
        assert_eq!(pictures(&reply).len(), 1, "{directive}");
        let expected = directive.strip_prefix("type=").unwrap_or("png");
        assert_eq!(reply.json()["output_format"], expected, "{directive}");
    }
    let reply = generate(&server, "type=jpeg", json!({ "output_format": "webp" })).await;
    reply.error(400, "unsupported_value");
    assert_eq!(generate(&server, "type=jpeg", json!({ "output_format": "jpeg" })).await.status, 200);
    // A redirect to a private address is not followed where private addresses are not allowed.
    let guarded = case.start_with(&fake, &[]).await;
    generate(&guarded, "unreachable", json!({})).await.error(502, "media_unavailable");
}

/// Where the server is: what links begin with.
pub async fn links_begin_with_the_servers_address(case: Arc<Case>) {
    let (_fake, server) = drawing(&case, &[]).await;
    let body = json!({ "prompt": "x", "response_format": "url" }).to_string();
    let forwarded =
        [("authorization", "Bearer sk-test-key"), ("content-type", "application/json"), ("x-forwarded-proto", "https")];
    let reply = server.http.send("POST", GENERATIONS, &forwarded, body.clone()).await;
    let url = reply.json()["data"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&server.url.replace("http:", "https:")), "{url}");
    let (_fake, server) = drawing(&case, &[("PUBLIC_URL", "https://ai.example.org/qwen/")]).await;
    let reply = server.http.send("POST", GENERATIONS, &Server::auth_headers(), body).await;
    let url = reply.json()["data"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://ai.example.org/qwen/v1/media/"), "{url}");
}

/// Without the store pictures are drawn, and links are the pictures themselves.
pub async fn a_broken_store_keeps_nobody_from_drawing(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[LOOPBACK, (BROKEN_STORE, "1")]).await;
    if case.product == Product::Native {
        // Its disk is full after some writes.
        for number in 0..40 {
            let _ = server.chat(&chat(&format!("fill {number} {}", "x".repeat(3000)))).await;
        }
    }
    let reply = generate(&server, "", json!({ "response_format": "url" })).await;
    let url = reply.json()["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned();
    assert!(url.starts_with("data:image/png;base64,"), "{url:.80}");
    assert_eq!(pictures(&generate(&server, "", json!({})).await).len(), 1);
}

/// A picture that the model draws by itself in an ordinary chat.
pub async fn pictures_in_chats_have_links_of_this_server(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (directive, is_stream) in
        [("draw=1", false), ("draw=1", true), ("draw=final", true), ("stream=image_gen", false)]
    {
        let reply =
            server.chat(&with(chat(&format!("[[fake {directive}]] draw")), json!({ "stream": is_stream }))).await;
        let text = answer(&reply);
        assert_no_site_link(&fake, &reply);
        let (_, rest) = text.split_once("![image](").unwrap_or_else(|| panic!("{directive}: {text}"));
        let url = rest.split(')').next().unwrap();
        assert!(url.starts_with(&server.url), "{url}");
        if directive != "stream=image_gen" {
            let got = server.get(url.strip_prefix(&server.url).unwrap()).await;
            assert_eq!((got.status.as_u16(), got.header("content-type")), (200, Some("image/png")), "{got:?}");
        }
        if !is_stream {
            assert_eq!(reply.json()["choices"][0]["message"]["images"][0]["image_url"]["url"], url);
        }
    }
    // The site's own link ends before the conversation: it is looked up anew.
    let reply = server.chat(&chat("[[fake draw=1]] draw once more")).await;
    let url = reply.json()["choices"][0]["message"]["images"][0]["image_url"]["url"].as_str().unwrap().to_owned();
    for job in fake.media_jobs("once more") {
        fake.end_links(&job.chat_id, 403);
    }
    let got = server.get(url.strip_prefix(&server.url).unwrap()).await;
    assert_eq!(got.status.as_u16(), 200, "{got:?}");
}

/// The links in an answer of any dialect.
fn links(reply: &Reply) -> Vec<String> {
    let text = String::from_utf8_lossy(&reply.body).replace("\\n", "\n");
    let links = text.split("![image](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned());
    let mut links: Vec<String> = links.collect();
    links.dedup();
    links
}

/// A model that draws answers with a picture, in each dialect, whole and streamed.
pub async fn models_that_draw_answer_in_each_dialect(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    for (number, (path, is_stream)) in [
        ("/v1/chat/completions", false),
        ("/v1/chat/completions", true),
        ("/v1/responses", false),
        ("/v1/responses", true),
        ("/v1/messages", false),
        ("/v1/messages", true),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("dialect-{number}.");
        let text = format!("[[fake first_ms=20]] {marker}");
        let body = match path {
            "/v1/responses" => json!({ "model": "qwen-image-3.0", "input": text, "stream": is_stream }),
            _ => with(chat(&text), json!({ "model": "qwen-image-3.0", "stream": is_stream, "max_tokens": 99 })),
        };
        let reply = server.post(path, &body).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_no_site_link(&fake, &reply);
        let links = links(&reply);
        assert!(!links.is_empty() && links[0].starts_with(&server.url), "{path} {is_stream}: {reply:?}");
        let got = server.get(links[0].strip_prefix(&server.url).unwrap()).await;
        assert_eq!((got.status.as_u16(), got.header("content-type")), (200, Some("image/png")), "{path}");
        let jobs = fake.media_jobs(&marker);
        assert_eq!((jobs.len(), jobs[0].model.as_deref()), (1, Some("qwen-image-3.0")), "{path}");
        if path == "/v1/chat/completions" && !is_stream {
            let object = reply.json();
            let message = &object["choices"][0]["message"];
            assert_eq!(message["images"], json!([{ "type": "image_url", "image_url": { "url": links[0] } }]));
            assert_eq!(object["choices"][0]["finish_reason"], "stop");
        }
        if path == "/v1/chat/completions" && is_stream {
            let texts: Vec<Value> = reply
                .chunks()
                .into_iter()
                .filter(|chunk| chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()))
                .collect();
            assert_eq!(texts.len(), 1, "one content chunk");
        }
    }
    // While it is drawn the client hears that something goes on.
    let (_fake, server) = drawing(&case, &[("FIRST_BYTE_SECONDS", "0")]).await;
    let slow = with(chat("[[fake first_ms=1500]] slow"), json!({ "model": "qwen-image", "stream": true }));
    let text = server.chat(&slow).await.text();
    let role = text.find("assistant").unwrap();
    let beat = text.find(": keep-alive").unwrap_or_else(|| panic!("{text}"));
    assert!(role < beat && beat < text.find("![image]").unwrap());
    let failing =
        with(chat("[[fake first_ms=1200 fail=picture_quota]] x"), json!({ "model": "qwen-image", "stream": true }));
    assert!(server.chat(&failing).await.text().contains("quota_exceeded"));
    // Refusals are those of the dialect, and say that they must not be repeated.
    let body = with(chat("[[fake fail=error_before code=picture_quota]] x"), json!({ "model": "qwen-image" }));
    let (_fake, server) = drawing(&case, &[]).await;
    let reply = server.chat(&body).await;
    reply.error(429, "quota_exceeded");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    let no_text = json!({ "model": "qwen-image", "messages": [{ "role": "user", "content": " " }, { "role": "assistant", "content": "x" }] });
    server.chat(&no_text).await.error(400, "invalid_request");
}

/// The next turn changes the last picture; its own pictures are what is changed; text has chats of its own.
pub async fn a_conversation_of_pictures_goes_on(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let draw = |messages: Value| json!({ "model": "qwen-image", "messages": messages });
    let first = server.chat(&draw(json!([{ "role": "user", "content": "pic-1. a boat" }]))).await;
    let answer_1 = answer(&first);
    let history = json!([
        { "role": "user", "content": "pic-1. a boat" },
        { "role": "assistant", "content": answer_1 },
        { "role": "user", "content": "pic-2. make it night" },
    ]);
    let second = server.chat(&draw(history.clone())).await;
    let answer_2 = answer(&second);
    assert_ne!(answer_1, answer_2);
    let (one, two) = (fake.media_jobs("pic-1.")[0].clone(), fake.media_jobs("pic-2.")[0].clone());
    assert_eq!(one.chat_id, two.chat_id, "it goes on in the chat");
    assert_eq!(two.prompt, "pic-2. make it night");
    assert_eq!(first.header("x-conversation-id"), second.header("x-conversation-id"));
    assert!(!first.header("x-conversation-id").unwrap().contains("drawn"));
    // By the conversation's id alone.
    let id = first.header("x-conversation-id").unwrap();
    let third = server
        .chat(&with(draw(json!([{ "role": "user", "content": "pic-3. and snow" }])), json!({ "conversation_id": id })))
        .await;
    assert_eq!(third.status, 200, "{third:?}");
    assert_eq!(fake.media_jobs("pic-3.")[0].chat_id, one.chat_id);
    // A picture of its own, and one of this server's links, are inputs of a new chat.
    let png = STANDARD.encode(fixture("truecolor.png"));
    let link = links(&first)[0].clone();
    for (marker, url) in [("pic-4.", format!("data:image/png;base64,{png}")), ("pic-5.", link)] {
        let parts = json!([{ "type": "text", "text": marker }, { "type": "image_url", "image_url": { "url": url } }]);
        let mut messages = history.clone();
        messages[2] = json!({ "role": "user", "content": parts });
        let reply = server.chat(&draw(messages)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let job = fake.media_jobs(marker)[0].clone();
        assert_eq!((job.chat_type.as_str(), job.files.len()), ("image_edit", 1), "{marker}");
        assert_ne!(job.chat_id, one.chat_id);
    }
    // A text model in the same conversation answers in a chat of its own.
    let mut messages = history.clone();
    messages[2]["content"] = "what is on it?".into();
    let text = server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await;
    assert_eq!(text.status, 200, "{text:?}");
    assert!(!answer(&text).contains("![image]"));
    // What is no picture cannot be drawn from.
    let parts = json!([{ "type": "text", "text": "x" }, { "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } }]);
    server.chat(&draw(json!([{ "role": "user", "content": parts }]))).await.error(400, "unsupported_file_type");
    // Responses go on by their ids.
    let create = async |body: Value| server.post("/v1/responses", &with(json!({ "model": "qwen-image" }), body)).await;
    let created = create(json!({ "input": "resp-1. a tree" })).await;
    let id = created.json()["id"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned();
    let next = create(json!({ "input": "resp-2. in autumn", "previous_response_id": id })).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_eq!(fake.media_jobs("resp-1.")[0].chat_id, fake.media_jobs("resp-2.")[0].chat_id);
    assert_eq!(fake.violations(""), [""; 0]);
}

pub async fn image_models_are_listed(case: Arc<Case>) {
    let (_fake, server) = drawing(&case, &[]).await;
    let list = server.get("/v1/models").await.json();
    let find = |id: &str| list["data"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned();
    for id in ["qwen-image", "qwen-image-3.0-pro", "qwen-image-3.0", "qwen-image-2.0-pro"] {
        let model = find(id).unwrap_or_else(|| panic!("{id}: {list}"));
        assert_eq!(model["capabilities"]["image_generation"], true, "{model}");
        assert_eq!(server.get(&format!("/v1/models/{id}")).await.json(), model);
    }
    assert_eq!(find("qwen-video").unwrap()["capabilities"]["video_generation"], true);
}

/// A large picture passes through without being kept, and takes little more than its bytes as base64.
pub async fn large_pictures_use_bounded_memory(case: Arc<Case>) {
    const MIB: u64 = 1024 * 1024;
    let (_fake, server) = drawing(&case, &[]).await;
    let reply = generate(&server, &format!("bytes={}", 30 * MIB), json!({ "response_format": "url" })).await;
    let url = reply.json()["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned();
    let path = url.strip_prefix(&server.url).unwrap().to_owned();
    let before = server.memory_bytes().await;
    let highest = async |work: std::pin::Pin<Box<dyn Future<Output = Reply> + Send + '_>>| {
        let mut work = work;
        let mut highest = 0;
        loop {
            let pause = Box::pin(tokio::time::sleep(std::time::Duration::from_millis(10)));
            match futures::future::select(work, pause).await {
                futures::future::Either::Left((reply, _)) => return (reply, highest),
                futures::future::Either::Right(((), rest)) => {
                    highest = highest.max(server.memory_bytes().await);
                    work = rest;
                }
            }
        }
    };
    for _ in 0..3 {
        let (reply, highest) = highest(Box::pin(server.get(&path))).await;
        assert_eq!((reply.status.as_u16(), reply.body.len() as u64), (200, 30 * MIB));
        let more = highest.saturating_sub(before) / MIB;
        assert!(more < 10, "{more} MiB more");
        if case.product == Product::Worker {
            assert!(highest < 48 * MIB, "{highest}");
        }
    }
    let (reply, highest) = highest(Box::pin(generate(&server, &format!("bytes={}", 30 * MIB), json!({})))).await;
    assert_eq!(pictures(&reply)[0].len() as u64, 30 * MIB);
    let more = highest.saturating_sub(before) / MIB;
    assert!(more < 75, "{more} MiB more");
    // More than a picture ever has.
    let reply = generate(&server, &format!("bytes={}", 33 * MIB), json!({})).await;
    reply.error(502, "media_unavailable");
    assert_eq!(server.get("/health").await.status, 200);
}
